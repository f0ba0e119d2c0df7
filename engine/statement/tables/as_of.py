"""Tables as they were, in the words of SQL: ``t FOR SYSTEM_TIME AS OF moment``.

So have it SQL:2011 and BigQuery; ``VERSION AS OF`` and ``TIMESTAMP AS OF``, with FOR or without,
have Delta, Iceberg and Trino. DataFusion 54.1 parses none of them: each is a call of ``as_of``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.catalog.sql.names import CATALOG
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.sql.spelling import KEYWORDS
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.lexer import Edit, Token

_VERSIONS: Final = frozenset({"VERSION", "SYSTEM_VERSION"})
_TIMES: Final = frozenset({"SYSTEM_TIME", "TIMESTAMP"})
_LITERALS: Final = frozenset({"number", "string", "placeholder"})


def as_calls(text: str, tokens: Sequence[Token]) -> Iterator[Edit]:
    """Yield the edits that write tables of a moment as calls.

    Raises:
        SqlError: The moment is no literal and no parameter.
    """
    for at in range(1, len(tokens) - 2):
        kind = tokens[at].keyword
        words = [token.keyword for token in tokens[at + 1 : at + 3]]
        if kind not in _VERSIONS | _TIMES or words != ["AS", "OF"]:
            continue
        name_end = at - (tokens[at - 1].keyword == "FOR")
        start = _name_start(tokens, name_end)
        if start < name_end:
            cursor = Cursor(text, tokens, at + 3)
            moment, is_used = _moment(cursor, kind), tokens[start - 1].keyword == "USING"
            call = _call(tokens[start:name_end], moment, kind, is_used=is_used)
            written = f"{call}{_alias(cursor, tokens[name_end - 1])}"
            yield tokens[start].start, tokens[cursor.at - 1].end, written


def _name_start(tokens: Sequence[Token], end: int) -> int:
    """Return where a name of up to three parts begins that ends there; ``end`` if none does."""
    start = end
    while start > 0 and tokens[start - 1].name is not None:
        start -= 1
        if start < 2 or tokens[start - 1].text != ".":  # noqa: PLR2004 - a part and a dot
            return start
        start -= 1
    return end


def _moment(cursor: Cursor, kind: str) -> str:
    """Move past the moment, and return it as an argument."""
    if cursor.peek() in {"TIMESTAMP", "DATE"}:
        cursor.skip()
    token = cursor.token
    if token is None or token.kind not in _LITERALS:
        msg = (
            f"{kind} AS OF takes a number, a text such as '2026-01-31T12:00:00' or a $parameter, "
            f"found {cursor.found()}: compute it before, and pass it as a parameter"
        )
        raise SqlError(msg)
    cursor.skip()
    return token.text


def _call(name: Sequence[Token], moment: str, kind: str, *, is_used: bool) -> str:
    """Return the call; in brackets where a statement takes a name or a query behind USING."""
    parts = [str(token.name) for token in name if token.text != "."]
    if len(parts) > 2 and parts[0] == CATALOG:  # noqa: PLR2004 - catalog.schema.table
        parts = parts[1:]
    label = "version => " if kind in _VERSIONS else ""
    call = f"as_of({quoted_text('.'.join(parts))}, {label}{moment})"
    return f"(SELECT * FROM {call})" if is_used else call


def _alias(cursor: Cursor, name: Token) -> str:
    """Return what the table is called, unless the statement says so behind."""
    token = cursor.token
    is_said = token is not None and (
        token.keyword == "AS" or (token.name is not None and token.keyword not in KEYWORDS)
    )
    return "" if is_said else f" AS {quoted(str(name.name))}"
