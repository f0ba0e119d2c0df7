"""The least value of a frame that moves, where nothing but NULL is left in it."""

from __future__ import annotations

import pytest
from datafusion import SessionContext

ROWS = "(VALUES (1, 5), (2, NULL), (3, NULL), (4, NULL), (5, 2), (6, NULL), (7, NULL)) AS t(i, x)"
FRAME = "ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING"


def test_it_can_go_once_datafusion_lets_the_value_go() -> None:
    text = f"SELECT min(x) OVER (ORDER BY i {FRAME}) AS m FROM {ROWS} ORDER BY i"
    assert [row["m"] for row in SessionContext().sql(text).to_pylist()] == [5, 5, 5, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (f"min(x) OVER (ORDER BY i {FRAME})", [5, 5, None, 2, 2, 2, None]),
        ("min(x) OVER w", [5, 5, None, None, 2, 2, None]),
        ("min(x) OVER (ORDER BY i ROWS 2 PRECEDING)", [5, 5, 5, None, 2, 2, 2]),
        ("min(x) OVER (ORDER BY i ROWS BETWEEN CURRENT ROW AND CURRENT ROW)",
         [5, None, None, None, 2, None, None]),
        ("min(x) FILTER (WHERE x > 2) OVER w", [5, 5, None, None, None, None, None]),
        ("1 + min(x + 1) OVER w * 2", [13, 13, None, None, 7, 7, None]),
        ("min(x) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)",
         [None, 5, 5, 5, 5, 2, 2]),
        ("min(x) OVER (ORDER BY i)", [5, 5, 5, 5, 2, 2, 2]),
        ("max(x) OVER w", [5, 5, None, None, 2, 2, None]),
    ],
)  # fmt: skip
def test_p11_the_least_of_a_frame_is_in_it(session, call: str, expected: list[int | None]) -> None:
    text = f"SELECT {call} AS m FROM {ROWS} WINDOW w AS (ORDER BY i ROWS 1 PRECEDING) ORDER BY i"
    assert [row["m"] for row in session.sql(text).to_pylist()] == expected


def test_a_column_is_called_as_it_was(session) -> None:
    text = f"SELECT min(x) OVER (ORDER BY i {FRAME}) FROM {ROWS}"
    (name,) = session.sql(text).to_arrow().schema.names
    assert "CASE" not in name
