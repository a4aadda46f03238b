"""Builds an index from a log's entries, in order: map function, then batches into the store."""

from __future__ import annotations

from collections.abc import Iterable

from teelog.indexing.store import IndexStore
from teelog.statement.effective import Effect, Effective, Rows
from teelog.statement.index_map import Mapped, map_entry

MAX_CHANGES = 5_000
"""Key changes after which a transaction ends."""
MAX_ENTRIES = 20_000
"""The same for entries: those that map to nothing are progress too."""


class Builder:
    """Feeds a store. The caller vouches for the entries: that they are the log's is checked against its root."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store
        self._pending: dict[bytes, bytes] = {}
        self._state = Rows(store.origin, self._row)

    def advance(self, entries: Iterable[bytes], upto: int) -> bytes:
        """Indexes ``entries``, which begin at the store's input size, so that it is ``upto``; returns the map root.

        Transactions are bounded: after a crash the store's input size may lie between. Raises ValueError if there are
        fewer entries; ConfigError on a build that lacks a signature algorithm.
        """
        changes: list[tuple[bytes, int]] = []
        effects: list[Effect] = []
        index = self._store.input_size
        try:
            for entry in entries if index < upto else ():
                mapped = self.map(entry, index)
                index += 1
                changes += [(key, index - 1) for key in mapped.keys]
                if mapped.effect is not None:
                    effects.append(mapped.effect)
                    key, value = mapped.effect.row
                    self._pending[key] = value
                if index == upto:
                    break
                if len(changes) >= MAX_CHANGES or index - self._store.input_size >= MAX_ENTRIES:
                    self._store.extend(changes, index, effects)
                    changes, effects = [], []
                    self._pending.clear()
            if index != upto:
                raise ValueError(f"entries end at {index}, before {upto}")
            return self._store.extend(changes, upto, effects)
        finally:
            self._pending.clear()

    @property
    def in_force(self) -> Effective:
        """The state left by all entries before the one that is mapped next."""
        return self._state

    def map(self, entry: bytes, index: int) -> Mapped:
        """What the entry at ``index`` maps to against the state now; a seam for callers that look at each entry."""
        return map_entry(entry, index, self._state)

    def _row(self, key: bytes) -> bytes | None:
        found = self._pending.get(key)
        return self._store.row(key) if found is None else found
