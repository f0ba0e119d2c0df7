"""Which column of which table a column of a plan is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datafusion.expr import (
    Alias,
    Column,
    Filter,
    Join,
    Limit,
    Projection,
    Sort,
    SubqueryAlias,
    TableScan,
)

from affidavit.catalog.sql.names import MAIN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datafusion import Expr, LogicalPlan


def variant(node: LogicalPlan | Expr) -> object:
    """Return what a node or expression is; ``None`` for one that Python has no class of."""
    try:
        found: object = node.to_variant()
    except ValueError:
        return None
    return found


def unnamed(expression: Expr) -> Expr:
    """Return what an expression is of which an alias says what it is called."""
    found = variant(expression)
    while isinstance(found, Alias):
        expression = found.expr()
        found = variant(expression)
    return expression


def scans_in(plan: LogicalPlan) -> Iterator[LogicalPlan]:
    """Yield the nodes of a plan that scan tables, but for those in queries within expressions."""
    return (node for node in nodes_in(plan) if isinstance(variant(node), TableScan))


def nodes_in(plan: LogicalPlan) -> Iterator[LogicalPlan]:
    """Yield the nodes of a plan, but for those in queries within expressions."""
    left = [plan]
    while left:
        node = left.pop()
        left += node.inputs()
        yield node


def origin_of(expression: Expr, plan: LogicalPlan) -> tuple[str, str] | None:
    """Return the table and column that an expression over a plan is, where that can be told."""
    found = variant(expression)
    if isinstance(found, Alias):
        return origin_of(found.expr(), plan)
    return origin(plan, found.relation(), found.name()) if isinstance(found, Column) else None


def origin(plan: LogicalPlan, relation: str | None, name: str) -> tuple[str, str] | None:
    """Return the table and column that a column of a plan is, where that can be told."""
    node = variant(plan)
    if isinstance(node, TableScan):
        _, schema, table = node.fqn()
        columns = {column for _, column in node.projection()}
        has = name in columns or not columns
        meant = relation is None or relation.split(".")[-1] == table
        return (f"{schema or MAIN_SCHEMA}.{table}", name) if has and meant else None
    if isinstance(node, SubqueryAlias):
        is_it = relation is None or relation == str(node.alias())
        return origin(plan.inputs()[0], None, name) if is_it else None
    if isinstance(node, Projection):
        made = [each for each in node.projections() if _is_called(each, name)]
        return origin_of(made[0], plan.inputs()[0]) if len(made) == 1 else None
    if isinstance(node, Filter | Sort | Limit | Join):
        found = {origin(each, relation, name) for each in plan.inputs()} - {None}
        return found.pop() if len(found) == 1 else None
    return None


def _is_called(expression: Expr, name: str) -> bool:
    """Return whether an expression makes a column of that name."""
    found = variant(expression)
    if isinstance(found, Alias):
        return found.alias() == name
    return isinstance(found, Column) and found.name() == name
