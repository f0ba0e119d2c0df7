"""ALTER and DROP: definitions that change, and that go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.definition import KINDS, SEQUENCE, VIEW
from affidavit.catalog.sql.names import check_schema_name
from affidavit.catalog.tables.indexes import drop_index
from affidavit.catalog.tables.kinds import drop_table
from affidavit.catalog.values.python.arguments import checked_switch
from affidavit.engine.result.outcome import nothing
from affidavit.engine.run.defining.altering import parse_change
from affidavit.engine.run.defining.cascading import drop_links, drop_users
from affidavit.engine.run.defining.temporary import drop_temporary
from affidavit.engine.statement.assignments import parse_name, refuse_reserved
from affidavit.engine.statement.definitions import (
    expect_end,
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
    from affidavit.engine.statement.statement import Statement


TABLE: Final = "table"
"""What an error calls what DROP TABLE drops."""


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
    cursor.accept("VECTOR")
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
    change = parse_change(scope, info, cursor)
    expect_end(cursor, "ALTER TABLE")
    change()
    return nothing(0)


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
    """Run DROP TABLE, VIEW, INDEX, TRIGGER, SEQUENCE or SCHEMA."""
    cursor = statement.cursor()
    cursor.expect("DROP")
    if cursor.peek(1) == "TABLE":
        cursor.accept("VECTOR")
    for word, run in _DROPS.items():
        if cursor.accept(word):
            run(_Drop(scope, cursor, cursor.accept("IF", "EXISTS")))
            return nothing(0)
    raise SqlError(
        f"DROP cannot drop {cursor.found()}: expected TABLE, VIEW, INDEX, TRIGGER, SEQUENCE or "
        "SCHEMA"
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


def _drop_table(asked: _Drop, *, word: str = TABLE) -> None:
    cursor = asked.cursor
    names = [parse_name(cursor)]
    while cursor.accept(","):
        names.append(parse_name(cursor))
    cascade = cursor.accept("CASCADE")
    cursor.accept("RESTRICT")
    expect_end(cursor, f"DROP {word.upper()}")
    if len(names) == 1:
        _drop_one(asked, names[0], word, cascade=cascade)
        return
    own = asked.scope.planner.temporaries
    names.sort(key=lambda name: own.find(name.schema, name.table) is not None)
    with asked.catalog.write() as writer:  # all of them, or none: temporary ones are the last
        looked_up = [
            asked.catalog.find(writer, name.table, name.schema)
            for name in names
            if own.find(name.schema, name.table) is None
        ]
        found = [info for info in looked_up if info and KINDS[info.kind].word == word]
        if cascade:
            drop_users(asked.catalog, writer, found)
        for info in found:
            drop_links(asked.catalog, writer, info, found)
        for name in names:
            _drop_one(asked, name, word)


def _drop_one(asked: _Drop, name: Name, word: str, *, cascade: bool = False) -> None:
    if word == TABLE and drop_temporary(asked.scope, name):
        return
    asked.scope.refuse_frame(name.schema, name.table)
    drop_named(asked.catalog, name, word=word, if_exists=asked.if_exists, cascade=cascade)


def _drop_schema(asked: _Drop) -> None:
    catalog, cursor = asked.catalog, asked.cursor
    schema = parse_schema_name(cursor)
    cascade = cursor.accept("CASCADE")
    cursor.accept("RESTRICT")
    expect_end(cursor, "DROP SCHEMA")
    check_schema_name(schema)
    with catalog.write() as writer:
        inside = [
            info
            for info in (catalog.tables(writer) if cascade else ())
            if info.schema == schema and info.tenant == catalog.tenant
        ]
        drop_users(catalog, writer, inside)
        for info in sorted(inside, key=lambda each: each.kind == SEQUENCE.name):
            drop_table(catalog, info)
        catalog.drop_schema(schema, if_exists=asked.if_exists)


_DROPS: Final[Mapping[str, Callable[[_Drop], None]]] = {
    "TABLE": _drop_table,
    "VIEW": partial(_drop_table, word=VIEW.word),
    "SEQUENCE": partial(_drop_table, word=SEQUENCE.word),
    "TRIGGER": _drop_trigger,
    "INDEX": _drop_index,
    "SCHEMA": _drop_schema,
}
"""What a DROP drops, by the word that says so."""


def drop_named(
    catalog: Catalog,
    name: Name,
    *,
    word: str = TABLE,
    if_exists: bool = False,
    cascade: bool = False,
) -> None:
    """Drop a table, view or sequence, as ``word`` says, and perhaps what would be left without.

    Raises:
        TableNotFoundError: There is none of that name and kind.
        ReadOnlyError: It is shared.
        ConstraintError: Another table refers to it.
    """
    checked_switch(if_exists, "if_exists")
    refuse_reserved(name.schema, name.table)
    with catalog.read() as reader:
        info = catalog.find(reader, name.table, name.schema)
        tables = catalog.tables(reader)
    if info is None or KINDS[info.kind].word != word:
        if if_exists:
            return
        known = [each.name for each in tables if KINDS[each.kind].word == word]
        raise TableNotFoundError(name.table, known=known)
    try:
        if cascade:
            drop_table(catalog, info, lambda writer: drop_users(catalog, writer, [info]))
        else:
            drop_table(catalog, info)
    except TableNotFoundError:
        if not if_exists:
            raise
