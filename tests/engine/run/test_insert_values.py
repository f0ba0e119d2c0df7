"""VALUES within the query of an INSERT are rows of their own, and not of its target."""

from __future__ import annotations

import sqlite3

import pytest

from affidavit import errors


@pytest.fixture
def table(session) -> str:
    session.sql("CREATE TABLE t (a BIGINT, b BIGINT, c VARCHAR DEFAULT 'd')")
    return "t"


@pytest.mark.parametrize(
    ("insert", "expected"),
    [
        ("(a, b) SELECT m.x, n.y FROM (VALUES (1)) m(x) CROSS JOIN (VALUES (7), (8)) n(y)",
         [(1, 7, "d"), (1, 8, "d")]),
        ("(c, b) SELECT y, x FROM (VALUES (1, 'q')) m(x, y)", [(None, 1, "q")]),
        ("(a, b) SELECT x, 5 FROM (VALUES ('9')) m(x)", [(9, 5, "d")]),
        ("(a, b) WITH m(x) AS (VALUES (1)) SELECT x, x FROM m", [(1, 1, "d")]),
        ("(a, b) SELECT 1, (SELECT max(x) FROM (VALUES (3), (4)) q(x))", [(1, 4, "d")]),
        ("(a, b) SELECT 1, x FROM (VALUES ($p)) m(x)", [(1, 6, "d")]),
        ("BY NAME SELECT x AS b, 'VALUES' AS c FROM (VALUES (11)) m(x)", [(None, 11, "VALUES")]),
        ("SELECT 1, 2, 'values'", [(1, 2, "values")]),
        ("(a, b) VALUES (1, (SELECT count(*) FROM t))", [(1, 0, "d")]),
    ],
)  # fmt: skip
def test_they_are_the_query_s(session, table: str, insert: str, expected: list[tuple]) -> None:
    session.sql(f"INSERT INTO {table} {insert}", {"p": 6} if "$p" in insert else None)
    rows = session.sql(f"SELECT * FROM {table} ORDER BY ALL").to_pylist()
    assert [tuple(row.values()) for row in rows] == expected


def test_they_are_returned_and_counted_against_the_columns(session, table: str) -> None:
    text = f"INSERT INTO {table} (a, b) SELECT x, x FROM (VALUES (20)) m(x) RETURNING a, c"
    assert session.sql(text).to_pylist() == [{"a": 20, "c": "d"}]
    with pytest.raises(errors.SqlError):
        session.sql(f"INSERT INTO {table} (a, b) SELECT 1, x, 3 FROM (VALUES (2)) m(x)")


def test_a_database_is_given_them_too(session, tmp_path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as made:
        made.execute("CREATE TABLE t (a INTEGER, c TEXT)")
    made.close()
    session.attach("lite", f"sqlite://{tmp_path / 'x.db'}")
    asked = "SELECT x, y FROM (VALUES ('v')) n(y) CROSS JOIN (VALUES (1), (2)) m(x)"
    assert session.sql(f"INSERT INTO lite.main.t {asked}").rows_affected == 2
    rows = session.sql("SELECT * FROM lite.main.t ORDER BY a").to_pylist()
    assert rows == [{"a": 1, "c": "v"}, {"a": 2, "c": "v"}]
