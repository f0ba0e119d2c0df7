"""Which common tables a query sees at a place of a statement.

Rules:
    - A table of WITH sees those before it, and itself only where it is recursive: in what stands
      behind its first UNION. What WITH stands before sees all of them, and so does what is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.engine.statement.reading.places import between
from affidavit.engine.statement.reading.walker import closing, opening, siblings, word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.engine.statement.reading.walker import Span, Tokens


def scoped(text: str, tokens: Tokens, at: int, query: str) -> str:
    """Return a query with the common tables before it that it would see at a place."""
    for prefix in _prefixes(text, tokens, at):
        query = f"{prefix} ({query})"
    return query


def common_tables(tokens: Tokens, start: int) -> list[Span]:
    """Return the tables of a WITH, each from its name to its query's bracket, which opens there."""
    found: list[Span] = []
    here = start + 1 + (word(tokens, start + 1) == "RECURSIVE")
    while here < len(tokens) and tokens[here].name is not None:
        name = here
        here += 1
        if word(tokens, here) == "(":
            here = closing(tokens, here) + 1
        while word(tokens, here) in {"AS", "NOT", "MATERIALIZED"}:
            here += 1
        if word(tokens, here) != "(":
            break
        found.append((name, here))
        here = closing(tokens, here) + 1
        if word(tokens, here) != ",":
            break
        here += 1
    return found


def first_union(tokens: Tokens, start: int) -> int:
    """Return where the first UNION of the query in a bracket stands; 0 if it has none."""
    inside = siblings(tokens, (start + 1, closing(tokens, start)))
    return next((at for at in inside if word(tokens, at) == "UNION"), 0)


def _prefixes(text: str, tokens: Tokens, at: int) -> Iterator[str]:
    """Yield what stands before a query at a place, the nearest first."""
    bracket = at
    while bracket >= 0:
        bracket = opening(tokens, bracket)
        start = _with(tokens, bracket, at)
        tables = [] if start < 0 else common_tables(tokens, start)
        seen = sum(_sees(tokens, start, table, at) for table in tables)
        if seen:
            yield between(text, tokens, (start, closing(tokens, tables[seen - 1][1]) + 1))


def _with(tokens: Tokens, bracket: int, until: int) -> int:
    """Return where WITH begins the query in a bracket, or of the statement; -1 if it does not."""
    if bracket >= 0:
        return bracket + 1 if word(tokens, bracket + 1) == "WITH" else -1
    for at in siblings(tokens, (0, until)):
        if word(tokens, at) in {"WITH", "SELECT", "VALUES"}:
            return at if word(tokens, at) == "WITH" else -1
    return -1


def _sees(tokens: Tokens, start: int, table: Span, at: int) -> bool:
    """Whether what stands at a place sees a table of the WITH that begins at ``start``."""
    bracket = table[1]
    if at > closing(tokens, bracket):
        return True
    union = first_union(tokens, bracket) if word(tokens, start + 1) == "RECURSIVE" else 0
    return 0 < union < at
