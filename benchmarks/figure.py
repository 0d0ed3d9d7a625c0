"""One row of the table: what was measured, against what, and whether that is good enough. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of the measured value, or of its ratio to the yardstick."""

    bound: float
    kind: Literal["at least", "at most"]
    of: Literal["measured", "ratio"] = "measured"

    def is_met_by(self, value: float) -> bool:
        return value >= self.bound if self.kind == "at least" else value <= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """``ratio`` is measured to yardstick, both of the same run, and the median of its rounds."""

    name: str
    goal: Goal
    measured: float
    unit: str
    yardstick: str = ""
    ratio: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool:
        value = self.measured if self.goal.of == "measured" else self.ratio
        return value is not None and self.goal.is_met_by(value)

    @property
    def goal_text(self) -> str:
        sign = "≥" if self.goal.kind == "at least" else "≤"
        if self.goal.of == "ratio":
            return f"ratio {sign} {self.goal.bound:.2f}"
        return f"{sign} {number(self.goal.bound)} {self.unit}".rstrip()

    @property
    def measured_text(self) -> str:
        return f"{number(self.measured)} {self.unit}".rstrip()

    @property
    def ratio_text(self) -> str:
        return "" if self.ratio is None else f"{self.ratio:.2f}"


class Measure(Protocol):
    """What each module of a figure offers."""

    def __call__(self, folder: Path, scale: float) -> list[Figure]:
        """Measure in ``folder``, which is empty and ours; ``scale`` makes it shorter (0.5: half of everything)."""


def number(value: float) -> str:
    """Return ``value`` with three digits that count: ``3,012``, ``14.5``, ``1.40``."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percentile(values: list[float], part: float) -> float:
    """Return the smallest value that is not below ``part`` of all of them."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * part))]


def median_ratio(pairs: list[tuple[float, float]]) -> float:
    """Return the median of first to second; a noisy minute hits both of a pair."""
    return median(first / second for first, second in pairs)


def in_turn(rounds: int) -> Iterator[bool]:
    """Say, for each round, whether the first of two goes first: a machine that slows down favours neither."""
    return (turn % 2 == 0 for turn in range(rounds))
