"""NULL in a list behind IN, which DataFusion 54.1 loses where two lists are asked of one column.

``x IN (1, NULL, 2) AND x NOT IN (1, NULL)`` is true of 2, and nothing is known of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.engine.statement.reading.places import is_query, operand_before, split
from affidavit.engine.statement.reading.walker import closing, word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.walker import Tokens

UNKNOWN: Final = "CAST(NULL AS BOOLEAN)"


def parted(text: str, tokens: Tokens) -> Iterator[Edit]:
    """Yield how ``x IN (1, NULL)`` is to be written: ``(x IN (1, 1) OR NULL)``."""
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
