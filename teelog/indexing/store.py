"""``index.db``: the index of one log on disk, in versions.

Derived data: lost or damaged, it is rebuilt from the log's entries, so it is written with synchronous=NORMAL (R-31's
one exception): a power cut may take the last transactions, never a part of one, and replay brings them back.

One IndexStore writes, from one thread at a time; any number of IndexReaders, in any process, read published versions.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from teelog.errors import ConfigError, RefusedError
from teelog.index.lists import List, Value
from teelog.index.trie import EMPTY_ROOT, Trie
from teelog.statement.effective import Effect, Rows

RETAIN = 120.0
"""Seconds for which a version is answered from after a newer one was published."""


class NotRetained(RefusedError):
    """The index size asked for is not, or no longer, answered from. ``actual``: what was asked, ``expected``: newest."""


@dataclass(frozen=True, slots=True)
class Version:
    """A published version. index_size: leaves of the index log. input_size: entries indexed. map_root: 32 bytes."""

    index_size: int
    input_size: int
    map_root: bytes


@dataclass(frozen=True, slots=True)
class Lookup:
    """value: what the trie holds under the key, None if nothing; proof: for ``index.proof.verify_lookup``."""

    value: Value | None
    proof: bytes


class IndexStore:
    """The one writer. Any error of ``extend`` or ``publish`` leaves what is on disk whole: close, and open again."""

    def __init__(self, db: sqlite3.Connection, origin: str, retain: float) -> None:
        self._db = db
        self.origin = origin
        self._retain = retain

    @classmethod
    def open(cls, path: Path, origin: str, *, create: bool = False, retain: float = RETAIN) -> IndexStore:
        """The index of the log ``origin``.

        create: makes the file, which must not exist. Raises ConfigError for a file that is missing, damaged, of
        another version of this software or of another log: delete it and build it again.
        """
        if create == path.exists():
            raise ConfigError(f"{path} {'exists' if create else 'does not exist'}")
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(
            "CREATE TABLE IF NOT EXISTS change (key BLOB, idx INTEGER);"
            "CREATE TABLE IF NOT EXISTS head (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;"
            "CREATE TABLE IF NOT EXISTS version (input_size INTEGER PRIMARY KEY, map_root BLOB, index_size INTEGER,"
            " published REAL)"
        )
        return cls(db, origin, retain)

    def close(self) -> None:
        self._db.close()

    @property
    def input_size(self) -> int:
        """Entries indexed, published or not."""
        row = self._db.execute("SELECT max(input_size) FROM version").fetchone()
        return row[0] or 0

    @property
    def map_root(self) -> bytes:
        """Of the newest version, published or not."""
        row = self._db.execute("SELECT map_root FROM version ORDER BY input_size DESC LIMIT 1").fetchone()
        return row[0] if row else EMPTY_ROOT

    @property
    def published(self) -> Version | None:
        """The newest published version."""
        return IndexReader(self._db).published()

    def effective(self) -> Rows:
        """What is in force after ``input_size`` entries, for the map function."""
        return Rows(self.origin, self.row)

    def row(self, key: bytes) -> bytes | None:
        """A row of the effective state."""
        found = self._db.execute("SELECT value FROM head WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def extend(self, changes: Iterable[tuple[bytes, int]], input_size: int, effects: Iterable[Effect] = ()) -> bytes:
        """Adds what the entries from the old ``input_size`` to the new one map to, in one transaction.

        changes: (key, entry index), indices rising for each key. effects: in order. The new version replaces the
        newest one if that was never published. Returns its map root.
        """
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO change VALUES (?, ?)", changes)
        self._db.executemany("INSERT OR REPLACE INTO head VALUES (?, ?)", [effect.row for effect in effects])
        root = _trie(self._db, input_size)[0].root()
        self._db.execute("DELETE FROM version WHERE index_size IS NULL")
        self._db.execute("INSERT OR IGNORE INTO version VALUES (?, ?, NULL, NULL)", (input_size, root))
        self._db.execute("COMMIT")
        return root

    def publish(self, index_size: int, input_size: int, now: float | None = None) -> None:
        """Makes the newest version, which is that of ``input_size``, what readers see for ``index_size``.

        Versions that were replaced longer than the retention time ago are deleted. now: POSIX seconds, for tests.
        A version may be published again under a larger index size.
        """
        now = time.time() if now is None else now
        done = self._db.execute(
            "UPDATE version SET index_size = ?, published = ? WHERE input_size = ?", (index_size, now, input_size)
        )
        if done.rowcount != 1:
            raise ValueError(f"no version of input size {input_size}")


class IndexReader:
    """Reads published versions; one thread at a time."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @classmethod
    def open(cls, path: Path) -> IndexReader:
        return cls(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None))

    def close(self) -> None:
        self._db.close()

    def published(self) -> Version | None:
        """The newest published version, None before the first."""
        row = self._db.execute(
            "SELECT index_size, input_size, map_root FROM version WHERE index_size NOT NULL"
            " ORDER BY index_size DESC LIMIT 1"
        ).fetchone()
        return Version(*row) if row else None

    def version(self, index_size: int) -> Version:
        """Raises NotRetained."""
        row = self._db.execute(
            "SELECT index_size, input_size, map_root FROM version WHERE index_size = ?", (index_size,)
        ).fetchone()
        if row is None:
            raise NotRetained("index size is not retained", actual=index_size, expected=self.published())
        return Version(*row)

    def lookup(self, index_size: int, key: bytes) -> Lookup:
        """Raises NotRetained."""
        trie, lists = _trie(self._db, self.version(index_size).input_size)
        return Lookup(lists[key].value() if key in lists else None, trie.prove_lookup(key))

    def element(self, index_size: int, key: bytes, position: int) -> tuple[int, list[bytes]]:
        """(entry index, path for ``index.lists.verify_element``). Raises NotRetained; IndexError outside the list."""
        _, lists = _trie(self._db, self.version(index_size).input_size)
        if key not in lists or not 0 <= position < lists[key].value().count:
            raise IndexError(f"position {position} is outside the list")
        return lists[key].indices[position], lists[key].prove(position)

    def page(self, index_size: int, key: bytes, number: int) -> tuple[list[int], list[bytes]]:
        """(indices, path for ``index.lists.verify_page``). Raises NotRetained; IndexError outside the list."""
        _, lists = _trie(self._db, self.version(index_size).input_size)
        if key not in lists or not 0 <= number * 256 < lists[key].value().count:
            raise IndexError(f"page {number} is outside the list")
        return lists[key].page(number)

    def scan(self, index_size: int, prefix: bytes, limit: int) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """(all pairs with the prefix, proof for ``index.proof.verify_prefix``).

        limit: bytes of keys and values together. Raises NotRetained; RefusedError (status 413) beyond the limit.
        """
        trie, _ = _trie(self._db, self.version(index_size).input_size)
        pairs = trie.scan(prefix)
        if sum(len(key) + len(value) for key, value in pairs) > limit:
            raise RefusedError("too many keys have this prefix", status=413, expected=f"at most {limit} bytes")
        return pairs, trie.prove_prefix(prefix)


def _trie(db: sqlite3.Connection, input_size: int) -> tuple[Trie, dict[bytes, List]]:
    trie = Trie()
    lists: dict[bytes, List] = {}
    for key, index in db.execute("SELECT key, idx FROM change WHERE idx < ? ORDER BY idx", (input_size,)):
        lists.setdefault(key, List()).append(index)
    for key, found in lists.items():
        trie.set(key, found.value().encode())
    return trie, lists
