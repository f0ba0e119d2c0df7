"""A frame or a file that lost the types of a result, in those types again.

Rules:
    - A column is read in another type only where that says what it said: read back in its own it
      has the same values. ``"01"`` is not 1, and 0.5 no integer.
    - NaN in a numpy column of pandas is NULL.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.digest import digest
from affidavit.catalog.values.ingest import to_reader

_FRAMES: Final = frozenset({"pandas", "polars"})
"""The packages whose objects can be read twice."""


def in_types_of(rows: object, schema: pa.Schema) -> pa.Table | None:
    """Return rows in the types of ``schema``; ``None`` if they are others there, or a stream."""
    held = isinstance(rows, pa.Table | pa.RecordBatch | list | tuple | dict)
    if not held and type(rows).__module__.split(".")[0] not in _FRAMES:
        return None
    with to_reader(rows) as reader:
        table = reader.read_all()
    if table.column_names != schema.names:
        return None
    try:
        columns = [_read(each, to) for each, to in zip(table.columns, schema.types, strict=True)]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return pa.Table.from_arrays(columns, schema=schema)


def _read(column: pa.ChunkedArray, to: pa.DataType) -> pa.ChunkedArray:
    """Return a column in another type.

    Raises:
        ArrowInvalid: It has not the same values there.
        ArrowNotImplementedError: There is no way from its type to the other, or none back.
    """
    if pt.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    found = column.cast(to)
    if not pt.is_null(column.type) and _digest(found.cast(column.type)) != _digest(column):
        msg = f"a column of {column.type} has other values as {to}"
        raise pa.ArrowInvalid(msg)
    return found


def _digest(column: pa.ChunkedArray) -> str:
    return digest(pa.table({"": column}))
