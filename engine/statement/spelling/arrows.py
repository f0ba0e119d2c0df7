"""``j -> 'a'`` and ``j ->> 'a'``, written as calls.

DataFusion 54.1 reads the operators of JSON and plans neither. Both bind to one operand on each
side, tighter than any other operator: ``j ->> 'n' || '!'`` and ``1 + (j ->> 'n')::INT`` are what
they look like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.grammar import skip_operand
from affidavit.engine.statement.reading.naming import rewritten
from affidavit.engine.statement.reading.places import factor_before
from affidavit.engine.statement.reading.walker import Tokens
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.lexer import Edit, Token

ARROWS: Final = {"->": "json_get", "->>": "json_get_text"}
"""The operators, and the functions that they are."""

_SINGLE: Final = frozenset({"string", "number", "placeholder"})


def arrows(text: str, tokens: Sequence[Token]) -> str:
    """Return a statement with calls in the place of the operators; the text itself without any."""
    return rewritten(text, tokens, _edits(text, Tokens(tokens))) if "->" in text else text


def _edits(text: str, tokens: Tokens) -> Iterator[Edit]:
    """Yield from where to where to put what; of what begins at one place the last stands first."""
    starts: dict[int, int] = {}  # where the operand begins that ends before a token
    begins: list[Edit] = []
    for at, token in enumerate(tokens):
        if token.kind != "symbol" or token.text not in ARROWS:
            continue
        start = starts.get(at, factor_before(tokens, at))
        if token.text == "->" and _is_lambda(tokens, start, at):
            continue
        if start == at:
            raise SqlError(f"{token.text} needs JSON on its left side")
        end = _end(text, tokens, at + 1)
        starts[end] = start
        place = tokens[start].start
        begins.append((place, place, f"{ARROWS[token.text]}("))
        yield token.start, token.end, ","
        yield tokens[end - 1].end, tokens[end - 1].end, ")"
    yield from reversed(begins)


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
