"""Columns of a plan as a target has them."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import pyarrow as pa

from affidavit.errors import ExecutionError


@lru_cache(maxsize=1024)
def no_rows(schema: pa.Schema) -> pa.Table:
    """Return no rows of such columns, which may be NULL; an INSERT asks for them each time."""
    loose = pa.schema([field.with_nullable(nullable=True) for field in schema])
    return loose.empty_table()


Column = TypeVar("Column", pa.Array, pa.ChunkedArray)


def as_column(column: Column, field: pa.Field) -> Column:
    """Return a column as the type of a field.

    Raises:
        ExecutionError: It cannot be.
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
