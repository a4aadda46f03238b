"""The second code path before a signature (R-07): a batch's root from its bytes alone, another way than tiles.

A compact range keeps the roots of the complete subtrees that a tree consists of, one per set bit of its size. It is
extended level by level from the entries as they were read back from the state. A flipped bit in a leaf hash, in an
entry or in a tile gives another root than the first path, and then nothing is signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from teelog.log_server.seams import Damaged
from teelog.tlog.rfc6962 import EMPTY_ROOT, Read
from teelog.tlog.subtree import nodes


@dataclass(frozen=True, slots=True)
class CompactRange:
    """size: leaves. subtrees: level -> root of the complete subtree of 2**level leaves at that place."""

    size: int
    subtrees: tuple[tuple[int, bytes], ...]

    @classmethod
    def load(cls, size: int, read: Read) -> CompactRange:
        """From the stored tree."""
        places = nodes(0, size)
        return cls(size, tuple((level, item) for (level, _), item in zip(places, read(places), strict=True)))

    def extend(self, entries: Sequence[bytes]) -> CompactRange:
        """The range with these entries after it."""
        held = dict(self.subtrees)
        carried = [sha256(b"\x00" + entry).digest() for entry in entries]
        level = 0
        while carried:
            if level in held:
                carried.insert(0, held.pop(level))
            if len(carried) % 2:
                held[level] = carried[-1]
            carried = [
                sha256(b"\x01" + left + right).digest()
                for left, right in zip(carried[0:-1:2], carried[1::2], strict=False)
            ]
            level += 1
        return CompactRange(self.size + len(entries), tuple(sorted(held.items(), reverse=True)))

    def root(self) -> bytes:
        """The tree's root."""
        if not self.subtrees:
            return EMPTY_ROOT
        result = self.subtrees[-1][1]
        for _, left in reversed(self.subtrees[:-1]):
            result = sha256(b"\x01" + left + result).digest()
        return result


def require_root(found: CompactRange, size: int, root: bytes) -> None:
    """Raises Damaged unless the second path leads to the same tree."""
    if (found.size, found.root()) != (size, root):
        raise Damaged(
            "hashing the stored batch again gives another tree: nothing is signed",
            expected=f"size {size}, root {root.hex()}",
            actual=f"size {found.size}, root {found.root().hex()}",
        )
