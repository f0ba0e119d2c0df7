"""A statement in plain SQL: what is only another way to write it, written as DataFusion reads it.

DataFusion 54.1 takes ``1_000`` for 1, called ``_000``, ``0xff`` for bytes, and plans ``FROM t`` as
rows without columns.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.queries import skip_tables, skip_with
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.lexer import Token

_ODD_NUMBER: Final = re.compile(r"_|^0[xX]")

_SETS: Final = frozenset({"UNION", "INTERSECT", "EXCEPT", "MINUS"})

_BEFORE_QUERY: Final = _SETS | {"AS", "EXPLAIN", "ANALYZE", "VERBOSE"}
"""Words that a query may follow."""


def plain(text: str, tokens: Sequence[Token]) -> str:
    """Return the statement in plain SQL; the text itself where it is that already.

    Raises:
        SqlError: A word is stuck to a number: ``12abc`` would be 12, called ``abc``.
    """
    edits = [*_numbers(tokens), *_from_first(text, tokens)]
    for start, end, written in sorted(edits, reverse=True):
        text = f"{text[:start]}{written}{text[end:]}"
    return text


def _numbers(tokens: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
    """Yield where a number is to be replaced, and with what."""
    for number, word in pairwise(tokens):
        stuck = number.kind == "number" and word.kind == "word" and number.end == word.start
        if stuck and word.keyword != "L":
            written = number.text + word.text
            raise SqlError(f"{written} is no number: put a space between, or quotes")
    for token in tokens:
        if token.kind == "number" and _ODD_NUMBER.search(token.text) is not None:
            digits = token.text.replace("_", "")
            decimal = str(int(digits, 16)) if digits[:2] in {"0x", "0X"} else digits
            yield token.start, token.end, decimal


def _from_first(text: str, tokens: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
    """Yield where a query begins with FROM and has no SELECT."""
    for at, token in enumerate(tokens):
        if token.keyword == "FROM" and _begins_query(text, tokens, at):
            cursor = Cursor(text, tokens, at + 1)
            skip_tables(cursor)
            if cursor.peek() != "SELECT":
                yield token.start, token.start, "SELECT * "


def _begins_query(text: str, tokens: Sequence[Token], at: int) -> bool:
    """Whether the FROM there is the first word of a query."""
    if not at:
        return True
    before, second = tokens[at - 1], tokens[at - 2].keyword if at > 1 else ""
    if before.text == "(":
        return second != "TRIM"
    if before.keyword in _BEFORE_QUERY:
        return True
    if second in _SETS | {"BY"}:
        return before.keyword in {"ALL", "DISTINCT", "NAME"}
    depth = tokens[at].depth
    start = next((i + 1 for i in range(at - 1, -1, -1) if tokens[i].depth < depth), 0)
    if tokens[start].keyword == "WITH":
        cursor = Cursor(text, tokens, start)
        skip_with(cursor)
        return cursor.at == at
    clauses = {token.keyword for token in tokens[start:at] if token.depth == depth}
    return tokens[start].keyword == "INSERT" and not clauses & {"SELECT", "VALUES", "SET"}
