"""Replays a whole log from its entries: every leaf, every tile, the root.

A second, independent way to the same hashes: nothing of ``teelog.tlog``'s tree code is used here, so that a mistake
there does not hide itself. Only bundles are believed to be input; each tile that the log serves must be, to the byte,
what follows from them, and their end must be the root that the log signed.

Memory: one bundle, and 256 hashes a level.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from teelog.client.rehash import NotABundle, Rehash
from teelog.client.source import TileSource
from teelog.errors import MalformedError, RefusedError
from teelog.tlog.tiles import Bundle

AHEAD = 4  # bundles fetched while one is hashed
MAX_PROBLEMS = 100  # after these the replay stops listing


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it follows from the entries. path: the object's, or ``checkpoint``."""

    path: str
    cause: str
    expected: str | None = None
    actual: str | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay found. size: entries read. root: that they lead to, None where entries were missing.

    problems: empty if all is as it must be; ``more`` were not kept.
    """

    size: int
    root: bytes | None
    tiles: int
    problems: tuple[Problem, ...]
    more: int


class _Halt(Exception):
    """A bundle is missing or damaged: what follows from it cannot be known."""


async def replay(source: TileSource, size: int, root: bytes, progress: Callable[[int], object] | None = None) -> Replay:
    """Replays the log behind ``source`` up to the signed tree head (size, root).

    progress: called with the number of entries of each bundle. Raises UnavailableError; what is missing or wrong is a
    problem in the result.
    """
    work = _Replayer(source)
    found: bytes | None = None
    try:
        async for data, width in _bundles(source, size, work):
            work.bundle(data, width)
            await work.settle()
            if progress is not None:
                progress(width)
        found = work.close()
        await work.settle()
    except _Halt:
        pass
    if found is not None and found != root:
        work.complain("checkpoint", "the entries do not lead to the signed root", root.hex(), found.hex())
    kept = tuple(work.problems[:MAX_PROBLEMS])
    return Replay(work.size, found, work.tiles, kept, len(work.problems) - len(kept))


async def _bundles(source: TileSource, size: int, work: _Replayer) -> AsyncIterator[tuple[bytes, int]]:
    """Every bundle in order, fetched a few ahead."""
    count = -(-size // 256)
    pending: list[tuple[Bundle, asyncio.Task[bytes]]] = []
    number = 0
    try:
        while pending or number < count:
            while number < count and len(pending) < AHEAD:
                wanted = Bundle(number, min(256, size - 256 * number))
                pending.append((wanted, asyncio.create_task(source.bundle(wanted))))
                number += 1
            wanted, task = pending.pop(0)
            try:
                yield await task, wanted.width
            except (RefusedError, MalformedError) as error:
                work.complain(wanted.path, error.message)
                raise _Halt from error
    finally:
        for _, task in pending:
            task.cancel()


class _Replayer:
    """What follows from the entries, beside what the log serves."""

    def __init__(self, source: TileSource) -> None:
        self.tiles = 0
        self.problems: list[Problem] = []
        self._source = source
        self._hashes = Rehash()

    @property
    def size(self) -> int:
        return self._hashes.size

    def complain(self, path: str, cause: str, expected: str | None = None, actual: str | None = None) -> None:
        self.problems.append(Problem(path, cause, expected, actual))

    def bundle(self, data: bytes, width: int) -> None:
        """Takes the next ``width`` entries."""
        try:
            self._hashes.bundle(data, width)
        except NotABundle as error:
            self.complain(Bundle(self.size // 256, width).path, error.message, str(error.expected), str(error.actual))
            raise _Halt from error

    def close(self) -> bytes:
        """The root; the partial tiles become due."""
        self._hashes.cut()
        return self._hashes.root()

    async def settle(self) -> None:
        """Compares the tiles that are due with what the log serves."""
        due = self._hashes.taken()
        for tile, expected in due:
            self.tiles += 1
            try:
                actual = await self._source.tile(tile)
            except (RefusedError, MalformedError) as error:
                self.complain(tile.path, error.message)
                continue
            if actual != expected:
                where = next(
                    (i for i in range(0, len(expected), 32) if actual[i : i + 32] != expected[i : i + 32]), None
                )
                self.complain(
                    tile.path,
                    "not the tile that follows from the entries",
                    f"{len(expected)} bytes"
                    if where is None
                    else f"{expected[where : where + 32].hex()} at {where // 32}",
                    f"{len(actual)} bytes" if where is None else actual[where : where + 32].hex(),
                )
