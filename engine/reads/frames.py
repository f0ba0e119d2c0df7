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


def is_read_twice(rows: object) -> bool:
    """Return whether rows can be read once more: a stream that was read is over."""
    held = isinstance(rows, pa.Table | pa.RecordBatch | list | tuple | dict)
    return held or type(rows).__module__.split(".")[0] in _FRAMES


def read_in(rows: object, schema: pa.Schema) -> pa.Table:
    """Return rows, which have the names of its columns, in the types of ``schema``.

    Raises:
        SchemaMismatchError: A column is of another family, or has not the same values there.
    """
    with to_reader(rows) as reader:
        table = reader.read_all()
    columns = [_fitted(each, to) for each, to in zip(table.columns, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _fitted(column: pa.ChunkedArray, to: pa.Field) -> pa.Array:
    """Return a column in another type; SchemaMismatchError if it says something else there."""
    array = whole(column)
    if pt.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    try:
        found = _read(array, to)
    except (pa.ArrowException, SchemaMismatchError):
        found = None
    if found is None:
        msg = (
            f"column {to.name!r} is of type {array.type}, and was given as {to.type}: its values "
            "are not the same there"
        )
        raise SchemaMismatchError(msg)
    return found


def _read(array: pa.Array, to: pa.Field) -> pa.Array | None:
    """Return values in another type; ``None`` if that says something else.

    Raises:
        SchemaMismatchError: It is of another family, or does not hold them.
        ArrowException: There is no way back to their own type.
    """
    if pt.is_null(array.type):
        return pa.nulls(len(array), to.type)
    source, target = _inner(array.type), _inner(to.type)
    is_nested = pt.is_nested(source) or pt.is_nested(target)
    if (is_nested and not source.equals(target)) or _zone(source) != _zone(target):
        return None
    found = fit(array, to.type, column=to.name, table="the result")
    return found if _digest(found.cast(array.type)) == _digest(array) else None


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
