"""The journal: every mutation as an immutable event, committed with it.

Rules:
    - Events are entries of the tenant's ledger, numbered, hashed and proved there; they are kept
      here: the newest in the store, a block for each change, the others in sealed segments.
    - A block is written in the transaction of the change that it records. Sealing moves whole
      blocks: the segment's file is there before the transaction that names it and drops them, so
      that every snapshot has each event exactly once.
"""

from __future__ import annotations

import threading
from dataclasses import astuple
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from affidavit.catalog.canonical import canonical
from affidavit.catalog.events import (
    EVENTS_SCHEMA,
    KIND,
    NEW,
    OLD,
    Batch,
    body_template,
    event_id,
    events_of,
    numbered,
    pack,
    rows_of,
    unpack,
    value_digest,
    without_values,
)
from affidavit.catalog.ledger import DROPPED, ERASED, StoredEntry
from affidavit.catalog.names import SHARED
from affidavit.catalog.predicate import Compare, In
from affidavit.catalog.segments import (
    ROW_GROUP_EVENTS,
    SEGMENTS,
    Segment,
    open_segment,
    read_rows_at,
    remove_segment,
    rows_of_entity,
    write_husk,
    write_segment,
)
from affidavit.catalog.store.protocol import ROWID, StoreColumn, StoreTable
from affidavit.catalog.types import Kind
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from affidavit.catalog.change import Change
    from affidavit.catalog.lake import Lake
    from affidavit.catalog.ledger import Ledger
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.transaction import Transaction

FLUSH_THRESHOLD: Final = 10_000
SEGMENTS_A_TIER: Final = 8
"""So many neighbouring segments of about one size are merged into one."""

