"""Predicates evaluated over Arrow data, as DataFusion would.

It trusts that the filters which it hands over are applied exactly: Kleene logic, and floats
compared by IEEE 754 totalOrder, which is the order of the values as a store keeps them.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.sql.predicate import (
    And,
    Compare,
    CompareColumns,
    Constant,
    In,
    IsNull,
    IsTrue,
    Not,
    Or,
)
from affidavit.catalog.values.arrays import take, whole
from affidavit.catalog.values.codecs import codec_for, encode_scalar
from affidavit.errors import UnsupportedPredicateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.sql.predicate import Predicate

_KERNELS: Final = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_PYTHON: Final = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def evaluate(predicate: Predicate, batch: pa.RecordBatch | pa.Table) -> pa.Array:
    """Return a boolean array, one value a row of ``batch``; NULL where SQL says unknown."""
    match predicate:
        case And(operands) | Or(operands):
            combine = pc.and_kleene if isinstance(predicate, And) else pc.or_kleene
            result = evaluate(operands[0], batch)
            for operand in operands[1:]:
                result = combine(result, evaluate(operand, batch))
            return result
        case Not(operand):
            return pc.invert(evaluate(operand, batch))
        case Constant(value):
            return pa.array([value], pa.bool_()).take(pa.array([0] * batch.num_rows, pa.int64()))
        case IsNull(column):
            return batch[column].is_null()
        case IsTrue(column):
            return batch[column]
        case Compare(op, column, value):
            return _compare(op, batch[column], value)
        case CompareColumns(op, left, right):
            return _compare(op, batch[left], batch[right])
        case In(column, values, has_null):
            return _evaluate_in(batch[column], values, has_null=has_null)


def _compare(op: str, left: pa.Array, right: Any) -> pa.Array:  # noqa: ANN401 - array or scalar
    """Return ``left op right``; ``right`` is an array like ``left``, or a scalar."""
    if not codec_for(left.type).ordered and op not in {"=", "!="}:
        return _compare_nested(op, left, right)
    stored = _encoded(left)
    if isinstance(right, pa.Scalar):
        return _KERNELS[op](stored, pa.scalar(encode_scalar(left.type, right), stored.type))
    return _KERNELS[op](stored, _encoded(right))


def _compare_nested(op: str, left: pa.Array, right: Any) -> pa.Array:  # noqa: ANN401 - as above
    """Compare element by element, NULL elements first, as DataFusion does."""
    other = pa.repeat(right, len(left)) if isinstance(right, pa.Scalar) else right
    answers = [
        None if a is None or b is None else _PYTHON[op](a, b)
        for a, b in zip(_sort_keys(left), _sort_keys(other), strict=True)
    ]
    return pa.array(answers, pa.bool_())


def _sort_keys(column: pa.Array | pa.ChunkedArray) -> list[tuple[Any, ...] | None]:
    """Return for each value something that compares as the value does; ``None`` for NULL."""
    array = whole(column)
    if pt.is_map(array.type):
        msg = f"values of type {array.type} have no order"
        raise UnsupportedPredicateError(msg)
    if pt.is_struct(array.type):
        fields = [_sort_keys(array.field(at)) for at in range(array.type.num_fields)]
        rows = zip(*fields, strict=True) if fields else [()] * len(array)
        found = [tuple(() if key is None else (key,) for key in row) for row in rows]
    elif pt.is_nested(array.type):
        found = [
            tuple(() if key is None else (key,) for key in _sort_keys(value.values))
            if value.is_valid
            else ()
            for value in array
        ]
    else:
        values = codec_for(array.type).values(array)
        return [None if value is None else (value,) for value in values]
    valid = array.is_valid().to_pylist()
    return [key if there else None for key, there in zip(found, valid, strict=True)]


def _encoded(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = whole(column)
    return codec_for(array.type).encode(array)


def _evaluate_in(
    column: pa.Array | pa.ChunkedArray, values: Sequence[object], *, has_null: bool
) -> pa.Array:
    stored = _encoded(column)
    bound = [encode_scalar(column.type, value) for value in values]
    hit = pc.is_in(stored, pa.array(bound, stored.type))
    unknown = pc.is_null(stored) if not has_null else pc.or_(pc.is_null(stored), pc.invert(hit))
    return pc.if_else(unknown, pa.scalar(None, pa.bool_()), hit)


def keep(predicate: Predicate | None, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of ``batch`` for which ``predicate`` is true."""
    if predicate is None:
        return batch
    selected = pc.indices_nonzero(pc.fill_null(evaluate(predicate, batch), fill_value=False))
    if len(selected) == batch.num_rows:
        return batch
    return take(batch, selected)
