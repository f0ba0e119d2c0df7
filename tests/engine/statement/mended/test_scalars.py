"""A query in brackets over a query in FROM that names the row outside and has one row, always."""

from __future__ import annotations

import pytest

from affidavit import errors

COUNTED = "(SELECT count(*) AS n, sum(u.a) FROM u WHERE u.a = t.a)"


@pytest.fixture
def tables(session):
    session.sql("CREATE TABLE t (a BIGINT) AS VALUES (1), (2), (3)")
    session.sql("CREATE TABLE u (a BIGINT) AS VALUES (1), (3), (3)")
    return session


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"SELECT n FROM {COUNTED}", [1, 0, 2]),
        (f"SELECT n + 1 FROM {COUNTED}", [2, 1, 3]),
        (f"SELECT m + 1 FROM (SELECT n + 1 AS m FROM {COUNTED})", [3, 2, 4]),
    ],
)
def test_what_one_row_gives_is_a_value_of_none_too(tables, value: str, found: list[int]) -> None:
    """The count was NULL where there was nothing to count: the value was taken as of several."""
    rows = tables.sql(f"SELECT a, ({value}) AS v FROM t ORDER BY a").to_pylist()
    assert [row["v"] for row in rows] == found


@pytest.mark.parametrize(
    "value", [f"SELECT n FROM {COUNTED} x", f"SELECT max(n) FROM {COUNTED}",
              f"SELECT n FROM {COUNTED} WHERE n = 0"],
)  # fmt: skip
def test_more_around_it_is_refused(tables, value: str) -> None:
    """DataFusion 54.1 gives NULL for max(n) where n is 0, and plans the others not at all."""
    with pytest.raises(errors.SqlError, match="aggregate in the query around it"):
        tables.sql(f"SELECT ({value}) FROM t")
