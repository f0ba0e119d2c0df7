"""What a SELECT lists: the things that commas part, and whether somebody gave them names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.grammar import skip_expression
from affidavit.engine.statement.reading.places import split
from affidavit.engine.statement.reading.walker import closing, siblings, word
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from affidavit.engine.statement.reading.walker import Span, Tokens

_ENDS: Final = frozenset({"FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FETCH",
                          "UNION", "INTERSECT", "EXCEPT", "INTO", "WINDOW", "QUALIFY"})  # fmt: skip


def listed(tokens: Tokens, at: int) -> Span:
    """Return what the SELECT at a place lists."""
    start = at + 1
    while word(tokens, start) in {"DISTINCT", "ALL"}:
        start += 1
    if word(tokens, start) == "ON" and word(tokens, start - 1) == "DISTINCT":
        start = closing(tokens, start + 1) + 1
    return start, clause_end(tokens, start)


def clause_end(tokens: Tokens, start: int) -> int:
    """Return where the clause ends whose first token stands at a place."""
    bracket = tokens.opens[start] if start < len(tokens) else -1
    end = len(tokens) if bracket < 0 else closing(tokens, bracket)
    inside = siblings(tokens, (start, end))
    return next((at for at in inside if at > start and word(tokens, at) in _ENDS), end)


def items_of(tokens: Tokens, span: Span) -> list[Span]:
    """Return the things of a list; a comma may follow the last one."""
    return [item for item in split(tokens, span) if item[0] < item[1]]


def is_star(tokens: Tokens, item: Span) -> bool:
    """Return whether a thing of a list stands for the columns of tables."""
    at, end = item
    while at + 1 < end and word(tokens, at + 1) == ".":
        at += 2
    return word(tokens, at) == "*"


def has_name(text: str, tokens: Tokens, item: Span) -> bool:
    """Return whether a thing of a list is given a name, or stands for several."""
    if is_star(tokens, item):
        return True
    cursor = Cursor(text, tokens, item[0])
    try:
        skip_expression(cursor)
    except SqlError:
        return True
    return cursor.at < item[1]
