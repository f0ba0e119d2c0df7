"""INTO, UNION and what counts rows, where a table is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import affidavit

MADE = {
    "SELECT a INTO made FROM u UNION ALL SELECT b FROM u": [1, 2, 5, 6],
    "WITH w AS (SELECT a FROM u) SELECT a INTO made FROM w EXCEPT ALL SELECT 2": [1],
    "CREATE TABLE made AS SELECT a FROM u EXCEPT ALL SELECT 2": [1],
    "CREATE OR REPLACE TABLE made AS WITH w AS (SELECT a FROM u) SELECT a FROM w INTERSECT ALL "
    "SELECT 2": [2],
    'SELECT a INTO main."made" FROM u WHERE a > 1': [2],
}


@pytest.mark.parametrize("text", MADE)
def test_a_table_is_made_of_all_that_is_asked(session: affidavit.Session, text: str) -> None:
    """INTO took its own SELECT alone, and CREATE TABLE was taken for a side of EXCEPT ALL."""
    session.sql("CREATE TABLE u AS SELECT * FROM (VALUES (1, 5), (2, 6)) v(a, b)")
    session.sql(text)
    assert sorted(row["a"] for row in session.sql("SELECT a FROM made")) == MADE[text]
