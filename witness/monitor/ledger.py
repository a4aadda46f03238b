"""What was found, numbered: the same thing found again is the same alert.

An alert of an event stays until its owner has dealt with it, or another entry explains it. One of a standing condition
is cleared once a look no longer finds it, and gets a new number if it comes back; so does a crime that goes on after it
was dealt with. Outlets tell the alerts whose number is above that of the last one they told; that a condition is over
is in the ledger, not told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from teelog.witness.monitor.finding import ID_LENGTH, Alert, Finding, Kind, Severity

MAX_NOTICES = 100_000  # kept; the oldest beyond make room
MAX_CLEARED = 100_000  # conditions that are over, kept; what comes and goes may do so for years. Events and crimes stay

TABLES = """
CREATE TABLE alerts (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL, log TEXT NOT NULL,
  about TEXT NOT NULL, entry INTEGER, text TEXT NOT NULL, evidence TEXT, standing INTEGER NOT NULL,
  first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, cleared_at INTEGER
) STRICT;
CREATE INDEX alerts_id ON alerts (id, number);
CREATE INDEX alerts_open ON alerts (number) WHERE standing = 1 AND cleared_at IS NULL;
CREATE INDEX alerts_notices ON alerts (number) WHERE severity = 'notice';
CREATE INDEX alerts_cleared ON alerts (number) WHERE standing = 1 AND cleared_at IS NOT NULL;
"""

_COLUMNS = "number, kind, log, about, text, entry, evidence, standing, first_at, last_at, cleared_at"


class Ledger:
    """The table ``alerts``. Writing methods are called inside the caller's transaction. All raise sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def record(self, events: Iterable[Finding], standing: Sequence[Finding] | None, now: int) -> None:
        """Takes what one step found. standing: every standing condition that holds now, None where none was judged.

        A condition that holds no more is cleared, and so is what one of ``events`` says is over.
        """
        for finding in events:
            self._take(finding, now)
        if standing is not None:
            for finding in standing:
                self._take(finding, now)
            held = {finding.id for finding in standing}
            for number, identity in self._db.execute(
                "SELECT number, id FROM alerts WHERE standing = 1 AND cleared_at IS NULL"
            ).fetchall():
                if identity not in held:
                    self._db.execute("UPDATE alerts SET cleared_at = ? WHERE number = ?", (now, number))
        self._make_room("severity = 'notice'", MAX_NOTICES)
        self._make_room("standing = 1 AND cleared_at IS NOT NULL", MAX_CLEARED)

    def _make_room(self, which: str, limit: int) -> None:
        """Of the alerts that ``which``, an index's condition, selects, the oldest beyond ``limit`` go."""
        self._db.execute(
            f"DELETE FROM alerts WHERE {which} AND number <="  # noqa: S608
            f" (SELECT number FROM alerts WHERE {which} ORDER BY number DESC LIMIT 1 OFFSET ?)",
            (limit,),
        )

    def _take(self, finding: Finding, now: int) -> None:
        known = self._db.execute(
            "SELECT number, cleared_at FROM alerts WHERE id = ? ORDER BY number DESC LIMIT 1", (finding.id,)
        ).fetchone()
        if finding.over:
            if known is not None and known[1] is None:
                self._db.execute("UPDATE alerts SET cleared_at = ? WHERE number = ?", (now, known[0]))
            return
        # An event that was dealt with is the same one when the log is judged anew; a crime that goes on is not.
        comes_back = finding.standing or finding.severity is Severity.CRIME
        if known is not None and (known[1] is None or not comes_back):
            # Its words may be newer: how long a status still lasts, how many more there are.
            self._db.execute(
                "UPDATE alerts SET last_at = ?, text = ?, evidence = coalesce(evidence, ?) WHERE number = ?",
                (now, finding.text, finding.evidence, known[0]),
            )
            return
        number = self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM alerts").fetchone()[0]
        self._db.execute(
            "INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                number,
                finding.id,
                finding.kind,
                finding.severity,
                finding.log,
                finding.about,
                finding.index,
                finding.text,
                finding.evidence,
                int(finding.standing),
                now,
                now,
            ),
        )

    def settle(self, number: int, now: int) -> None:
        """The owner has dealt with all events up to ``number``."""
        self._db.execute(
            "UPDATE alerts SET cleared_at = ? WHERE standing = 0 AND cleared_at IS NULL AND number <= ?", (now, number)
        )

    def leave(self, index: int, root: bytes) -> None:
        """Entries from ``index`` on were of another tree, of ``root``: what is found there from now on is new."""
        self._db.execute(
            "UPDATE alerts SET id = id || '-' || ? WHERE entry >= ? AND length(id) = ?",
            (root.hex()[:16], index, ID_LENGTH),
        )

    def known(self, identity: str) -> bool:
        """Whether an alert with this id is open."""
        row = self._db.execute(
            "SELECT cleared_at FROM alerts WHERE id = ? ORDER BY number DESC LIMIT 1", (identity,)
        ).fetchone()
        return row is not None and row[0] is None

    def alerts(self, after: int = 0, *, only_open: bool = False, limit: int = 1_000) -> Iterator[Alert]:
        """Those with a larger number than ``after``, oldest first, at most ``limit``."""
        held = " AND cleared_at IS NULL" if only_open else ""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM alerts WHERE number > ?{held} ORDER BY number LIMIT ?",  # noqa: S608
            (after, limit),
        )
        return map(_alert, rows.fetchall())

    def worst_open(self, limit: int) -> list[Alert]:
        """The open ones, crimes first, then alerts, then notices, each oldest first: notices crowd nothing out."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM alerts WHERE cleared_at IS NULL"  # noqa: S608
            " ORDER BY CASE severity WHEN 'crime' THEN 0 WHEN 'alert' THEN 1 ELSE 2 END, number LIMIT ?",
            (limit,),
        )
        return list(map(_alert, rows.fetchall()))

    def newest(self, limit: int) -> list[Alert]:
        """The newest ones, newest first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM alerts ORDER BY number DESC LIMIT ?", (limit,))  # noqa: S608
        return list(map(_alert, rows.fetchall()))

    def counts(self) -> dict[tuple[str, bool], int]:
        """How many there are by (kind, whether open)."""
        rows = self._db.execute("SELECT kind, cleared_at IS NULL, count(*) FROM alerts GROUP BY 1, 2")
        return {(kind, bool(held)): count for kind, held, count in rows}


def _alert(row: Sequence[Any]) -> Alert:
    number, kind, log, about, text, entry, evidence, standing, first_at, last_at, cleared_at = row
    finding = Finding(Kind(kind), log, about, text, entry, evidence, bool(standing))
    return Alert(number, finding, first_at, last_at, cleared_at)
