"""A frame or a file that lost the types of a result, in those types again.

Rules:
    - A column is read in another type of its family alone, and only where that says what it said:
      read back in its own it has the same values. 2.0 is 2, and ``"2"`` is not; an instant of
      another time zone, or of none, is another; structs and maps are held as they are.
    - NaN in a numpy column of pandas is NULL.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.arrays import whole
from affidavit.catalog.values.digest import digest
from affidavit.catalog.values.fit import fit
from affidavit.catalog.values.ingest import to_reader
from affidavit.errors import SchemaMismatchError

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
        columns = [_read(each, to) for each, to in zip(table.columns, schema, strict=True)]
    except (pa.ArrowException, SchemaMismatchError):
        return None
    return pa.Table.from_arrays(columns, schema=schema)


def _read(column: pa.ChunkedArray, to: pa.Field) -> pa.Array:
    """Return a column in another type.

    Raises:
        SchemaMismatchError: It is of another family, or has not the same values there.
        ArrowException: There is no way back to its own type.
    """
    array = whole(column)
    if pt.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pt.is_null(array.type):
        return pa.nulls(len(array), to.type)
    source, target = _inner(array.type), _inner(to.type)
    is_nested = pt.is_nested(source) or pt.is_nested(target)
    if (is_nested and not source.equals(target)) or _zone(source) != _zone(target):
        raise SchemaMismatchError(f"column {to.name!r} is {to.type}, not {array.type}")
    found = fit(array, to.type, column=to.name, table="the result")
    if _digest(found.cast(array.type)) != _digest(array):
        raise SchemaMismatchError(f"column {to.name!r} has other values as {to.type}")
    return found


def _inner(arrow_type: pa.DataType) -> pa.DataType:
    """Return what lists of lists have inside."""
    while (
        pt.is_list(arrow_type) or pt.is_large_list(arrow_type) or pt.is_fixed_size_list(arrow_type)
    ):
        arrow_type = arrow_type.value_type
    return arrow_type


def _zone(arrow_type: pa.DataType) -> str | None:
    return arrow_type.tz if pt.is_timestamp(arrow_type) else None


def _digest(array: pa.Array) -> str:
    return digest(pa.table({"": array}))
