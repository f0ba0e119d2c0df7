"""Numbers that are given once: to rows that have none, and by sequences.

Rules:
    - A number is taken durably before anybody sees it. One that a rollback or a crash undid the use
      of is not given again.
    - Where a row comes with a number of its own, the next ones of this process are beyond it, and
      so are those that any process takes from then on.
    - A process takes some ahead, since each time is a write of its own, and gives back what is left
      when it closes the lake. So numbers have gaps where it was killed, and other processes' lie
      between.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from affidavit.errors import AffidavitError, ConstraintError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from affidavit.catalog.model.rules import Counter
    from affidavit.catalog.store.protocol import Store

AHEAD: Final = 64
"""So many places are taken at least, but for the first time."""


@dataclass(slots=True)
class _Taken:
    """Places of one counter that are taken and not given yet: from ``next`` up to ``end``."""

    next: int
    end: int


class Numbers:
    """The numbers of a lake's counters; any number of threads may ask at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changing = threading.Lock()
        self._taken: dict[str, _Taken] = {}

    def knows(self, counter: Counter) -> bool:
        """Return whether this process has asked for its numbers."""
        return counter.counter_id in self._taken

    def take(self, counter: Counter, count: int, *, what: str) -> Sequence[int]:
        """Take the next ``count`` numbers, one after the other.

        Raises:
            ConstraintError: There are not so many left.
        """
        with self._changing:
            taken = self._taken.get(counter.counter_id)
            if taken is None or taken.end - taken.next < count:
                taken = self._more(counter, count, taken)
            if taken.next + count > counter.places:
                last = counter.maximum if counter.increment > 0 else counter.minimum
                msg = f"{what} is at its end: {last} is its last number"
                raise ConstraintError(msg)
            first, taken.next = taken.next, taken.next + count
        return range(counter.number(first), counter.number(first + count), counter.increment)

    def _more(self, counter: Counter, count: int, taken: _Taken | None) -> _Taken:
        """Take places, so that ``count`` are there without a gap, as far as there are any."""
        if taken is not None:
            self._give_back(counter.counter_id, taken)
        free = self._store.take_places(counter.counter_id, 0)
        wanted = max(count, AHEAD if taken is not None else 0)
        asked = max(min(wanted, counter.places - free), 0)
        first = self._store.take_places(counter.counter_id, asked) if asked >= count else free
        made = _Taken(first, first + (asked if asked >= count else 0))
        self._taken[counter.counter_id] = made
        return made

    def pass_by(self, counter: Counter, values: pa.Array | pa.ChunkedArray) -> None:
        """Let the next numbers be beyond those that rows came with."""
        ends = pc.min_max(values)
        furthest = ends["max" if counter.increment > 0 else "min"].as_py()
        if furthest is None:
            return
        place = min(counter.place_after(int(furthest)), counter.places)
        with self._changing:
            taken = self._taken.get(counter.counter_id)
            if taken is not None and place <= taken.next:
                return
            if taken is None or place > taken.end:
                asked = max(min(AHEAD, counter.places - place), 0)
                first = self._store.take_places(counter.counter_id, asked, place)
                taken = self._taken[counter.counter_id] = _Taken(first, first + asked)
            taken.next = max(taken.next, place)

    def give_back(self) -> None:
        """Let others have what was taken ahead, where nobody took more since."""
        with self._changing:
            given_back, self._taken = self._taken, {}
            for counter_id, taken in given_back.items():
                with suppress(AffidavitError):  # then there is a gap
                    self._give_back(counter_id, taken)

    def _give_back(self, counter_id: str, taken: _Taken) -> None:
        if taken.next < taken.end:
            self._store.give_places_back(counter_id, taken.next, taken.end)
