"""Where a tenant's events are kept: the newest in the store, a block a change; others sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.journal.blocks import ROW_EVENTS_MAX, checked_block, table_of_blocks
from affidavit.catalog.journal.events import CONTEXTS, EVENTS_SCHEMA
from affidavit.catalog.journal.records.kept import KeptRecords
from affidavit.catalog.journal.segments.form import Form
from affidavit.catalog.journal.segments.index import index_of
from affidavit.catalog.journal.segments.keeping import Keeping, Waiting
from affidavit.catalog.journal.segments.remembered import SegmentCache
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import ROWID, columns_of, own
from affidavit.catalog.store.tables import LEAVES, SEGMENTS, TAIL
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from affidavit.catalog.journal.segments.places import SegmentStore
    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader, Store, Writer
    from affidavit.catalog.values.types import StoreValue

TAIL_COLUMNS: Final = columns_of(TAIL)

BLOCKS_AT_FIRST: Final = 16
BLOCKS_GROWTH: Final = 4
"""How many blocks are read first from the newest on, and how many times more each time after."""

BLOCKS_TOGETHER: Final = 256
"""How many small blocks are read at a time to be sealed."""

EVENTS: Final = Form(
    whose="the journal",
    rows="events",
    schema=EVENTS_SCHEMA,
    time="timestamp",
    told="action",
    husk=frozenset({"seq", "timestamp", "leaf_hash"}),
    group_rows=2048,
    postings=lambda events, first_row: index_of(events["entity_id"], first_row),
    one_posting=True,
    segments=SEGMENTS,
    leaves=LEAVES,
    lock="journal",
    dictionaries=(
        "entity_type", "field", "action", "actor", "source", "workspace_id", "tx_id", "reason",
        "table_id", "context",
    ),
    statistics=("seq", "timestamp", "entity_type", "field", "action", "actor", "source"),
    optional=CONTEXTS,
)  # fmt: skip
"""A segment of events."""


class Kept(Keeping):
    """The blocks, segments and kept leaves of one tenant's journal.

    Args:
        store: The lake's store.
        tenant: Whose journal it is, as the store writes it.
        places: Where the lake's segments lie.
        cache: What is remembered of segments that were read.
    """

    def __init__(
        self, store: Store, tenant: str, places: SegmentStore, cache: SegmentCache
    ) -> None:
        super().__init__(EVENTS, store, tenant, places, cache)

    # --- blocks ----------------------------------------------------------------------------------

    def blocks(self, reader: Reader, *conditions: Predicate) -> list[tuple[Any, ...]]:
        """Return the rows of the matching blocks, oldest first: rowid, then the tail's columns."""
        rows = reader.select(
            TAIL, (ROWID, *TAIL_COLUMNS), own(self.tenant, *conditions), order_by=("first_seq",)
        )
        return list(map(checked_block, rows))

    def newest_blocks(
        self, reader: Reader, limit: int, *conditions: Compare
    ) -> list[tuple[Any, ...]]:
        """Return the rows of the newest ``limit`` blocks that match, oldest first."""
        rows = reader.select(
            TAIL, (ROWID, *TAIL_COLUMNS), own(self.tenant, *conditions), order_by=("first_seq",),
            descending=True, limit=limit,
        )  # fmt: skip
        return list(map(checked_block, reversed(rows)))

    def blocks_back(self, reader: Reader) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of all blocks, the newest first: some at a time, those oldest first."""
        limit, before = BLOCKS_AT_FIRST, Compare(">=", "first_seq", 0)
        while True:
            blocks = self.newest_blocks(reader, limit, before)
            if blocks:
                yield blocks
            if len(blocks) < limit:
                return
            limit *= BLOCKS_GROWTH
            before = Compare("<", "first_seq", blocks[0][1])

    def tail(self, reader: Reader, *conditions: Compare) -> pa.Table:
        """Return the events of the matching blocks, oldest first."""
        return table_of_blocks(self.blocks(reader, *conditions))

    def tail_events(self, reader: Reader) -> int:
        """Return how many events the store keeps."""
        counts = [row[0] for row in reader.select(TAIL, ("events",), own(self.tenant))]
        if any(type(count) is not int for count in counts):
            raise LedgerCorruptError("the journal's tail has a block of no number of events")
        return sum(counts)  # type: ignore[arg-type]  # as was just checked

    def waiting(self, reader: Reader) -> Waiting | None:
        """Return the events that the store keeps."""
        rows = reader.select(
            TAIL, (ROWID, "events"), own(self.tenant), order_by=("first_seq",)
        )  # fmt: skip
        rowids = [int(row[0] or 0) for row in rows]

        def tables() -> Iterator[pa.Table]:
            for few in _read_together(rows):
                yield table_of_blocks(self.blocks(reader, In(ROWID, few)))

        return Waiting(tables, [rowids]) if rows else None

    def leave(self, writer: Writer, waiting: Waiting, segment: Segment) -> None:  # noqa: ARG002 - as others take it
        """Drop the blocks of events that were sealed."""
        for rowids in waiting.places:
            writer.delete(TAIL, rowids)

    # --- both ------------------------------------------------------------------------------------

    def count(self, reader: Reader) -> int:
        """Return how many events there are."""
        return self.tail_events(reader) + sum(each.events for each in self.all_segments(reader))

    def first_seq(self, reader: Reader) -> int | None:
        """Return the number of the oldest event that there ever was; ``None`` if there is none."""
        found = [
            row[0]
            for table in (TAIL, SEGMENTS)
            for row in reader.select(
                table, ("first_seq",), own(self.tenant), order_by=("first_seq",), limit=1
            )
        ]
        return min((int(each or 0) for each in found), default=None)


def _read_together(
    rows: Sequence[tuple[StoreValue, ...]],
) -> Iterator[tuple[StoreValue, ...]]:
    """Yield the identities of blocks in groups: small ones together, since each read has its cost.

    Args:
        rows: The identity of each, and how many events it has.
    """
    few: list[StoreValue] = []
    for rowid, events in rows:
        is_small = isinstance(events, int) and events <= ROW_EVENTS_MAX
        if few and (not is_small or len(few) == BLOCKS_TOGETHER):
            yield tuple(few)
            few = []
        few.append(rowid)
        if not is_small:
            yield tuple(few)
            few = []
    if few:
        yield tuple(few)


class Archive:
    """Where the journals of one lake are kept, and the other entries of its ledgers, by tenant.

    Args:
        store: The lake's store.
        places: Where segments of events lie.
        record_places: Where those of the other entries do.
    """

    def __init__(self, store: Store, places: SegmentStore, record_places: SegmentStore) -> None:
        self._store = store
        self._places = places
        self._record_places = record_places
        self._cache = SegmentCache()
        self._kept: dict[str, Kept] = {}
        self._records: dict[str, KeptRecords] = {}

    def of(self, tenant: str) -> Kept:
        """Return where a tenant's journal is kept."""
        kept = self._kept.get(tenant)
        if kept is None:
            made = Kept(self._store, tenant, self._places, self._cache)
            kept = self._kept.setdefault(tenant, made)
        return kept

    def records_of(self, tenant: str) -> KeptRecords:
        """Return where the entries of a tenant's ledger are kept that are no events."""
        kept = self._records.get(tenant)
        if kept is None:
            made = KeptRecords(self._store, tenant, self._record_places, self._cache)
            kept = self._records.setdefault(tenant, made)
        return kept
