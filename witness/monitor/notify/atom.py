"""An Atom feed (RFC 4287) of the newest alerts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

from teelog.witness.monitor.finding import Alert
from teelog.witness.monitor.notify.text import plain
from teelog.witness.monitor.state import Followed

MAX_ENTRIES = 100
CONTENT_TYPE = "application/atom+xml"
_ATOM = "http://www.w3.org/2005/Atom"


def feed(alerts: Sequence[Alert], followed: Followed) -> bytes:
    """alerts: newest first. The feed says how far the monitor has looked, in its subtitle and its time."""
    root = ElementTree.Element("feed", xmlns=_ATOM)
    _add(root, "title", f"teelog monitor: {followed.origin}")
    size, judged = followed.signed, followed.mapped
    read = _time(followed.read_at) if followed.read_at else "never"
    _add(root, "subtitle", f"looked at {size} entries, judged {judged}; last read {read}")
    _add(root, "id", f"urn:teelog:monitor:{hashlib.sha256(followed.origin.encode()).hexdigest()}")
    _add(root, "updated", _time(max([followed.looked_at, *(alert.last_at for alert in alerts)])))
    author = ElementTree.SubElement(root, "author")
    _add(author, "name", "teelog monitor")
    for alert in alerts[:MAX_ENTRIES]:
        found = alert.finding
        entry = ElementTree.SubElement(root, "entry")
        where = "" if found.index is None else f", entry {found.index}"
        cleared = "" if alert.cleared_at is None else " (over)"
        _add(entry, "title", f"{found.severity}: {found.kind} {found.about or found.log}{where}{cleared}")
        _add(entry, "id", f"urn:teelog:alert:{found.id}:{alert.number}")
        _add(entry, "updated", _time(alert.cleared_at or alert.first_at))
        _add(entry, "published", _time(alert.first_at))
        ElementTree.SubElement(entry, "category", term=found.kind.value)
        evidence = f" Evidence: {found.evidence}" if found.evidence else ""
        _add(entry, "content", f"{found.text}{evidence}").set("type", "text")
    made: bytes = ElementTree.tostring(root, "utf-8")
    return made if made.startswith(b"<?xml") else b'<?xml version="1.0" encoding="utf-8"?>\n' + made + b"\n"


def _add(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    made = ElementTree.SubElement(parent, name)
    made.text = plain(text)
    return made


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
