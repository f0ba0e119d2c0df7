"""What a SELECT lists twice, as DataFusion calls things."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("a, a::VARCHAR", {"a": 1, "a::varchar": "1"}),
        ("a, a::INT AS x, a + 1", {"a": 1, "x": 1, "a + 1": 2}),
    ],
)
def test_a_cast_is_called_as_it_is_written(session, listed: str, found) -> None:
    """DataFusion 54.1 refuses a list with both, and INSERT ... SELECT with it."""
    session.sql("CREATE TABLE t (a INT) AS VALUES (1)")
    assert session.sql(f"SELECT {listed} FROM t").to_pylist() == [found]
    session.sql("CREATE TABLE u (a INT, s VARCHAR)")
    session.sql("INSERT INTO u SELECT a, a::VARCHAR FROM t")
    assert session.sql("SELECT a, s FROM u").to_pylist() == [{"a": 1, "s": "1"}]
