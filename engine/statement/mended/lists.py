"""Columns that are called alike in the list of a SELECT.

Of two DataFusion 54.1 wants another name for the second: ``SELECT x, x`` gives ``x`` and ``x_1``,
and so does ``SELECT *, x`` where the star has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.reading.lists import (
    clause_end,
    has_name,
    is_star,
    items_of,
    listed,
)
from affidavit.engine.statement.reading.naming import is_column
from affidavit.engine.statement.reading.places import between
from affidavit.engine.statement.reading.walker import word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.places import SchemaOf
    from affidavit.engine.statement.reading.walker import Span, Tokens


def renamed(text: str, tokens: Tokens, at: int, schema_of: SchemaOf) -> list[Edit]:
    """Return other names for what the SELECT at a place lists twice, or beside a star that has it.

    What somebody called so stays as it is.
    """
    span = listed(tokens, at)
    items = items_of(tokens, span)
    columns = [
        item for item in items
        if is_column(tokens, item) and not has_name(text, tokens, item)
    ]  # fmt: skip
    stars = [item for item in items if is_star(tokens, item)]
    told = [item for item in items if _is_told(tokens, item)] if stars else []
    starred = _starred(text, tokens, span, stars, schema_of) if stars and columns + told else set()
    taken = {*starred, *(tokens[end - 1].name for _, end in {*items} - {*told})}
    return [*_columns(tokens, columns, starred, taken), *_told(tokens, told, starred, taken)]


def _columns(
    tokens: Tokens, columns: list[Span], starred: set[str], taken: set[str | None]
) -> Iterator[Edit]:
    seen = set[tuple[str | None, ...]]()
    for start, end in columns:
        names = tuple(token.name for token in tokens[start:end])
        name, place = str(names[-1]), tokens[end - 1].end
        if name in starred or names in seen:
            yield place, place, f" AS {quoted(_free(name, taken))}"
        seen.add(names)


def _told(
    tokens: Tokens, told: list[Span], starred: set[str], taken: set[str | None]
) -> Iterator[Edit]:
    """Yield other names for what is computed, numbered on where one has a number already."""
    again = set[str]()
    for token in (tokens[end - 1] for _, end in told):
        name, numbered = str(token.name), str(token.name).rpartition("_")[0]
        if name in starred or numbered in again:
            again.add(name := numbered if numbered in again else name)
            yield token.start, token.end, quoted(_free(name, taken))


def _is_told(tokens: Tokens, item: Span) -> bool:
    """Return whether a thing of a list is called by what is written: no name is like that."""
    name, before = tokens[item[1] - 1], word(tokens, item[1] - 2)
    return before == "AS" and name.kind == "quoted" and not str(name.name).isidentifier()


def _starred(
    text: str, tokens: Tokens, span: Span, stars: list[Span], schema_of: SchemaOf
) -> set[str]:
    """Return the columns of a list's stars, if the list as it stands is not planned."""
    if word(tokens, span[1]) != "FROM":
        return set()
    tables = between(text, tokens, (span[1], clause_end(tokens, span[1])))
    if schema_of(f"SELECT {between(text, tokens, span)} {tables}") is not None:
        return set()
    found = schema_of(f"SELECT {', '.join(between(text, tokens, each) for each in stars)} {tables}")
    return set() if found is None else {*found.names}


def _free(name: str, taken: set[str | None]) -> str:
    """Return a name that nothing has, and note that something has it now."""
    at = 1
    while f"{name}_{at}" in taken:
        at += 1
    taken.add(f"{name}_{at}")
    return f"{name}_{at}"
