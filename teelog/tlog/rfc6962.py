"""Merkle trees of RFC 6962 section 2.1 with SHA-256: hashes, inclusion and consistency proofs.

Verification works on numbers and 32-byte hashes only. Proofs are made from any source of complete nodes (``Read`` in
``teelog.tlog.subtree``), such as tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from teelog.errors import ProofError
from teelog.tlog import subtree
from teelog.tlog.subtree import HASH_LENGTH, MAX_HASHES, Read, fold, node_hash, nodes

__all__ = [
    "EMPTY_ROOT",
    "HASH_LENGTH",
    "MAX_HASHES",
    "Read",
    "leaf_hash",
    "node_hash",
    "prove_consistency",
    "prove_inclusion",
    "root",
    "root_of_leaves",
    "verify_consistency",
    "verify_inclusion",
]

_HASHES = {HASH_LENGTH}
EMPTY_ROOT = sha256(b"").digest()
"""Root of the tree with no leaves (TT-11, CP-12)."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry) (TT-11, PR-16: a leaf can never be taken for a node)."""
    return sha256(b"\x00" + entry).digest()


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root_hash: bytes) -> None:
    """Checks that leaf hash ``leaf`` is number ``index`` of the tree (size, root_hash). Raises ProofError."""
    # PR-11: an index outside the tree, so anything at all in an empty tree, is refused.
    if not 0 <= index < size:
        raise ProofError("index is outside the tree", expected=f"below {size}", actual=index)
    # The way up of RFC 9162 section 2.1.3.2; what is wrong where it does not end at the root is told by the other one.
    node, last, hashed = index, size - 1, leaf
    for sibling in proof:
        if not last:
            hashed = b""  # one hash more than the way is long
            break
        if node & 1 or node == last:
            hashed = sha256(b"\x01" + sibling + hashed).digest()
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            hashed = sha256(b"\x01" + hashed + sibling).digest()
        node >>= 1
        last >>= 1
    if last or hashed != root_hash or set(map(len, (leaf, *proof))) != _HASHES:
        subtree.verify(index, index + 1, size, leaf, root_hash, proof, "inclusion proof")
        raise ProofError("inclusion proof does not lead to the root", expected=root_hash.hex(), actual=hashed.hex())


def prove_inclusion(index: int, size: int, read: Read) -> list[bytes]:
    """The inclusion proof of leaf ``index`` in the tree of ``size``; requires 0 <= index < size."""
    if not 0 <= index < size:
        raise ValueError(f"index {index} is outside a tree of size {size}")
    return subtree.prove(index, index + 1, size, read)


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Checks that the tree (new_size, new_root) extends (old_size, old_root). Raises ProofError.

    PR-15: equal sizes need equal roots and an empty proof. Nothing can be proven from the empty tree: old_size 0 is
    refused here, and a caller that starts from nothing says so by not calling.
    """
    if not 0 < old_size <= new_size:
        raise ProofError("no consistency proof between these sizes", expected=f"1 to {new_size}", actual=old_size)
    if old_size == new_size and old_root != new_root:
        raise ProofError("equal sizes with different roots", expected=old_root.hex(), actual=new_root.hex())
    subtree.verify(0, old_size, new_size, old_root, new_root, proof, "consistency proof")


def prove_consistency(old_size: int, new_size: int, read: Read) -> list[bytes]:
    """The consistency proof between two sizes; requires 0 <= old_size <= new_size."""
    if not 0 <= old_size <= new_size:
        raise ValueError(f"no consistency proof from {old_size} to {new_size}")
    return subtree.prove(0, old_size, new_size, read) if 0 < old_size < new_size else []


def root(size: int, read: Read) -> bytes:
    """The root of the first ``size`` leaves."""
    return fold(read(nodes(0, size))) if size else EMPTY_ROOT


def root_of_leaves(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over leaf hashes held in memory, level by level."""
    level = list(leaf_hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return level[0]
