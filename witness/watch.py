"""What the owner of namespaces should know of a log's entries, seen in one go while they are mapped."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Set
from datetime import datetime, timedelta

from teelog.statement import index_map
from teelog.statement.admit import ParsedEntry
from teelog.statement.effective import Effective
from teelog.statement.index_map import Mapped
from teelog.witness.monitor.finding import Finding, Kind
from teelog.witness.monitor.rules import Rules
from teelog.witness.monitor.watches import Subject, Watch

MAX_LATE = 1_000  # of the newest statements in watched names, whose place in an index is judged


class Watched:
    """names: the namespaces that are watched. known: statement ids that are expected; None: all are."""

    def __init__(self, log: str, names: Set[str], known: Collection[str] | None = None) -> None:
        self._log = log
        self._names = names
        self._rules = Rules(log, [Watch(Subject.NAMESPACE, name) for name in names], known)
        self._found: dict[str, Finding] = {}
        self._newest: deque[tuple[int, str]] = deque(maxlen=MAX_LATE)

    def observe(self, index: int, entry: bytes, mapped: Mapped, state: Effective) -> None:
        """Takes the next entry with what it maps to. state: what is in force before it."""
        if not self._rules.concerned(mapped):
            return
        parsed = index_map.read(entry)
        for finding in self._rules.observe(index, entry, mapped, state, parsed):
            if finding.over:
                self._found.pop(finding.id, None)
            else:
                self._found[finding.id] = finding
        name = parsed.namespace if isinstance(parsed, ParsedEntry) else None
        if name is not None and name in self._names:
            self._newest.append((index, name))

    def close(self, now: datetime, ahead: timedelta, indexed: int | None) -> list[Finding]:
        """All that was found, that of the log's end included.

        ahead: how long before its end a status is told to be about to go stale. indexed: entries that the published
        index covers, None where that is not to be judged.
        """
        late = [] if indexed is None else [(index, name) for index, name in self._newest if index >= indexed]
        return [
            *self._found.values(),
            *self._rules.standing(now, ahead),
            *(Finding(Kind.NOT_INDEXED, self._log, name, "in no published index yet", index) for index, name in late),
        ]
