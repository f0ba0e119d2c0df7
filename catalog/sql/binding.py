"""Values written into a condition where it names parameters, as literals that are only values.

Rules:
    - A condition for Lance is text, and takes no parameters by itself. What stands here for one is
      one literal, whatever its text has: quotes are doubled, and negative numbers in brackets.
"""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pyarrow as pa

from affidavit.catalog.sql.lexer import edited, tokenize
from affidavit.catalog.sql.quoting import quoted_text
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.sql.lexer import Edit, Token

_BEFORE_ROWS: Final = frozenset(
    {"WHERE", "AND", "OR", "NOT", "ON", "HAVING", "WHEN", "SELECT", "ROW"}
)
"""Words before a bracket that are no function's name."""


def with_values(condition: str, values: Mapping[str, Any]) -> str:
    """Return a condition with the values of its parameters: ``$name``, ``$1``, or ``?`` in turn.

    ``IN $names`` and ``IN ($names)`` take a list; of an empty one nothing is a value.

    Raises:
        InvalidQueryError: A parameter has no value, a value has no parameter, or is of a kind that
            no literal has.
        SqlError: The condition is no SQL.
    """
    numbers = count(1)
    named: set[str] = set()
    edits: list[Edit] = []
    tokens = tokenize(condition)
    for at, token in enumerate(tokens):
        if token.kind != "placeholder":
            continue
        name = str(next(numbers)) if token.text == "?" else token.text[1:]
        if name not in values:
            msg = f"parameter ${name} of where= has no value: params= has {sorted(values)}"
            raise InvalidQueryError(msg)
        named.add(name)
        edits.append((token.start, token.end, _written(tokens, at, values[name], name)))
    unknown = [name for name in values if name not in named]
    if unknown:
        msg = f"where= names no parameter ${unknown[0]}: it has {sorted(named) or 'none'}"
        raise InvalidQueryError(msg)
    return edited(condition, edits)


def _written(tokens: Sequence[Token], at: int, value: Any, name: str) -> str:  # noqa: ANN401 - as below
    """Return what stands for the parameter at a place."""
    around = [each.text for each in (*tokens[max(at - 1, 0) : at], *tokens[at + 1 : at + 2])]
    is_bare = at > 0 and tokens[at - 1].keyword == "IN"
    is_bracketed = around == ["(", ")"] and at > 1 and tokens[at - 2].keyword == "IN"
    listed = listed_values(value)
    if listed is None:
        if is_bare:
            raise InvalidQueryError(no_list(name, value))
        return literal(value, name)
    inner = ", ".join(_of_list(each, name) for each in listed)
    if not is_bare and not is_bracketed:
        return f"[{inner}]"
    inner = inner or nothing(columns_before(tokens, at - 1 if is_bare else at - 2))
    return f"({inner})" if is_bare else inner


def _of_list(value: Any, name: str) -> str:  # noqa: ANN401 - as below
    inner = listed_values(value)
    if inner is None:
        return literal(value, name)
    return f"({', '.join(literal(each, name) for each in inner)})"


def literal(value: Any, name: str) -> str:  # noqa: ANN401 - whatever callers pass
    """Return a value as an SQL literal.

    Raises:
        InvalidQueryError: There is none for values of its kind.
    """
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()  # a number of numpy's
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, str) and "\x00" not in value:
        return quoted_text(value)
    if isinstance(value, UUID):
        return quoted_text(str(value))
    if isinstance(value, Decimal) and value.is_finite():
        text = format(value, "f")
        return f"CAST('{text}' AS DECIMAL(38, {len(text.partition('.')[2])}))"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return f"({value!r})" if value < 0 else repr(value)
    if isinstance(value, dt.datetime):
        zone = value if value.tzinfo is None else value.astimezone(dt.UTC).replace(tzinfo=None)
        mark = "" if value.tzinfo is None else "+00:00"
        return f"TIMESTAMP '{zone.isoformat(' ')}{mark}'"
    if isinstance(value, dt.date):
        return f"DATE '{value.isoformat()}'"
    msg = (
        f"parameter ${name} must be text, a number, true or false, a date or a list of such, got "
        f"{type(value).__name__} {value!r:.40}"
    )
    raise InvalidQueryError(msg)


# --- lists behind IN -----------------------------------------------------------------------------


def listed_values(value: object) -> list[Any] | None:
    """Return the values of a list that IN is given; ``None`` if it is none."""
    if isinstance(value, pa.ListScalar):
        return [*value.values] if value.is_valid else [None]
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return [*value]
    if isinstance(value, set | frozenset | list | tuple):
        return [*value]
    return [*value.tolist()] if getattr(value, "ndim", 0) == 1 else None  # type: ignore[attr-defined]


def no_list(name: str, value: object) -> str:
    """Return what is said of a value that is no list, behind IN without brackets."""
    what = "None" if value is None else f"of type {type(value).__name__}"
    return f"IN takes a list, and ${name} is {what}: pass a list, or write = ${name}"


def nothing(columns: int) -> str:
    """Return a query without rows, which stands for an empty list of so many columns."""
    return f"SELECT {', '.join(f'NULL AS nothing{at}' for at in range(columns))} WHERE FALSE"


def columns_before(tokens: Sequence[Token], at: int) -> int:
    """Return how many columns stand in brackets before the IN at a place; 1 without brackets."""
    at -= 1 + (tokens[at - 1].keyword == "NOT")
    if at < 0 or tokens[at].text != ")":
        return 1
    depth, columns = tokens[at].depth, 1
    while (tokens[at - 1].text, tokens[at - 1].depth) != ("(", depth):
        at -= 1
        columns += tokens[at].text == "," and tokens[at].depth == depth + 1
    is_call = at > 1 and tokens[at - 2].kind in {"word", "quoted"}
    return 1 if is_call and tokens[at - 2].keyword not in _BEFORE_ROWS else columns
