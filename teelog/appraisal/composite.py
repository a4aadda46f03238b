"""Composite evidence (protocol section 7): a machine's, whose report data commits to each of its parts, such as GPUs.

Each part is judged as its platform judges it and answers the same nonce. That alone binds nothing, since anybody can
have a genuine part answer a nonce: the machine's own evidence must commit to the parts, which its freshness shows. So
there is no composite evidence without a nonce, nor with the check ``freshness`` switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from teelog.appraisal.inputs import Part
from teelog.evidence import platform
from teelog.evidence.platform import NOTHING, Device, Evidence, Expected, Roots
from teelog.trust import Trust
from teelog.verdict import Check, Finding, Outcome, failed, verified

MAX_PARTS = 16

_WORST_FIRST = (Outcome.FAILED, Outcome.NOT_ESTABLISHED)


@dataclass(frozen=True, slots=True)
class Composite:
    """As one evidence: platform, registers and fields are the machine's. parts: with the endorsements of each."""

    machine: Evidence
    parts: tuple[tuple[Evidence, Sequence[bytes]], ...]
    trust: Trust

    @property
    def platform(self) -> str:
        return self.machine.platform

    @property
    def raw(self) -> bytes:
        return self.machine.raw

    @property
    def registers(self) -> Mapping[str, bytes]:
        return self.machine.registers

    @property
    def facts(self) -> tuple[str, ...]:
        return self.machine.facts

    def fields(self) -> Mapping[str, object]:
        return self.machine.fields()

    def hardware(self, endorsements: Sequence[bytes], now: int, roots: Roots | None = None) -> Finding:
        """endorsements, roots: the machine's; those of the parts are known already."""
        own = self.machine.hardware(endorsements, now, roots)
        found = self._all(own, lambda it, given: it.hardware(given, now, self.trust.roots.get(it.platform)))
        return found if found.outcome is not Outcome.VERIFIED else self._distinct(found)

    def _distinct(self, found: Finding) -> Finding:
        """found, unless one device stands for two: it answers as often as it is asked, each time differently."""
        seen: dict[bytes, int] = {}
        for number, (part, _) in enumerate(self.parts, 1):
            device = part.device if isinstance(part, Device) else None
            first = seen.setdefault(part.raw if device is None else device, number)
            if first != number:
                return failed(Check.HARDWARE, f"part {number} ({part.platform}): it is the same device as part {first}")
        return found

    def configuration(self, floor: Mapping[str, object] = NOTHING, require: Mapping[str, object] = NOTHING) -> Finding:
        """floor, require: the machine's; parts are held to the trust file alone."""
        own = self.machine.configuration(floor, require)
        return self._all(own, lambda it, _: it.configuration(self.trust.floors.get(it.platform, NOTHING)))

    def freshness(self, expected: Expected) -> Finding:
        own = self.machine.freshness(self._whole(expected))
        found = self._all(own, lambda it, _: it.freshness(Expected(nonce=expected.nonce)))
        if found.outcome is not Outcome.VERIFIED:
            return found
        return verified(Check.FRESHNESS, *found.details, f"it commits to all {len(self.parts)} parts")

    def binding(self, expected: Expected) -> Finding:
        return self.machine.binding(self._whole(expected))

    def _whole(self, expected: Expected) -> Expected:
        return replace(expected, parts=tuple(part.raw for part, _ in self.parts))

    def _all(self, own: Finding, ask: Callable[[Evidence, Sequence[bytes]], Finding]) -> Finding:
        """The first of the worst findings, or one of them all."""
        found = [own, *self._of_parts(ask)]
        for outcome in _WORST_FIRST:
            for each in found:
                if each.outcome is outcome:
                    return each
        return verified(own.check, *(detail for each in found for detail in each.details))

    def _of_parts(self, ask: Callable[[Evidence, Sequence[bytes]], Finding]) -> Iterator[Finding]:
        for number, (part, endorsements) in enumerate(self.parts, 1):
            found, name = ask(part, endorsements), f"part {number} ({part.platform}): "
            cause = None if found.cause is None else name + found.cause
            yield replace(found, cause=cause, details=tuple(name + detail for detail in found.details))


def check(parts: Sequence[Part], expected: Expected, off: frozenset[Check]) -> None:
    """Raises ValueError where nothing could show that the parts belong to the machine."""
    if not parts:
        return
    if len(parts) > MAX_PARTS:
        raise ValueError(f"composite evidence has at most {MAX_PARTS} parts")
    if expected.parts:
        raise ValueError("what the evidence commits to are its parts: give them, or their bytes, not both")
    if expected.nonce is None or Check.FRESHNESS in off:
        raise ValueError("composite evidence needs a nonce and the check freshness: nothing else binds its parts")


def join(machine: Evidence, parts: Sequence[Part], trust: Trust) -> Evidence:
    """Raises MalformedError; NotEstablished for a part of a version or type that is not known here."""
    if not parts:
        return machine
    return Composite(machine, tuple((platform.parse(part.evidence), part.endorsements) for part in parts), trust)
