"""Ratios of two interleaved measurements, and what they are held against."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Settings:
    """rounds: of A and B each. scale: 1.0 for the full measurement, less for a quick look."""

    rounds: int = 5
    scale: float = 1.0

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
        """What continuous integration asserts: the best round is not worse than half the target."""
        if self.bound is None:
            return True
        return self.best <= 2 * self.bound if self.at_most else self.best >= self.bound / 2

    @property
    def target(self) -> str:
        if self.bound is None:
            return ""
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"


def interleave(
    base: Callable[[int], float], ours: Callable[[int], float], settings: Settings
) -> tuple[list[float], list[float]]:
    """Runs A B A B ...; gives the values of A and of B. The callables get the round's number."""
    first, second = [], []
    for number in range(settings.rounds):
        first.append(base(number))
        second.append(ours(number))
        progress(f"  round {number + 1}/{settings.rounds}: {first[-1]:.6g} {second[-1]:.6g}")
    return first, second


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
