"""What the owner of a namespace should know of a log's entries, seen while they are mapped."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from teelog.errors import MalformedError
from teelog.statement import admit
from teelog.statement.admit import ParsedEntry
from teelog.statement.index_map import Effect, LogPolicyEffect, Mapped, NamespaceEffect, StatusEffect
from teelog.statement.log_policy import LogPolicyPredicate
from teelog.statement.status import StatusPredicate


class Alert(enum.StrEnum):
    KEYS = "key-change"
    INERT = "inert"
    UNEXPECTED = "unexpected"
    STALE = "stale"
    CLOSED = "closed"
    FROZEN = "frozen"
    NOT_INDEXED = "not-indexed"
    MISSING = "no-namespace"


MAX_ALARMS = 1_000
"""Of one kind about entries without effect that are told one by one: a log may hold any number that anyone made up."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """namespace: whose owner it is for; None: for everyone's. index: of the entry that raises it, None for none."""

    alert: Alert
    namespace: str | None
    index: int | None
    text: str


@dataclass(slots=True)
class Watch:
    """names: the namespaces that are watched. known: statement ids that are expected; None: all are.

    seen: indices of watched statements, effective or not, with their namespaces.
    """

    names: Set[str]
    known: Collection[str] | None = None
    alarms: list[Alarm] = field(default_factory=list)
    seen: dict[int, str] = field(default_factory=dict)
    frozen: int | None = None
    _junk: Counter[Alert] = field(default_factory=Counter)
    _found: set[str] = field(default_factory=set)
    _statuses: dict[str, tuple[int, StatusPredicate]] = field(default_factory=dict)

    def observe(self, index: int, entry: bytes, mapped: Mapped) -> None:
        """Takes the next entry with what it maps to."""
        if isinstance(mapped.effect, LogPolicyEffect):
            self._log_policy(index, entry)
            return
        if not self.names:
            return
        try:
            parsed = admit.classify(entry)
        except MalformedError:
            return
        if parsed.namespace in self.names:
            self._watched(index, parsed, mapped)

    def _raise(self, alarm: Alarm, effect: Effect | None) -> None:
        """What took effect is always told: junk beside it must not hide it."""
        if effect is None:
            self._junk[alarm.alert] += 1
            if self._junk[alarm.alert] > MAX_ALARMS:
                return
        self.alarms.append(alarm)

    def _log_policy(self, index: int, entry: bytes) -> None:
        claim = admit.classify(entry).predicate
        if isinstance(claim, LogPolicyPredicate) and claim.frozen is not None:
            self.frozen = index
            goes_on = f" on {claim.frozen.successor}" if claim.frozen.successor else ""
            self.alarms.append(Alarm(Alert.FROZEN, None, index, f"the log is frozen: move{goes_on}"))

    def _watched(self, index: int, parsed: ParsedEntry, mapped: Mapped) -> None:
        name, effect = parsed.namespace, mapped.effect
        assert name is not None
        self.seen[index] = name
        if effect is not None:
            self._found.add(name)
        if mapped.why_inert is not None:
            text = f"a {parsed.kind} that has no effect: {mapped.why_inert}"
            self._raise(Alarm(Alert.INERT, name, index, text), effect)
        if self.known is not None and parsed.statement_id not in self.known:
            text = f"a {parsed.kind} that was not expected: {parsed.statement_id}"
            self._raise(Alarm(Alert.UNEXPECTED, name, index, text), effect)
        elif isinstance(effect, NamespaceEffect) and self.known is None:
            claim = parsed.predicate
            version = getattr(claim, "version", 0)
            if version:
                self.alarms.append(Alarm(Alert.KEYS, name, index, f"the namespace's keys changed: version {version}"))
        if isinstance(effect, StatusEffect) and isinstance(parsed.predicate, StatusPredicate):
            self._statuses[effect.stream] = index, parsed.predicate

    def close(self, now: datetime, ahead: timedelta, indexed: int | None) -> list[Alarm]:
        """All alarms, those of the log's end included.

        ahead: how long before its end a status is told to be about to go stale. indexed: entries that the published
        index covers, None where that is not to be judged.
        """
        ends = [Alarm(Alert.MISSING, name, None, "not on this log") for name in sorted(self.names - self._found)]
        for stream, (index, status) in sorted(self._statuses.items()):
            ends += self._status_alarms(stream, index, status, now, ahead)
        if indexed is not None:
            late = (index for index in self.seen if index >= indexed)
            ends += [Alarm(Alert.NOT_INDEXED, self.seen[index], index, "in no published index yet") for index in late]
        more = [
            Alarm(alert, None, None, f"and {count - MAX_ALARMS} more")
            for alert, count in self._junk.items()
            if count > MAX_ALARMS
        ]
        return [*self.alarms, *more, *ends]

    def _status_alarms(
        self, stream: str, index: int, status: StatusPredicate, now: datetime, ahead: timedelta
    ) -> list[Alarm]:
        name = stream.partition("/")[0]
        if status.is_closed:
            goes_on = f", it goes on at {status.successor}" if status.successor else ""
            return [Alarm(Alert.CLOSED, name, index, f"{stream} is closed on this log{goes_on}")]
        if now > status.next_update_time:
            return [Alarm(Alert.STALE, name, index, f"{stream}: the last status ended at {status.next_update}")]
        if now + ahead > status.next_update_time:
            return [Alarm(Alert.STALE, name, index, f"{stream}: the last status ends at {status.next_update}")]
        return []
