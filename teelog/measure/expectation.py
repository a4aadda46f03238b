"""Do the registers that were measured equal those that a release states?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from teelog.errors import NotEstablished, VerificationError
from teelog.measure.registers import Variant
from teelog.statement import registers as platforms
from teelog.statement.registers import ANY


class Stated(Protocol):
    """A variant of a release statement."""

    @property
    def platform(self) -> str: ...
    @property
    def when(self) -> Mapping[str, object]: ...
    @property
    def registers(self) -> Mapping[str, object]: ...


@dataclass(frozen=True, slots=True)
class Agreement:
    """Every measured variant equals a stated one.

    left_open: names of registers that the release leaves open. unmeasured: stated variants of the same platforms that
    no measured variant was compared with and that therefore remain unchecked.
    """

    left_open: tuple[str, ...]
    unmeasured: tuple[Stated, ...]


@dataclass(frozen=True, slots=True)
class _Difference:
    register: str
    expected: object
    actual: str | None


def compare(measured: Sequence[Variant], stated: Sequence[Stated]) -> Agreement:
    """Finds for each measured variant a stated one of its platform and equal in all registers.

    Candidates are those whose ``when`` contradicts no label of the measured one. Raises VerificationError, naming the
    register that differs, and NotEstablished where a measured variant has no candidate.
    """
    compared: list[int] = []
    left_open: set[str] = set()
    missing: Variant | None = None
    for variant in measured:
        candidates = [(place, other) for place, other in enumerate(stated) if _corresponds(variant, other)]
        compared += [place for place, _ in candidates]
        if not candidates:
            missing = missing or variant
            continue
        left_open |= _open_registers(variant, [other for _, other in candidates])
    # Of several outcomes a difference weighs most, so nothing is reported missing before all were compared.
    if missing is not None:
        raise NotEstablished(
            f"the release states no {missing.platform} variant for {describe(missing.when)}",
            expected=_stated_for(missing.platform, stated),
            actual=describe(missing.when),
        )
    platforms = {variant.platform for variant in measured}
    rest = [other for place, other in enumerate(stated) if place not in compared and other.platform in platforms]
    return Agreement(tuple(sorted(left_open)), tuple(rest))


@dataclass(frozen=True, slots=True)
class Likeness:
    """One of the measured alternatives equals a stated variant, in all registers that were measured.

    alternative: which. left_open: as in `Agreement`. not_compared: names of registers that were not measured.
    """

    alternative: Variant
    left_open: tuple[str, ...]
    not_compared: tuple[str, ...]


def compare_alternatives(alternatives: Sequence[Variant], stated: Sequence[Stated]) -> Likeness:
    """Finds a stated variant that equals any of the alternatives, of which some registers may be missing.

    Raises VerificationError, naming a register that differs, and NotEstablished where there is none to compare with.
    """
    differences: list[tuple[Variant, Stated, str]] = []
    for variant in alternatives:
        for other in (each for each in stated if each.platform == variant.platform):
            fixed = {name for name, value in other.registers.items() if value != ANY}
            common = sorted(fixed & variant.registers.keys())
            wrong = [name for name in common if not _holds(variant, name, other.registers[name])]
            if wrong:
                differences.append((variant, other, wrong[0]))
            elif common:
                left_open = (other.registers.keys() - fixed) & variant.registers.keys()
                return Likeness(variant, tuple(sorted(left_open)), tuple(sorted(fixed.difference(common))))
    if differences:
        # Labels say nothing about values; they only make the nearest pair the report.
        variant, other, name = max(differences, key=lambda found: _likeness(found[0].when, found[1].when))
        raise _differs(variant, _Difference(name, other.registers[name], variant.registers[name]))
    names = sorted({name for variant in alternatives for name in variant.registers})
    raise NotEstablished(
        f"the release states nothing to compare with: {', '.join(names)} of {alternatives[0].platform}",
        expected=_stated_for(alternatives[0].platform, stated),
        actual=describe(alternatives[0].when),
    )


def _likeness(measured: Mapping[str, object], stated: Mapping[str, object]) -> int:
    return sum(str(measured[name]) == str(stated[name]) for name in measured.keys() & stated.keys())


def _holds(variant: Variant, name: str, stated: object) -> bool:
    actual = variant.registers[name]
    # Numbers of one length, big-endian: hex sorts as they do.
    return actual == stated or (name in platforms.PLATFORMS[variant.platform].least and actual >= str(stated))


def describe(when: Mapping[str, object]) -> str:
    """Labels as ``vcpus=4 cpu=EPYC-v4``."""
    return " ".join(f"{name}={value}" for name, value in when.items()) or "(no labels)"


def _corresponds(measured: Variant, stated: Stated) -> bool:
    if measured.platform != stated.platform:
        return False
    both = measured.when.keys() & stated.when.keys()
    return all(str(measured.when[name]) == str(stated.when[name]) for name in both)


def _open_registers(measured: Variant, candidates: Sequence[Stated]) -> set[str]:
    """The registers left open by the candidate that equals ``measured``; raises VerificationError if none does."""
    found = [(_difference(measured, stated), stated) for stated in candidates]
    for difference, stated in found:
        if difference is None:
            return {name for name, value in stated.registers.items() if value == ANY}
    # The closest candidate makes the report: the one that shares most labels.
    difference, _ = max(found, key=lambda pair: len(measured.when.keys() & pair[1].when.keys()))
    assert difference is not None
    raise _differs(measured, difference)


def _differs(measured: Variant, difference: _Difference) -> VerificationError:
    return VerificationError(
        f"register {difference.register} of {measured.platform} differs for {describe(measured.when)}",
        expected=difference.expected,
        actual=difference.actual or "not measured",
        hint="compare the versions of what was measured, and the options, with the release's",
    )


def _difference(measured: Variant, stated: Stated) -> _Difference | None:
    for name, value in stated.registers.items():
        actual = measured.registers.get(name)
        if value not in (ANY, actual):
            return _Difference(name, value, actual)
    for name, actual in measured.registers.items():
        if name not in stated.registers:
            return _Difference(name, "not stated", actual)
    return None


def _stated_for(platform: str, stated: Sequence[Stated]) -> str:
    whens = [describe(other.when) for other in stated if other.platform == platform]
    shown = "; ".join(whens[:8])
    return f"one of: {shown}" if whens else f"a variant of {platform}"
