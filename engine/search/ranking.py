"""Rankings: what a search found, compared with what another one found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from affidavit.engine.search.request import CompletedSearch

TOLERANCE: Final = 1e-5
"""How far two float32 scores of the same row may differ: kernels add in different orders."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ids and scores, best first.

    Attributes:
        ids: The keys, as texts.
        scores: Their distances or scores.
        k: How many rows were asked for. Where there are fewer, none was left out.
    """

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    k: int

    def agrees(self, other: Ranking) -> bool:
        """Return whether both rank alike; rows of one score may stand in any order.

        Of the rows that share the last score any may have been left out.
        """
        if len(self.ids) != len(other.ids) or not all(map(_close, self.scores, other.scores)):
            return False
        here, there = self._certain(), other._certain()
        return here.keys() == there.keys() and all(
            _close(score, there[row]) for row, score in here.items()
        )

    def _certain(self) -> dict[str, float]:
        """Return the rows, and their scores, that no other row could stand for."""
        scored = zip(self.ids, self.scores, strict=True)
        if len(self.ids) < self.k:
            return dict(scored)
        last = self.scores[-1]
        return {row: score for row, score in scored if not _close(score, last)}

    def lacking(self, truth: Ranking) -> tuple[str, ...]:
        """Return the rows of ``truth`` that are not among these, best first."""
        here = set(self.ids)
        return tuple(row for row in truth.ids if row not in here)

    def recall_of(self, truth: Ranking) -> float:
        """Return which share of ``truth``, by score, is among these rows."""
        if not truth.ids:
            return 1.0
        here = set(self.ids)
        certain = truth._certain().keys()
        tied = len(truth.ids) - len(certain)
        found_tied = sum(1 for score in self.scores if _close(score, truth.scores[-1]))
        return (len(certain & here) + min(tied, found_tied)) / len(truth.ids)


def _close(left: float, right: float) -> bool:
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return math.isclose(left, right, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def ranking_of(search: CompletedSearch) -> Ranking:
    """Return what a search found."""
    ids = tuple(str(each) for each in search.ids)
    return Ranking(ids, tuple(search.scores), search.request.k)
