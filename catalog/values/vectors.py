"""Vectors in Arrow data: found, brought to one shape, and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.values.fit import conform
from affidavit.errors import (
    ColumnNotFoundError,
    ConstraintError,
    InvalidQueryError,
    SchemaMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

METRICS: Final = ("cosine", "l2", "dot")
ON_BAD: Final = ("error", "drop", "null")

SQUARE_MIN: Final = 1e-30
SQUARE_MAX: Final = 8e37
"""Between what the square of a vector's length may be: float32 has numbers from 1e-38, and squares
of its parts are to keep their digits, to 3.4e38, and a distance may be four times as much."""


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


def is_vector_type(found: pa.DataType) -> bool:
    """Return whether a column of that type can be searched by a vector."""
    return bool(pt.is_fixed_size_list(found) and pt.is_floating(found.value_type))


def of_any_length(schema: pa.Schema) -> pa.Schema:
    """Return columns whose vectors may have any length: rows are read so, and then looked at."""
    for at, field in enumerate(schema):
        if is_vector_type(field.type):
            schema = schema.set(at, field.with_type(pa.list_(field.type.value_field)))
    return schema


def declared(found: pa.Schema, schema: pa.Schema) -> pa.Schema:
    """Return the columns that rows have, their vectors as ``schema`` says, if it does."""
    for at, field in enumerate(found):
        said = schema.field(field.name).type if field.name in schema.names else field.type
        if is_vector_type(said) and (pt.is_list(field.type) or pt.is_large_list(field.type)):
            found = found.set(at, field.with_type(said))
    return found


@dataclass(frozen=True, slots=True)
class VectorRules:
    """What the vectors of a table must be like.

    Attributes:
        table: The table's name.
        key: Its key, by which a row is told.
        metric: How vectors are compared.
        on_bad: What becomes of a row that has a vector which cannot be searched: ``error``,
            ``drop`` leaves the row out, ``null`` the vector.
    """

    table: str
    key: str
    metric: str
    on_bad: str = "error"


def checked_on_bad(given: object) -> str:
    """Return what is to become of bad vectors.

    Raises:
        InvalidQueryError: There is no such choice.
    """
    if given not in ON_BAD:
        msg = f"on_bad_vectors must be one of {list(ON_BAD)}, got {given!r}"
        raise InvalidQueryError(msg)
    return str(given)


def fitted(
    batches: Iterator[pa.RecordBatch] | pa.RecordBatchReader, schema: pa.Schema, rules: VectorRules
) -> Iterator[pa.RecordBatch]:
    """Yield ``batches`` with the table's schema, the vectors of every column checked.

    Raises:
        SchemaMismatchError: A column does not fit, or a vector has another dimension.
        ConstraintError: A vector cannot be searched: see :func:`faults_of`.
    """
    columns = [field.name for field in schema if is_vector_type(field.type)]
    for batch in batches:
        prepared, is_bad = batch, np.zeros(batch.num_rows, np.bool_)
        for column in columns:
            prepared, wrong = _of_dimension(prepared, column, schema.field(column).type, rules)
            is_bad |= wrong
        fit = conform(prepared, schema, table=rules.table)
        for column in columns:
            fit, wrong = _searchable(fit, column, rules)
            is_bad |= wrong
        if rules.on_bad == "drop" and is_bad.any():
            fit = fit.filter(pa.array(~is_bad))
        yield fit


def _of_dimension(
    batch: pa.RecordBatch, column: str, to: pa.DataType, rules: VectorRules
) -> tuple[pa.RecordBatch, npt.NDArray[np.bool_]]:
    """Return a batch whose vectors have the column's dimension, and which rows had another."""
    at = batch.schema.get_field_index(column)
    none = np.zeros(batch.num_rows, np.bool_)
    found = None if at < 0 else batch.schema.field(at).type
    if found is not None and pt.is_fixed_size_list(found) and rules.on_bad != "error":
        if found.list_size == to.list_size:
            return batch, none
        wrong = batch.column(at).is_valid()
        field = batch.schema.field(at).with_type(to).with_nullable(nullable=True)
        return batch.set_column(at, field, pa.nulls(len(wrong), to)), np.asarray(wrong)
    if found is None or not (pt.is_list(found) or pt.is_large_list(found)):
        return batch, none
    lengths = pc.list_value_length(batch.column(at))
    wrong = pc.fill_null(pc.not_equal(lengths, to.list_size), fill_value=False)
    if not wrong.true_count:
        return batch, none
    if rules.on_bad == "error":
        row = wrong.index(value=True).as_py()
        msg = (
            f"column {column!r} of table {rules.table!r} has dimension {to.list_size}, and the "
            f"vector in row {row}{_key_of(batch, rules, row)} has {lengths[row]}"
        )
        raise SchemaMismatchError(msg)
    return _without(batch, at, wrong), np.asarray(wrong)


