"""Comparisons of columns, read from what DataFusion's optimizer left and answered here.

Few rows are answered by plain Python, many by Arrow's kernels, and both as DataFusion would: floats
are compared by IEEE 754 totalOrder, and NULL is neither true nor false.
"""

from __future__ import annotations

import operator
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql import predicate as tree
from affidavit.catalog.sql.evaluation import evaluate
from affidavit.catalog.values.codecs import codec_for, encode_scalar
from affidavit.catalog.values.types import FEW_ROWS_MAX
from affidavit.errors import UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from affidavit.catalog.sql.predicate import Predicate

    Rows: TypeAlias = pa.RecordBatch | pa.Table
    Test: TypeAlias = Callable[[Sequence[Any]], bool | None]

_COMPARE: Final = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WIDER: Final = {"Float64": pa.float64(), "Int64": pa.int64(), "Int32": pa.int32()}


class _Unread(Exception):  # noqa: N818 - it says where to look next, not that anything failed
    """An expression that is more than comparisons of columns."""


class _Reader:
    """Reads DataFusion's expressions as predicates over numbered operands."""

    def __init__(self, schema: pa.Schema) -> None:
        self.reads: list[tuple[str, pa.DataType]] = []
        self._schema = schema

    def predicate(self, expression: Any) -> Predicate:  # noqa: ANN401 - DataFusion's
        kind = expression.variant_name()
        if kind == "BinaryExpr":
            function, (left, right) = expression.rex_call_operator(), expression.rex_call_operands()
            if function in {"AND", "OR"}:
                connect = tree.And if function == "AND" else tree.Or
                return connect(tuple(map(self.predicate, _chain(expression, function))))
            if function in _COMPARE and right.variant_name() == "Literal":
                name, arrow_type = self._operand(left)
                return tree.Compare(function, name, _literal(right, arrow_type))
            if function in _COMPARE:
                (name, arrow_type), (other, other_type) = self._operand(left), self._operand(right)
                if arrow_type == other_type:
                    return tree.CompareColumns(function, name, other)
        elif kind == "InList":
            listed = expression.to_variant()
            name, arrow_type = self._operand(listed.expr())
            values = [_literal(each, arrow_type) for each in listed.list()]
            valid = tuple(value for value in values if value.is_valid)
            found = tree.In(name, valid, has_null=len(valid) < len(values))
            return tree.Not(found) if listed.negated() else found
        elif kind == "Column":
            return tree.IsTrue(self._operand(expression)[0])
        elif kind == "Literal":
            return tree.Constant(expression.python_value().as_py())
        elif kind in {"Not", "IsNull", "IsNotNull"}:
            (operand,) = expression.rex_call_operands()
            if kind == "Not":
                return tree.Not(self.predicate(operand))
            null = tree.IsNull(self._operand(operand)[0])
            return null if kind == "IsNull" else tree.Not(null)
        raise _Unread

    def _operand(self, expression: Any) -> tuple[str, pa.DataType]:  # noqa: ANN401 - DataFusion's
        """Return the number of a column, or of a number's cast to a wider type, and its type."""
        kind, column = expression.variant_name(), expression
        if kind == "Cast":
            (column,) = expression.rex_call_operands()
        if column.variant_name() != "Column":
            raise _Unread
        field = self._schema.field(column.to_variant().name())
        arrow_type = field.type
        if kind == "Cast":
            target = expression.canonical_name().rpartition(" AS ")[2].removesuffix(")")
            arrow_type = _wider(field.type, _WIDER.get(target))
        if pt.is_nested(arrow_type) or not codec_for(arrow_type).ordered:
            raise _Unread
        read = (field.name, arrow_type)
        if read not in self.reads:
            self.reads.append(read)
        return str(self.reads.index(read)), arrow_type


def _wider(given: pa.DataType, target: pa.DataType | None) -> pa.DataType:
    """Return ``target`` if a cast to it cannot fail and means the same to Arrow and DataFusion."""
    if target is not None and pt.is_float64(target):
        if pt.is_integer(given) or pt.is_float32(given):
            return target
    elif target is not None and pt.is_integer(given) and given.bit_width < target.bit_width:
        return target
    raise _Unread


def _literal(expression: Any, arrow_type: pa.DataType) -> pa.Scalar:  # noqa: ANN401 - DataFusion's
    value = expression.python_value() if expression.variant_name() == "Literal" else None
    if value is None or value.type != arrow_type:
        raise _Unread
    return value


def _chain(expression: Any, function: str) -> Iterator[Any]:  # noqa: ANN401 - DataFusion's
    """Yield the operands of ``a AND b AND c``, or of OR."""
    left = [expression]
    while left:
        each = left.pop()
        if each.variant_name() == "BinaryExpr" and each.rex_call_operator() == function:
            left += reversed(each.rex_call_operands())
        else:
            yield each


