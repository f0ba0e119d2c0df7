"""Queries in FROM that compute what the query around them computes: DataFusion 54.1 does it once.

Of ``SELECT a + 1 AS a FROM (SELECT a + 1 AS a FROM (SELECT a FROM t))`` it drops a projection, for
two that are the same text above each other. With a name of its own the inner one's columns are
others. Where none of what is listed stands in both, nothing is written.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from affidavit.catalog.sql.lexer import Cursor
from affidavit.engine.statement.grammar import skip_alias
from affidavit.engine.statement.reading.lists import listed
from affidavit.engine.statement.reading.places import split
from affidavit.engine.statement.reading.walker import closing, in_from, word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.walker import Tokens


def named(tokens: Tokens) -> Iterator[Edit]:
    """Yield names for queries in FROM that have none and list what is listed around them."""
    computed = cache(partial(_computed, tokens))
    for at, token in enumerate(tokens):
        if token.text != "(" or word(tokens, at + 1) != "SELECT" or not in_from(tokens, at):
            continue
        close = closing(tokens, at)
        behind = Cursor("", tokens, close + 1)
        skip_alias(behind)
        if behind.at > close + 1:
            continue
        around = _select_around(tokens, at)
        if around >= 0 and computed(around) & computed(at + 1):
            end = tokens[close].end
            yield end, end, f" AS affidavit_from_{token.start}"


def _select_around(tokens: Tokens, at: int) -> int:
    """Return where the SELECT stands in whose FROM a bracket opens; -1 if nowhere."""
    while at >= 0 and word(tokens, at) != "SELECT":
        at = tokens.clauses[at]
    return at


def _computed(tokens: Tokens, select: int) -> set[tuple[str, ...]]:
    """Return what a SELECT lists besides columns, as texts."""
    items = split(tokens, listed(tokens, select))
    return {
        tuple(token.text for token in tokens[start:end] if token.keyword != "AS")
        for start, end in items
        if end - start > 1
    }
