"""Hashes a log's entries again, from its bundles on: every leaf, every tile, the root.

Nothing of ``teelog.tlog``'s tree code is used, so that a mistake there does not hide itself. Fast: no entry is copied,
and hashes stay side by side as bytes. Memory: one bundle, and 256 hashes a level.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256

from teelog.errors import MalformedError
from teelog.tlog.tiles import Tile

_PAIRS = struct.Struct("64s").iter_unpack


class NotABundle(MalformedError):
    """A bundle that has not the entries that it should have."""


class Rehash:
    """A tree that grows by bundles. Hashes of each level as bytes, 32 a hash; 256 of them are a full tile and rise by
    one.

    size: entries taken. edges: of a tree that is gone on with, level by level, the hashes of its partial tile.
    """

    def __init__(self, size: int = 0, edges: Sequence[bytes] = ()) -> None:
        self.size = size
        self._levels = [bytearray(edge) for edge in edges]
        self._done = [size >> 8 * (level + 1) for level in range(len(edges))]
        self._due: list[tuple[Tile, bytes]] = []

    def bundle(self, data: bytes, width: int) -> None:
        """Takes the entries of a bundle of ``width`` that were not taken before: it is the one that the tree ends in.

        Raises NotABundle, and has taken nothing.
        """
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
            raise NotABundle(
                f"not a bundle of {width} entries", expected=f"{end} bytes", actual=f"{len(leaves)} entries, {at} bytes"
            )
        new = leaves[self.size % 256 :]
        hashes = [leaf.digest() for leaf in map(sha256, new)]
        self.size += len(new)
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

    def taken(self) -> list[tuple[Tile, bytes]]:
        """The tiles that have become full since the last call, and those that ``cut`` added."""
        due, self._due = self._due, []
        return due

    def cut(self) -> None:
        """Counts the partial tiles of the tree as it is among those that are taken."""
        for level, held in enumerate(self._levels):
            if held:
                self._due.append((Tile(level, self._done[level], len(held) // 32), bytes(held)))

    def root(self) -> bytes:
        """Of the tree as it is."""
        edge: list[bytes] = []
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


def _top(hashes: bytes) -> bytes:
    """The root of a perfect tree over ``hashes``, 32 bytes each, a power of two of them."""
    while len(hashes) > 32:
        hashes = b"".join([sha256(b"\1" + pair).digest() for (pair,) in _PAIRS(hashes)])
    return hashes
