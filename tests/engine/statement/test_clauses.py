"""Clauses end where they end: not at a word of an expression that looks like the next one."""

from __future__ import annotations

import pytest

import affidavit


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
