"""Words that are no clause where they stand, and queries in VALUES beside other queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

RIGHT = {
    "SELECT a FROM t WHERE a IS DISTINCT FROM 2 AND s <> 'x'": [(None,)],
    "SELECT a IS NOT DISTINCT FROM 2 OR s = 'x' q FROM t": [(False,), (True,), (True,)],
    "SELECT (a > 1) IS DISTINCT FROM true AND false FROM u": [(False,), (False,)],
    "SELECT true IS DISTINCT FROM 1 BETWEEN 0 AND 3 AND false": [(False,)],
    "SELECT NOT a BETWEEN 2 AND 3 IS DISTINCT FROM true AND a = 1 FROM u": [(False,), (False,)],
    "SELECT a FROM t WHERE a IS DISTINCT FROM (SELECT b - 5 FROM u WHERE u.a = t.a)": [(1,), (2,)],
    "SELECT a FROM u WHERE a IS DISTINCT FROM 2 AND a NOT IN (SELECT a FROM t WHERE a > 1)": [(1,)],
    "SELECT 7 EXCEPT VALUES ((SELECT max(a) FROM t)), (7)": [],
    "SELECT 7 UNION VALUES ((SELECT max(a) FROM t)), (7)": [(2,), (7,)],
    "VALUES ((SELECT max(a) FROM t)), (7) INTERSECT VALUES ((SELECT max(a) FROM t)), (8)": [(2,)],
    "SELECT * FROM (VALUES ((SELECT max(a) FROM t)), (7) EXCEPT ALL SELECT 7) q(z)": [(2,)],
}


@pytest.mark.parametrize("text", RIGHT)
def test_a_statement_is_read_as_sql_has_it(answer: Callable[[str], object], text: str) -> None:
    assert answer(text) == RIGHT[text]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT n + 1, id IS DISTINCT FROM 7 FROM big",
        "SELECT sum(n), max(id) IS NOT DISTINCT FROM 7 FROM big",
        "SELECT CASE WHEN id IS DISTINCT FROM 3 THEN n ELSE n END + 1 FROM big",
        "SELECT extract(year FROM now()) > 0, n + 1 FROM big",
        "SELECT * EXCEPT (id), n + 1 FROM big",
        "SELECT n + 1, * EXCEPT (id) FROM big",
    ],
)
def test_a_word_that_is_no_clause_leaves_no_number_unchecked(
    answer: Callable[[str], object], text: str
) -> None:
    with pytest.raises(Exception, match="out of range|too large"):
        answer(text)


@pytest.mark.parametrize(
    "text",
    ["SELECT 1 / CASE WHEN true THEN 3.0 ELSE 4.0 END", "SELECT CASE WHEN true THEN 1.0 END / 3"],
)
def test_what_is_divided_is_a_float_in_a_case_too(
    answer: Callable[[str], object], text: str
) -> None:
    assert answer(text) == [(1 / 3,)]
