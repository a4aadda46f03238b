"""Step 1: the evidence alone, as its platform reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from teelog.appraisal import composite
from teelog.appraisal.inputs import Part
from teelog.errors import MalformedError, NotEstablished
from teelog.evidence import platform
from teelog.evidence.platform import Evidence, Roots
from teelog.statement.release import Variant
from teelog.trust import Trust
from teelog.verdict import Check, Finding, Outcome, failed, not_established

_WORST_FIRST = (Outcome.FAILED, Outcome.NOT_ESTABLISHED, Outcome.VERIFIED)


def parse(evidence: bytes | None, parts: Sequence[Part], trust: Trust) -> Evidence | Finding:
    """The evidence, or the finding that stands for ``hardware`` because there is none to be read."""
    if evidence is None:
        return not_established(Check.HARDWARE, "no evidence was given")
    try:
        return composite.join(platform.parse(evidence), parts, trust)
    except NotEstablished as error:
        return not_established(Check.HARDWARE, error.message)
    except MalformedError as error:
        return failed(Check.HARDWARE, error)


def hardware(
    evidence: Evidence | Finding, endorsements: Sequence[bytes], now: int, roots: Mapping[str, Roots]
) -> Finding:
    """roots: by platform, in place of the vendor's."""
    if isinstance(evidence, Finding):
        return evidence
    return evidence.hardware(endorsements, now, roots.get(evidence.platform))


def configuration(evidence: Evidence, floor: Mapping[str, object], variants: Sequence[Variant] | None) -> Finding:
    """The stricter of the trust file and the release.

    variants: of the release that the evidence could be; each of them must be satisfied, since nothing says which one it
    is. None where what the release requires is not known.
    """
    if variants:
        found = [evidence.configuration(floor, variant.require) for variant in variants]
        return min(found, key=lambda each: _WORST_FIRST.index(each.outcome))
    alone = evidence.configuration(floor)
    if variants is not None or alone.outcome is not Outcome.VERIFIED:
        return alone
    return not_established(Check.CONFIGURATION, "the trust file is satisfied; for the release see measurement")
