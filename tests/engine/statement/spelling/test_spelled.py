"""Types, table functions and ORDER BY ALL as other databases read them."""

from __future__ import annotations

import pytest

from affidavit import errors


def rows(session, text: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in session.sql(text).to_pylist()]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT range FROM range(2)", [(0,), (1,)]),
        ("SELECT RANGE.range + 1 FROM RANGE(2) WHERE Range > 0", [(2,)]),
        ("SELECT a.range FROM range(2) a", [(0,), (1,)]),
        ("SELECT generate_series, range FROM generate_series(4, 4), range(1)", [(4, 0)]),
        ("SELECT r FROM range(1) AS x(r) JOIN Generate_Series(0, 0) y(s) ON r = s", [(0,)]),
        ("SELECT value FROM range(1)", [(0,)]),
        ("SELECT value, range FROM range(2)", [(0, 0), (1, 1)]),
        ("SELECT r.value + r.range, n.value FROM range(2) r, (SELECT 5 AS value) n WHERE r.value > 0",
         [(2, 5)]),
        ("SELECT value, sum(value) OVER (ORDER BY value RANGE UNBOUNDED PRECEDING) FROM range(2) ORDER BY 1",
         [(0, 0), (1, 1)]),
        ("SELECT 1 AS range, (SELECT count(*) FROM range(3))", [(1, 3)]),
    ],
)  # fmt: skip
def test_series_are_tables_with_a_column_of_their_name(session, text: str, found) -> None:
    assert rows(session, text) == found


def test_functions_of_the_engine_are_called_in_any_case(session) -> None:
    session.create_vector_table("d", [{"id": 1, "vector": [1.0, 2.0]}])
    assert rows(session, "SELECT id FROM Vector_Search('d', [1.0, 2.0], 1)") == [(1,)]
    assert rows(session, "SELECT count(*) FROM AS_OF('d', 'v1'), HISTORY('d')") == [(2,)]


def test_order_by_all_is_by_each_column(session) -> None:
    session.sql("CREATE TABLE t (a INT, b INT) AS VALUES (2, NULL), (1, 5), (2, 3)")
    assert rows(session, "FROM t ORDER BY ALL") == [(1, 5), (2, 3), (2, None)]
    assert rows(session, "SELECT b, a FROM t ORDER BY ALL DESC NULLS LAST LIMIT 2") == [
        (5, 1),
        (3, 2),
    ]
    with_tables = "WITH c AS (SELECT a FROM t) SELECT * FROM c UNION ALL SELECT 0 ORDER BY ALL"
    assert rows(session, with_tables) == [(0,), (1,), (2,), (2,)]
    inner = "SELECT max(a) FROM (SELECT a FROM t ORDER BY ALL LIMIT 1)"
    assert rows(session, inner) == [(1,)]
    session.sql("CREATE TABLE u AS SELECT * FROM t ORDER BY ALL")
    session.sql("INSERT INTO u SELECT a, b FROM t ORDER BY ALL")
    assert rows(session, "SELECT count(*) FROM u") == [(6,)]


def test_types_have_the_names_that_others_give_them(session) -> None:
    session.sql(
        "CREATE TABLE t (a SHORT, b LONG, c DATETIME, d UBIGINT, e TIMESTAMP_MS, short VARCHAR, "
        "r ROW(x INT, y VARCHAR))"
    )
    types = [str(field.type) for field in session.table("t").schema]
    assert types[:5] == ["int16", "int64", "timestamp[us]", "uint64", "timestamp[ms]"]
    assert types[6].startswith("struct<x: int32, y: string")
    session.sql("INSERT INTO t (a, short) VALUES (CAST('5' AS SHORT), 'x')")
    assert rows(session, "SELECT short, a::LONG, TRY_CAST('y' AS INT1) AS long FROM t") == [
        ("x", 5, None)
    ]
    with pytest.raises(errors.SqlError, match="NOTYPE"):
        session.sql("SELECT 1::NOTYPE")
