"""The journal: every mutation as an immutable event, committed with it.

Rules:
    - Events are entries of the tenant's ledger, numbered, hashed and proved there; they are kept
      here: the newest in the store, a block for each change, the others in sealed segments.
    - A block is written in the transaction of the change that it records. Sealing moves whole
      blocks: the segment's file is there before the transaction that names it and drops them, so
      that every snapshot has each event exactly once.
    - Who seals, erases or lets go holds the journal's lock. Merging holds another, for long, and
      who removes files or values holds both: nothing waits for a merge but an erasure, a
      retention and the next merge.
    - A change that is committed stays so, whatever becomes of sealing after it; and committing
      reads no segment, which may lie far away: the leaves that a checkpoint needs are kept here.
"""

from __future__ import annotations

import logging
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.entries import entries_of
from affidavit.catalog.journal.events import (
    EVENTS_SCHEMA,
    Batch,
    event_columns,
    events_of,
    in_blocks,
    numbered,
    pack,
    unpack,
    without_values,
)
from affidavit.catalog.journal.places import place_of
from affidavit.catalog.journal.segments import (
    SEGMENTS,
    Segment,
    SegmentCache,
    SegmentReader,
    husk_of,
    remove_segment,
    segment_of,
    write_segment,
)
from affidavit.catalog.ledger.merkle import TILE_LEAVES
from affidavit.catalog.model import clock
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import ROWID, StoreColumn, StoreTable
from affidavit.catalog.values.canonical import canonical
from affidavit.catalog.values.types import Kind
from affidavit.errors import AffidavitError, LedgerCorruptError, StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.journal.places import SegmentFolder
    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.ledger.ledger import Ledger, StoredEntry
    from affidavit.catalog.model.change import Change
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.store.transaction import Transaction

FLUSH_THRESHOLD: Final = 10_000
SEGMENTS_MERGED: Final = 8
"""So many neighbouring segments are merged into one."""

LARGE_FLUSHES: Final = 64
"""A segment with the events of so many flushes is large, and not merged again: a merge costs by the
event, and retention lets go of whole segments."""

RETRY_AFTER_S: Final = 60.0
"""How long commits do not try to seal after sealing failed: each try may wait for a time-out."""

ORPHAN_AGE_S: Final = 3600
"""How long a file that no store row names stays: a snapshot may have named it."""

_INT, _BLOB = Kind.INTEGER, Kind.BLOB
TAIL: Final = StoreTable(
    "journal_tail",
    (
        StoreColumn("first_seq", _INT),
        StoreColumn("last_seq", _INT),
        StoreColumn("events", _INT),
        StoreColumn("data", _BLOB),
        StoreColumn("leaves", _BLOB),
    ),
)
LEAVES: Final = StoreTable(
    "journal_leaves",
    (StoreColumn("first_seq", _INT), StoreColumn("end_seq", _INT), StoreColumn("data", _BLOB)),
)
"""The leaves of sealed events that the next checkpoint is proved by: number and hash of each."""

_LEAF: Final = struct.Struct("<q32s")
_TAIL_COLUMNS: Final = [column.name for column in TAIL.columns]
_LEAVES_COLUMNS: Final = [column.name for column in LEAVES.columns]
_SEGMENT_COLUMNS: Final = [column.name for column in SEGMENTS.columns]
_HASH_BYTES: Final = 32
_END: Final = 2**63 - 1
_log = logging.getLogger("affidavit")


class _AbandonedError(Exception):
    """Thrown into a merge that is not wanted any more."""


@dataclass(frozen=True, slots=True)
class _Span:
    """The events ``[first, end)``; by default all."""

    first: int = 0
    end: int = _END

    def bounds(self) -> tuple[Compare, Compare]:
        """Return what the store's rows must be that have some of them."""
        return Compare("<", "first_seq", self.end), Compare(">=", "last_seq", self.first)

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


