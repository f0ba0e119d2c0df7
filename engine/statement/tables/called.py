"""Every table of a text that is written in words of ours, as a call that DataFusion plans."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.statement.tables.arguments import in_order
from affidavit.engine.statement.tables.as_of import as_calls

_MAY_HAVE: Final = re.compile(r"=>|:=|\bAS\s+OF\b", re.IGNORECASE)
REMEMBERED_LENGTH_MAX: Final = 10_000


def called(text: str) -> str:
    """Return a statement whose tables are names, queries and calls with arguments in order.

    Raises:
        SqlError: A moment is no literal and no parameter, or a call has an argument twice.
    """
    if _MAY_HAVE.search(text) is None:
        return text
    return _remembered(text) if len(text) <= REMEMBERED_LENGTH_MAX else _called(text)


@lru_cache(maxsize=512)
def _remembered(text: str) -> str:
    return _called(text)


def _called(text: str) -> str:
    tokens = tokenize(text)
    edits = [*as_calls(text, tokens), *in_order(tokens)]
    for start, end, written in sorted(edits, reverse=True):
        text = f"{text[:start]}{written}{text[end:]}"
    return text
