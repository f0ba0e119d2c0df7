"""Files that a statement names where a table stands: ``FROM 'sales.parquet'``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import edited, remembered, tokenize
from affidavit.catalog.sql.quoting import quoted_text
from affidavit.engine.statement.reading.walker import Tokens, in_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from affidavit.catalog.sql.lexer import Token

_FIRST: Final = re.compile(r"\b(?:FROM|JOIN|USING|DESCRIBE|DESC)\s*'", re.IGNORECASE)
_NEXT: Final = re.compile(r",\s*'")
_TABLES: Final = re.compile(r"\b(?:FROM|USING)\b", re.IGNORECASE)

_DESCRIBES: Final = frozenset({"DESCRIBE", "DESC"})


@remembered
def paths_in(text: str) -> tuple[str, ...]:
    """Return the paths and URLs in quotes that stand where a table does, each once."""
    if not _may_have(text):
        return ()
    return tuple(dict.fromkeys(path for _, path in _paths(Tokens(tokenize(text)))))


def _may_have(text: str) -> bool:
    if _FIRST.search(text) is not None:
        return True
    return _NEXT.search(text) is not None and _TABLES.search(text) is not None


def placed(text: str, place: Callable[[str], str]) -> str:
    """Return a text that names its files by where they are, wherever it is run."""
    if not _may_have(text):
        return text
    paths = _paths(Tokens(tokenize(text)))
    return edited(text, ((at.start, at.end, quoted_text(place(path))) for at, path in paths))


def _paths(tokens: Tokens) -> Iterator[tuple[Token, str]]:
    for at, token in enumerate(tokens):
        if token.kind != "string" or token.text[0] != "'":
            continue
        is_described = at == 1 == len(tokens) - 1 and tokens[0].keyword in _DESCRIBES
        if is_described or in_from(tokens, at):
            yield token, token.text[1:-1].replace("''", "'")