def _searchable(
    batch: pa.RecordBatch, column: str, rules: VectorRules
) -> tuple[pa.RecordBatch, npt.NDArray[np.bool_]]:
    """Return a batch whose vectors can be searched, and which rows had one that cannot."""
    at = batch.schema.get_field_index(column)
    found = faults_of(batch.column(at), rules.metric)
    if found is None:
        return batch, np.zeros(batch.num_rows, np.bool_)
    rows, why = found
    if rules.on_bad == "error":
        row = int(np.argmax(rows))
        msg = (
            f"column {column!r} of table {rules.table!r}: vector {row}"
            f"{_key_of(batch, rules, row)} {why(row)}"
        )
        raise ConstraintError(msg)
    return _without(batch, at, pa.array(rows)), rows


def _key_of(batch: pa.RecordBatch, rules: VectorRules, row: int) -> str:
    """Return how a row is called in a message: by its key."""
    if rules.key not in batch.schema.names:
        return ""
    return f" ({rules.key} = {batch[rules.key][row].as_py()!r})"


def _without(batch: pa.RecordBatch, at: int, bad: pa.BooleanArray) -> pa.RecordBatch:
    """Return a batch with NULL in place of some values of a column."""
    rows = pc.if_else(bad, pa.scalar(None, pa.int64()), pa.array(range(len(bad)), pa.int64()))
    kept = batch.column(at).take(rows)
    return batch.set_column(at, batch.schema.field(at).with_nullable(nullable=True), kept)


def check_vectors(array: pa.Array, *, table: str, column: str, metric: str) -> None:
    """Raise ConstraintError if a vector cannot be searched by ``metric``."""
    found = faults_of(array, metric)
    if found is not None:
        rows, why = found
        row = int(np.argmax(rows))
        raise ConstraintError(f"column {column!r} of table {table!r}: vector {row} {why(row)}")


def faults_of(
    array: pa.Array, metric: str
) -> tuple[npt.NDArray[np.bool_], Callable[[int], str]] | None:
    """Return which vectors cannot be searched by ``metric``, and why; ``None`` if all can.

    NULL is no vector. A vector cannot be searched that has NaN or infinity, is zero where the
    metric is cosine, or whose length is such that squares of it leave float32.
    """
    size = array.type.list_size
    present = np.asarray(array.is_valid())
    if not size or not present.any():
        return None
    values = np.asarray((array if not array.null_count else array.drop_null()).flatten())
    matrix = values.reshape(-1, size)
    if matrix.dtype == np.float16:
        matrix = matrix.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", matrix, matrix)
    fine = (squares >= SQUARE_MIN) & (squares <= SQUARE_MAX)
    if metric != "cosine":
        fine |= ~matrix.any(axis=1)
    if fine.all():
        return None
    bad = np.zeros(len(array), np.bool_)
    bad[present] = ~fine
    places = np.cumsum(present) - 1
    return bad, lambda row: fault_of(matrix[places[row]], metric) or ""


def fault_of(vector: npt.NDArray[Any], metric: str) -> str | None:
    """Return why a vector cannot be searched by ``metric``; ``None`` if it can."""
    finite = np.isfinite(vector)
    if not finite.all():
        return f"has NaN or infinity (in float32) at position {int(np.argmin(finite))}"
    if not vector.any():
        return "is the zero vector, which has no cosine distance" if metric == "cosine" else None
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if SQUARE_MIN <= length**2 <= SQUARE_MAX:
        return None
    limits = f"{SQUARE_MIN**0.5:.0e} to {SQUARE_MAX**0.5:.0e}"
    return (
        f"has the length {length:.3g}, whose square leaves float32: lengths from {limits} can be "
        "searched, so scale it, and all others alike"
    )
