"""``min`` over a frame that moves, of which DataFusion 54.1 keeps a value that has left it.

Where all that is left in the frame is NULL, it gives the last least value: there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.engine.statement.reading.walker import closing, word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.sql.lexer import Edit
    from affidavit.engine.statement.reading.walker import Tokens

_FRAMES: Final = frozenset({"ROWS", "RANGE", "GROUPS"})


def counted(text: str, tokens: Tokens) -> Iterator[Edit]:
    """Yield how ``min(x) OVER w`` is to be written: NULL where ``count(x) OVER w`` is zero."""
    if not any(_moves(tokens, at) for at in range(len(tokens))):
        return
    for at, token in enumerate(tokens):
        if token.keyword != "MIN" or word(tokens, at + 1) != "(":
            continue
        over = closing(tokens, at + 1) + 1
        if word(tokens, over) == "FILTER":
            over = closing(tokens, over + 1) + 1
        if word(tokens, over) != "OVER":
            continue
        is_named = word(tokens, over + 1) != "("
        last = over + 1 if is_named else closing(tokens, over + 1)
        if not is_named and not any(_moves(tokens, each) for each in range(over, last)):
            continue
        start, end = token.start, tokens[last].end
        rest = text[token.end : end]
        yield start, start, f"(CASE WHEN count{rest} > 0 THEN "
        yield end, end, " END)"


def _moves(tokens: Tokens, at: int) -> bool:
    """Return whether a frame stands there that does not begin with the first row."""
    if word(tokens, at) not in _FRAMES:
        return False
    begins = at + 2 if word(tokens, at + 1) == "BETWEEN" else at + 1
    ends = begins < len(tokens) and word(tokens, begins + 1) in {"PRECEDING", "ROW", "FOLLOWING"}
    return ends and word(tokens, begins) != "UNBOUNDED"
