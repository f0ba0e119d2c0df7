"""CREATE TEMP TABLE, and what else is asked of temporary tables by name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from affidavit.catalog.lake.spill import spilled
from affidavit.catalog.sql.names import MAIN_SCHEMA, TEMP_SCHEMA, check_table_name
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.tables.constraints.rows import ready
from affidavit.engine.result.result import Shape
from affidavit.engine.run.defining.rules import check_defaults
from affidavit.engine.run.defining.tables import (
    as_declared,
    definition_for,
    planned_text,
    with_maps,
)
from affidavit.engine.run.writing.temporary import changed_table
from affidavit.engine.scans.temporary.tables import Temporary
from affidavit.engine.statement.assignments import Name, parse_name
from affidavit.engine.statement.defining.columns import parse_constraints
from affidavit.errors import ConflictError, SqlError, TableExistsError

if TYPE_CHECKING:
    from affidavit.engine.run.defining.tables import New
    from affidavit.engine.run.scope import Scope
    from affidavit.engine.statement.defining.columns import Constraints


def create_temporary(new: New) -> int:
    """Make a temporary table, and return how many rows were put in."""
    scope, cursor = new.scope, new.cursor
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    if if_not_exists and new.or_replace:
        raise SqlError("OR REPLACE and IF NOT EXISTS contradict each other")
    name = _name(scope, parse_name(cursor))
    existing = scope.planner.temporaries.find(TEMP_SCHEMA, name)
    constraints = parse_constraints(cursor)
    _refuse_unsupported(constraints)
    if cursor.peek() == "ON" and cursor.peek(1) == "COMMIT":
        msg = (
            f"ON COMMIT {cursor.peek(2)} is not supported: a temporary table stays until it is "
            "dropped, or its session ends"
        )
        raise SqlError(msg)
    if existing is not None and not new.or_replace:
        if if_not_exists:
            return 0
        raise TableExistsError(name, kind="temporary table")
    table = Name(MAIN_SCHEMA, name)
    text = f"CREATE TABLE {quoted(MAIN_SCHEMA)}.{quoted(name)} {cursor.rest()}"
    if constraints.columns:
        text = planned_text(table, constraints, cursor.rest())
    return _filled(new, name, constraints, text, existing)


def _filled(
    new: New, name: str, constraints: Constraints, text: str, existing: Temporary | None
) -> int:
    """Run the query, and put the table with its rows in its place."""
    scope, catalog = new.scope, new.scope.catalog
    with scope.planner.snapshot(catalog) as snapshot:
        plan = partial(
            scope.planner.plan_create, text, new.params, names=new.statement.names
        )  # fmt: skip
        shape = Shape(*scope.planner.streamed(plan, snapshot))
        with spilled(catalog.lake, shape.batches(), shape.loose) as rows:
            schema = with_maps(scope, as_declared(shape.schema, constraints), constraints)
            check_defaults(scope, schema, constraints.defaults)
            definition = definition_for(catalog, name, schema, constraints)
            empty = Temporary.empty(catalog, name, definition)
            made = changed_table(empty, fresh=ready(catalog, name, definition, rows.table))
    if not scope.planner.temporaries.put(catalog, existing, made):
        raise ConflictError(f"temporary table {name!r} was changed meanwhile: try again")
    return made.info.row_count


def _name(scope: Scope, given: Name) -> str:
    """Return what a temporary table is to be called.

    Raises:
        SqlError: It is said to be in a schema of the lake.
        TableExistsError: A frame is attached by that name.
    """
    if given.schema not in {MAIN_SCHEMA, TEMP_SCHEMA}:
        msg = f"a temporary table is in the schema {TEMP_SCHEMA}, not in {given.schema!r}"
        raise SqlError(msg)
    if (MAIN_SCHEMA, given.table) in scope.planner.frames:
        raise TableExistsError(given.table, kind="frame attached as")
    return check_table_name(given.table)


def _refuse_unsupported(constraints: Constraints) -> None:
    asked = {
        "REFERENCES": bool(constraints.references), "LIKE": bool(constraints.like),
        "IDENTITY": any(each.numbers is not None for each in constraints.columns),
    }  # fmt: skip
    for words, is_asked in asked.items():
        if is_asked:
            msg = f"{words} is not supported in a temporary table, of which the lake knows nothing"
            raise SqlError(msg)


def drop_temporary(scope: Scope, name: Name) -> bool:
    """Drop a temporary table, and return whether there was one of that name."""
    tables = scope.planner.temporaries
    if tables.find(name.schema, name.table) is None:
        return False
    tables.drop(scope.catalog, name.table)
    return True
