"""``j -> 'a'`` and ``j ->> 'a'``, written as calls.

DataFusion 54.1 reads the operators of JSON and plans neither. Both bind to one operand on each
side, tighter than any other operator: ``j ->> 'n' || '!'`` and ``1 + (j ->> 'n')::INT`` are what
they look like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.grammar import skip_operand
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.lexer import Token

ARROWS: Final = {"->": "json_get", "->>": "json_get_text"}
"""The operators, and the functions that they are."""

_SINGLE: Final = frozenset({"string", "number", "placeholder"})
_CLOSING: Final = frozenset({")", "]"})
_JOINS: Final = frozenset({".", "::"})


def arrows(text: str, tokens: Sequence[Token]) -> str:
    """Return a statement with calls in the place of the operators; the text itself without any."""
    if "->" not in text:
        return text
    edits = list(_edits(text, tokens))
    for start, end, _, written in sorted(edits, key=lambda each: each[::2], reverse=True):
        text = f"{text[:start]}{written}{text[end:]}"
    return text


def _edits(text: str, tokens: Sequence[Token]) -> Iterator[tuple[int, int, int, str]]:
    """Yield from where to where to put what; of what begins at one place the last stands first."""
    starts: dict[int, int] = {}  # where the operand begins that ends before a token
    for at, token in enumerate(tokens):
        if token.kind != "symbol" or token.text not in ARROWS:
            continue
        start = starts.get(at, _start(tokens, at))
        if token.text == "->" and _is_lambda(tokens, start, at):
            continue
        end = _end(text, tokens, at + 1)
        starts[end] = start
        begins = tokens[start].start
        yield begins, begins, -at, f"{ARROWS[token.text]}("
        yield token.start, token.end, 1, ","
        ends = tokens[end - 1].end
        yield ends, ends, 0, ")"


def _start(tokens: Sequence[Token], at: int) -> int:
    """Return where the one operand begins that ends before a place."""
    here = at - 1
    while here > 0:
        if tokens[here].text in _CLOSING:
            is_index = tokens[here].text == "]"
            here = _opened(tokens, here)
            before = tokens[here - 1]
            is_call = before.name is not None and before.keyword not in _NO_CALLS
            if here and (is_call or is_index):
                here -= 1
                continue
        elif tokens[here].keyword == "END":
            here = _case(tokens, here)
        if here <= 1 or tokens[here - 1].text not in _JOINS:
            break
        here -= 2
    if here < 0:
        raise SqlError(f"{tokens[at].text} needs JSON on its left side")
    return here


_NO_CALLS: Final = frozenset(
    {"SELECT", "DISTINCT", "ALL", "ANY", "SOME", "WHERE", "ON", "HAVING", "QUALIFY", "BY", "AND",
     "OR", "NOT", "IN", "LIKE", "ILIKE", "BETWEEN", "IS", "CASE", "WHEN", "THEN", "ELSE", "VALUES",
     "SET", "RETURNING", "LIMIT", "OFFSET", "EXISTS", "USING", "AS", "OVER", "FILTER"}
)  # fmt: skip
"""Words before a bracket that call nothing."""


def _opened(tokens: Sequence[Token], at: int) -> int:
    """Return where the bracket opens that is closed at a place."""
    level = tokens[at].depth
    at -= 1
    while at > 0 and tokens[at].depth > level:
        at -= 1
    return at


def _case(tokens: Sequence[Token], at: int) -> int:
    """Return where the CASE begins that ends at a place."""
    open_ = 1
    while at > 0 and open_:
        at -= 1
        open_ += (tokens[at].keyword == "END") - (tokens[at].keyword == "CASE")
    return at


def _end(text: str, tokens: Sequence[Token], at: int) -> int:
    """Return where the one operand ends that begins at a place."""
    if at >= len(tokens):
        raise SqlError("-> needs a key or a number on its right side, as in j -> 'a' or j -> 0")
    if tokens[at].kind in _SINGLE:
        return at + 1
    if tokens[at].text == "-" and at + 1 < len(tokens) and tokens[at + 1].kind == "number":
        return at + 2
    cursor = Cursor(text, tokens, at)
    skip_operand(cursor)
    return cursor.at


def _is_lambda(tokens: Sequence[Token], start: int, at: int) -> bool:
    """Whether ``->`` stands behind the names of a lambda: ``x -> x + 1``, an argument."""
    if tokens[start].text != "(" and start != at - 1:
        return False
    before = tokens[start - 1].text if start else ""
    follows = tokens[at + 1] if at + 1 < len(tokens) else None
    is_key = follows is not None and (follows.kind in _SINGLE or follows.text == "-")
    return before in {"(", ","} and not is_key
