"""Places in a statement's tokens: operands, clauses, and what a condition stands in."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from affidavit.engine.statement.honoured import AGGREGATES
from affidavit.engine.statement.reading.walker import (
    BEGINS,
    CLOSING,
    CONDITION_ENDS,
    CONDITIONS,
    OPENING,
    closing,
    siblings,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.reading.walker import Span, Tokens

_COMPARES: Final = frozenset(
    {"=", "<", ">", "<=", ">=", "<>", "!=", "AND", "OR", "NOT", "IS", "LIKE", "ILIKE", "BETWEEN",
     "IN", ",", "(", "[", ";"}
)  # fmt: skip
"""What binds less than what may be an operand of IN."""

OPERATORS: Final = frozenset("+-*/%=<>|&^#~!,;:") | BEGINS | {
    "||", "<=", ">=", "<>", "!=", "->", "->>", "=>", "AND", "OR", "NOT", "IS", "LIKE", "ILIKE",
    "IN", "BETWEEN", "END", "AS", "XOR", "DIV", "WHERE", "HAVING", "QUALIFY", "ORDER", "GROUP",
    "ESCAPE", "SIMILAR", "REGEXP", "RLIKE", "ASC", "DESC", "JOIN", "USING", "FILTER",
}  # fmt: skip
"""What is in no operand, but between two."""

_BOOLEAN: Final = frozenset({"AND", "OR", "XOR", "NOT", ",", ";", "=>", "IS"})
"""What binds less than comparisons do, or parts them."""

_BETWEEN: Final = _BOOLEAN | {"BETWEEN"} | BEGINS - {"CASE"}

COUNTED: Final = "((SELECT count(*) "
"""What EXISTS begins with where its value is asked for."""

SchemaOf: TypeAlias = "Callable[[str], pa.Schema | None]"
"""Returns the columns of a query that stands alone; ``None`` if it cannot: it is correlated."""


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


def is_query(tokens: Tokens, at: int) -> bool:
    """Return whether a bracket that opens at a place has a query in it."""
    while word(tokens, at) == "(":
        at += 1
    return word(tokens, at) in {"SELECT", "WITH", "VALUES"}


def operand_before(tokens: Tokens, at: int) -> int:
    """Return where the operand begins that ends before a place."""
    return begin_behind(tokens, at, (_COMPARES | BEGINS) - {"(", "[", "CASE"})


def factor_before(tokens: Tokens, at: int) -> int:
    """Return where the operand begins that ends before a place, of what binds most."""
    return begin_behind(tokens, at, OPERATORS - {"CASE"})


def compared_before(tokens: Tokens, at: int) -> int:
    """Return where what AND, OR and NOT stand before begins, up to a place."""
    start = begin_behind(tokens, at, _BOOLEAN | BEGINS - {"CASE"})
    while is_of_between(tokens, start):
        between = begin_behind(tokens, start - 1, _BETWEEN) - 1
        start = begin_behind(tokens, between, _BOOLEAN | BEGINS - {"CASE"})
    return start


def is_of_between(tokens: Tokens, at: int) -> bool:
    """Return whether a place is behind the AND of a BETWEEN."""
    if word(tokens, at - 1) != "AND":
        return False
    return word(tokens, begin_behind(tokens, at - 1, _BETWEEN) - 1) == "BETWEEN"


def begin_behind(tokens: Tokens, at: int, bounds: frozenset[str]) -> int:
    """Return the place behind the last of the bounds before a place, in its bracket."""
    level, cases = tokens[at].depth, 0
    while at > 0 and tokens[at - 1].depth >= level:
        said = word(tokens, at - 1)
        cases += (said == "END") - (said == "CASE")
        if cases < 0 or (not cases and said in bounds):
            break
        at = tokens.pairs[at - 1] if said in CLOSING else at - 1
    return at


def end_before(tokens: Tokens, at: int, bounds: frozenset[str]) -> int:
    """Return the place of the first of the bounds behind a place, or where its bracket ends."""
    level, cases = tokens[at].depth, 0
    at += 1
    while at < len(tokens) and tokens[at].depth >= level:
        said = word(tokens, at)
        cases += (said == "CASE") - (said == "END")
        if said in CLOSING or cases < 0 or (not cases and said in bounds):
            break
        at = closing(tokens, at) + 1 if said in OPENING else at + 1
    return at


def split(tokens: Tokens, span: Span) -> list[Span]:
    """Return what commas part that stand in no bracket within the span."""
    start, end = span
    if start >= end:
        return []
    cuts = [at for at in siblings(tokens, span) if word(tokens, at) == ","]
    return list(zip([start, *(cut + 1 for cut in cuts)], [*cuts, end], strict=True))


def stands(tokens: Tokens, span: Span) -> Stands:
    """Return how the condition in a span stands in its clause."""
    start, end = span
    found = Stands.CONJUNCT
    while True:
        before, behind = word(tokens, start - 1), word(tokens, end)
        if before not in CONDITIONS | {"AND", "OR", "("} or behind not in CONDITION_ENDS:
            break
        begin, has_or = tokens.segment(start)
        if has_or:
            found = Stands.POSITIVE
        if begin >= 0 and begin != tokens.opens[start]:
            if word(tokens, begin) in CONDITIONS:
                return found
            break
        if begin < 0 or word(tokens, begin - 1) not in CONDITIONS | {"AND", "OR", "("}:
            start = max(begin, 0)
            break
        start, end = begin, closing(tokens, begin) + 1
    return Stands.FILTERING if _is_filtering(tokens, start) else Stands.VALUE


def _is_filtering(tokens: Tokens, at: int) -> bool:
    """Whether a place is in a clause that keeps rows, however deep."""
    while at >= 0:
        said = word(tokens, tokens.clauses[at])
        if said:
            return said in CONDITIONS
        at = tokens.opens[at]
    return False


def clause(tokens: Tokens, span: Span, *words: str) -> int:
    """Return where the words stand in a span, in no bracket within it; -1 if nowhere."""
    for at in siblings(tokens, span):
        if all(word(tokens, at + ahead) == each for ahead, each in enumerate(words)):
            return at
    return -1


def aggregates(tokens: Tokens, span: Span) -> bool:
    """Return whether a query aggregates all of its rows: it has one row, whatever they are."""
    start, end = span
    if word(tokens, start) != "SELECT" or clause(tokens, span, "GROUP", "BY") >= 0:
        return False
    until = clause(tokens, span, "FROM")
    if clause(tokens, span, "HAVING") >= 0:
        return True
    at = start
    until = end if until < 0 else until
    while at < until:
        token = tokens[at]
        if token.text == "(" and is_query(tokens, at):
            at = closing(tokens, at)
        elif _is_aggregate(tokens, at) and not _is_windowed(tokens, at + 1):
            return True
        at += 1
    return False


def _is_aggregate(tokens: Tokens, at: int) -> bool:
    name = tokens[at].name
    return name is not None and name.lower() in AGGREGATES and word(tokens, at + 1) == "("


def _is_windowed(tokens: Tokens, at: int) -> bool:
    close = closing(tokens, at)
    if word(tokens, close + 1) == "FILTER" and word(tokens, close + 2) == "(":
        close = closing(tokens, close + 2)
    return word(tokens, close + 1) == "OVER"
