"""Queries in FROM that compute what the query around them computes: DataFusion 54.1 does it once.

Of ``SELECT a + 1 AS a FROM (SELECT a + 1 AS a FROM (SELECT a FROM t))`` it drops a projection, for
two that are the same text above each other. With a name of its own the inner one's columns are
others. Where none of what is listed stands in both, nothing is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.grammar import skip_alias
from affidavit.engine.statement.mended.lists import listed
from affidavit.engine.statement.mended.places import closing, in_from, split, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.mended.places import Edit


def named(tokens: Sequence[Token]) -> Iterator[Edit]:
    """Yield names for queries in FROM that have none and list what is listed around them."""
    for at, token in enumerate(tokens):
        if token.text != "(" or word(tokens, at + 1) != "SELECT" or not in_from(tokens, at):
            continue
        close = closing(tokens, at)
        behind = Cursor("", tokens, close + 1)
        skip_alias(behind)
        if behind.at > close + 1:
            continue
        around = _select_around(tokens, at)
        if around >= 0 and _computed(tokens, around) & _computed(tokens, at + 1):
            end = tokens[close].end
            yield end, end, f" AS affidavit_from_{token.start}"


def _select_around(tokens: Sequence[Token], at: int) -> int:
    """Return where the SELECT stands in whose FROM a bracket opens; -1 if nowhere."""
    level = tokens[at].depth
    while at >= 0 and tokens[at].depth >= level:
        if tokens[at].depth == level and word(tokens, at) == "SELECT":
            return at
        at -= 1
    return -1


def _computed(tokens: Sequence[Token], select: int) -> set[tuple[str, ...]]:
    """Return what a SELECT lists besides columns, as texts."""
    items = split(tokens, listed(tokens, select))
    return {
        tuple(token.text for token in tokens[start:end] if token.keyword != "AS")
        for start, end in items
        if end - start > 1
    }
