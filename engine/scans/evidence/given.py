"""Tables whose rows are on record: what is handed on of them is noted by its keys.

DataFusion's own table in memory and Lance's provider run none of our code, so such a table is
scanned through one of these instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import columns_of
from affidavit.catalog.sql.scan import ScanDataset, rows_without_columns
from affidavit.catalog.tables.reading import key_of, names_of
from affidavit.catalog.tables.rows import definition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import lance

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.release import TableRead
    from affidavit.catalog.sql.predicate import Predicate


def given_mutable(info: TableInfo, inner: ScanDataset, told: TableRead) -> GivenRows:
    """Return what reads a mutable table whose rows are on record; ``inner`` has its identities."""
    definition = definition_of(info)
    told.want_rows(key_of(info), names_of(info))
    return GivenRows(inner, told, definition.schema)


class GivenRows(ScanDataset):
    """A table that notes which rows are handed on, where the result does not say it itself."""

    def __init__(self, inner: ScanDataset, told: TableRead, schema: pa.Schema) -> None:
        super().__init__(schema, inner._fail)  # noqa: SLF001 - the same statement's
        self._inner = inner
        self._given = told

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        told = self._given
        if told.keys_at is not None or (not columns and predicate is None):
            yield from self._inner.scan(columns, predicate)
            return
        needed = [*columns, *(name for name in told.key if name not in columns)]
        for batch in self._inner.scan(needed, predicate):
            told.give(pa.Table.from_batches([batch.select(list(told.key))]))
            yield batch.select(columns)


class LanceRows(ScanDataset):
    """A vector table's rows at one version, read in this process."""

    def __init__(self, dataset: lance.LanceDataset, fail: Callable[[BaseException], None]) -> None:
        super().__init__(dataset.schema, fail)
        self._dataset = dataset

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        if not columns and predicate is None:
            yield from rows_without_columns(self._dataset.count_rows())
            return
        needed = _with(columns, predicate)
        for batch in self._dataset.scanner(columns=needed, scan_in_order=True).to_batches():
            yield keep(predicate, batch).select(columns)


def _with(columns: Sequence[str], predicate: Predicate | None) -> list[str]:
    more = set() if predicate is None else columns_of(predicate)
    return [*columns, *sorted(more - {*columns})]
