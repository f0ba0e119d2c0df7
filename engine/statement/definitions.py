"""Statements that define something, cut into what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.sql.names import CATALOG
from affidavit.engine.statement.assignments import Name, parse_name
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sql.lexer import Cursor

_CONSTRAINTS: Final = ("PRIMARY", "UNIQUE", "CONSTRAINT", "FOREIGN", "CHECK")
_AFTER_DEFAULT: Final = (
    "NOT NULL",
    "NULL",
    "PRIMARY",
    "UNIQUE",
    "CONSTRAINT",
    "CHECK",
    "REFERENCES",
    "COMMENT",
    ",",
)


def expect_end(cursor: Cursor, what: str) -> None:
    """Raise SqlError unless the statement ends here."""
    if not cursor.done:
        raise SqlError(f"expected the end of {what}, found {cursor.found()}")


def parse_schema_name(cursor: Cursor) -> str:
    """Move past ``[catalog.]schema``."""
    name = cursor.name("a schema")
    if cursor.accept("."):
        if name != CATALOG:
            raise SqlError(f"there is no catalog {name!r} to have a schema in")
        name = cursor.name("a schema")
    return name


# --- tables ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a CREATE TABLE says besides names and types."""

    primary_key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...]
    defaults: Mapping[str, str]


def parse_constraints(cursor: Cursor) -> Constraints:
    """Move past the column list, if it stands here."""
    primary_key: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = []
    defaults: dict[str, str] = {}
    if not cursor.accept("("):
        return Constraints((), (), {})
    while cursor.peek() != ")" and not cursor.done:
        if cursor.peek() in _CONSTRAINTS:
            if cursor.accept("CONSTRAINT"):
                cursor.name("a constraint's name")
            if cursor.accept("PRIMARY", "KEY"):
                primary_key = cursor.names("a column")
            elif cursor.accept("UNIQUE"):
                unique.append(cursor.names("a column"))
        else:
            column = cursor.name("a column")
            cursor.until("PRIMARY KEY", "UNIQUE", "DEFAULT", ",", depth=1)
            while cursor.peek() not in {",", ")", ""}:
                if cursor.accept("PRIMARY", "KEY"):
                    primary_key = (*primary_key, column)
                elif cursor.accept("UNIQUE"):
                    unique.append((column,))
                elif cursor.accept("DEFAULT"):
                    defaults[column] = cursor.until(*_AFTER_DEFAULT, depth=1)
                cursor.until("PRIMARY KEY", "UNIQUE", "DEFAULT", ",", depth=1)
        cursor.until(",", depth=1)
        cursor.accept(",")
    return Constraints(primary_key, tuple(unique), defaults)


@dataclass(frozen=True, slots=True)
class NewColumn:
    """A column that ALTER TABLE adds: its type and default as they are written."""

    name: str
    sql_type: str
    default: str | None
    nullable: bool
    if_not_exists: bool


def parse_new_column(cursor: Cursor) -> NewColumn:
    """Move past [COLUMN] [IF NOT EXISTS] name type [NOT NULL] [DEFAULT ...], to the end."""
    cursor.accept("COLUMN")
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = cursor.name("a column")
    sql_type = cursor.until("DEFAULT", "NOT NULL", "NULL", depth=0)
    nullable, default = True, None
    while not cursor.done:
        if cursor.accept("NOT", "NULL"):
            nullable = False
        elif cursor.accept("DEFAULT"):
            default = cursor.until("NOT NULL", "NULL", depth=0)
        elif not cursor.accept("NULL"):
            raise SqlError(f"ALTER TABLE ADD COLUMN cannot read {cursor.found()}")
    return NewColumn(name, sql_type, default, nullable, if_not_exists)


# --- indexes and triggers --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewIndex:
    """An index that CREATE INDEX makes; ``name`` and ``kind`` are empty where they are left out."""

    name: str
    table: Name
    kind: str
    columns: tuple[str, ...]
    options: Mapping[str, Any]
    if_not_exists: bool


def parse_index(cursor: Cursor) -> NewIndex:
    """Move past [IF NOT EXISTS] [name] ON table [USING kind] (columns) [WITH (...)], to the end."""
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = "" if cursor.peek() == "ON" else cursor.name("an index")
    cursor.expect("ON")
    table = parse_name(cursor)
    kind = cursor.name("an index type").upper() if cursor.accept("USING") else ""
    columns = cursor.names("a column")
    return NewIndex(name, table, kind, columns, _parse_options(cursor), if_not_exists)


def _parse_options(cursor: Cursor) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if cursor.accept("WITH"):
        cursor.expect("(")
        while not cursor.accept(")"):
            option = cursor.name("an option")
            cursor.expect("=")
            token = cursor.token
            if token is None:
                msg = f"expected a value for option {option!r}"
                raise SqlError(msg)
            cursor.skip()
            options[option] = int(token.text) if token.text.isdigit() else token.text.strip("'")
            cursor.accept(",")
    if not cursor.done:
        raise SqlError(f"CREATE INDEX cannot read {cursor.found()}")
    return options


@dataclass(frozen=True, slots=True)
class NewTrigger:
    """A trigger that CREATE TRIGGER makes."""

    name: str
    actions: tuple[str, ...]
    table: Name
    where: str | None
    topic: str
    if_not_exists: bool


def parse_trigger(cursor: Cursor) -> NewTrigger:
    """Move past name AFTER action [OR ...] ON table [WHEN (...)] PUBLISH 'topic', to the end."""
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = cursor.name("a trigger")
    cursor.expect("AFTER")
    actions = [cursor.name("an action")]
    while cursor.accept("OR"):
        actions.append(cursor.name("an action"))
    cursor.expect("ON")
    table = parse_name(cursor)
    cursor.accept("FOR", "EACH", "ROW")
    where = None
    if cursor.accept("WHEN"):
        cursor.expect("(")
        where = cursor.until(")", depth=0)
        cursor.expect(")")
    cursor.expect("PUBLISH")
    topic = cursor.literal("a topic in quotes")
    expect_end(cursor, "CREATE TRIGGER")
    return NewTrigger(name, tuple(actions), table, where, topic, if_not_exists)
