"""Steps 7 and 8: the release that counts, and the one variant of it whose registers the evidence has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from teelog.evidence.platform import Evidence
from teelog.statement import release, strict_json
from teelog.statement.registers import ANY
from teelog.statement.release import ReleaseClaim, Variant
from teelog.trust import StreamRule
from teelog.verdict import Check, Finding, failed, verified

_SHOWN = 4  # variants in a message


@dataclass(frozen=True, slots=True)
class Matched:
    """finding: of ``measurement``. variants: those of the evidence's platform whose registers are all equal."""

    finding: Finding
    variants: tuple[Variant, ...] = ()


def measure(evidence: Evidence, claim: ReleaseClaim, statement_id: str, rule: StreamRule, now: int) -> Matched:
    """Compares the evidence with the release, and the release with what the trust file and the time allow."""
    predicate = claim.predicate
    ours = [variant for variant in predicate.variants if variant.platform == evidence.platform]
    variants = tuple(variant for variant in ours if _equal(variant.registers, evidence.registers))
    if not variants:
        return Matched(_differs(evidence, ours))
    refusal = _refused(claim, statement_id, rule, now)
    if refusal is not None:
        return Matched(refusal, variants)
    chosen = variants[0]
    when = f", variant {strict_json.encode(chosen.when).decode()}" if chosen.when else ""
    left_open = [name for name, value in chosen.registers.items() if value == ANY]
    details = [f"release {predicate.stream} {predicate.version}, svn {predicate.svn}{when}"]
    details += [f"left open by the release: {', '.join(left_open)} may hold anything"] if left_open else []
    if predicate.coverage.unmeasured:
        details.append(f"not measured, says the vendor: {', '.join(predicate.coverage.unmeasured)}")
    return Matched(verified(Check.MEASUREMENT, *details), variants)


def _equal(wanted: Mapping[str, str], found: Mapping[str, bytes]) -> bool:
    return all(value == ANY or (name in found and found[name].hex() == value) for name, value in wanted.items())


def _differs(evidence: Evidence, ours: list[Variant]) -> Finding:
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


def _text(registers: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in registers.items())


def _refused(claim: ReleaseClaim, statement_id: str, rule: StreamRule, now: int) -> Finding | None:
    predicate, check = claim.predicate, Check.MEASUREMENT
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
