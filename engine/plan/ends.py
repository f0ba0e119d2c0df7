"""Which end of a table a plan wants: its first or last rows by a number that only grows.

``SELECT ... FROM journal ORDER BY seq DESC LIMIT 10`` sorts all of the journal as DataFusion plans
it, since it tells a table neither order nor limit. So the table is told here, and reads from that
end on until it has given enough. The plan stays as it is, and sorts and cuts what it is given.

Rule:
    - A table is told of an end only where the plan reads nothing else, reads it in one place, and
      between that and what cuts the rows there is nothing that could leave one out or make more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from datafusion.expr import Aggregate, Column, Projection, Sort, SubqueryAlias, TableScan

from affidavit.catalog.sql.names import CATALOG, JOURNAL, MAIN_SCHEMA, SYSTEM_SCHEMA
from affidavit.catalog.sql.scan import End
from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.scanned import origin, variant

if TYPE_CHECKING:
    from datafusion import Expr, LogicalPlan

    from affidavit.catalog.sql.scan import ScanDataset
    from affidavit.engine.plan.runner import Planned
    from affidavit.engine.scans.snapshot import Snapshot

_CUTS: Final = re.compile(
    r" *(?:Limit: |Aggregate: groupBy=\[\[\]\], aggr=\[\[(?:max|min)\()", re.MULTILINE
)
"""A line of a plan, as DataFusion 54 prints it, that may leave few of many rows."""

_SCAN: Final = "TableScan:"
_LARGEST: Final = {"max": True, "min": False}


def ended(planned: Planned) -> Planned:
    """Tell the one table that a plan reads which end of it is wanted, if the plan says so.

    Returns:
        The plan, as it was.
    """
    scans = planned.snapshot.scans.values()
    if any(each.ordered_by is not None for each in scans) and _CUTS.search(planned.text):
        _tell_of(planned)
    return planned


def _tell_of(planned: Planned) -> None:
    with held():
        try:
            plan = planned.frame.optimized_logical_plan()
        except Exception:  # noqa: BLE001 - of many kinds: running the plan raises it again
            return
        if plan.display_indent().count(_SCAN) == 1:
            _tell(plan, planned.snapshot)


def _tell(plan: LogicalPlan, snapshot: Snapshot) -> None:
    cut: LogicalPlan | None = None
    node = variant(plan)
    while not isinstance(node, TableScan):
        if _cut(plan) is not None:
            cut = plan
        elif not isinstance(node, Projection | SubqueryAlias):
            cut = None
        if len(plan.inputs()) != 1:
            return
        (plan,) = plan.inputs()
        node = variant(plan)
    dataset = _dataset(node, snapshot)
    if dataset is not None and dataset.ordered_by is not None:
        dataset.want(_end_of_scan(node) if cut is None else _end(cut, node, dataset.ordered_by))


def _dataset(scan: TableScan, snapshot: Snapshot) -> ScanDataset | None:
    catalog, schema, name = scan.fqn()
    if catalog not in {None, CATALOG}:
        return None
    key = (schema or MAIN_SCHEMA, name)
    return snapshot.scans.get((SYSTEM_SCHEMA, JOURNAL) if key == (MAIN_SCHEMA, JOURNAL) else key)


def _end_of_scan(scan: TableScan) -> End | None:
    """Return the end that a scan is cut to, in whichever order its rows come."""
    rows = scan.fetch()
    return None if rows is None else End(rows, is_last=False)


def _end(cut: LogicalPlan, scan: TableScan, ordered_by: str) -> End | None:
    """Return the end that a node leaves; ``None`` if it cuts in an order that is not the table's.

    Args:
        cut: The node.
        scan: The table's scan, below it.
        ordered_by: The column in whose order the table can be read.
    """
    found = _cut(cut)
    column = None if found is None else variant(found[0])
    if found is None or not isinstance(column, Column):
        return None
    _, schema, table = scan.fqn()
    named = (f"{schema or MAIN_SCHEMA}.{table}", ordered_by)
    is_it = origin(cut.inputs()[0], column.relation(), column.name()) == named
    return End(found[1], is_last=found[2]) if is_it else None


def _cut(plan: LogicalPlan) -> tuple[Expr, int, bool] | None:
    """Return by what a node cuts its rows, how many it needs, and whether those are the largest."""
    node = variant(plan)
    if isinstance(node, Sort) and node.get_fetch_val() is not None:
        first = node.sort_exprs()[0]
        return first.expr(), node.get_fetch_val(), not first.ascending()
    if isinstance(node, Aggregate) and not node.group_by_exprs():
        called = node.aggregate_exprs()
        name = node.agg_func_name(called[0]) if len(called) == 1 else ""
        given = node.aggregation_arguments(called[0]) if name in _LARGEST else []
        if given and called[0].schema_name() == f"{name}({given[0].schema_name()})":
            return given[0], 1, _LARGEST[name]  # of all rows: without a filter
    return None
