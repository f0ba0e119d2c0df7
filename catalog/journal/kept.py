"""Where one tenant's events are kept: the newest in the store, a block a change; the others sealed.

Rules:
    - Sealing moves whole blocks: the segment's file is there before the transaction that names it
      and drops them, so that every snapshot has each event exactly once.
    - Who seals, erases or lets go holds the journal's lock. Merging holds another, for long, and
      who removes files or values holds both: nothing waits for a merge but an erasure, a
      retention and the next merge.
"""

from __future__ import annotations

import struct
import threading
from contextlib import contextmanager
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.journal.blocks import checked_block, table_of_blocks
from affidavit.catalog.journal.segments.places import place_of
from affidavit.catalog.journal.segments.reading import SegmentReader
from affidavit.catalog.journal.segments.remembered import SegmentCache
from affidavit.catalog.journal.segments.segment import segment_of
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import ROWID, columns_of, own
from affidavit.catalog.store.tables import LEAVES, SEGMENTS, TAIL
from affidavit.errors import LedgerCorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from affidavit.catalog.journal.segments.places import SegmentFolder, SegmentStore
    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.store.protocol import Reader, Store, Writer

LEAF: Final = struct.Struct("<q32s")
"""A leaf that is kept apart: its event's number, and the hash."""

TAIL_COLUMNS: Final = columns_of(TAIL)
SEGMENT_COLUMNS: Final = columns_of(SEGMENTS)
LEAVES_COLUMNS: Final = columns_of(LEAVES)


class Kept:
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
        self.store = store
        self.tenant = tenant
        self._places = places
        self._cache = cache
        self._wanted_alone = threading.Event()

    @property
    def folder(self) -> SegmentFolder:
        """Where the tenant's segments lie."""
        return self._places.folder(self.tenant)

    @property
    def files(self) -> SegmentReader:
        """What reads the segments."""
        return SegmentReader(self.folder, self._cache)

    def check_place(self, reader: Reader) -> None:
        """Raise StoreError if the lake keeps its segments elsewhere since it was opened here."""
        if place_of(reader) != self._places.place:
            msg = "the journal's segments lie elsewhere since this session began: reopen"
            raise StoreError(msg)

    # --- who may change what is kept -------------------------------------------------------------

    def sealing(self) -> AbstractContextManager[None]:
        """Hold the journal against whoever else seals, erases or lets go, in any process."""
        return self.store.lock(f"journal {self.tenant}")

    def merging(self, *, timeout_s: float | None = None) -> AbstractContextManager[None]:
        """Hold the journal against other merges."""
        return self.store.lock(f"journal {self.tenant} merging", timeout_s=timeout_s)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the journal against sealing and merging; a merge of this process gives way."""
        self._wanted_alone.set()
        try:
            with self.merging(), self.sealing():
                yield
        finally:
            self._wanted_alone.clear()

    @property
    def is_wanted_alone(self) -> bool:
        """Whether a merge should give way."""
        return self._wanted_alone.is_set()

    # --- blocks ----------------------------------------------------------------------------------

    def blocks(self, reader: Reader, *conditions: Compare) -> list[tuple[Any, ...]]:
        """Return the rows of the matching blocks, oldest first: rowid, then the tail's columns."""
        rows = reader.select(
            TAIL, (ROWID, *TAIL_COLUMNS), own(self.tenant, *conditions), order_by=("first_seq",)
        )
        return list(map(checked_block, rows))

    def newest_blocks(self, reader: Reader, limit: int) -> list[tuple[Any, ...]]:
        """Return the rows of the newest ``limit`` blocks, oldest first."""
        rows = reader.select(
            TAIL, (ROWID, *TAIL_COLUMNS), own(self.tenant), order_by=("first_seq",),
            descending=True, limit=limit,
        )  # fmt: skip
        return list(reversed(rows))

    def tail(self, reader: Reader, *conditions: Compare) -> pa.Table:
        """Return the events of the matching blocks, oldest first."""
        return table_of_blocks(self.blocks(reader, *conditions))

    def tail_events(self, reader: Reader) -> int:
        """Return how many events the store keeps."""
        counts = [row[0] for row in reader.select(TAIL, ("events",), own(self.tenant))]
        if any(type(count) is not int for count in counts):
            raise LedgerCorruptError("the journal's tail has a block of no number of events")
        return sum(counts)  # type: ignore[arg-type]  # as was just checked

    # --- segments --------------------------------------------------------------------------------

    def segments(self, reader: Reader) -> list[Segment]:
        """Return the sealed segments that have their events, oldest first."""
        return [each for each in self.all_segments(reader) if not each.dropped]

    def all_segments(self, reader: Reader, *conditions: Compare) -> list[Segment]:
        """Return the sealed segments, oldest first, also those whose events were let go."""
        rows = reader.select(
            SEGMENTS, SEGMENT_COLUMNS, own(self.tenant, *conditions), order_by=("first_seq",)
        )
        return list(map(segment_of, rows))

    def add_segment(self, writer: Writer, segment: Segment) -> None:
        """Name a segment whose file is there."""
        writer.insert(SEGMENTS, SEGMENT_COLUMNS, [astuple(segment)])

    def replace_segment(self, writer: Writer, old: Segment, new: Segment) -> None:
        """Let a segment's events be those of another file from now on."""
        writer.delete_where(SEGMENTS, Compare("=", "first_seq", old.first_seq))
        self.add_segment(writer, new)

    def sealed(self, reader: Reader) -> Sequence[tuple[object, ...]]:
        """Return which files the segments are in; another answer later says that some went."""
        return reader.select(SEGMENTS, ("file", "sha256"), own(self.tenant))

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

    # --- leaves that are kept apart --------------------------------------------------------------

    def keep_leaves(self, writer: Writer, kept: list[tuple[int, int, bytes]]) -> None:
        """Keep these leaves, and no others: the first number, the one after the last, and bytes."""
        writer.delete_where(LEAVES, own(self.tenant))
        writer.insert(LEAVES, LEAVES_COLUMNS, kept)

    def kept_leaves(self, reader: Reader, *conditions: Compare) -> list[tuple[Any, ...]]:
        """Return what :meth:`keep_leaves` kept, as the store has it: nothing is checked yet."""
        return list(reader.select(LEAVES, LEAVES_COLUMNS, own(self.tenant, *conditions)))


class Archive:
    """Where the journals of one lake are kept, by tenant.

    Args:
        store: The lake's store.
        places: Where its segments lie.
    """

    def __init__(self, store: Store, places: SegmentStore) -> None:
        self._store = store
        self._places = places
        self._cache = SegmentCache()
        self._kept: dict[str, Kept] = {}

    def of(self, tenant: str) -> Kept:
        """Return where a tenant's journal is kept."""
        kept = self._kept.get(tenant)
        if kept is None:
            made = Kept(self._store, tenant, self._places, self._cache)
            kept = self._kept.setdefault(tenant, made)
        return kept
