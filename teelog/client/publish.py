"""Hands one entry to a log and comes back with a proof that the caller's policy accepts, or with the reason why not.

The same bytes may be sent any number of times: the log answers with the same index (AP-01, AP-03). So everything that
may be a matter of time is tried again until the deadline, and nothing else is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import stamina

from teelog.client.http import HttpClient, check_url
from teelog.client.log import LogReader
from teelog.client.source import TileSource
from teelog.errors import NotWitnessed, UnavailableError
from teelog.statement import ear, jws
from teelog.tlog.policy import Policy
from teelog.tlog.proof import MAX_LENGTH, TlogProof, VerifiedInclusion, parse_proof, verify_proof
from teelog.tlog.rfc6962 import leaf_hash

CONTENT_TYPE = "application/json"
RESULT_TYPE = ear.MEDIA_TYPES[0]
ACCEPT = "text/plain"
WAIT_FIRST = 0.2  # seconds
WAIT_MOST = 5.0  # seconds

Tell = Callable[[UnavailableError, float], None]
"""Called before each new attempt: why, and in how many seconds."""


@dataclass(frozen=True, slots=True)
class Published:
    """file: the tlog-proof, which ``inclusion`` verified. new: whether this call made the log take the entry."""

    inclusion: VerifiedInclusion
    file: bytes = field(repr=False)
    new: bool


async def publish(http: HttpClient, url: str, entry: bytes, policy: Policy, *, timeout: float, tell: Tell) -> Published:
    """Publishes ``entry`` (its exact bytes) at the log's ``url``.

    timeout: seconds in which to succeed. Raises UnavailableError (busy, unreachable, quorum not reached in time),
    RefusedError (a definite no), MalformedError or VerificationError (the answer does not hold), ConfigError.
    """
    place = f"{check_url(url)}/entries"

    async def once(left: float) -> Published:
        answer = await http.post(place, entry, content_type, MAX_LENGTH, accept=ACCEPT, timeout=left)
        return _verified(answer.body, entry_leaf, policy, answer.status == 201)

    content_type = RESULT_TYPE if jws.looks_like(entry) else CONTENT_TYPE
    entry_leaf = leaf_hash(entry)
    return await _until(timeout, once, tell)


async def get_proof(
    http: HttpClient, url: str, leaf: bytes, policy: Policy, *, timeout: float, tell: Tell
) -> Published:
    """The proof of an entry that the log has. Raises as ``publish``; RefusedError, status 404, if it is not there."""
    place = f"{check_url(url)}/entries/{leaf.hex()}"

    async def once(left: float) -> Published:
        answer = await http.get(place, MAX_LENGTH, accept=ACCEPT, timeout=left)
        return _verified(answer.body, leaf, policy, False)

    return await _until(timeout, once, tell)


async def at_one_checkpoint(found: Sequence[Published], source: TileSource, policy: Policy) -> list[Published]:
    """The same entries, all under the largest of their checkpoints: what rests on several has to rest on one tree.

    source: of the tiles from which proofs are made anew. Raises what it raises, and as ``verify_proof``.
    """
    newest = max((each.inclusion.witnessed for each in found), key=lambda each: each.checkpoint.size)
    head = newest.checkpoint
    reader = LogReader(source, head.size, head.root)
    moved = []
    for each in found:
        if each.inclusion.witnessed.checkpoint != head:
            hashes = tuple(await reader.prove_inclusion(each.inclusion.index))
            proof = TlogProof(each.inclusion.index, hashes, newest.note.encode())
            each = Published(verify_proof(proof, each.inclusion.leaf, policy), proof.encode(), each.new)
        moved.append(each)
    return moved


def _verified(body: bytes, leaf: bytes, policy: Policy, new: bool) -> Published:
    try:
        # PR-20: bound to what was sent, whatever the log says it is for.
        return Published(verify_proof(parse_proof(body), leaf, policy), body, new)
    except NotWitnessed as error:
        # Published without the quorum (a log set to fail open): later checkpoints may have it.
        raise UnavailableError(
            f"the log has the entry, yet {error.message}", expected=error.expected, actual=error.actual
        ) from error


async def _until(timeout: float, once: Callable[[float], Awaitable[Published]], tell: Tell) -> Published:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    wait = WAIT_FIRST

    def again(error: Exception) -> float | bool:
        """Seconds until the next attempt, or False: this error is the answer."""
        nonlocal wait
        if not isinstance(error, UnavailableError):
            return False
        pause = max(wait, error.retry_after or 0.0)
        wait = min(WAIT_MOST, wait * 2)
        if loop.time() + pause >= deadline:
            return False
        tell(error, pause)
        return pause

    async for attempt in stamina.retry_context(on=again, attempts=None, timeout=None):
        with attempt:
            return await once(max(0.1, deadline - loop.time()))
    raise AssertionError("unreachable")
