"""Numbers with a point are decimals, and keep their digits; those with an exponent are floats.

DataFusion 54.1 makes floats of both, or decimals of both. What it divides, or takes the power
or the average of, has four digits more than a decimal has: there they are floats, as before. It
makes a decimal of many digits a float that may be beside the nearest one: what is cast to a float,
or alone is what a column of floats is given, is a float at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow.types as pt

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.statement.reading.places import begin_behind, end_before
from affidavit.engine.statement.reading.walker import closing, word
from affidavit.engine.statement.statement import DML_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.walker import Tokens

DIGITS_MAX: Final = 38
"""How many digits a decimal has at most."""

LONG_DIGITS_MAX: Final = 76
"""How many one has at most that no other is computed with: one that is stored."""

EXACT_DIGITS_MAX: Final = 15
"""A decimal of so many digits is made the nearest float; one of more may be made its neighbour."""

_FLOATS: Final = frozenset({"DOUBLE", "FLOAT", "REAL", "FLOAT8", "FLOAT4"})
_CASTS: Final = frozenset({"CAST", "TRY_CAST"})
_SIGNS: Final = frozenset({"(", ")", "+", "-"})

_ROUNDED: Final = frozenset({"power", "pow", "log", "avg", "mean", "median"})
"""Functions that give a decimal of a decimal, rounded."""

_ENDS: Final = frozenset(
    {",", "=", "<", ">", "<=", ">=", "<>", "!=", "AND", "OR", "NOT", "WHEN", "THEN", "ELSE", "CASE",
     "END", "SELECT", "FROM", "WHERE", "ON", "BY", "HAVING", "QUALIFY", "AS", "IN", "BETWEEN",
     "IS", "DISTINCT FROM", "LIMIT", "OFFSET", "SET", "VALUES", "UNION", "INTERSECT", "EXCEPT",
     "RETURNING", "[", "DISTINCT", "ALL", "ORDER", "GROUP"}
)  # fmt: skip
"""What an operation ends at."""

_NO_EXPRESSIONS: Final = frozenset({"INTERVAL", "TIMESTAMP", "SAMPLE"})


def floats(tokens: Tokens) -> Iterator[Edit]:
    """Yield the numbers that are floats, as such."""
    lossy = _in_lossy(tokens)
    is_written = any(token.name == DML_SCHEMA for token in tokens)
    for at, token in enumerate(tokens):
        if token.kind != "number" or word(tokens, at - 1) in _NO_EXPRESSIONS:
            continue
        has_exponent = "e" in token.text.lower()
        if not has_exponent and "." not in token.text:
            continue
        digits = sum(map(str.isdigit, token.text.lstrip("0")))
        is_float = at in lossy or (digits > EXACT_DIGITS_MAX and _is_cast(tokens, at))
        if has_exponent or is_float or digits > DIGITS_MAX:
            is_long = is_written and not has_exponent and digits <= LONG_DIGITS_MAX
            is_whole = is_long and _is_stored(tokens, at)
            kind = f"DECIMAL({digits}, {_scale(token.text)})" if is_whole else "DOUBLE"
            yield token.start, token.end, f"CAST('{token.text}' AS {kind})"


def _scale(written: str) -> int:
    return len(written) - written.index(".") - 1


def alone(value: str) -> str:
    """Return what a column of floats is given, as a float if it is a number of many digits."""
    tokens = tokenize(value) if "." in value else []
    numbers = [token for token in tokens if token.kind == "number"]
    rest = {token.text for token in tokens if token.kind != "number"}
    if len(numbers) != 1 or not rest <= _SIGNS:
        return value
    start, end, written = numbers[0].start, numbers[0].end, numbers[0].text.replace("_", "")
    digits = sum(map(str.isdigit, written.lstrip("0.")))
    is_left = "." not in written or "e" in written.lower() or digits <= EXACT_DIGITS_MAX
    return value if is_left else f"{value[:start]}CAST('{written}' AS DOUBLE){value[end:]}"


def nearest(values: Mapping[str, str], schema: pa.Schema) -> dict[str, str]:
    """Return what columns are given, with a float where :func:`alone` makes one for its column."""
    return {
        name: alone(value) if "." in value and pt.is_floating(schema.field(name).type) else value
        for name, value in values.items()
    }


def _is_cast(tokens: Tokens, at: int) -> bool:
    """Return whether a number alone is cast to a float."""
    if word(tokens, at + 2) not in _FLOATS:
        return False
    first = at - (word(tokens, at - 1) in {"-", "+"})
    is_called = word(tokens, first - 1) == "(" and word(tokens, first - 2) in _CASTS
    return word(tokens, at + 1) == "::" or (word(tokens, at + 1) == "AS" and is_called)


def _is_stored(tokens: Tokens, at: int) -> bool:
    """Return whether a number alone is what a row is given that a statement writes."""
    first, last = at - (word(tokens, at - 1) in {"-", "+"}), at
    if word(tokens, tokens.clauses[tokens.opens[at]]) == "SELECT":
        while word(tokens, first - 1) == "(" and tokens.pairs[first - 1] == last + 1:
            first, last = first - 1, last + 1
    if word(tokens, last + 1) not in {",", ")", "FROM", "AS", ";", ""}:
        return False
    if word(tokens, tokens.clauses[first]) == "SELECT":
        return word(tokens, first - 1) in {"SELECT", ","}
    row = tokens.opens[at]
    is_row = row >= 0 and "VALUES" in {word(tokens, row - 1), word(tokens, tokens.clauses[row])}
    return is_row and word(tokens, first - 1) in {"(", ","}


def _in_lossy(tokens: Tokens) -> set[int]:
    """Return the places of what is divided, or an argument of a function that rounds."""
    found: set[int] = set()
    for at, token in enumerate(tokens):
        said = word(tokens, at)
        if said in {"/", "%"} and at not in found:
            begin = begin_behind(tokens, at, _ENDS - {"CASE"})
            found.update(range(begin, end_before(tokens, at, _ENDS - {"END"})))
        called = (tokens[at - 1].name or "").lower() if at else ""
        if (said == "(" and called in _ROUNDED) or (said == "[" and token.kind == "symbol"):
            found.update(range(at, closing(tokens, at)))
    return found
