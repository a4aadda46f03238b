"""What a monitor finds, and how much it matters (docs/formats/monitor-alert.md)."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass

ID_LENGTH = 32  # hex digits
MAX_TEXT = 512  # characters of a finding's text
MAX_ABOUT = 512  # characters of what a finding is about


class Severity(enum.StrEnum):
    """CRIME: a log provably broke its promise. ALERT: someone has to act. NOTICE: someone may want to know."""

    CRIME = "crime"
    ALERT = "alert"
    NOTICE = "notice"


class Kind(enum.StrEnum):
    """What was found. The value stands in alerts, feeds and metrics, and does not change."""

    # The log's tree and its views.
    FORK = "fork"
    ROLLBACK = "rollback"
    BROKEN = "broken"
    UNREADABLE = "unreadable"
    UNREACHABLE = "unreachable"
    STALLED = "stalled"
    NOT_WITNESSED = "not-witnessed"
    BEHIND = "behind"
    # Its index.
    INDEX_FAULT = "index-fault"
    NOT_INDEXED = "not-indexed"
    # What is said in it.
    KEYS = "key-change"
    UNEXPECTED = "unexpected"
    INERT = "inert"
    MEASURED = "measured-not-released"
    STALE = "stale"
    CLOSED = "closed"
    MISSING = "no-namespace"
    REGISTER = "register-seen"
    SIGNER = "signer-seen"
    NEW_SIGNER = "new-signer"
    ENTRY = "entry"
    FROZEN = "frozen"
    # The monitor itself.
    SETTINGS = "settings"
    TEST = "test"
    OVERFLOW = "more"


# No rollback: a smaller tree was signed before, a cache may show it still, and the two checkpoints convict nobody.
_SEVERITY = {
    Kind.FORK: Severity.CRIME,
    Kind.INDEX_FAULT: Severity.CRIME,
    Kind.BEHIND: Severity.NOTICE,
    Kind.NOT_INDEXED: Severity.NOTICE,
    Kind.REGISTER: Severity.NOTICE,
    Kind.ENTRY: Severity.NOTICE,
    Kind.SETTINGS: Severity.NOTICE,
    Kind.TEST: Severity.NOTICE,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    log: origin. about: what it concerns, such as a namespace, a stream, a witness's name; empty for the log as a whole.
    index: of the entry that raises it, None for none. text: for people, at most 512 characters, perhaps of a stranger's
    making: printed and served escaped only. evidence: name of a file in the folder's ``evidence``, None for none.
    standing: whether it ends by itself, so that it is cleared once a look no longer finds it; others happened.
    over: that what was found under this id is explained by now: it clears the alert, and is none.
    """

    kind: Kind
    log: str
    about: str
    text: str
    index: int | None = None
    evidence: str | None = None
    standing: bool = False
    over: bool = False

    @property
    def id(self) -> str:
        """32 hex digits: the same thing found again is the same finding, whatever its words."""
        parts = (self.kind.value, self.log, self.about, "" if self.index is None else str(self.index))
        framed = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
        return hashlib.sha256(b"teelog-finding/v1" + framed).hexdigest()[:ID_LENGTH]

    @property
    def severity(self) -> Severity:
        return _SEVERITY.get(self.kind, Severity.ALERT)


@dataclass(frozen=True, slots=True)
class Alert:
    """A finding in the ledger.

    number: rising in one folder, from 1 on. first_at, last_at: POSIX seconds of the first and the last look that found
    it. cleared_at: since when a standing one is over, None while it is not. withheld: whether it is told without words
    that others may have chosen.
    """

    number: int
    finding: Finding
    first_at: int
    last_at: int
    cleared_at: int | None = None
    withheld: bool = False

    @property
    def open(self) -> bool:
        return self.cleared_at is None


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """At most ``limit`` characters, the end shown to be missing; lone surrogates, which nothing encodes, replaced."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 1] + "…"
