"""Verdicts: what each check found, and what all of them amount to (protocol section 7).

A check has one outcome. ``off`` comes only from the caller naming the check; a check without its input is
``not established``. A Verdict is never a bool: asking for its truth raises.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from teelog.errors import TeelogError

if TYPE_CHECKING:
    from teelog.appraisal.inputs import Seen


class Outcome(enum.StrEnum):
    """Of one check."""

    VERIFIED = "verified"
    FAILED = "failed"
    NOT_ESTABLISHED = "not established"
    OFF = "off"


class Check(enum.StrEnum):
    """The checks of design section 1, by the names that ``--without`` and the trust file use."""

    HARDWARE = "hardware"
    CONFIGURATION = "configuration"
    FRESHNESS = "freshness"
    BINDING = "binding"
    MEASUREMENT = "measurement"
    SIGNER = "signer"
    LOGGED = "logged"
    WITNESSED = "witnessed"
    ALLOWED_NOW = "allowed-now"
    FRESH = "fresh"


_CHECKS = tuple(Check)

OF_EVIDENCE = frozenset({Check.HARDWARE, Check.CONFIGURATION, Check.FRESHNESS, Check.BINDING, Check.MEASUREMENT})
"""What a bundle says nothing about. With these off, ``signer`` asks for the trust file's deny, min_svn and the time."""


class Overall(enum.StrEnum):
    """Of all checks together."""

    VERIFIED = "verified"
    VERIFIED_WITH_WAIVERS = "verified-with-waivers"
    VERIFIED_AS_OF = "verified-as-of"
    NOT_ESTABLISHED = "not established"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    cause: one line, why the outcome is not ``verified`` (None if it is). expected, actual: where they make sense.
    details: what was established, in plain words, a line each; text in it may come from outside.
    """

    check: Check
    outcome: Outcome
    cause: str | None = None
    expected: str | None = None
    actual: str | None = None
    details: tuple[str, ...] = ()


def verified(check: Check, *details: str) -> Finding:
    return Finding(check, Outcome.VERIFIED, details=details)


def failed(check: Check, error: TeelogError | str, *, expected: object = None, actual: object = None) -> Finding:
    """A failure, from an error or in words."""
    if isinstance(error, TeelogError):
        expected, actual, error = error.expected, error.actual, error.message
    return Finding(check, Outcome.FAILED, error, _text(expected), _text(actual))


def not_established(check: Check, cause: str) -> Finding:
    return Finding(check, Outcome.NOT_ESTABLISHED, cause)


def off(check: Check, *details: str) -> Finding:
    """details: what is not asked by any other check either."""
    return Finding(check, Outcome.OFF, "switched off by name", details=details)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a verdict was about, as far as it was authenticated; None and () for what was not.

    stream: the one that the caller expects. time: POSIX seconds at which it was judged. platform: of the evidence.
    release: statement id. version, svn: of the release. recognised: the evidence has the registers of one of its
    variants. namespaces: statement ids, from the pin on.
    origin, size, root: of the newest checkpoint that the statements were found under (root: 32 bytes).
    """

    stream: str
    time: int
    platform: str | None = None
    release: str | None = None
    version: str | None = None
    svn: int | None = None
    recognised: bool = False
    namespaces: tuple[str, ...] = ()
    origin: str | None = None
    size: int | None = None
    root: bytes | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """findings: one for every Check, in its order. as_of: POSIX seconds where the caller judged at another time.

    judged, seen: None in a verdict that did not come from ``teelog.appraise``. seen: what to pass in next time.
    """

    findings: tuple[Finding, ...]
    as_of: int | None = None
    judged: Judged | None = None
    seen: Seen | None = None

    @classmethod
    def of(
        cls,
        findings: Iterable[Finding],
        as_of: int | None = None,
        judged: Judged | None = None,
        seen: Seen | None = None,
    ) -> Verdict:
        """Raises ValueError unless there is exactly one finding for every check: none can be forgotten."""
        collected = list(findings)
        by_check = {finding.check: finding for finding in collected}
        if len(by_check) != len(collected) or len(by_check) != len(_CHECKS):
            raise ValueError("a verdict needs one finding for every check")
        return cls(tuple([by_check[check] for check in _CHECKS]), as_of, judged, seen)

    def __bool__(self) -> NoReturn:
        raise TypeError("a Verdict is not a bool: look at .overall, or call teelog.verify(), which raises")

    def __getitem__(self, check: Check) -> Finding:
        return next(finding for finding in self.findings if finding.check is check)

    @property
    def overall(self) -> Overall:
        """Protocol section 7, step 9: failed, else not established, else waivers, else verified."""
        outcomes = {finding.outcome for finding in self.findings}
        if Outcome.FAILED in outcomes:
            return Overall.FAILED
        if Outcome.NOT_ESTABLISHED in outcomes or Outcome.VERIFIED not in outcomes:
            return Overall.NOT_ESTABLISHED
        if self.as_of is not None:
            return Overall.VERIFIED_AS_OF
        return Overall.VERIFIED_WITH_WAIVERS if Outcome.OFF in outcomes else Overall.VERIFIED


class NotVerified(TeelogError):
    """Raised by ``teelog.verify``; ``verdict`` says why. exit_code 1 if a check failed, 3 if one is not established."""

    def __init__(self, verdict: Verdict) -> None:
        bad = next(
            (f for f in verdict.findings if f.outcome is Outcome.FAILED),
            next((f for f in verdict.findings if f.outcome is Outcome.NOT_ESTABLISHED), None),
        )
        cause = f"{bad.check}: {bad.cause}" if bad else f"the verdict is {verdict.overall}"
        super().__init__(cause, expected=bad and bad.expected, actual=bad and bad.actual)
        self.verdict = verdict
        self.exit_code = 1 if verdict.overall is Overall.FAILED else 3  # type: ignore[misc]
