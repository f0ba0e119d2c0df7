"""Columns that are called alike in the list of a SELECT.

Of two DataFusion 54.1 wants another name for the second: ``SELECT x, x`` gives ``x`` and ``x_1``,
and so do ``SELECT x, t.x``, ``SELECT a AS x, b AS x``, and ``SELECT *, x`` where the star has one.
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
    """Return other names for what the SELECT at a place lists twice, or a star of it has."""
    span = listed(tokens, at)
    items = [item for item in items_of(tokens, span) if tokens[item[1] - 1].name is not None]
    stars = [item for item in items_of(tokens, span) if is_star(tokens, item)]
    named = [item for item in items if has_name(text, tokens, item)]
    columns = [item for item in items if is_column(tokens, item) and item not in named]
    starred = _starred(text, tokens, at, stars, schema_of) if stars and columns + named else set()
    told = [item for item in named if _is_told(tokens, item)] if stars else []
    again = [item for item in told if {*_names(tokens, item)} & starred]
    taken = {*starred, *(tokens[end - 1].name for _, end in {*items} - {*again})}
    called = sorted({*columns, *named} - {*told})
    return [
        *_twice(tokens, called, {*named}, starred, taken),
        *_numbered(tokens, again, starred, taken),
    ]


def _twice(
    tokens: Tokens, items: list[Span], named: set[Span], starred: set[str], taken: set[str | None]
) -> Iterator[Edit]:
    """Yield other names for what is called as something before it, in the order of the list.

    Two columns that name their tables are two: they have one name in the result, and are both
    there.
    """
    seen: dict[str, set[tuple[str | None, ...]]] = {}
    for start, end in items:
        token, is_named = tokens[end - 1], (start, end) in named
        name, of = (
            str(token.name),
            () if is_named else tuple(t.name for t in tokens[start : end - 1]),
        )
        others = seen.setdefault(name, set())
        if name in starred or of in others or (others and not of) or () in others:
            other = quoted(_free(name, taken))
            place = token.start if is_named else token.end
            yield place, token.end, other if is_named else f" AS {other}"
        others.add(of)


def _numbered(
    tokens: Tokens, again: list[Span], starred: set[str], taken: set[str | None]
) -> Iterator[Edit]:
    """Yield other names for what is computed, in the order of the list."""
    for item in again:
        [name, *_] = [each for each in _names(tokens, item) if each in starred]
        token = tokens[item[1] - 1]
        yield token.start, token.end, quoted(_free(name, taken))


def _names(tokens: Tokens, item: Span) -> tuple[str, str]:
    """Return what a thing of a list is called, and that without a number behind it."""
    name = str(tokens[item[1] - 1].name)
    return name, name.rpartition("_")[0]


def _is_told(tokens: Tokens, item: Span) -> bool:
    """Return whether a thing of a list is called by what is written: no name is like that."""
    name, before = tokens[item[1] - 1], word(tokens, item[1] - 2)
    return before == "AS" and name.kind == "quoted" and not str(name.name).isidentifier()


def _starred(
    text: str, tokens: Tokens, at: int, stars: list[Span], schema_of: SchemaOf
) -> set[str]:
    """Return the columns of a list's stars, if the list as it stands is not planned."""
    span = listed(tokens, at)
    begin, end = span[1], clause_end(tokens, span[1])
    if word(tokens, begin) != "FROM":  # it may stand before the SELECT
        begin, end = tokens.clauses[at], at
        while word(tokens, begin) in {"JOIN", "ON", "USING"}:
            begin = tokens.clauses[begin]
    if word(tokens, begin) != "FROM":
        return set()
    tables = between(text, tokens, (begin, end))
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
