"""Statements that define something, cut into what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from affidavit.catalog.sql.names import CATALOG
from affidavit.engine.statement.assignments import Name, parse_name
from affidavit.engine.statement.grammar import read_expression
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sql.lexer import Cursor


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
    options = parse_with(cursor, "CREATE INDEX")
    return NewIndex(name, table, kind, columns, options, if_not_exists)


def parse_with(cursor: Cursor, what: str) -> dict[str, Any]:
    """Move past WITH (option = value, ...), if it stands here, to the end."""
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
        raise SqlError(f"{what} cannot read {cursor.found()}")
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
