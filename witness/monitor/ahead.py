"""Entries read, and their signatures checked, by worker threads, before the map function has its turn.

The map function goes entry by entry, for each may change whose keys count for the next. Most do not: so the keys that
counted a little earlier are tried first, by as many threads as there are cores (checking a signature holds up no other
thread). What held goes with the entry (``Envelope.checked``) and counts for that very key only; where the guess was
wrong, the map function checks by itself. The outcome is the same, and pure as before.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import msgspec

from teelog.errors import MalformedError
from teelog.statement import index_map
from teelog.statement.index_map import Holders, Read
from teelog.statement.log_policy import LogPolicy
from teelog.statement.namespace import Namespace

SHARE = 32  # entries that a thread takes at a time
BATCHES = 3  # read ahead of the one that is mapped
MAX_NAMES = 10_000  # namespaces whose keys are held ready

Batch = tuple[int, Sequence[bytes]]
"""The index of its first entry, and the entries."""
BatchRead = tuple[int, list[tuple[bytes, Read]]]


class Known:
    """Whose keys counted when they were last looked up; threads only read it, and note what it lacks."""

    def __init__(self, state: Holders) -> None:
        self._state = state
        self._names: dict[str, Namespace] = {}
        self._policy: LogPolicy | None = None
        self._missing: set[str] = set()

    def log_policy(self) -> LogPolicy | None:
        return self._policy

    def namespace(self, name: str) -> Namespace | None:
        try:
            return self._names[name]
        except KeyError:
            self._missing.add(name)
            return None

    def refresh(self) -> None:
        """Looks up what threads have missed; for the thread that owns the state."""
        self._policy = self._state.log_policy()
        if len(self._names) > MAX_NAMES:
            self._names.clear()
        while self._missing:
            self.renew(self._missing.pop())

    def renew(self, name: str) -> None:
        """Looks this namespace up, whose keys may have changed."""
        found = self._state.namespace(name)
        if found is not None:
            self._names[name] = found


class Ahead:
    """A context: its threads end with it. state: before the next entry; asked in the caller's thread only.

    workers: threads; by default one for each core that this process may use.
    """

    def __init__(self, state: Holders, workers: int | None = None) -> None:
        self.known = Known(state)
        self._pool = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), "signatures")

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    async def over(self, batches: AsyncIterator[Batch]) -> AsyncIterator[BatchRead]:
        """The batches in their order, each entry with what it was read as. Raises what ``batches`` raises."""
        due: deque[tuple[int, Sequence[bytes], list[asyncio.Future[list[Read]]]]] = deque()
        async for first, entries in batches:
            self.known.refresh()
            shares = [entries[at : at + SHARE] for at in range(0, len(entries), SHARE)]
            due.append((first, entries, [asyncio.wrap_future(self._pool.submit(self._share, each)) for each in shares]))
            if len(due) > BATCHES:
                yield await _done(*due.popleft())
        while due:
            yield await _done(*due.popleft())

    def _share(self, entries: Sequence[bytes]) -> list[Read]:
        return [_read(entry, self.known) for entry in entries]


async def _done(first: int, entries: Sequence[bytes], shares: Sequence[asyncio.Future[list[Read]]]) -> BatchRead:
    read = [each for share in await asyncio.gather(*shares) for each in share]
    return first, list(zip(entries, read, strict=True))


def _read(entry: bytes, known: Known) -> Read:
    parsed = index_map.read(entry)
    if isinstance(parsed, MalformedError):
        return parsed
    envelope = parsed.envelope.checked(index_map.signing_keys(parsed, known))
    return msgspec.structs.replace(parsed, envelope=envelope)
