"""What a column is called that is computed and given no name: what its author wrote.

``a+1`` is ``a + 1``, and ``SUM( c )`` is ``sum(c)``: with one space where there may be one, names
without quotes in lower case, words of the grammar in upper case, and no longer than
:data:`NAME_LENGTH_MAX`. DataFusion 54.1 says ``lake.main.t.a + Int64(1)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.engine.statement.reading.walker import CLOSING, OPENING, in_from, opening, word

if TYPE_CHECKING:
    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.reading.walker import Span, Tokens

NAME_LENGTH_MAX: Final = 100
"""How much of an expression's text is its name."""

_CONSTANTS: Final = frozenset(
    {"TRUE", "FALSE", "NULL", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "DEFAULT"}
)
"""Words that look like columns and are none."""

_SPACED: Final = frozenset(
    {"ALL", "AND", "ANY", "AS", "ASC", "AT", "BETWEEN", "BY", "CASE", "CURRENT", "DESC", "DISTINCT",
     "DIV", "ELSE", "END", "ESCAPE", "EXCEPT", "EXISTS", "FILTER", "FIRST", "FOLLOWING", "FROM",
     "GROUP", "GROUPS", "HAVING", "IGNORE", "ILIKE", "IN", "INTERSECT", "INTERVAL", "IS", "JOIN",
     "LAST", "LIKE", "LIMIT", "NOT", "NULLS", "OFFSET", "ON", "OR", "ORDER", "OVER", "PARTITION",
     "PRECEDING", "RANGE", "REGEXP", "RESPECT", "RLIKE", "ROWS", "SELECT", "SIMILAR", "SOME",
     "THEN", "TO", "UNBOUNDED", "UNION", "USING", "VALUES", "WHEN", "WHERE", "WITH", "WITHIN",
     "XOR"}
)  # fmt: skip
"""Words of the grammar: a bracket behind them is no call."""

_UPPER: Final = _SPACED | {"CAST", "TRY_CAST", "EXTRACT", "NULL", "ROW"}
_SIGNS: Final = frozenset("+-~")
_OPERATORS: Final = frozenset("=<>+-*/%|&^#~!@?") | {"<>", "!=", ">=", "<=", "||", "->", "->>"}

_BEFORE_SIDES: Final = frozenset(
    {"", "UNION", "INTERSECT", "EXCEPT", "ALL", "DISTINCT", "AS", "MATERIALIZED", "EXPLAIN",
     "ANALYZE", "VERBOSE", "COPY", "LATERAL"}
)  # fmt: skip
"""What a query in brackets stands behind whose columns somebody sees."""


def is_column(tokens: Tokens, item: Span) -> bool:
    """Return whether a thing of a list is a column, which has a name."""
    start, end = item
    if end == start + 1 and tokens[start].keyword in _CONSTANTS:
        return False
    return all(
        token.text == "." if at % 2 else token.name is not None
        for at, token in enumerate(tokens[start:end])
    )


def is_seen(tokens: Tokens, at: int) -> bool:
    """Return whether somebody may name the columns of the SELECT at a place."""
    bracket = opening(tokens, at)
    while bracket >= 0 and word(tokens, bracket - 1) == "(":
        bracket = opening(tokens, bracket)
    if bracket < 0 or in_from(tokens, bracket):
        return True
    return word(tokens, bracket - 1) in _BEFORE_SIDES


def called(tokens: Tokens, item: Span) -> str:
    """Return what an expression is called."""
    start, end = item
    made: list[str] = []
    for at in range(start, end):
        if at > start and _is_apart(tokens, start, at):
            made.append(" ")
        made.append(_written(tokens[at]))
    name = "".join(made)
    return name if len(name) <= NAME_LENGTH_MAX else f"{name[: NAME_LENGTH_MAX - 3]}..."


def _written(token: Token) -> str:
    plain = token.name or ""
    if token.kind == "quoted" and plain.isidentifier() and plain == plain.lower():
        return plain  # the engine puts quotes where somebody wrote none
    if token.kind != "word":
        return token.text
    if token.keyword in {"TRUE", "FALSE"} or token.keyword not in _UPPER:
        return str(token.name)
    return token.keyword


def _is_apart(tokens: Tokens, start: int, at: int) -> bool:
    """Whether a space stands before the token at a place."""
    before, here = tokens[at - 1], tokens[at]
    if before.kind == "symbol" and (before.text in OPENING or before.text in {".", "::"}):
        return False
    if here.kind != "symbol":
        return not _is_sign(tokens, start, at - 1)
    if here.text in CLOSING or here.text in {",", ".", "::", ":"}:
        return False
    if here.text == "(":
        return before.name is None or before.keyword in _SPACED
    if here.text == "[":
        return before.name is None and before.text not in CLOSING
    is_one = before.text in _OPERATORS and here.text in _OPERATORS - {"+", "-"}
    return not (is_one and before.end == here.start)


def _is_sign(tokens: Tokens, start: int, at: int) -> bool:
    """Whether a token is the sign of what is behind it, and stands between nothing."""
    if tokens[at].text not in _SIGNS or tokens[at].kind != "symbol":
        return False
    if at == start:
        return True
    before = tokens[at - 1]
    if before.kind == "symbol":
        return before.text not in CLOSING
    return before.keyword in _SPACED - {"END"}
