"""Equations whose constant stands first: what is written otherwise means the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.statement.mended.sides import swapped
from affidavit.engine.statement.reading.walker import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    "condition",
    [
        "'x' = s IS NULL", "'x' = ANY(['x', s])", "a BETWEEN 1 AND 2 = b", "'x' = j -> 'k'",
        "'x' = s AT TIME ZONE 'UTC'", "false = a BETWEEN 1 AND 2", "false = s LIKE 'x'",
        "1 = a = b", "1 = a << 2", "1 = NOT a",
    ],
)  # fmt: skip
def test_what_more_is_said_of_stays_as_it_is(condition: str) -> None:
    """IS, BETWEEN and ANY went to the other side with what they are said of."""
    text = f"SELECT 1 FROM t WHERE {condition}"
    assert not list(swapped(text, Tokens(tokenize(text))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a FROM t WHERE s = 'x' AND 'x' = s ORDER BY a", [(1,)]),
        ("SELECT a FROM t WHERE (s = 'x' AND ('x' = s)) IS TRUE", [(1,)]),
        ("SELECT a FROM u WHERE 1 = (SELECT count(*) FROM t WHERE s = 'x' AND 'x' = s)",
         [(1,), (2,)]),
        ("SELECT t.a FROM t JOIN u ON t.s = 'x' AND 'x' = t.s JOIN big ON 1 = big.id",
         [(1,), (1,)]),
    ],
)  # fmt: skip
def test_a_constant_that_is_first_is_compared(
    answer: Callable[[str], object], text: str, expected: object
) -> None:
    assert answer(text) == expected
