"""Lists with NULL in them, of which DataFusion leaves that out where it joins two."""

from __future__ import annotations

import pytest
from datafusion import SessionContext

WRONG = (
    "SELECT x FROM (VALUES (1), (2), (3)) AS t(x) WHERE x IN (1, NULL, 2) AND x NOT IN (1, NULL)"
)


def test_it_can_go_once_datafusion_keeps_null() -> None:
    assert SessionContext().sql(WRONG).to_pylist() == [{"x": 2}]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("x IN (1, NULL, 2) AND x NOT IN (1, NULL)", []),
        ("x IN (1, NULL)", [1]),
        ("x NOT IN (1, NULL)", []),
        ("NOT (x IN (1, NULL))", []),
        ("(x IN (1, NULL)) IS NULL", [2, 3]),
        ("x + 1 IN (NULL, 3, NULL) OR x = 3", [2, 3]),
        ("CASE WHEN x NOT IN (2, NULL) THEN 1 ELSE 0 END = 0", [1, 2, 3]),
        ("x IN (1, 2) AND x IN (NULL, 2)", [2]),
        ("x IN (NULL)", []),
    ],
)
def test_null_in_a_list_is_unknown(session, condition: str, expected: list[int]) -> None:
    session.create_table("t", [{"x": 1}, {"x": 2}, {"x": 3}])
    rows = session.sql(f"SELECT x FROM t WHERE {condition} ORDER BY x").to_pylist()
    assert [row["x"] for row in rows] == expected
