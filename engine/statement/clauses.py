"""Statements that change rows, cut into clauses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.engine.statement.assignments import Target, parse_target
from affidavit.engine.statement.statement import Part
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from affidavit.catalog.sql.lexer import Cursor

_TAIL: Final = ("WHERE", "ORDER BY", "LIMIT", "RETURNING")
_QUERY_WORDS: Final = frozenset(
    [
        "SELECT",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "GROUP",
        "HAVING",
        "OFFSET",
        "FETCH",
        "WINDOW",
        "QUALIFY",
        "INTO",
    ]
)


@dataclass(frozen=True, slots=True)
class Conflict:
    """ON CONFLICT (columns) DO NOTHING, or DO UPDATE SET sets where."""

    columns: tuple[str, ...]
    sets: Part | None
    where: str


@dataclass(frozen=True, slots=True)
class Insert:
    """The clauses of an INSERT, with the common tables before it."""

    prefix: Part
    target: Target
    columns: tuple[str, ...]
    source: Part
    conflict: Conflict | None
    returning: str


@dataclass(frozen=True, slots=True)
class Update:
    """The clauses of an UPDATE; ``rest`` is its WHERE, ORDER BY and LIMIT."""

    prefix: str
    target: Target
    sets: Part
    source: str
    rest: str
    returning: str


@dataclass(frozen=True, slots=True)
class Delete:
    """The clauses of a DELETE, likewise."""

    prefix: str
    target: Target
    source: str
    rest: str
    returning: str


def common_tables(cursor: Cursor, *verbs: str) -> Part:
    """Move past WITH ..., if it stands here, and return it."""
    start = cursor.at
    if cursor.peek() == "WITH":
        cursor.until(*verbs, depth=0)
    return Part.since(start, cursor)


def _clause(cursor: Cursor, word: str, *stops: str) -> str:
    """Move past ``word`` and what follows it, if it stands here; return what follows."""
    if not cursor.accept(word):
        return ""
    start = cursor.at
    text = cursor.until(*stops, depth=0)
    _refuse_query(cursor, start)
    if not text:
        raise SqlError(f"expected something after {word}, found {cursor.found()}")
    return text


def _tail(cursor: Cursor) -> tuple[str, str]:
    """Move past [WHERE] [ORDER BY] [LIMIT] [RETURNING] and return the text up to RETURNING, and it.

    The condition is bracketed, so that nothing in it can end it.
    """
    condition = _clause(cursor, "WHERE", "ORDER BY", "LIMIT", "RETURNING")
    text = f"WHERE ({condition})" if condition else ""
    if cursor.accept("ORDER", "BY"):
        text += f" ORDER BY {_listed(cursor, 'LIMIT', 'RETURNING')}"
    if cursor.accept("LIMIT"):
        text += f" LIMIT {_listed(cursor, 'RETURNING')}"
    returning = _listed(cursor) if cursor.accept("RETURNING") else ""
    if not cursor.done:
        raise SqlError(f"expected WHERE, ORDER BY, LIMIT or RETURNING, found {cursor.found()}")
    return text, returning


def _listed(cursor: Cursor, *stops: str) -> str:
    """Move past a list of expressions, which has no query's clauses in it."""
    start = cursor.at
    text = cursor.until(*stops, depth=0)
    _refuse_query(cursor, start)
    if not text:
        raise SqlError(f"expected an expression, found {cursor.found()}")
    return text


def _refuse_query(cursor: Cursor, start: int) -> None:
    level = cursor.tokens[start].depth if start < len(cursor.tokens) else 0
    for token in cursor.tokens[start : cursor.at]:
        if token.depth == level and token.keyword in _QUERY_WORDS:
            raise SqlError(f"a statement that changes rows takes no {token.keyword}")


def parse_update(cursor: Cursor) -> Update:
    """Move past UPDATE ... SET ... [FROM ...] [WHERE ...] [LIMIT ...] [RETURNING ...]."""
    prefix = common_tables(cursor, "UPDATE").text
    cursor.expect("UPDATE")
    target = parse_target(cursor, "SET")
    cursor.expect("SET")
    start = cursor.at
    cursor.until("FROM", *_TAIL, depth=0)
    sets = Part.since(start, cursor)
    source = _clause(cursor, "FROM", *_TAIL)
    return Update(prefix, target, sets, source, *_tail(cursor))


def parse_delete(cursor: Cursor) -> Delete:
    """Move past DELETE FROM ... [USING ...] [WHERE ...] [LIMIT ...] [RETURNING ...]."""
    prefix = common_tables(cursor, "DELETE").text
    cursor.expect("DELETE")
    cursor.expect("FROM")
    target = parse_target(cursor, "USING", "WHERE", "ORDER", "LIMIT", "RETURNING")
    source = _clause(cursor, "USING", *_TAIL)
    return Delete(prefix, target, source, *_tail(cursor))


def parse_truncate(cursor: Cursor) -> Target:
    """Move past TRUNCATE [TABLE] name."""
    cursor.expect("TRUNCATE")
    cursor.accept("TABLE")
    target = parse_target(cursor)
    if not cursor.done:
        raise SqlError(f"expected the end of TRUNCATE, found {cursor.found()}")
    return target


def parse_insert(cursor: Cursor) -> Insert:
    """Move past INSERT INTO ... [ON CONFLICT ...] [RETURNING ...]."""
    prefix = common_tables(cursor, "INSERT", "REPLACE")
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
        cursor, "VALUES", "SELECT", "WITH", "FROM", "TABLE", "DEFAULT", of_source=True
    )
    columns: tuple[str, ...] = ()
    if cursor.peek() == "(" and cursor.peek(1) not in {"SELECT", "WITH", "VALUES", "("}:
        columns = cursor.names("a column")
    start = cursor.at
    cursor.until("ON CONFLICT", "RETURNING", depth=0)
    source = Part.since(start, cursor)
    conflict, returning = _parse_conflict(cursor)
    if replace:
        msg = "REPLACE is not supported: use INSERT ... ON CONFLICT (key) DO UPDATE SET ..."
        raise SqlError(msg)
    if ignore and conflict is None:
        conflict = Conflict((), None, "")
    if not source:
        raise SqlError(f"expected VALUES or a query to insert, found {cursor.found()}")
    return Insert(prefix, target, columns, source, conflict, returning)


def _parse_conflict(cursor: Cursor) -> tuple[Conflict | None, str]:
    """Move past [ON CONFLICT ...] [RETURNING ...]."""
    if not cursor.accept("ON", "CONFLICT"):
        return None, _tail(cursor)[1]
    columns = cursor.names("a column") if cursor.peek() == "(" else ()
    cursor.expect("DO")
    if cursor.accept("NOTHING"):
        return Conflict(columns, None, ""), _tail(cursor)[1]
    cursor.expect("UPDATE", "SET")
    start = cursor.at
    cursor.until("WHERE", "RETURNING", depth=0)
    sets = Part.since(start, cursor)
    where, returning = _tail(cursor)
    return Conflict(columns, sets, where), returning
