"""The Merkle prefix trie of ``filippo.io/torchwood/mpt`` (v0.10.0, its package comment): hashes, small trees in memory.

A binary radix tree over the bits of the keys, most significant first, in which every inner node names the one bit in
which its two halves first differ. A key is read as if followed by 0x00 and then 0xff without end, so no two keys have
the same bits. The tree depends on the set of pairs only, not on the order of their arrival.

    empty tree   SHA-256("")
    leaf         SHA-256(0x00 || uvarint(len(key)) || key || uvarint(len(value)) || value)
    inner node   SHA-256(0x01 || uvarint(bit) || left || right)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LENGTH = 1_024
"""Bytes of a key, and of a value."""
MAX_BITS = 8 * (MAX_LENGTH + 1)
"""Two keys differ in a bit below this one."""

EMPTY_ROOT = hashlib.sha256(b"").digest()


def uvarint(number: int) -> bytes:
    """LEB128 of a number >= 0, in the fewest bytes."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class _Numbers(dict[int, bytes]):
    """Number -> ``start`` and the number as uvarint, each made once."""

    def __init__(self, start: bytes) -> None:
        self._start = start

    def __missing__(self, number: int) -> bytes:
        made = self[number] = self._start + uvarint(number)
        return made


_LENGTHS = _Numbers(b"")
"""At most MAX_LENGTH of them."""
_HEADS = _Numbers(b"\x01")
"""Bit -> what the hash of an inner node begins with; at most MAX_BITS of them."""


def leaf_hash(key: bytes, value: bytes) -> bytes:
    """SHA-256(0x00 || uvarint(len(key)) || key || uvarint(len(value)) || value)."""
    lengths = _LENGTHS
    return hashlib.sha256(b"\x00" + lengths[len(key)] + key + lengths[len(value)] + value).digest()


def inner_hash(bit: int, left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || uvarint(bit) || left || right). bit: below MAX_BITS."""
    return hashlib.sha256(_HEADS[bit] + left + right).digest()


def bit(key: bytes, number: int) -> int:
    """Bit ``number`` of the padded key, 0 being the first byte's most significant one."""
    at = number >> 3
    if at < len(key):
        return key[at] >> (7 - (number & 7)) & 1
    return 0 if at == len(key) else 1


def padded(key: bytes, length: int) -> bytes:
    """The first ``length`` bytes of the padded key."""
    return (key + b"\x00" + b"\xff" * (length - len(key)))[:length]


def order(key: bytes) -> bytes:
    """Sorts keys of at most 1,024 bytes as the trie does. Keys without 0x00 sort so by themselves."""
    return padded(key, MAX_LENGTH + 1)


def divergence(one: bytes, other: bytes) -> int:
    """The first bit in which two different keys differ."""
    length = min(len(one), len(other))
    difference = int.from_bytes(one[:length], "big") ^ int.from_bytes(other[:length], "big")
    if not difference:
        length = max(len(one), len(other)) + 1
        difference = int.from_bytes(padded(one, length), "big") ^ int.from_bytes(padded(other, length), "big")
        if not difference:
            raise ValueError("equal keys do not differ")
    return 8 * length - difference.bit_length()


def fold(hashes: Sequence[bytes], bits: Sequence[int]) -> bytes:
    """The hash over subtrees in order, where ``bits[i]`` is the first bit in which subtrees i and i + 1 differ."""
    sha256, heads = hashlib.sha256, _HEADS
    waiting = [-1]  # bits of the nodes whose right half is not complete, rising; the first is below every bit
    lefts: list[bytes] = []  # their left halves
    done = hashes[0]
    for at, following in zip(bits, hashes[1:], strict=True):
        while waiting[-1] > at:
            done = sha256(heads[waiting.pop()] + lefts.pop() + done).digest()
        waiting.append(at)
        lefts.append(done)
        done = following
    while lefts:
        done = sha256(heads[waiting.pop()] + lefts.pop() + done).digest()
    return done


