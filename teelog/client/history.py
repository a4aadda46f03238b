"""What is, and was, in effect on a log: a namespace's versions, a stream's statuses and releases, each verified.

Two ways give the same answers. ``replay`` reads every entry and applies the map function by itself: it trusts nobody
and takes as long as the log is long. ``teelog.client.indexed`` asks the log's index, whose root semantic witnesses
rebuilt, and reads a few entries.
"""

from __future__ import annotations

import bisect
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from teelog.client.log import LogReader
from teelog.statement import dsse, names, release, status
from teelog.statement.index_map import MemoryState, NamespaceEffect, ReleaseEffect, StatusEffect, map_entry
from teelog.statement.names import Stream
from teelog.statement.namespace import Namespace
from teelog.statement.release import Release
from teelog.statement.status import Status

Found = TypeVar("Found", Status, Release)
Tell = Callable[[int], None]
"""Called as entries are read, with how many more there are of them now."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a namespace that took effect with entry ``index``. entry: its exact bytes."""

    index: int
    namespace: Namespace
    entry: bytes = field(repr=False)


class History(Protocol):
    """The effective entries of a log of ``size`` entries. Methods raise what reading the log raises.

    size as an argument: the answer for the log's first so many entries; None: for all.
    """

    @property
    def origin(self) -> str:
        """Of the log."""

    @property
    def size(self) -> int:
        """Entries that the answers cover."""

    async def versions(self, name: str) -> Sequence[Version]:
        """The versions of a namespace, from version 0 to the current one; empty: the log has no such namespace."""

    async def streams(self, name: str) -> Sequence[Stream]:
        """The streams of a namespace that have a status, in the order of their names."""

    async def status(self, stream: Stream, size: int | None = None) -> Status | None:
        """The last effective status of a stream."""

    def releases(self, stream: Stream, size: int | None = None) -> AsyncIterator[Release]:
        """The effective releases of a stream, the newest first."""


@dataclass
class Replayed:
    """A history that was gone through, of one namespace."""

    origin: str
    size: int
    name: str
    _versions: list[Version] = field(default_factory=list)
    _statuses: dict[Stream, list[Status]] = field(default_factory=dict)
    _releases: dict[Stream, list[Release]] = field(default_factory=dict)

    async def versions(self, name: str) -> Sequence[Version]:
        return self._versions if name == self.name else ()

    async def streams(self, name: str) -> Sequence[Stream]:
        return sorted(self._statuses, key=str) if name == self.name else ()

    async def status(self, stream: Stream, size: int | None = None) -> Status | None:
        found = _before(self._statuses.get(stream, []), size)
        return found[-1] if found else None

    async def releases(self, stream: Stream, size: int | None = None) -> AsyncIterator[Release]:
        for found in reversed(_before(self._releases.get(stream, []), size)):
            yield found

    def _take(self, entry: bytes, index: int, state: MemoryState) -> None:
        effect = map_entry(entry, index, state).effect
        if effect is None:
            return
        before = state.namespace(self.name)
        state.apply(effect)
        if isinstance(effect, NamespaceEffect):
            now = state.namespace(self.name)
            if now is not None and now != before:
                self._versions.append(Version(index, now, entry))
        elif before is not None and isinstance(effect, StatusEffect | ReleaseEffect):
            self._keep(entry, index, before, effect)

    def _keep(self, entry: bytes, index: int, namespace: Namespace, effect: StatusEffect | ReleaseEffect) -> None:
        if names.stream(effect.stream).namespace != self.name:
            return
        envelope = dsse.parse(entry)
        if isinstance(effect, StatusEffect):
            found = status.verify(envelope, namespace, index)
            self._statuses.setdefault(found.stream, []).append(found)
        else:
            allowed = release.verify(envelope, namespace, index)
            self._releases.setdefault(allowed.claim.stream, []).append(allowed)


def _before(found: list[Found], size: int | None) -> list[Found]:
    if size is None:
        return found
    return found[: bisect.bisect_left(found, size, key=lambda each: -1 if each.index is None else each.index)]


async def replay(reader: LogReader, origin: str, name: str, tell: Tell) -> Replayed:
    """Goes through the log that ``reader`` reads, for one namespace. Raises what the reader raises."""
    state = MemoryState(origin)
    made = Replayed(origin, reader.size, name)
    async for index, entry in reader.entries():
        made._take(entry, index, state)
        tell(1)
    return made


async def search(
    reader: LogReader,
    origin: str,
    wanted: Callable[[bytes], bool],
    tell: Tell,
    met: Callable[[int, bytes, MemoryState], None] = lambda _index, _entry, _state: None,
) -> dict[bytes, list[int]]:
    """The index's lists under the keys that are ``wanted``, found by reading the whole log. Raises as ``replay``.

    met: called with each entry that has such a key, and the state before it.
    """
    state = MemoryState(origin)
    found: dict[bytes, list[int]] = {}
    async for index, entry in reader.entries():
        mapped = map_entry(entry, index, state)
        matching = list(filter(wanted, mapped.keys))
        if matching:
            met(index, entry, state)
        if mapped.effect is not None:
            state.apply(mapped.effect)
        for key in matching:
            found.setdefault(key, []).append(index)
        tell(1)
    return found
