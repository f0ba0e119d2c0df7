"""A SELECT list that has one thing twice: DataFusion 54.1 wants another name for the second.

``SELECT x, x`` gives ``x`` and ``x_1``. EXISTS, which has no value there, is called by its text
where there are two.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.grammar import skip_expression
from affidavit.engine.statement.mended.places import COUNTED, between, split
from affidavit.engine.statement.mended.walker import closing, siblings, word
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.engine.statement.mended.places import Edit, SchemaOf
    from affidavit.engine.statement.mended.walker import Span, Tokens

NAME_LENGTH_MAX: Final = 60
"""How much of a query's text is its name."""

_ENDS: Final = frozenset({"FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FETCH",
                          "UNION", "INTERSECT", "EXCEPT", "INTO", "WINDOW", "QUALIFY"})  # fmt: skip


def listed(tokens: Tokens, at: int) -> Span:
    """Return what the SELECT at a place lists."""
    start = at + 1
    while word(tokens, start) in {"DISTINCT", "ALL"}:
        start += 1
    if word(tokens, start) == "ON" and word(tokens, start - 1) == "DISTINCT":
        start = closing(tokens, start + 1) + 1
    return start, _end(tokens, start)


def _end(tokens: Tokens, start: int) -> int:
    """Return where the clause ends whose first token stands at a place."""
    bracket = tokens.opens[start] if start < len(tokens) else -1
    end = len(tokens) if bracket < 0 else closing(tokens, bracket)
    inside = siblings(tokens, (start, end))
    return next((at for at in inside if at > start and word(tokens, at) in _ENDS), end)


def has_name(text: str, tokens: Tokens, item: Span) -> bool:
    """Return whether a thing of a list is given a name, or stands for several."""
    if word(tokens, item[1] - 1) == "*":
        return True
    cursor = Cursor(text, tokens, item[0])
    try:
        skip_expression(cursor)
    except SqlError:
        return True
    return cursor.at < item[1]


def renamed(text: str, tokens: Tokens, at: int, schema_of: SchemaOf) -> Iterator[Edit]:
    """Yield names for what the SELECT at a place lists twice."""
    span = listed(tokens, at)
    items = [item for item in split(tokens, span) if item[0] < item[1]]
    if len(items) < 2:  # noqa: PLR2004 - one is not twice
        return
    bare = [item for item in items if not has_name(text, tokens, item)]
    told = [" ".join(token.text for token in tokens[start:end]) for start, end in bare]
    queries = sum(_exists(text, tokens, item) for item in bare)
    starred = [item for item in items if word(tokens, item[1] - 1) == "*"]
    is_unplanned = bool(starred) and _is_twice(text, tokens, span, schema_of)
    seen = Counter[str]()
    for index, item in enumerate(bare):
        end = tokens[item[1] - 1].end
        before = seen[told[index]]
        seen[told[index]] += 1
        if before or (is_unplanned and item[1] - item[0] in {1, 3}):
            name = tokens[item[1] - 1].name or told[index][:NAME_LENGTH_MAX]
            yield end, end, f" AS {quoted(f'{name}_{max(before, 1)}')}"
        elif queries > 1 and _exists(text, tokens, item):
            yield end, end, f" AS {quoted(between(text, tokens, item)[:NAME_LENGTH_MAX])}"


def _exists(text: str, tokens: Tokens, item: Span) -> bool:
    """Return whether a thing of a list has an EXISTS in it, as that is written by now."""
    return COUNTED in between(text, tokens, item)


def _is_twice(text: str, tokens: Tokens, span: Span, schema_of: SchemaOf) -> bool:
    """Return whether a column beside a star is one of the star's."""
    if word(tokens, span[1]) != "FROM":
        return False
    tables = between(text, tokens, (span[1], _end(tokens, span[1])))
    asked = f"SELECT {between(text, tokens, span)} {tables}"
    return schema_of(asked) is None and schema_of(f"SELECT * {tables}") is not None
