"""Proofs of the index's trie, checked: one key, or all keys with a prefix (torchwood v0.10.0, package comment of mpt).

    presence   (uvarint(bit) || sibling)*, from the leaf up to the root, bits strictly falling
    absence    uvarint(len) key' uvarint(len) value', then the same: the leaf that the key's bits lead to
    prefix     the steps above the subtree of all keys with the prefix; or, where there is none, a proof of absence

The empty tree's proof is empty. torchwood's reader takes numbers with superfluous bytes; here a proof has one spelling.
"""

from __future__ import annotations

from collections.abc import Sequence

from teelog.errors import MalformedError, ProofError
from teelog.index.trie import (
    EMPTY_ROOT,
    MAX_BITS,
    MAX_LENGTH,
    bit,
    has_prefix,
    inner_hash,
    leaf_hash,
    order,
    tree_hash,
)
from teelog.tlog.rfc6962 import HASH_LENGTH

MAX_PROOF = 64 * 1_024
"""Bytes of a proof, and of the pairs of a prefix answer together."""


def verify_lookup(root: bytes, key: bytes, value: bytes | None, proof: bytes) -> None:
    """Checks that the trie ``root`` holds (key, value), or no such key where value is None.

    Raises MalformedError for a proof that is none, ProofError for one that does not lead to the root.
    """
    _check_root(root)
    _check_lengths(key, value or b"")
    _check_size(proof)
    if value is not None:
        steps = _steps(proof, 0)
        _check_climb(root, key, leaf_hash(key, value), steps)
        return
    if root == EMPTY_ROOT and not proof:
        return
    other, other_value, at = _pair(proof)
    if other == key:
        raise ProofError("proof of absence shows the key itself", actual=key[:80])
    _check_absence(root, key, other, other_value, _steps(proof, at))


def verify_prefix(root: bytes, prefix: bytes, pairs: Sequence[tuple[bytes, bytes]], proof: bytes) -> None:
    """Checks that the trie ``root`` holds exactly ``pairs`` under ``prefix``, in the trie's order; none is proven too.

    Raises MalformedError and ProofError as ``verify_lookup``.
    """
    _check_root(root)
    _check_lengths(prefix, b"")
    _check_size(proof)
    if not pairs:
        _verify_none(root, prefix, proof)
        return
    if sum(len(key) + len(value) for key, value in pairs) > MAX_PROOF:
        raise MalformedError("more pairs than a prefix answer may hold", expected=f"at most {MAX_PROOF} bytes")
    for key, value in pairs:
        _check_lengths(key, value)
        # The proven subtree may be larger than the prefix asks for: only the keys themselves show that it is not.
        if not has_prefix(key, prefix):
            raise ProofError("a key does not have the prefix", expected=prefix[:80], actual=key[:80])
    keys = [order(key) for key, _ in pairs]
    if any(keys[i] >= keys[i + 1] for i in range(len(keys) - 1)):
        raise ProofError("keys are not in strictly rising order")
    steps = _steps(proof, 0)
    if steps and steps[0][0] >= 8 * len(prefix):
        raise ProofError(
            "proof is of a part of the prefix only", expected=f"below {8 * len(prefix)}", actual=steps[0][0]
        )
    _check_climb(root, prefix, tree_hash(pairs), steps)


def _verify_none(root: bytes, prefix: bytes, proof: bytes) -> None:
    if root == EMPTY_ROOT and not proof:
        return
    other, value, at = _pair(proof)
    if has_prefix(other, prefix):
        raise ProofError("proof of absence shows a key with the prefix", actual=other[:80])
    _check_absence(root, prefix, other, value, _steps(proof, at))


def _check_absence(root: bytes, key: bytes, other: bytes, value: bytes, steps: list[tuple[int, bytes]]) -> None:
    for at, _ in steps:
        if bit(key, at) != bit(other, at):
            raise ProofError("proof of absence is of a leaf that the key does not lead to", actual=f"bit {at}")
    _check_climb(root, other, leaf_hash(other, value), steps)


def _check_climb(root: bytes, key: bytes, start: bytes, steps: list[tuple[int, bytes]]) -> None:
    reached = start
    for at, sibling in steps:
        reached = inner_hash(at, sibling, reached) if bit(key, at) else inner_hash(at, reached, sibling)
    if reached != root:
        raise ProofError("index proof does not lead to the map root", expected=root.hex(), actual=reached.hex())


def _steps(proof: bytes, at: int) -> list[tuple[int, bytes]]:
    steps: list[tuple[int, bytes]] = []
    last = MAX_BITS
    while at < len(proof):
        number, at = _uvarint(proof, at)
        if number >= last:
            raise MalformedError("index proof's bits do not fall strictly", expected=f"below {last}", actual=number)
        if at + HASH_LENGTH > len(proof):
            raise MalformedError("index proof ends within a hash")
        last = number
        steps.append((number, proof[at : at + HASH_LENGTH]))
        at += HASH_LENGTH
    return steps


def _pair(proof: bytes) -> tuple[bytes, bytes, int]:
    key, at = _bytes(proof, 0)
    value, at = _bytes(proof, at)
    return key, value, at


def _bytes(proof: bytes, at: int) -> tuple[bytes, int]:
    length, at = _uvarint(proof, at)
    if length > MAX_LENGTH or at + length > len(proof):
        raise MalformedError("index proof ends within its leaf, or the leaf is too long", actual=f"{length} bytes")
    return proof[at : at + length], at + length


def _uvarint(proof: bytes, at: int) -> tuple[int, int]:
    """(number, position after it). Only numbers below 2**14 occur, so one or two bytes."""
    if at < len(proof) and proof[at] < 0x80:
        return proof[at], at + 1
    if at + 1 < len(proof) and 0 < proof[at + 1] < 0x80:
        return proof[at] & 0x7F | proof[at + 1] << 7, at + 2
    # A final zero byte adds nothing to the number: it would be a second spelling.
    raise MalformedError("index proof has a number that is cut, too large or not minimal", actual=proof[at : at + 3])


def _check_root(root: bytes) -> None:
    if len(root) != HASH_LENGTH:
        raise MalformedError("map root has another length", expected=f"{HASH_LENGTH} bytes", actual=len(root))


def _check_lengths(key: bytes, value: bytes) -> None:
    if len(key) > MAX_LENGTH or len(value) > MAX_LENGTH:
        raise MalformedError("key or value is too long", expected=f"at most {MAX_LENGTH} bytes")


def _check_size(proof: bytes) -> None:
    if len(proof) > MAX_PROOF:
        raise MalformedError("index proof is too long", expected=f"at most {MAX_PROOF} bytes", actual=len(proof))
