"""Mutable tables as a statement reads them, and when a copy in memory is read instead.

Rules:
    - Only committed versions are kept in memory and read there: a transaction reads the store.
    - A small table is read whole when a statement that may name it is planned.
    - A scan that needs most of a larger one keeps what it reads, unless that is too large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
from datafusion.catalog import Table

from affidavit.catalog.sql.predicate import And, Compare, In, Or
from affidavit.catalog.sql.scan import ArrowDataset, ScanDataset, project, rows_without_columns
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.rows import ROWID_FIELD, definition_of, read_rows, read_table
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.lake.cache import CachedTable
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.snapshot import Snapshot

EAGER_ROWS_MAX: Final = 1024
"""A table of up to so many rows is read whole when it is planned: that is cheaper than asking."""


def mutable_table(snapshot: Snapshot, info: TableInfo) -> Table:
    """Return what DataFusion reads a mutable table through."""
    snapshot.note_read(info, info.version)
    cached = _in_cache(snapshot, info)
    if cached is None:
        return snapshot.scan((info.schema, info.name), MutableDataset(snapshot, info))
    return cached.provider or Table(ArrowDataset(cached.data, snapshot.fail))


def prepare_mutable(snapshot: Snapshot, info: TableInfo) -> None:
    """Build DataFusion's table over the copy in memory, if there is one."""
    cached = _in_cache(snapshot, info)
    if cached is not None:
        key = definition_of(info).primary_key
        cached.build(lambda data: memory_table(data, key))


def offer_target(snapshot: Snapshot, info: TableInfo) -> None:
    """Offer a mutable table with its ``_rowid`` column as DML's target."""
    key = (DML_SCHEMA, DML_TARGET)
    snapshot.prepared[key] = snapshot.scan(key, MutableDataset(snapshot, info, rowid=True))


def _in_cache(snapshot: Snapshot, info: TableInfo) -> CachedTable | None:
    if not snapshot.committed:
        return None
    cache = snapshot.catalog.lake.cache
    cached = cache.get(info.table_id, info.version)
    if cached is None and info.row_count <= EAGER_ROWS_MAX:
        cached = cache.put(info.table_id, info.version, read_table(snapshot.reader, info))
    return cached


class MutableDataset(ScanDataset):
    """A mutable table: from the cache, by an index of the store, or read whole and then cached."""

    def __init__(self, snapshot: Snapshot, info: TableInfo, *, rowid: bool = False) -> None:
        self._definition = definition_of(info)
        schema = self._definition.schema
        super().__init__(schema.append(ROWID_FIELD) if rowid else schema, snapshot.fail)
        self._snapshot = snapshot
        self._info = info

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows, oldest first."""
        info, snapshot = self._info, self._snapshot
        if not columns and predicate is None:
            return rows_without_columns(info.row_count)
        if not snapshot.committed or ROWID in columns or _uses_index(self._definition, predicate):
            return read_rows(snapshot.reader, info, columns, predicate)
        cache = snapshot.catalog.lake.cache
        cached = cache.get(info.table_id, info.version)
        if cached is not None:
            return project(iter(cached.data.to_batches()), columns, predicate)
        if cache.may_fit(info.table_id, info.version):
            return self._read_and_keep(columns, predicate)
        return read_rows(snapshot.reader, info, columns, predicate)

    def _read_and_keep(
        self, columns: list[str], predicate: Predicate | None
    ) -> Iterator[pa.RecordBatch]:
        info, snapshot, schema = self._info, self._snapshot, self._definition.schema
        cache = snapshot.catalog.lake.cache
        source = read_rows(snapshot.reader, info, schema.names)
        batches = []
        for batch in source:
            batches.append(batch)
            if (
                len(batches) == 1
                and batch.nbytes / batch.num_rows * info.row_count > cache.budget_bytes
            ):
                cache.refuse(info.table_id, info.version)
                source.close()  # type: ignore[attr-defined]  # it is a generator
                yield from read_rows(snapshot.reader, info, columns, predicate)
                return
            yield from project(iter([batch]), columns, predicate)
        cache.put(info.table_id, info.version, pa.Table.from_batches(batches, schema))


def _uses_index(definition: MutableDefinition, predicate: Predicate | None) -> bool:
    """Return whether ``predicate`` can only hold where the first column of an index is bounded."""
    first = {key[0] for key in definition.unique_keys}
    first |= {index.columns[0] for index in definition.indexes}
    first |= {definition.order_column} if definition.order_column is not None else set()
    return predicate is not None and _bounds(predicate, first)


def _bounds(predicate: Predicate, columns: set[str]) -> bool:
    match predicate:
        case And(operands):
            return any(_bounds(each, columns) for each in operands)
        case Or(operands):
            return all(_bounds(each, columns) for each in operands)
        case Compare(op, column, _):
            return op != "!=" and column in columns
        case In(column):
            return column in columns
    return False