def tree_hash(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The root over (key, value) pairs in the trie's order, keys distinct: from nothing but the definition."""
    if not pairs:
        return EMPTY_ROOT
    bits = [divergence(pairs[i][0], pairs[i + 1][0]) for i in range(len(pairs) - 1)]
    return fold([leaf_hash(key, value) for key, value in pairs], bits)


@dataclass(frozen=True, slots=True)
class _Leaf:
    key: bytes
    value: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class _Inner:
    bit: int
    left: _Node
    right: _Node
    hash: bytes


_Node = _Leaf | _Inner


def _inner(at: int, left: _Node, right: _Node) -> _Inner:
    return _Inner(at, left, right, inner_hash(at, left.hash, right.hash))


class Trie:
    """A trie in memory, for hundreds or some ten thousand keys. ``copy`` costs nothing: nodes never change."""

    def __init__(self) -> None:
        self._root: _Node | None = None

    def copy(self) -> Trie:
        twin = Trie()
        twin._root = self._root
        return twin

    def set(self, key: bytes, value: bytes) -> None:
        """Adds the pair, or changes the key's value. Both at most 1,024 bytes."""
        if max(len(key), len(value)) > MAX_LENGTH:
            raise ValueError(f"key or value is longer than {MAX_LENGTH} bytes")
        fresh = _Leaf(key, value, leaf_hash(key, value))
        if self._root is None:
            self._root = fresh
            return
        leaf, path = self._walk(key)
        if leaf.key == key:
            made: _Node = fresh
        else:
            at = divergence(key, leaf.key)
            cut = next((i for i, node in enumerate(path) if node.bit > at), len(path))
            beside: _Node = path[cut] if cut < len(path) else leaf
            path = path[:cut]
            made = _inner(at, beside, fresh) if bit(key, at) else _inner(at, fresh, beside)
        for node in reversed(path):
            made = _inner(node.bit, node.left, made) if bit(key, node.bit) else _inner(node.bit, made, node.right)
        self._root = made

    def get(self, key: bytes) -> bytes | None:
        if self._root is None:
            return None
        leaf, _ = self._walk(key)
        return leaf.value if leaf.key == key else None

    def root(self) -> bytes:
        return EMPTY_ROOT if self._root is None else self._root.hash

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All pairs whose key, padded, starts with ``prefix``, in the trie's order."""
        if self._root is None:
            return []
        leaf, path = self._walk(prefix)
        if not has_prefix(leaf.key, prefix):
            return []
        found, todo = [], [next((node for node in path if node.bit >= 8 * len(prefix)), leaf)]
        while todo:
            node = todo.pop()
            if isinstance(node, _Leaf):
                found.append((node.key, node.value))
            else:
                todo += (node.right, node.left)
        return found

    def prove_lookup(self, key: bytes) -> bytes:
        """Proof for ``teelog.index.proof.verify_lookup``: of the key's value, or of its absence."""
        if self._root is None:
            return b""
        leaf, path = self._walk(key)
        return lookup_proof(key, leaf.key, leaf.value, _steps(key, path))

    def prove_prefix(self, prefix: bytes) -> bytes:
        """Proof for ``teelog.index.proof.verify_prefix`` that ``scan(prefix)`` is complete."""
        if self._root is None:
            return b""
        leaf, path = self._walk(prefix)
        return prefix_proof(prefix, leaf.key, leaf.value, _steps(prefix, path))

    def _walk(self, key: bytes) -> tuple[_Leaf, list[_Inner]]:
        """The leaf that the key's bits lead to, and the inner nodes on the way, from the root on."""
        node, path = self._root, []
        while isinstance(node, _Inner):
            path.append(node)
            node = node.right if bit(key, node.bit) else node.left
        assert node is not None
        return node, path


Steps = Sequence[tuple[int, bytes]]
"""(bit, hash of the other half) of the inner nodes from a leaf up to the root."""


def _steps(key: bytes, path: Sequence[_Inner]) -> Steps:
    return [(node.bit, (node.left if bit(key, node.bit) else node.right).hash) for node in reversed(path)]


def has_prefix(key: bytes, prefix: bytes) -> bool:
    return padded(key, len(prefix)) == prefix


def lookup_proof(key: bytes, leaf_key: bytes, leaf_value: bytes, steps: Steps) -> bytes:
    """The encoded proof, from the leaf that the key's bits lead to and the way up from there."""
    found = b"" if leaf_key == key else _pair(leaf_key, leaf_value)
    return found + b"".join(uvarint(at) + sibling for at, sibling in steps)


def prefix_proof(prefix: bytes, leaf_key: bytes, leaf_value: bytes, steps: Steps) -> bytes:
    """The encoded proof, from the leaf that the padded prefix's bits lead to and the way up from there."""
    if has_prefix(leaf_key, prefix):
        return b"".join(uvarint(at) + sibling for at, sibling in steps if at < 8 * len(prefix))
    return _pair(leaf_key, leaf_value) + b"".join(uvarint(at) + sibling for at, sibling in steps)


def _pair(key: bytes, value: bytes) -> bytes:
    return uvarint(len(key)) + key + uvarint(len(value)) + value