TIERS_MAX: Final = 2
"""Segments of the last tier are not merged again: a merge holds them whole in memory."""

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
_TAIL_COLUMNS: Final = [column.name for column in TAIL.columns]
_SEGMENT_COLUMNS: Final = [column.name for column in SEGMENTS.columns]
_HASH_BYTES: Final = 32


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

    @property
    def _ledger(self) -> Ledger:
        return self._lake.ledgers.of(self._tenant)

    @property
    def folder(self) -> Path:
        """Where the tenant's segments lie."""
        return self._lake.journal_path(self._tenant)

    # --- writing -------------------------------------------------------------------------------

    def note(self, writer: Writer, change: Change, transaction: Transaction) -> None:
        """Write ``change`` down, in the transaction that makes it."""
        self.append(
            writer,
            Batch(
                change.table, change.table_id, change.identity, time_ns() // 1000,
                transaction.tx_id, events_of(change),
            ),
            transaction,
        )  # fmt: skip

    def is_kept(self, reader: Reader) -> bool:
        """Return whether the tenant's changes are written down: once begun, for good."""
        if not self._begun and self._lake.journals.wanted:
            self._begun = True
        if not self._begun:
            own = self._ledger.own()
            self._begun = any(
                reader.select(table, ("first_seq",), own, limit=1) for table in (TAIL, SEGMENTS)
            )
        return self._begun

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

    def append(self, writer: Writer, batch: Batch, transaction: Transaction) -> None:
        """Write ``batch`` down in an open transaction; sealed, if that is due, after its commit."""
        if not batch.events:
            return

        def keep(first: int) -> list[bytes]:
            rows, leaves = numbered(batch, first)
            block = (first, first + len(rows) - 1, len(rows), pack(rows), b"".join(leaves))
            writer.insert(TAIL, _TAIL_COLUMNS, [block])
            return leaves

        self._ledger.append_leaves(writer, keep, now_us=batch.at_us)
        added = len(batch.events)
        transaction.on_end(lambda committed: self._committed(added if committed else 0))

    def _committed(self, added: int) -> None:
        if not added:
            return
        with self._counting:
            if self._waiting is None:
                with self._lake.store.read(self._tenant) as reader:
                    self._waiting = self.tail_events(reader)
            else:
                self._waiting += added
            due = self._waiting >= self.flush_threshold
        if due:
            self.flush()

    # --- sealing -------------------------------------------------------------------------------

    def flush(self) -> int:
        """Seal every event that the store keeps, and return how many there were.

        Raises:
            StoreError: The segment cannot be written; no event is lost.
        """
        with self._lake.store.lock(f"journal {self._tenant}"):
            with self._lake.store.read(self._tenant) as reader:
                blocks = self._blocks(reader)
            if blocks:
                self._seal([int(each[0]) for each in blocks], _table(blocks))
            self.compact()
            with self._counting:
                self._waiting = None
        return sum(int(each[3]) for each in blocks)

    def _seal(self, rowids: list[int], events: pa.Table) -> None:
        segment = write_segment(self.folder, events)
        with self._lake.store.write(self._tenant, record=True) as writer:
            writer.delete(TAIL, rowids)
            writer.insert(SEGMENTS, _SEGMENT_COLUMNS, [astuple(segment)])

    def compact(self) -> int:
        """Merge neighbouring small segments, and return how many were merged away."""
        merged = 0
        while group := self._mergeable():
            tables = [open_segment(self.folder, each).read() for each in group]
            whole = write_segment(self.folder, pa.concat_tables(tables).sort_by("seq"))
            with self._lake.store.write(self._tenant, record=True) as writer:
                firsts = tuple(each.first_seq for each in group)
                writer.delete_where(SEGMENTS, In("first_seq", firsts))
                writer.insert(SEGMENTS, _SEGMENT_COLUMNS, [astuple(whole)])
            merged += len(group)
        return merged

    def _mergeable(self) -> list[Segment]:
        """Return the first run of neighbours of one tier that is long enough to be merged."""
        with self._lake.store.read(self._tenant) as reader:
            segments = self.segments(reader)
        run: list[Segment] = []
        for segment in segments:
            if run and self._tier(run[-1]) != self._tier(segment):
                run = []
            run.append(segment)
            if len(run) == SEGMENTS_A_TIER and self._tier(segment) < TIERS_MAX:
                return run
        return []

    def _tier(self, segment: Segment) -> int:
        tier, events = 0, max(self.flush_threshold, 1) * SEGMENTS_A_TIER
        while segment.events >= events:
            tier, events = tier + 1, events * SEGMENTS_A_TIER
        return tier

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
        with self._lake.store.lock(f"journal {self._tenant}"):
            with self._lake.store.read(self._tenant) as reader:
                blocks = self._erased_blocks(reader, entity_id)
                segments = self._erased_segments(reader, entity_id)
            count = sum(each[-1] for each in (*blocks, *segments))
            if not count:
                return 0
            with self._lake.store.write(self._tenant) as writer:
                writer.update(TAIL, ("data",), [(data, rowid) for rowid, data, _ in blocks])
                for old, new, _ in segments:
                    self._replace(writer, old, new)
                note(writer, count)
            self.remove_orphans(age_s=0)  # what was merged away holds the values too
            self._lake.store.scrub()
        return count

    def _erased_blocks(self, reader: Reader, entity_id: str) -> list[tuple[int, bytes, int]]:
        found = []
        for block in self._blocks(reader):
            events, count = without_values(_table([block]), entity_id)
            if count:
                found.append((int(block[0]), pack(rows_of(events)), count))
        return found

    def _erased_segments(
        self, reader: Reader, entity_id: str
    ) -> list[tuple[Segment, Segment, int]]:
        found = []
        for segment in self.segments(reader):
            if rows_of_entity(self.folder / segment.file, entity_id) == []:
                continue
            events = open_segment(self.folder, segment).read()
            events, count = without_values(events, entity_id)
            if count:
                found.append((segment, write_segment(self.folder, events), count))
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
        with self._lake.store.lock(f"journal {self._tenant}"):
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
            husks = [(each, write_husk(self.folder, each)) for each in reversed(chosen)]
            with self._lake.store.write(self._tenant) as writer:
                for segment, husk in husks:
                    self._replace(writer, segment, husk)
                note(writer, [segment for segment, _ in husks])
            for segment, _ in husks:
                remove_segment(self.folder, segment)
        return [segment for segment, _ in husks]

    def remove_orphans(self, *, age_s: float = ORPHAN_AGE_S) -> None:
        """Remove files that the store does not name, and no snapshot of the last hour can."""
        if not self.folder.is_dir():
            return
        with self._lake.store.read(self._tenant) as reader:
            named = {each.file for each in self.all_segments(reader)}
        limit = time_ns() - int(age_s * 1_000_000_000)
        for path in self.folder.iterdir():
            plain = path.name.removesuffix(".entities")
            if plain not in named and path.stat().st_mtime_ns < limit:
                path.unlink(missing_ok=True)

    # --- reading -------------------------------------------------------------------------------

    def _blocks(self, reader: Reader, *conditions: Compare) -> list[tuple[Any, ...]]:
        return reader.select(
            TAIL, (ROWID, *_TAIL_COLUMNS), self._ledger.own(*conditions), order_by=("first_seq",)
        )

    def segments(self, reader: Reader) -> list[Segment]:
        """Return the sealed segments that have their events, oldest first."""
        return [each for each in self.all_segments(reader) if not each.dropped]

    def all_segments(self, reader: Reader, *conditions: Compare) -> list[Segment]:
        """Return the sealed segments, oldest first, also those whose events were let go."""
        rows = reader.select(
            SEGMENTS, _SEGMENT_COLUMNS, self._ledger.own(*conditions), order_by=("first_seq",)
        )
        return [Segment(*row) for row in rows]  # type: ignore[arg-type]  # as the store has them

    def tail_events(self, reader: Reader) -> int:
        """Return how many events the store keeps."""
        rows = reader.select(TAIL, ("events",), self._ledger.own())
        return sum(int(row[0] or 0) for row in rows)

    def count(self, reader: Reader) -> int:
        """Return how many events there are."""
        return self.tail_events(reader) + sum(each.events for each in self.all_segments(reader))

    def scan(
        self, reader: Reader, columns: Sequence[str], filters: pc.Expression | None
    ) -> Iterator[pa.Table]:
        """Yield ``columns`` of every event that ``filters`` keeps, oldest first, some at a time."""
        names = list(columns)
        for segment in self.segments(reader):
            open_segment(self.folder, segment).close()
            source = pads.dataset(self.folder / segment.file, format="parquet")
            batches = source.to_batches(
                columns=names, filter=filters, batch_size=ROW_GROUP_EVENTS, batch_readahead=1,
                fragment_readahead=1,
            )  # fmt: skip
            for batch in batches:
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])
        tail = _table(self._blocks(reader))
        if tail.num_rows:
            yield (tail if filters is None else tail.filter(filters)).select(names)

    def of_entity(self, reader: Reader, entity_id: str, columns: Sequence[str]) -> pa.Table:
        """Return the events of one entity, oldest first, without reading those of others."""
        parts = []
        for segment in self.segments(reader):
            rows = rows_of_entity(self.folder / segment.file, entity_id)
            if rows is None:
                rows = list(range(segment.events))
            if rows:
                names = list(dict.fromkeys([*columns, "entity_id"]))
                parts.append(read_rows_at(self.folder, segment, rows, names))
        written = canonical(entity_id)
        blocks = [
            block
            for block in self._blocks(reader)
            if not block[4].startswith(b"[") or written in block[4] or b"\\u" in block[4]
        ]
        parts.append(_table(blocks))
        found = [
            part.filter(pc.equal(part["entity_id"], entity_id)).select(list(columns))
            for part in parts
        ]
        return pa.concat_tables(found).sort_by("seq")

    def newest(self, reader: Reader, limit: int) -> pa.Table:
        """Return the newest ``limit`` events, newest first."""
        parts, missing = [], limit
        blocks = reader.select(
            TAIL, (ROWID, *_TAIL_COLUMNS), self._ledger.own(), order_by=("first_seq",),
            descending=True, limit=max(limit, 1),
        )  # fmt: skip
        tail = _table(list(reversed(blocks)))
        parts.append(tail.slice(max(0, tail.num_rows - limit)))
        missing -= parts[0].num_rows
        for segment in reversed(self.segments(reader)):
            if missing <= 0:
                break
            rows = range(max(0, segment.events - missing), segment.events)
            parts.append(read_rows_at(self.folder, segment, rows, EVENTS_SCHEMA.names))
            missing -= len(rows)
        return pa.concat_tables(parts).sort_by([("seq", "descending")])

    # --- as entries of the ledger --------------------------------------------------------------

    def leaves(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of the events ``[first, end)``."""
        found: list[tuple[int, bytes]] = []
        bounds = (Compare("<", "first_seq", end), Compare(">=", "last_seq", first))
        for segment in self.all_segments(reader, *bounds):
            table = _between(open_segment(self.folder, segment), first, end, ["seq", "leaf_hash"])
            found += zip(table["seq"].to_pylist(), table["leaf_hash"].to_pylist(), strict=True)
        for _, low, _, count, _, leaves in self._blocks(reader, *bounds):
            for at in range(max(0, first - low), min(count, end - low)):
                found.append((low + at, leaves[at * _HASH_BYTES : (at + 1) * _HASH_BYTES]))
        return found

    def entries(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return the events ``[first, end)`` as entries, their bodies put together anew.

        Raises:
            LedgerCorruptError: A segment is missing or unreadable.
        """
        bounds = (Compare("<", "first_seq", end), Compare(">=", "last_seq", first))
        parts = [
            _between(open_segment(self.folder, segment), first, end, EVENTS_SCHEMA.names)
            for segment in self.all_segments(reader, *bounds)
        ]
        tail = _table(self._blocks(reader, *bounds))
        inside = pc.and_(pc.greater_equal(tail["seq"], first), pc.less(tail["seq"], end))
        parts.append(tail.filter(inside))
        shown = None if self._tenant == SHARED else self._tenant
        return [entry for part in parts for entry in _entries(part, shown)]


def _table(blocks: Sequence[tuple[Any, ...]]) -> pa.Table:
    try:
        return pa.Table.from_batches(
            [unpack(block[4], block[5]) for block in blocks], EVENTS_SCHEMA
        )
    except (ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        msg = f"the journal's tail cannot be read: {error}"
        raise LedgerCorruptError(msg) from error


def _between(file: Any, first: int, end: int, columns: list[str]) -> pa.Table:  # noqa: ANN401 - a ParquetFile
    """Return the events ``[first, end)`` of a segment, reading only their row groups."""
    groups = []
    for group in range(file.metadata.num_row_groups):
        span = file.metadata.row_group(group).column(0).statistics
        if span is None or (span.min < end and span.max >= first):
            groups.append(group)
    table = file.read_row_groups(groups, columns=columns)
    inside = pc.and_(pc.greater_equal(table["seq"], first), pc.less(table["seq"], end))
    return table.filter(inside)


def _entries(events: pa.Table, tenant: str | None) -> Iterator[StoredEntry]:
    """Yield events as ledger entries; a value that is not what was signed changes the body."""
    columns = dict(zip(EVENTS_SCHEMA.names, (c.to_pylist() for c in events.columns), strict=True))
    times = events["timestamp"].cast(pa.int64()).to_pylist()
    together: tuple[Any, ...] | None = None
    template = ""
    for at, seq in enumerate(columns["seq"]):
        if columns["action"][at] is None:
            yield StoredEntry(
                seq, b"", None, KIND, "", times[at], columns["leaf_hash"][at], gone=DROPPED
            )
            continue
        told = tuple(
            columns[name][at]
            for name in (
                "entity_type", "table_id", "actor", "source", "workspace_id", "reason", "tx_id",
            )
        )  # fmt: skip
        key = (*told, times[at])
        if key != together:
            together = key
            template = body_template(
                entity_type=told[0], table_id=told[1], tenant=tenant, actor=told[2],
                source=told[3], workspace=told[4], reason=told[5], tx_id=told[6], at_us=times[at],
            )  # fmt: skip
        digests = [
            _digest(columns["salt"][at], side, columns[name][at], columns[erased][at])
            for side, name, erased in (
                (NEW, "new_value", "new_digest"),
                (OLD, "old_value", "old_digest"),
            )
        ]
        body = template % (
            canonical(columns["action"][at]).decode(),
            canonical(columns["entity_id"][at]).decode(),
            seq,
            canonical(columns["field"][at]).decode(),
            digests[0],
            digests[1],
            seq,
        )
        yield StoredEntry(
            seq, body.encode(), None, KIND, event_id(times[at], seq), times[at],
            columns["leaf_hash"][at], gone="" if columns["salt"][at] is not None else ERASED,
        )  # fmt: skip


def _digest(salt: bytes | None, side: bytes, value: str | None, erased: bytes | None) -> str:
    if erased is not None:
        return f'"{erased.hex()}"'
    found = value_digest(salt or b"", side, value)
    return "null" if found is None else f'"{found}"'


class Journals:
    """The journals of one lake, by tenant.

    Attributes:
        wanted: Whether this session begins the journal of a tenant that has none yet.
        flush_threshold: How many events the store keeps before they are sealed.
    """

    def __init__(self, lake: Lake) -> None:
        self.wanted = False
        self.flush_threshold = FLUSH_THRESHOLD
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

    def sources(self, tenant: str) -> list[Journal]:
        """Return where the tenant's ledger finds the entries that stand here."""
        return [self.of(tenant)]
