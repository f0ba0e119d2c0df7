"""Where the past is seen from: which events were before a moment, and which came after.

Rule:
    - A shared table's events are in the shared scope's journal, which numbers them by itself: a
      tenant's moment is found there by its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.events import EVENTS_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.journal.journal import Journal
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.moment import Moment
    from affidavit.catalog.store.protocol import Reader

_TIME: Final = pa.timestamp("us", "UTC")
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

    def bound(self, journal: Journal) -> tuple[int | None, int | None]:
        """Return the last event that ``journal`` may have had by the moment, or else the time."""
        seq, at_us = self.moment.seq, self.moment.at_us
        if seq is not None and journal is not self._catalog.journal:
            entries = self._catalog.ledger.page(self.reader, seq, seq + 1)
            return None, entries[0].created_at
        return seq, at_us

    def is_past(self, journal: Journal, seq: int, at_us: int) -> bool:
        """Return whether an event of ``journal`` had happened by the moment."""
        last_seq, last_us = self.bound(journal)
        return seq <= last_seq if last_seq is not None else at_us <= (last_us or 0)

    def until(self, journal: Journal) -> pc.Expression:
        """Return the filter for the events of ``journal`` up to the moment."""
        seq, at_us = self.bound(journal)
        if seq is not None:
            return pc.field("seq") <= seq
        return pc.field("timestamp") <= pa.scalar(at_us, _TIME)

    def after(self, journal: Journal) -> pc.Expression:
        """Return the filter for the events of ``journal`` after the moment."""
        seq, at_us = self.bound(journal)
        if seq is not None:
            return pc.field("seq") > seq
        return pc.field("timestamp") > pa.scalar(at_us, _TIME)

    def parts(
        self, journal: Journal, table_id: str, columns: Sequence[str], when: pc.Expression
    ) -> Iterator[pa.Table]:
        """Yield some of the events of a table, oldest first, many at a time."""
        schema = pa.schema([EVENTS_SCHEMA.field(name) for name in columns])
        held: list[pa.Table] = []
        filters = (pc.field("table_id") == table_id) & when
        for part in journal.events.scan(self.reader, columns, filters):
            held.append(part.cast(schema))
            if sum(each.num_rows for each in held) >= PART_EVENTS:
                yield pa.concat_tables(held)
                held = []
        if held:
            yield pa.concat_tables(held)

    def events(
        self, journal: Journal, table_id: str, columns: Sequence[str], when: pc.Expression
    ) -> pa.Table:
        """Return some of the events of a table, oldest first."""
        none = pa.schema([EVENTS_SCHEMA.field(name) for name in columns]).empty_table()
        return pa.concat_tables([none, *self.parts(journal, table_id, columns, when)])

    def cached(self, info: TableInfo) -> pa.Table | None:
        """Return a table as it is now, if there is a copy in memory."""
        cache = self._catalog.lake.cache
        held = cache.get(info.table_id, info.version) if self._committed else None
        return None if held is None else held.data
