"""Reading segments: a few row groups at a time, and those alone that have what is asked for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from itertools import groupby, islice
from typing import TYPE_CHECKING, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from affidavit.catalog.journal.segments.index import Index, rows_in
from affidavit.catalog.journal.segments.places import INDEX_SUFFIX, is_unreachable
from affidavit.catalog.journal.segments.remembered import Footer
from affidavit.catalog.journal.segments.writing import GROUPS_AT_ONCE, digest_of
from affidavit.errors import LedgerCorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from affidavit.catalog.journal.segments.form import Form
    from affidavit.catalog.journal.segments.places import SegmentFolder
    from affidavit.catalog.journal.segments.remembered import SegmentCache
    from affidavit.catalog.journal.segments.segment import Segment

SCANNED_AT_ONCE: Final = 64
"""How many row groups of an object are asked for at a time."""

Each = TypeVar("Each")


class SegmentReader:
    """Reads the segments of one folder, which are of one form.

    Its methods raise LedgerCorruptError where a segment is missing or is no file of that form, and
    StoreError where the folder cannot be reached.
    """

    def __init__(self, folder: SegmentFolder, form: Form, cache: SegmentCache) -> None:
        self.folder = folder
        self.form = form
        self._cache = cache

    def look(self, segment: Segment) -> None:
        """Make sure that a segment's file is there, and says that it has the rows it should."""
        with self.translated(segment):
            self._open(segment)[0].close()

    def scan(
        self, segment: Segment, columns: Sequence[str], filters: pc.Expression | None
    ) -> Iterator[pa.Table]:
        """Yield ``columns`` of the rows that ``filters`` keeps, some at a time."""
        with self.translated(segment):
            file, footer = self._open(segment)
            file.close()
            fragment = footer.fragment if filters is None else footer.fragment.subset(filters)
            groups = [group.id for group in fragment.row_groups]
            for at in range(0, len(groups), SCANNED_AT_ONCE):
                part = groups[at : at + SCANNED_AT_ONCE]
                yield from self._scanned(footer, part, columns, filters)

    def scan_few(
        self,
        segment: Segment,
        columns: Sequence[str],
        filters: pc.Expression | None,
        *,
        descending: bool,
    ) -> Iterator[pa.Table]:
        """Do what :meth:`scan` does, a row group at a time, and no more than is asked for.

        Within each table rows are in their order, also where the last one comes first.
        """
        with self.translated(segment):
            file, footer = self._open(segment)
            file.close()
            fragment = footer.fragment if filters is None else footer.fragment.subset(filters)
            groups = [group.id for group in fragment.row_groups]
            for at in reversed(groups) if descending else groups:
                part = footer.fragment.subset(row_group_ids=[at])
                found = part.to_table(
                    schema=self.form.schema, columns=list(columns), filter=filters,
                    use_threads=False,
                )  # fmt: skip
                if found.num_rows:
                    yield found

    def count(self, segment: Segment, filters: pc.Expression | None) -> int:
        """Return how many rows ``filters`` keeps, told by the statistics where these do tell."""
        with self.translated(segment):
            file, footer = self._open(segment)
            file.close()
            found: int = footer.fragment.count_rows(filter=filters, use_threads=False)
            return found

    def _scanned(
        self,
        footer: Footer,
        groups: list[int],
        columns: Sequence[str],
        filters: pc.Expression | None,
    ) -> Iterator[pa.Table]:
        part = footer.fragment.subset(row_group_ids=groups)
        options = pads.ParquetFragmentScanOptions(pre_buffer=self.folder.is_remote)
        for batch in part.to_batches(
            schema=self.form.schema, columns=list(columns), filter=filters,
            batch_size=GROUPS_AT_ONCE * self.form.group_rows, batch_readahead=2,
            fragment_readahead=1, fragment_scan_options=options,
        ):  # fmt: skip
            if batch.num_rows:
                yield pa.Table.from_batches([batch])

    def between(
        self, segment: Segment, first: int, end: int, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield the rows ``[first, end)``, reading only the row groups that they are in."""
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

    def numbered(
        self, segment: Segment, seqs: Sequence[int], columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield the rows of these numbers, reading only the row groups that they are in."""
        wanted = pa.array(seqs, pa.int64())
        with self.translated(segment):
            file, footer = self._open(segment)
            with file:
                groups = [
                    at
                    for at, (low, high) in enumerate(footer.spans)
                    if bisect_left(seqs, low) < bisect_right(seqs, high)
                ]
                for table in self._read(file, footer, groups, columns):
                    yield table.filter(pc.is_in(table["seq"], wanted))

    def rows_of(self, segment: Segment, hashes: Iterable[int]) -> list[int] | None:
        """Return the rows, ascending, that the index has for hashes; ``None`` if no index says."""
        name = f"{segment.file}{INDEX_SUFFIX}"
        try:
            with self._index(name) as file:
                index = Index(file, file.size())
                if not index.is_whole(segment.events if self.form.one_posting else None):
                    return None
                found = {row for each in hashes for row in rows_in(index, each)}
                return sorted(row for row in found if row < segment.events)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.unreadable(name, error) from error

    def at(
        self, segment: Segment, rows: Sequence[int], columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield the rows at these places, ascending, reading only their row groups."""
        if not rows:
            return
        with self.translated(segment):
            file, footer = self._open(segment)
            starts = [0, *footer.ends]
            with file:
                groups = groupby(rows, lambda row: bisect_right(footer.ends, row))
                for some in _batched(((at, list(each)) for at, each in groups), GROUPS_AT_ONCE):
                    tables = self._read(file, footer, [at for at, _ in some], columns)
                    places, before = [], 0
                    for at, each in some:
                        places += [before + row - starts[at] for row in each]
                        before += starts[at + 1] - starts[at]
                    for table in tables:  # one, of so few row groups
                        yield table.take(pa.array(places, pa.int64()))

    def last(
        self, segment: Segment, count: int, end: int, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield the last ``count`` rows before ``end``, and maybe some around them."""
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
        """Yield every row, a few row groups at a time, of the very file that was sealed."""
        with self.translated(segment), self.folder.fetched(segment.file) as path:
            if digest_of(path)[0] != segment.sha256:
                msg = f"segment {segment.file} of {self.form.whose} is not the file that was sealed"
                raise LedgerCorruptError(msg, seq=segment.first_seq)
            with pq.ParquetFile(path) as file:
                groups = range(file.num_row_groups)
                for at in groups[::GROUPS_AT_ONCE]:
                    part = file.read_row_groups(list(groups[at : at + GROUPS_AT_ONCE]))
                    yield self.form.completed(part, self.form.schema.names)

    def _read(
        self, file: pa.NativeFile, footer: Footer, groups: list[int], columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        source = pq.ParquetFile(file, metadata=footer.metadata, pre_buffer=self.folder.is_remote)
        for at in range(0, len(groups), GROUPS_AT_ONCE):
            part = source.read_row_groups(groups[at : at + GROUPS_AT_ONCE], columns=list(columns))
            yield self.form.completed(part, columns)

    def _open(self, segment: Segment) -> tuple[pa.NativeFile, Footer]:
        file, stamp = self.folder.open(segment.file)
        key = (self.folder.path(segment.file), segment.sha256, stamp)
        footer = self._cache.footers.get(key)
        if footer is None:
            fragment = pads.ParquetFileFormat().make_fragment(key[0], self.folder.filesystem)
            fragment.ensure_complete_metadata()
            if fragment.physical_schema.names not in self.form.names:
                msg = f"segment {segment.file} of {self.form.whose} has other columns"
                raise LedgerCorruptError(msg, seq=segment.first_seq)
            footer = Footer(fragment)
            first, last = (footer.spans or [(-1, -1)])[0], (footer.spans or [(-1, -1)])[-1]
            told = (first[0], last[1], footer.metadata.num_rows)
            if told != (segment.first_seq, segment.last_seq, segment.events):
                msg = (
                    f"segment {segment.file} of {self.form.whose} has other {self.form.rows} than "
                    "were sealed"
                )
                raise LedgerCorruptError(msg, seq=segment.first_seq)
            self._cache.footers.put(key, footer, footer.nbytes)
        return file, footer

    def unreadable(self, index: str, error: OSError) -> StoreError:
        """Return the error that says that an index cannot be read."""
        whose = self.form.whose
        return StoreError(f"{whose}'s index {index} cannot be read from {self.folder}: {error}")

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
        whose = self.form.whose
        try:
            yield
        except FileNotFoundError as error:
            msg = f"segment {segment.file} of {whose} is missing from {self.folder}"
            raise LedgerCorruptError(msg, seq=segment.first_seq) from error
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            if is_unreachable(error):
                msg = f"{whose}'s segments at {self.folder} cannot be read: {error}"
                raise StoreError(msg) from error
            msg = f"segment {segment.file} of {whose} cannot be read: {error}"
            raise LedgerCorruptError(msg, seq=segment.first_seq) from error


def _batched(values: Iterable[Each], size: int) -> Iterator[list[Each]]:
    """Yield ``values`` in lists of ``size``; the last may have fewer."""
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some
