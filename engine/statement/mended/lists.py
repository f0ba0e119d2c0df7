"""A SELECT list that has one thing twice: DataFusion 54.1 wants another name for the second.

``SELECT x, x`` gives ``x`` and ``x_1``. EXISTS, which has no value there, is called by its text
where there are two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.grammar import skip_expression
from affidavit.engine.statement.mended.places import COUNTED, between, clause, closing, split, word
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.sql.lexer import Token
    from affidavit.engine.statement.mended.places import Edit, SchemaOf, Span

NAME_LENGTH_MAX: Final = 60
"""How much of a query's text is its name."""

_ENDS: Final = frozenset({"FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FETCH",
                          "UNION", "INTERSECT", "EXCEPT", "INTO", "WINDOW", "QUALIFY"})  # fmt: skip


def listed(tokens: Sequence[Token], at: int) -> Span:
    """Return what the SELECT at a place lists."""
    level, start = tokens[at].depth, at + 1
    while word(tokens, start) in {"DISTINCT", "ALL"}:
        start += 1
    if word(tokens, start) == "ON" and word(tokens, start - 1) == "DISTINCT":
        start = closing(tokens, start + 1) + 1
    end = start
    while end < len(tokens) and tokens[end].depth >= level:
        if tokens[end].depth == level and word(tokens, end) in _ENDS and end > start:
            break
        end += 1
    return start, end


def has_name(text: str, tokens: Sequence[Token], item: Span) -> bool:
    """Return whether a thing of a list is given a name, or stands for several."""
    if word(tokens, item[1] - 1) == "*":
        return True
    cursor = Cursor(text, tokens[: item[1]], item[0])
    try:
        skip_expression(cursor)
    except SqlError:
        return True
    return not cursor.done


def renamed(text: str, tokens: Sequence[Token], at: int, schema_of: SchemaOf) -> Iterator[Edit]:
    """Yield names for what the SELECT at a place lists twice."""
    span = listed(tokens, at)
    items = [item for item in split(tokens, span) if item[0] < item[1]]
    if len(items) < 2:  # noqa: PLR2004 - one is not twice
        return
    bare = [item for item in items if not has_name(text, tokens, item)]
    called = [_uncast(tokens, item) for item in bare]
    told = [" ".join(token.text for token in tokens[start:end]) for start, end in called]
    queries = sum(_exists(text, tokens, item) for item in bare)
    starred = [item for item in items if word(tokens, item[1] - 1) == "*"]
    is_unplanned = bool(starred) and _is_twice(text, tokens, at, span, schema_of)
    for index, item in enumerate(bare):
        end = tokens[item[1] - 1].end
        before = told[:index].count(told[index])
        if before or (is_unplanned and item[1] - item[0] in {1, 3}):
            name = tokens[called[index][1] - 1].name or told[index][:NAME_LENGTH_MAX]
            yield end, end, f" AS {quoted(f'{name}_{max(before, 1)}')}"
        elif queries > 1 and _exists(text, tokens, item):
            yield end, end, f" AS {quoted(between(text, tokens, item)[:NAME_LENGTH_MAX])}"


def _uncast(tokens: Sequence[Token], item: Span) -> Span:
    """Return what a thing of a list is called by: DataFusion's names leave casts out."""
    start, end = item
    while start < end:
        level = tokens[start].depth
        cast = max(
            (
                at
                for at in range(start, end)
                if word(tokens, at) == "::" and tokens[at].depth == level
            ),
            default=-1,
        )
        if cast > start and all(_is_of_type(token) for token in tokens[cast + 1 : end]):
            end = cast
        elif word(tokens, start) in {"CAST", "TRY_CAST"} and closing(tokens, start + 1) == end - 1:
            inner = (start + 2, end - 1)
            start, end = start + 2, clause(tokens, inner, "AS")
        else:
            break
    return (start, end) if start < end else item


def _is_of_type(token: Token) -> bool:
    return (
        token.name is not None or token.kind == "number" or token.text in {"(", ")", ",", "[", "]"}
    )


def _exists(text: str, tokens: Sequence[Token], item: Span) -> bool:
    """Return whether a thing of a list has an EXISTS in it, as that is written by now."""
    return COUNTED in between(text, tokens, item)


def _is_twice(text: str, tokens: Sequence[Token], at: int, span: Span, schema_of: SchemaOf) -> bool:
    """Return whether a column beside a star is one of the star's."""
    if word(tokens, span[1]) != "FROM":
        return False
    level, end = tokens[at].depth, span[1] + 1
    while end < len(tokens) and tokens[end].depth >= level:
        if tokens[end].depth == level and word(tokens, end) in _ENDS:
            break
        end += 1
    tables = between(text, tokens, (span[1], end))
    asked = f"SELECT {between(text, tokens, span)} {tables}"
    return schema_of(asked) is None and schema_of(f"SELECT * {tables}") is not None
