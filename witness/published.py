"""What monitors read: for each log the newest checkpoint with the cosignatures that were given out.

A file of its own, ``published.db``, because it also bears witness against its owner: a ``state.db`` that was rolled
back to an older copy stands beside a published checkpoint that it does not know (W-49).

WAL with synchronous=NORMAL: a row survives the death of the process (WM-06) without a second fsync in each request. A
power cut may lose the last rows; start-up makes them again from the state, which is always at least as new.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from teelog.witness.state import check, connect, connect_reader


@dataclass(frozen=True, slots=True)
class PublishedHead:
    origin: str
    size: int
    root: bytes
    timestamp: int  # POSIX seconds of the cosignatures


def origin_hash(origin: str) -> str:
    """The log's name in monitoring paths: SHA-256 of the origin, lower-case hex (WM-01)."""
    return hashlib.sha256(origin.encode()).hexdigest()


class Published:
    """``published.db``: one writer, the engine's thread; readers have connections of their own."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Published:
        """Raises ConfigError, sqlite3.Error."""
        from teelog.witness import schema

        db = connect(path, "NORMAL")
        try:
            check(db, path, create)
            schema.migrate_published(db)
        except BaseException:
            db.close()
            raise
        return cls(path, db)

    @classmethod
    def open_reader(cls, path: Path) -> Published:
        return cls(path, connect_reader(path))

    def reopen(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._db = connect(self.path, "NORMAL")

    def close(self) -> None:
        self._db.close()

    def put(self, head: PublishedHead, note_bytes: bytes) -> None:
        """Publishes a cosigned note; never replaces a newer one. Raises sqlite3.Error."""
        self._db.execute(
            "INSERT INTO published (origin_hash, origin, size, root, timestamp, note) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (origin_hash) DO UPDATE SET size = excluded.size, root = excluded.root,"
            " timestamp = excluded.timestamp, note = excluded.note"
            " WHERE (excluded.size, excluded.timestamp) >= (published.size, published.timestamp)",
            (origin_hash(head.origin), head.origin, head.size, head.root, head.timestamp, note_bytes),
        )

    def note(self, hashed_origin: str) -> bytes | None:
        """The published note of a log by ``origin_hash``."""
        row = self._db.execute("SELECT note FROM published WHERE origin_hash = ?", (hashed_origin,)).fetchone()
        return None if row is None else row[0]

    def heads(self) -> Iterator[PublishedHead]:
        for row in self._db.execute("SELECT origin, size, root, timestamp FROM published"):
            yield PublishedHead(*row)
