"""IN over a query that names the row outside: no name means another thing where it is put."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable

CAUGHT = {
    "SELECT c FROM t WHERE t.a NOT IN (SELECT t.b FROM u AS t WHERE c > 0)": [(10,), (20,)],
    "SELECT c FROM t WHERE (t.a, 1) NOT IN (SELECT t.a, 1 FROM u AS t WHERE c > 10)": [(10,)],
    "SELECT c FROM t WHERE t.a NOT IN (SELECT w.a FROM (u AS t CROSS JOIN u AS w) WHERE c > 10)": [
        (10,)
    ],
    "SELECT o.c FROM t o WHERE o.a NOT IN (SELECT t.a FROM u AS t WHERE t.a = o.a)": [(30,)],
    "SELECT o.c FROM t o WHERE c NOT IN (SELECT 10 * w.a FROM u w WHERE w.a = o.a)": [(30,)],
}


@pytest.mark.parametrize("text", CAUGHT)
def test_what_stands_before_in_is_of_the_row_outside(
    answer: Callable[[str], object], text: str
) -> None:
    """``t.a NOT IN (SELECT t.b FROM u AS t ...)`` compared the inner ``t`` with itself."""
    assert answer(text) == CAUGHT[text]


def test_what_would_be_caught_and_cannot_be_planned_says_what_to_write(session) -> None:
    session.sql("CREATE TABLE t AS SELECT 1 AS a, 10 AS c")
    with pytest.raises(ExecutionError, match="give each table a name of its own"):
        session.sql(
            "SELECT c FROM t o WHERE a NOT IN (SELECT t.a FROM t WHERE t.c = o.c)"
        ).to_arrow()
