"""What is logged already (design section 5, rule 10): strict, by full SHA-256, of leaves and of statements.

A dictionary holds what is new; a table in the state has the first 8 bytes of every older hash with the entry's index.
A hit in the table is confirmed by the full hash: of a leaf in its level-0 tile, of a statement from the entry itself
(R-14). The table is derived data, moved forward lazily: at start, what lies above ``dedup_upto`` is read from the log
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from teelog.errors import MalformedError
from teelog.log_server.seams import LogState
from teelog.log_server.tree import Tree
from teelog.statement import dsse, ear_token
from teelog.tlog.rfc6962 import HASH_LENGTH, leaf_hash
from teelog.tlog.tiles import WIDTH

FLUSH = 65_536  # hashes kept in memory before the table moves forward
SLICE = 4_096  # hashes that move in one transaction

Identify = Callable[[bytes], bytes | None]


def statement_of(entry: bytes) -> bytes | None:
    """The statement id of an entry's bytes, None where it is neither a DSSE file nor a token."""
    try:
        read = ear_token.parse if ear_token.looks_like(entry) else dsse.parse
        return bytes.fromhex(read(entry).statement_id)
    except MalformedError:
        return None


class Dedup:
    """upto: how many entries the table holds. statements: whether a statement is logged once, in whatever bytes.

    Not on a raw log: there anybody may log any bytes, also a statement's with signatures that nobody checked, and must
    not be able to keep the genuine file out by it.
    """

    def __init__(self, state: LogState, tree: Tree, upto: int, *, statements: bool = True) -> None:
        self._state = state
        self._tree = tree
        self._new: dict[bytes, int] = {}
        self._moving: list[tuple[bytes, int]] = []
        self._moving_upto = 0
        self.upto = upto
        self.statements = statements

    def replay(self, entries: Iterable[bytes]) -> None:
        """Takes the entries from ``upto`` on."""
        for index, entry in enumerate(entries, self.upto):
            self._new[leaf_hash(entry)] = index
            statement = statement_of(entry) if self.statements else None
            if statement is not None:
                self._new.setdefault(statement, index)

    def add(self, hashes: Iterable[tuple[bytes, int]]) -> None:
        """Committed hashes with their entry's index."""
        self._new.update(hashes)

    def lookup(self, hashes: Sequence[bytes], size: int) -> dict[bytes, int]:
        """The index of each hash that is logged. size: of the applied tree, in which hits are confirmed."""
        found: dict[bytes, int] = {}
        unknown = []
        new = self._new
        for item in hashes:
            index = new.get(item)
            if index is None:
                unknown.append(item)
            else:
                found[item] = index
        if unknown and self.upto:
            for item, indices in self._state.candidates(unknown).items():
                for index in indices:
                    if self._confirmed(item, index, size):
                        found[item] = index
                        break
        return found

    def _confirmed(self, item: bytes, index: int, size: int) -> bool:
        at = index % WIDTH
        if self._tree.leaf_hashes(index // WIDTH, size)[at * HASH_LENGTH : (at + 1) * HASH_LENGTH] == item:
            return True
        return statement_of(self._tree.bundle(index // WIDTH, size)[at]) == item

    def due(self, upto: int) -> bool:
        """Whether ``move`` has something to do. upto: as there."""
        return bool(self._moving) or (len(self._new) >= FLUSH and upto > self.upto)

    @property
    def overdue(self) -> bool:
        """Whether it should wait no longer for an idle moment."""
        return len(self._new) >= 2 * FLUSH

    def move(self, epoch: int, upto: int) -> None:
        """Moves a slice of what is below ``upto`` (published entries) into the table.

        The hashes are random: all of them at once would rewrite the whole table and hold up a batch. Sorted, a slice
        touches one part of it. Nothing is forgotten here before the last slice is durable.
        """
        if not self._moving:
            self._moving_upto = upto
            self._moving = sorted(((item, index) for item, index in self._new.items() if index < upto), reverse=True)
        rows = [self._moving.pop() for _ in range(min(SLICE, len(self._moving)))]
        last = not self._moving
        self._state.remember(epoch, rows, self._moving_upto if last else self.upto)
        if last:
            self.upto = self._moving_upto
            self._new = {item: index for item, index in self._new.items() if index >= self.upto}
