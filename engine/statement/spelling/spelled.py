"""What other databases read, and DataFusion's parser or planner does not, written as it reads it.

It takes table functions by their exact name alone, calls the column of ``range`` and
``generate_series`` ``value`` and nothing else, has no ``ORDER BY ALL``, and lacks names of types.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import edited, remembered, tokenize
from affidavit.engine.statement.defining.types import MICROSECONDS, PLAIN
from affidavit.engine.statement.reading.walker import (
    Tokens,
    closing,
    in_from,
    opening,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.places import SchemaOf

VALUE: Final = "value"
"""What DataFusion calls the column of those functions."""

_SERIES: Final = frozenset({"RANGE", "GENERATE_SERIES"})
_CASTS: Final = frozenset({"CAST", "TRY_CAST"})
_ORDER_BY: Final = ("ORDER", "BY")
_QUERIES: Final = frozenset({"SELECT", "FROM", "WITH", "VALUES"})

_ENDS: Final = frozenset(
    {"WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "OFFSET", "UNION", "INTERSECT", "EXCEPT",
     "WINDOW", "QUALIFY", "JOIN", "CROSS", "LEFT", "RIGHT", "INNER", "FULL", "NATURAL", "ON",
     "RETURNING", "FETCH"}
)  # fmt: skip
"""What may stand behind a table that has no other name."""

_MAY_HAVE: Final = re.compile(
    rf"\bTIME|\b(?:{'|'.join(_SERIES)})\s*\(|\b(?:{'|'.join(PLAIN)})\b|(?:FROM|JOIN|,|LATERAL)\s+\w+\s*\(",
    re.IGNORECASE,
)
_MOMENTS: Final = frozenset({"TIMESTAMP", "TIMESTAMPTZ", "TIME"})
_FINER: Final = re.compile(
    r"'\s*(?:16(?:7[7-9]|[89]\d)|1[7-9]\d\d|2[01]\d\d|22(?:[0-5]\d|6[0-2]))-.*\.\d{6}0*[1-9]"
)
"""A literal that says parts of a microsecond, of years that nanoseconds are counted in."""

_UTC_NANOSECONDS: Final = 'Timestamp(Nanosecond, Some("UTC"))'
_COMPARES: Final = frozenset({"=", "<>", "!=", "<", ">", "<=", ">="})
_ORDERS: Final = re.compile(r"\bORDER\s+BY\s+ALL\b", re.IGNORECASE)


@remembered
def spelled(text: str) -> str:
    """Return a statement with its types and table functions as DataFusion knows them."""
    if _MAY_HAVE.search(text) is None:
        return text
    tokens = Tokens(tokenize(text))
    return edited(text, [*_types(tokens), *_moments(tokens), *_functions(tokens)])


def ordered(text: str, schema_of: SchemaOf) -> str:
    """Return a statement with each ORDER BY ALL as the columns that it is about, by their places.

    Args:
        text: The statement.
        schema_of: Returns the columns of a query that stands alone, ``None`` if it does not.
    """
    if not _has_orders(text):
        return text
    return edited(text, _orderings(text, Tokens(tokenize(text)), schema_of))


@remembered
def _has_orders(text: str) -> bool:
    return _ORDERS.search(text) is not None


def _types(tokens: Tokens) -> Iterator[Edit]:
    """Yield what is cast to a type that has another name."""
    for at, token in enumerate(tokens):
        if token.keyword not in PLAIN:
            continue
        if _is_type(tokens, at):
            yield token.start, token.end, PLAIN[token.keyword]


def _moments(tokens: Tokens) -> Iterator[Edit]:
    """Yield moments in microseconds, for DataFusion's nanoseconds end in 2262.

    A literal that says parts of a microsecond is in nanoseconds, in the years that have those.

    A literal of TIME beside a comparison becomes text, which is read as the other side's type:
    DataFusion 54.1 compares no TIME in nanoseconds with one in microseconds.
    """
    for at, token in enumerate(tokens):
        if token.keyword not in _MOMENTS or word(tokens, at + 1) == "(":
            continue
        is_literal = word(tokens, at + 1) == "string"
        if token.keyword == "TIME":
            if is_literal and _is_compared(tokens, at):
                yield token.start, token.end, ""
        elif is_literal and _FINER.search(tokens[at + 1].text) is not None:
            if token.keyword == "TIMESTAMPTZ":
                value = tokens[at + 1]
                yield token.start, value.end, f"arrow_cast({value.text}, '{_UTC_NANOSECONDS}')"
        elif is_literal and token.keyword == "TIMESTAMPTZ":
            value = tokens[at + 1]
            written = f"CAST({value.text} AS {MICROSECONDS[token.keyword]})"
            yield token.start, value.end, written
        elif is_literal or _is_type(tokens, at):
            yield token.start, token.end, MICROSECONDS[token.keyword]


def _is_compared(tokens: Tokens, at: int) -> bool:
    """Whether a literal of TIME is compared with what is no literal."""
    before, behind = word(tokens, at - 1), word(tokens, at + 2)
    if before == "AND":
        return "BETWEEN" in {word(tokens, at - 3), word(tokens, at - 4)}
    if before in _COMPARES | {"BETWEEN"}:
        return word(tokens, at - 2) != "string"
    return behind in _COMPARES and word(tokens, at + 3) not in {"string", "TIME"}


def _is_type(tokens: Tokens, at: int) -> bool:
    """Whether a word stands where what is cast has its type."""
    before = word(tokens, at - 1)
    return before == "::" or (before == "AS" and word(tokens, opening(tokens, at) - 1) in _CASTS)


def _functions(tokens: Tokens) -> Iterator[Edit]:
    """Yield functions in the place of a table in lower case, and what is to call their columns."""
    for at, token in enumerate(tokens):
        if token.kind != "word" or word(tokens, at + 1) != "(" or not in_from(tokens, at):
            continue
        if token.text != token.name:
            yield token.start, token.end, str(token.name)
        if token.keyword in _SERIES and _is_read(tokens, str(token.name)):
            yield from _column(tokens, at)


def _column(tokens: Tokens, start: int) -> Iterator[Edit]:
    """Yield what calls the column of the function at a place, unless something calls it already.

    Where both of its names are read, it is there twice.
    """
    name, close = str(tokens[start].name), closing(tokens, start + 1)
    at = close + 1 + (word(tokens, close + 1) == "AS")
    has_name = at < len(tokens) and tokens[at].name is not None and word(tokens, at) not in _ENDS
    if has_name and word(tokens, at + 1) == "(":
        return
    called, end = str(tokens[at].name) if has_name else name, tokens[close].end
    if _is_read(tokens, VALUE, called):
        begin = tokens[start].start
        yield begin, begin, f"(SELECT {VALUE}, {VALUE} AS {name} FROM "
        yield end, end, ")" if has_name else f") AS {name}"
    elif has_name:
        yield tokens[at].end, tokens[at].end, f"({name})"
    else:
        yield end, end, f" AS {name}({name})"


def _is_read(tokens: Tokens, name: str, table: str = "") -> bool:
    """Return whether a column of a name is read; with a table before it, of that one."""
    return any(
        token.name == name
        and (not table or word(tokens, here - 1) != "." or tokens[here - 2].name == table)
        and word(tokens, here + 1) not in {"(", "BETWEEN", "UNBOUNDED", "CURRENT"}
        and word(tokens, here - 1) != "AS"
        for here, token in enumerate(tokens)
    )


def _orderings(text: str, tokens: Tokens, schema_of: SchemaOf) -> Iterator[Edit]:
    for at, token in enumerate(tokens):
        if token.keyword != "ALL" or (word(tokens, at - 2), word(tokens, at - 1)) != _ORDER_BY:
            continue
        start, end = _query(tokens, at), at + 1
        while word(tokens, end) in {"ASC", "DESC", "NULLS", "FIRST", "LAST"}:
            end += 1
        found = schema_of(text[tokens[start].start : tokens[at - 3].end]) if start >= 0 else None
        if found is not None:
            how = text[token.end : tokens[end - 1].end]
            places = ", ".join(f"{place}{how}" for place in range(1, len(found) + 1))
            yield token.start, tokens[end - 1].end, places


def _query(tokens: Tokens, order: int) -> int:
    """Return where the query begins whose ORDER BY stands at a place; -1 if that is none."""
    level = tokens[order].depth
    for at in range(opening(tokens, order) + 1, order - 2):
        if tokens[at].depth == level and word(tokens, at) in _QUERIES:
            return at
    return -1
