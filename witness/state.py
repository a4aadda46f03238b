"""The witness's durable truth: the known logs, and for each the head that was cosigned last.

SQLite, WAL with synchronous=FULL: a committed transaction survives a power cut (R-31). One connection per file writes
(SQLite before 3.51.3 can corrupt a WAL that two connections write and checkpoint); every other one opens it read-only.

A head moves by compare-and-swap on the previous (size, root), in a transaction that ends before any signature exists.
Nothing is cached: what was not committed is not believed.
"""

from __future__ import annotations

import contextlib
import enum
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from teelog import durable
from teelog.errors import ConfigError
from teelog.witness.decide import Cosign, Head

BUSY_TIMEOUT = 0.25  # seconds; only a second writer, which should not be there, makes anyone wait
APPLICATION = 0x7465656C  # SQLite's application_id: an emptied file is not taken for a new one
SYNCHRONOUS = {"FULL": 2, "NORMAL": 1}

Opened = TypeVar("Opened")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A row of the log list.

    vkeys: verifier keys as text, all of the name ``origin``. per_day: requests, None = no limit.
    main: of an index log in a semantic witness's list, the vkeys of the log that it indexes; else empty.
    """

    origin: str
    vkeys: tuple[str, ...]
    url: str | None = None
    contact: str | None = None
    per_day: int | None = None
    disabled: bool = False
    main: tuple[str, ...] = ()


class Role(enum.StrEnum):
    """What a witness's cosignature says of a log: append-only, or an index that was rebuilt."""

    PLAIN = "plain"
    SEMANTIC = "semantic"


_KEYS = msgspec.json.Decoder(tuple[str, ...])  # tens of thousands of rows are read at each start
_SELECT_LOG = "SELECT origin, vkeys, url, contact, per_day, disabled, main FROM logs"


_INSERT_LOG = "INSERT INTO logs (origin, vkeys, url, contact, per_day, disabled, main) VALUES (?, ?, ?, ?, ?, ?, ?)"


def _row(entry: LogEntry) -> tuple[str | int | None, ...]:
    return (
        entry.origin,
        json.dumps(entry.vkeys),
        entry.url,
        entry.contact,
        entry.per_day,
        int(entry.disabled),
        json.dumps(entry.main) if entry.main else None,
    )


def _entry(
    origin: str, vkeys: str, url: str | None, contact: str | None, per_day: int | None, disabled: int, main: str | None
) -> LogEntry:
    main_keys = () if main is None else _KEYS.decode(main)
    return LogEntry(origin, _KEYS.decode(vkeys), url, contact, per_day, bool(disabled), main_keys)


def connect(path: Path, synchronous: str = "FULL") -> sqlite3.Connection:
    """The one writing connection to an existing database, used by one thread at a time.

    Raises ConfigError, sqlite3.Error.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT, check_same_thread=False)
    try:
        mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        db.execute(f"PRAGMA synchronous={synchronous}")
        level = db.execute("PRAGMA synchronous").fetchone()[0]
        # anything less loses acknowledged commits.
        if mode != "wal" or level != SYNCHRONOUS[synchronous]:
            raise ConfigError(
                f"{path} cannot be written durably", expected=f"wal, {synchronous}", actual=f"{mode}, {level}"
            )
        db.execute("PRAGMA cell_size_check=ON")
        db.execute("PRAGMA trusted_schema=OFF")
        durable.name_wal(db, path)
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, commit: Callable[[], object] | None = None) -> Iterator[None]:
    """All of what is done in it, or nothing. commit: in place of a plain COMMIT. Raises sqlite3.Error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        if commit is None:
            db.execute("COMMIT")
        else:
            commit()
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, beside a running witness. Raises sqlite3.Error."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)


def check(db: sqlite3.Connection, path: Path, create: bool) -> None:
    """Raises ConfigError for a damaged file, and for an empty one unless it is to be created now."""
    if create:
        db.execute(f"PRAGMA application_id={APPLICATION}")
    elif db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise ConfigError(f"{path} is not a witness's database", hint="restore it from a copy that is not older")
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise ConfigError(f"{path} is damaged", actual=found, hint="restore it from a copy that is not older")


