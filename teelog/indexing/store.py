"""``index.db``: the index of one log on disk, in versions (docs/decisions/0012).

Derived data: lost or damaged, it is rebuilt from the log's entries, so it is written with synchronous=NORMAL (R-31's
one exception): a power cut may take the last transactions, never a part of one, and replay brings them back.

One IndexStore writes, from one thread at a time; any number of IndexReaders, in any process, read published versions.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from teelog.index.edit import Edit
from teelog.index.pages import Page
from teelog.indexing import lists, schema
from teelog.indexing.checksum import opened, sealed
from teelog.indexing.numbers import Numbers
from teelog.indexing.reader import IndexReader, Lookup, NotRetained, Version, read_page
from teelog.statement.effective import Effect, Rows

__all__ = ["RETAIN", "IndexReader", "IndexStore", "Lookup", "NotRetained", "Version"]

RETAIN = 120.0
"""Seconds for which a version is answered from after a newer one was published."""
_CACHE = 512
"""Pages of pages that are kept decoded, about 4 KB each."""
_WRITTEN = 512
"""Pages that are handed to SQLite together."""


class IndexStore:
    """The one writer.

    An error in ``extend`` or ``publish`` leaves what is on disk as it was before; this object then writes no more:
    close it, and open again.
    """

    def __init__(self, db: sqlite3.Connection, origin: str, retain: float) -> None:
        self._db = db
        self.origin = origin
        self._retain = retain
        self._broken = False
        self._cache: dict[int, Page] = {}
        self._written: dict[int, bytes] = {}
        row = db.execute("SELECT seq, input_size, map_root, root_page, next_page FROM state").fetchone()
        self._seq: int = row[0]
        self._input_size: int = row[1]
        self._map_root: bytes = row[2]
        self._root: int = row[3]
        self._numbers = Numbers(db, row[4], lambda number: self._cache.pop(number, None))

    @classmethod
    def open(cls, path: Path, origin: str, *, create: bool = False, retain: float = RETAIN) -> IndexStore:
        """The index of the log ``origin``.

        create: makes the file, which must not exist. Raises ConfigError for a file that is missing, damaged, of
        another version of this software or of another log: delete it and build it again.
        """
        if create:
            schema.create(path, origin)
        return cls(schema.open_writer(path, origin), origin, retain)

    def close(self) -> None:
        self._db.close()

    @property
    def input_size(self) -> int:
        """Entries indexed, published or not."""
        return self._input_size

    @property
    def map_root(self) -> bytes:
        """Of the newest version, published or not."""
        return self._map_root

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
        return opened(found[0], "a row") if found else None

    def extend(self, changes: Iterable[tuple[bytes, int]], input_size: int, effects: Iterable[Effect] = ()) -> bytes:
        """Adds what the entries from the old ``input_size`` to the new one map to, in one transaction.

        changes: (key, entry index), indices rising for each key. effects: in order. The new version replaces the
        newest one if that was never published. Returns its map root. Raises ValueError, sqlite3.Error.
        """
        if input_size < self._input_size:
            raise ValueError(f"input size {input_size} is below {self._input_size}")
        grown: dict[bytes, list[int]] = {}
        for key, index in changes:
            if not self._input_size <= index < input_size:
                raise ValueError(f"index {index} is not in [{self._input_size}, {input_size})")
            indices = grown.setdefault(key, [])
            if indices and index <= indices[-1]:
                raise ValueError(f"index {index} does not follow {indices[-1]}")
            indices.append(index)
        with self._transaction():
            rows = {key: sealed(value) for key, value in (effect.row for effect in effects)}
            self._db.executemany("INSERT OR REPLACE INTO head VALUES (?, ?)", rows.items())
            if grown:
                self._change(grown)
            self._input_size = input_size
            self._save()
        return self._map_root

    def _change(self, grown: dict[bytes, list[int]]) -> None:
        self._seq += 1
        self._numbers.version = self._seq
        edit = Edit(self._root, self._read, self._write, self._numbers)
        for key in sorted(grown):
            place = edit.find(key)
            edit.put(place, *lists.extended(self._db, place.payload, grown[key]))
        self._root, self._map_root = edit.finish()
        self._flush()

    def publish(self, index_size: int, input_size: int, now: float | None = None) -> None:
        """Makes the newest version, which is that of ``input_size``, what readers see for ``index_size``.

        Versions that a newer one replaced longer ago than the retention time are deleted. now: POSIX seconds, given by
        tests. The same call again changes nothing. Raises ValueError for any other version, sqlite3.Error.
        """
        newest = self.published
        if newest is not None and newest.index_size >= index_size:
            if (newest.index_size, newest.input_size) == (index_size, input_size):
                return
            raise ValueError(f"index size {index_size} was published before")
        if input_size != self._input_size:
            raise ValueError(f"input size {input_size} is not the newest version's, {self._input_size}")
        now = time.time() if now is None else now
        with self._transaction():
            self._db.execute("UPDATE version SET replaced = ? WHERE replaced IS NULL", (now,))
            self._db.execute(
                "INSERT INTO version VALUES (?, ?, ?, ?, ?, NULL)",
                (index_size, self._seq, input_size, self._map_root, self._root),
            )
            self._numbers.refresh()
            self._retire(now)
            self._save()

    def _retire(self, now: float) -> None:
        until = (now - self._retain,)
        seqs = {row[0] for row in self._db.execute("SELECT seq FROM version WHERE replaced <= ?", until)}
        self._db.execute("DELETE FROM version WHERE replaced <= ?", until)
        kept = {row[0] for row in self._db.execute("SELECT seq FROM version")}
        for seq in sorted(seqs - kept):
            self._numbers.drop(seq)

    def _save(self) -> None:
        self._numbers.save()
        self._db.execute(
            "UPDATE state SET seq = ?, input_size = ?, map_root = ?, root_page = ?, next_page = ?",
            (self._seq, self._input_size, self._map_root, self._root, self._numbers.next_page),
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._broken:
            raise ValueError("the store failed before: close it and open it again")
        # What is in memory is right again only once this has ended well.
        self._broken = True
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._broken = False

    def _read(self, number: int) -> Page:
        page = self._cache.get(number)
        if page is None:
            body = self._written.get(number)
            page = Page.decode(number, body) if body else read_page(self._db, number)
            self._remember(page)
        return page

    def _write(self, page: Page) -> None:
        self._written[page.number] = page.encode()
        self._remember(page)
        if len(self._written) >= _WRITTEN:
            self._flush()

    def _flush(self) -> None:
        pages = [(number, sealed(body)) for number, body in sorted(self._written.items())]
        self._db.executemany("INSERT OR REPLACE INTO page VALUES (?, ?)", pages)
        self._written.clear()

    def _remember(self, page: Page) -> None:
        """Keeps pages that lead to others; those of keys alone are most, and one batch seldom needs the last one's.

        Batches go through the pages in one order: were the oldest to go, the next batch would find none of those left.
        """
        number, cache = page.number, self._cache
        if page.complete:
            cache.pop(number, None)
            return
        if len(cache) >= _CACHE and number not in cache:
            cache.popitem()
        cache[number] = page
