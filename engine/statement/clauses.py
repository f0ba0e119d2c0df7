"""Statements that change rows, cut into clauses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.assignments import (
    Target,
    parse_name,
    parse_target,
    refuse_reserved,
    skip_assignments,
)
from affidavit.engine.statement.grammar import skip_expression, skip_items, skip_ordering
from affidavit.engine.statement.honoured import unexpected
from affidavit.engine.statement.queries import named_tables, skip_query, skip_tables, skip_with
from affidavit.engine.statement.reading.naming import named
from affidavit.engine.statement.statement import REMEMBERED_LENGTH_MAX, Part
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.statement import Statement

_QUERY_WORDS: Final = frozenset(
    {"SELECT", "UNION", "EXCEPT", "INTERSECT", "GROUP", "HAVING", "OFFSET", "FETCH", "WINDOW",
     "QUALIFY", "INTO"}
)  # fmt: skip
"""Clauses of a query that a statement which changes rows does not have."""


Clauses = TypeVar("Clauses")


@dataclass(frozen=True, slots=True)
class Conflict:
    """ON CONFLICT (columns) DO NOTHING, or DO UPDATE SET sets where; ``replaces`` is OR REPLACE."""

    columns: tuple[str, ...]
    sets: Part | None
    where: Part | None = None
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Insert:
    """The clauses of an INSERT, with the common tables before it.

    ``by_name``: the source's columns are those of the same names, and not of the same places.
    """

    prefix: Part
    target: Target
    columns: tuple[str, ...]
    source: Part
    conflict: Conflict | None
    returning: str
    by_name: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """The clauses of an UPDATE; ``rest`` is its WHERE, ORDER BY and LIMIT.

    ``others`` are what the tables of its FROM are called.
    """

    prefix: str
    target: Target
    sets: Part
    source: str
    rest: str
    returning: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """The clauses of a DELETE, likewise."""

    prefix: str
    target: Target
    source: str
    rest: str
    returning: str
    others: tuple[str, ...] = ()


class _Told(str):
    """A statement's text, which is what it is known by, with its tokens."""

    __slots__ = ("tokens",)
    tokens: tuple[Token, ...]


def clauses_of(parse: Callable[[Cursor], Clauses], statement: Statement) -> Clauses:
    """Return what ``parse`` makes of a statement; short texts that are repeated are cut once."""
    if len(statement.text) > REMEMBERED_LENGTH_MAX:
        return parse(statement.cursor())
    told = _Told(statement.text)
    told.tokens = statement.tokens
    found: Clauses = _cut(parse, told)
    return found


@lru_cache(maxsize=512)
def _cut(parse: Callable[[Cursor], Any], told: _Told) -> Any:  # noqa: ANN401 - what it makes
    return parse(Cursor(told, told.tokens))


def common_tables(cursor: Cursor) -> Part:
    """Move past WITH ..., if it stands here, and return it."""
    return _taken(cursor, skip_with)


def _taken(cursor: Cursor, skip: Callable[[Cursor], None]) -> Part:
    """Return what ``skip`` moves past."""
    start = cursor.at
    skip(cursor)
    return Part.since(start, cursor)


def _tables(cursor: Cursor, word: str) -> tuple[str, tuple[str, ...]]:
    """Move past ``word`` and tables, if they stand here; return them, and what they are called."""
    if not cursor.accept(word):
        return "", ()
    part = _taken(cursor, skip_tables)
    return part.text, tuple(named_tables(part.cursor()))


def _clause(cursor: Cursor, word: str, skip: Callable[[Cursor], None]) -> str:
    """Move past ``word`` and what follows it, if it stands here; return what follows."""
    return _taken(cursor, skip).text if cursor.accept(*word.split(" ")) else ""


def parse_returning(cursor: Cursor) -> str:
    """Move past RETURNING and what it lists, if it stands here; return that, with names."""
    if cursor.peek() != "RETURNING":
        return ""
    start = cursor.at
    cursor.skip()
    skip_items(cursor)
    return named(cursor.between(start, cursor.at))[len("RETURNING") :].strip()


def _tail(cursor: Cursor) -> tuple[str, str]:
    """Move past [WHERE] [ORDER BY] [LIMIT] [RETURNING] and return the text up to RETURNING, and it.

    The condition is bracketed, so that nothing in it can end it.
    """
    condition = _clause(cursor, "WHERE", skip_expression)
    text = f"WHERE ({condition})" if condition else ""
    for word, skip in (("ORDER BY", skip_ordering), ("LIMIT", skip_expression)):
        if said := _clause(cursor, word, skip):
            text += f" {word} {said}"
    returning = parse_returning(cursor)
    if not cursor.done:
        if cursor.peek() in _QUERY_WORDS:
            raise SqlError(f"a statement that changes rows takes no {cursor.peek()}")
        raise unexpected(cursor, "WHERE, ORDER BY, LIMIT or RETURNING")
    return text, returning


