"""Columns that a plan gave, in the types of a target."""

from __future__ import annotations

from typing import TypeVar

import pyarrow as pa

from affidavit.errors import ExecutionError

Column = TypeVar("Column", pa.Array, pa.ChunkedArray)


def as_field(column: Column, field: pa.Field) -> Column:
    """Return a column in a field's type.

    Raises:
        ExecutionError: It does not fit.
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
