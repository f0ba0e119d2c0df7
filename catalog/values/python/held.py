"""Whether Python, pandas and polars hold the values of a column: none becomes another, or NULL.

Rules:
    - A time of 24:00 or later, which Arrow's and polars' conversions take for another or for none,
      is refused before it is converted, wherever it is nested.
    - The least count of a moment is a NULL to numpy, so pandas is not given it.
    - A type that a library lacks is refused by its name, and what it raises of a value is told as
      an error that names the column.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.values.types import any_within, count_type, lacks_values
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DAY: Final = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_RAISED: Final = (ValueError, OverflowError, NotImplementedError, pa.ArrowException)


def refuse_unheld(data: pa.Table | pa.RecordBatch, library: str) -> None:
    """Raise ExecutionError if ``library`` does not hold a column.

    It is of a type that this has not, has a time of no day, or what this takes for NULL.
    """
    for field in data.schema:
        if any_within(field.type, lacks_values) or (
            library == "polars" and any_within(field.type, _polars_lacks)
        ):
            msg = (
                f"column {field.name!r} ({field.type}) is of a type that {library} does not have: "
                "read to_arrow(), or CAST the column AS VARCHAR, a decimal AS DOUBLE or "
                "DECIMAL(38, scale)"
            )
            raise ExecutionError(msg)
    for name, column in zip(data.schema.names, data.columns, strict=True):
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        if any(_is_lost(each, library) for each in chunks):
            raise unheld(name, column.type, library)


@contextmanager
def told(
    data: pa.Table | pa.RecordBatch,
    library: str,
    convert: Callable[[pa.Array | pa.ChunkedArray], object],
    *more: type[Exception],
) -> Iterator[None]:
    """Tell what a conversion raises as an error that names the column.

    ``convert`` converts one column, to find out which it was. ``more`` is what the library raises.
    """
    raised = (*_RAISED, *more)
    try:
        yield
    except raised as error:
        for name, column in zip(data.schema.names, data.columns, strict=True):
            try:
                convert(column)
            except raised:
                raise unheld(name, column.type, library) from error
        raise


def unheld(name: str, kind: pa.DataType, library: str) -> ExecutionError:
    """Return the error of a column that has a value which ``library`` does not hold."""
    return ExecutionError(
        f"column {name!r} ({kind}) has a value that {library} does not hold: read to_arrow(), or "
        "CAST the column AS VARCHAR"
    )


def _polars_lacks(kind: pa.DataType) -> bool:
    """Return whether polars 2.1 has no such type: it panics, or raises an error of its own."""
    return bool(
        pt.is_interval(kind) or pt.is_decimal256(kind) or pt.is_list_view(kind)
        or pt.is_large_list_view(kind) or pt.is_run_end_encoded(kind) or pt.is_union(kind)
    )  # fmt: skip


def _is_lost(array: pa.Array, library: str) -> bool:
    kind = array.type
    if pt.is_time(kind):
        ends = pc.min_max(array.view(count_type(kind)))
        first, last = ends["min"].as_py(), ends["max"].as_py()
        return first is not None and not 0 <= first <= last < _DAY[kind.unit]
    if pt.is_timestamp(kind) and library == "pandas":
        return pc.min(array.view(pa.int64())).as_py() == -(1 << 63)
    return any(_is_lost(each, library) for each in _within(array))


def _within(array: pa.Array) -> list[pa.Array]:
    """Return the arrays that a nested one is made of."""
    kind = array.type
    if pt.is_struct(kind):
        return list(array.flatten())
    if pt.is_map(kind):
        return [array.keys, array.items]
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return [array.flatten()]
    return []
