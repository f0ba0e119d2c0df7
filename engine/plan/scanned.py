"""What a plan reads: its tables, and the columns and conditions that it reads each by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datafusion.expr import (
    Alias,
    Column,
    Explain,
    Filter,
    Join,
    Limit,
    Projection,
    Sort,
    SubqueryAlias,
    TableScan,
)

from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datafusion import Expr, LogicalPlan

    from affidavit.catalog.model.release import Reading


def scans_of(plan: LogicalPlan) -> dict[str, frozenset[str]]:
    """Return the columns that a plan reads of each ``schema.table``."""
    found: dict[str, frozenset[str]] = {}
    for _, schema, table, scan in _scans(plan):
        name = f"{schema}.{table}"
        columns = (column for _, column in scan.projection())
        found[name] = found.get(name, frozenset()).union(columns)
    return found


def note_scans(plan: LogicalPlan, reading: Reading) -> None:
    """Note the columns and filters by which an optimised plan reads each table of a reading."""
    for catalog, schema, table, scan in _scans(plan):
        name = f"{schema}.{table}"
        found = reading.tables.get(name if catalog in {None, CATALOG} else f"{catalog}.{name}")
        if found is not None:
            columns = [column for _, column in scan.projection()]
            found.note_scan(columns, [_shown(each) for each in scan.filters()])


def _scans(plan: LogicalPlan) -> Iterator[tuple[str | None, str, str, TableScan]]:
    """Yield catalog, schema, table and scan of every table that a plan reads."""
    left = [plan]
    while left:
        node = left.pop()
        left += node.inputs()
        scan = _variant(node)
        if isinstance(scan, TableScan):
            catalog, schema, table = scan.fqn()
            yield catalog, schema or MAIN_SCHEMA, table, scan


def reads_rows(plan: LogicalPlan) -> bool:
    """Return whether a plan reads what it names: an EXPLAIN only plans it."""
    return not isinstance(_variant(plan), Explain)


def _variant(node: LogicalPlan | Expr) -> object:
    """Return what a node or expression is; ``None`` for one that Python has no class of."""
    try:
        found: object = node.to_variant()
    except ValueError:
        return None
    return found


def is_ordered(plan: LogicalPlan) -> bool:
    """Return whether a plan says in which order its rows come."""
    node = _variant(plan)
    while isinstance(node, Limit | Projection | SubqueryAlias):
        (plan,) = plan.inputs()
        node = _variant(plan)
    return isinstance(node, Sort)


def _shown(expression: Expr) -> str:
    return str(expression).removeprefix("Expr(").removesuffix(")")


def note_keys(plan: LogicalPlan, reading: Reading) -> None:
    """Note which columns of a plan's result are the key of a table whose rows are on record.

    They tell which of its rows were given, if the plan reads the table in one place.
    """
    wanted = {name: table for name, table in reading.tables.items() if table.given is not None}
    if not wanted:
        return
    read = [f"{schema}.{table}" for _, schema, table, _ in _scans(plan)]
    origins = list(_origins(plan))
    for name, table in wanted.items():
        places = [
            origins.index((name, column)) for column in table.key if (name, column) in origins
        ]
        if places and len(places) == len(table.key) and read.count(name) == 1:
            table.are_at(places)


def _origins(plan: LogicalPlan) -> Iterator[tuple[str, str] | None]:
    """Yield the table and column that each column of a plan's result is, as it is there."""
    node = _variant(plan)
    while isinstance(node, Sort | Limit | SubqueryAlias):
        (plan,) = plan.inputs()
        node = _variant(plan)
    if isinstance(node, Projection):
        for each in node.projections():
            yield _origin_of(each, plan.inputs()[0])


def _origin_of(expression: Expr, plan: LogicalPlan) -> tuple[str, str] | None:
    found = _variant(expression)
    if isinstance(found, Alias):
        return _origin_of(found.expr(), plan)
    return _origin(plan, found.relation(), found.name()) if isinstance(found, Column) else None


def _origin(plan: LogicalPlan, relation: str | None, name: str) -> tuple[str, str] | None:
    """Return the table and column that a column of a plan is, where that can be told."""
    node = _variant(plan)
    if isinstance(node, TableScan):
        _, schema, table = node.fqn()
        columns = {column for _, column in node.projection()}
        has = name in columns or not columns
        meant = relation is None or relation.split(".")[-1] == table
        return (f"{schema or MAIN_SCHEMA}.{table}", name) if has and meant else None
    if isinstance(node, SubqueryAlias):
        is_it = relation is None or relation == str(node.alias())
        return _origin(plan.inputs()[0], None, name) if is_it else None
    if isinstance(node, Projection):
        for each in node.projections():
            if each.schema_name().split(".")[-1] == name:
                return _origin_of(each, plan.inputs()[0])
        return None
    if isinstance(node, Filter | Sort | Limit | Join):
        found = {_origin(each, relation, name) for each in plan.inputs()} - {None}
        return found.pop() if len(found) == 1 else None
    return None
