"""Hands entries to a log and comes back with proofs that the caller's policy accepts, or with the reason why not.

The same bytes may be sent any number of times: the log answers with the same index (AP-01, AP-03). So everything that
may be a matter of time is tried again until the deadline, and nothing else is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import stamina

from teelog import strict
from teelog.client.http import HttpClient, Refusal, check_url, problem_of
from teelog.client.log import LogReader
from teelog.client.source import TileSource
from teelog.errors import MalformedError, NotWitnessed, UnavailableError
from teelog.statement import ear_token
from teelog.tlog.policy import Policy
from teelog.tlog.proof import MAX_LENGTH, TlogProof, VerifiedInclusion, parse_proof, verify_proof
from teelog.tlog.rfc6962 import HASH_LENGTH, leaf_hash

CONTENT_TYPE = "application/json"
BATCH_TYPE = "application/octet-stream"
ACCEPT = "text/plain"
MAX_VERDICT = 16_384  # bytes of one verdict of a batch, a proof of 63 hashes or a problem
WAIT_FIRST = 0.2  # seconds
WAIT_MOST = 5.0  # seconds

Done = TypeVar("Done")
Tell = Callable[[UnavailableError, float], None]
"""Called before each new attempt: why, and in how many seconds."""


@dataclass(frozen=True, slots=True)
class Published:
    """file: the tlog-proof, which ``inclusion`` verified. new: whether this call made the log take the entry."""

    inclusion: VerifiedInclusion
    file: bytes = field(repr=False)
    new: bool


class _Verdict(msgspec.Struct, frozen=True):
    status: int
    index: str | None = None
    checkpoint: int | None = None
    proof: tuple[str, ...] = ()
    problem: dict[str, Any] | None = None


class _Batch(msgspec.Struct, frozen=True):
    checkpoints: tuple[str, ...]
    results: tuple[_Verdict, ...]


_batch_decoder = msgspec.json.Decoder(_Batch)


async def publish(http: HttpClient, url: str, entry: bytes, policy: Policy, *, timeout: float, tell: Tell) -> Published:
    """Publishes ``entry`` (its exact bytes) at the log's ``url``.

    timeout: seconds in which to succeed. Raises UnavailableError (busy, unreachable, quorum not reached in time),
    RefusedError (a definite no), MalformedError or VerificationError (the answer does not hold), ConfigError.
    """
    place = f"{check_url(url)}/entries"

    async def once(left: float) -> Published:
        answer = await http.post(place, entry, content_type, MAX_LENGTH, accept=ACCEPT, timeout=left)
        return _verified(answer.body, entry_leaf, policy, answer.status == 201)

    content_type = ear_token.media_type(entry) if ear_token.looks_like(entry) else CONTENT_TYPE
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


async def publish_batch(
    http: HttpClient, url: str, entries: Sequence[bytes], policy: Policy, *, timeout: float, tell: Tell
) -> list[Published | Refusal]:
    """Publishes ``entries`` in their order, in one request: one verdict each, the proofs verified.

    Raises as ``publish`` where the request as a whole has no answer that holds.
    """
    place = f"{check_url(url)}/entries/batch"
    body = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    limit = MAX_LENGTH + len(entries) * MAX_VERDICT

    async def once(left: float) -> list[Published | Refusal]:
        answer = await http.post(place, body, BATCH_TYPE, limit, timeout=left)
        return _verdicts(answer.body, entries, policy, place)

    return await _until(timeout, once, tell)


def _verdicts(body: bytes, entries: Sequence[bytes], policy: Policy, place: str) -> list[Published | Refusal]:
    try:
        answer = _batch_decoder.decode(body)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise MalformedError(
            f"{place} gives an answer that is no batch of verdicts", actual=str(error)[:200]
        ) from error
    if len(answer.results) != len(entries):
        raise MalformedError(
            f"{place} does not answer for every entry", expected=len(entries), actual=len(answer.results)
        )
    return [_verdict(each, answer, entry, policy) for each, entry in zip(answer.results, entries, strict=True)]


def _verdict(verdict: _Verdict, answer: _Batch, entry: bytes, policy: Policy) -> Published | Refusal:
    if verdict.problem is not None:
        said = problem_of(verdict.problem)
        words = f"{said.pointer}: {said.detail}" if said.pointer else said.detail
        return Refusal(f"refused: {verdict.status} {words}", verdict.status, said)
    if verdict.checkpoint is None or verdict.index is None or not 0 <= verdict.checkpoint < len(answer.checkpoints):
        raise MalformedError("a verdict has neither a problem nor a proof")
    index = strict.decimal(verdict.index.encode(), "index")
    hashes = tuple(strict.b64(each.encode(), "proof", HASH_LENGTH) for each in verdict.proof)
    proof = TlogProof(index, hashes, answer.checkpoints[verdict.checkpoint].encode())
    return _verified(proof.encode(), leaf_hash(entry), policy, verdict.status == 201)


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


async def _until(timeout: float, once: Callable[[float], Awaitable[Done]], tell: Tell) -> Done:
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

    answered: UnavailableError | None = None
    async for attempt in stamina.retry_context(on=again, attempts=None, timeout=None):
        with attempt:
            try:
                return await once(max(0.1, deadline - loop.time()))
            except UnavailableError as error:
                # That the last attempt was cut short says less than what came of the one before.
                if answered is not None and loop.time() >= deadline:
                    raise answered from error
                answered = error
                raise
    raise AssertionError("unreachable")
