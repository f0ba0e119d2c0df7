"""What a statement may ask of its caller: current_tenant(), current_actor(), and what is theirs.

They are written as literals when the statement is planned: a view asks for whoever reads it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import remembered, tokenize
from affidavit.catalog.sql.names import CATALOG, MAIN_SCHEMA
from affidavit.catalog.sql.quoting import quoted, quoted_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.sql.lexer import Token


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
_WITHOUT_BRACKETS: Final[Mapping[str, str]] = {
    "current_user": "current_actor", "session_user": "current_actor",
    "current_catalog": "current_database", "current_schema": "current_schema",
}  # fmt: skip
"""What SQL writes as words alone."""

_CLAUSES: Final = frozenset({"SELECT", "FROM", "WHERE", "BY", "HAVING", "VALUES", "SET", "ON"})
_MAY_ASK: Final = re.compile(
    rf"\b(?:{'|'.join(map(re.escape, {*_TOLD, *_WITHOUT_BRACKETS}))})\b", re.IGNORECASE
)


def told_of_caller(text: str, identity: Identity) -> str:
    """Return a statement with what it asks of its caller as literals."""
    if not _may_ask(text):
        return text
    tokens = tokenize(text)
    for at in range(len(tokens) - 1, -1, -1):
        token = tokens[at]
        name = token.text.lower() if token.kind == "word" else ""
        before = tokens[at - 1] if at else None
        if before is not None and (before.text == "." or before.keyword == "AS"):
            continue
        after = [each.text for each in tokens[at + 1 : at + 3]]
        end = token.end
        if after == ["(", ")"] and name in _TOLD:
            end = tokens[at + 2].end
        elif name in _WITHOUT_BRACKETS and after[:1] not in (["("], ["."]):
            name = _WITHOUT_BRACKETS[name]
        else:
            continue
        told = _TOLD[name](identity)
        written = "CAST(NULL AS VARCHAR)" if told is None else quoted_text(told)
        if _is_item(tokens, at, end):
            written = f"{written} AS {quoted(text[token.start : end])}"
        text = f"{text[: token.start]}{written}{text[end:]}"
    return text


@remembered
def _may_ask(text: str) -> bool:
    return _MAY_ASK.search(text) is not None


def _is_item(tokens: Sequence[Token], at: int, end: int) -> bool:
    """Whether what stands from one token to a place in the text is a column by itself."""
    follows = next((each for each in tokens[at:] if each.start >= end), None)
    if follows is not None and follows.text not in {",", ")"} and follows.keyword != "FROM":
        return False
    if at and tokens[at - 1].keyword != "SELECT" and tokens[at - 1].text != ",":
        return False
    level = tokens[at].depth
    for before in reversed(tokens[:at]):
        if before.depth < level or (before.depth == level and before.keyword in _CLAUSES):
            return before.keyword == "SELECT"
    return False
