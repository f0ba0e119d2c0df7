"""Clauses that DataFusion 54.1 reads and cannot plan as they stand, written as it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.catalog.sql.quoting import quoted_text
from affidavit.engine.statement.grammar import BOOLEAN, skip_compared, skip_named
from affidavit.engine.statement.mended.scopes import common_tables, first_union
from affidavit.engine.statement.queries import skip_selected, skip_with
from affidavit.engine.statement.reading.places import (
    between,
    compared_before,
    is_query,
    split,
)
from affidavit.engine.statement.reading.walker import closing, in_from, opening, word
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.walker import Tokens

_ZERO_OF_NOTHING: Final = frozenset({"regr_count", "approx_distinct"})
"""Aggregates that count, besides ``count``: of no rows they are 0, and DataFusion knows of one."""

_SETS: Final = frozenset({"UNION", "INTERSECT", "EXCEPT"})

BACKSLASH: Final = "\\"


def clauses(text: str, tokens: Tokens) -> Iterator[Edit]:
    """Yield what is to be written otherwise.

    Raises:
        SqlError: A LIKE ... ESCAPE cannot be.
    """
    for at, token in enumerate(tokens):
        if token.keyword == "NULL" and word(tokens, at - 3) == "FILTER":
            if word(tokens, at - 1) == "WHERE" and word(tokens, at + 1) == ")":
                yield token.start, token.end, "CAST(NULL AS BOOLEAN)"
        elif token.keyword == "ESCAPE" and token.kind == "word":
            yield from _escape(tokens, at)
        elif token.keyword == "FROM" and word(tokens, at) == "DISTINCT FROM":
            yield from _distinct(text, tokens, at)
        elif token.keyword == "RECURSIVE":
            yield from _recursive(text, tokens, at)
        elif token.name is not None and token.name.lower() in _ZERO_OF_NOTHING:
            yield from _zero(text, tokens, at)


def values(text: str, tokens: Tokens, at: int) -> Edit | None:
    """Return VALUES at a place as queries, if a row has a query in it: each is one of its own."""
    if tokens[at].keyword != "VALUES" or word(tokens, at + 1) not in {"(", "ROW"}:
        return None
    rows, here = list[str](), at + 1
    has_query = False
    while True:
        here += word(tokens, here) == "ROW"
        if word(tokens, here) != "(":
            return None
        end = closing(tokens, here)
        cells = split(tokens, (here + 1, end))
        has_query |= any(
            word(tokens, each) == "(" and is_query(tokens, each) for each in range(here + 1, end)
        )
        listed = (f"{between(text, tokens, cell)} AS column{n}" for n, cell in enumerate(cells, 1))
        rows.append(f"SELECT {', '.join(listed)}")
        if word(tokens, end + 1) != ",":
            break
        here = end + 2
    if not has_query:
        return None
    queries = " UNION ALL ".join(rows)
    is_side = _SETS & {*(word(tokens, at - back) for back in (1, 2)), word(tokens, end + 1)}
    return tokens[at].start, tokens[end].end, f"({queries})" if is_side else queries


def created(text: str, tokens: Tokens) -> Iterator[Edit]:
    """Yield CREATE TABLE ... AS for the INTO of a statement, if it begins with a query.

    DataFusion 54.1 makes the table of the SELECT that has INTO alone: what UNION and its like put
    behind it is lost.

    Raises:
        SqlError: It cannot be read.
    """
    cursor = Cursor(text, tokens)
    cursor.accept("EXPLAIN")
    begin = cursor.at
    if cursor.peek() not in {"SELECT", "WITH"}:
        return
    skip_with(cursor)
    if cursor.peek() != "SELECT":
        return
    skip_selected(cursor)
    start = cursor.at
    if cursor.accept("INTO"):
        skip_named(cursor)
        name = cursor.between(start + 1, cursor.at)
        yield tokens[begin].start, tokens[begin].start, f"CREATE TABLE {name} AS "
        yield tokens[start].start, tokens[cursor.at - 1].end, ""


# --- LIKE ... ESCAPE -----------------------------------------------------------------------------


def _escape(tokens: Tokens, at: int) -> Iterator[Edit]:
    pattern, sign = tokens[at - 1], tokens[at + 1] if at + 1 < len(tokens) else tokens[at]
    if word(tokens, at - 2) not in {"LIKE", "ILIKE"}:
        return
    if pattern.kind != "string" or sign.kind != "string" or pattern.text[0] != "'":
        msg = (
            "LIKE ... ESCAPE takes a pattern and a character that are written out: in a pattern "
            f"that is computed, a {BACKSLASH} stands before what is meant as itself"
        )
        raise SqlError(msg)
    escape = sign.text[1:-1].replace("''", "'")
    if len(escape) > 1:
        raise SqlError(f"ESCAPE takes one character, found {sign.text}")
    yield pattern.start, sign.end, quoted_text(_escaped(_plain(pattern.text), escape))


def _plain(text: str) -> str:
    return text[1:-1].replace("''", "'")


def _escaped(pattern: str, escape: str) -> str:
    """Return a pattern with backslashes for its escape character.

    Raises:
        SqlError: Nothing stands behind one.
    """
    if escape == BACKSLASH:
        return pattern
    made, at = [], 0
    while at < len(pattern):
        here = pattern[at]
        if here == escape:
            at += 1
            if at == len(pattern):
                raise SqlError(f"nothing stands behind the last {escape} of a LIKE pattern")
            here = pattern[at]
            made.append(BACKSLASH if here in {"%", "_", BACKSLASH} else "")
        elif here == BACKSLASH:
            made.append(BACKSLASH)
        made.append(here)
        at += 1
    return "".join(made)


# --- IS DISTINCT FROM ----------------------------------------------------------------------------


def _distinct(text: str, tokens: Tokens, at: int) -> Iterator[Edit]:
    """Yield brackets around IS DISTINCT FROM and what it compares, if AND or OR is behind that.

    The parser of DataFusion 54.1 takes ``a IS DISTINCT FROM b AND c`` for ``... (b AND c)``.
    """
    cursor = Cursor(text, tokens, at + 1)
    skip_compared(cursor)
    if cursor.peek() in BOOLEAN and cursor.at > at + 1:
        test = at - 2 - (word(tokens, at - 2) == "NOT")
        start = tokens[compared_before(tokens, test)].start
        yield start, start, "("
        yield tokens[cursor.at - 1].end, tokens[cursor.at - 1].end, ")"


# --- WITH RECURSIVE r(n), and counts -------------------------------------------------------------


def _recursive(text: str, tokens: Tokens, at: int) -> Iterator[Edit]:
    """Yield names of columns as those of the first query: they come too late otherwise.

    What is put around that query stands beside what is written otherwise in it.
    """
    if word(tokens, at - 1) != "WITH":
        return
    for name, bracket in common_tables(tokens, at - 1):
        cut = first_union(tokens, bracket)
        if not cut or word(tokens, name + 1) != "(":
            continue
        end = closing(tokens, name + 1) + 1
        names = between(text, tokens, (name + 1, end))
        yield tokens[name + 1].start, tokens[end - 1].end, ""
        begin, behind = tokens[bracket + 1].start, tokens[cut - 1].end
        yield begin, begin, "SELECT * FROM ("
        yield behind, behind, f') AS "__first"{names}'


def _zero(text: str, tokens: Tokens, at: int) -> Iterator[Edit]:
    """Yield such an aggregate of a scalar subquery with its value for no rows."""
    if not tokens[at].depth or word(tokens, at + 1) != "(":
        return
    query = opening(tokens, at)
    while query >= 0 and not is_query(tokens, query):
        query = opening(tokens, query)
    if query < 0 or word(tokens, query - 1) in {"AS", "EXISTS", "IN"} or in_from(tokens, query):
        return
    end = closing(tokens, at + 1)
    if word(tokens, end + 1) == "FILTER" and word(tokens, end + 2) == "(":
        end = closing(tokens, end + 2)
    if word(tokens, end + 1) != "OVER":
        told = between(text, tokens, (at, end + 1))
        yield tokens[at].start, tokens[end].end, f"coalesce({told}, CAST(0 AS BIGINT UNSIGNED))"
