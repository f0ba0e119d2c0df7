"""Statements that define something, cut into what they say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.sql.names import CATALOG
from affidavit.engine.statement.assignments import Name, parse_name
from affidavit.engine.statement.grammar import read_expression, skip_group, skip_type
from affidavit.engine.statement.honoured import unexpected
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sql.lexer import Cursor

_CONSTRAINTS: Final = ("PRIMARY", "UNIQUE", "CONSTRAINT", "FOREIGN", "CHECK")
_OPTIONS: Final = frozenset(
    {"PRIMARY", "UNIQUE", "DEFAULT", "NOT", "NULL", "CONSTRAINT", "CHECK", "REFERENCES", "COMMENT",
     "GENERATED", "COLLATE", "AS", "ON", "AUTO_INCREMENT", "AUTOINCREMENT"}
)  # fmt: skip
"""What may follow a column's name in the place of its type."""


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
    found = Constraints((), (), {})
    if not cursor.accept("("):
        return found
    while cursor.peek() != ")" and not cursor.done:
        if cursor.peek() in _CONSTRAINTS:
            found = _with_constraint(cursor, found)
        else:
            found = _with_column(cursor, found)
        if not cursor.accept(","):
            break
    cursor.expect(")")
    return found


def _with_constraint(cursor: Cursor, found: Constraints) -> Constraints:
    """Move past one constraint of the table; what is no key is the planner's to refuse."""
    if cursor.accept("CONSTRAINT"):
        cursor.name("a constraint's name")
    if cursor.accept("PRIMARY", "KEY"):
        found = replace(found, primary_key=cursor.names("a column"))
    elif cursor.accept("UNIQUE"):
        found = replace(found, unique=(*found.unique, cursor.names("a column")))
    _skip_unread(cursor)
    return found


def _with_column(cursor: Cursor, found: Constraints) -> Constraints:
    """Move past one column, whose type may be left out where a query has it."""
    column = cursor.name("a column")
    if cursor.peek() not in {",", ")"} | _OPTIONS:
        skip_type(cursor)
    while not cursor.done and cursor.peek() not in {",", ")"}:
        if cursor.accept("PRIMARY", "KEY"):
            found = replace(found, primary_key=(*found.primary_key, column))
        elif cursor.accept("UNIQUE"):
            found = replace(found, unique=(*found.unique, (column,)))
        elif cursor.accept("DEFAULT"):
            default = _read_default(cursor)
            found = replace(found, defaults={**found.defaults, column: default})
        elif cursor.peek() == "(":
            skip_group(cursor)
        else:
            cursor.skip()
    return found


def _read_default(cursor: Cursor) -> str:
    """Move past a default, and return it; it is kept, and a parameter's value would not be.

    Raises:
        SqlError: It has a parameter, or a query.
    """
    start = cursor.at
    default = read_expression(cursor)
    for token in cursor.tokens[start : cursor.at]:
        if token.kind == "placeholder":
            raise SqlError(f"a DEFAULT is kept without values: write one in place of {token.text}")
        if token.keyword == "SELECT":
            raise SqlError("a DEFAULT is computed without a table: it has no query")
    return default


def _skip_unread(cursor: Cursor) -> None:
    """Move past what the planner reads: up to the next column, or the list's end."""
    while not cursor.done and cursor.peek() not in {",", ")"}:
        if cursor.peek() == "(":
            skip_group(cursor)
        else:
            cursor.skip()


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
    start = cursor.at
    skip_type(cursor)
    sql_type = cursor.between(start, cursor.at)
    nullable, default = True, None
    while not cursor.done:
        if cursor.accept("NOT", "NULL"):
            nullable = False
        elif cursor.accept("DEFAULT"):
            default = _read_default(cursor)
        elif not cursor.accept("NULL"):
            raise unexpected(cursor, "NOT NULL, NULL, DEFAULT or the end")
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


def parse_policy(cursor: Cursor) -> str | None:
    """Move past (audit = 'level'), and return the level; ``None`` for NULL, which takes it away."""
    cursor.expect("(")
    option = cursor.name("an option")
    if option.casefold() != "audit":
        raise SqlError(f"ALTER TABLE cannot SET {option!r}: a table has one option, audit")
    cursor.expect("=")
    level = None if cursor.accept("NULL") else cursor.literal("a level")
    cursor.expect(")")
    return level


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
        where = read_expression(cursor)
        cursor.expect(")")
    cursor.expect("PUBLISH")
    topic = cursor.literal("a topic in quotes")
    expect_end(cursor, "CREATE TRIGGER")
    return NewTrigger(name, tuple(actions), table, where, topic, if_not_exists)
