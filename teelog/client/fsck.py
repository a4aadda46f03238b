"""Replays a whole log from its entries: every leaf, every tile, the root.

A second, independent way to the same hashes: nothing of ``teelog.tlog``'s tree code is used here, so that a mistake
there does not hide itself. Only bundles are believed to be input; each tile that the log serves must be, to the byte,
what follows from them, and their end must be the root that the log signed.

Memory: one bundle, and 256 hashes a level.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from hashlib import sha256

from teelog.client.source import TileSource
from teelog.errors import MalformedError, RefusedError
from teelog.tlog.tiles import Bundle, Tile

AHEAD = 4  # bundles fetched while one is hashed
MAX_PROBLEMS = 100  # after these the replay stops listing

_PAIRS = struct.Struct("64s").iter_unpack


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
    """Hashes of each level as bytes, 32 a hash; a level that has 256 of them is a full tile and rises by one."""

    def __init__(self, source: TileSource) -> None:
        self.size = 0
        self.tiles = 0
        self.problems: list[Problem] = []
        self._source = source
        self._levels: list[bytearray] = []
        self._done: list[int] = []  # full tiles of each level
        self._due: list[tuple[Tile, bytes]] = []

    def complain(self, path: str, cause: str, expected: str | None = None, actual: str | None = None) -> None:
        self.problems.append(Problem(path, cause, expected, actual))

    def bundle(self, data: bytes, width: int) -> None:
        """Takes the next ``width`` entries."""
        # The byte before an entry, half of its length, becomes the leaf prefix: no entry is copied to be hashed.
        buffer = bytearray(data)
        view, leaves, at, end = memoryview(buffer), [], 0, len(data)
        for _ in range(width):
            start = at + 1
            if start >= end:
                break
            at += 2 + (data[at] << 8 | data[start])
            buffer[start] = 0
            leaves.append(view[start:at])
        if len(leaves) != width or at != end:
            path = Bundle(self.size // 256, width).path
            self.complain(
                path, f"not a bundle of {width} entries", f"{end} bytes", f"{len(leaves)} entries, {at} bytes"
            )
            raise _Halt
        hashes = [leaf.digest() for leaf in map(sha256, leaves)]
        self.size += width
        self._rise(0, b"".join(hashes))

    def _rise(self, level: int, hashes: bytes) -> None:
        if level == len(self._levels):
            self._levels.append(bytearray())
            self._done.append(0)
        held = self._levels[level]
        held += hashes
        if len(held) == 8192:
            self._due.append((Tile(level, self._done[level]), bytes(held)))
            self._done[level] += 1
            held.clear()
            self._rise(level + 1, _top(self._due[-1][1]))

    def close(self) -> bytes:
        """The root; the partial tiles become due."""
        edge: list[bytes] = []
        for level, held in enumerate(self._levels):
            if held:
                self._due.append((Tile(level, self._done[level], len(held) // 32), bytes(held)))
        for held in reversed(self._levels):
            # The largest perfect subtrees first: the binary digits of the width.
            at, left = 0, len(held) // 32
            while left:
                width = 1 << (left.bit_length() - 1)
                edge.append(_top(bytes(held[at : at + 32 * width])))
                at += 32 * width
                left -= width
        if not edge:
            return sha256(b"").digest()
        root = edge.pop()
        while edge:
            root = sha256(b"\1" + edge.pop() + root).digest()
        return root

    async def settle(self) -> None:
        """Compares the tiles that are due with what the log serves."""
        due, self._due = self._due, []
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


def _top(hashes: bytes) -> bytes:
    """The root of a perfect tree over ``hashes``, 32 bytes each, a power of two of them."""
    while len(hashes) > 32:
        hashes = b"".join([sha256(b"\1" + pair).digest() for (pair,) in _PAIRS(hashes)])
    return hashes
