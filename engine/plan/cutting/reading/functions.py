"""Aggregate and window functions of a plan's nodes, read as what a database may be asked.

Rules:
    - What datafusion-python gives no way to, as IGNORE NULLS, is told by what a function is called:
      one that is called otherwise than by what was read of it is not sent.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.types as pt
from datafusion import Expr
from datafusion.expr import AggregateFunction

from affidavit.catalog.sources.subtrees.aggregations import AGGREGATES, NTHS, RANKS, SHIFTS
from affidavit.catalog.sources.subtrees.expressions import Constant
from affidavit.catalog.sources.subtrees.relations import (
    Aggregation,
    Over,
    SortKey,
    WindowFunction,
)
from affidavit.engine.plan.cutting.reading.expressions import UnreadError
from affidavit.engine.plan.cutting.reading.messages import body, fields
from affidavit.engine.plan.nodes.origins import unnamed, variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from datafusion import SessionContext
    from datafusion.expr import SortExpr, WindowExpr, WindowFrame, WindowFrameBound

    from affidavit.catalog.sources.subtrees.expressions import Expression
    from affidavit.engine.plan.cutting.reading.expressions import Expressions

FRAME_ROWS_MAX: Final = 1_000_000
"""A frame that reaches farther, or a row that is farther away, is not asked for."""

_FILTER: Final = 3
"""The number of the condition in an ``AggregateUDFExprNode``."""


def aggregation_of(
    expression: Expr, over: Expressions, kind: pa.DataType, context: SessionContext
) -> Aggregation:
    """Return an aggregate function over the columns of a node's input.

    Raises:
        UnreadError: It has more to it than its arguments and a FILTER, as an order.
    """
    expression = unnamed(expression)
    found = variant(expression)
    if not isinstance(found, AggregateFunction) or len(found.args()) != 1:
        raise UnreadError
    (argument,) = found.args()
    name, distinct = found.aggregate_type(), "DISTINCT " if found.is_distinct() else ""
    called, condition = f"{name}({distinct}{argument.canonical_name()})", None
    if expression.canonical_name().startswith(f"{called} FILTER"):
        condition = _condition(expression, context)
        called += f" FILTER (WHERE {condition.canonical_name()})"
    if expression.canonical_name() != called:
        raise UnreadError
    read: Expression | None = over.read(argument)
    if not distinct and _counts_rows(name, read):
        read = None
    chosen = None if condition is None else over.read(condition)
    return Aggregation(name, read, bool(distinct), kind, chosen)


def _condition(expression: Expr, context: SessionContext) -> Expr:
    """Return the FILTER of an aggregate function.

    Raises:
        UnreadError: It cannot be told.
    """
    try:
        found = dict(fields(body(Expr(expression).to_bytes())))
        return Expr.from_bytes(found[_FILTER], context)
    except Exception as error:  # of many kinds, where DataFusion has no bytes for it
        raise UnreadError from error


def sort_keys(keys: Iterable[SortExpr], over: Expressions) -> tuple[SortKey, ...]:
    """Return what rows are sorted by.

    Raises:
        UnreadError: It has no words for a database.
    """
    return tuple(
        SortKey(over.read(each.expr()), not each.ascending(), each.nulls_first()) for each in keys
    )


def window_function_of(
    node: WindowExpr, raw: Expr, over: Expressions, kind: pa.DataType
) -> WindowFunction:
    """Return a window function over the columns of a node's input.

    Raises:
        UnreadError: It has more to it than is read of it, as a FILTER, or no words for a database.
    """
    raw = unnamed(raw)
    name, args = node.window_func_name(raw), node.get_args(raw)
    partition, order = node.get_partition_exprs(raw), node.get_sort_exprs(raw)
    frame = _frame(node.get_frame(raw))
    if raw.canonical_name() != _called(name, args, partition, order, frame):
        raise UnreadError
    window = Over(tuple(map(over.read, partition)), sort_keys(order, over))
    if any(isinstance(key, Constant) for key in window.partition):
        raise UnreadError
    if any(isinstance(key.expression, Constant) for key in window.order):
        raise UnreadError
    arguments = tuple(map(over.read, args))
    if name in AGGREGATES | NTHS:
        if "RANGE" in frame and not window.order:
            raise UnreadError
        window = Over(window.partition, window.order, frame)
    elif name not in RANKS | SHIFTS or not (window.order or name == "row_number"):
        raise UnreadError
    return WindowFunction(name, _arguments(name, arguments, kind), window, kind)


def _counts_rows(name: str, argument: Expression | None) -> bool:
    return name == "count" and isinstance(argument, Constant) and argument.value.is_valid


def _arguments(
    name: str, arguments: tuple[Expression, ...], kind: pa.DataType
) -> tuple[Expression, ...]:
    """Return what a window function is given.

    Raises:
        UnreadError: It is given something else than a database would be.
    """
    if name in AGGREGATES:
        if len(arguments) != 1:
            raise UnreadError
        return () if _counts_rows(name, arguments[0]) else arguments
    if name in RANKS:
        return arguments
    value, *rest = arguments
    if rest and not _is_place(rest[0]):
        raise UnreadError
    return (value, *rest[:1], *(_as(each, kind) for each in rest[1:] if not _is_null(each)))


def _is_place(expression: Expression) -> bool:
    """Return whether it is a number of rows that is told."""
    if not isinstance(expression, Constant) or not pt.is_integer(expression.type):
        return False
    return bool(1 <= (expression.value.as_py() or 0) <= FRAME_ROWS_MAX)


def _is_null(expression: Expression) -> bool:
    return isinstance(expression, Constant) and not expression.value.is_valid


def _as(expression: Expression, kind: pa.DataType) -> Constant:
    """Return a value as one of another type, if it is the same in that."""
    if not isinstance(expression, Constant):
        raise UnreadError
    if expression.type == kind:
        return expression
    if not pt.is_integer(expression.type):
        raise UnreadError
    value = expression.value.as_py()
    try:
        return Constant(pa.scalar(Decimal(value) if pt.is_decimal(kind) else value, kind))
    except (pa.ArrowException, OverflowError) as error:
        raise UnreadError from error


# --- what a function is called -------------------------------------------------------------------


def _called(
    name: str,
    args: Sequence[Expr],
    partition: Sequence[Expr],
    order: Sequence[SortExpr],
    frame: str,
) -> str:
    """Return what DataFusion calls a function that has no more to it."""
    text = f"{name}({_listed(args)})"
    if partition:
        text += f" PARTITION BY [{_listed(partition)}]"
    if order:
        text += f" ORDER BY [{', '.join(map(_key, order))}]"
    return f"{text} {frame}"


def _listed(expressions: Iterable[Expr]) -> str:
    return ", ".join(each.canonical_name() for each in expressions)


def _key(key: SortExpr) -> str:
    way = "ASC" if key.ascending() else "DESC"
    return f"{key.expr().canonical_name()} {way} NULLS {'FIRST' if key.nulls_first() else 'LAST'}"


def _frame(frame: WindowFrame) -> str:
    """Return a frame as SQL.

    Raises:
        UnreadError: A database may have no such frame.
    """
    units, start, end = frame.get_frame_units(), frame.get_lower_bound(), frame.get_upper_bound()
    if end is None or units not in {"ROWS", "RANGE"}:
        raise UnreadError
    is_counted = not (_is_plain(start) and _is_plain(end))
    if is_counted and (units != "ROWS" or _steps(start) > _steps(end)):
        raise UnreadError
    return f"{units} BETWEEN {_bound(start)} AND {_bound(end)}"


def _is_plain(bound: WindowFrameBound) -> bool:
    return bool(bound.is_current_row() or bound.is_unbounded())


def _steps(bound: WindowFrameBound) -> int:
    """Return how many rows after the current one a bound is; many where there is none.

    Raises:
        UnreadError: It is too far away.
    """
    if bound.is_current_row():
        return 0
    rows = FRAME_ROWS_MAX if bound.is_unbounded() else bound.get_offset()
    if rows is None or rows > FRAME_ROWS_MAX:
        raise UnreadError
    return -rows if bound.is_preceding() else rows


def _bound(bound: WindowFrameBound) -> str:
    if bound.is_current_row():
        return "CURRENT ROW"
    far = "UNBOUNDED" if bound.is_unbounded() else str(bound.get_offset())
    return f"{far} {'PRECEDING' if bound.is_preceding() else 'FOLLOWING'}"
