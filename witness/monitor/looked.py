"""What one look saw, for whoever asked for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from teelog.witness.monitor.finding import Alert, Finding
from teelog.witness.monitor.state import Followed
from teelog.witness.monitor.views import View


@dataclass(slots=True)
class Look:
    """What one look saw. troubles: what could not be looked at, for people.

    open_alerts: of the ledger, after the last of several looks, the worst first.
    """

    followed: Followed
    views: list[View] = field(default_factory=list)
    events: list[Finding] = field(default_factory=list)
    standing: list[Finding] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    open_alerts: list[Alert] = field(default_factory=list)
