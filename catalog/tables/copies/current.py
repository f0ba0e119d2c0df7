"""The copy of a mutable table in memory, as its rows are now: read whole once, then patched.

Rules:
    - A copy holds committed rows alone.
    - One that was patched has the sum of rows that the ledger's head states of the table, where it
      states one. Else it is given up, and the table read anew.
    - Rows are in the order of their identities, as the store gives them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from affidavit.catalog.lake.cache import IN_FILE_ROWS_MIN, TableCopy
from affidavit.catalog.sql.predicate import And, Compare, In
from affidavit.catalog.store.covering.elements import object_name, rows_sum
from affidavit.catalog.store.covering.multiset import MASK
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.constraints.stored import as_stored
from affidavit.catalog.tables.copies.changed import changed_since
from affidavit.catalog.tables.copies.files import PART_ROWS, mapped, stated
from affidavit.catalog.tables.rows import KEYS_MAX, ROWID_FIELD, definition_of, read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.tables.copies.changed import Ranges

_LEAST, _MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max

PATCHED_SHARE: Final = 4
"""Of a table of which more than one row in so many changed, a new copy is read."""


def current_copy(lake: Lake, reader: Reader, info: TableInfo) -> TableCopy | None:
    """Return the copy of a table as ``reader`` has it, if there is one that leads there."""
    held = lake.cache.newest(info.table_id)
    if held is None and info.row_count >= IN_FILE_ROWS_MIN:
        held = mapped(lake, reader, info)
        if held is not None:
            lake.cache.put(held)
    if held is None or held.version == info.version:
        return held
    made = _patched(held, reader, info) if held.version < info.version else None
    return made and (lake.cache.put(made) or made)


def read_copy(reader: Reader, info: TableInfo) -> TableCopy:
    """Return a copy of a table, read whole."""
    names = [ROWID, *definition_of(info).schema.names]
    return TableCopy(info, read_table(reader, info, names), stated(reader, info))


def _patched(held: TableCopy, reader: Reader, info: TableInfo) -> TableCopy | None:
    """Return a copy with what changed since, ``None`` where that is unknown or too much."""
    ranges = changed_since(reader, info, held.version)
    if ranges is None:
        return None
    if held.data.schema != definition_of(info).schema:
        return None
    changed = int((ranges[:, 1] - ranges[:, 0]).sum())
    if changed * PATCHED_SHARE > max(info.row_count, held.rows.num_rows):
        return None
    now = _read(reader, info, ranges)
    went: list[pa.RecordBatch] = []
    came: list[pa.RecordBatch] = []
    batches = list(_replaced(held.rows, ranges, now, went, came))
    rows = pa.Table.from_batches(batches, held.rows.schema)
    total = stated(reader, info)
    if (held.total is None) != (total is None) or rows.num_rows != info.row_count:
        return None
    if held.total is not None:
        gone = _sum(info, pa.Table.from_batches(went, rows.schema))
        if (held.total - gone + _sum(info, now)) & MASK != total:
            return None
    size = min(rows.nbytes, held.size + sum(batch.nbytes for batch in came))
    return TableCopy(info, rows, total, in_file=held.in_file, size=size)


def _sum(info: TableInfo, rows: pa.Table) -> int:
    """Return the sum of rows as the store has them."""
    table = definition_of(info).store_table
    rowids = rows[ROWID].to_pylist()
    stored = as_stored(info, rows.drop_columns([ROWID]), rowids)
    values = dict(zip(stored.names, stored.columns, strict=True))
    columns = table.covered
    members = zip(*(values[name] for name in columns), strict=True)
    return rows_sum(table, object_name(table), columns, members)


def _read(reader: Reader, info: TableInfo, ranges: Ranges) -> pa.Table:
    """Return the rows whose identities are in ``ranges``, as they are now."""
    names = [ROWID, *definition_of(info).schema.names]
    schema = pa.schema([ROWID_FIELD, *definition_of(info).schema])
    found = [read_table(reader, info, names, where) for where in _conditions(ranges)]
    return pa.concat_tables([schema.empty_table(), *found]).combine_chunks()


def _conditions(ranges: Ranges) -> Iterator[Predicate]:
    """Yield what finds rows, in order: a range that is long by its ends, others together."""
    few: list[pa.Scalar] = []
    for start, stop in ranges.tolist():
        if stop - start > KEYS_MAX:
            if few:
                yield In(ROWID, tuple(few))
                few = []
            yield And(
                (Compare(">=", ROWID, pa.scalar(start)), Compare("<", ROWID, pa.scalar(stop)))
            )
            continue
        few += map(pa.scalar, range(start, stop))
        if len(few) >= KEYS_MAX:
            yield In(ROWID, tuple(few))
            few = []
    if few:
        yield In(ROWID, tuple(few))


def _replaced(
    rows: pa.Table,
    ranges: Ranges,
    now: pa.Table,
    went: list[pa.RecordBatch],
    came: list[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Yield ``rows`` with those in ``ranges`` as they are ``now``.

    ``went`` gets what these were, and ``came`` the batches that are other than before.
    """
    batches = [batch for batch in rows.to_batches() if batch.num_rows] or [_whole(rows)]
    fresh = _whole(now)
    ends = [batch.column(0)[0].as_py() for batch in batches[1:]]
    for batch, first, end in zip(batches, [_LEAST, *ends], [*ends, _MOST], strict=True):
        inside = ranges[(ranges[:, 1] > first) & (ranges[:, 0] < end)]
        if not len(inside):
            yield batch
            continue
        pieces = list(_pieces(batch, fresh, np.clip(inside, first, end), went))
        merged = pa.Table.from_batches(pieces, rows.schema).combine_chunks()
        made = merged.to_batches(max_chunksize=PART_ROWS)
        came += made
        yield from made


def _pieces(
    batch: pa.RecordBatch, fresh: pa.RecordBatch, ranges: Ranges, went: list[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Yield parts of ``batch``, and in place of those in ``ranges`` what ``fresh`` has there."""
    old = np.searchsorted(batch.column(0).to_numpy(), ranges).tolist()
    new = np.searchsorted(fresh.column(0).to_numpy(), ranges).tolist()
    at = 0
    for (start, stop), (first, end) in zip(old, new, strict=True):
        yield batch.slice(at, start - at)
        yield fresh.slice(first, end - first)
        went.append(batch.slice(start, stop - start))
        at = stop
    yield batch.slice(at)


def _whole(table: pa.Table) -> pa.RecordBatch:
    """Return a table as one batch, also if it is empty."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
