"""What a monitor knows, in one file: how far it has followed the log, what is in force there, what it has found.

SQLite, WAL with synchronous=FULL, one writer (``folder.Folder`` holds the lock); readers open it read-only. A step
forward is one transaction that compares and swaps the head: what was found on the way is in it, so that a kill at any
moment neither loses a finding nor makes one twice.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from teelog.errors import ConfigError, UnavailableError
from teelog.statement.effective import Effect, Rows
from teelog.tlog.checkpoint import Checkpoint
from teelog.tlog.rfc6962 import EMPTY_ROOT
from teelog.witness.monitor.finding import Finding
from teelog.witness.monitor.ledger import TABLES as LEDGER_TABLES
from teelog.witness.monitor.ledger import Ledger
from teelog.witness.state import connect, connect_reader, transaction

VERSION = 2  # of the tables
APPLICATION = 0x74656D6F

_TABLES = """
CREATE TABLE followed (
  id INTEGER PRIMARY KEY CHECK (id = 0), origin TEXT NOT NULL,
  size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL, signed INTEGER NOT NULL, signed_root BLOB NOT NULL,
  mapped INTEGER NOT NULL, rules BLOB NOT NULL, looked_at INTEGER NOT NULL, read_at INTEGER NOT NULL,
  settings TEXT NOT NULL, aims BLOB NOT NULL, waiting BLOB NOT NULL
) STRICT;
CREATE TABLE effective (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE told (sink TEXT PRIMARY KEY, number INTEGER NOT NULL, since INTEGER, cause TEXT) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Followed:
    """How far the monitor has come.

    size, root: of the entries that were hashed again. note, signed, signed_root: the newest checkpoint all of whose
    entries were, and its size and root; empty, 0 before the first. mapped: entries that the rules have seen. rules:
    their state. looked_at: POSIX seconds of the last look, read_at: of the last one that reached the log; 0 before.
    settings: what the rules were made of. aims: notes of checkpoints that were begun and not followed to their end, as
    ``aims`` keeps them. waiting: what witnesses have seen and the log does not show, as ``standing`` keeps it.
    """

    origin: str
    size: int = 0
    root: bytes = EMPTY_ROOT
    note: bytes = b""
    signed: int = 0
    signed_root: bytes = EMPTY_ROOT
    mapped: int = 0
    rules: bytes = b""
    looked_at: int = 0
    read_at: int = 0
    settings: str = ""
    aims: bytes = b""
    waiting: bytes = b""

    @property
    def view(self) -> tuple[Checkpoint, bytes]:
        """The newest checkpoint that was followed to its end, and its note."""
        return Checkpoint(self.origin, self.signed, self.signed_root), self.note


class Moved(ConfigError):
    """Somebody else has written meanwhile."""


class State:
    """``state.db``. Used by one thread at a time. All methods raise sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.ledger = Ledger(db)

    @classmethod
    def create(cls, path: Path, origin: str) -> None:
        """Makes the file. Raises OSError, sqlite3.Error."""
        path.touch(0o600, exist_ok=False)
        db = connect(path)
        try:
            db.executescript(
                f"BEGIN; PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION};"
                f"{_TABLES}{LEDGER_TABLES} COMMIT;"
            )
            state = cls(db)
            with transaction(db):
                state._put(Followed(origin))
        finally:
            db.close()

    @classmethod
    def open(cls, path: Path, *, writer: bool = True) -> State:
        """Raises ConfigError for a file that is none of ours or of another version; UnavailableError, sqlite3.Error."""
        if not path.is_file():
            raise ConfigError(f"{path} is missing", hint=f"teelog monitor init {path.parent} --policy POLICY")
        try:
            db = connect(path) if writer else connect_reader(path)
        except sqlite3.OperationalError as error:
            raise UnavailableError(f"cannot open {path}", actual=str(error)) from error
        try:
            marks = (db.execute("PRAGMA application_id").fetchone()[0], db.execute("PRAGMA user_version").fetchone()[0])
            if marks != (APPLICATION, VERSION):
                raise ConfigError(
                    f"{path} is no monitor's state of this version",
                    expected=f"version {VERSION}",
                    actual=f"version {marks[1]}" if marks[0] == APPLICATION else "another file",
                )
            return cls(db)
        except BaseException:
            db.close()
            raise

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    # -- how far ------------------------------------------------------------------------------------------------------

    def followed(self) -> Followed:
        row = self._db.execute(
            "SELECT origin, size, root, note, signed, signed_root, mapped, rules, looked_at, read_at, settings,"
            " aims, waiting"
            " FROM followed"
        ).fetchone()
        return Followed(*row)

    def advance(
        self,
        before: Followed,
        after: Followed,
        now: int,
        events: Sequence[Finding] = (),
        standing: Sequence[Finding] | None = None,
        effects: Iterable[Effect] = (),
    ) -> None:
        """Moves on from ``before`` to ``after``, with what was found. standing: all of the kind, None: not judged now.

        Raises Moved where the state is no longer ``before``.
        """
        with transaction(self._db):
            if self.followed() != before:
                raise Moved("another process writes this monitor's state")
            self._put(after)
            self._db.executemany("INSERT OR REPLACE INTO effective VALUES (?, ?)", (effect.row for effect in effects))
            self.ledger.record(events, standing, now)

    def forget_rules(
        self, before: Followed, after: Followed, now: int, events: Sequence[Finding], dropped: int | None = None
    ) -> None:
        """As ``advance``, for rules that begin anew with entry 0.

        dropped: entries from this index on were of a tree that is left: others may come in their places.
        """
        with transaction(self._db):
            if self.followed() != before:
                raise Moved("another process writes this monitor's state")
            self._put(after)
            self._db.execute("DELETE FROM effective")
            if dropped is not None:
                self.ledger.leave(dropped, before.root)
            self.ledger.record(events, None, now)

    def _put(self, what: Followed) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO followed VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                what.origin,
                what.size,
                what.root,
                what.note,
                what.signed,
                what.signed_root,
                what.mapped,
                what.rules,
                what.looked_at,
                what.read_at,
                what.settings,
                what.aims,
                what.waiting,
            ),
        )

    def effective(self, pending: dict[bytes, bytes]) -> Rows:
        """What is in force after ``mapped`` entries and the rows of ``pending``, which the caller adds to."""

        def row(key: bytes) -> bytes | None:
            if key in pending:
                return pending[key]
            found = self._db.execute("SELECT value FROM effective WHERE key = ?", (key,)).fetchone()
            return None if found is None else found[0]

        return Rows(self.followed().origin, row)

    # -- who was told -------------------------------------------------------------------------------------------------

    def told(self, sink: str) -> int:
        """The number of the last alert that was delivered there, 0 before the first."""
        row = self._db.execute("SELECT number FROM told WHERE sink = ?", (sink,)).fetchone()
        return 0 if row is None else int(row[0])

    def troubles(self) -> dict[str, tuple[int, str]]:
        """Sinks that cannot be reached: since when (POSIX seconds), and why."""
        rows = self._db.execute("SELECT sink, since, cause FROM told WHERE since IS NOT NULL ORDER BY sink")
        return {sink: (since, cause) for sink, since, cause in rows}

    def tell(self, sink: str, number: int) -> None:
        """Everything up to ``number`` was delivered."""
        with transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO told VALUES (?, ?, NULL, NULL)", (sink, number))

    def untold(self, sink: str, now: int, cause: str) -> None:
        """Delivery failed."""
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO told VALUES (?, 0, ?, ?) ON CONFLICT (sink)"
                " DO UPDATE SET since = coalesce(since, excluded.since), cause = excluded.cause",
                (sink, now, cause),
            )

    def settle(self, number: int, now: int) -> None:
        """The owner has dealt with all events up to ``number``."""
        with transaction(self._db):
            self.ledger.settle(number, now)

    def unasked(self, sinks: Collection[str]) -> None:
        """Nobody but ``sinks`` is told any more: what failed elsewhere is no trouble."""
        gone = [(sink,) for sink in self.troubles() if sink not in sinks]
        if gone:
            with transaction(self._db):
                self._db.executemany("UPDATE told SET since = NULL, cause = NULL WHERE sink = ?", gone)
