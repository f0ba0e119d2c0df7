"""Reading segments: a few row groups at a time, and those alone that have what is asked for."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from affidavit.catalog.journal.events import EVENTS_SCHEMA, PLAIN_SCHEMA, completed
from affidavit.catalog.journal.segments.index import Index, rows_in
from affidavit.catalog.journal.segments.places import INDEX_SUFFIX, is_unreachable
from affidavit.catalog.journal.segments.remembered import Footer
from affidavit.catalog.journal.segments.writing import GROUPS_AT_ONCE, ROW_GROUP_EVENTS, digest_of
from affidavit.errors import LedgerCorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.journal.segments.places import SegmentFolder
    from affidavit.catalog.journal.segments.remembered import SegmentCache
    from affidavit.catalog.journal.segments.segment import Segment

SCANNED_AT_ONCE: Final = 64
"""How many row groups of an object are asked for at a time."""


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
        with self.translated(segment):
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
        with self.translated(segment):
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
        with self.translated(segment):
            file, footer = self._open(segment)
            with file:
                groups = sorted({bisect_right(footer.ends, row) for row in rows})
                for table in self._read(file, footer, groups, columns):
                    yield table.filter(pc.is_in(table["entity_id"], wanted))

    def last(
        self, segment: Segment, count: int, end: int, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield the last ``count`` events before ``end``, and maybe some around them."""
        with self.translated(segment):
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
        with self.translated(segment), self.folder.fetched(segment.file) as path:
            if digest_of(path)[0] != segment.sha256:
                msg = f"segment {segment.file} of the journal is not the file that was sealed"
                raise LedgerCorruptError(msg, seq=segment.first_seq)
            with pq.ParquetFile(path) as file:
                groups = range(file.num_row_groups)
                for at in groups[::GROUPS_AT_ONCE]:
                    part = file.read_row_groups(list(groups[at : at + GROUPS_AT_ONCE]))
                    yield completed(part, EVENTS_SCHEMA.names)

    def _read(
        self, file: pa.NativeFile, footer: Footer, groups: list[int], columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        source = pq.ParquetFile(file, metadata=footer.metadata, pre_buffer=self.folder.is_remote)
        for at in range(0, len(groups), GROUPS_AT_ONCE):
            part = source.read_row_groups(groups[at : at + GROUPS_AT_ONCE], columns=list(columns))
            yield completed(part, columns)

    def _open(self, segment: Segment) -> tuple[pa.NativeFile, Footer]:
        file, stamp = self.folder.open(segment.file)
        key = (self.folder.path(segment.file), segment.sha256, stamp)
        footer = self._cache.footers.get(key)
        if footer is None:
            fragment = pads.ParquetFileFormat().make_fragment(key[0], self.folder.filesystem)
            fragment.ensure_complete_metadata()
            if fragment.physical_schema.names not in (PLAIN_SCHEMA.names, EVENTS_SCHEMA.names):
                msg = f"segment {segment.file} of the journal has other columns"
                raise LedgerCorruptError(msg, seq=segment.first_seq)
            footer = Footer(fragment)
            first, last = (footer.spans or [(-1, -1)])[0], (footer.spans or [(-1, -1)])[-1]
            told = (first[0], last[1], footer.metadata.num_rows)
            if told != (segment.first_seq, segment.last_seq, segment.events):
                msg = f"segment {segment.file} of the journal has other events than were sealed"
                raise LedgerCorruptError(msg, seq=segment.first_seq)
            self._cache.footers.put(key, footer, footer.nbytes)
        return file, footer

    def _rows(self, segment: Segment, entities: Sequence[str]) -> list[int] | None:
        """Return the rows that may be about some entities; ``None`` if no index says."""
        name = f"{segment.file}{INDEX_SUFFIX}"
        try:
            with self._index(name) as file:
                size = file.size()
                if size != segment.events * 8:
                    return None
                return [row for each in entities for row in rows_in(Index(file, size), each)]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.unreadable(name, error) from error

    def unreadable(self, index: str, error: OSError) -> StoreError:
        """Return the error that says that an index cannot be read."""
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
    def translated(self, segment: Segment) -> Iterator[None]:
        """Turn what the folder and Arrow raise into this tree, with the segment named."""
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
