"""What a semantic witness keeps of one index log: how far it was followed, and the index rebuilt so far.

    <folder>/index.db       the index over the log's first entries (``teelog.indexing.store``)
    <folder>/progress.db    the trees' frontiers: of the entries after each batch, of the leaves that were found right

Derived data: a folder that is lost or damaged is made again from the log. The two files commit one after the other, so
a crash may leave either ahead. The index may be ahead of the last confirmed leaf by what was mapped for the next ones:
their map roots are written down as soon as they are computed. It may be behind: then entries are mapped again, from the
last batch that both files know.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from teelog.errors import ConfigError, MalformedError
from teelog.index.trie import EMPTY_ROOT as EMPTY_MAP
from teelog.indexing.build import Builder
from teelog.indexing.store import IndexReader, IndexStore
from teelog.statement.effective import Effective
from teelog.statement.index_map import Mapped
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.rfc6962 import leaf_hash
from teelog.witness.frontier import Frontier
from teelog.witness.state import connect, transaction

INDEX, PROGRESS = "index.db", "progress.db"
KEPT_BATCHES = 256  # behind the last confirmed leaf

_TABLES = """
CREATE TABLE IF NOT EXISTS batch (
  size INTEGER PRIMARY KEY, hashes BLOB NOT NULL, map_root BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS confirmed (
  id INTEGER PRIMARY KEY CHECK (id = 0), index_size INTEGER NOT NULL, hashes BLOB NOT NULL,
  input_size INTEGER NOT NULL, input_root BLOB NOT NULL, map_root BLOB NOT NULL, note BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS head (
  id INTEGER PRIMARY KEY CHECK (id = 0), size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL
) STRICT;
"""

Observe = Callable[[int, bytes, Mapped], object]


class Unfit(ConfigError):
    """What is kept does not fit together: it has to be made again."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The last leaf that was found right. leaves: over all leaves up to it. input_size, input_root, note: its input."""

    leaves: Frontier = field(default_factory=Frontier)
    input_size: int = 0
    input_root: bytes = Frontier().root()
    map_root: bytes = EMPTY_MAP
    note: bytes = b""


class _Observed(Builder):
    def __init__(self, store: IndexStore, observe: Observe | None) -> None:
        super().__init__(store)
        self._observe = observe

    def map(self, entry: bytes, index: int) -> Mapped:
        mapped = super().map(entry, index)
        if self._observe is not None:
            self._observe(index, entry, mapped)
        return mapped


def _damaged(error: Exception) -> bool:
    """Whether the data is at fault, not the system: too many open files or a full disk is no reason to delete it."""
    cause = error if isinstance(error, sqlite3.Error) else error.__cause__
    return not isinstance(cause, sqlite3.OperationalError | OSError)


class Rebuilt:
    """One log's folder, open. Used by one thread at a time.

    confirmed: see there. head: the checkpoint that was followed last, with its note. entries: the frontier of the
    entries read so far, all of which are in the index.
    """

    def __init__(self, index: Path, store: IndexStore, db: sqlite3.Connection, observe: Observe | None) -> None:
        self._index = index
        self._store = store
        self._db = db
        self._builder = _Observed(store, observe)
        self.confirmed = self._read_confirmed()
        self.head = self._read_head(store.origin)
        self.entries = self._read_entries()

    @classmethod
    def open(cls, folder: Path, origin: str, observe: Observe | None = None) -> Rebuilt:
        """The folder's data, made if it is missing, and made anew if it is unusable. origin: the main log's.

        Raises OSError, sqlite3.Error, ConfigError.
        """
        try:
            return cls._open(folder, origin, observe)
        except (ConfigError, MalformedError, sqlite3.DatabaseError) as error:
            if not _damaged(error):
                raise
            shutil.rmtree(folder, ignore_errors=True)
            return cls._open(folder, origin, observe)

    @classmethod
    def _open(cls, folder: Path, origin: str, observe: Observe | None) -> Rebuilt:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        index, progress = folder / INDEX, folder / PROGRESS
        fresh = not index.exists() or not progress.exists()
        if fresh:
            for path in folder.iterdir():
                path.unlink()
            progress.touch(0o600)
        store = IndexStore.open(index, origin, create=fresh)
        try:
            db = connect(progress)
        except BaseException:
            store.close()
            raise
        try:
            db.executescript(_TABLES)
            return cls(index, store, db, observe)
        except BaseException:
            db.close()
            store.close()
            raise

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._store.close()
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    # -- entries ------------------------------------------------------------------------------------------------------

    def take(self, entries: Sequence[bytes]) -> None:
        """Takes the next entries of the log, which the caller has authenticated."""
        start = self.entries.size
        for entry in entries:
            self.entries.append(leaf_hash(entry))
        mapped = self._store.input_size
        if self.entries.size > mapped:
            root = self._builder.advance(entries[max(0, mapped - start) :], self.entries.size)
        elif self.entries.size == mapped:
            root = self._store.map_root
        else:
            return  # a batch of which the file knew no end: no leaf can be compared here
        self._db.execute(
            "INSERT OR REPLACE INTO batch VALUES (?, ?, ?)", (self.entries.size, self.entries.encode(), root)
        )

    def roots(self, size: int) -> tuple[bytes, bytes] | None:
        """(tree root, map root) of the first ``size`` entries, None unless a batch ended there."""
        if size == 0:
            return Frontier().root(), EMPTY_MAP
        row = self._db.execute("SELECT hashes, map_root FROM batch WHERE size = ?", (size,)).fetchone()
        return None if row is None else (Frontier.parse(size, row[0]).root(), row[1])

    def reader(self) -> IndexReader:
        """Reads the index as it is now, under index size 1. For whoever follows no further."""
        if self._store.published is None:
            self._store.publish(1, self._store.input_size)
        return IndexReader.open(self._index)

    @property
    def in_force(self) -> Effective:
        """What the entries read so far have put in force; for whoever observes one, before that one."""
        return self._builder.in_force

    @property
    def frozen(self) -> bool:
        """Whether an effective log policy among the entries read so far has ended the log."""
        policy = self._store.effective().log_policy()
        return policy is not None and policy.predicate.frozen is not None

    # -- leaves -------------------------------------------------------------------------------------------------------

    def confirm(self, confirmed: Confirmed) -> None:
        """Moves on by a leaf that was found right."""
        with transaction(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO confirmed VALUES (0, ?, ?, ?, ?, ?, ?)",
                (
                    confirmed.leaves.size,
                    confirmed.leaves.encode(),
                    confirmed.input_size,
                    confirmed.input_root,
                    confirmed.map_root,
                    confirmed.note,
                ),
            )
            if confirmed.leaves.size % KEPT_BATCHES == 0:
                self._db.execute(
                    "DELETE FROM batch WHERE size < (SELECT min(size) FROM (SELECT size FROM batch WHERE size <= ?"
                    " ORDER BY size DESC LIMIT ?))",
                    (confirmed.input_size, KEPT_BATCHES),
                )
        self.confirmed = confirmed

    def follow(self, head: Checkpoint, note: bytes) -> None:
        """Remembers a checkpoint all of whose leaves are confirmed."""
        self._db.execute("INSERT OR REPLACE INTO head VALUES (0, ?, ?, ?)", (head.size, head.root, note))
        self.head = (head, note)

    # -- opening ------------------------------------------------------------------------------------------------------

    def _read_confirmed(self) -> Confirmed:
        row = self._db.execute(
            "SELECT index_size, hashes, input_size, input_root, map_root, note FROM confirmed"
        ).fetchone()
        return Confirmed() if row is None else Confirmed(Frontier.parse(row[0], row[1]), *row[2:])

    def _read_head(self, main_origin: str) -> tuple[Checkpoint, bytes] | None:
        from teelog.index.leaf import origin_of

        row = self._db.execute("SELECT size, root, note FROM head").fetchone()
        return None if row is None else (Checkpoint(origin_of(main_origin), row[0], row[1]), row[2])

    def _read_entries(self) -> Frontier:
        row = self._db.execute(
            "SELECT size, hashes FROM batch WHERE size <= ? ORDER BY size DESC LIMIT 1", (self._store.input_size,)
        ).fetchone()
        if row is not None:
            return Frontier.parse(*row)
        if self._store.input_size:
            raise Unfit("the index is over entries that progress.db does not know")
        return Frontier()
