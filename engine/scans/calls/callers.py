"""What a statement may ask of its caller: current_tenant(), current_actor(), and what is theirs.

They are written as literals when the statement is planned: a view asks for whoever reads it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import edited, remembered, tokenize
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA
from affidavit.catalog.sql.quoting import quoted_text
from affidavit.engine.statement.reading.functions import OF_CALLER, OF_CALLER_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.sql.lexer import Edit


@cache
def _version() -> str:
    return f"affidavit {version('affidavit')}"


_TOLD: Final[Mapping[str, Callable[[Identity], str | None]]] = {
    "current_tenant": lambda who: who.shown_tenant,
    "current_actor": lambda who: who.actor,
    "current_source": lambda who: who.source,
    "current_workspace": lambda who: who.workspace,
    "current_database": lambda _: CATALOG,
    "current_schema": lambda _: MAIN_SCHEMA,
    "version": lambda _: _version(),
}
_MAY_ASK: Final = re.compile(
    rf"\b(?:{'|'.join(sorted(OF_CALLER | OF_CALLER_WORDS.keys()))})\b", re.IGNORECASE
)


def told_of_caller(text: str, identity: Identity) -> str:
    """Return a statement with what it asks of its caller as literals."""
    return edited(text, _edits(text, identity)) if _may_ask(text) else text


@remembered
def _may_ask(text: str) -> bool:
    return _MAY_ASK.search(text) is not None


def _edits(text: str, identity: Identity) -> Iterator[Edit]:
    tokens = tokenize(text)
    for at, token in enumerate(tokens):
        before = tokens[at - 1] if at else None
        if before is not None and (before.text == "." or before.keyword == "AS"):
            continue
        name = token.name if token.kind == "word" else ""
        after = [each.text for each in tokens[at + 1 : at + 3]]
        end = token.end
        if after == ["(", ")"] and name in OF_CALLER:
            end = tokens[at + 2].end
        elif token.keyword in OF_CALLER_WORDS and after[:1] not in (["("], ["."]):
            name = OF_CALLER_WORDS[token.keyword]
        else:
            continue
        told = _TOLD[str(name)](identity)
        yield token.start, end, "CAST(NULL AS VARCHAR)" if told is None else quoted_text(told)
