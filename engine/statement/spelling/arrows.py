"""``j -> 'a'`` and ``j ->> 'a'``, written as calls.

DataFusion 54.1 reads the operators of JSON and plans neither. Both bind to one operand on each
side, tighter than any other operator: ``j ->> 'n' || '!'`` and ``1 + (j ->> 'n')::INT`` are what
they look like. Several that follow each other, with keys that are written out, are one call with a
path: each call reads the whole text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from affidavit.catalog.sql.lexer import Cursor
from affidavit.catalog.sql.quoting import quoted_text
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

_PATHS: Final = {"->": "json_extract", "->>": "json_extract_string"}
"""The functions that several of them are."""

_SINGLE: Final = frozenset({"string", "number", "placeholder"})


def arrows(text: str, tokens: Sequence[Token]) -> str:
    """Return a statement with calls in the place of the operators; the text itself without any."""
    return rewritten(text, tokens, _edits(text, Tokens(tokens))) if "->" in text else text


class _Arrow(NamedTuple):
    """An operator.

    Attributes:
        at: Its token.
        start: Where its left operand begins.
        end: Behind its right operand.
        key: What stands there, if it is written out; else ``None``.
    """

    at: int
    start: int
    end: int
    key: str | None


def _edits(text: str, tokens: Tokens) -> Iterator[Edit]:
    """Yield from where to where to put what; of what begins at one place the last stands first."""
    begins: list[Edit] = []
    for first, *others in _steps(text, tokens):
        last = others[-1] if others else first
        place, ends = tokens[first.start].start, tokens[last.end - 1].end
        functions = _PATHS if others else ARROWS
        begins.append((place, place, f"{functions[tokens[last.at].text]}("))
        if others:
            steps = (json.dumps(each.key, ensure_ascii=False) for each in (first, *others))
            path = quoted_text(f"$.{'.'.join(steps)}")
            yield tokens[first.at].start, ends, f", {path})"
        else:
            yield tokens[first.at].start, tokens[first.at].end, ","
            yield ends, ends, ")"
    yield from reversed(begins)


def _steps(text: str, tokens: Tokens) -> Iterator[list[_Arrow]]:
    """Yield operators, and those together that are one path: ``->`` gives what the next reads."""
    steps: list[_Arrow] = []
    for arrow in _arrows(text, tokens):
        before = steps[-1] if steps else None
        is_path = (
            before is not None
            and before.end == arrow.at
            and tokens[before.at].text == "->"
            and None not in {before.key, arrow.key}
        )
        if steps and not is_path:
            yield steps
            steps = []
        steps.append(arrow)
    if steps:
        yield steps


def _arrows(text: str, tokens: Tokens) -> Iterator[_Arrow]:
    starts: dict[int, int] = {}  # where the operand begins that ends before a token
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
        yield _Arrow(at, start, end, _key(tokens[at + 1 : end]))


def _key(tokens: Sequence[Token]) -> str | None:
    """Return the key that a right operand is, if it is a text or a whole number."""
    *sign, key = [token.text for token in tokens]
    if tokens[-1].kind == "number" and key.isdecimal() and sign in ([], ["-"]):
        return "".join([*sign, str(int(key))])
    is_text = not sign and tokens[-1].kind == "string" and key[0] == "'"
    return key[1:-1].replace("''", "'") if is_text else None


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
