"""A plan with other inputs: the nodes between what was cut out of it and its root, made anew.

Rules:
    - A column is called, with what it belongs to, as it was: so expressions stay as they are.
    - A node that is made anew gives columns of the same types, or nothing is cut below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from datafusion import Expr, lit
from datafusion.expr import (
    Aggregate,
    Filter,
    Join,
    Limit,
    Projection,
    Sort,
    SubqueryAlias,
    Union,
    WindowExpr,
)

from affidavit.engine.plan.cutting.reading.relations import is_not_in, limit_of
from affidavit.engine.plan.nodes.origins import variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datafusion import DataFrame, LogicalPlan
    from datafusion.expr import SortExpr

_HOW: Final[Mapping[str, str]] = {
    "Inner": "inner", "Left": "left", "Right": "right", "Full": "full", "LeftSemi": "semi",
    "LeftAnti": "anti",
}  # fmt: skip


def with_inputs(
    node: LogicalPlan, inputs: Sequence[DataFrame], *, has_anti: bool
) -> DataFrame | None:
    """Return a node over other inputs of the same columns; ``None`` if it cannot be made anew."""
    if not inputs:
        return None
    kind, first = variant(node), inputs[0]
    match kind:
        case Projection():
            return first.select(*map(Expr, kind.projections()))
        case Filter():
            return first.filter(Expr(kind.predicate()))
        case SubqueryAlias():
            return first.alias(kind.alias())
        case Sort():
            rows = kind.get_fetch_val()
            ordered = first.sort(*map(_sort_key, kind.sort_exprs()))
            return ordered if rows is None else ordered.limit(rows)
        case Limit():
            return _limited(node, first)
        case Aggregate():
            return first.aggregate(
                list(map(Expr, kind.group_by_exprs())), list(map(Expr, kind.aggregate_exprs()))
            )
        case WindowExpr():
            return _windowed(kind, first)
        case Union():
            return _union(inputs)
        case Join():
            return None if is_not_in(node) else _joined(kind, inputs, has_anti=has_anti)
    return None


def _sort_key(key: SortExpr) -> SortExpr:
    """Return what DataFusion's plans sort by, as its frames take it."""
    return Expr(key.expr()).sort(ascending=key.ascending(), nulls_first=key.nulls_first())


def _limited(node: LogicalPlan, below: DataFrame) -> DataFrame | None:
    found = limit_of(node)
    return None if found is None else below.limit(found[1], found[0])


def _windowed(kind: WindowExpr, below: DataFrame) -> DataFrame:
    made = below
    for raw in kind.get_window_expr():
        function = Expr(raw)
        made = made.with_column(function.schema_name(), function)
    return made


def _union(inputs: Sequence[DataFrame]) -> DataFrame:
    made = inputs[0]
    for each in inputs[1:]:
        made = made.union(each)
    return made


def _joined(kind: Join, inputs: Sequence[DataFrame], *, has_anti: bool) -> DataFrame | None:
    how = _HOW.get(str(kind.join_type()))
    if how is None or kind.null_equals_null() or (how == "anti" and not has_anti):
        return None
    tests = [Expr(left) == Expr(right) for left, right in kind.on()]
    if kind.filter() is not None:
        tests.append(Expr(kind.filter()))
    left, right = inputs
    return left.join_on(right, *(tests or [lit(value=True)]), how=how)
