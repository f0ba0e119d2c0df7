"""Files that a query names where a table stands: ``FROM 'sales.parquet'``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.quoting import quoted_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from affidavit.catalog.sql.lexer import Token

_MAY_HAVE: Final = re.compile(r"\b(?:FROM|JOIN)\s*'", re.IGNORECASE)


def paths_in(text: str) -> list[str]:
    """Return the paths and URLs in quotes that stand where a table does, each once."""
    if _MAY_HAVE.search(text) is None:
        return []
    return list(dict.fromkeys(path for _, path in _paths(tokenize(text))))


def placed(text: str, place: Callable[[str], str]) -> str:
    """Return a text that names its files by where they are, wherever it is run."""
    if _MAY_HAVE.search(text) is None:
        return text
    for token, path in reversed([*_paths(tokenize(text))]):
        text = f"{text[: token.start]}{quoted_text(place(path))}{text[token.end :]}"
    return text


def _paths(tokens: Sequence[Token]) -> Iterator[tuple[Token, str]]:
    for at, token in enumerate(tokens):
        if token.kind != "string" or token.text[0] != "'" or not at:
            continue
        if tokens[at - 1].keyword == "JOIN" or _is_clause(tokens, at - 1):
            yield token, token.text[1:-1].replace("''", "'")


def _is_clause(tokens: Sequence[Token], at: int) -> bool:
    """Whether FROM there is a query's, and not TRIM's, EXTRACT's or IS DISTINCT FROM."""
    if tokens[at].keyword != "FROM" or tokens[at - 1].keyword == "DISTINCT":
        return False
    level = tokens[at].depth
    while at > 0:
        at -= 1
        if tokens[at].depth < level:
            return False
        if tokens[at].depth == level and tokens[at].keyword == "SELECT":
            return True
    return False
