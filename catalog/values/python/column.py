"""One column of Python's values, or of numpy's, as an Arrow array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.python.rows import ARRAY_DIMENSIONS_MAX, plain
from affidavit.catalog.values.types import check_nesting, is_text
from affidavit.errors import SchemaMismatchError

_REFUSED = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""What Arrow raises at values of which it can make no column."""


def column_of(name: object, values: Any, kind: pa.DataType | None = None) -> pa.Array:  # noqa: ANN401 - whatever callers hold
    """Return values as a column, of type ``kind`` if that is told.

    UUIDs are text. A matrix is a column of lists of one size, a row of it each.

    Raises:
        SchemaMismatchError: They form no column, or naive datetimes are mixed with aware ones.
    """
    dimensions = getattr(values, "ndim", 1)
    if dimensions > ARRAY_DIMENSIONS_MAX:
        msg = (
            f"column {name!r} is an array of {dimensions} dimensions: expected one, of values, or "
            "two, of vectors"
        )
        raise SchemaMismatchError(msg)
    try:
        if dimensions == ARRAY_DIMENSIONS_MAX:
            return _vectors(values)
        array = _array(values, kind)
    except _REFUSED as error:
        wanted = f" of type {kind}" if kind is not None else ""
        msg = f"column {name!r}{wanted} cannot take these values: {_plainer(error, values, kind)}"
        raise SchemaMismatchError(msg) from error
    except SchemaMismatchError as error:
        msg = f"column {name!r}: {error}"
        raise SchemaMismatchError(msg) from error
    refuse_mixed_zones(name, values, array.type)
    return array


def _plainer(error: BaseException, values: object, kind: pa.DataType | None) -> str:
    """Return what is told of an error: what to give a column of texts in place of lists."""
    if kind is None or not is_text(kind) or not isinstance(values, list | tuple):
        return str(error)
    objects = [each for each in values if isinstance(each, list | tuple | dict)]
    if not objects:
        return str(error)
    return f"it takes text, not a {type(objects[0]).__name__}: pass json.dumps(...) of it"


def _array(values: Any, kind: pa.DataType | None) -> pa.Array:  # noqa: ANN401 - as above
    if isinstance(values, list | tuple):
        check_nesting([each for each in values if isinstance(each, list | tuple | dict)])
    if isinstance(values, list) and pt.is_integer(kind or pa.null()) and float in map(type, values):
        return pa.array(values).cast(kind)  # pyarrow would cut the fractions off without a word
    try:
        array = pa.array(values, kind)
        if not isinstance(array.type, pa.UuidType) or not isinstance(values, Sequence):
            return array
    except _REFUSED:
        if not isinstance(values, list | tuple):
            raise
    return pa.array(plain(values), kind)


def _vectors(values: Any) -> pa.Array:  # noqa: ANN401 - what numpy makes an array of
    matrix = np.asanyarray(values)
    size = matrix.shape[1]
    if not size:
        raise ValueError("its vectors have no dimensions")
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), size)


def refuse_mixed_zones(name: object, values: object, kind: pa.DataType) -> None:
    """Raise SchemaMismatchError if naive datetimes are mixed with aware ones: Arrow shifts them."""
    if not _has_timestamps(kind):
        return
    naive = {moment.tzinfo is None for moment in _moments(values)}
    if len(naive) > 1:
        msg = (
            f"column {name!r} mixes datetimes with a time zone and without one: give all of them "
            "one, or none"
        )
        raise SchemaMismatchError(msg)


def _has_timestamps(kind: pa.DataType) -> bool:
    inside = (kind.field(at).type for at in range(kind.num_fields))
    return pt.is_timestamp(kind) or any(map(_has_timestamps, inside))


def _is_of_objects(value: object) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", None) == "O"


def _moments(value: object) -> Iterator[datetime]:
    if isinstance(value, datetime):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _moments(each)
    elif isinstance(value, list | tuple) or _is_of_objects(value):
        for each in value:  # type: ignore[attr-defined]  # a list, or an array of objects
            yield from _moments(each)
