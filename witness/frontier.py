"""A tree that is only appended to: the roots of the complete subtrees that it consists of, at most 63 hashes."""

from __future__ import annotations

from dataclasses import dataclass, field

from teelog.errors import MalformedError
from teelog.tlog.rfc6962 import EMPTY_ROOT, HASH_LENGTH
from teelog.tlog.subtree import fold, node_hash


@dataclass(slots=True)
class Frontier:
    """size: leaves. hashes: those of ``subtree.nodes(0, size)``, left to right, one for each set bit of ``size``."""

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    def append(self, leaf_hash: bytes) -> None:
        """Takes the next leaf."""
        held, size = leaf_hash, self.size
        while size & 1:
            held = node_hash(self.hashes.pop(), held)
            size >>= 1
        self.hashes.append(held)
        self.size += 1

    def root(self) -> bytes:
        return fold(self.hashes) if self.hashes else EMPTY_ROOT

    def copy(self) -> Frontier:
        return Frontier(self.size, list(self.hashes))

    def encode(self) -> bytes:
        """The hashes; how many there are follows from the size."""
        return b"".join(self.hashes)

    @classmethod
    def parse(cls, size: int, data: bytes) -> Frontier:
        """Raises MalformedError."""
        if len(data) != HASH_LENGTH * size.bit_count():
            raise MalformedError("not the frontier of a tree of this size", expected=size, actual=f"{len(data)} bytes")
        return cls(size, [data[i : i + HASH_LENGTH] for i in range(0, len(data), HASH_LENGTH)])
