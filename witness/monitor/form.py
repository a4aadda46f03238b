"""An alert as it leaves: ``teelog-alert/v1`` (docs/formats/monitor-alert.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from teelog.witness.monitor.finding import Alert
from teelog.witness.monitor.state import Followed

SCHEMA = "teelog-alert/v1"
LISTING = "teelog-monitor-alerts/v1"


def document(alert: Alert, followed: Followed) -> dict[str, Any]:
    """The alert, and how far the monitor had looked when this was made: silence about what lies beyond says nothing."""
    found, about, text = alert.finding, alert.finding.about, alert.finding.text
    if alert.withheld:
        # A stranger may have chosen either: a filter that takes offence must not keep the alert from coming.
        about = "withheld"
        text = f"text withheld, since the receiver refused it: teelog monitor alerts MONITOR --after {alert.number - 1}"
    return {
        "schema": SCHEMA,
        "number": alert.number,
        "id": found.id,
        "kind": found.kind.value,
        "severity": found.severity.value,
        "log": found.log,
        "about": about,
        "index": found.index,
        "text": text,
        "evidence": found.evidence,
        "first_at": alert.first_at,
        "last_at": alert.last_at,
        "cleared_at": alert.cleared_at,
        "looked": looked(followed),
    }


def listing(
    alerts: Sequence[Alert], followed: Followed, troubles: Mapping[str, tuple[int, str]], *, more: bool
) -> dict[str, Any]:
    """Several alerts. troubles: outlet -> since when it cannot be told, and why. more: whether there are others."""
    return {
        "schema": LISTING,
        "alerts": [document(alert, followed) for alert in alerts],
        "more": more,
        "looked": looked(followed),
        "untold": [{"outlet": name, "since": since, "cause": cause} for name, (since, cause) in troubles.items()],
    }


def looked(followed: Followed) -> dict[str, Any]:
    """How far: entries of the newest checkpoint that was read to its end, entries judged, times in POSIX seconds."""
    return {
        "log": followed.origin,
        "size": followed.signed,
        "root": followed.signed_root.hex(),
        "judged": followed.mapped,
        "at": followed.looked_at,
        "read_at": followed.read_at,
    }
