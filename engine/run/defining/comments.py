"""COMMENT ON: what a table and its columns are for, kept in its definition."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from affidavit.catalog.model.rules import OF_TABLE
from affidavit.catalog.tables.altering.redefine import mutable_definition
from affidavit.catalog.tables.altering.rules import change_rules
from affidavit.engine.result.outcome import nothing
from affidavit.engine.run.alter import find_table
from affidavit.engine.run.defining.rules import commented
from affidavit.engine.statement.assignments import Name, parse_name
from affidavit.engine.statement.definitions import expect_end
from affidavit.errors import ColumnNotFoundError, SqlError

if TYPE_CHECKING:
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.sql.lexer import Cursor
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement


def comment(scope: Scope, statement: Statement, _: Params) -> Result:
    """Run COMMENT ON TABLE or COLUMN ... IS 'text' or NULL, which takes it away."""
    cursor = statement.cursor()
    cursor.expect("COMMENT")
    cursor.expect("ON")
    if cursor.accept("TABLE"):
        table, column = parse_name(cursor), OF_TABLE
    elif cursor.accept("COLUMN"):
        table, column = _column(cursor)
    else:
        raise SqlError(f"COMMENT ON takes a TABLE or a COLUMN, found {cursor.found()}")
    cursor.expect("IS")
    text = None if cursor.accept("NULL") else cursor.literal("a comment in quotes, or NULL")
    expect_end(cursor, "COMMENT")
    scope.refuse_frame(table.schema, table.table)
    info = find_table(scope.catalog, table)
    scope.catalog.refuse_shared(info)
    told = f"comment on {column or 'the table'}"
    change_rules(scope.catalog, info, partial(_made, column=column, text=text), told)
    return nothing(0)


def _column(cursor: Cursor) -> tuple[Name, str]:
    """Move past ``[schema.]table.column``."""
    names = [cursor.name("a table")]
    while cursor.accept("."):
        names.append(cursor.name("a column"))
    if len(names) == 1:
        raise SqlError("COMMENT ON COLUMN takes table.column")
    *schema, table, column = names
    return Name(schema[-1] if schema else "main", table), column


def _made(now: TableInfo, *, column: str, text: str | None) -> MutableDefinition:
    definition = mutable_definition(now)
    if column != OF_TABLE and column not in definition.schema.names:
        raise ColumnNotFoundError(column, table=now.name, known=definition.schema.names)
    return commented(definition, {column: text})
