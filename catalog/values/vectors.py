"""Vectors in Arrow data: found, brought to one shape, and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.fit import conform
from affidavit.errors import ColumnNotFoundError, ConstraintError, SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

METRICS: Final = ("cosine", "l2", "dot")


def vector_type(
    schema: pa.Schema,
    column: str,
    *,
    table: str,
    dimension: int | None,
    first: pa.RecordBatch | None,
) -> pa.DataType:
    """Return the fixed-size list type that ``column`` is kept as.

    The dimension comes from the type, else from ``dimension``, else from the first row that has a
    vector; a list of any number type becomes float32 unless it is of floats already.

    Raises:
        ColumnNotFoundError: There is no such column.
        SchemaMismatchError: It does not hold vectors, or nothing tells its dimension.
    """
    if column not in schema.names:
        raise ColumnNotFoundError(column, table=table, known=schema.names)
    found = schema.field(column).type
    is_list = pt.is_list(found) or pt.is_large_list(found) or pt.is_fixed_size_list(found)
    if not is_list or not (pt.is_floating(found.value_type) or pt.is_integer(found.value_type)):
        msg = f"column {column!r} of table {table!r} must hold lists of numbers, not {found}"
        raise SchemaMismatchError(msg)
    size = found.list_size if pt.is_fixed_size_list(found) else dimension
    if size is None and first is not None:
        lengths = [len(v) for v in first[column] if v.is_valid]
        size = lengths[0] if lengths else None
    if not size:
        msg = (
            f"the dimension of column {column!r} of table {table!r} is unknown: pass schema= with "
            f"pa.list_(pa.float32(), dimension), or rows that have vectors"
        )
        raise SchemaMismatchError(msg)
    value = (
        found.value_type
        if pt.is_fixed_size_list(found) and pt.is_floating(found.value_type)
        else pa.float32()
    )
    return pa.list_(pa.field("item", value), size)


def fitted(
    batches: Iterator[pa.RecordBatch] | pa.RecordBatchReader,
    schema: pa.Schema,
    *,
    table: str,
    vector: str,
    metric: str,
) -> Iterator[pa.RecordBatch]:
    """Yield ``batches`` with the table's schema, each vector checked.

    Raises:
        SchemaMismatchError: A column does not fit, or a vector has another dimension.
        ConstraintError: A vector has NaN or infinity, or is zero where the metric is cosine.
    """
    for batch in batches:
        prepared = _fix_dimension(batch, schema.field(vector).type, table=table, vector=vector)
        fit = conform(prepared, schema, table=table)
        check_vectors(fit[vector], table=table, column=vector, metric=metric)
        yield fit


def _fix_dimension(
    batch: pa.RecordBatch, to: pa.DataType, *, table: str, vector: str
) -> pa.RecordBatch:
    at = batch.schema.get_field_index(vector)
    if at < 0 or not pt.is_list(batch.schema.field(at).type):
        return batch
    array = batch.column(at)
    for row, value in enumerate(array):
        if value.is_valid and len(value) != to.list_size:
            msg = (
                f"column {vector!r} of table {table!r} has dimension {to.list_size}, and the "
                f"vector in row {row} has {len(value)}"
            )
            raise SchemaMismatchError(msg)
    return batch


def check_vectors(array: pa.Array, *, table: str, column: str, metric: str) -> None:
    """Raise ConstraintError if a vector cannot be searched by ``metric``."""
    size = array.type.list_size
    if not len(array) or not size:
        return
    values = np.asarray(array.flatten() if not array.null_count else array.drop_null().flatten())
    matrix = values.reshape(-1, size)
    finite = np.isfinite(matrix).all(axis=1)
    where = f"column {column!r} of table {table!r}"
    if not finite.all():
        msg = f"{where}: vector {int(np.argmin(finite))} has NaN or infinity"
        raise ConstraintError(msg)
    if metric == "cosine":
        zero = ~matrix.any(axis=1)
        if zero.any():
            msg = f"{where}: vector {int(np.argmax(zero))} is zero, which has no cosine distance"
            raise ConstraintError(msg)
