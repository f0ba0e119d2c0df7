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
from typing import TYPE_CHECKING, Any
from uuid import UUID

from affidavit.catalog.sql.lexer import edited, tokenize
from affidavit.catalog.sql.quoting import quoted_text
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.sql.lexer import Edit


def with_values(condition: str, values: Mapping[str, Any]) -> str:
    """Return a condition with the values of its parameters: ``$name``, ``$1``, or ``?`` in turn.

    A list stands in brackets, as ``IN $names`` takes it.

    Raises:
        InvalidQueryError: A parameter has no value, a value has no parameter, or is of a kind that
            no literal has.
        SqlError: The condition is no SQL.
    """
    numbers = count(1)
    named: set[str] = set()
    edits: list[Edit] = []
    for token in tokenize(condition):
        if token.kind != "placeholder":
            continue
        name = str(next(numbers)) if token.text == "?" else token.text[1:]
        if name not in values:
            msg = f"parameter ${name} of where= has no value: params= has {sorted(values)}"
            raise InvalidQueryError(msg)
        named.add(name)
        edits.append((token.start, token.end, literal(values[name], name)))
    unknown = [name for name in values if name not in named]
    if unknown:
        msg = f"where= names no parameter ${unknown[0]}: it has {sorted(named) or 'none'}"
        raise InvalidQueryError(msg)
    return edited(condition, edits)


def literal(value: Any, name: str) -> str:  # noqa: ANN401 - whatever callers pass
    """Return a value as an SQL literal.

    Raises:
        InvalidQueryError: There is none for values of its kind.
    """
    if isinstance(value, list | tuple | set | frozenset) and value:
        return f"({', '.join(literal(each, name) for each in value)})"
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
    if isinstance(value, list | tuple) and not value:
        msg = f"parameter ${name} is an empty list: a condition needs at least one value"
        raise InvalidQueryError(msg)
    msg = (
        f"parameter ${name} must be text, a number, true or false, a date or a list of such, got "
        f"{type(value).__name__} {value!r:.40}"
    )
    raise InvalidQueryError(msg)
