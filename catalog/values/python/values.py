"""Rows as Python's values, the same whatever else is installed.

Rules:
    - A timestamp is a datetime, a time a time, and a duration a timedelta, whatever its unit.
    - Python counts microseconds: what has nanoseconds beside them is cut off, with a warning.
    - A value that Python has no name for, such as a moment at infinity, is an error.
"""

from __future__ import annotations

import warnings
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.python.held import refuse_unheld, told
from affidavit.catalog.values.types import rebuilt


def python_rows(data: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Return each row as a dict.

    Raises:
        ExecutionError: A column has a value that Python does not hold; it is named.
    """
    refuse_unheld(data, "Python")
    with told(data, "Python", python_values):
        return _rows(data)


def _rows(data: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    types = [_in_microseconds(kind) for kind in data.schema.types]
    if types == data.schema.types:
        rows: list[dict[str, Any]] = data.to_pylist()
        return rows
    columns = [python_values(column) for column in data.columns]
    return [dict(zip(data.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def python_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return the values of a column."""
    to = _in_microseconds(column.type)
    if to != column.type:
        column = _cast(column, to)
    values: list[Any] = column.to_pylist()
    return values


def _cast(column: pa.Array | pa.ChunkedArray, to: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([_cast(chunk, to) for chunk in column.chunks], to)
    if column.offset:  # pyarrow's casts misread the offsets of some sliced nested arrays
        column = pa.concat_arrays([column])
    try:
        return column.cast(to)
    except pa.ArrowInvalid:
        told = (
            "a value has nanoseconds, which Python's datetime, time and timedelta do not hold: "
            "they were cut off; read to_arrow() to have them, or CAST to microseconds"
        )
        warnings.warn(told, UserWarning, stacklevel=6)
        return column.cast(to, safe=False)


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    """Return a type with microseconds in place of each nanosecond in it."""
    if getattr(kind, "unit", None) == "ns":
        if pt.is_timestamp(kind):
            return pa.timestamp("us", kind.tz)
        return pa.time64("us") if pt.is_time(kind) else pa.duration("us")
    if pt.is_dictionary(kind):
        value = _in_microseconds(kind.value_type)
        return kind if value == kind.value_type else value
    return rebuilt(kind, _in_microseconds)
