"""Places in a statement's tokens: brackets, operands, and what a condition stands in."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from affidavit.engine.statement.honoured import AGGREGATES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from affidavit.catalog.sql.lexer import Token

_CONDITIONS: Final = frozenset({"WHERE", "HAVING", "QUALIFY"})
"""Clauses that keep the rows for which a condition is true."""

BEGINS: Final = _CONDITIONS | {
    "SELECT", "FROM", "ON", "BY", "SET", "VALUES", "WHEN", "THEN", "ELSE", "CASE", "LIMIT",
    "OFFSET", "RETURNING", "UNION", "INTERSECT", "EXCEPT", "DISTINCT", "ALL", "DISTINCT FROM",
}  # fmt: skip
"""What an expression begins behind, besides brackets, commas and operators."""

CONDITION_ENDS: Final = frozenset(
    {"", ")", "AND", "OR", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FETCH", "WINDOW",
     "QUALIFY", "UNION", "INTERSECT", "EXCEPT", "RETURNING"}
)  # fmt: skip
"""What may stand behind a condition that is no operand of something else."""

_COMPARES: Final = frozenset(
    {"=", "<", ">", "<=", ">=", "<>", "!=", "AND", "OR", "NOT", "IS", "LIKE", "ILIKE", "BETWEEN",
     "IN", ",", "(", "[", ";"}
)  # fmt: skip
"""What binds less than what may be an operand of IN."""

_BOOLEAN: Final = frozenset({"AND", "OR", "XOR", "NOT", ",", ";", "=>", "IS"})
"""What binds less than comparisons do, or parts them."""

_BETWEEN: Final = _BOOLEAN | {"BETWEEN"} | BEGINS - {"CASE"}

_WITH_FROM: Final = frozenset({"extract", "substring", "substr", "trim", "overlay"})
"""Functions that may have FROM where others have a comma."""

COUNTED: Final = "((SELECT count(*) "
"""What EXISTS begins with where its value is asked for."""

Edit: TypeAlias = "tuple[int, int, str]"
"""From where to where of a text to put what."""

SchemaOf: TypeAlias = "Callable[[str], pa.Schema | None]"
"""Returns the columns of a query that stands alone; ``None`` if it cannot: it is correlated."""

Span: TypeAlias = "tuple[int, int]"
"""The tokens from the first to before the second."""


def between(text: str, tokens: Sequence[Token], span: Span) -> str:
    """Return the text of a span."""
    start, end = span
    return text[tokens[start].start : tokens[end - 1].end]


class Stands(Enum):
    """How a condition stands in its clause."""

    CONJUNCT = "one of those that all must be true"
    POSITIVE = "what is not true and what is unknown come to the same"
    FILTERING = "elsewhere in WHERE, HAVING or QUALIFY"
    VALUE = "its value is asked for"


def word(tokens: Sequence[Token], at: int) -> str:
    """Return the keyword or symbol at a place; empty if there is none.

    A word that begins a clause or a set elsewhere is given as what it is: the FROM of IS DISTINCT
    FROM is ``DISTINCT FROM``, that of ``extract(year FROM x)`` is ``,``, and the EXCEPT of
    ``* EXCEPT (x)`` is ``EXCLUDE``.
    """
    if not 0 <= at < len(tokens):
        return ""
    token = tokens[at]
    if token.keyword == "FROM" and at:
        return _from(tokens, at)
    if token.keyword == "EXCEPT" and at and tokens[at - 1].text == "*":
        return "EXCLUDE"
    return token.keyword or (token.text if token.kind == "symbol" else token.kind)


def _from(tokens: Sequence[Token], at: int) -> str:
    if tokens[at - 1].keyword == "DISTINCT" and tokens[at - 2].keyword in {"IS", "NOT"}:
        return "DISTINCT FROM"
    if not tokens[at].depth:
        return "FROM"
    bracket = opening(tokens, at)
    return "," if bracket > 0 and tokens[bracket - 1].name in _WITH_FROM else "FROM"


def closing(tokens: Sequence[Token], at: int) -> int:
    """Return where the bracket that opens at a place is closed."""
    level, end = tokens[at].depth, at + 1
    while end < len(tokens) and tokens[end].depth > level:
        end += 1
    return end


def opening(tokens: Sequence[Token], at: int) -> int:
    """Return where the bracket opens that a place stands in; -1 if it stands in none."""
    level = tokens[at].depth
    while at >= 0 and tokens[at].depth >= level:
        at -= 1
    return at


def is_query(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a bracket that opens at a place has a query in it."""
    while word(tokens, at) == "(":
        at += 1
    return word(tokens, at) in {"SELECT", "WITH", "VALUES"}


def operand_before(tokens: Sequence[Token], at: int) -> int:
    """Return where the operand begins that ends before a place."""
    return _begin(tokens, at, (_COMPARES | BEGINS) - {"(", "[", "CASE"})


def compared_before(tokens: Sequence[Token], at: int) -> int:
    """Return where what AND, OR and NOT stand before begins, up to a place."""
    start = _begin(tokens, at, _BOOLEAN | BEGINS - {"CASE"})
    while is_of_between(tokens, start):
        between = _begin(tokens, start - 1, _BETWEEN) - 1
        start = _begin(tokens, between, _BOOLEAN | BEGINS - {"CASE"})
    return start


