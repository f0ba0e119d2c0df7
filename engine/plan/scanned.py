"""What a plan reads: its tables, and the columns and conditions that it reads each by.

Rule:
    - A query that stands in an expression is no input of a plan's node, and datafusion-python
      gives no way to it. It is told by the plan's text, which has every scan on a line: what a
      value with line breaks adds to that makes more of what is read, and never less.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from datafusion.expr import (
    Limit,
    Projection,
    Sort,
    SubqueryAlias,
    TableScan,
)

from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA
from affidavit.catalog.store.interrupts import held
from affidavit.engine.plan.nodes.origins import origin_of, scans_in, variant
from affidavit.engine.statement.parameters import row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from datafusion import DataFrame, Expr, LogicalPlan

    from affidavit.catalog.model.release import Facts, Reading
    from affidavit.engine.plan.runner import Plan, Planned
    from affidavit.engine.scans.snapshot import Snapshot


_SCAN: Final = re.compile(r"TableScan: (?P<table>.*?)(?: projection=\[(?P<columns>.*?)\].*)?")
"""A scan in a plan's text, as DataFusion 54 prints it."""

_PLAIN: Final = re.compile(
    r"(?: *(?:Projection|Filter|Limit|SubqueryAlias|TableScan): [^\n]*(?:\n|$))+"
)
"""The text of a plan that says nothing of an order, and has no query in an expression."""

_LISTS_COLUMNS: Final = re.compile(r"TableScan: [^\n]*columns")

PLAIN_LENGTH_MAX: Final = 4_000


def listing(plan: Plan, snapshot: Snapshot) -> DataFrame:
    """Plan a statement that lists the catalog, and note whether that may list columns."""
    frame = plan(snapshot)
    with held():
        text = frame.logical_plan().display_indent()
    snapshot.list_columns(may=_LISTS_COLUMNS.search(text) is not None)
    return frame


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
    for name, columns in _in_expressions(plan):
        found = reading.tables.get(name)
        if found is not None:
            found.note_scan(columns, ())


def _in_expressions(plan: LogicalPlan) -> Iterator[tuple[str, list[str]]]:
    """Yield name and columns of every table that a plan reads in a query within an expression."""
    text = plan.display_indent()
    if "Subquery:" not in text:
        return
    lines = Counter(line.strip() for line in text.split("\n"))
    for scan in scans_in(plan):
        lines[scan.display().partition("\n")[0].strip()] -= 1
    for line in lines.elements():
        found = _SCAN.fullmatch(line)
        if found is not None:
            columns = found["columns"]
            yield _full_name(found["table"]), columns.split(", ") if columns else []


def _full_name(table: str) -> str:
    """Return what a table is called in a reading."""
    parts = table.split(".")
    if len(parts) == 1:
        return f"{MAIN_SCHEMA}.{table}"
    return ".".join(parts[1:] if len(parts) > 2 and parts[0] == CATALOG else parts)  # noqa: PLR2004 - catalog.schema.table


def _scans(plan: LogicalPlan) -> Iterator[tuple[str | None, str, str, TableScan]]:
    """Yield catalog, schema, table and scan of every table that a plan reads."""
    for node in scans_in(plan):
        scan = node.to_variant()
        catalog, schema, table = scan.fqn()
        yield catalog, schema or MAIN_SCHEMA, table, scan


def reads_rows(text: str) -> bool:
    """Return whether a plan, given as its text, reads what it names: an EXPLAIN only plans it."""
    return not text.startswith("Explain")


def describe(planned: Planned, facts: Facts, optimized: Callable[[], LogicalPlan]) -> None:
    """Let a reading know what there is to say of a plan that is going to run.

    Args:
        planned: The plan.
        facts: What is known of it; the rest is filled in.
        optimized: Returns it as DataFusion would run it, which takes as long as a small record.
    """
    snapshot, reading = planned.snapshot, planned.snapshot.reading
    last = snapshot.catalog.ledger.last_seq(snapshot.reader)
    facts = replace(facts, parameters=row_of(snapshot.parameters), journal_seq=last)
    reading.describe(facts)
    for table in reading.tables.values():
        table.see()
    if tells_itself(planned.text, snapshot):
        reading.describe(replace(facts, is_ordered=False))
        for table in reading.tables.values():
            table.be_asked()
    else:
        plan = optimized()
        reading.describe(replace(facts, is_ordered=is_ordered(plan)))
        with held():  # a plan asks our tables for their columns
            note_scans(plan, reading)
    if not snapshot.calls:  # whose code is given more rows than come back
        note_keys(planned.frame, reading)


def tells_itself(text: str, snapshot: Snapshot) -> bool:
    """Return whether a plan need not be optimised to be told: then its tables are asked to tell.

    That is so where it sorts nothing, has no query in an expression, and reads nothing but tables
    that are scanned by us, which are told columns before any of them is scanned. Conditions are
    told by an optimised plan alone.
    """
    if snapshot.prepared or snapshot.others or snapshot.catalog.keeps_queries:
        return False
    scanned = {id(each.told) for each in snapshot.scans.values()}
    if not all(id(each) in scanned for each in snapshot.reading.tables.values()):
        return False
    return len(text) <= PLAIN_LENGTH_MAX and _PLAIN.fullmatch(text) is not None


def is_ordered(plan: LogicalPlan) -> bool:
    """Return whether a plan says in which order its rows come."""
    node = variant(plan)
    while isinstance(node, Limit | Projection | SubqueryAlias):
        (plan,) = plan.inputs()
        node = variant(plan)
    return isinstance(node, Sort)


def _shown(expression: Expr) -> str:
    return str(expression).removeprefix("Expr(").removesuffix(")")


def note_keys(frame: DataFrame, reading: Reading) -> None:
    """Note which columns of the result of a plan are the key of a table whose rows are on record.

    They tell which of its rows were given, if the plan reads the table in one place, which is no
    query within an expression.
    """
    wanted = {name: table for name, table in reading.tables.items() if table.given is not None}
    if not wanted:
        return
    with held():  # a plan asks our tables for their columns
        plan = frame.logical_plan()
        read = [f"{schema}.{table}" for _, schema, table, _ in _scans(plan)]
        read += (name for name, _ in _in_expressions(plan))
        origins = list(_origins(plan))
    for name, table in wanted.items():
        places = [
            origins.index((name, column)) for column in table.key if (name, column) in origins
        ]
        if places and len(places) == len(table.key) and read.count(name) == 1:
            table.are_at(places)


def _origins(plan: LogicalPlan) -> Iterator[tuple[str, str] | None]:
    """Yield the table and column that each column of a plan's result is, as it is there."""
    node = variant(plan)
    while isinstance(node, Sort | Limit | SubqueryAlias):
        (plan,) = plan.inputs()
        node = variant(plan)
    if isinstance(node, Projection):
        for each in node.projections():
            yield origin_of(each, plan.inputs()[0])
