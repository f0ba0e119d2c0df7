"""Expressions of a plan, read as what a database may be asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from datafusion.expr import (
    Alias,
    Between,
    BinaryExpr,
    Case,
    Cast,
    Column,
    InList,
    IsNotNull,
    IsNull,
    Like,
    Literal,
    Not,
)

from affidavit.catalog.sources.subtrees.expressions import Call, ColumnAt, Constant, class_of
from affidavit.engine.plan.nodes.origins import variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datafusion import Expr

    from affidavit.catalog.sources.subtrees.expressions import Expression

_TRUTH: Final = pa.bool_()
_COMPARING: Final = frozenset({"=", "!=", "<", "<=", ">", ">=", "is not distinct from"})
_CAST: Final = re.compile(r"CAST\(.* AS (?P<type>[^()]+(?:\([^()]*\))?)\)", re.DOTALL)
_DECIMAL: Final = re.compile(r"Decimal128\((\d+), ?(-?\d+)\)")
_TYPES: Final[Mapping[str, pa.DataType]] = {
    "Int8": pa.int8(), "Int16": pa.int16(), "Int32": pa.int32(), "Int64": pa.int64(),
    "Float64": pa.float64(), "Utf8": pa.string(), "Utf8View": pa.string_view(),
    "Date32": pa.date32(),
}  # fmt: skip
_PRECISION_MAX: Final = 38
_TEXTS: Final = frozenset({pa.string(), pa.string_view(), pa.large_string()})


class UnreadError(Exception):
    """What has no words for a database."""


class Expressions:
    """Reads expressions over the columns of a node.

    Args:
        names: What the columns are called, with what they belong to.
        types: Their types.
    """

    def __init__(self, names: Sequence[str], types: Sequence[pa.DataType]) -> None:
        self._names = list(names)
        self._types = list(types)

    def read(self, expression: Expr) -> Expression:
        """Return an expression.

        Raises:
            UnreadError: It has no words for a database.
        """
        found = variant(expression)
        match found:
            case Alias():
                return self.read(found.expr())
            case Column():
                return self._column(found)
            case Literal():
                return Constant(expression.python_value())
            case BinaryExpr():
                return self._binary(found)
            case Not():
                return Call("not", (self.read(found.expr()),), _TRUTH)
            case IsNull() | IsNotNull():
                name = "is null" if isinstance(found, IsNull) else "is not null"
                return Call(name, (self.read(found.expr()),), _TRUTH)
            case Cast():
                return self._cast(expression, found)
            case Case():
                return self._case(found)
            case InList():
                items = (found.expr(), *found.list())
                return _unless(found.negated(), Call("in", tuple(map(self.read, items)), _TRUTH))
            case Like() if _is_plain(expression, found):
                both = (self.read(found.expr()), self.read(found.pattern()))
                return _unless(found.negated(), Call("like", both, _TRUTH))
            case Between():
                return self._between(found)
        if expression.variant_name() == "ScalarFunction":
            return self._function(expression)
        raise UnreadError

    def _column(self, column: Column) -> ColumnAt:
        relation, name = column.relation(), column.name()
        full = name if relation is None else f"{relation}.{name}"
        if self._names.count(full) != 1:
            raise UnreadError
        at = self._names.index(full)
        return ColumnAt(at, self._types[at])

    def _binary(self, found: BinaryExpr) -> Call:
        operator = found.op().lower()
        left, right = self.read(found.left()), self.read(found.right())
        if operator in {"and", "or"} or operator in _COMPARING:
            return Call(operator, (left, right), _TRUTH)
        return Call(operator, (left, right), _result(operator, left.type, right.type))

    def _cast(self, expression: Expr, found: Cast) -> Call:
        shown = _CAST.fullmatch(expression.canonical_name())
        kind = None if shown is None else _type(shown["type"])
        if kind is None:
            raise UnreadError
        return Call("cast", (self.read(found.expr()),), kind)

    def _case(self, found: Case) -> Expression:
        over = found.expr()
        parts: list[Expression] = []
        for test, value in found.when_then_expr():
            read = self.read(test)
            if over is not None:
                read = Call("=", (self.read(over), read), _TRUTH)
            parts += [read, self.read(value)]
        kind = parts[1].type
        last = found.else_expr()
        if last is None and parts[:1] == [Call("is not null", tuple(parts[1:]), _TRUTH)]:
            return parts[1]
        parts.append(Constant(pa.scalar(None, kind)) if last is None else self.read(last))
        if any(not _alike(each.type, kind) for each in (*parts[1::2], parts[-1])):
            raise UnreadError
        return Call("case", tuple(parts), kind)

    def _between(self, found: Between) -> Call:
        value, low, high = map(self.read, (found.expr(), found.low(), found.high()))
        both = (Call(">=", (value, low), _TRUTH), Call("<=", (value, high), _TRUTH))
        return _unless(found.negated(), Call("and", both, _TRUTH))

    def _function(self, expression: Expr) -> Call:
        name, operands = expression.rex_call_operator(), expression.rex_call_operands()
        read = tuple(map(self.read, operands))
        if name == "date_part" and len(read) > 1 and _is_year(read[0]):
            return Call("year", read[1:], pa.int32())
        if name in {"substr", "substring"}:
            return Call("substr", read, read[0].type)
        raise UnreadError


def _unless(negated: bool, call: Call) -> Call:  # noqa: FBT001 - as DataFusion says it
    return Call("not", (call,), _TRUTH) if negated else call


def _is_plain(expression: Expr, like: Like) -> bool:
    """Return whether a LIKE has no ESCAPE, and is no ILIKE, which is of the same class."""
    value, pattern = like.expr().canonical_name(), like.pattern().canonical_name()
    word = "NOT LIKE" if like.negated() else "LIKE"
    return bool(expression.canonical_name() == f"{value} {word} {pattern}")


def _is_year(value: Expression) -> bool:
    return isinstance(value, Constant) and str(value.value).lower() == "year"


def _alike(one: pa.DataType, other: pa.DataType) -> bool:
    return one == other or {one, other} <= _TEXTS


def _type(shown: str) -> pa.DataType | None:
    """Return a type that DataFusion shows, if it is one that may be asked for."""
    decimal = _DECIMAL.fullmatch(shown)
    if decimal is not None:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return _TYPES.get(shown)


def _result(operator: str, left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Return the type that arithmetic gives, as Arrow's kernels have it."""
    kinds = {class_of(left), class_of(right)}
    if kinds == {"integer"} and left == right:
        return left
    if kinds != {"decimal"}:
        raise UnreadError
    if operator == "*":
        precision, scale = left.precision + right.precision + 1, left.scale + right.scale
    elif operator in {"+", "-"}:
        scale = max(left.scale, right.scale)
        whole = max(left.precision - left.scale, right.precision - right.scale)
        precision = whole + scale + 1
    else:
        raise UnreadError
    if scale > _PRECISION_MAX:
        raise UnreadError
    return pa.decimal128(min(precision, _PRECISION_MAX), scale)
