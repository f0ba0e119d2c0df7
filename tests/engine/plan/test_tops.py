"""Tables of databases are asked for the first rows alone, where a plan needs no more of them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    import affidavit

ROWS = [(3, "c", 0.5), (1, "a", None), (2, None, 1.5), (None, "b", 2.5)]


@pytest.fixture
def lite(session: affidavit.Session, tmp_path: Path) -> affidavit.Session:
    """A session with a SQLite file as ``d``, and its table ``t`` copied as ``t``."""
    path = tmp_path / "x.db"
    store = sqlite3.connect(path)
    store.execute("CREATE TABLE t (a INT, s TEXT, f DOUBLE)")
    store.executemany("INSERT INTO t VALUES (?, ?, ?)", ROWS)
    store.commit()
    store.close()
    session.attach("d", f"sqlite://{path}")
    session.sql("CREATE TABLE t AS SELECT * FROM d.main.t")
    return session


def sent(session: affidavit.Session, text: str) -> str:
    """Return what is sent for a query, once its rows are those of the copy."""
    ordered = "ORDER BY" in text
    found, own = (session.sql(each).to_pylist() for each in (text, text.replace("d.main.t", "t")))
    if not ordered:
        found, own = (sorted(rows, key=repr) for rows in (found, own))
    assert found == own
    plan = str(session.explain(text))
    return plan.partition("sent to d:\n")[2].strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT count(*) FROM d.main.t", "SELECT count(*) FROM `main`.`t`"),
        (
            "SELECT count(*) AS n FROM d.main.t WHERE a > 1",
            "SELECT count(*) FROM `main`.`t` WHERE (`a` > 1)",
        ),
        (
            "SELECT a, s FROM d.main.t ORDER BY a LIMIT 2",
            "SELECT `a`, `s` FROM `main`.`t` ORDER BY `a` ASC NULLS LAST LIMIT 2",
        ),
        (
            "SELECT s AS b, a + 1 AS c FROM d.main.t AS x ORDER BY b DESC LIMIT 1 OFFSET 1",
            "SELECT `a`, `s` FROM `main`.`t` ORDER BY `s` COLLATE BINARY DESC NULLS FIRST LIMIT 2",
        ),
        (
            "SELECT min(a) AS low FROM d.main.t WHERE a > 1",
            "SELECT `a` FROM `main`.`t` WHERE (`a` > 1) AND (`a` IS NOT NULL) ORDER BY `a` ASC "
            "LIMIT 1",
        ),
        (
            "SELECT min(a), max(s) FROM d.main.t",
            "SELECT * FROM (SELECT `a`, `s` FROM `main`.`t` WHERE (`a` IS NOT NULL) ORDER BY `a` "
            "ASC LIMIT 1) AS t0 UNION ALL SELECT * FROM (SELECT `a`, `s` FROM `main`.`t` WHERE "
            "(`s` IS NOT NULL) ORDER BY `s` COLLATE BINARY DESC LIMIT 1) AS t1",
        ),
        (
            "SELECT x.a FROM (SELECT a FROM d.main.t ORDER BY a LIMIT 2) AS x JOIN t ON t.a = x.a",
            "SELECT `a` FROM `main`.`t` ORDER BY `a` ASC NULLS LAST LIMIT 2",
        ),
    ],
)
def test_a_database_is_asked_for_what_the_plan_needs(
    lite: affidavit.Session, text: str, expected: str
) -> None:
    assert sent(lite, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "SELECT f FROM d.main.t ORDER BY f LIMIT 1",  # floats have an order of their own
        "SELECT a FROM d.main.t ORDER BY a + 1 LIMIT 1",
        "SELECT a FROM d.main.t WHERE s = 'a' ORDER BY a LIMIT 1",  # may select more there
        "SELECT min(a), sum(a) FROM d.main.t",
        "SELECT min(a) FILTER (WHERE s > 'a') FROM d.main.t",
        "SELECT s, min(a) FROM d.main.t GROUP BY s",
        "SELECT DISTINCT a FROM d.main.t ORDER BY a LIMIT 2",
        "SELECT a FROM d.main.t WHERE a > (SELECT min(a) FROM d.main.t) ORDER BY a LIMIT 1",
        "SELECT b.a FROM d.main.t AS b JOIN d.main.t AS c ON b.a = c.a ORDER BY b.a LIMIT 2",
    ],
)
def test_all_rows_are_asked_for_where_the_first_may_not_do(
    lite: affidavit.Session, text: str
) -> None:
    assert "LIMIT" not in sent(lite, text)


def test_a_limit_alone_is_sent(lite: affidavit.Session) -> None:
    assert lite.sql("SELECT * FROM d.main.t LIMIT 2 OFFSET 1").to_arrow().num_rows == 2
    plan = str(lite.explain("SELECT * FROM d.main.t LIMIT 2 OFFSET 1"))
    assert plan.endswith("SELECT `a`, `s`, `f` FROM `main`.`t` LIMIT 3")


def test_what_datafusion_cannot_hand_over_is_read_whole(lite: affidavit.Session) -> None:
    """A table that is read into memory after all is read without its first rows' limit."""
    text = "SELECT a FROM d.main.t WHERE upper(s) >= 'A' ORDER BY a LIMIT 1"
    assert lite.sql(text).to_pylist() == [{"a": 1}]
    assert "LIMIT" not in sent(lite, text)
