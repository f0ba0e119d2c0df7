"""Events that are given one after the other, and counted for the record of who reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from affidavit.triggers.subscriptions.delivery import Delivery
from affidavit.triggers.subscriptions.endings import when_forgotten

if TYPE_CHECKING:
    from collections.abc import Generator

    from affidavit.catalog.model.release import Ending


class Counted(Iterator[Delivery]):
    """Deliveries whose number, and end, are on record.

    One that nobody holds any more is over, whether or not it was begun.
    """

    def __init__(self, deliveries: Generator[Delivery], told: Ending) -> None:
        self._deliveries = deliveries
        self._told = told
        when_forgotten(self, told.end, is_wanted=False)

    def __next__(self) -> Delivery:
        try:
            found = next(self._deliveries)
        except StopIteration:
            self._told.end(is_wanted=True)
            raise
        self._told.left()
        return found

    def close(self) -> None:
        """End it before its end."""
        self._deliveries.close()
        self._told.end(is_wanted=False)
