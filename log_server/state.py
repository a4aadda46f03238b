"""The SQLite LogState.

WAL with ``synchronous=FULL``, asserted (R-31). Exactly one connection of one process writes and checkpoints the file:
SQLite before 3.51.3 can corrupt a WAL that two connections write and checkpoint at once. Every other reader uses
``read_only``. A failed fsync inside SQLite ends the process as any other (R-30).
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from teelog import durable
from teelog.errors import ConfigError, UnavailableError
from teelog.log_server import state_schema
from teelog.log_server.seams import Check, Damaged, Fenced, Head, NamespaceVersion, Staged, Stale, Tip, UnknownOutcome
from teelog.tlog.rfc6962 import EMPTY_ROOT

NAME = "state.db"
CACHE_KIB = 24_576
BUSY_MS = 2_000
_IN = 400  # hashes in one statement
_FSYNC_ERRORS = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})

_HEAD = "SELECT origin, key_hash, epoch, size, root, published, published_size, dedup_upto FROM log WHERE id = 1"
_TIP = "SELECT position, statement, idx, ended, successor, entry FROM tip WHERE kind = ? AND name = ?"


class SqliteState:
    """``path``: the database file, which ``create`` made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    @classmethod
    def create(cls, path: Path, origin: str, key_hash: bytes) -> SqliteState:
        """A new database with an empty log. Raises ConfigError if there is one."""
        if path.exists():
            raise ConfigError(f"{path} exists already", expected="a new log")
        state = cls(path)
        db = state._db = _connect(path, "rwc")
        state_schema.migrate(db)
        with _transaction(db):
            db.execute(
                "INSERT INTO log (id, origin, key_hash, epoch, size, root, published, published_size, dedup_upto)"
                " VALUES (1, ?, ?, 0, 0, ?, X'', 0, 0)",
                (origin, key_hash, EMPTY_ROOT),
            )
        return state

    def open(self, origin: str, key_hash: bytes) -> Head:
        self.close()
        # serving never creates: with the row missing there is nothing to say what was signed.
        if not self._path.exists():
            raise ConfigError(f"{self._path} is missing", expected="the state of a log", hint="teelog log init")
        db = self._db = _connect(self._path, "rw")
        state_schema.migrate(db)
        with _transaction(db):
            row = db.execute(_HEAD).fetchone()
            if row is None:
                raise ConfigError(f"{self._path} holds no log", hint="teelog log init")
            # key <-> origin <-> row are one to one to one.
            if row[0] != origin:
                raise ConfigError("the state is of another log", expected=origin, actual=row[0])
            if bytes(row[1]) != key_hash:
                raise ConfigError(
                    "the state belongs to other keys", expected=bytes(row[1]).hex(), actual=key_hash.hex()
                )
            epoch = row[2] + 1
            db.execute("UPDATE log SET epoch = ? WHERE id = 1", (epoch,))
        return Head(epoch, row[3], bytes(row[4]), bytes(row[5]), row[6], row[7])

    def commit(
        self,
        epoch: int,
        previous: tuple[int, bytes],
        batch: Staged,
        namespaces: Sequence[NamespaceVersion],
        check: Check,
        tips: Sequence[Tip] = (),
    ) -> None:
        db = self._open_db()
        with _transaction(db):
            moved = db.execute(
                "UPDATE log SET size = ?, root = ? WHERE id = 1 AND epoch = ? AND size = ? AND root = ?",
                (batch.size, batch.root, epoch, *previous),
            )
            if moved.rowcount != 1:
                self._check_epoch(epoch)
                raise Stale("last_signed is not what it was", expected=previous[0])
            db.execute(
                "INSERT INTO staged (lo, count, size, root, bundle) VALUES (?, ?, ?, ?, ?)",
                (batch.lo, batch.count, batch.size, batch.root, batch.bundle),
            )
            db.executemany(
                "INSERT INTO namespace (name, version, statement, idx, entry) VALUES (?, ?, ?, ?, ?)",
                [(item.name, item.version, item.statement, item.index, item.entry) for item in namespaces],
            )
            db.executemany(
                "INSERT OR REPLACE INTO tip (kind, name, position, statement, idx, ended, successor, entry)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(t.kind, t.name, t.position, t.statement, t.index, t.ended, t.successor, t.entry) for t in tips],
            )
            (stored,) = db.execute("SELECT bundle FROM staged WHERE lo = ?", (batch.lo,)).fetchone()
            check(stored)

    def staged(self) -> list[Staged]:
        rows = self._open_db().execute("SELECT lo, count, size, root, bundle FROM staged ORDER BY lo")
        return [Staged(lo, count, size, bytes(root), bytes(bundle)) for lo, count, size, root, bundle in rows]

    def publish(self, epoch: int, note_bytes: bytes, size: int) -> None:
        db = self._open_db()
        with _transaction(db):
            done = db.execute(
                "UPDATE log SET published = ?, published_size = ?"
                " WHERE id = 1 AND epoch = ? AND published_size <= ? AND size >= ?",
                (note_bytes, size, epoch, size, size),
            )
            if done.rowcount != 1:
                self._check_epoch(epoch)
                raise Stale("the published checkpoint does not go back, nor beyond last_signed", actual=size)
            db.execute("DELETE FROM staged WHERE size <= ?", (size,))

    def candidates(self, hashes: Sequence[bytes]) -> dict[bytes, list[int]]:
        db = self._open_db()
        by_prefix: dict[int, list[bytes]] = {}
        for item in hashes:
            by_prefix.setdefault(_prefix(item), []).append(item)
        found: dict[bytes, list[int]] = {}
        prefixes = list(by_prefix)
        for start in range(0, len(prefixes), _IN):
            part = prefixes[start : start + _IN]
            marks = ",".join("?" * len(part))
            rows = db.execute(f"SELECT prefix, idx FROM known WHERE prefix IN ({marks}) ORDER BY idx", part)  # noqa: S608
            for prefix, index in rows:
                for item in by_prefix[prefix]:
                    found.setdefault(item, []).append(index)
        return found

    def remember(self, epoch: int, hashes: Sequence[tuple[bytes, int]], upto: int) -> None:
        db = self._open_db()
        rows = sorted((_prefix(item), index) for item, index in hashes)
        with _transaction(db):
            if db.execute("UPDATE log SET dedup_upto = ? WHERE id = 1 AND epoch = ?", (upto, epoch)).rowcount != 1:
                self._check_epoch(epoch)
            # Many rows a statement: each step of SQLite gives the interpreter away and has to wait for it again.
            for start in range(0, len(rows), _IN):
                part = rows[start : start + _IN]
                marks = ",".join(["(?,?)"] * len(part))
                values = [value for row in part for value in row]
                # OR IGNORE: a hash that is replayed after a crash is the same row.
                db.execute(f"INSERT OR IGNORE INTO known (prefix, idx) VALUES {marks}", values)  # noqa: S608

    def namespaces(self) -> list[NamespaceVersion]:
        rows = self._open_db().execute("SELECT name, version, statement, idx, entry FROM namespace ORDER BY idx")
        return [
            NamespaceVersion(name, version, bytes(statement), idx, bytes(entry))
            for name, version, statement, idx, entry in rows
        ]

    def tip(self, kind: str, name: str) -> Tip | None:
        row = self._open_db().execute(_TIP, (kind, name)).fetchone()
        if row is None:
            return None
        position, statement, index, ended, successor, entry = row
        return Tip(kind, name, position, bytes(statement), index, bool(ended), successor, bytes(entry))

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise UnavailableError("the log's state is not open")
        return self._db

    def _check_epoch(self, epoch: int) -> None:
        row = self._open_db().execute("SELECT epoch FROM log WHERE id = 1").fetchone()
        if row is None or row[0] != epoch:
            raise Fenced(
                "another process has opened this log",
                expected=f"epoch {epoch}",
                actual=f"epoch {row[0] if row else '?'}",
            )


