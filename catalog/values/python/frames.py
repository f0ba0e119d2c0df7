"""Frames of pandas and polars, as Arrow reads them without a loss.

Neither library is imported here: who has such a frame has imported it.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from affidavit.catalog.values.python.column import refuse_mixed_zones
from affidavit.errors import SchemaMismatchError

FRAME_DIMENSIONS: Final = 2

_NO_ARROW: Final = frozenset({"Object", "Int128", "UInt128", "Unknown"})
"""The types of polars that Arrow has none for; of an Object it would read the address."""


def library_of(data: object) -> str | None:
    """Return ``pandas`` or ``polars``, whose object ``data`` is, or ``None``."""
    for kind in type(data).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in {"pandas", "polars"}:
            return library
    return None


def frame_to_reader(data: Any, *, keeps_index: bool) -> pa.RecordBatchReader:  # noqa: ANN401 - no common type
    """Return a frame of pandas or polars as a stream of record batches.

    Args:
        data: The frame.
        keeps_index: Whether an index of pandas that has a name becomes a column, and one that
            would be lost is refused; else it is left out.

    Raises:
        SchemaMismatchError: It is no frame, or a column has a type that Arrow does not have.
    """
    if library_of(data) == "pandas":
        return _pandas_table(data, keeps_index=keeps_index).to_reader(max_chunksize=65_536)
    if not hasattr(data, "collect_schema"):
        _refuse_values("polars", data)
    frame = data.collect() if hasattr(data, "collect") else data
    for name, kind in frame.schema.items():
        refuse_polars_type(name, kind)
    try:
        return pa.RecordBatchReader.from_stream(frame)
    except pa.ArrowException as error:
        msg = f"the polars frame cannot be read: {error}"
        raise SchemaMismatchError(msg) from error


def refuse_polars_type(column: str, kind: Any) -> None:  # noqa: ANN401 - a type of polars
    """Raise SchemaMismatchError if Arrow has no such type."""
    if type(kind).__name__ in _NO_ARROW or getattr(kind, "__name__", "") in _NO_ARROW:
        msg = (
            f"column {column!r} of polars has type {kind}, which Arrow does not have: cast it to "
            "numbers or text, or make structs of the objects"
        )
        raise SchemaMismatchError(msg)
    inside = [getattr(kind, "inner", None), *(f.dtype for f in getattr(kind, "fields", ()) or ())]
    for each in filter(None, inside):
        refuse_polars_type(column, each)


def _pandas_table(frame: Any, *, keeps_index: bool) -> pa.Table:  # noqa: ANN401 - of pandas
    if getattr(frame, "ndim", 0) != FRAME_DIMENSIONS:
        _refuse_values("pandas", frame)
    try:
        if keeps_index:
            frame = _with_index(frame)
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, AttributeError, TypeError, ValueError) as error:
        reason = ": ".join(map(str, error.args))
        msg = f"the pandas frame cannot be read as columns of one type each: {reason}"
        raise SchemaMismatchError(msg) from error
    for at, kind in enumerate(table.schema.types):
        column = frame.iloc[:, at]
        if column.dtype == object:
            refuse_mixed_zones(table.column_names[at], column.to_numpy(), kind)
    return table


def _with_index(frame: Any) -> Any:  # noqa: ANN401 - of pandas
    """Return a frame whose index is a column, if it says something."""
    names = list(frame.index.names)
    if all(name is not None for name in names):
        return frame.reset_index()
    if len(names) > 1 or (type(frame.index).__name__ != "RangeIndex" and len(frame)):
        msg = (
            "the pandas frame has an index without a name, which would be lost: call "
            "reset_index() to make it a column, or reset_index(drop=True) to leave it out"
        )
        raise SchemaMismatchError(msg)
    return frame


def _refuse_values(library: str, data: object) -> None:
    msg = f"expected a frame with named columns, got a {library} {type(data).__name__}"
    if hasattr(data, "to_frame"):
        msg = f"{msg}: call its to_frame()"
    raise SchemaMismatchError(msg)
