"""A statement as DataFusion 54.1 answers it rightly: what it plans wrongly is written otherwise.

Each rewrite names what is wrong; ``tests/engine/statement/mended`` asks plain DataFusion for the
same and says when the rewrite can go. What cannot be written otherwise is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from affidavit.catalog.sql.lexer import Cursor, tokenize
from affidavit.engine.statement.mended.arithmetic import checked
from affidavit.engine.statement.mended.clauses import clauses, values
from affidavit.engine.statement.mended.membership import membership
from affidavit.engine.statement.mended.numbers import floats
from affidavit.engine.statement.mended.places import clause
from affidavit.engine.statement.mended.sets import counted
from affidavit.engine.statement.mended.sides import swapped
from affidavit.engine.statement.queries import skip_with
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.mended.places import Edit, SchemaOf

_MAY_CHANGE: Final = re.compile(
    r"[-+*]|[\w')]\s*=\s*[\w\"(]|\bsum\b|\d\.\d|\.\d|\d\.|\d[eE][+-]?\d|\bESCAPE\b|\bRECURSIVE\b|\bFILTER\b|regr_count|approx_distinct|"
    r"\bEXISTS\b|\bIN\b|\bALL\b|\bVALUES\b.*\bSELECT\b",
    re.IGNORECASE | re.DOTALL,
)
"""What a text has that may be written otherwise."""

Find: TypeAlias = "Callable[[str, Sequence[Token], int, SchemaOf], Edit | None]"

_QUERIES: Final = re.compile(r"\b(?:SELECT|VALUES)\b", re.IGNORECASE)


def mended(text: str, schema_of: SchemaOf) -> str:
    """Return a statement that DataFusion answers rightly; the text itself where it does already.

    Args:
        text: The statement.
        schema_of: Returns the columns of a query that stands alone, ``None`` if it does not.

    Raises:
        SqlError: It cannot be written so.
    """
    if _MAY_CHANGE.search(text) is None:
        return text
    tokens = tokenize(text)
    text = edited(text, floats(tokens))
    text = edited(text, clauses(text, tokens := tokenize(text)))
    text = edited(text, swapped(text, tokens := tokenize(text)))
    if _QUERIES.search(text) is None:
        return text
    text = _repeated(text, schema_of, _set)
    text = _repeated(text, schema_of, _values)
    at = len(tokens := tokenize(text))
    while at > 0:  # from the last one, so that what stands within another is done before it
        at -= 1
        if tokens[at].text != "(" or tokens[at].kind != "symbol":
            continue
        edit = membership(text, tokens, at, _alone(text, tokens, schema_of))
        if edit is not None:
            text = edited(text, [edit])
            tokens = tokenize(text)
            at = sum(token.start < edit[0] for token in tokens)
    return _checked(text, schema_of)


def _checked(text: str, schema_of: SchemaOf) -> str:
    """Return a text whose whole numbers end where their types do."""
    at = len(tokens := tokenize(text))
    while at > 0:
        at -= 1
        if tokens[at].keyword in {"SELECT", "VALUES"} and (
            edits := checked(text, tokens, at, _alone(text, tokens, schema_of))
        ):
            text = edited(text, edits)
            tokens = tokenize(text)
    return text


def _repeated(text: str, schema_of: SchemaOf, find: Find) -> str:
    """Return a text in which nothing is found any more."""
    at = len(tokens := tokenize(text))
    while at > 0:
        at -= 1
        edit = find(text, tokens, at, schema_of)
        if edit is not None:
            text = edited(text, [edit])
            at = len(tokens := tokenize(text))
    return text


def _set(text: str, tokens: Sequence[Token], at: int, schema_of: SchemaOf) -> Edit | None:
    if tokens[at].keyword not in {"INTERSECT", "EXCEPT"}:
        return None
    return counted(text, tokens, at, _alone(text, tokens, schema_of))


def _values(text: str, tokens: Sequence[Token], at: int, _: SchemaOf) -> Edit | None:
    return values(text, tokens, at)


def _alone(text: str, tokens: Sequence[Token], schema_of: SchemaOf) -> SchemaOf:
    """Return what tells the columns of a query beside the common tables of the statement."""
    start = clause(tokens, (0, len(tokens)), "WITH")
    if start < 0:
        return schema_of
    cursor = Cursor(text, tokens, start)
    try:
        skip_with(cursor)
    except SqlError:
        return schema_of
    common = cursor.between(start, cursor.at)
    return lambda query: schema_of(f"{common} {query}")


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Return a text with each edit made; none may be within another."""
    for start, end, written in sorted(edits, reverse=True):
        text = f"{text[:start]}{written}{text[end:]}"
    return text
