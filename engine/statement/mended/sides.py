"""``'x' = s``, written ``s = 'x'``.

DataFusion 54.1 finds ``s = 'x' AND 'x' = s`` false: what must first be computed, or brought to the
column's type, is compared with the other constant before that is done, where it stands on the left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.grammar import skip_operand
from affidavit.engine.statement.reading.places import between, is_of_between, operand_before
from affidavit.engine.statement.reading.walker import CONDITION_ENDS, word
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.walker import Span, Tokens

_BEFORE: Final = frozenset({"AND", "OR", "WHERE", "ON", "HAVING", "QUALIFY", "NOT"})
_JOINED: Final = frozenset("+-*/%&|^~") | {"||"}
_NO_SIDES: Final = frozenset({"ANY", "ALL", "SOME", "NOT"})
"""What stands behind ``=`` and cannot stand before it."""

_TESTS: Final = frozenset({"IS", "ISNULL", "NOTNULL"})
"""What is said of the equation, and not of its right side."""

_BEHIND: Final = CONDITION_ENDS | {"THEN", "JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", ","}
"""What may stand behind an equation; an operator would be of its right side alone, or of all."""

_NO_NAMES: Final = frozenset({"TRUE", "FALSE", "NULL", "AS"})


def swapped(text: str, tokens: Tokens) -> Iterator[Edit]:
    """Yield the equations whose left side is a constant, the other way round.

    Of two in each other only the outer one: it is written anew, and then the inner one is found.
    """
    done = 0
    for at, token in enumerate(tokens):
        if token.kind != "symbol" or token.text != "=" or at < done:
            continue
        start = operand_before(tokens, at)
        if start < done or word(tokens, start - 1) not in _BEFORE | {"("}:
            continue
        if not _is_constant(tokens, (start, at)) or is_of_between(tokens, start):
            continue
        end = _end(text, tokens, at + 1)
        if end < 0 or _is_constant(tokens, (at + 1, end)):
            continue
        done = end
        left, right = between(text, tokens, (start, at)), between(text, tokens, (at + 1, end))
        yield tokens[start].start, tokens[end - 1].end, f"{right} = {left}"


def _is_constant(tokens: Tokens, span: Span) -> bool:
    """Return whether a span names nothing but functions and types."""
    start, end = span
    for at in range(start, end):
        token = tokens[at]
        if token.name is None or token.keyword in _NO_NAMES or word(tokens, at + 1) == "(":
            continue
        if word(tokens, at - 1) not in {"AS", "::"} and token.keyword not in {"CAST", "UNSIGNED"}:
            return False
    return start < end


def _end(text: str, tokens: Tokens, at: int) -> int:
    """Return where what is compared ends; -1 if it is no side, or something else is behind it."""
    if word(tokens, at) in _NO_SIDES:
        return -1
    cursor = Cursor(text, tokens, at)
    try:
        skip_operand(cursor)
        while cursor.peek() in _JOINED:
            cursor.skip()
            skip_operand(cursor)
    except SqlError:
        return -1
    level = tokens[at].depth
    has_test = any(
        tokens[each].depth == level and word(tokens, each) in _TESTS
        for each in range(at, cursor.at)
    )
    return -1 if has_test or word(tokens, cursor.at) not in _BEHIND else cursor.at
