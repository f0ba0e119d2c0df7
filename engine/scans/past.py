"""Tables as they were, and what happened to them, as a statement reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.past.changes import change_rows, change_schema
from affidavit.catalog.past.past import Past
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import columns_of
from affidavit.catalog.sql.scan import ScanDataset, project, rows_without_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datafusion.catalog import Table

    from affidavit.catalog.model.moment import Moment
    from affidavit.catalog.past.table import PastTable
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.snapshot import Snapshot


def past_at(snapshot: Snapshot, moment: Moment) -> Past:
    """Return what the tenant's lake held at ``moment``."""
    return Past(snapshot.catalog, snapshot.reader, moment, committed=snapshot.committed)


def past_table(snapshot: Snapshot, table: PastTable, key: tuple[str, str]) -> Table:
    """Return what DataFusion reads a table of the past through."""
    if table.is_vector:
        assert table.info is not None
        return snapshot.vectors(table.info, table.dataset(snapshot.catalog.lake.datasets))
    return snapshot.scan(key, PastDataset(snapshot, table))


class PastDataset(ScanDataset):
    """A mutable table at a moment, put together when the plan that reads it runs."""

    def __init__(self, snapshot: Snapshot, table: PastTable) -> None:
        schema = table.definition().schema
        nullable = [field.with_nullable(nullable=True) for field in schema]
        super().__init__(pa.schema(nullable), snapshot.fail)
        self._table = table

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        needed = [*columns, *sorted((columns_of(predicate) if predicate else set()) - {*columns})]
        names, rows = self._table.state(needed)
        if not columns and predicate is None:
            return rows_without_columns(len(names))
        return project(iter(rows.combine_chunks().to_batches()), columns, predicate)


class ChangesDataset(ScanDataset):
    """What happened to a table between two entries of the ledger."""

    def __init__(self, snapshot: Snapshot, table: PastTable, first: int, last: int) -> None:
        if table.is_vector:
            columns = table.dataset(snapshot.catalog.lake.datasets).schema
        else:
            columns = table.definition().schema
        super().__init__(change_schema(columns), snapshot.fail)
        self._catalog = snapshot.catalog
        self._table = table
        self._span = (first, last)

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        for table in change_rows(self._catalog, self._table, *self._span):
            whole = table.select(self.schema.names).cast(self.schema).combine_chunks()
            for batch in whole.to_batches():
                yield keep(predicate, batch).select(columns)
