"""Functions whose argument says how large their answer is, which nothing else bounds (P21).

``repeat('x', 2000000000)`` is a short text and a long value: whoever computes it takes the memory
at once, and a process that has none ends. So the argument is bounded: where it is written out it is
seen before anything runs, and otherwise it is handed through a function of ours, which sees it when
it is computed and refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import tokenize
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.sql.lexer import Token

SIZED_BYTES_MAX: Final = 256 * 1024 * 1024
"""How large the answers of such a function may be for the rows of one batch, and what one value of
a statement may grow to as far as that can be told beforehand."""

SIZED_NESTING_MAX: Final = 4
"""How deep calls of such functions may stand in each other."""

CONDITION_COUNT_MAX: Final = 1_000
CONDITION_CALLS_MAX: Final = 2
"""What the condition of a search or trigger may have of them: it is computed where no function of
ours is, for whole batches of rows."""

BOUNDED: Final = "affidavit_bounded"
"""Gives a count back, or refuses: its other argument is how many bytes each of so many is."""

CHARACTER_BYTES: Final = 4
ELEMENT_BYTES: Final = 64
"""What one element of a list is taken for, whatever it is."""

COUNTED: Final[Mapping[str, str]] = {
    "repeat": "octet_length({})",
    "lpad": str(CHARACTER_BYTES),
    "rpad": str(CHARACTER_BYTES),
    "array_repeat": str(ELEMENT_BYTES),
    "list_repeat": str(ELEMENT_BYTES),
    "array_resize": str(ELEMENT_BYTES),
    "list_resize": str(ELEMENT_BYTES),
}
"""The functions whose second argument is a count, and how many bytes each is of the first."""


_NO_CALL: Final = {"TABLE", "INTO", "AS", "EXISTS", "WITH", "RECURSIVE", "VIEW", "UPDATE", "JOIN"}
"""What a name stands behind that has a bracket and calls nothing."""


def bounded(text: str) -> str:
    """Return a statement whose counts are handed through :data:`BOUNDED`, but those written out.

    Raises:
        SqlError: What is written out is too large, or such calls are nested too deep.
    """
    lowered = text.lower()
    if not any(name in lowered for name in COUNTED):
        return text
    tokens = tokenize(text)
    return text[: tokens[0].start] + _bounded(text, tokens, 0) if tokens else text


def _bounded(text: str, tokens: Sequence[Token], nested: int) -> str:
    """Return the text of ``tokens`` with each call among them bounded."""
    if nested > SIZED_NESTING_MAX:
        msg = f"repeat, lpad and their like are nested more than {SIZED_NESTING_MAX} deep"
        raise SqlError(msg)
    if not tokens:
        return ""
    made, at, index = [], tokens[0].start, 0
    while index < len(tokens):
        arguments, end = _call(tokens, index)
        if len(arguments) > 1:
            given = [_bounded(text, each, nested + 1) for each in arguments]
            name = str(tokens[index].name).lower()
            if not _is_written_out(name, arguments):
                given[1] = f"{BOUNDED}({given[1]}, {COUNTED[name].format(given[0])})"
            made += [text[at : tokens[index + 1].end], ", ".join(given)]
            at, index = tokens[end].start, end
        index += 1
    return "".join([*made, text[at : tokens[-1].end]])


def _call(tokens: Sequence[Token], at: int) -> tuple[list[Sequence[Token]], int]:
    """Return the arguments of a call that begins there, and where its bracket is closed."""
    name = tokens[at].name
    if name is None or name.lower() not in COUNTED or tokens[at + 1 : at + 2] == []:
        return [], at
    if tokens[at + 1].text != "(" or (at and tokens[at - 1].keyword in _NO_CALL):
        return [], at
    parts: list[Sequence[Token]] = []
    begun, depth = at + 2, tokens[at + 1].depth
    for index in range(at + 2, len(tokens)):
        token = tokens[index]
        closes = token.depth == depth and token.text == ")"
        if closes or (token.depth == depth + 1 and token.kind == "symbol" and token.text == ","):
            parts.append(tokens[begun:index])
            begun = index + 1
        if closes:
            after = [each.text.upper() for each in tokens[index + 1 : index + 3]]
            return ([], at) if after == ["AS", "("] else (parts, index)
    return [], at


def _is_written_out(name: str, arguments: Sequence[Sequence[Token]]) -> bool:
    """Return whether text and count are literals; refuse them if they make too much.

    Raises:
        SqlError: They do.
    """
    if any(len(each) != 1 for each in arguments[:2]):
        return False
    what, count = arguments[0][0], arguments[1][0]
    if count.kind != "number" or what.kind not in {"string", "number"}:
        return False
    if not count.text.isdecimal():
        return False
    text = what.text[1:-1].replace("''", "'") if what.kind == "string" else what.text
    each = len(text.encode("utf-8", "replace")) if name == "repeat" else int(COUNTED[name])
    if (size := int(count.text[:30]) * each) > SIZED_BYTES_MAX:
        raise SqlError(too_large(size))
    return True


def check_written_out(text: str) -> None:
    """Refuse a condition that others compute, unless its counts are written out and small.

    Raises:
        SqlError: One is not.
    """
    lowered = text.lower()
    if not any(name in lowered for name in COUNTED):
        return
    tokens = tokenize(text)
    calls = [call for at in range(len(tokens)) if (call := _call(tokens, at))[0]]
    for (_, *others), _ in calls:
        count = others[0][0].text[:20] if others and len(others[0]) == 1 else ""
        is_small = count.isdecimal() and int(count) <= CONDITION_COUNT_MAX
        if not is_small or len(calls) > CONDITION_CALLS_MAX:
            msg = (
                "a condition may have repeat, lpad and their like "
                f"{CONDITION_CALLS_MAX} times, with counts that are written out, up to "
                f"{CONDITION_COUNT_MAX:,}"
            )
            raise SqlError(msg)


def too_large(size: int) -> str:
    """Return what is said of a value, or the values of a batch, that would be too large."""
    return (
        f"repeat, lpad or one of their like would make {size:,} bytes at once, and "
        f"{SIZED_BYTES_MAX:,} are allowed: ask for less, or for fewer rows"
    )
