"""Sealed segments of the journal: immutable Parquet files with an index on the entity.

A segment's file is sorted by ``seq`` and any Parquet reader reads it. Beside it lies an index: a
sorted list of its entities' 32-bit hashes, each with the row of an event, so that an entity's few
events are read without the others.

Rules:
    - A file is written and read a few row groups at a time, never as a whole.
    - A file has its name when it is whole, and is then named by the store; what no store row
      names is a crash's and is ignored.
    - A file that was replaced stays for a while: a snapshot may still read it.
"""

from __future__ import annotations

import hashlib
import re
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, Generic, TypeVar, overload
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from affidavit.catalog.journal.events import EVENTS_SCHEMA
from affidavit.catalog.journal.places import INDEX_SUFFIX, is_unreachable
from affidavit.catalog.ledger.merkle import Frontier
from affidavit.errors import LedgerCorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence
    from pathlib import Path

    from affidavit.catalog.journal.places import SegmentFolder

ROW_GROUP_EVENTS: Final = 2048
"""An entity's event costs reading this many, so they are few; fewer compress badly."""

GROUPS_AT_ONCE: Final = 16
"""How many row groups are written, or read of a whole file, at a time."""

SCANNED_AT_ONCE: Final = 64
"""How many row groups of an object are asked for at a time."""

FOOTERS_BYTES: Final = 128 * 1024 * 1024
"""How much memory the footers of segments that were read lately may take."""

INDEXES_BYTES: Final = 96 * 1024 * 1024
"""And the indexes that were fetched from an object store."""

_FOOTER_GROWTH: Final = 12
"""How many times larger a footer is in memory, as measured."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One sealed segment, as the store names it.

    Attributes:
        first_seq: Its first event.
        last_seq: Its last; entries in between that are no events stand in the ledger itself.
        events: How many it has.
        first_at: The time of the earliest, in microseconds since the epoch.
        last_at: And of the latest.
        sha256: Of the file.
        root: The Merkle root over its events' leaves.
        file: Its name in the tenant's folder.
        bytes: The file's size.
        dropped: Whether its events were let go, and only their leaves kept.
    """

    first_seq: int
    last_seq: int
    events: int
    first_at: int
    last_at: int
    sha256: bytes
    root: bytes
    file: str
    bytes: int
    dropped: int = 0


_NAME: Final = re.compile(r"\d+-\d+(\.[0-9a-f]{8})?\.parquet")
"""What a segment's file is called: no other file is ever opened or removed as one."""


def segment_of(row: Sequence[object]) -> Segment:
    """Return the segment that a row of the store names.

    Raises:
        LedgerCorruptError: A column has a value that sealing never puts there.
    """
    kinds = (int, int, int, int, int, bytes, bytes, str, int, int)
    typed = all(type(value) is kind for value, kind in zip(row, kinds, strict=True))
    if not typed or not _NAME.fullmatch(str(row[7])):
        seq = row[0] if type(row[0]) is int else None
        msg = f"what the store says of segment {row[7]!r} of the journal is unreadable"
        raise LedgerCorruptError(msg, seq=seq)
    return Segment(*row)  # type: ignore[arg-type]  # as was just checked


# --- the index on entities ------------------------------------------------------------------------


def entity_hash(entity_id: str) -> int:
    """Return the 32-bit hash that the index sorts by."""
    return crc32(entity_id.encode())


