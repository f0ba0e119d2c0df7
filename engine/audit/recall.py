"""Recall, measured on a share of the searches: each of them is run once more, exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from affidavit.engine.search.ranking import ranking_of
from affidavit.engine.search.searcher import complete

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.engine.search.request import CompletedSearch


class RecallSample:
    """Measures the recall of some searches.

    Args:
        share: Which share of them, from 0 to 1.
        chance: Returns a number from 0 to 1 for each.
    """

    def __init__(self, share: float, chance: Callable[[], float]) -> None:
        self._share = share
        self._chance = chance

    def measured(self, search: CompletedSearch) -> float | None:
        """Return which share of the true nearest was found, if this search is one to measure."""
        if not self._share or search.request.mode == "text" or self._chance() >= self._share:
            return None
        if search.exact:
            return 1.0
        truth = complete(replace(search.request, exact=True))
        return ranking_of(search).recall_of(ranking_of(truth))
