"""What the columns of a SELECT are called that are given no name.

What is computed is called by its text, see ``naming``. Of two that are called alike DataFusion 54.1
wants another name for the second: ``SELECT x, x`` gives ``x`` and ``x_1``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.lexer import Cursor
from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.grammar import skip_expression
from affidavit.engine.statement.reading.naming import called, is_column, is_seen
from affidavit.engine.statement.reading.places import (
    between,
    clause,
    is_query,
    operand_before,
    split,
)
from affidavit.engine.statement.reading.walker import closing, siblings, word
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.places import SchemaOf
    from affidavit.engine.statement.reading.walker import Span, Tokens

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


def renamed(text: str, tokens: Tokens, at: int, schema_of: SchemaOf) -> list[Edit]:
    """Return names for what the SELECT at a place computes, or lists twice."""
    span = listed(tokens, at)
    items = [item for item in split(tokens, span) if item[0] < item[1]]
    bare = [item for item in items if not has_name(text, tokens, item)]
    computed = [item for item in bare if not is_column(tokens, item)]
    is_starred = any(word(tokens, item[1] - 1) == "*" for item in items)
    has_columns = len(bare) > len(computed)
    is_unplanned = is_starred and has_columns and _is_twice(text, tokens, span, schema_of)
    edits = [*_columns(tokens, bare, is_unplanned=is_unplanned)]
    if computed and (is_seen(tokens, at) or len(computed) > 1):
        taken = {tokens[item[1] - 1].name for item in items if item not in computed}
        names = dict(_computed(tokens, computed, taken))
        edits += [(end, end, f" AS {quoted(name)}") for name, (_, end, _) in names.items()]
        if word(tokens, at + 1) == "DISTINCT" and word(tokens, at + 2) != "ON":
            told = {text: quoted(name) for name, (_, _, text) in names.items()}
            edits += _ordered(tokens, span, told)
    return edits


def _columns(tokens: Tokens, bare: list[Span], *, is_unplanned: bool) -> Iterator[Edit]:
    """Yield names for columns that are listed twice, or that a star has as well."""
    seen = Counter[str]()
    for start, end in (item for item in bare if is_column(tokens, item)):
        told = " ".join(token.text for token in tokens[start:end])
        before = seen[told]
        seen[told] += 1
        if before or is_unplanned:
            name, place = tokens[end - 1].name, tokens[end - 1].end
            yield place, place, f" AS {quoted(f'{name}_{max(before, 1)}')}"


def _computed(
    tokens: Tokens, items: list[Span], taken: set[str | None]
) -> Iterator[tuple[str, Edit]]:
    """Yield what is computed by its name, which nothing else of the list has; and its text."""
    seen = Counter[str]()
    for item in items:
        told = called(tokens, item)
        name = told
        while name in taken:
            seen[told] += 1
            name = f"{told}_{seen[told]}"
        taken.add(name)
        yield name, (tokens[item[0]].start, tokens[item[1] - 1].end, told)


def _ordered(tokens: Tokens, span: Span, told: dict[str, str]) -> Iterator[Edit]:
    """Yield what ORDER BY of a DISTINCT list says, by its name: no column of a table is seen."""
    bracket = tokens.opens[span[0]]
    end = len(tokens) if bracket < 0 else closing(tokens, bracket)
    at = clause(tokens, (span[1], end), "ORDER", "BY")
    if at < 0 or at + 2 >= end:
        return
    for start, stop in split(tokens, (at + 2, _end(tokens, at + 2))):
        until = stop
        while word(tokens, until - 1) in {"ASC", "DESC", "NULLS", "FIRST", "LAST"}:
            until -= 1
        name = told.get(called(tokens, (start, until))) if start < until else None
        if name is not None and "SELECT" not in tokens.words[start:until]:
            yield tokens[start].start, tokens[until - 1].end, name


def _is_twice(text: str, tokens: Tokens, span: Span, schema_of: SchemaOf) -> bool:
    """Return whether a column beside a star is one of the star's."""
    if word(tokens, span[1]) != "FROM":
        return False
    tables = between(text, tokens, (span[1], _end(tokens, span[1])))
    asked = f"SELECT {between(text, tokens, span)} {tables}"
    return schema_of(asked) is None and schema_of(f"SELECT * {tables}") is not None


# --- lists behind IN ----------------------------------------------------------------------------

UNKNOWN: Final = "CAST(NULL AS BOOLEAN)"


def parted(text: str, tokens: Tokens) -> Iterator[Edit]:
    """Yield how ``x IN (1, NULL)`` is to be written: ``(x IN (1) OR NULL)``.

    DataFusion 54.1 joins two lists that are asked of one column, and loses NULL:
    ``x IN (1, NULL, 2) AND x NOT IN (1, NULL)`` is true of 2, and nothing is known of it.
    """
    for at, token in enumerate(tokens):
        if token.keyword != "IN" or word(tokens, at + 1) != "(" or is_query(tokens, at + 1):
            continue
        close = closing(tokens, at + 1)
        items = split(tokens, (at + 2, close))
        nulls = [start for start, end in items if (end - start, word(tokens, start)) == (1, "NULL")]
        others = [item for item in items if item[0] not in nulls]
        is_negated = word(tokens, at - 1) == "NOT"
        start = operand_before(tokens, at - is_negated)
        if not nulls or not others or start >= at - is_negated:
            continue
        first = text[tokens[others[0][0]].start : tokens[others[0][1] - 1].end]
        yield tokens[start].start, tokens[start].start, "("
        for null in nulls:
            yield tokens[null].start, tokens[null].end, first
        end = tokens[close].end
        yield end, end, f" {'AND' if is_negated else 'OR'} {UNKNOWN})"
