"""Steps 7 and 8: the release that counts, and the variants of it whose registers the evidence has."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from teelog.evidence.platform import Evidence
from teelog.statement import registers, release, strict_json
from teelog.statement.registers import ANY
from teelog.statement.release import ReleaseClaim, Variant
from teelog.trust import StreamRule
from teelog.verdict import Check, Finding, failed, verified

_SHOWN = 4  # variants in a message


@dataclass(frozen=True, slots=True)
class Variants:
    """ours: those of a release for the evidence's platform. equal: those of them whose registers the evidence has."""

    ours: tuple[Variant, ...]
    equal: tuple[Variant, ...]


def variants(evidence: Evidence, claim: ReleaseClaim) -> Variants:
    ours = tuple(each for each in claim.predicate.variants if each.platform == evidence.platform)
    known = registers.PLATFORMS.get(evidence.platform)
    least = known.least if known else ()
    return Variants(ours, tuple(each for each in ours if _equal(each.registers, evidence.registers, least)))


def measure(evidence: Evidence, claim: ReleaseClaim, found: Variants) -> Finding:
    """The finding of ``measurement``, as far as registers go."""
    if not found.equal:
        return _differs(evidence, found.ours)
    predicate = claim.predicate
    labels = [strict_json.encode(each.when).decode() for each in found.equal[:_SHOWN] if each.when]
    when = f", variant {' and '.join(labels)}" if labels else ""
    left_open = dict.fromkeys(name for each in found.equal for name, value in each.registers.items() if value == ANY)
    details = [f"release {predicate.stream} {predicate.version}, svn {predicate.svn}{when}"]
    details += [f"left open by the release: {', '.join(left_open)} may hold anything"] if left_open else []
    if predicate.coverage.unmeasured:
        details.append(f"not measured, says the vendor: {', '.join(predicate.coverage.unmeasured)}")
    return verified(Check.MEASUREMENT, *details)


def _equal(wanted: Mapping[str, str], found: Mapping[str, bytes], least: Container[str]) -> bool:
    """least: registers of which the variant names a minimum."""
    return all(
        value == ANY or (name in found and _holds(name in least, found[name], value)) for name, value in wanted.items()
    )


def _holds(minimum: bool, own: bytes, wanted: str) -> bool:
    # Hex of one length in one case orders as the numbers do.
    return own.hex() >= wanted if minimum and 2 * len(own) == len(wanted) else own.hex() == wanted


def _differs(evidence: Evidence, ours: Sequence[Variant]) -> Finding:
    if not ours:
        return failed(Check.MEASUREMENT, f"the release has no variant for {evidence.platform}")
    names = dict.fromkeys(name for variant in ours for name in variant.registers)
    expected = [_text(variant.registers) for variant in ours[:_SHOWN]]
    expected += [f"{len(ours) - _SHOWN} other variants"] if len(ours) > _SHOWN else []
    actual = {name: evidence.registers[name].hex() for name in names if name in evidence.registers}
    return failed(
        Check.MEASUREMENT,
        "the registers are those of no variant of the release: another program runs there",
        expected=" or ".join(expected),
        actual=_text(actual),
    )


def _text(named: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in named.items())


def refused(check: Check, claim: ReleaseClaim, statement_id: str, rule: StreamRule, now: int) -> Finding | None:
    """None if the trust file and the time allow the release. check: the one that says so."""
    predicate = claim.predicate
    if statement_id in rule.deny:
        return failed(check, "the trust file denies this release", actual=statement_id)
    if predicate.svn < rule.min_svn:
        return failed(
            check,
            "the release's security version is too low",
            expected=f"svn {rule.min_svn} or above",
            actual=f"svn {predicate.svn}",
        )
    if not claim.not_before.timestamp() <= now <= claim.not_after.timestamp():
        return failed(
            check,
            "the release is not valid at this time",
            expected=f"{predicate.validity.not_before} to {predicate.validity.not_after}",
            actual=release.format_time(datetime.fromtimestamp(now, UTC)),
        )
    return None
