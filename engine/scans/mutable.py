"""Mutable tables as a statement reads them, and when a copy in memory is read instead.

Rules:
    - Only committed versions are kept in memory and read there: a transaction reads the store.
    - A small table is read whole when a statement that may name it is planned.
    - A scan that needs most of a larger one keeps what it reads, unless that is too large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from datafusion.catalog import Table

from affidavit.catalog.lake.cache import TableCopy
from affidavit.catalog.sql.predicate import And, Compare, In, Or
from affidavit.catalog.sql.scan import ArrowDataset, ScanDataset, project, rows_without_columns
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.copies.current import current_copy, read_copy
from affidavit.catalog.tables.copies.files import stated
from affidavit.catalog.tables.reading import wants_rows
from affidavit.catalog.tables.rows import ROWID_FIELD, definition_of, read_rows
from affidavit.engine.scans.evidence.given import GivenRows, given_mutable
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.model.release import TableRead
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.scans.snapshot import Snapshot

EAGER_ROWS_MAX: Final = 1024
"""A table of up to so many rows is read whole when it is planned: that is cheaper than asking."""

AGAIN_ROWS_MAX: Final = 500
"""What was read of DML's target is read again, to compare, if it was up to so many rows."""


def mutable_table(snapshot: Snapshot, info: TableInfo) -> Table:
    """Return what DataFusion reads a mutable table through."""
    told = snapshot.note_read(info, info.version)
    snapshot.note_present(info)
    if wants_rows(snapshot.catalog, info):
        more = () if definition_of(info).primary_key else (ROWID_FIELD,)
        rows = MutableDataset(snapshot, info, *more)
        return snapshot.scan((info.schema, info.name), given_mutable(info, rows, told), told)
    cached = _in_cache(snapshot, info)
    if cached is None:
        rows = MutableDataset(snapshot, info)
        return snapshot.scan((info.schema, info.name), rows, told)
    return cached.provider or Table(ArrowDataset(cached.data, snapshot.fail))


def listed_table(snapshot: Snapshot, info: TableInfo) -> Table:
    """Return a mutable table as DataFusion lists it: by its columns, and without a row.

    Where no columns are listed, any table stands for all.
    """
    snapshot.note_read(info, info.version)
    snapshot.note_present(info)
    if not snapshot.lists_columns:
        return snapshot.stand_in(lambda: Table(ArrowDataset(pa.table({}), snapshot.fail)))
    return Table(ArrowDataset(definition_of(info).schema.empty_table(), snapshot.fail))


def prepare_mutable(snapshot: Snapshot, info: TableInfo) -> None:
    """Build DataFusion's table over the copy in memory, if there is one."""
    cached = _in_cache(snapshot, info)
    if cached is not None:
        key = definition_of(info).primary_key
        cached.build(lambda data: memory_table(data, key))


def offer_target(
    snapshot: Snapshot, info: TableInfo, told: TableRead | None = None
) -> TargetDataset:
    """Offer a mutable table with its ``_rowid`` column as DML's target, and return it.

    ``told`` is what is put on record of it, if reading it is to be.
    """
    key, target = (DML_SCHEMA, DML_TARGET), TargetDataset(snapshot, info)
    rows = target if told is None else GivenRows(target, told, target.schema)
    snapshot.prepared[key] = snapshot.scan(key, rows)
    return target


def _in_cache(snapshot: Snapshot, info: TableInfo) -> TableCopy | None:
    if not snapshot.committed:
        return None
    lake, reader = snapshot.catalog.lake, snapshot.reader
    copy = current_copy(lake, reader, info)
    if copy is None and info.row_count <= EAGER_ROWS_MAX:
        copy = lake.cache.put(read_copy(reader, info))
    return copy


class MutableDataset(ScanDataset):
    """A mutable table: from the cache, by an index of the store, or read whole and then cached."""

    def __init__(self, snapshot: Snapshot, info: TableInfo, *more: pa.Field) -> None:
        self._definition = definition_of(info)
        schema = pa.schema([*self._definition.schema, *more])
        super().__init__(schema, snapshot.fail)
        self._snapshot = snapshot
        self._info = info

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows, oldest first."""
        info, snapshot = self._info, self._snapshot
        if not columns and predicate is None:
            return rows_without_columns(info.row_count)
        is_committed = snapshot.committed or (ROWID in columns and snapshot.is_target_committed)
        if not is_committed or _uses_index(self._definition, predicate):
            return read_rows(snapshot.reader, info, columns, predicate)
        cache = snapshot.catalog.lake.cache
        copy = current_copy(snapshot.catalog.lake, snapshot.reader, info)
        if copy is not None:
            return project(iter(copy.rows.to_batches()), columns, predicate)
        is_target = ROWID in columns and predicate is not None
        if cache.may_fit(info.table_id, info.version) and (
            not is_target or cache.is_asked_again(info.table_id)
        ):
            return self._read_and_keep(columns, predicate)
        return read_rows(snapshot.reader, info, columns, predicate)

    def _read_and_keep(
        self, columns: list[str], predicate: Predicate | None
    ) -> Iterator[pa.RecordBatch]:
        info, snapshot = self._info, self._snapshot
        cache = snapshot.catalog.lake.cache
        schema = pa.schema([ROWID_FIELD, *self._definition.schema])
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
        rows, total = pa.Table.from_batches(batches, schema), stated(snapshot.reader, info)
        cache.put(TableCopy(info, rows, total))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one scan found: few rows, so that the same may be asked again."""

    columns: list[str]
    predicate: Predicate | None
    rows: pa.Table


class TargetDataset(MutableDataset):
    """DML's target, with its ``_rowid``; what was read of it is kept while that is little."""

    def __init__(self, snapshot: Snapshot, info: TableInfo) -> None:
        super().__init__(snapshot, info, ROWID_FIELD)
        self._seen: list[_Seen] = []
        self._begun = 0

    @property
    def is_read(self) -> bool:
        """Whether anything was read of it."""
        return self._begun > 0

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows, oldest first."""
        self._begun += 1
        batches = super().scan(columns, predicate)
        return self._noting(batches, columns, predicate) if columns else batches

    def _noting(
        self, batches: Iterator[pa.RecordBatch], columns: list[str], predicate: Predicate | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield ``batches``, and keep them if they all come and are few."""
        kept: list[pa.RecordBatch] | None = []
        count = 0
        for batch in batches:
            count += batch.num_rows
            kept = [*kept, batch] if kept is not None and count <= AGAIN_ROWS_MAX else None
            yield batch
        if kept is not None:
            schema = pa.schema([self.schema.field(name) for name in columns])
            self._seen.append(_Seen(columns, predicate, pa.Table.from_batches(kept, schema)))

    def reads_same(self, reader: Reader, now: TableInfo) -> bool:
        """Return whether everything that was read of it reads the same from ``reader``.

        The same scans are run again, which finds rows that went, came or became others. False
        where that would take long, or where a scan was not read to its end.
        """
        if self._begun != len(self._seen):
            return False
        return all(self._is_short(each, now) and _same(each, reader, now) for each in self._seen)

    def _is_short(self, seen: _Seen, now: TableInfo) -> bool:
        small = now.row_count <= EAGER_ROWS_MAX
        return small or _uses_index(self._definition, seen.predicate)


def _same(seen: _Seen, reader: Reader, now: TableInfo) -> bool:
    found, count = [], 0
    for batch in read_rows(reader, now, seen.columns, seen.predicate):
        found.append(batch)
        count += batch.num_rows
        if count > seen.rows.num_rows:
            return False
    return bool(pa.Table.from_batches(found, seen.rows.schema).equals(seen.rows))


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