class Store:
    """``state.db``. Used by one thread at a time."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self._changed: list[LogEntry] = []

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Store:
        """Raises ConfigError, sqlite3.Error. Brings an older schema up to date."""
        from teelog.witness import schema

        db = connect(path)
        try:
            check(db, path, create)
            schema.migrate(db)
        except BaseException:
            db.close()
            raise
        return cls(path, db)

    @classmethod
    def open_reader(cls, path: Path) -> Store:
        return cls(path, connect_reader(path))

    def reopen(self) -> None:
        """Drops the connection, and with it whatever a failed commit left behind (W-37)."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._db = connect(self.path)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- heads --------------------------------------------------------------------------------------------------------

    def head(self, origin: str) -> Head | None:
        row = self._db.execute("SELECT size, root, timestamp, note FROM state WHERE origin = ?", (origin,)).fetchone()
        return None if row is None else Head(*row)

    def positions(self) -> Iterator[tuple[str, int, bytes, int]]:
        """(origin, size, root, timestamp) of every head."""
        yield from self._db.execute("SELECT origin, size, root, timestamp FROM state")

    def advance(self, moves: Sequence[Cosign]) -> list[bool]:
        """Moves heads in one durable transaction; for each whether its compare-and-swap won.

        Raises sqlite3.Error: the outcome is unknown, nothing may be signed.
        """
        # W-36: "checking the old size against the latest checkpoint and persisting the new checkpoint must be
        # performed atomically".
        with transaction(self._db, self._commit):
            return [self._swap(move) for move in moves]

    def _commit(self) -> None:
        self._db.execute("COMMIT")

    def _swap(self, move: Cosign) -> bool:
        new, old = move.head, move.previous
        if old is None:
            done = self._db.execute(
                "INSERT INTO state (origin, size, root, timestamp, note) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (move.origin, new.size, new.root, new.timestamp, new.note),
            )
        else:
            done = self._db.execute(
                "UPDATE state SET size = ?, root = ?, timestamp = ?, note = ?"
                " WHERE origin = ? AND size = ? AND root = ? AND timestamp <= ?",
                (new.size, new.root, new.timestamp, new.note, move.origin, old.size, old.root, new.timestamp),
            )
        return done.rowcount == 1

    # -- the log list -------------------------------------------------------------------------------------------------

    def take_changed(self) -> list[LogEntry]:
        """Entries that were put or added since this was last asked, in that order."""
        changed, self._changed = self._changed, []
        return changed

    def logs(self) -> list[LogEntry]:
        return [_entry(*row) for row in self._db.execute(f"{_SELECT_LOG} ORDER BY origin")]

    def log(self, origin: str) -> LogEntry | None:
        row = self._db.execute(f"{_SELECT_LOG} WHERE origin = ?", (origin,)).fetchone()
        return None if row is None else _entry(*row)

    def put_log(self, entry: LogEntry) -> None:
        """Adds or replaces one log's row; its head stays (W-47, W-48)."""
        self._db.execute(
            f"{_INSERT_LOG} ON CONFLICT (origin) DO UPDATE SET vkeys = excluded.vkeys, url = excluded.url,"
            " contact = excluded.contact, per_day = excluded.per_day, disabled = excluded.disabled,"
            " main = excluded.main",
            _row(entry),
        )
        self._changed.append(entry)

    def add_logs(self, entries: Sequence[LogEntry]) -> None:
        """Adds all of these, or none. Raises sqlite3.IntegrityError where one is known."""
        with transaction(self._db, self._commit):
            self._db.executemany(_INSERT_LOG, map(_row, entries))
        self._changed += entries

    # -- whose database this is ---------------------------------------------------------------------------------------

    def identity(self) -> tuple[str, ...]:
        """The witness's own vkeys, as stored by ``init``."""
        row = self._db.execute("SELECT value FROM meta WHERE key = 'vkeys'").fetchone()
        return () if row is None else tuple(json.loads(row[0]))

    def role(self) -> Role | None:
        """What this witness's key is for; None as long as it is for nothing yet. It never changes."""
        row = self._db.execute("SELECT value FROM meta WHERE key = 'role'").fetchone()
        if row is not None:
            return Role(row[0])
        return Role.PLAIN if self._db.execute("SELECT 1 FROM logs LIMIT 1").fetchone() else None

    def make_semantic(self) -> None:
        """Raises ConfigError where the key is a plain witness's."""
        role = self.role()
        if role is Role.PLAIN:
            raise ConfigError(
                "this witness's key cosigns logs for being append-only: it cannot vouch for an index as well",
                expected="a witness of its own, with a name and a key of its own",
                hint="teelog witness init FOLDER --name NAME",
            )
        if role is None:
            self._db.execute("INSERT INTO meta (key, value) VALUES ('role', ?)", (Role.SEMANTIC,))

    def set_identity(self, vkeys: Sequence[str]) -> None:
        self._db.execute("INSERT INTO meta (key, value) VALUES ('vkeys', ?)", (json.dumps(list(vkeys)),))
