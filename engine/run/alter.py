"""ALTER and DROP: definitions that change, and that go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.model.definition import VIEW
from affidavit.catalog.sql.names import check_schema_name
from affidavit.catalog.tables.altering.columns import add_column, drop_column, rename_column
from affidavit.catalog.tables.altering.policy import set_policy
from affidavit.catalog.tables.altering.renames import rename_table
from affidavit.catalog.tables.indexes import drop_index
from affidavit.catalog.tables.kinds import drop_table
from affidavit.catalog.values.python.arguments import checked_switch
from affidavit.engine.result.outcome import nothing
from affidavit.engine.statement.assignments import parse_name, refuse_reserved
from affidavit.engine.statement.definitions import (
    expect_end,
    parse_new_column,
    parse_policy,
    parse_schema_name,
)
from affidavit.errors import SqlError, TableNotFoundError
from affidavit.triggers.rules.trigger import drop_trigger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.lexer import Cursor
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.assignments import Name
    from affidavit.engine.statement.definitions import NewColumn
    from affidavit.engine.statement.statement import Statement


def find_table(catalog: Catalog, name: Name) -> TableInfo:
    """Return a table that a definition names.

    Raises:
        ReservedNameError: Users may only read it.
        TableNotFoundError: There is none.
    """
    refuse_reserved(name.schema, name.table)
    with catalog.read() as reader:
        return catalog.get(reader, name.table, name.schema)


# --- ALTER ---------------------------------------------------------------------------------------


def alter(scope: Scope, statement: Statement, _: Params) -> Result:
    """Run ALTER TABLE ... ADD, DROP, RENAME or SET."""
    cursor = statement.cursor()
    cursor.expect("ALTER")
    cursor.expect("TABLE")
    if_exists = cursor.accept("IF", "EXISTS")
    name = parse_name(cursor)
    scope.refuse_frame(name.schema, name.table)
    try:
        info = find_table(scope.catalog, name)
    except TableNotFoundError:
        if if_exists:
            return nothing(0)
        raise
    scope.catalog.refuse_shared(info)
    change = _change(scope, info, cursor)
    expect_end(cursor, "ALTER TABLE")
    change()
    return nothing(0)


def _change(scope: Scope, info: TableInfo, cursor: Cursor) -> Callable[[], None]:
    """Move past what is to be changed, and return what does it."""
    catalog = scope.catalog
    if cursor.accept("ADD"):
        return partial(_add_column, scope, info, parse_new_column(cursor))
    if cursor.accept("DROP"):
        cursor.accept("COLUMN")
        missing_ok = cursor.accept("IF", "EXISTS")
        return partial(drop_column, catalog, info, cursor.name("a column"), if_exists=missing_ok)
    if cursor.accept("RENAME", "TO"):
        return partial(rename_table, catalog, info, cursor.name("a table"))
    if cursor.accept("RENAME"):
        cursor.accept("COLUMN")
        old = cursor.name("a column")
        cursor.expect("TO")
        return partial(rename_column, catalog, info, old, cursor.name("a column"))
    if cursor.accept("SET"):
        return partial(set_policy, catalog, info, parse_policy(cursor))
    raise SqlError(f"ALTER TABLE cannot {cursor.found()}: expected ADD, DROP, RENAME or SET")


def _add_column(scope: Scope, info: TableInfo, new: NewColumn) -> None:
    field = scope.planner.column_type(scope.catalog, new.name, new.sql_type)
    field = field.with_nullable(nullable=new.nullable)
    value = None
    if new.default is not None:
        value = scope.defaults(pa.schema([field]), {new.name: new.default})[new.name]
    add_column(
        scope.catalog, info, field, default=new.default, value=value,
        if_not_exists=new.if_not_exists,
    )  # fmt: skip


# --- DROP ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Drop:
    """A DROP that is being run; the cursor stands before the name."""

    scope: Scope
    cursor: Cursor
    if_exists: bool

    @property
    def catalog(self) -> Catalog:
        """What it is run on."""
        return self.scope.catalog


def drop(scope: Scope, statement: Statement, _: Params) -> Result:
    """Run DROP TABLE, VIEW, INDEX, TRIGGER or SCHEMA."""
    cursor = statement.cursor()
    cursor.expect("DROP")
    for word, run in _DROPS.items():
        if cursor.accept(word):
            run(_Drop(scope, cursor, cursor.accept("IF", "EXISTS")))
            return nothing(0)
    raise SqlError(
        f"DROP cannot drop {cursor.found()}: expected TABLE, VIEW, INDEX, TRIGGER or SCHEMA"
    )


def _drop_trigger(asked: _Drop) -> None:
    trigger = asked.cursor.name("a trigger")
    expect_end(asked.cursor, "DROP TRIGGER")
    drop_trigger(asked.catalog, trigger, if_exists=asked.if_exists)


def _drop_index(asked: _Drop) -> None:
    name = parse_name(asked.cursor)
    table = parse_name(asked.cursor) if asked.cursor.accept("ON") else None
    expect_end(asked.cursor, "DROP INDEX")
    found = None if table is None else find_table(asked.catalog, table)
    drop_index(asked.catalog, name.table, found, if_exists=asked.if_exists)


def _drop_table(asked: _Drop, *, want_view: bool = False) -> None:
    name = parse_name(asked.cursor)
    expect_end(asked.cursor, "DROP VIEW" if want_view else "DROP TABLE")
    asked.scope.refuse_frame(name.schema, name.table)
    drop_named(asked.catalog, name, want_view=want_view, if_exists=asked.if_exists)


def _drop_schema(asked: _Drop) -> None:
    catalog, cursor = asked.catalog, asked.cursor
    schema = parse_schema_name(cursor)
    cascade = cursor.accept("CASCADE")
    cursor.accept("RESTRICT")
    expect_end(cursor, "DROP SCHEMA")
    check_schema_name(schema)
    with catalog.write() as writer:
        for info in catalog.tables(writer) if cascade else ():
            if info.schema == schema and info.tenant == catalog.tenant:
                drop_table(catalog, info)
        catalog.drop_schema(schema, if_exists=asked.if_exists)


_DROPS: Final[Mapping[str, Callable[[_Drop], None]]] = {
    "TABLE": _drop_table,
    "VIEW": partial(_drop_table, want_view=True),
    "TRIGGER": _drop_trigger,
    "INDEX": _drop_index,
    "SCHEMA": _drop_schema,
}
"""What a DROP drops, by the word that says so."""


def drop_named(
    catalog: Catalog, name: Name, *, want_view: bool = False, if_exists: bool = False
) -> None:
    """Drop a table or view.

    Raises:
        TableNotFoundError: There is none of that name and kind.
        ReadOnlyError: It is shared.
    """
    checked_switch(if_exists, "if_exists")
    refuse_reserved(name.schema, name.table)
    with catalog.read() as reader:
        info = catalog.find(reader, name.table, name.schema)
        tables = catalog.tables(reader)
    if info is None or (info.kind == VIEW.name) != want_view:
        if if_exists:
            return
        known = [each.name for each in tables if (each.kind == VIEW.name) == want_view]
        raise TableNotFoundError(name.table, known=known)
    try:
        drop_table(catalog, info)
    except TableNotFoundError:
        if not if_exists:
            raise
