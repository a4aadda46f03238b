"""Step 1: the evidence alone, as its platform reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from teelog.errors import MalformedError
from teelog.evidence import platform
from teelog.evidence.platform import Evidence, Roots
from teelog.statement.release import Variant
from teelog.verdict import Check, Finding, Outcome, failed, not_established


def parse(evidence: bytes | None) -> Evidence | Finding:
    """The evidence, or the finding that stands for ``hardware`` because there is none to be read."""
    if evidence is None:
        return not_established(Check.HARDWARE, "no evidence was given")
    try:
        return platform.parse(evidence)
    except MalformedError as error:
        return failed(Check.HARDWARE, error)


def hardware(
    evidence: Evidence | Finding, endorsements: Sequence[bytes], now: int, roots: Mapping[str, Roots]
) -> Finding:
    """roots: by platform, in place of the vendor's."""
    if isinstance(evidence, Finding):
        return evidence
    if not endorsements:
        return not_established(Check.HARDWARE, "no endorsement was given: no certificate says whose signature it is")
    return evidence.hardware(endorsements, now, roots.get(evidence.platform))


def configuration(evidence: Evidence, floor: Mapping[str, object], variants: Sequence[Variant] | None) -> Finding:
    """The stricter of the trust file and the release.

    variants: those whose registers the evidence has, one of which must be satisfied; None where the caller has waived
    the comparison, so that the trust file alone counts.
    """
    if variants:
        found = [evidence.configuration(floor, variant.require) for variant in variants]
        return next((each for each in found if each.outcome is Outcome.VERIFIED), found[0])
    alone = evidence.configuration(floor)
    if variants is None or alone.outcome is not Outcome.VERIFIED:
        return alone
    return not_established(Check.CONFIGURATION, "the trust file is satisfied; what the release requires is not known")
