"""EXPLAIN: a statement's plan, and what it sends to each source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.engine.result.result import Result
from affidavit.engine.scans.sources import DatabaseSource
from affidavit.engine.statement.commands import parse_explain
from affidavit.engine.statement.statement import DML_KINDS, DML_SCHEMA, Kind
from affidavit.errors import SourceError, SqlError

if TYPE_CHECKING:
    from datafusion import DataFrame

    from affidavit.catalog.sources.databases.sent import Came
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.statement.commands import Explain
    from affidavit.engine.statement.statement import Statement

_REST: Final = "rest of the plan"


def explain(scope: Scope, statement: Statement, params: Params) -> Result:
    """Return the plan of a statement; only a query can be ANALYZEd, which runs it."""
    asked = parse_explain(statement.cursor())
    if asked.inner.kind in {Kind.QUERY, Kind.EXPLAIN}:
        return _query(scope, asked, statement, params)
    if asked.analyze:
        kind = asked.inner.kind.value
        msg = f"EXPLAIN ANALYZE would run a {kind}: EXPLAIN it without ANALYZE"
        raise SqlError(msg)
    return _change(scope, asked.inner, statement, params)


def told(plans: Result) -> str:
    """Return what EXPLAIN returned, as one text."""
    kinds, texts = plans.to_arrow().to_pydict().values()
    return "\n\n".join(f"{kind}:\n{text.rstrip()}" for kind, text in zip(kinds, texts, strict=True))


def _query(scope: Scope, asked: Explain, statement: Statement, params: Params) -> Result:
    """Return the plan of a query, and what it sends to each source."""
    planner = scope.planner
    with planner.snapshot(scope.catalog) as snapshot:
        plans = planner.collect(partial(_plan, planner, asked, statement, params), snapshot)
    if snapshot.copies:
        told = [planner.hide(text) for text in plans["plan"].to_pylist()]
        field = plans.schema.field("plan")
        at = plans.schema.get_field_index("plan")
        plans = plans.set_column(at, field, pa.array(told, field.type))
    queries = snapshot.sent.queries
    sent = {
        "plan_type": [f"sent to {source}" for source, _ in queries],
        "plan": [
            _shown(
                sql, came, _expected(planner, snapshot, source, sql) if came.is_sub_tree else None
            )
            for (source, sql), came in queries.items()
        ],
    }
    kept = list(snapshot.sent.kept)
    sent["plan_type"] += ["not sent"] * len(kept)
    sent["plan"] += kept
    if not sent["plan"]:
        return Result.of(plans)
    return Result.of(pa.concat_tables([plans, pa.table(sent, schema=plans.schema)]))


def _plan(
    planner: Planner, explained: Explain, statement: Statement, params: Params, at: Snapshot
) -> DataFrame:
    """Return the plan of an EXPLAIN, of what runs here once sub-trees were cut out for databases.

    DataFusion explains texts alone, so what runs is a table that the text reads.
    """
    inner, names = explained.inner, statement.names
    whole = planner.plan(statement.text, params, at, names=names, read_only=True)
    if not at.databases or not statement.text.endswith(inner.text):
        return whole
    asked = planner.plan(inner.text, params, at, names=names, read_only=True)
    runs = planner.runs(asked, at, begin=explained.analyze)
    if runs is asked:
        return whole
    at.virtual[_REST] = runs.into_view()
    explain = statement.text.removesuffix(inner.text)
    return planner.plan(
        f'{explain} SELECT * FROM "{DML_SCHEMA}"."{_REST}"', {}, at, names=names, read_only=True
    )


def _expected(planner: Planner, at: Snapshot, source: str, sql: str) -> int | None:
    """Return how many rows a database expects a query to give, if it says."""
    found = planner.attached.get(source)
    if not isinstance(found, DatabaseSource):
        return None
    try:
        return found.database.expected(sql, at.begin_running())
    except SourceError:  # it is there to be read by whoever reads the plan
        return None


def _shown(sql: str, came: Came, expected: int | None) -> str:
    """Return a query as it was sent, with what is expected of it, and came of it if it was run."""
    told = [] if expected is None else [f"about {expected:,} rows expected"]
    if came.rows is not None:
        told.append(f"{came.rows:,} rows, {came.bytes:,} bytes came")
    return f"{sql}\n-- {'; '.join(told)}" if told else sql


def _change(scope: Scope, inner: Statement, statement: Statement, params: Params) -> Result:
    """Return the plan of a statement that changes something, without planning it physically.

    DataFusion's in-memory tables delete rows when a DELETE is planned physically.
    """
    text = inner.text if inner.kind in DML_KINDS else statement.text
    with scope.planner.snapshot(scope.catalog) as snapshot:
        frame = scope.planner.plan(text, params, snapshot, names=inner.names)
    plan = frame.logical_plan()
    if inner.kind not in DML_KINDS:
        plan = plan.inputs()[0]
    plans = {"plan_type": ["logical_plan"], "plan": [plan.display_indent()]}
    return Result.of(pa.table(plans))
