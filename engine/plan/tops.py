"""Which first rows of a database's table are all that a plan needs of it.

``SELECT ... ORDER BY a LIMIT 10`` needs ten rows, and ``SELECT min(a), max(a)`` two; a plan that
only counts needs none. The database is asked for no more. The plan stays as it is: what it has to
order, to limit and to count is that much less.

Rules:
    - What is needed is told by a node of the optimised plan and what is between it and the scan,
      which is nothing but columns. A table that is scanned in two places is asked for all rows.
    - Whether the database selects the same rows by the filter that it is sent, and orders them the
      same, is for its dialect to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from datafusion.expr import Aggregate, Alias, Column, Projection, Sort, SubqueryAlias, TableScan

from affidavit.catalog.sources.databases.tops import Order, Top
from affidavit.catalog.store.interrupts import held

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datafusion import DataFrame, Expr, LogicalPlan

    from affidavit.engine.scans.snapshot import Snapshot

    Key = tuple[str, str, str]

ROWS_MAX: Final = 100_000
"""So many first rows are asked for at most."""

_WORTH: Final = re.compile(r"^ *(?:Limit|Aggregate): ", re.MULTILINE)
_FETCH: Final = re.compile(r"Sort: .*, fetch=(\d+)", re.DOTALL)
_EXTREME: Final = re.compile(r"(min|max)\(.*\)", re.DOTALL)


def tops_of(frame: DataFrame, snapshot: Snapshot) -> dict[Key, tuple[Top, ...]]:
    """Return which first rows of tables of databases are all that a plan needs of them."""
    if not snapshot.has_databases:
        return {}
    with held():
        if not _WORTH.search(frame.logical_plan().display_indent()):
            return {}
        plan = frame.optimized_logical_plan()
        shown, found = plan.display_indent(), list(_needed(plan))
    named = ((key, tops) for key, tops in found if all(key))  # what is in memory has no catalog
    return {key: tops for key, tops in named if _places(key, shown) == 1}


def _places(key: Key, shown: str) -> int:
    """Return in how many places, at least, a plan scans a table."""
    return len(re.findall(rf"TableScan: {re.escape('.'.join(key))}(?!\S)", shown))


def _needed(plan: LogicalPlan) -> Iterator[tuple[Key, tuple[Top, ...]]]:
    """Yield the tables of which a plan needs first rows alone, or only how many rows there are."""
    between: list[LogicalPlan] = []
    node = plan
    while isinstance(node.to_variant(), Projection | SubqueryAlias):
        between.append(node)
        node = node.inputs()[0]
    scan = node.to_variant()
    if isinstance(scan, TableScan):
        tops = _tops_of_scan(scan)
        if tops is not None:
            yield _key(scan), tops
        return
    for each in node.inputs():
        below, names = _scan_below(each)
        tops = None if below is None else _tops(node, names)
        if below is not None and tops is not None:
            yield _key(below), tops
        else:
            yield from _needed(each)


def _tops_of_scan(scan: TableScan) -> tuple[Top, ...] | None:
    """Return what a plan needs of a scan that nothing but columns is made of."""
    fetch = scan.fetch()
    if fetch is not None:
        return (Top(fetch),) if fetch <= ROWS_MAX else None
    return None if scan.projection() else ()


def _tops(node: LogicalPlan, between: Sequence[LogicalPlan]) -> tuple[Top, ...] | None:
    """Return what a node needs of a scan; ``None`` if that is every row, or not told."""
    variant = node.to_variant()
    if isinstance(variant, Sort):
        return _of_sort(variant, node.display(), between)
    if isinstance(variant, Aggregate) and not variant.group_by_exprs():
        if " FILTER " in node.display():  # which no attribute tells
            return None
        return _of_extremes(variant.aggregate_exprs(), between)
    return None


def _of_sort(sort: Sort, shown: str, between: Sequence[LogicalPlan]) -> tuple[Top, ...] | None:
    fetch = _FETCH.fullmatch(shown)
    if fetch is None or not 0 < int(fetch[1]) <= ROWS_MAX:
        return None
    order = []
    for each in sort.sort_exprs():
        column = _origin(each.expr(), between)
        if column is None:
            return None
        order.append(Order(column, not each.ascending(), each.nulls_first()))
    return (Top(int(fetch[1]), tuple(order)),)


def _of_extremes(calls: Sequence[Expr], between: Sequence[LogicalPlan]) -> tuple[Top, ...] | None:
    tops = []
    for call in calls:
        shown = _EXTREME.fullmatch(call.canonical_name())
        arguments = call.to_variant().args() if shown else []
        column = _origin(arguments[0], between) if len(arguments) == 1 else None
        if shown is None or column is None:
            return None
        tops.append(Top(1, (Order(column, descending=shown[1] == "max"),), present=column))
    return tuple(tops) or None


def _scan_below(node: LogicalPlan) -> tuple[TableScan | None, list[LogicalPlan]]:
    """Return the scan that a node reads through columns alone, and what is between, from above."""
    between: list[LogicalPlan] = []
    while isinstance(node.to_variant(), Projection | SubqueryAlias):
        between.append(node)
        node = node.inputs()[0]
    scan = node.to_variant()
    return (scan if isinstance(scan, TableScan) and scan.fetch() is None else None), between


def _origin(expr: Expr, between: Sequence[LogicalPlan]) -> str | None:
    """Return the column of a scan that an expression is; ``None`` if it is none, or not told."""
    column = expr.to_variant()
    for node in between:
        if not isinstance(column, Column):
            return None
        variant = node.to_variant()
        if isinstance(variant, Projection):
            made = [each.to_variant() for each in variant.projections()]
            named = [each for each in made if _name(each) == column.name()]
            if len(named) != 1:
                return None
            column = named[0].expr().to_variant() if isinstance(named[0], Alias) else named[0]
    return column.name() if isinstance(column, Column) else None


def _name(variant: object) -> str | None:
    if isinstance(variant, Alias):
        return str(variant.alias())
    return str(variant.name()) if isinstance(variant, Column) else None


def _key(scan: TableScan) -> Key:
    key: Key = scan.fqn()
    return key
