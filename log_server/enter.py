"""A statement that only the log's operator logs: it enters through the running server or, without one, directly."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from teelog.errors import ConfigError, RefusedError, UnavailableError
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
from teelog.tlog import proof, rfc6962

TIMEOUT = 120.0  # seconds until it is published
MAX_ANSWER = 1_048_576  # bytes


@dataclass(frozen=True, slots=True)
class Entered:
    """index: of the entry. fresh: False if it was logged before. published: False until the next ``serve`` does it."""

    leaf: bytes
    index: int
    fresh: bool
    published: bool


async def enter(path: Path, entry: bytes, clock: Clock) -> Entered:
    """Logs an entry that the caller has judged. Raises ConfigError, RefusedError, UnavailableError."""
    directory = LogDirectory(path)
    if _answers(directory.admin_socket):
        return await _through_server(directory.admin_socket, entry)
    try:
        return _directly(directory, entry, clock)
    except ConfigError:
        if not _answers(directory.admin_socket):
            raise
    return await _through_server(directory.admin_socket, entry)  # it was starting meanwhile


def _answers(path: Path) -> bool:
    """Whether a process listens: a killed server leaves its socket behind."""
    with suppress(OSError), short_path(path) as near, socket.socket(socket.AF_UNIX) as probe:
        probe.connect(near)
        return True
    return False


async def _through_server(path: Path, entry: bytes) -> Entered:
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
    return Entered(rfc6962.leaf_hash(entry), proof.parse_proof(body).index, status == 201, True)


def _refusal(status: int, body: bytes) -> RefusedError | UnavailableError:
    problem: object = None
    with suppress(ValueError):
        problem = json.loads(body)
    detail = str(problem.get("detail", "")) if isinstance(problem, dict) else ""
    if status >= 500:
        return UnavailableError(detail or "the server cannot publish now", actual=status)
    return RefusedError(detail or "the server refused", status=status, actual=status)


def _directly(directory: LogDirectory, entry: bytes, clock: Clock) -> Entered:
    """Commits it; the next ``serve`` signs and publishes, as after a crash. The lock keeps every other writer out."""
    signer = directory.signer(config.load(directory.path).origin)
    lock = DirectoryLock.take(directory.path)
    state = SqliteState(directory.state)
    try:
        store = DirectoryStore(directory.public, directory.scratch)
        memory = recovery.load(state, store, signer, clock)
        admitted = places.admitted(entry, admit.classify(entry))
        (decided,), plan = batching.decide([Submission(_Nobody(), 0, [admitted])], memory)
        (verdict,) = decided.verdicts
        rejected = verdict.rejected
        if rejected is not None:
            actual = f"leaf {rejected.leaf.hex()}" if rejected.leaf else rejected.actual
            raise RefusedError(rejected.detail, status=rejected.status, actual=actual)
        if plan is not None:
            # no witness was asked whether this is the newest copy; the next start must know.
            unconfirmed.mark(directory.unconfirmed, memory.size)
            batching.commit(plan, memory, state)
        published = verdict.index < memory.published_size
        return Entered(admitted.leaf, verdict.index, verdict.fresh, published)
    finally:
        state.close()
        lock.release()


class _Nobody:
    def deliver(self, delivery: object) -> None:
        """Nobody waits."""
