"""Tables of databases are asked for the first rows alone, where a plan needs no more of them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import affidavit
from affidavit.engine.plan.nodes.tops import ROWS_MAX

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [(3, "c", 0.5), (1, "a", None), (2, None, 1.5), (None, "b", 2.5)]


@pytest.fixture
def lite(session: affidavit.Session, tmp_path: Path) -> affidavit.Session:
    """A session with a SQLite file as ``d``, and its table ``t`` copied as ``t``."""
    path = tmp_path / "x.db"
    store = sqlite3.connect(path)
    store.execute("CREATE TABLE t (a INT, s TEXT, f DOUBLE)")
    store.executemany("INSERT INTO t VALUES (?, ?, ?)", ROWS)
    store.execute("CREATE TABLE 'T s' ('A b' INT)")
    store.commit()
    store.close()
    session.attach("d", f"sqlite://{path}")
    session.sql("SET affidavit.pushdown = 'filters'")  # whole sub-trees are told elsewhere
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
        f"SELECT a FROM d.main.t LIMIT {ROWS_MAX + 1}",
        "SELECT min(a) FILTER (WHERE s > 'a') FROM d.main.t",
        "SELECT max(a + 1) AS high FROM d.main.t",
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
    plan = str(lite.explain('SELECT * FROM d.main."T s" LIMIT 2'))
    assert plan.endswith("SELECT `A b` FROM `main`.`T s` LIMIT 2")


def test_what_datafusion_cannot_hand_over_is_read_whole(lite: affidavit.Session) -> None:
    """A table that is read into memory after all is read without its first rows' limit."""
    text = "SELECT a FROM d.main.t WHERE upper(s) >= 'A' ORDER BY a LIMIT 1"
    assert lite.sql(text).to_pylist() == [{"a": 1}]
    assert "LIMIT" not in sent(lite, text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) AS n FROM {} WHERE a > 1",
        "SELECT s FROM {} WHERE a > 1 ORDER BY s LIMIT 9",
        "SELECT max(a) AS a FROM {}",
        "SELECT a FROM {} ORDER BY a DESC NULLS LAST LIMIT 1",
    ],
)
def test_what_cannot_be_given_is_neither_counted_nor_first(
    session: affidavit.Session, tmp_path: Path, text: str
) -> None:
    """SQLite holds the text in a column of integers for greater than all of them."""
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as store:
        store.execute("CREATE TABLE t (a INT, s TEXT)")
        store.executemany("INSERT INTO t VALUES (?, ?)", [(1, "p"), (2, "q"), ("x", "r")])
    session.attach("bad", f"sqlite://{path}")
    with pytest.raises(affidavit.errors.SourceError, match="column 'a' cannot"):
        session.sql(text.format("bad.main.t")).to_arrow()
    session.attach("null", f"sqlite://{path}", on_bad_value="null")
    session.sql("CREATE TABLE t AS SELECT * FROM null.main.t")
    found, own = (session.sql(text.format(at)).to_pylist() for at in ("null.main.t", "t"))
    assert found == own


def test_a_database_counts_what_it_selects_by_a_column_of_one_type(
    session: affidavit.Session, tmp_path: Path
) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "x.duckdb"
    with duckdb.connect(str(path)) as store:
        store.execute("CREATE TABLE t AS SELECT * FROM range(5) AS t (a)")
    session.attach("duck", f"duckdb://{path}")
    session.sql("SET affidavit.pushdown = 'filters'")
    text = "SELECT count(*) AS n FROM duck.main.t WHERE a > 1"
    assert session.sql(text).to_pylist() == [{"n": 3}]
    assert str(session.explain(text)).endswith('SELECT count(*) FROM "main"."t" WHERE ("a" > 1)')


def test_what_a_plan_needs_is_not_what_the_condition_of_its_search_needs(
    lite: affidavit.Session,
) -> None:
    rows = {"id": [1, 2, 3], "vector": pa.array([[1.0, 0.0]] * 3, pa.list_(pa.float32(), 2))}
    lite.create_vector_table("docs", pa.table(rows))
    found = lite.sql(
        "SELECT v.id FROM (SELECT a FROM d.main.t ORDER BY a LIMIT 1), vector_search('docs', "
        "query => [1, 0], k => 5, where => 'id IN (SELECT a FROM d.main.t)') AS v ORDER BY v.id"
    )
    assert found.to_pylist() == [{"id": 1}, {"id": 2}, {"id": 3}]
