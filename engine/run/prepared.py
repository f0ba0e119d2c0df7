"""PREPARE, EXECUTE and DEALLOCATE: statements that are kept by name.

DataFusion checks a statement and its types when it is prepared. Running it is done anew each time,
since its plan would go on reading the tables as they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.engine.result.outcome import nothing
from affidavit.engine.statement.commands import parse_execute, parse_prepare
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pyarrow as pa

    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement


def prepare(scope: Scope, statement: Statement, _: Params) -> Result:
    """Keep a statement by name."""
    asked = parse_prepare(statement.cursor())
    prepared = scope.planner.state.prepared
    if asked.name in prepared:
        msg = f"a prepared statement {asked.name!r} is there already: DEALLOCATE it first"
        raise SqlError(msg)
    inner = parse_statement(asked.text)
    _check(scope, statement)
    prepared[asked.name] = inner, asked.types
    return nothing()


def _check(scope: Scope, statement: Statement) -> None:
    """Let DataFusion check it and keep nothing: its contexts are many sessions'."""
    with scope.planner.snapshot(scope.catalog) as snapshot:
        snapshot.leave_unbound()
        scope.planner.plan(f"EXPLAIN {statement.text}", {}, snapshot, names=statement.names)


def execute(scope: Scope, statement: Statement, _: Params) -> Result:
    """Run a statement that was prepared."""
    asked = parse_execute(statement.cursor())
    prepared = scope.planner.state.prepared
    if asked.name not in prepared:
        raise SqlError(_unknown(asked.name, prepared))
    inner, types = prepared[asked.name]
    takes = len(types) or len(inner.placeholders) + inner.marks
    if len(asked.values) != takes:
        msg = f"{asked.name!r} takes {takes} parameters, got {len(asked.values)}"
        raise SqlError(msg)
    return scope.execute(inner, _evaluated(scope, asked.values, types))


def _evaluated(scope: Scope, values: Sequence[str], types: Sequence[str]) -> dict[str, pa.Scalar]:
    if not values:
        return {}
    casts = [
        f"CAST({value} AS {types[at]}) AS c{at}" if types else f"({value}) AS c{at}"
        for at, value in enumerate(values)
    ]
    row = scope.query(parse_statement(f"SELECT {', '.join(casts)}"), {}).to_arrow()
    return {str(at + 1): row.column(at)[0] for at in range(len(values))}


def deallocate(scope: Scope, statement: Statement, _: Params) -> Result:
    """Forget a statement that was prepared."""
    cursor = statement.cursor()
    cursor.expect("DEALLOCATE")
    cursor.accept("PREPARE")
    name = cursor.name("a prepared statement")
    prepared = scope.planner.state.prepared
    if prepared.pop(name, None) is None:
        raise SqlError(_unknown(name, prepared))
    return nothing()


def _unknown(name: str, prepared: Collection[str]) -> str:
    return f"no prepared statement {name!r}; there are {sorted(prepared)}"
