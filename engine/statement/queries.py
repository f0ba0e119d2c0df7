"""SQL's grammar, as far as it says where a list of tables or a query ends."""

from __future__ import annotations

from typing import Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.grammar import (
    skip_alias,
    skip_expression,
    skip_group,
    skip_items,
    skip_listed,
    skip_named,
    skip_ordering,
)
from affidavit.errors import SqlError

_JOINS: Final = frozenset(
    {"NATURAL", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "ASOF", "JOIN", "GLOBAL"}
)


def skip_tables(cursor: Cursor) -> None:
    """Move past what FROM or USING lists: tables, with their joins."""
    skip_listed(cursor, _skip_joined)


def _skip_joined(cursor: Cursor) -> None:
    _skip_table(cursor)
    while cursor.peek() in _JOINS:
        takes_condition = cursor.peek() not in {"NATURAL", "CROSS"}
        while not cursor.done and cursor.peek() != "JOIN":
            cursor.skip()
        cursor.expect("JOIN")
        _skip_table(cursor)
        if takes_condition and cursor.accept("ON"):
            skip_expression(cursor)
        elif cursor.accept("USING"):
            skip_group(cursor)


def _skip_table(cursor: Cursor) -> None:
    cursor.accept("LATERAL")
    if cursor.peek() == "(":
        skip_group(cursor)
    else:
        _skip_literal_or_name(cursor)
        while cursor.accept("."):
            cursor.name("a table")
        if cursor.peek() == "(":
            skip_group(cursor)
    for words in (("WITH", "ORDINALITY"), ("WITH", "OFFSET"), ("FINAL",)):
        cursor.accept(*words)
    if cursor.peek() in {"PARTITION", "TABLESAMPLE"}:
        cursor.skip(1 + (cursor.peek(1) != "("))
        skip_group(cursor)
    skip_alias(cursor)
    if cursor.peek() == "(":
        skip_group(cursor)


def _skip_literal_or_name(cursor: Cursor) -> None:
    if cursor.token is not None and cursor.token.kind == "string":
        cursor.skip()
    else:
        cursor.name("a table")


def named_tables(cursor: Cursor) -> list[str]:
    """Return what the tables are called that FROM or USING lists, up to the cursor's end."""
    found: list[str] = []
    while not cursor.done:
        if cursor.at == 0 or cursor.tokens[cursor.at - 1].text.upper() in {",", "JOIN", "LATERAL"}:
            start = cursor.at
            _skip_table(cursor)
            name = _called(cursor, start)
            found += [] if name is None else [name]
        elif cursor.peek() in {"(", "["}:
            skip_group(cursor)
        else:
            cursor.skip()
    return found


def _called(cursor: Cursor, start: int) -> str | None:
    """Return the last name, in no bracket, of the tokens from ``start``: an alias, or the table.

    A file's is its path.
    """
    first = cursor.tokens[start]
    names = [t.name for t in cursor.tokens[start : cursor.at] if t.name and t.depth == first.depth]
    if not names and first.kind == "string":
        return Cursor(cursor.text, [first]).literal("a path")
    return names[-1] if names else None


def skip_with(cursor: Cursor) -> None:
    """Move past WITH and the common tables, if they stand here."""
    if not cursor.accept("WITH"):
        return
    cursor.accept("RECURSIVE")
    skip_listed(cursor, _skip_common_table)


def _skip_common_table(cursor: Cursor) -> None:
    cursor.name("a common table")
    if cursor.peek() == "(":
        skip_group(cursor)
    cursor.expect("AS")
    cursor.accept("NOT")
    cursor.accept("MATERIALIZED")
    if cursor.peek() != "(":
        raise SqlError(f"expected a query in brackets, found {cursor.found()}")
    skip_group(cursor)


def skip_query(cursor: Cursor) -> None:
    """Move past a query, with its common tables, up to what is no clause of it."""
    skip_with(cursor)
    _skip_core(cursor)
    while any(cursor.accept(word) for word in ("UNION", "INTERSECT", "EXCEPT", "MINUS")):
        for words in (("ALL",), ("DISTINCT",), ("BY", "NAME")):
            cursor.accept(*words)
        _skip_core(cursor)
    if cursor.accept("ORDER", "BY"):
        skip_ordering(cursor)
    while cursor.peek() in {"LIMIT", "OFFSET", "FETCH"}:
        _skip_limit(cursor)


def skip_selected(cursor: Cursor) -> None:
    """Move past SELECT and what it lists."""
    cursor.expect("SELECT")
    if cursor.accept("DISTINCT") and cursor.accept("ON"):
        skip_group(cursor)
    cursor.accept("ALL")
    skip_items(cursor)


def _skip_core(cursor: Cursor) -> None:
    if cursor.peek() == "(":
        skip_group(cursor)
    elif cursor.accept("VALUES"):
        skip_listed(cursor, _skip_row)
    elif cursor.accept("TABLE"):
        skip_named(cursor)
    elif cursor.peek() == "FROM":
        _skip_clauses(cursor)
        if cursor.peek() == "SELECT":
            _skip_core(cursor)
    else:
        skip_selected(cursor)
        _skip_clauses(cursor)


def _skip_row(cursor: Cursor) -> None:
    cursor.accept("ROW")
    if cursor.peek() != "(":
        raise SqlError(f"expected a row in brackets, found {cursor.found()}")
    skip_group(cursor)


def _skip_clauses(cursor: Cursor) -> None:
    """Move past INTO, FROM, WHERE, GROUP BY, HAVING, WINDOW and QUALIFY."""
    if cursor.accept("INTO"):
        skip_named(cursor)
    if cursor.accept("FROM"):
        skip_tables(cursor)
    if cursor.accept("WHERE"):
        skip_expression(cursor)
    if cursor.accept("GROUP", "BY"):
        skip_listed(cursor, _skip_grouping)
    if cursor.accept("HAVING"):
        skip_expression(cursor)
    if cursor.accept("WINDOW"):
        skip_listed(cursor, _skip_window)
    if cursor.accept("QUALIFY"):
        skip_expression(cursor)


def _skip_grouping(cursor: Cursor) -> None:
    if cursor.accept("GROUPING", "SETS"):
        skip_group(cursor)
    else:
        skip_expression(cursor)


def _skip_window(cursor: Cursor) -> None:
    cursor.name("a window")
    cursor.expect("AS")
    skip_group(cursor)


def _skip_limit(cursor: Cursor) -> None:
    if cursor.accept("FETCH"):
        while not cursor.done and cursor.peek() not in {"ONLY", "TIES"}:
            cursor.skip()
        cursor.skip()
        return
    cursor.skip()
    skip_listed(cursor, skip_expression)
    for word in ("ROW", "ROWS"):
        cursor.accept(word)
