"""What the index holds under a key: an append-only list of entry indices, as a Merkle tree of its own.

    value = uint64 count || RFC 6962 root over the list        (big-endian, 40 bytes)
    leaf  = SHA-256(0x00 || uint64 entry index)                (indices strictly rising)

A page is 256 indices at a multiple of 256 (the last one may be shorter): a subtree, proven by one inclusion path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from teelog.errors import MalformedError, ProofError
from teelog.strict import MAX_INT
from teelog.tlog import rfc6962, subtree
from teelog.tlog.rfc6962 import HASH_LENGTH, leaf_hash, node_hash, root_of_leaves

PAGE = 256
"""Indices in a full page."""
_COUNT = 8


@dataclass(frozen=True, slots=True)
class Value:
    """count: 1..2**63-1 elements. root: RFC 6962 root over them."""

    count: int
    root: bytes

    def encode(self) -> bytes:
        return self.count.to_bytes(_COUNT, "big") + self.root

    @classmethod
    def parse(cls, data: bytes) -> Value:
        """Raises MalformedError."""
        if len(data) != _COUNT + HASH_LENGTH:
            raise MalformedError("index value has another length", expected="40 bytes", actual=f"{len(data)} bytes")
        count = int.from_bytes(data[:_COUNT], "big")
        # A key without entries is not in the trie.
        if not 0 < count <= MAX_INT:
            raise MalformedError("index value has an impossible count", actual=count)
        return cls(count, data[_COUNT:])


def list_leaf(index: int) -> bytes:
    """SHA-256(0x00 || uint64 entry index)."""
    return leaf_hash(index.to_bytes(8, "big"))


class List:
    """A list in memory: every element, for small logs."""

    def __init__(self, indices: Sequence[int] = ()) -> None:
        self._indices: list[int] = []
        self._leaves: list[bytes] = []
        self._frontier: list[bytes] = []  # of the complete subtrees, largest first
        for index in indices:
            self.append(index)

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(self._indices)

    def append(self, index: int) -> None:
        """Takes the next entry index, larger than all before it."""
        if index < 0 or (self._indices and index <= self._indices[-1]):
            raise ValueError(f"index {index} does not follow {self._indices[-1:]}")
        done, left = list_leaf(index), len(self._leaves)
        self._indices.append(index)
        self._leaves.append(done)
        while left & 1:
            done, left = node_hash(self._frontier.pop(), done), left >> 1
        self._frontier.append(done)

    def value(self) -> Value:
        if not self._leaves:
            raise ValueError("an empty list has no value")
        return Value(len(self._leaves), subtree.fold(self._frontier))

    def prove(self, position: int) -> list[bytes]:
        """The path of element ``position`` for ``verify_element``."""
        return rfc6962.prove_inclusion(position, len(self._leaves), self._read)

    def page(self, number: int) -> tuple[list[int], list[bytes]]:
        """(indices, path) of page ``number`` for ``verify_page``."""
        start, end = page_range(len(self._leaves), number)
        return self._indices[start:end], subtree.prove(start, end, len(self._leaves), self._read)

    def _read(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        return [root_of_leaves(self._leaves[index << level : (index + 1) << level]) for level, index in wanted]


def page_range(count: int, number: int) -> tuple[int, int]:
    """Positions [start, end) of page ``number`` in a list of ``count``. Raises ValueError outside."""
    start = number * PAGE
    if not 0 <= start < count:
        raise ValueError(f"page {number} is outside a list of {count}")
    return start, min(start + PAGE, count)


def verify_element(value: Value, position: int, index: int, path: Sequence[bytes]) -> None:
    """Checks that element ``position`` of the list is ``index``. Raises ProofError."""
    _check_index(index)
    rfc6962.verify_inclusion(position, value.count, list_leaf(index), path, value.root)


def verify_page(value: Value, number: int, indices: Sequence[int], path: Sequence[bytes]) -> None:
    """Checks that page ``number`` of the list is ``indices``, complete, strictly rising. Raises ProofError."""
    if not 0 <= number * PAGE < value.count:
        raise ProofError("page is outside the list", expected=f"{value.count} elements", actual=f"page {number}")
    start, end = page_range(value.count, number)
    if len(indices) != end - start:
        raise ProofError("page has another number of elements", expected=end - start, actual=len(indices))
    for index in indices:
        _check_index(index)
    if any(indices[i] >= indices[i + 1] for i in range(len(indices) - 1)):
        raise ProofError("a list's indices do not rise strictly")
    root = root_of_leaves([list_leaf(index) for index in indices])
    subtree.verify(start, end, value.count, root, value.root, path, "proof of a list's page")


def _check_index(index: int) -> None:
    if not 0 <= index <= MAX_INT:
        raise ProofError("an entry index is out of range", actual=index)
