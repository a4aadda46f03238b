"""RFC 6962 section 2.1 word for word, slow on purpose: what the core is measured against.

Also PROOF of draft-ietf-plants-merkle-tree-certs section 4.4 (subtree consistency), in its own recursive words.
`D` is never sliced: (lo, hi) stands for D[lo:hi], so that MTH can be remembered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry)


def largest_power_of_two_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


class Reference:
    """The definitions over a fixed list of leaf hashes (MTH of one entry)."""

    def __init__(self, leaf_hashes: Sequence[bytes]) -> None:
        self.leaves = list(leaf_hashes)
        self._mth: dict[tuple[int, int], bytes] = {}

    def mth(self, lo: int, hi: int) -> bytes:
        """MTH(D[lo:hi])."""
        if (lo, hi) not in self._mth:
            self._mth[lo, hi] = self._compute(lo, hi)
        return self._mth[lo, hi]

    def _compute(self, lo: int, hi: int) -> bytes:
        n = hi - lo
        if n == 0:
            return sha256(b"")
        if n == 1:
            return self.leaves[lo]
        k = largest_power_of_two_below(n)
        return sha256(b"\x01" + self.mth(lo, lo + k) + self.mth(lo + k, hi))

    def path(self, m: int, lo: int, hi: int) -> list[bytes]:
        """PATH(m, D[lo:hi])."""
        n = hi - lo
        if n == 1:
            return []
        k = largest_power_of_two_below(n)
        if m < k:
            return [*self.path(m, lo, lo + k), self.mth(lo + k, hi)]
        return [*self.path(m - k, lo + k, hi), self.mth(lo, lo + k)]

    def proof(self, m: int, n: int) -> list[bytes]:
        """PROOF(m, D[n]), 0 < m <= n."""
        return self.subproof(m, 0, n, True)

    def subproof(self, m: int, lo: int, hi: int, b: bool) -> list[bytes]:
        """SUBPROOF(m, D[lo:hi], b)."""
        n = hi - lo
        if m == n:
            return [] if b else [self.mth(lo, hi)]
        k = largest_power_of_two_below(n)
        if m <= k:
            return [*self.subproof(m, lo, lo + k, b), self.mth(lo + k, hi)]
        return [*self.subproof(m - k, lo + k, hi, False), self.mth(lo, lo + k)]

    def subtree_proof(self, start: int, end: int, lo: int, hi: int, b: bool = True) -> list[bytes]:
        """SUBTREE_SUBPROOF(start, end, D[lo:hi], b)."""
        n = hi - lo
        if (start, end) == (0, n):
            return [] if b else [self.mth(lo, hi)]
        k = largest_power_of_two_below(n)
        if end <= k:
            return [*self.subtree_proof(start, end, lo, lo + k, b), self.mth(lo + k, hi)]
        if k <= start:
            return [*self.subtree_proof(start - k, end - k, lo + k, hi, b), self.mth(lo, lo + k)]
        return [*self.subtree_proof(0, end - k, lo + k, hi, False), self.mth(lo, lo + k)]

    def read(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        """The complete nodes asked for (`rfc6962.Read`)."""
        return [self.mth(index << level, (index + 1) << level) for level, index in nodes]
