"""Which first rows of a table are all that a plan needs of it.

``SELECT ... ORDER BY a LIMIT 10`` needs ten rows, and ``SELECT min(a), max(a)`` two; a plan that
only counts needs none. DataFusion tells a table neither order nor limit, so it is told here: a
database is asked for these rows, and what grows by a number is read from that end. The plan stays
as it is: what it has to order, to limit and to count is that much less.

Rules:
    - What is needed is told by a node of the optimised plan and what is between it and the scan,
      which is nothing but columns. A table that is scanned in two places is read whole.
    - Whether a table has that order, and a database selects the same rows by the filter that it is
      sent, is for them to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from datafusion.expr import (
    Aggregate,
    AggregateFunction,
    Column,
    Projection,
    Sort,
    SubqueryAlias,
    TableScan,
)

from affidavit.catalog.sources.databases.tops import Order, Top
from affidavit.catalog.sql.names import CATALOG, JOURNAL, MAIN_SCHEMA, SYSTEM_SCHEMA
from affidavit.catalog.sql.scan import End
from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.nodes.origins import origin, scans_in, unnamed, variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from datafusion import DataFrame, Expr, LogicalPlan

    from affidavit.engine.scans.snapshot import Snapshot

    Key = tuple[str, str, str]

ROWS_MAX: Final = 100_000
"""A database is asked for so many first rows at most."""

_WORTH: Final = re.compile(r"^ *(?:Limit|Aggregate): ", re.MULTILINE)
_EXTREME: Final = re.compile(r"(min|max)\(.*\)", re.DOTALL)


def tops_of(
    frame: DataFrame,
    optimised: Callable[[], LogicalPlan],
    snapshot: Snapshot,
    runs: DataFrame | None = None,
) -> dict[Key, tuple[Top, ...]]:
    """Return which first rows of databases' tables a plan needs, where that is not all of them.

    The lake's own tables, which have an order, are told here.

    Args:
        frame: The plan.
        optimised: Returns it as DataFusion would run it.
        snapshot: What it reads.
        runs: What is to run of it here, if that is another.
    """
    ends = any(each.ordered_by is not None for each in snapshot.scans.values())
    if not (snapshot.databases and snapshot.sends_filters) and not ends:
        return {}
    found: dict[Key, tuple[Top, ...]] = {}
    with held():
        if not _WORTH.search(frame.logical_plan().display_indent()):
            return {}
        try:
            plan = whole = optimised()
            if runs is not None:
                if not any(_is_told(scan, snapshot) for scan in scans_in(runs.logical_plan())):
                    return {}
                plan = runs.optimized_logical_plan()
        except Exception:  # noqa: BLE001 - of many kinds: running the plan raises it again
            return {}
        shown = whole.display_indent()
        for scan, tops in _needed(plan):
            if _places(scan, shown) != 1:
                continue
            catalog, schema, name = scan.fqn()
            if catalog in {None, CATALOG}:
                _tell(snapshot, schema or MAIN_SCHEMA, name, tops)
            elif snapshot.sends_filters and all(top.rows <= ROWS_MAX for top in tops):
                found[catalog, schema, name] = tops
    return found


def _is_told(scan: LogicalPlan, snapshot: Snapshot) -> bool:
    """Return whether a scan is of a table that is told what is needed of it."""
    catalog, schema, name = scan.to_variant().fqn()
    if catalog in {None, CATALOG}:
        return (schema or MAIN_SCHEMA, name) in {*snapshot.scans, (MAIN_SCHEMA, JOURNAL)}
    return (catalog, schema, name) in snapshot.databases


def _places(scan: TableScan, shown: str) -> int:
    """Return in how many places, at least, a plan scans a table."""
    name = ".".join(filter(None, scan.fqn()))
    return len(re.findall(rf"TableScan: {re.escape(name)}(?!\S)", shown))


def _tell(snapshot: Snapshot, schema: str, name: str, tops: tuple[Top, ...]) -> None:
    """Tell a table of the lake which rows are needed of it."""
    if snapshot.chosen:  # a search's condition is a query of its own, perhaps over the same table
        return
    key = (schema, name)
    dataset = snapshot.scans.get((SYSTEM_SCHEMA, JOURNAL) if key == (MAIN_SCHEMA, JOURNAL) else key)
    if dataset is not None and dataset.ordered_by is not None:
        dataset.want(_end(tops, dataset.ordered_by))


def _end(tops: tuple[Top, ...], ordered_by: str) -> End | None:
    """Return the end of a table that is needed, in its own order; ``None`` for all of it."""
    if len(tops) != 1:
        return None
    (top,) = tops
    if not top.order:
        return End(top.rows, is_last=False)
    first = top.order[0]
    return End(top.rows, is_last=first.descending) if first.column == ordered_by else None


def _needed(plan: LogicalPlan) -> Iterator[tuple[TableScan, tuple[Top, ...]]]:
    """Yield the scans of which a plan needs first rows alone, or only how many rows there are."""
    scan = variant(plan)
    if isinstance(scan, TableScan):
        if scan.fetch() is not None:
            yield scan, (Top(scan.fetch()),)
        elif not scan.projection():
            yield scan, ()
        return
    for each in plan.inputs():
        below = _scan_below(each)
        tops = None if below is None else _tops(plan, below)
        if below is None or tops is None:
            yield from _needed(each)
        else:
            yield below, tops


def _tops(node: LogicalPlan, scan: TableScan) -> tuple[Top, ...] | None:
    """Return what a node needs of a scan; ``None`` if that is every row, or not told."""
    found = variant(node)
    if isinstance(found, Sort) and found.get_fetch_val():
        return _of_sort(found, node.inputs()[0], scan)
    if isinstance(found, Aggregate) and not found.group_by_exprs():
        if " FILTER " in node.display():  # which no attribute tells
            return None
        return _of_extremes(found.aggregate_exprs(), node.inputs()[0], scan)
    return None


def _of_sort(sort: Sort, below: LogicalPlan, scan: TableScan) -> tuple[Top, ...] | None:
    order = []
    for each in sort.sort_exprs():
        column = _column(each.expr(), below, scan)
        if column is None:
            return None
        order.append(Order(column, not each.ascending(), each.nulls_first()))
    return (Top(sort.get_fetch_val(), tuple(order)),)


def _of_extremes(
    calls: Sequence[Expr], below: LogicalPlan, scan: TableScan
) -> tuple[Top, ...] | None:
    tops = []
    for each in calls:
        call = unnamed(each)
        found, shown = variant(call), _EXTREME.fullmatch(call.canonical_name())
        if shown is None or not isinstance(found, AggregateFunction) or len(found.args()) != 1:
            return None
        column = _column(found.args()[0], below, scan)
        if column is None:
            return None
        tops.append(Top(1, (Order(column, descending=shown[1] == "max"),), present=column))
    return tuple(tops) or None


def _scan_below(node: LogicalPlan) -> TableScan | None:
    """Return the scan of all rows that a node reads through columns alone, if it does."""
    found = variant(node)
    while isinstance(found, Projection | SubqueryAlias):
        (node,) = node.inputs()
        found = variant(node)
    return found if isinstance(found, TableScan) and found.fetch() is None else None


def _column(expression: Expr, below: LogicalPlan, scan: TableScan) -> str | None:
    """Return the column of a scan that an expression over it is; ``None`` if it is none."""
    found = variant(expression)
    if not isinstance(found, Column):
        return None
    told = origin(below, found.relation(), found.name())
    _, schema, table = scan.fqn()
    is_its = told is not None and told[0] == f"{schema or MAIN_SCHEMA}.{table}"
    return told[1] if told is not None and is_its else None
