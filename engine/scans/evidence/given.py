"""Tables whose rows are on record: what is handed on of them is noted by its keys.

DataFusion's own table in memory and Lance's provider run none of our code, so such a table is
scanned through one of these instead.

Rule:
    - What a statement gives to its caller's own code, a function of the session's or a model, has
      left the table, whatever the result has of it: it counts as a read, a DML's target too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql.condition import LANCE_BITS
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import Compare, In, columns_of
from affidavit.catalog.sql.pushdown import narrowing
from affidavit.catalog.sql.quoting import lance_in
from affidavit.catalog.sql.scan import ScanDataset, rows_without_columns
from affidavit.catalog.tables.reading import key_of, names_of
from affidavit.catalog.tables.rows import definition_of
from affidavit.engine.search.among import ROW_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import lance

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.release import TableRead
    from affidavit.catalog.sql.predicate import Predicate

_ROW_ID: Final = pa.field(ROW_ID, pa.uint64())


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

    def __init__(
        self,
        dataset: lance.LanceDataset,
        fail: Callable[[BaseException], None],
        *,
        with_ids: bool = False,
    ) -> None:
        schema: pa.Schema = dataset.schema
        super().__init__(schema.append(_ROW_ID) if with_ids else schema, fail)
        self._dataset = dataset

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        if not columns and predicate is None:
            yield from rows_without_columns(self._dataset.count_rows())
            return
        needed = _with(columns, predicate)
        scanner = self._dataset.scanner(
            columns=[name for name in needed if name != ROW_ID], with_row_id=ROW_ID in needed,
            filter=_narrowed(predicate, self._dataset.schema), scan_in_order=True,
        )  # fmt: skip
        for batch in scanner.to_batches():
            yield keep(predicate, batch).select(columns)


def _narrowed(predicate: Predicate | None, schema: pa.Schema) -> str | None:
    """Return a condition, for Lance to look up by an index, that every row meets that is wanted."""
    plain = {field.name: field.name for field in schema if _is_plain(field.type)}
    wanted: list[tuple[str, Sequence[Any]]] = []
    for part in narrowing(predicate, plain):
        if isinstance(part, In):
            wanted.append((part.column, part.values))
        elif isinstance(part, Compare) and part.op == "=":
            wanted.append((part.column, (part.value,)))
    listed = (lance_in(column, values) for column, values in wanted if _are_read(values))
    return " AND ".join(listed) or None


def _is_plain(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_string(kind) or pt.is_large_string(kind))


def _are_read(values: Sequence[Any]) -> bool:
    """Return whether there are values, and Lance reads their literals as what they are."""
    fit = (isinstance(each, str) or abs(each) < 1 << LANCE_BITS for each in values)
    return bool(values) and all(fit)


def _with(columns: Sequence[str], predicate: Predicate | None) -> list[str]:
    more = set() if predicate is None else columns_of(predicate)
    return [*columns, *sorted(more - {*columns})]
