"""How large the condition of a search may be (P21), before Lance reads it as a tree."""

from __future__ import annotations

from typing import Final

from affidavit.catalog.sql.lexer import tokenize
from affidavit.catalog.sql.sized import check_written_out
from affidavit.errors import SqlError

CONDITION_LENGTH_MAX: Final = 100_000
CONDITION_BRACKETS_MAX: Final = 50
CONDITION_OPERATORS_MAX: Final = 200
"""How many operators may stand between two of AND, OR and commas: a sum of a thousand terms has
Lance 14.0 run out of stack, which ends the process; ten thousand times OR do not."""

_WORDS: Final = {"NOT", "IS", "IN", "LIKE", "ILIKE", "BETWEEN"}


def check_condition(text: str) -> None:
    """Refuse a condition that is too large, or would make too large a value.

    Raises:
        SqlError: It is; the message names the limit.
    """
    if len(text) > CONDITION_LENGTH_MAX:
        msg = f"it has {len(text):,} characters, and {CONDITION_LENGTH_MAX:,} are allowed"
        raise SqlError(msg)
    operators = 0
    for token in tokenize(text):
        if token.depth > CONDITION_BRACKETS_MAX:
            raise SqlError(f"brackets are nested more than {CONDITION_BRACKETS_MAX} deep")
        if token.keyword in {"AND", "OR"} or token.text == ",":
            operators = 0
            continue
        is_symbol = token.kind == "symbol" and token.text not in set("()[]{}.")
        operators += is_symbol or token.keyword in _WORDS
        if operators > CONDITION_OPERATORS_MAX:
            msg = (
                f"a comparison has more than {CONDITION_OPERATORS_MAX} operators: have the value "
                "computed in a column"
            )
            raise SqlError(msg)
    check_written_out(text)
