"""Quotas: how many new entries a namespace may log in a day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from teelog.log_server.problems import Kind, Problem


class Quota:
    """New entries of a namespace in a UTC day. A repeated or refused entry costs nothing (R-34)."""

    def __init__(self, per_day: int, now: Callable[[], float]) -> None:
        self.per_day = per_day
        self._now = now
        self._day = 0
        self._used: dict[str, int] = {}

    def take(self, name: str | None) -> bool:
        """Takes one, unless there is none left."""
        if not self.per_day or name is None:
            return True
        day = int(self._now() // 86_400)
        if day != self._day:
            self._day, self._used = day, {}
        used = self._used.get(name, 0)
        if used >= self.per_day:
            return False
        self._used[name] = used + 1
        return True

    def give_back(self, name: str | None) -> None:
        if self.per_day and name is not None and self._used.get(name):
            self._used[name] -= 1

    def problem(self) -> Problem:
        midnight = datetime.fromtimestamp(self._now(), UTC).replace(hour=0, minute=0, second=0) + timedelta(days=1)
        return Problem(
            Kind.QUOTA,
            "the namespace's quota of new entries is used up for today",
            expected=f"{self.per_day} a UTC day",
            retry_after=midnight.timestamp() - self._now(),
        )
