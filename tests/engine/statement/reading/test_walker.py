"""Where tokens stand, told by tables as by walking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.statement.mended.mended import COUNTED_MAX, mended
from affidavit.engine.statement.reading.places import Stands, stands
from affidavit.engine.statement.reading.walker import (
    Tokens,
    closing,
    in_from,
    opening,
    siblings,
    word,
)
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    "text",
    ["f(a, (b + [1, {'c': 2}]), ()) AND (x)", "(a) (b (c", "a) b", "CASE WHEN (a) THEN END END"],
)
def test_brackets_are_where_walking_finds_them(text: str) -> None:
    tokens = Tokens(tokenize(text))
    for at, token in enumerate(tokens):
        walked = next((a for a in range(at, -1, -1) if tokens[a].depth < token.depth), -1)
        assert opening(tokens, at) == walked
        if token.text in "([{":
            behind = range(at + 1, len(tokens))
            assert closing(tokens, at) == next(
                (a for a in behind if tokens[a].depth <= token.depth), len(tokens)
            )
    passed = [*siblings(tokens, (0, len(tokens)))]
    assert passed == [at for at, token in enumerate(tokens) if token.depth <= tokens[0].depth]


WHERE = {
    "SELECT 1 FROM t WHERE @": Stands.CONJUNCT,
    "SELECT 1 FROM t WHERE a AND (b AND @) AND CASE WHEN c OR d THEN e END": Stands.CONJUNCT,
    "SELECT 1 FROM t WHERE a AND @ OR b": Stands.POSITIVE,
    "SELECT 1 FROM t WHERE @ AND CASE WHEN c THEN d END OR e": Stands.POSITIVE,
    "SELECT 1 FROM t WHERE a OR (@)": Stands.POSITIVE,
    "SELECT 1 FROM t WHERE CASE WHEN @ THEN a END": Stands.FILTERING,
    "SELECT 1 FROM t WHERE f(@)": Stands.FILTERING,
    "SELECT a IS DISTINCT FROM b, @ FROM t": Stands.VALUE,
    "SELECT 1 FROM t JOIN u ON @ WHERE a": Stands.VALUE,
    "SELECT 1 FROM t WHERE (SELECT @)": Stands.VALUE,
}


@pytest.mark.parametrize("text", WHERE)
def test_a_condition_stands_in_its_clause(text: str) -> None:
    tokens = Tokens(tokenize(text))
    at = next(at for at, token in enumerate(tokens) if token.text == "@")
    assert stands(tokens, (at, at + 1)) is WHERE[text]


@pytest.mark.parametrize(
    ("text", "is_table"),
    [
        ("SELECT 1 FROM a JOIN b ON a.x = b.x, (SELECT 1)", True),
        ("SELECT 1 FROM a JOIN b ON (SELECT 1)", False),
        ("SELECT extract(year FROM (SELECT 1))", False),
        ("SELECT a IS DISTINCT FROM (SELECT 1)", False),
    ],
)
def test_a_query_is_a_table_of_from_or_a_value(text: str, is_table: bool) -> None:
    tokens = Tokens(tokenize(text))
    at = next(at for at in range(len(tokens)) if word(tokens, at + 1) == "SELECT" and at)
    assert in_from(tokens, at) is is_table


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT " + "a IN (SELECT b FROM u WHERE b = (" * 14 + "1" + "))" * 14, "join it"),
        (" EXCEPT ALL ".join(["SELECT 1"] * (COUNTED_MAX + 2)), "follow each other"),
    ],
)
def test_what_would_be_written_too_often_is_refused(schema_of, text: str, said: str) -> None:
    """IN as a value is written four times: without a limit, each in another four times again."""
    with pytest.raises(SqlError, match=said):
        mended(text, schema_of)


@pytest.mark.parametrize("depth", [20, 38])
def test_sums_in_brackets_are_checked_however_deep(
    answer: Callable[[str], object], depth: int
) -> None:
    """Each was brought back from decimals, in a call and a cast of its own: no parser goes so deep."""
    assert answer(f"SELECT {'(' * depth}a{' + 1)' * depth} - a AS d FROM u") == [(depth,)] * 2
    with pytest.raises(Exception, match="out of range|too large"):
        answer(f"SELECT {'(' * depth}n{' + 1)' * depth} AS d FROM big")