class Journal:
    """The journal of one tenant.

    Attributes:
        flush_threshold: How many events the store keeps before they are sealed.
    """

    def __init__(self, lake: Lake, tenant: str, *, flush_threshold: int = FLUSH_THRESHOLD) -> None:
        self.flush_threshold = flush_threshold
        self._lake = lake
        self._tenant = tenant
        self._waiting: int | None = None
        self._begun = False
        self._counting = threading.Lock()
        self._retry_at: float | None = None
        self._hold = threading.Event()

    @property
    def _ledger(self) -> Ledger:
        return self._lake.ledgers.of(self._tenant)

    @property
    def _folder(self) -> SegmentFolder:
        return self._lake.segment_folder(self._tenant)

    @property
    def _files(self) -> SegmentReader:
        return SegmentReader(self._folder, self._lake.journals.cache)

    # --- writing -------------------------------------------------------------------------------

    def note(self, writer: Writer, change: Change, transaction: Transaction) -> int | None:
        """Write ``change`` down, in the transaction that makes it; return its first event's seq."""
        return self.append(
            writer,
            Batch(
                change.table, change.table_id, change.identity, clock.now_us(),
                transaction.tx_id, events_of(change),
            ),
            transaction,
        )  # fmt: skip

    def is_kept(self, reader: Reader) -> bool:
        """Return whether the tenant's changes are written down: once begun, for good."""
        if self._begun or self._lake.journals.wanted:
            return True
        own = self._ledger.own()
        return any(reader.select(table, ("first_seq",), own, limit=1) for table in (TAIL, SEGMENTS))

    def first_seq(self, reader: Reader) -> int | None:
        """Return the number of the oldest event that there ever was; ``None`` if there is none."""
        found = [
            row[0]
            for table in (TAIL, SEGMENTS)
            for row in reader.select(
                table, ("first_seq",), self._ledger.own(), order_by=("first_seq",), limit=1
            )
        ]
        return min((int(each or 0) for each in found), default=None)

    def append(self, writer: Writer, batch: Batch, transaction: Transaction) -> int | None:
        """Write ``batch`` down in an open transaction; sealed, if that is due, after its commit.

        Returns:
            The number of its first event; ``None`` if it has none.
        """
        if not batch.events:
            return None
        begun = -1

        def keep(first: int) -> list[bytes]:
            nonlocal begun
            begun, leaves = first, list[bytes]()
            for part in in_blocks(batch.events):
                at = first + len(leaves)
                columns, found = numbered(replace(batch, events=part), at)
                block = (at, at + len(found) - 1, len(found), pack(columns), b"".join(found))
                writer.insert(TAIL, _TAIL_COLUMNS, [block])
                leaves += found
            return leaves

        self._ledger.append_leaves(writer, keep, now_us=batch.at_us)
        added = len(batch.events)
        transaction.on_end(lambda committed: self._committed(added if committed else 0))
        return begun

    def _committed(self, added: int) -> None:
        if not added:
            return
        self._begun = True
        with self._counting:
            if self._waiting is not None:
                self._waiting += added
            else:
                # the change is committed: what cannot be counted now is counted next time
                with (
                    suppress(StoreError, LedgerCorruptError),
                    self._lake.store.read(self._tenant) as reader,
                ):
                    self._waiting = self.tail_events(reader)
            due = (self._waiting or 0) >= self.flush_threshold
        if due and (self._retry_at is None or monotonic() >= self._retry_at):
            self.seal_if_possible()

    def seal_if_possible(self) -> None:
        """Seal what the store keeps; what fails is told once, and is done by a later try."""
        try:
            self.flush()
        except StoreBusyError:
            return  # somebody else is at it
        except (StoreError, LedgerCorruptError) as error:
            told, self._retry_at = self._retry_at is not None, monotonic() + RETRY_AFTER_S
            if not told:
                _log.warning("events are kept in the store until they can be sealed: %s", error)

    # --- sealing -------------------------------------------------------------------------------

    def flush(self) -> int:
        """Seal every event that the store keeps, and return how many there were.

        Small segments are merged later, by whoever the lake's journals poke.

        Raises:
            StoreError: The segment cannot be written; no event is lost.
        """
        with self._sealing():
            with self._lake.store.read(self._tenant) as reader:
                waiting = reader.select(
                    TAIL, (ROWID, "events"), self._ledger.own(), order_by=("first_seq",)
                )
                self._check_place(reader)
                if waiting:
                    rowids = [int(row[0] or 0) for row in waiting]
                    blocks = (self._blocks(reader, Compare("=", ROWID, rowid)) for rowid in rowids)
                    segment = write_segment(self._folder, map(_table, blocks))
            if waiting:  # the snapshot has ended: who empties the store's log waits for that
                self._seal(rowids, segment)
            with self._counting:
                self._waiting = None
                self._retry_at = None
        if waiting:
            self._lake.journals.poke()
        return sum(int(row[1] or 0) for row in waiting)

    def _sealing(self) -> AbstractContextManager[None]:
        return self._lake.store.lock(f"journal {self._tenant}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the journal against sealing and merging; a merge of this process gives way."""
        self._hold.set()
        try:
            with self._merging(), self._sealing():
                yield
        finally:
            self._hold.clear()

    def _merging(self, *, timeout_s: float | None = None) -> AbstractContextManager[None]:
        return self._lake.store.lock(f"journal {self._tenant} merging", timeout_s=timeout_s)

    def _seal(self, rowids: list[int], segment: Segment) -> None:
        with self._lake.store.write(self._tenant, record=True) as writer:
            self._check_place(writer)
            kept = self._checkpoint_leaves(writer, segment.last_seq + 1)
            writer.delete_where(LEAVES, self._ledger.own())
            writer.insert(LEAVES, _LEAVES_COLUMNS, kept)
            writer.delete(TAIL, rowids)
            writer.insert(SEGMENTS, _SEGMENT_COLUMNS, [astuple(segment)])

    def _check_place(self, reader: Reader) -> None:
        if place_of(reader) != self._lake.segments.place:
            msg = "the journal's segments lie elsewhere since this session began: reopen"
            raise StoreError(msg)

    def _checkpoint_leaves(self, reader: Reader, sealed: int) -> list[tuple[int, int, bytes]]:
        """Return those leaves below ``sealed`` that no kept node stands for.

        They are those of the tile that the last checkpoint ends in, and of the last one.
        """
        head = self._ledger.head(reader)
        sizes = {sealed, sealed if head is None else head.checkpoint_size}
        found = []
        for first in {size - size % TILE_LEAVES for size in sizes}:
            end = min(first + TILE_LEAVES, sealed)
            if first < end:
                leaves = self.leaves(reader, first, end)
                found.append((first, end, b"".join(_LEAF.pack(*each) for each in leaves)))
        return found

    # --- merging -------------------------------------------------------------------------------

    def compact(
        self,
        *,
        wait: bool = True,
        events_max: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> int:
        """Merge neighbouring small segments, and return how many were merged away.

        Args:
            wait: Wait for another merge that runs; else leave it to that.
            events_max: Only segments that have no more than so many events together.
            stopping: Whether to stop, asked again and again; half a merge is as none.
        """
        merged = 0
        try:
            with self._merging(timeout_s=None if wait else 0):
                while group := self._mergeable(events_max):
                    if not self._merge(group, lambda: stopping() or self._hold.is_set()):
                        break
                    merged += len(group)
        except StoreBusyError:
            if wait:
                raise
        finally:
            pa.default_memory_pool().release_unused()
        return merged

    def compact_if_possible(
        self, *, events_max: int | None = None, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """Do the same unless another merge runs; what fails is logged, and is left as it is."""
        try:
            self.compact(wait=False, events_max=events_max, stopping=stopping)
        except AffidavitError:
            _log.exception("segments of the journal were not merged")

    def _mergeable(self, events_max: int | None) -> list[Segment]:
        with self._lake.store.read(self._tenant) as reader:
            segments = self.all_segments(reader)
        return mergeable(segments, self.flush_threshold * LARGE_FLUSHES, events_max)

    def _merge(self, group: list[Segment], stopping: Callable[[], bool]) -> bool:
        def events() -> Iterator[pa.Table]:
            for segment in group:
                for part in self._files.whole(segment):
                    if stopping():
                        raise _AbandonedError
                    yield part

        try:
            whole = write_segment(self._folder, events())
        except _AbandonedError:
            return False
        if whole.events != sum(each.events for each in group):
            msg = f"segments {group[0].file} to {group[-1].file} have other events than were sealed"
            raise LedgerCorruptError(msg, seq=group[0].first_seq)
        firsts = tuple(each.first_seq for each in group)
        with self._lake.store.write(self._tenant, record=True) as writer:
            writer.delete_where(SEGMENTS, In("first_seq", firsts))
            writer.insert(SEGMENTS, _SEGMENT_COLUMNS, [astuple(whole)])
        return True

    # --- letting go ----------------------------------------------------------------------------

    def erase(self, entity_id: str, note: Callable[[Writer, int], None]) -> int:
        """Destroy the values of every event of an entity, for good; every proof goes on holding.

        Args:
            entity_id: The entity.
            note: Given the transaction and the number of events; says in the ledger that they were
                erased.

        Returns:
            How many events were erased.
        """
        with self._alone():
            with self._lake.store.read(self._tenant) as reader:
                blocks = self._erased_blocks(reader, entity_id)
                segments = self._erased_segments(reader, entity_id)
            count = sum(each[-1] for each in (*blocks, *segments))
            if count:
                with self._lake.store.write(self._tenant) as writer:
                    writer.update(TAIL, ("data",), [(data, rowid) for rowid, data, _ in blocks])
                    for old, new, _ in segments:
                        self._replace(writer, old, new)
                    note(writer, count)
            try:  # also if there was nothing: the last erasure may have failed here
                self._remove_others(age_s=0)  # what was merged away holds the values too
            except StoreError as error:
                msg = f"{error}; what was replaced is still there with its values: erase again"
                raise StoreError(msg) from error
        if not self._lake.store.scrub():
            msg = (
                "the store's log still has what was erased, since somebody reads the state of "
                "before: erase again when that has ended"
            )
            raise StoreError(msg)
        return count

    def _erased_blocks(self, reader: Reader, entity_id: str) -> list[tuple[int, bytes, int]]:
        found = []
        for block in self._blocks(reader):
            events, count = without_values(_table([block]), entity_id)
            if count:
                found.append((int(block[0]), pack(event_columns(events)), count))
        return found

    def _erased_segments(
        self, reader: Reader, entity_id: str
    ) -> list[tuple[Segment, Segment, int]]:
        found = []
        for segment in self.segments(reader):
            # not by the index: whoever changed that would keep the values
            wanted = pc.field("entity_id") == entity_id
            events = self._files.scan(segment, ["entity_id", "salt"], wanted)
            count = sum(len(part) - part["salt"].null_count for part in events)
            if count:
                parts = self._files.whole(segment)
                erased = (without_values(part, entity_id)[0] for part in parts)
                found.append((segment, write_segment(self._folder, erased), count))
        return found

    def _replace(self, writer: Writer, old: Segment, new: Segment) -> None:
        writer.delete_where(SEGMENTS, Compare("=", "first_seq", old.first_seq))
        writer.insert(SEGMENTS, _SEGMENT_COLUMNS, [astuple(new)])

    def retain(
        self, before_us: int | None, keep: int, note: Callable[[Writer, Sequence[Segment]], None]
    ) -> list[Segment]:
        """Let go of whole sealed segments; their leaves stay, so that the rest still verifies.

        Args:
            before_us: Only of those whose events are all older; ``None`` for any age.
            keep: The newest so many events stay in any case.
            note: Given the transaction and the segments; says in the ledger that they were dropped.

        Returns:
            The segments that were dropped.
        """
        with self._alone():
            with self._lake.store.read(self._tenant) as reader:
                newer = self.tail_events(reader)
                chosen = []
                for segment in reversed(self.segments(reader)):
                    old = before_us is None or segment.last_at < before_us
                    if old and newer >= keep:
                        chosen.append(segment)
                    newer += segment.events
            if not chosen:
                return []
            husks = [(each, self._husk(each)) for each in reversed(chosen)]
            with self._lake.store.write(self._tenant) as writer:
                for segment, husk in husks:
                    self._replace(writer, segment, husk)
                note(writer, [segment for segment, _ in husks])
            for segment, _ in husks:
                remove_segment(self._folder, segment)
        return [segment for segment, _ in husks]

    def _husk(self, segment: Segment) -> Segment:
        events = map(husk_of, self._files.whole(segment))
        return replace(write_segment(self._folder, events), dropped=1)

    def tidy(self) -> None:
        """Seal what the store keeps and remove what nobody needs, before a session ends."""
        self.seal_if_possible()
        if self._retry_at is None:
            self.compact_if_possible(events_max=self.flush_threshold * SEGMENTS_MERGED)
            self.remove_orphans()

    def remove_orphans(self, *, age_s: float = ORPHAN_AGE_S) -> None:
        """Remove files that the store does not name, and no snapshot of the last hour can.

        Raises:
            StoreError: The folder cannot be read.
        """
        with self._merging(), self._sealing():
            self._remove_others(age_s=age_s)

    def _remove_others(self, *, age_s: float) -> None:
        with self._lake.store.read(self._tenant) as reader:
            named = {each.file for each in self.all_segments(reader)}
        try:
            self._folder.remove_others(named, age_s=age_s)
        except OSError as error:
            msg = f"the journal's segments at {self._folder} cannot be read: {error}"
            raise StoreError(msg) from error

    # --- reading -------------------------------------------------------------------------------

    def _blocks(self, reader: Reader, *conditions: Compare) -> list[tuple[Any, ...]]:
        rows = reader.select(
            TAIL, (ROWID, *_TAIL_COLUMNS), self._ledger.own(*conditions), order_by=("first_seq",)
        )
        return list(map(_block_of, rows))

    def segments(self, reader: Reader) -> list[Segment]:
        """Return the sealed segments that have their events, oldest first."""
        return [each for each in self.all_segments(reader) if not each.dropped]

    def all_segments(self, reader: Reader, *conditions: Compare) -> list[Segment]:
        """Return the sealed segments, oldest first, also those whose events were let go."""
        rows = reader.select(
            SEGMENTS, _SEGMENT_COLUMNS, self._ledger.own(*conditions), order_by=("first_seq",)
        )
        return list(map(segment_of, rows))

    def tail_events(self, reader: Reader) -> int:
        """Return how many events the store keeps."""
        counts = [row[0] for row in reader.select(TAIL, ("events",), self._ledger.own())]
        if any(type(count) is not int for count in counts):
            raise LedgerCorruptError("the journal's tail has a block of no number of events")
        return sum(counts)  # type: ignore[arg-type]  # as was just checked

    def count(self, reader: Reader) -> int:
        """Return how many events there are."""
        return self.tail_events(reader) + sum(each.events for each in self.all_segments(reader))

    def scan(
        self, reader: Reader, columns: Sequence[str], filters: pc.Expression | None
    ) -> Iterator[pa.Table]:
        """Yield ``columns`` of every event that ``filters`` keeps, oldest first, some at a time."""
        names = list(columns)

        def read(segment: Segment, within: _Span) -> Iterator[pa.Table]:
            return self._files.scan(segment, names, within.narrowed(segment, filters))

        for segment in self.segments(reader):
            yield from self._read(segment, _Span(), read)
        tail = _table(self._blocks(reader))
        if tail.num_rows:
            yield (tail if filters is None else tail.filter(filters)).select(names)

    def of_entities(
        self, reader: Reader, entities: Sequence[str], columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield the events of some entities, oldest first, without reading those of others."""
        names = list(dict.fromkeys([*columns, "entity_id", "seq"]))

        def read(segment: Segment, within: _Span) -> Iterator[pa.Table]:
            for part in self._files.of_entities(segment, entities, names):
                yield within.kept(part)

        for segment in self.segments(reader):
            for part in self._read(segment, _Span(), read):
                yield part.select(list(columns))
        written = [canonical(each) for each in entities]
        blocks = [
            block
            for block in self._blocks(reader)
            if not block[4].startswith(b"[")
            or b"\\u" in block[4]
            or any(each in block[4] for each in written)
        ]
        tail = _table(blocks)
        wanted = pa.array(entities, pa.string())
        yield tail.filter(pc.is_in(tail["entity_id"], wanted)).select(list(columns))

    def newest(self, reader: Reader, limit: int, columns: Sequence[str]) -> pa.Table:
        """Return the newest ``limit`` events, newest first; ``columns`` have their ``seq``."""
        names = list(columns)
        blocks = reader.select(
            TAIL, (ROWID, *_TAIL_COLUMNS), self._ledger.own(), order_by=("first_seq",),
            descending=True, limit=max(limit, 1),
        )  # fmt: skip
        tail = _table(list(reversed(blocks))).select(names)
        parts = [tail.slice(max(0, tail.num_rows - limit))]
        missing = limit - parts[0].num_rows

        def read(segment: Segment, within: _Span) -> Iterator[pa.Table]:
            for part in self._files.last(segment, missing, within.end, names):
                yield within.kept(part)

        for segment in reversed(self.segments(reader)):
            if missing <= 0:
                break
            found = list(self._read(segment, _Span(), read))
            parts += found
            missing -= sum(part.num_rows for part in found)
        newest: pa.Table = pa.concat_tables(parts).sort_by([("seq", "descending")])
        return newest.slice(0, limit)

    def _read(
        self, segment: Segment, within: _Span, read: Callable[[Segment, _Span], Iterator[pa.Table]]
    ) -> Iterator[pa.Table]:
        """Yield what ``read`` finds in a segment, or in what took its place since the snapshot.

        Raises:
            LedgerCorruptError: It is missing or unreadable.
            StoreError: Its events were let go, or its file went, while they were read.
        """
        begun = False
        try:
            for part in read(segment, within):
                begun = True
                yield part
            return
        except LedgerCorruptError as error:
            with self._lake.store.read(self._tenant) as now:
                inside = _Span(
                    max(within.first, segment.first_seq), min(within.end, segment.last_seq + 1)
                )
                heirs = self.all_segments(now, *inside.bounds())
            if segment in heirs:
                raise
            if begun or any(each.dropped for each in heirs):
                msg = f"segment {segment.file} of the journal was replaced while it was read: again"
                raise StoreError(msg) from error
        for heir in heirs:
            yield from self._read(heir, inside, read)

    # --- as entries of the ledger --------------------------------------------------------------

    def leaves(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of the events ``[first, end)``."""
        span = _Span(first, end)
        kept, found = self._kept_leaves(reader, span)
        for segment in self.all_segments(reader, *span.bounds()):
            part = _Span(max(first, segment.first_seq), min(end, segment.last_seq + 1))
            if any(low <= part.first and part.end <= high for low, high in kept):
                continue
            found = [each for each in found if not part.first <= each[0] < part.end]
            for table in self._files.between(segment, part.first, part.end, ["seq", "leaf_hash"]):
                found += zip(table["seq"].to_pylist(), table["leaf_hash"].to_pylist(), strict=True)
        for _, low, _, count, _, leaves in self._blocks(reader, *span.bounds()):
            for at in range(max(0, first - low), min(count, end - low)):
                found.append((low + at, leaves[at * _HASH_BYTES : (at + 1) * _HASH_BYTES]))
        return found

    def _kept_leaves(
        self, reader: Reader, span: _Span
    ) -> tuple[list[tuple[int, int]], list[tuple[int, bytes]]]:
        """Return the stretches whose leaves are kept, and those of ``span``."""
        own = self._ledger.own(Compare("<", "first_seq", span.end))
        rows: list[tuple[Any, ...]] = reader.select(LEAVES, _LEAVES_COLUMNS, own)
        try:
            found = [each for *_, data in rows for each in _LEAF.iter_unpack(data)]
            kept = [(int(low), int(high)) for low, high, _ in rows]
        except (struct.error, TypeError, ValueError) as error:
            msg = f"the journal's kept leaves cannot be read: {error}"
            raise LedgerCorruptError(msg) from error
        return kept, [each for each in found if span.first <= each[0] < span.end]

    def entries(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return the events ``[first, end)`` as entries, their bodies put together anew.

        Raises:
            LedgerCorruptError: A segment is missing or unreadable, or a leaf is kept otherwise.
        """
        span = _Span(first, end)
        parts = list(self._between(reader, span, EVENTS_SCHEMA.names))
        parts.append(span.kept(_table(self._blocks(reader, *span.bounds()))))
        shown = None if self._tenant == SHARED else self._tenant
        found = [entry for part in parts for entry in entries_of(part, shown)]
        kept = dict(self._kept_leaves(reader, span)[1])
        for entry in found:
            if kept.get(entry.seq, entry.leaf_hash) != entry.leaf_hash:
                raise LedgerCorruptError("the leaf that is kept of it is another", seq=entry.seq)
        return found

    def sealed(self, reader: Reader) -> Sequence[tuple[object, ...]]:
        """Return which files the segments are in; another answer later says that some went."""
        return reader.select(SEGMENTS, ("file", "sha256"), self._ledger.own())

    def faults(self, reader: Reader) -> Iterator[tuple[int, int, str]]:
        """Yield what is wrong with how events are kept: the first and last that it is about.

        Their leaves tell what they are. This is about what readers find them by: their order,
        the blocks' and segments' rows, statistics, indexes, and the leaves that are kept apart.
        """
        newest = -1
        for segment in self.all_segments(reader):
            try:
                problem = self._files.fault(segment)
            except LedgerCorruptError as error:
                problem = error.problem
            if problem is None and segment.first_seq <= newest:
                problem = f"segment {segment.file} of the journal overlaps the one before it"
            if problem is not None:
                yield segment.first_seq, segment.last_seq, problem
            newest = max(newest, segment.last_seq)
        yield from self._leaf_faults(reader, newest + 1)
        for block in self._blocks(reader):
            _, first, last, count, *_ = block
            seqs = _table([block])["seq"].to_pylist()
            if first <= newest or len(seqs) != count or seqs != list(range(first, last + 1)):
                yield first, max(first, last), "its block in the journal's tail has other events"
            newest = max(newest, last)

    def _leaf_faults(self, reader: Reader, sealed: int) -> Iterator[tuple[int, int, str]]:
        for first, end, data in reader.select(LEAVES, _LEAVES_COLUMNS, self._ledger.own()):
            if type(first) is not int or type(end) is not int:
                raise LedgerCorruptError("the journal's kept leaves have no place")
            try:
                parts = list(self._between(reader, _Span(first, end), ["seq", "leaf_hash"]))
            except LedgerCorruptError:
                continue  # which was yielded
            seqs = [seq for part in parts for seq in part["seq"].to_pylist()]
            leaves = [leaf for part in parts for leaf in part["leaf_hash"].to_pylist()]
            if end > sealed or data != b"".join(map(_LEAF.pack, seqs, leaves)):
                yield first, max(first, end - 1), "the leaves that are kept of them are others"

    def _between(self, reader: Reader, span: _Span, columns: list[str]) -> Iterator[pa.Table]:
        for segment in self.all_segments(reader, *span.bounds()):
            yield from self._files.between(segment, span.first, span.end, columns)


def mergeable(
    segments: Iterable[Segment], large: int, events_max: int | None = None
) -> list[Segment]:
    """Return the first neighbours that should be merged; none if there are none.

    None of them has as many events as all others together: so a merge at least doubles the segment
    of each event, and an event is written anew a few times only.

    Args:
        segments: All segments, oldest first.
        large: Those with so many events stay as they are.
        events_max: Only neighbours with no more than so many events together.
    """
    run: list[Segment] = []
    for segment in segments:
        if segment.dropped or segment.events >= large:
            run = []
            continue
        run = [*run, segment][-SEGMENTS_MERGED:]
        counts = [each.events for each in run]
        small = events_max is None or sum(counts) <= events_max
        if len(run) == SEGMENTS_MERGED and 2 * max(counts) <= sum(counts) and small:
            return run
    return []


def _block_of(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a block's row if its columns have what an append puts there."""
    if [type(value) for value in row[1:]] != [int, int, int, bytes, bytes]:
        seq = row[1] if type(row[1]) is int else None
        raise LedgerCorruptError("its block in the journal's tail is unreadable", seq=seq)
    return row


def _table(blocks: Sequence[tuple[Any, ...]]) -> pa.Table:
    return pa.Table.from_batches(map(_unpacked, blocks), EVENTS_SCHEMA)


def _unpacked(block: tuple[Any, ...]) -> pa.RecordBatch:
    _, first, *_, data, leaves = _block_of(block)
    try:
        return unpack(data, leaves).cast(EVENTS_SCHEMA)
    except (ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        msg = f"its block in the journal's tail cannot be read: {error}"
        raise LedgerCorruptError(msg, seq=first) from error


class Journals:
    """The journals of one lake, by tenant.

    Attributes:
        wanted: Whether this session begins the journal of a tenant that has none yet.
        flush_threshold: How many events the store keeps before they are sealed.
        cache: What is remembered of segments that were read.
        poke: Called when there may be something to merge.
        stopping: Set when merging is to end.
    """

    def __init__(self, lake: Lake) -> None:
        self.wanted = False
        self.flush_threshold = FLUSH_THRESHOLD
        self.cache = SegmentCache()
        self.poke: Callable[[], None] = lambda: None
        self.stopping = threading.Event()
        self._lake = lake
        self._journals: dict[str, Journal] = {}

    def of(self, tenant: str) -> Journal:
        """Return a tenant's journal."""
        if tenant not in self._journals:
            made = Journal(self._lake, tenant, flush_threshold=self.flush_threshold)
            self._journals.setdefault(tenant, made)
        return self._journals[tenant]

    def opened(self) -> list[Journal]:
        """Return the journals that were asked for."""
        return list(self._journals.values())

    def compact(self) -> bool:
        """Merge what is due in the journals that were asked for, and return False.

        It need not be asked again before it is poked: what failed fails until something changes.
        """
        for journal in self.opened():
            journal.compact_if_possible(stopping=self.stopping.is_set)
        return False

    def sources(self, tenant: str) -> list[Journal]:
        """Return where the tenant's ledger finds the entries that stand here."""
        return [self.of(tenant)]