def _prefix(item: bytes) -> int:
    value: int = struct.unpack_from(">q", item)[0]
    return value


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
        )
        db.execute(f"PRAGMA busy_timeout = {BUSY_MS:d}")
        if mode == "ro":
            return db
        # WAL + FULL, asserted; no default and no silent fallback.
        (journal,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        db.execute("PRAGMA synchronous = FULL")
        (synchronous,) = db.execute("PRAGMA synchronous").fetchone()
        if (journal, synchronous) != ("wal", 2):
            raise ConfigError(
                f"{path} cannot be made durable",
                expected="journal_mode wal, synchronous 2",
                actual=f"{journal}, {synchronous}",
            )
        durable.name_wal(db, path)
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB:d}")
        db.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise Damaged(f"{path} is not a usable database", actual=str(error)) from error
        raise UnavailableError(f"{path} cannot be opened", actual=str(error)) from error
    return db


def read_only(path: Path) -> sqlite3.Connection:
    """A connection for looking at a log, live or not; it never writes nor checkpoints. Raises ConfigError."""
    if not path.exists():
        raise ConfigError(f"{path} is missing", expected="the state of a log", hint="teelog log init")
    return _connect(path, "ro")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE .. COMMIT. Whatever SQLite itself raises becomes UnknownOutcome; our own errors roll back."""
    try:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            _rollback(db)
            raise
        db.execute("COMMIT")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) in _FSYNC_ERRORS:
            durable.give_up("the log's state", error)
        _rollback(db)
        raise UnknownOutcome("the log's state did not take a transaction", actual=str(error)) from error


def _rollback(db: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute("ROLLBACK")
