"""What every DML statement names: its target, and the columns that it sets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor, edited, tokenize
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA, RESERVED_SCHEMAS, RESERVED_TABLES
from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.grammar import (
    read_expression,
    skip_alias,
    skip_expression,
    skip_group,
    skip_listed,
)
from affidavit.engine.statement.mended.numbers import alone
from affidavit.engine.statement.queries import skip_with
from affidavit.errors import ColumnNotFoundError, ReservedNameError, SqlError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from affidavit.catalog.sql.lexer import Token

_LONG: Final = re.compile(r"[\d._]{17}")
"""What a number of many digits with a point has in it."""


@dataclass(frozen=True, slots=True)
class Name:
    """A table's name, as a statement writes it; ``source`` is empty for the lake's own."""

    schema: str
    table: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """The table that a statement writes, by the name that the statement calls it."""

    schema: str
    name: str
    alias: str
    source: str = ""


def parse_name(cursor: Cursor, what: str = "a table", *, of_source: bool = False) -> Name:
    """Move past ``[catalog.][schema.]table``, which is the lake's own unless ``of_source``."""
    parts = [cursor.name(what)]
    while cursor.accept("."):
        parts.append(cursor.name(what))
    if len(parts) > 3:  # noqa: PLR2004 - catalog, schema, table
        name = ".".join(parts)
        raise SqlError(f"{name!r} is no table name: expected at most catalog.schema.table")
    source = parts[0] if len(parts) == 3 and parts[0] != CATALOG else ""  # noqa: PLR2004 - as above
    if source and not of_source:
        msg = f"{'.'.join(parts)!r}: tables of sources can be read and inserted into, nothing else"
        raise SqlError(msg)
    return Name(parts[-2] if len(parts) > 1 else MAIN_SCHEMA, parts[-1], source)


def parse_target(cursor: Cursor, *stops: str, of_source: bool = False) -> Target:
    """Move past a table name and its alias, which is no keyword of ``stops``."""
    found = parse_name(cursor, of_source=of_source)
    if not found.source:
        refuse_reserved(found.schema, found.table)
    token = cursor.token
    named = token is not None and token.name is not None and token.keyword not in stops
    alias = cursor.name("an alias") if cursor.accept("AS") or named else found.table
    return Target(found.schema, found.table, alias, found.source)


def refuse_reserved(schema: str, name: str) -> None:
    """Raise ReservedNameError if users may only read the table of that name."""
    if schema in RESERVED_SCHEMAS:
        raise ReservedNameError(f"{schema}.{name}", reason="it may be read, never written")
    if schema == MAIN_SCHEMA and name in RESERVED_TABLES:
        raise ReservedNameError(name, reason="it may be read, never written")


def skip_assignments(cursor: Cursor) -> None:
    """Move past what SET lists: columns, and what each is set to."""
    skip_listed(cursor, _skip_assignment)


def _skip_assignment(cursor: Cursor) -> None:
    if cursor.peek() == "(":
        skip_group(cursor)
    else:
        cursor.name("a column")
        if cursor.accept("."):
            cursor.name("a column")
    cursor.expect("=")
    skip_expression(cursor)


def parse_assignments(
    cursor: Cursor, known: Sequence[str], table: str, alias: str | None = None
) -> dict[str, str]:
    """Move past a SET clause, to the end, and return column to expression text.

    Raises:
        ColumnNotFoundError: A column is not the table's.
        SqlError: The clause cannot be read, or sets a column twice.
    """
    found: dict[str, str] = {}
    while True:
        if cursor.peek() == "(":
            columns = cursor.names("a column")
            cursor.expect("=")
            pairs = list(zip(columns, _row(cursor, len(columns)), strict=True))
        else:
            column = cursor.name("a column")
            if cursor.accept("."):
                if column not in {table, alias}:
                    raise SqlError(f"{column!r} is not the table that is updated, {table!r}")
                column = cursor.name("a column")
            cursor.expect("=")
            pairs = [(column, read_expression(cursor))]
        for column, value in pairs:
            if column not in known:
                raise ColumnNotFoundError(column, table=table, known=known)
            if column in found:
                raise SqlError(f"column {column!r} is set twice")
            found[column] = value
        if cursor.done:
            return found
        cursor.expect(",")


def _row(cursor: Cursor, width: int) -> list[str]:
    """Move past ``(a, b)``, ``ROW(a, b)`` or ``(SELECT a, b ...)``; return each column's value."""
    cursor.accept("ROW")
    opened = cursor.at
    cursor.expect("(")
    if cursor.peek() in {"SELECT", "WITH"}:
        return _row_of_query(cursor, opened, width)
    values = [read_expression(cursor)]
    while cursor.accept(","):
        values.append(read_expression(cursor))
    cursor.expect(")")
    return _checked(values, width)


