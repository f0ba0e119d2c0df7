"""Where the past is seen from: which events were before a moment, and which came after.

Rules:
    - What had happened by a time is all up to the newest event that says that it is of that time or
      before: a clock may have been ahead for a while, and no state that never was is shown.
    - A shared table's events are in the shared scope's journal, which numbers them by itself: a
      tenant's moment is found there by its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.events import EVENTS_SCHEMA
from affidavit.catalog.journal.span import Span
from affidavit.catalog.model import clock
from affidavit.catalog.values.canonical import from_us
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.journal.journal import Journal
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.moment import Moment
    from affidavit.catalog.store.protocol import Reader

PART_EVENTS: Final = 1 << 17
"""So many events are undone at a time: each time costs as much as some thousands of them."""


class Vantage:
    """A moment, seen from a snapshot of a tenant's lake.

    Attributes:
        reader: The snapshot.
        moment: The moment.

    ``committed`` says that ``reader`` is a snapshot, and not an open transaction: copies of tables
    in memory are of committed versions.
    """

    def __init__(
        self, catalog: Catalog, reader: Reader, moment: Moment, *, committed: bool = False
    ) -> None:
        self.reader = reader
        self.moment = moment
        self._catalog = catalog
        self._committed = committed
        self._bounds: dict[int, int] = {}

    def bound(self, journal: Journal) -> int:
        """Return the last event that ``journal`` may have had by the moment; -1 before the first.

        Raises:
            InvalidQueryError: The moment is a time, and the next event says that it is of one that
                has not come yet: whether it had happened by then is not known.
        """
        known = self._bounds.get(id(journal))
        if known is None:
            known = self._bounds[id(journal)] = self._bound(journal)
        return known

    def _bound(self, journal: Journal) -> int:
        seq, at_us = self.moment.seq, self.moment.at_us
        is_own = journal is self._catalog.journal
        if seq is not None and is_own:
            return seq
        if seq is not None:
            at_us = self._catalog.ledger.page(self.reader, seq, seq + 1)[0].created_at
        last = journal.events.last_by(self.reader, at_us or 0)
        found = -1 if last is None else last
        now_us = clock.now_us()
        if self.moment.at_us is not None and journal.events.is_ahead(self.reader, now_us):
            following = journal.events.first_after(self.reader, found)
            if following is not None and following[1] > now_us:
                _refuse_ahead(found, *following)
        return found

    def is_past(self, journal: Journal, seq: int) -> bool:
        """Return whether an event of ``journal`` had happened by the moment."""
        return seq <= self.bound(journal)

    def until(self, journal: Journal) -> Span:
        """Return the events of ``journal`` up to the moment."""
        return Span(end=self.bound(journal) + 1)

    def after(self, journal: Journal) -> Span:
        """Return the events of ``journal`` after the moment."""
        return Span(self.bound(journal) + 1)

    def parts(
        self,
        journal: Journal,
        table_id: str,
        columns: Sequence[str],
        when: Span,
        *,
        which: pc.Expression | None = None,
        entities: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """Yield some of the events of a table, oldest first, many at a time.

        Args:
            journal: The journal that has them.
            table_id: The table.
            columns: What is read of them.
            when: The stretch that they are in.
            which: A condition on ``columns``.
            entities: Only those of a few entities, which the journal's index finds.
        """
        schema = pa.schema([EVENTS_SCHEMA.field(name) for name in columns])
        held: list[pa.Table] = []
        filters = pc.field("table_id") == table_id
        if which is not None:
            filters &= which
        if entities is None:
            found = journal.events.scan(self.reader, columns, filters, when)
        else:
            names = [*columns, "table_id"]
            events = journal.events.of_entities(self.reader, entities, names, when)
            found = (part.filter(filters).select(list(columns)) for part in events)
        for part in found:
            held.append(part.cast(schema))
            if sum(each.num_rows for each in held) >= PART_EVENTS:
                yield pa.concat_tables(held)
                held = []
        if held:
            yield pa.concat_tables(held)

    def events(
        self, journal: Journal, table_id: str, columns: Sequence[str], when: Span
    ) -> pa.Table:
        """Return some of the events of a table, oldest first."""
        none = pa.schema([EVENTS_SCHEMA.field(name) for name in columns]).empty_table()
        return pa.concat_tables([none, *self.parts(journal, table_id, columns, when)])

    def cached(self, info: TableInfo) -> pa.Table | None:
        """Return a table as it is now, if there is a copy in memory."""
        cache = self._catalog.lake.cache
        held = cache.get(info.table_id, info.version) if self._committed else None
        return None if held is None else held.data


def _refuse_ahead(last: int, seq: int, at_us: int) -> NoReturn:
    msg = (
        f"entry {seq} says that it is of {from_us(at_us)}, which has not come yet: the clock was "
        "ahead when it was written, or is behind now, and so nobody knows whether it had happened "
        f"by the time that was asked; ask by number, as {max(last, 0)} or {seq}"
    )
    raise InvalidQueryError(msg)
