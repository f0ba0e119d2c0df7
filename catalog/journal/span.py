"""A stretch of the journal: the events from one number up to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from affidavit.catalog.sql.predicate import Compare

if TYPE_CHECKING:
    import pyarrow as pa

    from affidavit.catalog.journal.segments.segment import Segment

_END: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Span:
    """The events ``[first, end)``; by default all."""

    first: int = 0
    end: int = _END

    def bounds(self) -> tuple[Compare, Compare]:
        """Return what the store's rows must be that have some of them."""
        return Compare("<", "first_seq", self.end), Compare(">=", "last_seq", self.first)

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
