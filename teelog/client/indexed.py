"""A log's history (``teelog.client.history``) as its index proves it: a few entries are read, not the log."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import AsyncIterator, Iterable, Sequence

from teelog.client.history import Version
from teelog.client.index import RemoteIndex
from teelog.errors import VerificationError
from teelog.index import keys
from teelog.index.keys import Kind
from teelog.statement import dsse, namespace, release, status
from teelog.statement.names import Stream
from teelog.statement.namespace import Namespace
from teelog.statement.release import Release
from teelog.statement.status import Status
from teelog.tlog.tiles import WIDTH


class Indexed:
    """index: as it is at one size, with the main log as far as it covers it.

    Each entry is verified once more by what the map function asks of it, as far as its own chain can tell: semantic
    witnesses have vouched for the rest. Methods raise what ``RemoteIndex`` and ``LogReader`` raise, VerificationError.
    """

    def __init__(self, index: RemoteIndex) -> None:
        self.index = index
        self._reader = index.log
        self._lists: dict[bytes, list[int]] = {}
        self._versions: dict[str, list[Version]] = {}

    @property
    def origin(self) -> str:
        return self.index.main.checkpoint.origin

    @property
    def size(self) -> int:
        return self.index.main.checkpoint.size

    async def versions(self, name: str) -> Sequence[Version]:
        if name not in self._versions:
            indices = await self._list(keys.namespace_key(name))
            entries = await asyncio.gather(*map(self._reader.entry, indices))
            self._versions[name] = _chain(zip(indices, entries, strict=True), name)
        return self._versions[name]

    async def streams(self, name: str) -> Sequence[Stream]:
        pairs = await self.index.prefix(keys.prefix(Kind.STATUS, name))
        return sorted((Stream(*keys.parse(key)[1]) for key, _ in pairs), key=str)

    async def status(self, stream: Stream, size: int | None = None) -> Status | None:
        indices = await self._list(keys.status_key(str(stream)))
        count = len(indices) if size is None else bisect.bisect_left(indices, size)
        return await self.status_number(stream, count - 1) if count else None

    async def status_number(self, stream: Stream, seq: int) -> Status | None:
        """The effective status of a stream with this seq, None if there are fewer."""
        indices = await self._list(keys.status_key(str(stream)))
        if seq >= len(indices):
            return None
        index = indices[seq]
        envelope = dsse.parse(await self._reader.entry(index))
        found = status.verify(envelope, await self._namespace(stream, index), index)
        # Protocol section 4: the seq is the place in the list, which is a check for everybody.
        if (found.stream, found.predicate.seq, found.predicate.log) != (stream, seq, self.origin):
            raise _misplaced(index, f"status {seq} of {stream}")
        return found

    async def releases(self, stream: Stream, size: int | None = None) -> AsyncIterator[Release]:
        indices = await self._list(keys.release_key(str(stream)))
        wanted = indices if size is None else indices[: bisect.bisect_left(indices, size)]
        for number in sorted({index // WIDTH for index in wanted}, reverse=True):
            # A bundle at a time: a stream's releases may be many, and the one asked for is mostly new.
            start, end = number * WIDTH, min(self.size, (number + 1) * WIDTH)
            entries = {index: entry async for index, entry in self._reader.entries(start, end)}
            for index in reversed(wanted[bisect.bisect_left(wanted, start) : bisect.bisect_left(wanted, end)]):
                found = release.verify(dsse.parse(entries[index]), await self._namespace(stream, index), index)
                if found.claim.stream != stream:
                    raise _misplaced(index, f"a release of {stream}")
                yield found

    async def _list(self, key: bytes) -> list[int]:
        if key not in self._lists:
            found = await self.index.lookup(key)
            self._lists[key] = [] if found is None else await self.index.elements(found)
        return self._lists[key]

    async def _namespace(self, stream: Stream, index: int) -> Namespace:
        """The version that was current for the entry at ``index``."""
        versions = await self.versions(stream.namespace)
        place = bisect.bisect_left(versions, index, key=lambda version: version.index)
        if place == 0:
            raise _misplaced(index, f"an entry after version 0 of {stream.namespace}")
        return versions[place - 1].namespace


def _chain(found: Iterable[tuple[int, bytes]], name: str) -> list[Version]:
    made: list[Version] = []
    for index, entry in found:
        envelope = dsse.parse(entry)
        if made:
            current = namespace.verify_next(envelope, made[-1].namespace, index)
        else:
            current = namespace.verify_first(envelope, index)
        if current.name != name:
            raise _misplaced(index, f"a version of {name}")
        made.append(Version(index, current, entry))
    return made


def _misplaced(index: int, what: str) -> VerificationError:
    return VerificationError(
        "the index lists an entry that does not belong there", expected=what, actual=f"entry {index}"
    )
