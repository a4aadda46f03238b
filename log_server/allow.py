"""``log allow``: a namespace's first version enters the log, through the running server or, without one, directly."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from teelog.errors import ConfigError, MalformedError, RefusedError, UnavailableError
from teelog.listen import short_path
from teelog.log_server import batch as batching
from teelog.log_server import config, places, recovery, unconfirmed
from teelog.log_server.directory import LogDirectory
from teelog.log_server.intake import Submission
from teelog.log_server.lock import DirectoryLock
from teelog.log_server.seams import Clock
from teelog.log_server.state import SqliteState
from teelog.log_server.store import DirectoryStore
from teelog.statement import admit
from teelog.statement.admit import Kind
from teelog.statement.namespace import Namespace
from teelog.tlog import proof, rfc6962
from teelog.tlog.tiles import MAX_ENTRY

TIMEOUT = 120.0  # seconds until it is published
MAX_ANSWER = 1_048_576  # bytes


@dataclass(frozen=True, slots=True)
class Allowed:
    """index: of the entry. fresh: False if it was logged before. published: False until the next ``serve`` does it."""

    namespace: str
    statement_id: str
    leaf: bytes
    index: int
    fresh: bool
    published: bool


def judge(entry: bytes, origin: str) -> Namespace:
    """The namespace whose version 0 this is, signed by its owners, for this log.

    Raises MalformedError, VerificationError, SignatureError, UntrustedKey, RefusedError.
    """
    if len(entry) > MAX_ENTRY:
        raise MalformedError("entry is too large", expected=f"at most {MAX_ENTRY} bytes", actual=len(entry))
    parsed = admit.classify(entry)
    if parsed.kind is not Kind.NAMESPACE:
        raise RefusedError("not a namespace statement", status=422, expected="a namespace", actual=str(parsed.kind))
    return admit.check_namespace_v0(parsed, origin)


async def allow(path: Path, entry: bytes, clock: Clock) -> Allowed:
    """Raises as ``judge``; ConfigError; RefusedError if the namespace exists; UnavailableError."""
    origin = config.load(path).origin
    namespace = judge(entry, origin)
    directory = LogDirectory(path)
    if _answers(directory.admin_socket):
        return await _through_server(directory.admin_socket, entry, namespace)
    try:
        return _directly(directory, origin, entry, namespace, clock)
    except ConfigError:
        if not _answers(directory.admin_socket):
            raise
    return await _through_server(directory.admin_socket, entry, namespace)  # it was starting meanwhile


def _answers(path: Path) -> bool:
    """Whether a process listens: a killed server leaves its socket behind."""
    with suppress(OSError), short_path(path) as near, socket.socket(socket.AF_UNIX) as probe:
        probe.connect(near)
        return True
    return False


async def _through_server(path: Path, entry: bytes, namespace: Namespace) -> Allowed:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        with short_path(path) as near:
            connector = aiohttp.UnixConnector(near)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
                session.post("http://log/allow", data=entry, headers={"Content-Type": "application/json"}) as response,
            ):
                status, body = response.status, await response.content.read(MAX_ANSWER)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise UnavailableError(
            "the running server does not answer", actual=str(error) or "no answer in time"
        ) from error
    if status not in (200, 201):
        raise _refusal(status, body)
    index = proof.parse_proof(body).index
    leaf = rfc6962.leaf_hash(entry)
    return Allowed(namespace.name, namespace.statement_id, leaf, index, status == 201, True)


def _refusal(status: int, body: bytes) -> RefusedError | UnavailableError:
    problem: object = None
    with suppress(ValueError):
        problem = json.loads(body)
    detail = str(problem.get("detail", "")) if isinstance(problem, dict) else ""
    if status >= 500:
        return UnavailableError(detail or "the server cannot publish now", actual=status)
    return RefusedError(detail or "the server refused", status=status, actual=status)


def _directly(directory: LogDirectory, origin: str, entry: bytes, namespace: Namespace, clock: Clock) -> Allowed:
    """Commits it; the next ``serve`` signs and publishes, as after a crash. The lock keeps every other writer out."""
    signer = directory.signer(origin)
    lock = DirectoryLock.take(directory.path)
    state = SqliteState(directory.state)
    try:
        store = DirectoryStore(directory.public, directory.scratch)
        memory = recovery.load(state, store, signer, clock)
        leaf = rfc6962.leaf_hash(entry)
        admitted = places.admitted(entry, admit.classify(entry))
        (decided,), plan = batching.decide([Submission(_Nobody(), 0, [admitted])], memory)
        (verdict,) = decided.verdicts
        if verdict.rejected is not None:
            raise RefusedError(
                verdict.rejected.detail,
                status=verdict.rejected.status,
                actual=f"leaf {verdict.rejected.leaf.hex()}" if verdict.rejected.leaf else None,
            )
        if plan is not None:
            # no witness was asked whether this is the newest copy; the next start must know.
            unconfirmed.mark(directory.unconfirmed, memory.size)
            batching.commit(plan, memory, state)
        published = verdict.index < memory.published_size
        return Allowed(namespace.name, namespace.statement_id, leaf, verdict.index, verdict.fresh, published)
    finally:
        state.close()
        lock.release()


class _Nobody:
    def deliver(self, delivery: object) -> None:
        """Nobody waits."""
