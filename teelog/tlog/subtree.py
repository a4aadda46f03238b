"""Merkle subtrees and their proofs: the general case that RFC 6962's two proofs are instances of.

Source: draft-ietf-plants-merkle-tree-certs sections 4.1 to 4.4; RFC 6962 section 2.1.

A subtree [start, end) of a tree with ``size`` leaves is *valid* if start < end <= size and start is a multiple of the
smallest power of two >= end - start. The subtree consistency proof PROOF(start, end, size) is defined by recursion on
the tree's split at k, the largest power of two below its size. An inclusion proof is the proof of [i, i+1); a
consistency proof from an old size m is the proof of [0, m). One recursion therefore makes and checks all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from teelog.errors import ProofError

HASH_LENGTH = 32
MAX_HASHES = 63
"""More hashes than this no proof has (W-07, PR-05)."""

Read = Callable[[Sequence[tuple[int, int]]], Sequence[bytes]]
"""Reads complete nodes: (level, index) covers leaves [index * 2**level, (index + 1) * 2**level)."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right) (TT-11; RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(size: int) -> int:
    """The largest power of two smaller than ``size``, for size >= 2."""
    return 1 << (size - 1).bit_length() - 1


def is_valid(start: int, end: int) -> bool:
    """Whether [start, end) is a valid subtree range (WS-04; draft section 4.1)."""
    if not 0 <= start < end:
        return False
    return start % (1 << (end - start - 1).bit_length()) == 0


def verify(
    start: int,
    end: int,
    size: int,
    subtree_root: bytes,
    root: bytes,
    proof: Sequence[bytes],
    what: str = "subtree proof",
) -> None:
    """Checks that the leaves [start, end) of the tree (size, root) hash to ``subtree_root``.

    start, end, size: 0 <= start <= end <= size, [start, end) valid or empty. Hashes are 32 bytes.
    Raises ProofError; the whole proof must be used, none may be missing.
    """
    # A node hashes 64 bytes wherever they are cut: were lengths free, bytes could move from one hash to the next.
    if any(len(item) != HASH_LENGTH for item in (subtree_root, root, *proof)):
        raise ProofError(f"{what} has hashes of another length", expected=f"{HASH_LENGTH} bytes each")
    if start == end <= size and start >= 0:
        # The empty subtree is consistent with every tree, and says nothing about it.
        if proof or subtree_root != hashlib.sha256(b"").digest():
            raise ProofError(f"{what} of an empty subtree is not empty")
        return
    if not is_valid(start, end) or end > size:
        raise ProofError(f"{what}: [{start}, {end}) is no valid subtree of a tree of size {size}")
    got_subtree, got_root = roots(start, end, size, subtree_root, proof, what)
    if got_subtree != subtree_root:
        raise ProofError(
            f"{what} does not match the smaller tree", expected=subtree_root.hex(), actual=got_subtree.hex()
        )
    if got_root != root:
        raise ProofError(f"{what} does not lead to the root", expected=root.hex(), actual=got_root.hex())


def roots(
    start: int, end: int, size: int, seed: bytes, proof: Sequence[bytes], what: str = "subtree proof"
) -> tuple[bytes, bytes]:
    """The (subtree root, tree root) that ``proof`` computes.

    seed: the subtree's root, used only where the subtree is a node of the tree (then the first result is just it).
    Raises ProofError if the proof has the wrong number of hashes.
    """
    path: list[tuple[bool, bool, bytes]] = []  # (sibling is left, sibling belongs to the subtree too, sibling)
    left = len(proof)
    whole = True  # the subtree is still a node of the tree, not only a part of one
    while not (start == 0 and end == size):
        if not left:
            raise ProofError(f"{what} is too short", actual=f"{len(proof)} hashes")
        left -= 1
        k = split(size)
        if end <= k:
            path.append((False, False, proof[left]))
            size = k
        elif k <= start:
            path.append((True, False, proof[left]))
            start, end, size = start - k, end - k, size - k
        else:
            path.append((True, True, proof[left]))
            end, size, whole = end - k, size - k, False
    subtree = seed
    if not whole:
        if not left:
            raise ProofError(f"{what} is too short", actual=f"{len(proof)} hashes")
        left -= 1
        subtree = proof[left]
    if left:
        raise ProofError(f"{what} is too long", expected=f"{len(proof) - left} hashes", actual=f"{len(proof)} hashes")
    root = subtree
    for on_left, shared, sibling in reversed(path):
        if shared:
            subtree = node_hash(sibling, subtree)
        root = node_hash(sibling, root) if on_left else node_hash(root, sibling)
    return subtree, root


def ranges(start: int, end: int, size: int) -> list[tuple[int, int]]:
    """The leaf ranges whose hashes are the proof of [start, end) in a tree of ``size``, in the proof's order."""
    found: list[tuple[int, int]] = []
    offset, whole = 0, True
    while not (start == 0 and end == size):
        k = split(size)
        if end <= k:
            found.append((offset + k, offset + size))
            size = k
        elif k <= start:
            found.append((offset, offset + k))
            offset, start, end, size = offset + k, start - k, end - k, size - k
        else:
            found.append((offset, offset + k))
            offset, end, size, whole = offset + k, end - k, size - k, False
    if not whole:
        found.append((offset, offset + size))
    return found[::-1]


def nodes(lo: int, hi: int) -> list[tuple[int, int]]:
    """The complete nodes, left to right, that make up the leaf range [lo, hi) of a tree."""
    found = []
    while lo < hi:
        level = (hi - lo).bit_length() - 1
        if lo:
            level = min(level, (lo & -lo).bit_length() - 1)
        found.append((level, lo >> level))
        lo += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over consecutive complete nodes of falling size: right to left."""
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = node_hash(left, result)
    return result


def prove(start: int, end: int, size: int, read: Read) -> list[bytes]:
    """The proof of [start, end) in a tree of ``size``; all nodes are asked for in one ``read``."""
    wanted = [nodes(lo, hi) for lo, hi in ranges(start, end, size)]
    hashes = iter(read([node for group in wanted for node in group]))
    return [fold([next(hashes) for _ in group]) for group in wanted]
