"""What a driver gives, as the columns were declared.

Rules:
    - No value becomes another. One that its column's type does not hold is an error that names the
      column, and the row by its key where that is known, or NULL where the source was attached so.
    - A column whose type was changed at the source since is an error.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.values.types import count_type, is_bytes, is_text
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.sources.databases.table import Select

    Convert = Callable[[pa.Array, pa.DataType], pa.Array]

SHOWN_MAX: Final = 60
_RAISED: Final = (pa.ArrowException, ValueError, TypeError, OverflowError)
_DAY: Final = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


class BadValueError(SourceError):
    """A value that its column's type does not hold.

    Attributes:
        is_keyed: Whether the message names the row.
    """

    def __init__(self, message: str, *, is_keyed: bool = False) -> None:
        super().__init__(message)
        self.is_keyed = is_keyed


# --- columns -------------------------------------------------------------------------------------


def check_types(given: pa.Schema, wanted: pa.Schema) -> None:
    """Raise SourceError if a driver gives columns of another kind than they were declared.

    A column whose type was changed at the source since was filtered there as what it is now, and
    asked for as what it was.
    """
    for told, field in zip(given, wanted, strict=False):
        if _kind(told.type) not in _READ_FROM.get(_kind(field.type), {_kind(field.type)}):
            msg = (
                f"column {field.name!r} is {told.type} there, and was {field.type}: it was changed"
            )
            raise SourceError(msg)


def _kind(given: pa.DataType) -> str:
    plain = given.storage_type if isinstance(given, pa.BaseExtensionType) else given
    return next((name for name, holds in _KINDS.items() if holds(plain)), str(plain))


_KINDS: Final[Mapping[str, Callable[[pa.DataType], bool]]] = {
    "integer": pt.is_integer, "float": pt.is_floating, "decimal": pt.is_decimal,
    "moment": pt.is_timestamp, "date": pt.is_date, "time": pt.is_time, "list": pt.is_list,
    "vector": pt.is_fixed_size_list, "struct": pt.is_struct, "map": pt.is_map,
    "binary": is_bytes, "text": is_text,
}  # fmt: skip
_READ_FROM: Final = {
    "decimal": {"decimal", "text"}, "date": {"date", "text"}, "moment": {"moment", "text"},
    "list": {"list", "text"},
}  # fmt: skip
"""The kinds that a driver may give for a column of a kind, where not its own alone."""


# --- values --------------------------------------------------------------------------------------


def converted(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return what a driver gave as a type.

    Raises:
        ValueError: A value is none of that type; or an error of Arrow's.
    """
    plain = array.storage if isinstance(array, pa.ExtensionArray) else array
    if is_text(plain.type) and not is_text(kind):
        plain = _read(plain, kind)
    made = plain if plain.type == kind else plain.cast(kind)
    if pt.is_time(kind):
        _check_times(made)
    return made


def _read(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return values that were given as text."""
    if pt.is_decimal(kind):
        return texts.cast(pa.decimal128(38, kind.scale))
    if pt.is_timestamp(kind):
        return texts.cast(pa.timestamp(kind.unit))  # what has a zone is in UTC
    if pt.is_list(kind):
        given = [None if each is None else json.loads(each) for each in texts.to_pylist()]
        return pa.array(_numbered(given) if _is_float(kind) else given, kind)
    return texts


def _is_float(kind: pa.DataType) -> bool:
    return _is_float(kind.value_type) if pt.is_list(kind) else bool(pt.is_floating(kind))


def _numbered(given: Any) -> Any:  # noqa: ANN401 - lists of lists
    """Return floats of what JSON has, where NaN and the infinities are texts."""
    if isinstance(given, list):
        return [_numbered(each) for each in given]
    return None if given is None else float(given)


def _check_times(times: pa.Array) -> None:
    ends = pc.min_max(times.view(count_type(times.type)))
    first, last = ends["min"].as_py(), ends["max"].as_py()
    if first is not None and not 0 <= first <= last < _DAY[times.type.unit]:
        msg = "a time of 24:00 is none of a day"
        raise ValueError(msg)


def fitted(batch: pa.RecordBatch, select: Select, convert: Convert = converted) -> pa.RecordBatch:
    """Return a batch that a driver gave as the columns of a query were declared.

    Behind the columns come the marks of those that have any: which of their values cannot be given.

    Raises:
        BadValueError: A value is not of its column's type.
    """
    schema = select.schema
    if not len(schema):
        return pa.RecordBatch.from_arrays([pa.nulls(batch.num_rows)], names=["_"]).select([])

    def value(name: str, at: int) -> object:
        return batch.column(select.columns.index(name))[at]

    given = dict(zip(select.columns, batch.columns, strict=False))
    marks = dict(zip(select.marked, batch.columns[len(schema) :], strict=True))
    for name, mark in marks.items():
        bad = None if select.bad_is_null else pc.index(mark, value=True).as_py()
        if bad is not None and bad >= 0:
            refuse(select, schema.field(name), "an array of another shape", bad, value)
    arrays = [_held(given[field.name], field, select, convert, value) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _held(
    array: pa.Array,
    field: pa.Field,
    select: Select,
    convert: Convert,
    value: Callable[[str, int], object],
) -> pa.Array:
    try:
        return convert(array, field.type)
    except _RAISED:
        if not select.bad_is_null:
            at = _first_bad(array, field.type, convert)
            refuse(select, field, _shown(array[at]), at, value)
    return _nulled(array, field.type, convert)


def _nulled(array: pa.Array, kind: pa.DataType, convert: Convert) -> pa.Array:
    """Return values with NULL in place of each that cannot be given."""
    try:
        return convert(array, kind)
    except _RAISED:
        half = len(array) // 2
        if not half:
            return pa.nulls(len(array), kind)
    halves = (array.slice(0, half), array.slice(half))
    return pa.concat_arrays([_nulled(each, kind, convert) for each in halves])


def _first_bad(array: pa.Array, kind: pa.DataType, convert: Convert) -> int:
    """Return where the first value is that cannot be given."""
    first, last = 0, len(array)
    while last - first > 1:
        middle = (first + last) // 2
        try:
            convert(array.slice(first, middle - first), kind)
            first = middle
        except _RAISED:
            last = middle
    return first


def _shown(scalar: pa.Scalar) -> str:
    if pt.is_time(scalar.type):
        return "the time 24:00"
    try:
        return f"{scalar.as_py()!r:.{SHOWN_MAX}}"
    except _RAISED:
        return "a value beyond it"


def refuse(
    select: Select, field: pa.Field, shown: str, at: int, value: Callable[[str, int], object]
) -> NoReturn:
    """Raise the error of a value that its column's type does not hold.

    Args:
        select: What was asked.
        field: The column.
        shown: What stands there.
        at: In which row of a batch.
        value: Returns what a column has in a row.
    """
    key = [name for name in select.table.identity if name in select.columns]
    is_keyed = bool(key) and len(key) == len(select.table.identity)
    row = ", ".join(f"{name} = {_plain(value(name, at))}" for name in key)
    where = f" in the row where {row}" if is_keyed else ""
    raise BadValueError(
        f"column {field.name!r} cannot be read as {field.type}: it has {shown}{where}; attached "
        "with on_bad_value='null' it is read as NULL",
        is_keyed=is_keyed,
    )


def _plain(value: object) -> str:
    shown = value.as_py() if isinstance(value, pa.Scalar) else value
    return f"{shown!r:.{SHOWN_MAX}}"
