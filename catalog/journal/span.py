"""A stretch of the journal: the events from one number up to another."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.sql.predicate import Compare, In

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.sql.predicate import Predicate

_END: Final = 2**63 - 1
_TIME: Final = pa.timestamp("us", "UTC")


_COMPARE: Final = {
    "=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def made_at(times: Sequence[Predicate]) -> pc.Expression | None:
    """Return the filter for events of a time, given in microseconds since the epoch."""
    found: pc.Expression | None = None
    for each in times:
        match each:
            case Compare(op, _, value):
                made = _COMPARE[op](pc.field("timestamp"), pa.scalar(value, _TIME))
            case In(_, values):
                made = pc.field("timestamp").isin(pa.array(values, pa.int64()).view(_TIME))
            case _:
                continue
        found = made if found is None else found & made
    return found


@dataclass(frozen=True, slots=True)
class Span:
    """The events ``[first, end)``; by default all."""

    first: int = 0
    end: int = _END

    def bounds(self) -> tuple[Compare, Compare]:
        """Return what the store's rows must be that have some of them."""
        return Compare("<", "first_seq", self.end), Compare(">=", "last_seq", self.first)

    def has(self, segment: Segment) -> bool:
        """Return whether a segment may have some of them."""
        return segment.first_seq < self.end and segment.last_seq >= self.first

    def within(self, segment: Segment) -> Span:
        """Return those of them that a segment has."""
        return Span(max(self.first, segment.first_seq), min(self.end, segment.last_seq + 1))

    def kept(self, events: pa.Table) -> pa.Table:
        """Return those of ``events``."""
        seqs = events["seq"]
        inside = pc.and_(pc.greater_equal(seqs, self.first), pc.less(seqs, self.end))
        return events.filter(inside)

    def narrowed(self, segment: Segment, filters: pc.Expression | None) -> pc.Expression | None:
        """Return ``filters`` for these events of a segment."""
        if self.first <= segment.first_seq and segment.last_seq < self.end:
            return filters
        inside = (pc.field("seq") >= self.first) & (pc.field("seq") < self.end)
        return inside if filters is None else filters & inside