def is_of_between(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a place is behind the AND of a BETWEEN."""
    if word(tokens, at - 1) != "AND":
        return False
    return word(tokens, _begin(tokens, at - 1, _BETWEEN) - 1) == "BETWEEN"


def _begin(tokens: Sequence[Token], at: int, bounds: frozenset[str]) -> int:
    """Return the place behind the last of the bounds before a place, in its bracket."""
    level, cases = tokens[at].depth, 0
    while at > 0:
        before = tokens[at - 1]
        if before.depth < level:
            break
        if before.depth == level:
            said = word(tokens, at - 1)
            cases += (said == "END") - (said == "CASE")
            if cases < 0 or (not cases and said in bounds):
                break
        at -= 1
    return at


def split(tokens: Sequence[Token], span: Span) -> list[Span]:
    """Return what commas part that stand in no bracket within the span."""
    start, end = span
    if start >= end:
        return []
    level = tokens[start].depth
    cuts = [at for at in range(start, end) if word(tokens, at) == "," and tokens[at].depth == level]
    return list(zip([start, *(cut + 1 for cut in cuts)], [*cuts, end], strict=True))


def stands(tokens: Sequence[Token], span: Span) -> Stands:
    """Return how the condition in a span stands in its clause."""
    start, end = span
    found = Stands.CONJUNCT
    while True:
        before, behind = word(tokens, start - 1), word(tokens, end)
        level = tokens[start].depth
        if before not in _CONDITIONS | {"AND", "OR", "("} or behind not in CONDITION_ENDS:
            return Stands.FILTERING if _is_filtering(tokens, start) else Stands.VALUE
        at = start - 1
        words = {before, behind}
        while at >= 0 and tokens[at].depth >= level:
            if tokens[at].depth == level:
                if word(tokens, at) in BEGINS:
                    break
                words.add(word(tokens, at))
            at -= 1
        until = end
        while until < len(tokens) and tokens[until].depth >= level:
            if tokens[until].depth == level and word(tokens, until) in CONDITION_ENDS - {
                "AND",
                "OR",
            }:
                break
            words |= {word(tokens, until)} if tokens[until].depth == level else set()
            until += 1
        if "OR" in words:
            found = Stands.POSITIVE
        if at >= 0 and tokens[at].depth >= level:
            if word(tokens, at) in _CONDITIONS:
                return found
            return Stands.FILTERING if _is_filtering(tokens, start) else Stands.VALUE
        if at < 0 or word(tokens, at - 1) not in _CONDITIONS | {"AND", "OR", "("}:
            return Stands.FILTERING if at >= 0 and _is_filtering(tokens, at) else Stands.VALUE
        start, end = at, closing(tokens, at) + 1


def _is_filtering(tokens: Sequence[Token], at: int) -> bool:
    """Whether a place is in a clause that keeps rows, however deep."""
    while at >= 0:
        level, here = tokens[at].depth, at
        while here >= 0 and tokens[here].depth >= level:
            if tokens[here].depth == level and here < at:
                said = word(tokens, here)
                if said in _CONDITIONS:
                    return True
                if said in {"SELECT", "FROM", "ON", "BY", "SET", "VALUES", "RETURNING"}:
                    return False
            here -= 1
        at = here
    return False


def clause(tokens: Sequence[Token], span: Span, *words: str) -> int:
    """Return where the words stand in a span, in no bracket within it; -1 if nowhere."""
    start, end = span
    level = tokens[start].depth
    for at in range(start, end):
        if tokens[at].depth == level and all(
            word(tokens, at + ahead) == each for ahead, each in enumerate(words)
        ):
            return at
    return -1


def aggregates(tokens: Sequence[Token], span: Span) -> bool:
    """Return whether a query aggregates all of its rows: it has one row, whatever they are."""
    start, end = span
    if word(tokens, start) != "SELECT" or clause(tokens, span, "GROUP", "BY") >= 0:
        return False
    level = tokens[start].depth
    until = clause(tokens, span, "FROM")
    having = clause(tokens, span, "HAVING")
    if having >= 0:
        return True
    for at in range(start, end if until < 0 else until):
        token = tokens[at]
        if token.name is None or token.name.lower() not in AGGREGATES:
            continue
        if word(tokens, at + 1) != "(" or is_in_query(tokens, at, level):
            continue
        close = closing(tokens, at + 1)
        if word(tokens, close + 1) == "FILTER" and word(tokens, close + 2) == "(":
            close = closing(tokens, close + 2)
        if word(tokens, close + 1) != "OVER":
            return True
    return False


def is_in_query(tokens: Sequence[Token], at: int, level: int) -> bool:
    """Return whether a place is in a query within the brackets above a level."""
    while tokens[at].depth > level:
        at = opening(tokens, at)
        if is_query(tokens, at):
            return True
    return False


def in_from(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a bracket opens a table of FROM."""
    level, start = tokens[at].depth, opening(tokens, at)
    for here in range(at - 1, start, -1):
        if tokens[here].depth == level and word(tokens, here) in {
            "SELECT", "FROM", "WHERE", "JOIN", "ON", "BY", "HAVING", "VALUES", "USING", "SET",
        }:  # fmt: skip
            return word(tokens, here) in {"FROM", "JOIN", "USING"}
    return False
