"""INTERSECT ALL and EXCEPT ALL, which count rows: DataFusion 54.1 plans them as joins that do not.

Each row of both sides gets the number that it has among those like it; then the sets of numbered
rows are what is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.statement.reading.places import between, end_before
from affidavit.engine.statement.reading.walker import closing, word
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.places import SchemaOf
    from affidavit.engine.statement.reading.walker import Tokens

_SETS: Final = frozenset({"UNION", "INTERSECT", "EXCEPT"})
_BEHIND: Final = frozenset({"ORDER", "LIMIT", "OFFSET", "FETCH", "ON", "RETURNING"})
_CORES: Final = frozenset({"SELECT", "VALUES"})


def counted(text: str, tokens: Tokens, at: int, schema_of: SchemaOf) -> Edit | None:
    """Return how INTERSECT ALL or EXCEPT ALL at a place is to be written.

    Raises:
        SqlError: Its columns cannot be told.
    """
    kind = word(tokens, at)
    if kind not in {"INTERSECT", "EXCEPT"} or word(tokens, at + 1) != "ALL":
        return None
    start, end = _left(tokens, at), _right(tokens, at + 2)
    if start < 0:
        raise _refused(kind)
    left, right = between(text, tokens, (start, at)), between(text, tokens, (at + 2, end))
    schema = schema_of(left)
    if schema is None or schema_of(right) is None:
        raise _refused(kind)
    listed = ", ".join(f'"__{each}"' for each in range(len(schema)))
    numbered = [
        f'SELECT {listed}, row_number() OVER (PARTITION BY {listed}) AS "__number" '
        f'FROM ({each}) AS "__side"({listed})'
        for each in (left, right)
    ]
    called = ", ".join(f'"__{each}" AS {quoted(name)}' for each, name in enumerate(schema.names))
    written = f'SELECT {called} FROM ({numbered[0]} {kind} {numbered[1]}) AS "__counted"'
    return tokens[start].start, tokens[end - 1].end, written


def _left(tokens: Tokens, at: int) -> int:
    """Return where the left side begins: INTERSECT binds more than UNION and EXCEPT."""
    level, kind, start = tokens[at].depth, word(tokens, at), -1
    at -= 1
    while at >= 0 and tokens[at].depth >= level:
        said = word(tokens, at) if tokens[at].depth == level else ""
        if said in _CORES or (said == "(" and _opens_side(tokens, at)):
            start = at
        if said in _SETS - {"INTERSECT"} and kind == "INTERSECT":
            break
        at -= 1
    return start


def _opens_side(tokens: Tokens, at: int) -> bool:
    """Return whether a bracket is a side of its own: nothing stands before it, or a set does."""
    before = word(tokens, at - 1)
    return (
        at == 0
        or before in _SETS
        or (before in {"ALL", "DISTINCT"})
        or (before == "(" and word(tokens, closing(tokens, at) + 1) in _SETS)
    )


def _right(tokens: Tokens, at: int) -> int:
    end = end_before(tokens, at - 1, _SETS | _BEHIND - {"ON"})
    if word(tokens, end) == "INTERSECT" and word(tokens, at - 2) == "EXCEPT":
        raise SqlError(
            "EXCEPT ALL before INTERSECT is not supported: put the INTERSECT in brackets"
        )
    return end


def _refused(kind: str) -> SqlError:
    return SqlError(
        f"{kind} ALL is not supported over these queries: make each a table of WITH that names no "
        f"row outside, or write {kind}, which takes each row once"
    )