def read_comparisons(nodes: list[Any], schema: pa.Schema) -> tuple[Comparisons | None, bool]:
    """Return the conjuncts that can be answered here, and whether these are all."""
    kinds = [type(node).__name__ for node in nodes]
    if kinds in (["TableScan"], ["EmptyRelation"]):  # the condition was a constant
        return Comparisons(tree.Constant(kinds == ["TableScan"]), []), True
    if kinds != ["Filter", "TableScan"]:
        return None, False
    reader, parts, is_all = _Reader(schema), [], True
    for conjunct in _chain(nodes[0].predicate(), "AND"):
        known = len(reader.reads)
        try:
            parts.append(reader.predicate(conjunct))
        except (_Unread, UnsupportedTypeError):
            del reader.reads[known:]
            is_all = False
    return (Comparisons(tree.And(tuple(parts)), reader.reads) if parts else None), is_all


class Comparisons:
    """Comparisons of columns."""

    def __init__(self, predicate: Predicate, reads: list[tuple[str, pa.DataType]]) -> None:
        self._predicate = predicate
        self._reads = [(name, arrow_type, codec_for(arrow_type)) for name, arrow_type in reads]
        self._test = _row_test(predicate, [arrow_type for _, arrow_type in reads])

    def mask(self, rows: Rows) -> pa.BooleanArray:
        """Return whether each row is known to match."""
        if rows.num_rows <= FEW_ROWS_MAX or not self._reads:
            return pa.array([answer is True for answer in self.answers(rows)], pa.bool_())
        arrays = [column_of(rows, name, arrow_type) for name, arrow_type, _ in self._reads]
        batch = pa.RecordBatch.from_arrays(arrays, names=[str(at) for at in range(len(arrays))])
        return evaluate(self._predicate, batch).fill_null(fill_value=False)

    def answers(self, rows: Rows) -> Iterable[bool | None]:
        """Return the answer for each row, ``None`` for unknown."""
        columns = [
            codec.values(column_of(rows, name, arrow_type))
            for name, arrow_type, codec in self._reads
        ]
        return map(self._test, zip(*columns, strict=True) if columns else repeat((), rows.num_rows))


def _row_test(predicate: Predicate, types: list[pa.DataType]) -> Test:
    """Return ``predicate`` as a function of one row's operands, as the store keeps values.

    What the store keeps is ordered as the values are, and Python compares it exactly.
    """
    match predicate:
        case tree.And(operands) | tree.Or(operands):
            tests = [_row_test(each, types) for each in operands]
            decisive = isinstance(predicate, tree.Or)

            def connected(row: Sequence[Any]) -> bool | None:
                answer: bool | None = not decisive
                for test in tests:
                    each = test(row)
                    if each is decisive:
                        return decisive
                    if each is None:
                        answer = None
                return answer

            return connected if len(tests) > 1 else tests[0]
        case tree.Not(operand):
            test = _row_test(operand, types)
            return lambda row: None if (each := test(row)) is None else not each
        case tree.Constant(constant):
            return lambda _: constant
        case tree.CompareColumns(function, left, right):
            compare, first, second = _COMPARE[function], int(left), int(right)
            return lambda row: (
                None
                if row[first] is None or row[second] is None
                else compare(row[first], row[second])
            )
        case tree.IsNull(column):
            at = int(column)
            return lambda row: row[at] is None
        case tree.IsTrue(column):
            at = int(column)
            return lambda row: None if row[at] is None else bool(row[at])
        case tree.Compare(function, column, value):
            at, compare = int(column), _COMPARE[function]
            bound = encode_scalar(types[at], value)
            if bound is None:
                return lambda _: None
            return lambda row: None if row[at] is None else compare(row[at], bound)
        case tree.In(column, values, has_null):
            at = int(column)
            miss: bool | None = None if has_null else False
            bounds = frozenset(encode_scalar(types[at], value) for value in values)
            return lambda row: None if row[at] is None else (True if row[at] in bounds else miss)


def column_of(rows: Rows, name: str, arrow_type: pa.DataType) -> pa.Array:
    """Return a column as one array of ``arrow_type``."""
    column = rows.column(name)
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if column.type == arrow_type:
        return column
    if len(column) <= FEW_ROWS_MAX and pt.is_float64(arrow_type):  # a cast costs ten times as much
        values = [None if value is None else float(value) for value in column.to_pylist()]
        return pa.array(values, arrow_type)
    return column.cast(arrow_type, safe=False)
