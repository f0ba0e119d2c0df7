"""ALTER TABLE, run: columns, constraints, names and the table's own policy."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.model.definition import MutableDefinition
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.tables.altering.columns import add_column, drop_column, rename_column
from affidavit.catalog.tables.altering.policy import set_policy
from affidavit.catalog.tables.altering.redefine import mutable_definition
from affidavit.catalog.tables.altering.renames import rename_table
from affidavit.catalog.tables.altering.rules import (
    change_rules,
    drop_constraint,
    set_default,
    set_nullable,
)
from affidavit.catalog.tables.altering.types import retype_column
from affidavit.engine.run.defining.defaults import refuse_own_calls
from affidavit.engine.run.defining.references import with_references
from affidavit.engine.run.defining.rules import check_defaults, unique_indexes, with_rules
from affidavit.engine.run.defining.tables import map_type
from affidavit.engine.statement.assignments import Name
from affidavit.engine.statement.defining.columns import (
    CONSTRAINTS,
    Constraints,
    differs_by_row,
    parse_constraint,
    parse_new_column,
    read_default,
)
from affidavit.engine.statement.defining.types import parse_type
from affidavit.engine.statement.definitions import parse_policy
from affidavit.engine.statement.grammar import read_expression
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import ConstraintError, SqlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.lexer import Cursor
    from affidavit.engine.run.scope import Scope
    from affidavit.engine.statement.defining.columns import NewColumn
    from affidavit.engine.statement.defining.types import ColumnType


def parse_change(scope: Scope, info: TableInfo, cursor: Cursor) -> Callable[[], None]:
    """Move past what ALTER TABLE is to change, and return what does it."""
    for words, parse in _CHANGES.items():
        if cursor.accept(*words):
            return parse(scope, info, cursor)
    raise SqlError(f"ALTER TABLE cannot {cursor.found()}: expected ADD, DROP, ALTER, RENAME or SET")


# --- ADD -----------------------------------------------------------------------------------------


def _add(scope: Scope, info: TableInfo, cursor: Cursor) -> Callable[[], None]:
    if cursor.peek() in CONSTRAINTS:
        asked = parse_constraint(cursor, Constraints())
        if asked.primary_key:
            msg = (
                "ADD PRIMARY KEY is not supported: the key is what rows are called in the journal. "
                "Create a table that has it, and INSERT ... SELECT"
            )
            raise SqlError(msg)
        return partial(_add_rules, scope, info, asked, "add constraint")
    new, asked = parse_new_column(cursor)
    return partial(_add_column, scope, info, new, asked)


def _add_rules(scope: Scope, info: TableInfo, asked: Constraints, detail: str) -> None:
    catalog = scope.catalog

    def made(now: TableInfo) -> MutableDefinition:
        definition = mutable_definition(now)
        indexes = (*definition.indexes, *unique_indexes(now.name, asked))
        wider = replace(definition, indexes=indexes)
        ruled = with_rules(catalog, now.name, wider, asked)
        with catalog.read() as reader:
            name = Name(now.schema, now.name)
            return with_references(catalog, reader, name, ruled, asked.references)

    change_rules(catalog, info, made, detail)


def _add_column(scope: Scope, info: TableInfo, new: NewColumn, asked: Constraints) -> None:
    catalog = scope.catalog
    field = scope.planner.column_type(catalog, new.name, new.type.sql)
    if new.type.entries is not None:
        field = field.with_type(map_type(scope, new))
    if new.default is not None:
        refuse_own_calls(scope, {new.name: new.default})
    value = _default_of_all(scope, field, new)
    varies = new.default is not None and value is None
    rules = replace(asked, columns=(new,))
    wants_rules = varies or _has_rules(new, asked)
    has_rules = isinstance(info.definition, MutableDefinition) and wants_rules
    if wants_rules and not has_rules:
        msg = (
            f"{info.name!r} is a vector table: its columns have a type, NOT NULL, and a DEFAULT "
            "that is the same in each row"
        )
        raise ConstraintError(msg)
    filled = varies or new.generated is not None or new.numbers is not None
    with catalog.write() if has_rules else nullcontext() as writer:
        if writer is not None and new.if_not_exists:
            now = catalog.get(writer, info.name, info.schema)
            if new.name in mutable_definition(now).schema.names:
                return
        add_column(
            catalog, info, field.with_nullable(nullable=new.nullable or filled),
            default=new.default, value=value, if_not_exists=new.if_not_exists,
        )  # fmt: skip
        if varies:
            table = f"{quoted(info.schema)}.{quoted(info.name)}"
            text = f"UPDATE {table} SET {quoted(new.name)} = DEFAULT"
            scope.execute(parse_statement(text), {})
        if has_rules:
            _add_rules(scope, info, rules, f"rules of column {new.name}")
            if filled and not new.nullable:
                set_nullable(catalog, info, new.name, nullable=False)


def _default_of_all(scope: Scope, field: pa.Field, new: NewColumn) -> pa.Scalar | None:
    """Return what a new column has in every row; ``None`` if its default differs by row."""
    if new.default is None:
        return None
    schema, default = pa.schema([field]), {new.name: new.default}
    if differs_by_row(new.default):
        check_defaults(scope, schema, default)
        return None
    return scope.defaults(schema, default, 1)[new.name][0]


def _has_rules(new: NewColumn, asked: Constraints) -> bool:
    own = (new.generated, new.numbers, new.comment, new.type.length, new.type.kind)
    return any(each is not None for each in own) or asked != Constraints()


# --- DROP ----------------------------------------------------------------------------------------


def _drop(scope: Scope, info: TableInfo, cursor: Cursor) -> Callable[[], None]:
    is_constraint = cursor.accept("CONSTRAINT")
    if not is_constraint:
        cursor.accept("COLUMN")
    missing_ok = cursor.accept("IF", "EXISTS")
    name = cursor.name("a constraint" if is_constraint else "a column")
    cascade = cursor.accept("CASCADE")
    cursor.accept("RESTRICT")
    if is_constraint:
        return partial(
            drop_constraint, scope.catalog, info, name, if_exists=missing_ok, cascade=cascade
        )
    if cascade:
        msg = "DROP COLUMN ... CASCADE is not supported: drop what names the column first"
        raise SqlError(msg)
    return partial(drop_column, scope.catalog, info, name, if_exists=missing_ok)


# --- ALTER COLUMN --------------------------------------------------------------------------------


def _alter(scope: Scope, info: TableInfo, cursor: Cursor) -> Callable[[], None]:
    cursor.accept("COLUMN")
    column, catalog = cursor.name("a column"), scope.catalog
    for words, nullable in ((("SET", "NOT", "NULL"), False), (("DROP", "NOT", "NULL"), True)):
        if cursor.accept(*words):
            return partial(set_nullable, catalog, info, column, nullable=nullable)
    if cursor.accept("DROP", "DEFAULT"):
        return partial(set_default, catalog, info, column, None)
    if cursor.accept("SET", "DEFAULT"):
        return partial(_set_default, scope, info, column, read_default(cursor))
    if cursor.accept("SET", "DATA", "TYPE") or cursor.accept("TYPE"):
        kind = parse_type(cursor)
        using = read_expression(cursor) if cursor.accept("USING") else None
        return partial(_retype, scope, info, column, kind, using)
    raise SqlError(
        f"ALTER COLUMN cannot {cursor.found()}: expected TYPE, SET NOT NULL, DROP NOT NULL, SET "
        "DEFAULT or DROP DEFAULT"
    )


def _set_default(scope: Scope, info: TableInfo, column: str, default: str) -> None:
    definition = mutable_definition(info)
    refuse_own_calls(scope, {column: default})
    if column in definition.schema.names:  # whose default it can be is told before it is kept
        check_defaults(scope, definition.schema, {column: default})
    set_default(scope.catalog, info, column, default)


def _retype(
    scope: Scope, info: TableInfo, column: str, kind: ColumnType, using: str | None
) -> None:
    if kind.entries is not None:
        raise SqlError("a column becomes no MAP: add one, and drop the other")
    if kind.is_serial:
        msg = "a column becomes no SERIAL: add one, GENERATED BY DEFAULT AS IDENTITY"
        raise SqlError(msg)
    field = scope.planner.column_type(scope.catalog, column, kind.sql)
    definition = mutable_definition(info)
    if column in definition.defaults:
        check_defaults(scope, pa.schema([field]), {column: definition.defaults[column]})
    retype_column(
        scope.catalog, info, column, field.type, length=kind.length, kind=kind.kind, using=using
    )


# --- RENAME and SET ------------------------------------------------------------------------------


def _rename_table(scope: Scope, info: TableInfo, cursor: Cursor) -> Callable[[], None]:
    return partial(rename_table, scope.catalog, info, cursor.name("a table"))


def _rename_column(scope: Scope, info: TableInfo, cursor: Cursor) -> Callable[[], None]:
    cursor.accept("COLUMN")
    old = cursor.name("a column")
    cursor.expect("TO")
    return partial(rename_column, scope.catalog, info, old, cursor.name("a column"))


def _set(scope: Scope, info: TableInfo, cursor: Cursor) -> Callable[[], None]:
    return partial(set_policy, scope.catalog, info, parse_policy(cursor))


_CHANGES: Final[
    Mapping[tuple[str, ...], Callable[[Scope, TableInfo, Cursor], Callable[[], None]]]
] = {
    ("ADD",): _add,
    ("DROP",): _drop,
    ("ALTER",): _alter,
    ("RENAME", "TO"): _rename_table,
    ("RENAME",): _rename_column,
    ("SET",): _set,
}
"""What ALTER TABLE changes, by the words that say so."""
