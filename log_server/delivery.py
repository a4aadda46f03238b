"""What the sequencer sends to a front, once per batch, and how the front makes its answers from it.

The proofs of one tile share their upper part: the sequencer sends each tile's leaf hashes and that part once, and the
front folds the tile's paths in one go. The same messages travel in memory and, as MessagePack, over a socket.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from teelog.errors import TeelogError, UnavailableError
from teelog.log_server.seams import Full, Logged, Outcome, Rejected
from teelog.tlog.rfc6962 import HASH_LENGTH, node_hash
from teelog.tlog.subtree import split
from teelog.tlog.tiles import WIDTH


class Verdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Of one entry. index: of the logged entry, -1 if rejected. fresh: it was logged by this submission."""

    index: int
    fresh: bool = False
    rejected: Rejected | None = None


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Of a whole submission. kind: full or unavailable."""

    kind: str
    message: str
    retry_after: float | None = None

    def error(self) -> TeelogError:
        """The exception that ``Pool`` promises."""
        if self.kind == "full":
            return Full(self.message, self.retry_after or 1.0)
        return UnavailableError(self.message, retry_after=self.retry_after)


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """To one submission, by its ticket: a verdict for each of its entries, or a failure."""

    ticket: int
    verdicts: list[Verdict] = []
    failure: Failure | None = None


class Leaves(msgspec.Struct, frozen=True, array_like=True):
    """A level-0 tile as it is in the tree of the delivery's note. index: of the tile. hashes: its 1 to 256 leaf hashes.

    upper: the proof's hashes above the tile, all concatenated.
    """

    index: int
    hashes: bytes
    upper: bytes


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """note: the published checkpoint (empty where no answer is an index). tiles: those that the answers need."""

    note: bytes
    tiles: list[Leaves]
    answers: list[Answer]


class Proofs:
    """The inclusion proofs of one delivery."""

    def __init__(self, delivery: Delivery) -> None:
        self._tiles = {leaves.index: leaves for leaves in delivery.tiles}
        self._paths: dict[int, list[tuple[bytes, ...]]] = {}
        self._note = delivery.note

    def outcomes(self, answer: Answer) -> list[Outcome]:
        """One outcome an entry."""
        return [self._outcome(verdict) for verdict in answer.verdicts]

    def _outcome(self, verdict: Verdict) -> Outcome:
        if verdict.rejected is not None:
            return verdict.rejected
        tile, place = divmod(verdict.index, WIDTH)
        paths = self._paths.get(tile)
        if paths is None:
            leaves = self._tiles[tile]
            paths = self._paths[tile] = tile_paths(leaves.hashes, leaves.upper)
        return Logged(verdict.index, verdict.fresh, paths[place], self._note)


def tile_paths(hashes: bytes, upper: bytes) -> list[tuple[bytes, ...]]:
    """The inclusion proofs of all leaves of a tile. hashes: 1 to 256 leaf hashes. upper: what comes after them."""
    leaves = [hashes[at : at + HASH_LENGTH] for at in range(0, len(hashes), HASH_LENGTH)]
    above = tuple(upper[at : at + HASH_LENGTH] for at in range(0, len(upper), HASH_LENGTH))
    return _paths(leaves, above)[1]


def _paths(leaves: Sequence[bytes], above: tuple[bytes, ...]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """(root, proofs): RFC 6962 section 2.1.1, for all leaves at once."""
    if not len(leaves) & (len(leaves) - 1):
        return _perfect_paths(leaves, above)
    at = split(len(leaves))
    left, on_left = _paths(leaves[:at], ())
    right, on_right = _paths(leaves[at:], ())
    to_left, to_right = (right, *above), (left, *above)
    return node_hash(left, right), [path + to_left for path in on_left] + [path + to_right for path in on_right]


def _perfect_paths(leaves: Sequence[bytes], above: tuple[bytes, ...]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The same for 2**n leaves: level by level, a column of every leaf's sibling there."""
    columns: list[list[bytes]] = []
    level, span = list(leaves), 1
    while len(level) > 1:
        siblings = [item for left, right in zip(level[0::2], level[1::2], strict=True) for item in (right, left)]
        columns.append([item for item in siblings for _ in range(span)] if span > 1 else siblings)
        level = [node_hash(left, right) for left, right in zip(level[0::2], level[1::2], strict=True)]
        span *= 2
    columns += [[item] * len(leaves) for item in above]
    return level[0], list(zip(*columns, strict=True)) if columns else [()]
