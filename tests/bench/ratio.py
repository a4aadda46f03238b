"""Ratios of two interleaved measurements, and what they are held against."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.bench.processes import Others

QUIET = 0.1
"""Cores that other processes may take."""


@dataclass(frozen=True, slots=True)
class Settings:
    """rounds: of A and B each. more: times as many at most, where others disturb. patience: seconds that a round waits
    for a quiet moment. scale: 1.0 for the full measurement, less for a quick look. disturbed: of each row, cores that
    others took in its worst round.
    """

    rounds: int = 5
    scale: float = 1.0
    more: int = 1
    patience: float = 0.0
    disturbed: list[float] = field(default_factory=list)

    @property
    def most(self) -> int:
        """Rounds that there may be."""
        return self.rounds * self.more

    def count(self, full: int, least: int = 1) -> int:
        return max(least, int(full * self.scale))


@dataclass(frozen=True, slots=True)
class Row:
    """One measured line.

    samples: one value a round. base, ours: the two sides' values a round, in ``unit``. bound: the target; at least
    unless ``at_most``.
    """

    name: str
    what: str
    against: str
    samples: Sequence[float]
    bound: float | None
    at_most: bool = False
    unit: str = ""
    base: Sequence[float] = ()
    ours: Sequence[float] = ()
    notes: dict[str, float | str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        return min(self.samples) if self.at_most else max(self.samples)

    @property
    def met(self) -> bool | None:
        if self.bound is None:
            return None
        return self.median <= self.bound if self.at_most else self.median >= self.bound

    def above_floor(self) -> bool:
        """What `make floors` asserts: the best round is not worse than half the target."""
        if self.bound is None:
            return True
        return self.best <= 2 * self.bound if self.at_most else self.best >= self.bound / 2

    @property
    def target(self) -> str:
        if self.bound is None:
            return ""
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"


class Rounds(NamedTuple):
    """The rounds that count: their numbers, and the values of A and of B."""

    numbers: tuple[int, ...]
    base: tuple[float, ...]
    ours: tuple[float, ...]


def interleave(base: Callable[[int], float], ours: Callable[[int], float], settings: Settings) -> Rounds:
    """Runs A B A B ... The callables get the round's number.

    A round begins when nothing else runs, or when patience ends. One in which other processes took more than a tenth
    of a core is run again, ``more`` times as often at most; the quietest rounds count, whatever they say.
    """
    found: list[tuple[float, int, float, float]] = []
    quiet = 0
    while quiet < settings.rounds and len(found) < settings.rounds * settings.more:
        await_quiet(settings.patience)
        others = Others()
        values = base(len(found)), ours(len(found))
        taken = others.cores()
        found.append((taken, len(found), *values))
        quiet += taken <= QUIET
        progress(f"  round {len(found)}: {values[0]:.6g} {values[1]:.6g}; others took {taken:.2f} cores")
    kept = sorted(found)[: settings.rounds]
    disturbed, numbers, first, second = zip(*kept, strict=True)
    settings.disturbed.append(max(disturbed))
    return Rounds(numbers, first, second)


def await_quiet(seconds: float) -> None:
    """Waits for half a second in which nothing else runs, ``seconds`` at most."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        others = Others()
        time.sleep(0.5)
        if others.cores() <= QUIET:
            return


def quotients(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| row | measured | against | median | spread | target | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = f"{min(row.samples):.3g} .. {max(row.samples):.3g}"
        met = {True: "yes", False: "no", None: ""}[row.met]
        lines.append(
            f"| {row.name} | {row.what} | {row.against} | {row.median:.3g} | {spread} | {row.target} | {met} |"
        )
    return "\n".join(lines)
