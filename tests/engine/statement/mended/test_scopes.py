"""Columns are asked for under the names that a place sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from affidavit.catalog.sql.lexer import tokenize
from affidavit.engine.statement.mended.scopes import scoped
from affidavit.engine.statement.reading.walker import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

SEEN = {
    "SELECT @": "@",
    "WITH v AS (SELECT 1) SELECT @": "WITH v AS (SELECT 1) (@)",
    "EXPLAIN WITH v AS (SELECT 1) SELECT @": "WITH v AS (SELECT 1) (@)",
    "SELECT * FROM (WITH v AS (SELECT 1) SELECT @)": "WITH v AS (SELECT 1) (@)",
    "WITH v AS (SELECT @) SELECT 1": "@",
    "WITH v AS (SELECT 1), w AS (SELECT @), x AS (SELECT 2) SELECT 1": "WITH v AS (SELECT 1) (@)",
    "WITH v AS (SELECT 1), w AS (WITH x AS (SELECT 2) SELECT @) SELECT 1": (
        "WITH v AS (SELECT 1) (WITH x AS (SELECT 2) (@))"
    ),
    "WITH RECURSIVE v AS (SELECT @ UNION ALL SELECT 2 FROM v) SELECT 1": "@",
    "WITH RECURSIVE v AS (SELECT 1 UNION ALL SELECT @) SELECT 1": (
        "WITH RECURSIVE v AS (SELECT 1 UNION ALL SELECT @) (@)"
    ),
    "WITH a(b) AS NOT MATERIALIZED (SELECT 1) SELECT (SELECT @)": (
        "WITH a(b) AS NOT MATERIALIZED (SELECT 1) (@)"
    ),
    "SELECT * FROM unnest([1]) WITH ORDINALITY, (SELECT @)": "@",
}


@pytest.mark.parametrize("text", SEEN)
def test_a_place_sees_the_common_tables_before_it(text) -> None:
    tokens = Tokens(tokenize(text))
    at = next(at for at, token in enumerate(tokens) if token.text == "@")
    assert scoped(text, tokens, at, "@") == SEEN[text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM (WITH big AS (SELECT 0.25e0 AS n) SELECT sum(n) FROM big)", [(0.25,)]),
        (
            "WITH o AS (WITH big AS (SELECT 0.25e0 AS n) SELECT sum(n) FROM big) SELECT * FROM o",
            [(0.25,)],
        ),
        ("SELECT (WITH big AS (SELECT 0.25e0 AS n) SELECT sum(n) FROM big)", [(0.25,)]),
        ("WITH u AS (SELECT d AS a FROM t), v AS (SELECT sum(a) FROM u) SELECT * FROM v", [(4.25,)]),
        ("WITH v AS (SELECT 1 AS n), big AS (SELECT n / 4e0 AS n FROM v) SELECT n + 1 FROM big",
         [(1.25,)]),
        (
            "WITH RECURSIVE r(n) AS (SELECT count(*) FILTER (WHERE NULL) WHERE 'a' LIKE 'a' "
            "ESCAPE '!' UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT sum(n) FROM r",
            [(6,)],
        ),
    ],
)  # fmt: skip
def test_a_common_table_has_its_own_types(
    answer: Callable[[str], object], text: str, expected: object
) -> None:
    """They were asked under the lake's table of that name, and doubles became whole numbers."""
    assert answer(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "WITH big AS (SELECT sum(n) AS n FROM big) SELECT n FROM big",
        "WITH RECURSIVE r(n) AS (SELECT 9223372036854775806 UNION ALL SELECT n + 1 FROM r) "
        "SELECT n FROM r",
    ],
)
def test_a_common_table_is_computed_of_what_it_sees(
    answer: Callable[[str], object], text: str
) -> None:
    with pytest.raises(Exception, match="out of range|too large"):
        answer(text)