def _row_of_query(cursor: Cursor, opened: int, width: int) -> list[str]:
    """Move past a query in brackets; return one for each of its columns.

    A query that names the row which is updated can only be asked for one column.
    """
    start = cursor.at
    skip_with(cursor)
    cursor.expect("SELECT")
    if cursor.peek() in {"DISTINCT", "ALL"}:
        cursor.skip()
    before = cursor.between(start, cursor.at)
    values = [read_expression(cursor)]
    skip_alias(cursor)
    while cursor.accept(","):
        values.append(read_expression(cursor))
        skip_alias(cursor)
    behind = cursor.at
    cursor.move(opened)
    skip_group(cursor)
    level = cursor.tokens[opened].depth + 1
    for token in cursor.tokens[start : cursor.at]:
        if token.depth == level and token.keyword in _WHOLE_ROWS:
            msg = (
                f"SET (...) = (SELECT ...) takes no {token.keyword}: set each column by a query of "
                "its own, or join with FROM"
            )
            raise SqlError(msg)
    rest = cursor.between(behind, cursor.at)
    return [f"({before} {value} {rest}" for value in _checked(values, width)]


_WHOLE_ROWS: Final = frozenset(
    {"ORDER", "LIMIT", "OFFSET", "FETCH", "UNION", "INTERSECT", "EXCEPT", "MINUS"}
)
"""Clauses that mean the query's rows as they are, and not one of its columns."""


def _checked(values: list[str], width: int) -> list[str]:
    if len(values) != width:
        raise SqlError(f"{width} columns are set to {len(values)} values")
    return values


def check_columns(columns: Sequence[str], known: Sequence[str], table: str) -> None:
    """Raise unless each of ``columns`` is the table's, and is named once.

    Raises:
        ColumnNotFoundError: One is not.
        SqlError: One is named twice.
    """
    for at, column in enumerate(columns):
        if column not in known:
            raise ColumnNotFoundError(column, table=table, known=known)
        if column in columns[:at]:
            raise SqlError(f"column {column!r} is named twice")


def computed_values(sets: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the columns of a query that computes new values, and what each value is called there.

    Args:
        sets: Column to expression text.
    """
    names = {column: f"__{at}" for at, column in enumerate(sets)}
    return ", ".join(f'({value}) AS "{names[column]}"' for column, value in sets.items()), names


def is_default(value: str) -> bool:
    """Return whether a value is the word DEFAULT."""
    return value.strip().upper() == "DEFAULT"


def with_defaults(
    source: str,
    columns: Sequence[str],
    defaults: Mapping[str, str],
    floats: Collection[str] = (),
) -> str:
    """Return what is inserted, with the default of its column for each word DEFAULT in VALUES.

    A number of many digits is a float where the column is among ``floats``.

    Raises:
        SqlError: A row has more values than there are columns.
    """
    is_long = bool(floats) and _LONG.search(source) is not None
    if not is_long and "DEFAULT" not in source.upper():
        return source
    edits = list[tuple[int, int, str]]()
    for place, given in _values(source):
        start, end = given[0].start, given[-1].end
        if len(given) == 1 and given[0].keyword == "DEFAULT":
            if place >= len(columns):
                raise SqlError(f"a row has more values than columns, {len(columns)}")
            edits.append((start, end, f"({defaults.get(columns[place], 'NULL')})"))
        elif is_long and place < len(columns) and columns[place] in floats:
            edits.append((start, end, alone(source[start:end])))
    return edited(source, edits)


def _values(source: str) -> Iterator[tuple[int, Sequence[Token]]]:
    """Yield each value in the rows of a VALUES, with its place in its row."""
    tokens = tokenize(source)
    cursor = Cursor(source, tokens)
    if not cursor.accept("VALUES"):
        return
    while not cursor.done and cursor.peek() in {"(", "ROW"}:
        cursor.accept("ROW")
        begin, place, level = cursor.at + 1, 0, tokens[cursor.at].depth + 1
        skip_group(cursor)
        for at in range(begin, cursor.at):
            is_comma = tokens[at].text == "," and tokens[at].depth == level
            if at < cursor.at - 1 and not is_comma:
                continue
            if begin < at:
                yield place, tokens[begin:at]
            begin, place = at + 1, place + 1
        if not cursor.accept(","):
            return


def qualified(value: str, table: str, renamed: Mapping[str, str]) -> str:
    """Return an expression in which the columns of a table, named with it, are called otherwise."""
    tokens, edits = tokenize(value), list[tuple[int, int, str]]()
    for at in range(len(tokens) - 2):
        owner, dot, column = tokens[at : at + 3]
        before = tokens[at - 1].text if at else ""
        name = column.name or ""
        if owner.name == table and dot.text == "." and before != "." and name in renamed:
            edits.append((column.start, column.end, quoted(renamed[name])))
    return edited(value, edits)
