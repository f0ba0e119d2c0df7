"""SUMMARIZE: a row a column, of what a table or query has in it. The columns are DuckDB's."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.model.making import type_text
from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.result.result import Result
from affidavit.engine.statement.statement import parse_statement

if TYPE_CHECKING:
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement

_SCHEMA: Final = pa.schema(
    [
        ("column_name", pa.string()), ("column_type", pa.string()), ("min", pa.string()),
        ("max", pa.string()), ("approx_unique", pa.int64()), ("avg", pa.float64()),
        ("std", pa.float64()), ("q25", pa.float64()), ("q50", pa.float64()),
        ("q75", pa.float64()), ("count", pa.int64()), ("null_percentage", pa.float64()),
    ]
)  # fmt: skip

_QUERIES: Final = frozenset({"SELECT", "WITH", "VALUES", "("})
_QUARTERS: Final = ("0.25", "0.5", "0.75")


def summarize(scope: Scope, statement: Statement, params: Params) -> Result:
    """Return a summary of each column; the rows are read once, as those of any query."""
    query = _query(statement)
    asked = parse_statement(query)
    with scope.planner.snapshot(scope.catalog) as snapshot:
        plan = partial(scope.planner.plan, query, params, names=asked.names, read_only=True)
        schema = scope.planner.schema_of(plan(snapshot), snapshot)
    told = [
        f"{sql} AS {quoted(f'{at} {name}')}"
        for at, column in enumerate(schema)
        for name, sql in _asked(column).items()
    ]
    text = f"SELECT count(*) AS rows, {', '.join(told)} FROM ({query}) AS summarized"
    [row] = scope.query(parse_statement(text), params).to_pylist()
    return Result.of(
        pa.Table.from_pylist([_row(at, each, row) for at, each in enumerate(schema)], _SCHEMA)
    )


def _query(statement: Statement) -> str:
    cursor = statement.cursor()
    cursor.expect("SUMMARIZE")
    is_query = cursor.peek() in _QUERIES
    return cursor.rest() if is_query else f"SELECT * FROM {cursor.rest()}"


def _asked(column: pa.Field) -> dict[str, str]:
    """Return what is computed of a column, as far as its type has it."""
    name, kind = quoted(column.name), column.type
    asked = {"valid": f"count({name})"}
    if pt.is_nested(kind) or pt.is_null(kind) or pt.is_interval(kind):
        return asked
    if not pt.is_boolean(kind):
        asked |= {"min": f"min({name})", "max": f"max({name})"}
    if not pt.is_binary(kind) and not pt.is_large_binary(kind):
        asked["unique"] = f"count(DISTINCT {name})"
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
        number = f"CAST({name} AS DOUBLE)"
        asked |= {"avg": f"avg({number})", "std": f"stddev({number})"}
        asked |= {each: f"approx_percentile_cont({number}, {each})" for each in _QUARTERS}
    return asked


def _row(at: int, column: pa.Field, row: dict[str, Any]) -> dict[str, Any]:
    def found(name: str) -> Any:  # noqa: ANN401 - whatever was computed
        return row.get(f"{at} {name}")

    rows, valid = row["rows"], found("valid")
    return {
        "column_name": column.name, "column_type": type_text(column.type),
        "min": _text(found("min")), "max": _text(found("max")),
        "approx_unique": found("unique"), "avg": found("avg"), "std": found("std"),
        **{f"q{each[2:].ljust(2, '0')}": found(each) for each in _QUARTERS},
        "count": rows,
        "null_percentage": float(round(Decimal(100 * (rows - valid)) / rows, 2)) if rows else None,
    }  # fmt: skip


def _text(value: object) -> str | None:
    return None if value is None else str(value)
