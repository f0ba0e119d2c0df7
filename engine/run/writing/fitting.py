"""What a plan gives, in the columns and types of the table that it is for."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from affidavit.catalog.model.definition import MutableDefinition
from affidavit.catalog.tables.constraints.rows import ready, refuse_given
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.tables.constraints.rows import Rows


@lru_cache(maxsize=1024)
def nothing_of(schema: pa.Schema) -> pa.Table:
    """Return no rows of such columns, which may be NULL; an INSERT asks for them each time."""
    loose = pa.schema([field.with_nullable(nullable=True) for field in schema])
    return loose.empty_table()


Column = TypeVar("Column", pa.Array, pa.ChunkedArray)


def as_field(column: Column, field: pa.Field) -> Column:
    """Return a column as the type of ``field``.

    Raises:
        ExecutionError: A value cannot be had as that.
    """
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except (pa.ArrowException, TypeError) as error:
        msg = (
            f"column {field.name!r} is {field.type}, and the statement gives {column.type}: {error}"
        )
        raise ExecutionError(msg) from error


def rows_ready(
    catalog: Catalog, info: TableInfo, rows: Rows, given: Iterable[str], *, anything: bool = False
) -> Rows:
    """Return rows for a table complete and checked; ``given`` columns are written to.

    A column that the table itself fills takes no value; with ``anything`` no NULL either.
    """
    definition = info.definition
    if not isinstance(definition, MutableDefinition):
        return rows
    values = {name: None if anything else rows[name] for name in given}
    refuse_given(info.name, definition, values)
    return ready(catalog, info.name, definition, rows)
