"""Tables as they were, and what happened to them, as a statement reads them."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.journal.events import entity_ids
from affidavit.catalog.model.policy import ROWS, stricter
from affidavit.catalog.past.changes import change_rows, change_schema
from affidavit.catalog.past.past import Past
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import Compare, In, columns_of, conjuncts
from affidavit.catalog.sql.scan import ScanDataset, project, rows_without_columns
from affidavit.catalog.tables.reading import key_of, names_of
from affidavit.catalog.values.arrays import nullable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datafusion.catalog import Table

    from affidavit.catalog.model.moment import Moment
    from affidavit.catalog.model.release import TableRead
    from affidavit.catalog.past.table import PastTable
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.snapshot import Snapshot


def past_at(snapshot: Snapshot, moment: Moment) -> Past:
    """Return what the tenant's lake held at ``moment``."""
    return Past(snapshot.catalog, snapshot.reader, moment, committed=snapshot.committed)


_NAME: Final = "\0name"
"""The column of the rows' names, where they are on record: no table can have one of that name."""


def past_table(snapshot: Snapshot, table: PastTable, schema: str, key: tuple[str, str]) -> Table:
    """Return what DataFusion reads a table of the past through, under a key of its own."""
    apart = None if key[0] else key[1]
    if table.is_vector:
        assert table.info is not None
        dataset = table.dataset(snapshot.catalog.lake.datasets)
        return snapshot.vectors(table.info, dataset, apart)
    return snapshot.scan(
        key, PastDataset(snapshot, table, snapshot.note_past(table, schema, apart))
    )


class PastDataset(ScanDataset):
    """A mutable table at a moment, put together when the plan that reads it runs."""

    def __init__(self, snapshot: Snapshot, table: PastTable, told: TableRead) -> None:
        super().__init__(nullable(table.definition().schema), snapshot.fail)
        self._table = table
        self._told = told
        if stricter(snapshot.catalog.floor, told.level) == ROWS:
            told.want_rows((_NAME,), lambda rows: rows.column(0).to_pylist())

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        needed = [*columns, *sorted((columns_of(predicate) if predicate else set()) - {*columns})]
        names, rows = self._table.state(needed, of=self._asked_for(predicate))
        if not columns and predicate is None:
            return rows_without_columns(len(names))
        if self._told.given is not None:
            return self._noted(rows.append_column(_NAME, names), columns, predicate)
        return project(iter(rows.combine_chunks().to_batches()), columns, predicate)

    def _asked_for(self, predicate: Predicate | None) -> list[str] | None:
        """Return the names of the few rows that can match, where a condition tells their key."""
        if self._table.info is None or predicate is None:
            return None
        named: dict[str, list[Any]] = {}
        for part in conjuncts(predicate):
            match part:
                case Compare("=", column, pa.Scalar() as value):
                    named[column] = [value.as_py()]
                case In(column, values) if column not in named:
                    named[column] = [each.as_py() for each in values if isinstance(each, pa.Scalar)]
        definition = self._table.definition()
        if not definition.primary_key or not named.keys() >= {*definition.primary_key}:
            return None
        keys = list(product(*(named[each] for each in definition.primary_key)))
        rows = [dict(zip(definition.primary_key, key, strict=True)) for key in keys]
        schema = pa.schema([(each, definition.types[each]) for each in definition.primary_key])
        try:
            return entity_ids(definition, pa.Table.from_pylist(rows, schema), ())
        except (ValueError, TypeError, OverflowError, pa.ArrowException):
            return None  # no key is such

    def _noted(
        self, rows: pa.Table, columns: list[str], predicate: Predicate | None
    ) -> Iterator[pa.RecordBatch]:
        for batch in project(
            iter(rows.combine_chunks().to_batches()), [*columns, _NAME], predicate
        ):
            self._told.give(pa.Table.from_batches([batch.select([_NAME])]))
            yield batch.select(columns)


class ChangesDataset(ScanDataset):
    """What happened to a table between two entries of the ledger."""

    def __init__(
        self, snapshot: Snapshot, table: PastTable, span: tuple[int, int], told: TableRead
    ) -> None:
        if table.is_vector:
            columns = table.dataset(snapshot.catalog.lake.datasets).schema
        else:
            columns = table.definition().schema
        super().__init__(change_schema(columns), snapshot.fail)
        self._catalog = snapshot.catalog
        self._table = table
        self._span = span
        self._told = told
        info = table.info
        if info is None or stricter(snapshot.catalog.floor, told.level) != ROWS:
            return
        if {*key_of(info)} <= {*columns.names}:
            told.want_rows(key_of(info), names_of(info))

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        for table in change_rows(self._catalog, self._table, *self._span):
            whole = table.select(self.schema.names).cast(self.schema).combine_chunks()
            for batch in whole.to_batches():
                kept = keep(predicate, batch)
                if self._told.given is not None:
                    self._told.give(pa.Table.from_batches([kept.select(list(self._told.key))]))
                yield kept.select(columns)