def parse_update(cursor: Cursor) -> Update:
    """Move past UPDATE ... SET ... [FROM ...] [WHERE ...] [LIMIT ...] [RETURNING ...]."""
    prefix = common_tables(cursor).text
    cursor.expect("UPDATE")
    target = parse_target(cursor, "SET")
    cursor.expect("SET")
    sets = _taken(cursor, skip_assignments)
    source, names = _tables(cursor, "FROM")
    return Update(prefix, target, sets, source, *_tail(cursor), names)


def parse_delete(cursor: Cursor) -> Delete:
    """Move past DELETE FROM ... [USING ...] [WHERE ...] [LIMIT ...] [RETURNING ...]."""
    prefix = common_tables(cursor).text
    cursor.expect("DELETE")
    cursor.expect("FROM")
    target = parse_target(cursor, "USING", "WHERE", "ORDER", "LIMIT", "RETURNING")
    source, names = _tables(cursor, "USING")
    return Delete(prefix, target, source, *_tail(cursor), names)


def parse_truncate(cursor: Cursor) -> list[Target]:
    """Move past TRUNCATE [TABLE] name, ..."""
    cursor.expect("TRUNCATE")
    cursor.accept("TABLE")
    found = [_parse_truncated(cursor)]
    while cursor.accept(","):
        found.append(_parse_truncated(cursor))
    if not cursor.done:
        raise SqlError(f"expected the end of TRUNCATE, found {cursor.found()}")
    return found


def _parse_truncated(cursor: Cursor) -> Target:
    name = parse_name(cursor)
    refuse_reserved(name.schema, name.table)
    return Target(name.schema, name.table, name.table)


def parse_insert(cursor: Cursor) -> Insert:
    """Move past INSERT INTO ... [ON CONFLICT ...] [RETURNING ...]."""
    prefix = common_tables(cursor)
    replace = cursor.accept("REPLACE")
    if not replace:
        cursor.expect("INSERT")
        if cursor.accept("OVERWRITE"):
            msg = "INSERT OVERWRITE is not supported: TRUNCATE and INSERT in one transaction"
            raise SqlError(msg)
        replace = cursor.accept("OR", "REPLACE")
    ignore = cursor.accept("OR", "IGNORE")
    cursor.accept("INTO")
    cursor.accept("TABLE")
    target = parse_target(
        cursor, "VALUES", "SELECT", "WITH", "FROM", "TABLE", "DEFAULT", "BY", of_source=True
    )
    by_name = cursor.accept("BY", "NAME")
    if not by_name:
        cursor.accept("BY", "POSITION")
    columns: tuple[str, ...] = ()
    if cursor.peek() == "(" and cursor.peek(1) not in {"SELECT", "WITH", "VALUES", "("}:
        columns = cursor.names("a column")
    if cursor.done:
        raise SqlError(f"expected VALUES or a query to insert, found {cursor.found()}")
    source = _taken(cursor, _skip_source)
    conflict = _parse_conflict(cursor)
    returning = parse_returning(cursor)
    if not cursor.done:
        raise unexpected(cursor, "ON CONFLICT, RETURNING or the end")
    if replace or ignore:
        if conflict is not None:
            word = "REPLACE" if replace else "IGNORE"
            raise SqlError(f"INSERT OR {word} says what ON CONFLICT says: write one of them")
        conflict = Conflict((), None, replaces=replace)
    if by_name and columns:
        raise SqlError("INSERT BY NAME takes its columns from the query: leave the list out")
    return Insert(prefix, target, columns, source, conflict, returning, by_name)


def _skip_source(cursor: Cursor) -> None:
    """Move past what is inserted: DEFAULT VALUES, or a query."""
    if not cursor.accept("DEFAULT", "VALUES"):
        skip_query(cursor)


def _parse_conflict(cursor: Cursor) -> Conflict | None:
    """Move past [ON CONFLICT [(columns)] DO NOTHING | DO UPDATE SET ... [WHERE ...]]."""
    if not cursor.accept("ON", "CONFLICT"):
        return None
    columns = cursor.names("a column") if cursor.peek() == "(" else ()
    if cursor.peek() == "WHERE":
        raise SqlError("ON CONFLICT (...) WHERE is not supported: no unique key is partial")
    if cursor.peek() == "ON":
        raise SqlError("ON CONFLICT ON CONSTRAINT is not supported: write the key's columns")
    cursor.expect("DO")
    if cursor.accept("NOTHING"):
        return Conflict(columns, None)
    cursor.expect("UPDATE", "SET")
    sets = _taken(cursor, skip_assignments)
    where = _taken(cursor, skip_expression) if cursor.accept("WHERE") else None
    return Conflict(columns, sets, where)
