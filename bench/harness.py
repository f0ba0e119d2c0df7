"""Figures, the bounds that they should keep, and taking turns with a baseline."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

QUICK_DIVISOR: Final = 10
"""How many times smaller a smoke run is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a benchmark runs, and how large it is.

    Attributes:
        folder: An empty folder of its own.
        quick: Whether this is a smoke run.
    """

    folder: Path
    quick: bool

    def size(self, full: int, *, least: int = 1) -> int:
        """Return ``full``, or a tenth of it in a smoke run, but not less than ``least``."""
        return max(least, full // QUICK_DIVISOR) if self.quick else full


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure should keep: its own value or its ratio, at most or at least ``limit``."""

    of: Literal["measured", "ratio"]
    side: Literal["at most", "at least"]
    limit: float

    def met(self, value: float) -> bool:
        """Return whether ``value`` keeps the bound."""
        return value <= self.limit if self.side == "at most" else value >= self.limit

    def shown(self, unit: str) -> str:
        """Return the bound as text, such as ``≤ 0.8x`` or ``≥ 300 /s``."""
        sign = "≤" if self.side == "at most" else "≥"
        return f"{sign} {self.limit:g}x" if self.of == "ratio" else f"{sign} {self.limit:,g} {unit}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    Attributes:
        name: What was measured.
        unit: What ``measured`` and ``baseline`` count.
        measured: The engine's value.
        baseline: The baseline's value.
        against: What the baseline is.
        bounds: What should hold; none if the figure is only shown.
        details: What else the JSON file tells.
    """

    name: str
    unit: str
    measured: float
    baseline: float
    against: str
    bounds: tuple[Bound, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The engine's value over the baseline's."""
        return self.measured / self.baseline if self.baseline else float("inf")

    @property
    def met(self) -> bool | None:
        """Whether every bound is kept; ``None`` if there is none."""
        if not self.bounds:
            return None
        return all(bound.met(getattr(self, bound.of)) for bound in self.bounds)

    @property
    def target(self) -> str:
        """The bounds as text."""
        return ", ".join(bound.shown(self.unit) for bound in self.bounds)


def take_turns(
    *runs: Callable[[int], object],
    rounds: int,
    warmup: int = 0,
    before: Callable[[int], object] | None = None,
) -> tuple[list[float], ...]:
    """Run ``runs`` in turn, ``warmup + rounds`` times, and return each one's seconds by round.

    A run is given the number of the round, from 0 on, warm-ups included; their times are left out.
    ``before`` opens each round, untimed.
    """
    times: tuple[list[float], ...] = tuple([] for _ in runs)
    for at in range(warmup + rounds):
        if before is not None:
            before(at)
        for taken, run in zip(times, runs, strict=True):
            started = perf_counter()
            run(at)
            seconds = perf_counter() - started
            if at >= warmup:
                taken.append(seconds)
    return times


def milliseconds(times: list[float]) -> float:
    """Return the median of ``times`` in milliseconds."""
    return median(times) * 1000


def per_second(count: int, times: list[float]) -> float:
    """Return how many a second were done in the median round of ``count`` each."""
    return count / median(times)
