"""Keys and NOT NULL: what stands twice, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.tables.rows import definition_of, find_rows, key_values
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.store.protocol import Reader


def check_not_null(
    table: str, definition: MutableDefinition, rows: pa.Table | pa.RecordBatch, start: int = 0
) -> None:
    """Raise ConstraintError if a NOT NULL column of ``rows`` has a NULL.

    ``start`` is which of all rows the first of them is.
    """
    for column in definition.not_null:
        if column in rows.schema.names and rows[column].null_count:
            array = rows[column]
            at = array.is_null().index(value=True).as_py()
            msg = f"column {column!r} of table {table!r} is NOT NULL, and row {start + at} has NULL"
            key = [name for name in definition.primary_key if name in rows.schema.names]
            if key and not any(rows[name].null_count for name in key):
                msg += f": the one with {shown_key(key, rows, at)}"
            raise ConstraintError(msg)


def duplicate_within(
    definition: MutableDefinition, key: Sequence[str], rows: pa.Table | pa.RecordBatch
) -> int | None:
    """Return the first row whose ``key`` an earlier one has, or ``None``; NULLs are never equal."""
    seen = set()
    for at, values in enumerate(key_values(definition, key, rows)):
        if None in values:
            continue
        if values in seen:
            return at
        seen.add(values)
    return None


def shown_key(key: Sequence[str], rows: pa.Table | pa.RecordBatch, at: int) -> str:
    """Return one row's key for a message."""
    return ", ".join(f"{column} = {rows[column][at].as_py()!r}" for column in key)


def refuse_duplicates(
    reader: Reader, info: TableInfo, rows: pa.Table | pa.RecordBatch, cause: Exception
) -> None:
    """Raise ConstraintError for the key that rows, which the store refused, have twice."""
    definition = definition_of(info)
    for key in definition.unique_keys:
        at = duplicate_within(definition, key, rows)
        if at is not None:
            msg = (
                f"table {info.name!r} needs a unique key; two rows have {shown_key(key, rows, at)}"
            )
            raise ConstraintError(msg) from cause
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        stored = find_rows(reader, info, key, table)
        for at, values in enumerate(key_values(definition, key, rows)):
            if values in stored:
                msg = f"table {info.name!r} has a row with {shown_key(key, rows, at)} already"
                raise ConstraintError(msg) from cause
