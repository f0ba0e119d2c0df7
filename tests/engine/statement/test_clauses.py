"""Clauses end where they end: not at a word of an expression that looks like the next one."""

from __future__ import annotations

import pytest

import affidavit
from affidavit.errors import SqlError


@pytest.fixture
def pairs(session: affidavit.Session) -> affidavit.Session:
    session.sql("CREATE TABLE pairs (id INT PRIMARY KEY, a INT, b INT, differ BOOLEAN)")
    session.sql("INSERT INTO pairs VALUES (1, 1, NULL, NULL), (2, 2, 2, NULL)")
    session.sql("CREATE TABLE news (id INT PRIMARY KEY, a INT)")
    session.sql("INSERT INTO news VALUES (1, 10), (3, 30)")
    return session


def rows(session: affidavit.Session, text: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in session.sql(text).to_pylist()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UPDATE pairs SET differ = a IS DISTINCT FROM b", [(True,), (False,)]),
        ("UPDATE pairs SET differ = a IS NOT DISTINCT FROM b", [(False,), (True,)]),
        (
            "UPDATE pairs SET differ = pairs.a IS DISTINCT FROM news.a FROM news "
            "WHERE pairs.id = news.id",
            [(True,), (None,)],
        ),
        (
            "UPDATE pairs SET differ = CASE WHEN CASE WHEN b IS NULL THEN 1 END = 1 THEN true END "
            "WHERE id = 1",
            [(True,), (None,)],
        ),
    ],
)
def test_an_update_sets_what_is_written(pairs, text, expected) -> None:
    pairs.sql(text)
    assert rows(pairs, "SELECT differ FROM pairs ORDER BY id") == expected


def test_the_when_of_a_case_is_no_clause_of_a_merge(pairs) -> None:
    pairs.sql(
        "MERGE INTO pairs USING news ON pairs.id = news.id "
        "WHEN MATCHED AND CASE WHEN news.a > 5 THEN true END THEN UPDATE "
        "SET a = CASE WHEN news.id = 1 THEN CASE news.a WHEN 10 THEN 11 END ELSE 0 END "
        "WHEN NOT MATCHED THEN INSERT (id, a) VALUES (news.id, CASE WHEN true THEN news.a END)"
    )
    assert rows(pairs, "SELECT id, a FROM pairs ORDER BY id") == [(1, 11), (2, 2), (3, 30)]


def test_a_conflict_may_set_a_column_by_a_case(pairs) -> None:
    pairs.sql(
        "INSERT INTO pairs (id, a) VALUES (1, 5) ON CONFLICT (id) DO UPDATE "
        "SET differ = CASE WHEN excluded.a IS DISTINCT FROM pairs.a THEN true END"
    )
    assert rows(pairs, "SELECT differ FROM pairs WHERE id = 1") == [(True,)]


def test_a_column_may_be_called_like_a_clause(session) -> None:
    session.sql('CREATE TABLE t ("offset" INT PRIMARY KEY, "limit" INT, "conflict" INT)')
    session.sql("INSERT INTO t SELECT offset, 2, 1 AS conflict FROM (SELECT 1 AS offset) s")
    session.sql(
        "INSERT INTO t SELECT 1, 3, conflict FROM t JOIN (SELECT 1 AS a) u ON a = conflict "
        "WHERE offset = 1 ON CONFLICT (offset) DO UPDATE SET conflict = t.offset + 8"
    )
    session.sql("UPDATE t SET limit = limit + offset WHERE offset = 1 AND conflict = 9")
    assert rows(session, "SELECT * FROM t") == [(1, 3, 9)]
    assert rows(session, "DELETE FROM t WHERE offset = 1 RETURNING limit, conflict") == [(3, 9)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("(7, 8)", (7, 8)),
        ("ROW(7, 8)", (7, 8)),
        ("(SELECT 7, 8)", (7, 8)),
        ("(SELECT max(id) AS i, min(n.a) m FROM news n WHERE n.a > 1)", (3, 10)),
        ("(WITH x AS (SELECT 1 AS y) SELECT y, y + 1 FROM x)", (1, 2)),
        ("(SELECT DISTINCT id, a FROM news WHERE id = 3)", (3, 30)),
    ],
)
def test_columns_may_be_set_together(pairs, value, expected) -> None:
    assert rows(pairs, f"UPDATE pairs SET (a, b) = {value} WHERE id = 1 RETURNING a, b") == [
        expected
    ]


@pytest.mark.parametrize("value", ["(7)", "(7, 8, 9)", "ROW(7)", "(SELECT 7)"])
def test_p12_as_many_columns_are_set_as_there_are_values(pairs, value) -> None:
    with pytest.raises(SqlError, match="2 columns are set to"):
        pairs.sql(f"UPDATE pairs SET (a, b) = {value}")


def test_a_merge_source_may_name_its_columns(pairs) -> None:
    pairs.sql(
        "MERGE INTO pairs USING (VALUES (9, 4)) AS s(id, n) ON pairs.id = s.id "
        "WHEN NOT MATCHED THEN INSERT (id, a) VALUES (s.id, s.n)"
    )
    assert rows(pairs, "SELECT id, a FROM pairs WHERE id = 9") == [(9, 4)]


@pytest.mark.parametrize("rest", ["ORDER BY 1 LIMIT 1", "UNION SELECT 1, 2", "LIMIT 1"])
def test_p19_columns_are_not_set_by_a_query_whose_rows_count(pairs, rest) -> None:
    with pytest.raises(SqlError, match="set each column by a query of its own"):
        pairs.sql(f"UPDATE pairs SET (a, b) = (SELECT id, a FROM news {rest})")


def test_p19_a_truncate_takes_no_more_words(pairs) -> None:
    for words in ("CASCADE", "t", "RESTART IDENTITY"):
        with pytest.raises(SqlError, match="expected the end of TRUNCATE"):
            pairs.sql(f"TRUNCATE pairs {words}")
    assert len(rows(pairs, "SELECT * FROM pairs")) == 2


def test_an_insert_may_end_its_joins_and_groups_as_queries_do(pairs) -> None:
    pairs.sql(
        "INSERT INTO news SELECT id, 1 FROM pairs CROSS JOIN (SELECT 1) v ON CONFLICT DO NOTHING"
    )
    pairs.sql("INSERT INTO news SELECT id + 100, 1 FROM pairs GROUP BY GROUPING SETS ((id))")
    pairs.sql("UPDATE pairs SET a = a + 1L WHERE id = 1L")
    assert rows(pairs, "SELECT count(*), max(id) FROM news") == [(5, 102)]


@pytest.mark.parametrize("text", ["EXECUTE p(a.", "EXECUTE p(5", "EXECUTE p(5) x", "EXECUTE"])
def test_p12_an_execute_that_does_not_end_is_refused(pairs, text) -> None:
    pairs.sql("PREPARE p AS SELECT $1")
    with pytest.raises(SqlError):
        pairs.sql(text)
    with pytest.raises(SqlError):
        pairs.describe(text)
    pairs.sql("DEALLOCATE p")
