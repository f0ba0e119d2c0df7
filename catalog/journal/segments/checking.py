"""What is wrong with how a segment is kept that no event's own leaf tells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from affidavit.catalog.journal.segments.index import Index
from affidavit.catalog.journal.segments.places import INDEX_SUFFIX
from affidavit.catalog.journal.segments.writing import Written, digest_of

if TYPE_CHECKING:
    from affidavit.catalog.journal.segments.reading import SegmentReader
    from affidavit.catalog.journal.segments.segment import Segment


def fault(reader: SegmentReader, segment: Segment) -> str | None:
    """Return what is wrong with a segment's file, its index or its row in the store.

    Whoever changes a file can write down its new hash too. So what readers trust to pass
    rows over is put together anew: their order, the statistics, the index.
    """
    form = reader.form
    name = f"segment {segment.file} of {form.whose}"
    with reader.translated(segment), reader.folder.fetched(segment.file) as path:
        digest, size = digest_of(path)
        if (digest, size) != (segment.sha256, segment.bytes):
            # read no further: Arrow ends the process over some bytes that were flipped
            return f"{name} is not what the store says that was sealed"
        with pq.ParquetFile(path) as file:
            if not any(map(file.schema_arrow.equals, (form.schema, form.least))):
                return f"{name} has other columns"
            told, nameless = Written(form), 0
            for at in range(file.num_row_groups):
                group = file.read_row_group(at)
                wrong = _misstated(file.metadata.row_group(at), group)
                if wrong is not None:
                    return f"{name} has wrong statistics of {wrong!r}"
                if not told.follows(group):
                    return f"{name} is not sorted"
                wrong = form.wrong(group)
                if wrong is not None:
                    return f"{name} {wrong}"
                told.add(group)
                nameless += group[form.told].null_count
    found = told.segment(digest, segment.file, size)
    if replace(found, dropped=segment.dropped) != segment:
        return f"{name} is not what the store says that was sealed"
    if segment.dropped and nameless < found.events:
        return f"{name} has {form.rows}, and the store says that they were let go"
    return _index_fault(reader, segment, told)


def _index_fault(reader: SegmentReader, segment: Segment, told: Written) -> str | None:
    """Return what is wrong with an index that readers would use."""
    name = f"{segment.file}{INDEX_SUFFIX}"
    try:
        with reader.folder.open(name)[0] as file:
            data = bytes(file.read())
    except FileNotFoundError:
        return None  # the segment itself is read
    except OSError as error:
        raise reader.unreadable(name, error) from error
    index = Index(pa.BufferReader(data), len(data))
    is_used = index.is_whole(segment.events if reader.form.one_posting else None)
    if is_used and data != told.sorted_index().tobytes():
        return f"{reader.form.whose}'s index {name} is not that of its segment"
    return None


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