def index_of(
    entities: pa.ChunkedArray, first_row: int
) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return the entries for events that begin at ``first_row``, unsorted: hash, then row."""
    if entities.null_count:  # a husk, which is about nobody
        return np.zeros(0, dtype="<u8")
    coded = entities.combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    hashes = np.fromiter(map(entity_hash, coded.dictionary.to_pylist()), dtype="<u8")
    rows = np.arange(first_row, first_row + len(entities), dtype="<u8")
    found: np.ndarray[tuple[int], np.dtype[np.uint64]]
    found = (hashes[coded.indices.to_numpy(zero_copy_only=False)] << np.uint64(32)) | rows
    return found


class _Index:
    """An index as a sequence that is read where it is asked.

    It is not mapped into memory: whoever cuts a mapped file short ends the process.
    """

    def __init__(self, file: pa.NativeFile, size: int) -> None:
        self._file = file
        self._size = size // 8

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> list[int]: ...
    def __getitem__(self, at: int | slice) -> int | list[int]:
        if isinstance(at, slice):
            first, end, _ = at.indices(self._size)
            found: list[int] = np.frombuffer(self._read(first, end - first), dtype="<u8").tolist()
            return found
        return int.from_bytes(self._read(at, 1), "little")

    def _read(self, first: int, count: int) -> bytes:
        read: bytes = self._file.read_at(8 * count, 8 * first)
        return read


def rows_in(index: _Index, entity_id: str) -> list[int]:
    """Return the rows that an index has for an entity, ascending."""
    wanted = entity_hash(entity_id)
    low = bisect_left(index, wanted << 32)
    high = bisect_left(index, (wanted + 1) << 32, lo=low)
    return [entry & 0xFFFFFFFF for entry in index[low:high]]


# --- writing --------------------------------------------------------------------------------------

_DICTIONARIES: Final = [
    "entity_type", "field", "action", "actor", "source", "workspace_id", "tx_id", "reason",
    "table_id",
]  # fmt: skip
_STATISTICS: Final = ["seq", "timestamp", "entity_type", "field", "action", "actor", "source"]


@dataclass(slots=True)
class _Written:
    """What is known of a segment's events while they are written."""

    seqs: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    events: int = 0
    frontier: Frontier = field(default_factory=Frontier)
    index: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = field(default_factory=list)

    def sorted_index(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """Return the index, once all events are noted."""
        whole = np.concatenate(self.index)
        self.index.clear()
        whole.sort()
        return whole

    def add(self, events: pa.Table) -> None:
        """Note some more events."""
        times = pc.min_max(events["timestamp"].cast(pa.int64())).as_py()
        self.seqs += [events["seq"][0].as_py(), events["seq"][-1].as_py()]
        self.times += [times["min"], times["max"]]
        self.index.append(index_of(events["entity_id"], self.events))
        self.frontier = self.frontier.extended(events["leaf_hash"].to_pylist())[0]
        self.events += events.num_rows

    def follows(self, events: pa.Table) -> bool:
        """Return whether ``events`` are in order, and after those that were noted."""
        before = [*self.seqs[-1:], *events["seq"].to_pylist()]
        return all(one < other for one, other in pairwise(before))

    def segment(self, sha256: bytes, file: str, size: int) -> Segment:
        """Return what the store says of a segment of the events that were noted."""
        return Segment(
            self.seqs[0], self.seqs[-1], self.events, min(self.times), max(self.times), sha256,
            self.frontier.root, file, size,
        )  # fmt: skip


def write_segment(folder: SegmentFolder, events: Iterable[pa.Table]) -> Segment:
    """Write ``events``, in the order of ``seq``, as a segment in ``folder``; nothing names it yet.

    Raises:
        StoreError: The folder cannot be written.
    """
    asides: list[Path] = []
    try:
        asides += [folder.aside(), folder.aside()]
        data, index = asides
        told = _write_events(data, events)
        told.sorted_index().tofile(index)
        digest, size = _digest(data)
        name = f"{told.seqs[0]}-{told.seqs[-1]}.parquet"
        if folder.has(name):  # the same events, written anew after an erasure
            name = f"{told.seqs[0]}-{told.seqs[-1]}.{digest.hex()[:8]}.parquet"
        folder.put(index, f"{name}{INDEX_SUFFIX}")
        folder.put(data, name)
    except OSError as error:
        msg = f"a segment of the journal cannot be written in {folder}: {error}"
        raise StoreError(msg) from error
    finally:
        for each in asides:
            each.unlink(missing_ok=True)
    return told.segment(digest, name, size)


def _write_events(path: Path, events: Iterable[pa.Table]) -> _Written:
    told = _Written()
    with pq.ParquetWriter(
        path, EVENTS_SCHEMA, compression="zstd", use_dictionary=_DICTIONARIES,
        write_statistics=_STATISTICS, sorting_columns=[pq.SortingColumn(0)],
    ) as writer:  # fmt: skip
        for part in _regrouped(events, GROUPS_AT_ONCE * ROW_GROUP_EVENTS):
            writer.write_table(part, row_group_size=ROW_GROUP_EVENTS)
            told.add(part)
    return told


def _regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the same rows in tables of ``rows`` each; the last may have fewer."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        if count >= rows:
            whole = pa.concat_tables(waiting)
            full = count - count % rows
            yield from (whole.slice(at, rows) for at in range(0, full, rows))
            waiting, count = [whole.slice(full)], count - full
    if count:
        yield pa.concat_tables(waiting)


def _digest(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest(), path.stat().st_size


def _misstated(metadata: pq.RowGroupMetaData, events: pa.Table) -> str | None:
    """Return the first column of a row group whose statistics are not of its values."""
    for at, (name, values) in enumerate(zip(events.schema.names, events.columns, strict=True)):
        told = metadata.column(at).statistics
        if told is None:
            continue
        stated = (told.min, told.max) if told.has_min_max else (None, None)
        real = pc.min_max(values).as_py() if told.has_min_max else {"min": None, "max": None}
        nulls = told.null_count if told.has_null_count else values.null_count
        if (*stated, nulls) != (real["min"], real["max"], values.null_count):
            return str(name)
    return None


_KEPT: Final = {"seq", "timestamp", "leaf_hash"}


def husk_of(events: pa.Table) -> pa.Table:
    """Return the numbers, times and leaves of events without the rest: proofs need no more."""
    arrays = [
        events[each.name] if each.name in _KEPT else pa.nulls(events.num_rows, each.type)
        for each in EVENTS_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=EVENTS_SCHEMA)


def remove_segment(folder: SegmentFolder, segment: Segment) -> None:
    """Remove a segment's files.

    Raises:
        StoreError: They cannot be removed.
    """
    try:
        for name in (segment.file, f"{segment.file}{INDEX_SUFFIX}"):
            folder.remove(name)
    except OSError as error:
        msg = f"segment {segment.file} of the journal cannot be removed from {folder}: {error}"
        raise StoreError(msg) from error


# --- reading --------------------------------------------------------------------------------------


Value = TypeVar("Value")


class Recent(Generic[Value]):
    """What was used last, as far as the budget goes. Safe across threads."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """Return what was put under ``key``, if it is still here."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Keep ``value``, which takes ``size`` bytes, until others need the room."""
        with self._lock:
            self._bytes += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = (value, size)
            while self._bytes > self._budget_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]


class _Footer:
    """What a segment's footer says, parsed once.

    Attributes:
        fragment: The file, as a scan takes it.
        metadata: The footer.
        ends: How many rows there are up to the end of each row group.
        spans: The first and last number in each; -1 where it says none.
    """

    def __init__(self, fragment: pads.ParquetFileFragment) -> None:
        self.fragment = fragment
        self.metadata = fragment.metadata

        groups = [self.metadata.row_group(at) for at in range(self.metadata.num_row_groups)]
        stated = [group.column(0).statistics for group in groups]
        self.ends = list(accumulate(group.num_rows for group in groups))
        self.spans = [(-1, -1) if each is None else (each.min, each.max) for each in stated]


class SegmentCache:
    """What a lake remembers of the segments that were read lately."""

    def __init__(self) -> None:
        self.footers: Recent[_Footer] = Recent(FOOTERS_BYTES)
        self.indexes: Recent[bytes] = Recent(INDEXES_BYTES)


class SegmentReader:
    """Reads the segments of one folder.

    Its methods raise LedgerCorruptError where a segment is missing or is no file of events, and
    StoreError where the folder cannot be reached.
    """

    def __init__(self, folder: SegmentFolder, cache: SegmentCache) -> None:
        self.folder = folder
        self._cache = cache

    def scan(
        self, segment: Segment, columns: Sequence[str], filters: pc.Expression | None
    ) -> Iterator[pa.Table]:
        """Yield ``columns`` of the events that ``filters`` keeps, some at a time."""
        with self._translated(segment):
            file, footer = self._open(segment)
            file.close()
            fragment = footer.fragment if filters is None else footer.fragment.subset(filters)
            groups = [group.id for group in fragment.row_groups]
            options = pads.ParquetFragmentScanOptions(pre_buffer=self.folder.is_remote)
            for at in range(0, len(groups), SCANNED_AT_ONCE):
                part = footer.fragment.subset(row_group_ids=groups[at : at + SCANNED_AT_ONCE])
                for batch in part.to_batches(
                    schema=EVENTS_SCHEMA, columns=list(columns), filter=filters,
                    batch_size=GROUPS_AT_ONCE * ROW_GROUP_EVENTS, batch_readahead=2,
                    fragment_readahead=1, fragment_scan_options=options,
                ):  # fmt: skip
                    if batch.num_rows:
                        yield pa.Table.from_batches([batch])

    def between(
        self, segment: Segment, first: int, end: int, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield the events ``[first, end)``, reading only the row groups that they are in."""
        with self._translated(segment):
            file, footer = self._open(segment)
            with file:
                spans = enumerate(footer.spans)
                groups = [at for at, (low, high) in spans if low < end and high >= first]
                for table in self._read(file, footer, groups, columns):
                    inside = pc.and_(
                        pc.greater_equal(table["seq"], first), pc.less(table["seq"], end)
                    )
                    yield table.filter(inside)

    def of_entities(
        self, segment: Segment, entities: Sequence[str], columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield the events of some entities, reading only the row groups that they are in."""
        wanted = pa.array(entities, pa.string())
        rows = self._rows(segment, entities)
        if rows is None:
            yield from self.scan(segment, columns, pc.field("entity_id").isin(wanted))
            return
        if not rows:
            return
        with self._translated(segment):
            file, footer = self._open(segment)
            with file:
                groups = sorted({bisect_right(footer.ends, row) for row in rows})
                for table in self._read(file, footer, groups, columns):
                    yield table.filter(pc.is_in(table["entity_id"], wanted))

    def last(
        self, segment: Segment, count: int, end: int, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield the last ``count`` events before ``end``, and maybe some around them."""
        with self._translated(segment):
            file, footer = self._open(segment)
            with file:
                groups: list[int] = []
                for at in reversed(range(len(footer.spans))):
                    low, high = footer.spans[at]
                    if count > 0 and low < end:
                        groups.insert(0, at)
                        count -= footer.metadata.row_group(at).num_rows if high < end else 0
                yield from self._read(file, footer, groups, columns)

    def whole(self, segment: Segment) -> Iterator[pa.Table]:
        """Yield every event, a few row groups at a time, of the very file that was sealed."""
        with self._translated(segment), self.folder.fetched(segment.file) as path:
            if _digest(path)[0] != segment.sha256:
                msg = f"segment {segment.file} of the journal is not the file that was sealed"
                raise LedgerCorruptError(msg, seq=segment.first_seq)
            with pq.ParquetFile(path) as file:
                groups = range(file.num_row_groups)
                for at in groups[::GROUPS_AT_ONCE]:
                    yield file.read_row_groups(list(groups[at : at + GROUPS_AT_ONCE]))

    def fault(self, segment: Segment) -> str | None:
        """Return what is wrong with a segment's file, its index or its row in the store.

        Whoever changes a file can write down its new hash too. So what readers trust to pass
        events over is put together anew: their order, the statistics, the index.
        """
        name = f"segment {segment.file} of the journal"
        with self._translated(segment), self.folder.fetched(segment.file) as path:
            digest, size = _digest(path)
            with pq.ParquetFile(path) as file:
                if not file.schema_arrow.equals(EVENTS_SCHEMA):
                    return f"{name} has other columns"
                told, nameless = _Written(), 0
                for at in range(file.num_row_groups):
                    group = file.read_row_group(at)
                    wrong = _misstated(file.metadata.row_group(at), group)
                    if wrong is not None:
                        return f"{name} has wrong statistics of {wrong!r}"
                    if not told.follows(group):
                        return f"{name} is not sorted"
                    told.add(group)
                    nameless += group["action"].null_count
        found = told.segment(digest, segment.file, size)
        if replace(found, dropped=segment.dropped) != segment:
            return f"{name} is not what the store says that was sealed"
        if (segment.dropped, nameless) not in {(0, 0), (1, found.events)}:
            return f"{name} has events, and the store says that they were let go, or otherwise"
        return self._index_fault(segment, told)

    def _index_fault(self, segment: Segment, told: _Written) -> str | None:
        """Return what is wrong with an index that readers would use."""
        name = f"{segment.file}{INDEX_SUFFIX}"
        try:
            with self.folder.open(name)[0] as file:
                data = bytes(file.read())
        except FileNotFoundError:
            return None  # the segment itself is read
        except OSError as error:
            raise self._unreadable(name, error) from error
        if len(data) == segment.events * 8 and data != told.sorted_index().tobytes():
            return f"the journal's index {name} is not that of its segment"
        return None

    def _read(
        self, file: pa.NativeFile, footer: _Footer, groups: list[int], columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        source = pq.ParquetFile(file, metadata=footer.metadata, pre_buffer=self.folder.is_remote)
        for at in range(0, len(groups), GROUPS_AT_ONCE):
            yield source.read_row_groups(groups[at : at + GROUPS_AT_ONCE], columns=list(columns))

    def _open(self, segment: Segment) -> tuple[pa.NativeFile, _Footer]:
        file, stamp = self.folder.open(segment.file)
        key = (self.folder.path(segment.file), segment.sha256, stamp)
        footer = self._cache.footers.get(key)
        if footer is None:
            fragment = pads.ParquetFileFormat().make_fragment(key[0], self.folder.filesystem)
            fragment.ensure_complete_metadata()
            if fragment.physical_schema.names != EVENTS_SCHEMA.names:
                msg = f"segment {segment.file} of the journal has other columns"
                raise LedgerCorruptError(msg, seq=segment.first_seq)
            footer = _Footer(fragment)
            first, last = (footer.spans or [(-1, -1)])[0], (footer.spans or [(-1, -1)])[-1]
            told = (first[0], last[1], footer.metadata.num_rows)
            if told != (segment.first_seq, segment.last_seq, segment.events):
                msg = f"segment {segment.file} of the journal has other events than were sealed"
                raise LedgerCorruptError(msg, seq=segment.first_seq)
            size = footer.metadata.serialized_size * _FOOTER_GROWTH
            self._cache.footers.put(key, footer, size)
        return file, footer

    def _rows(self, segment: Segment, entities: Sequence[str]) -> list[int] | None:
        """Return the rows that may be about some entities; ``None`` if no index says."""
        name = f"{segment.file}{INDEX_SUFFIX}"
        try:
            with self._index(name) as file:
                size = file.size()
                if size != segment.events * 8:
                    return None
                return [row for each in entities for row in rows_in(_Index(file, size), each)]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(name, error) from error

    def _unreadable(self, index: str, error: OSError) -> StoreError:
        return StoreError(f"the journal's index {index} cannot be read from {self.folder}: {error}")

    def _index(self, name: str) -> pa.NativeFile:
        if not self.folder.is_remote:
            return self.folder.open(name)[0]
        key = self.folder.path(name)
        data = self._cache.indexes.get(key)
        if data is None:
            with self.folder.open(name)[0] as file:
                data = file.read()
            self._cache.indexes.put(key, data, len(data))
        return pa.BufferReader(data)

    @contextmanager
    def _translated(self, segment: Segment) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            msg = f"segment {segment.file} of the journal is missing from {self.folder}"
            raise LedgerCorruptError(msg, seq=segment.first_seq) from error
        except (OSError, pa.ArrowException) as error:
            if is_unreachable(error):
                msg = f"the journal's segments at {self.folder} cannot be read: {error}"
                raise StoreError(msg) from error
            msg = f"segment {segment.file} of the journal cannot be read: {error}"
            raise LedgerCorruptError(msg, seq=segment.first_seq) from error
