"""Functions of several rows that attached databases answer, and those that are left to here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from tests.engine.plan.cutting.test_cut import both_ways, sent
from tests.support.databases import run_duck, run_lite

import affidavit
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.mariadb_server import MariaDbServer
    from tests.support.pg_server import PgServer

ROWS = 60
VALUES = ", ".join(
    f"({at}, {at % 4 if at % 9 else 'NULL'}, {at * 7 % 13}, {at}.25, 'v{at % 5}', {at}.5)"
    for at in range(ROWS)
)
DATABASES = ("pg.public", "d.main", "lite.main", "my.functions")


@pytest.fixture(scope="module")
def session(
    tmp_path_factory: pytest.TempPathFactory, pg_server: PgServer, mariadb_server: MariaDbServer
) -> Iterator[affidavit.Session]:
    folder = tmp_path_factory.mktemp("functions")
    columns = "id BIGINT PRIMARY KEY, p INT, k INT, n DECIMAL(12, 2), v VARCHAR(9), f {}"
    tables = [
        (
            f"CREATE TABLE t ({columns.format(kind)})",
            f"INSERT INTO t VALUES {VALUES}",
            "CREATE TABLE big (n BIGINT)",
            "INSERT INTO big VALUES (9007199254740991), (2)",
        )
        for kind in ("DOUBLE PRECISION", "DOUBLE")
    ]
    run_duck(folder / "x.duckdb", *tables[1])
    run_lite(folder / "x.db", *tables[1])
    with affidavit.connect(folder / "lake") as opened:
        opened.attach("pg", pg_server.database("functions", *tables[0]))
        opened.attach("d", f"duckdb://{folder / 'x.duckdb'}")
        opened.attach("lite", f"sqlite://{folder / 'x.db'}")
        opened.attach("my", mariadb_server.database("functions", *tables[1]))
        yield opened


@pytest.mark.parametrize("database", DATABASES)
def test_rows_chosen_by_what_windows_give_are_chosen_there(
    session: affidavit.Session, database: str
) -> None:
    for function in (
        "row_number() OVER (PARTITION BY p ORDER BY id DESC)",
        "rank() OVER (PARTITION BY p ORDER BY k NULLS FIRST)",
        "dense_rank() OVER (ORDER BY p DESC NULLS LAST)",
        "lag(k) OVER (PARTITION BY p ORDER BY id)",
        "lead(p, 2) OVER (ORDER BY k DESC, id)",
        "first_value(k) OVER (PARTITION BY p ORDER BY id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
        "last_value(p) OVER (ORDER BY id)",
        "nth_value(k, 2) OVER (PARTITION BY p ORDER BY id ROWS 1 PRECEDING)",
        "count(p) OVER (ORDER BY id ROWS BETWEEN 5 PRECEDING AND 2 PRECEDING)",
        "min(k) OVER (PARTITION BY p)",
        "max(k) OVER (PARTITION BY p ORDER BY id ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING)",
        "first_value(p) OVER (ORDER BY p RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
    ):
        text = f"SELECT id, w FROM (SELECT id, {function} AS w FROM {database}.t) q WHERE q.w < 6"
        (query,) = sent(session, text)
        assert " OVER (" in query, function
        assert len(both_ways(session, text)) > 3


@pytest.mark.parametrize("database", ["pg.public", "d.main"])
def test_windows_over_decimals_and_texts_are_those_of_here(
    session: affidavit.Session, database: str
) -> None:
    for text in (
        "SELECT v, sum(n) AS s, sum(sum(n)) OVER (ORDER BY v) AS c FROM {}.t GROUP BY v",
        "SELECT v, avg(sum(n)) OVER (ORDER BY v ROWS 1 PRECEDING) AS a FROM {}.t GROUP BY v",
        "SELECT id, w FROM (SELECT id, min(k) OVER (ORDER BY id ROWS 1 PRECEDING) AS w FROM {}.t) q "
        "WHERE q.w < 6",
        "SELECT v, lag(v, 1, 'none') OVER (ORDER BY count(*), v) AS w, "
        "lead(count(*), 1, 0) OVER (ORDER BY v) AS m FROM {}.t GROUP BY v",
        "SELECT count(*) AS c, max(w) AS m FROM (SELECT a.id, rank() OVER (PARTITION BY a.v "
        "ORDER BY b.k) AS w FROM {0}.t a JOIN {0}.t b ON b.id = a.k) q WHERE q.w <= 3",
    ):
        asked = text.format(database)
        assert any(" OVER (" in query for query in sent(session, asked)), text
        assert both_ways(session, asked)


@pytest.mark.parametrize(
    "function",
    [
        "sum(f) OVER (ORDER BY id)",  # the order in which floats are added
        "row_number() OVER (ORDER BY f)",  # -0.0, and NaN
        "first_value(k) IGNORE NULLS OVER (ORDER BY id)",
        "count(k) OVER (ORDER BY k RANGE BETWEEN 2 PRECEDING AND CURRENT ROW)",
        "count(k) OVER (ORDER BY k GROUPS BETWEEN 2 PRECEDING AND CURRENT ROW)",
        "count(DISTINCT k) OVER (PARTITION BY p)",
        "lag(k, 0) OVER (ORDER BY id)",
        "lag(k, -1) OVER (ORDER BY id)",
        "ntile(3) OVER (ORDER BY id)",
    ],
)
def test_a_window_that_may_be_another_there_is_computed_here(
    session: affidavit.Session, function: str
) -> None:
    text = f"SELECT id, w FROM (SELECT id, {function} AS w FROM d.main.t) q WHERE q.w < 6"
    assert not any(" OVER (" in query for query in sent(session, text))


def test_the_rows_of_one_table_that_windows_add_to_are_read_by_its_scan(
    session: affidavit.Session,
) -> None:
    text = "SELECT id, rank() OVER (ORDER BY k) AS w FROM pg.public.t"
    assert not any(" OVER (" in query for query in sent(session, text))


@pytest.mark.parametrize("database", DATABASES)
def test_an_aggregate_of_some_rows_is_of_those_alone(
    session: affidavit.Session, database: str
) -> None:
    text = (
        "SELECT p, count(*) FILTER (WHERE k > 3 AND id < 40) AS c, max(k) FILTER (WHERE v = 'v1') "
        "AS m, count(DISTINCT k) FILTER (WHERE id NOT IN (3, 4)) AS d, "
        f"count(p) FILTER (WHERE p IS NULL) AS n FROM {database}.t GROUP BY p"
    )
    (query,) = sent(session, text)
    assert query.count("CASE WHEN" if database.startswith("my") else "FILTER (WHERE") == 4
    assert len(both_ways(session, text)) == 5


@pytest.mark.parametrize(
    "call",
    [
        "max(k) FILTER (WHERE upper(v) = 'V1')",
        "max(k) FILTER (WHERE f = 0)",
        "array_agg(k ORDER BY id) FILTER (WHERE p = 1)",
        "first_value(k ORDER BY id) FILTER (WHERE p = 1)",
    ],
)
def test_an_aggregate_of_other_rows_there_is_computed_here(
    session: affidavit.Session, call: str
) -> None:
    text = f"SELECT p, {call} AS m FROM pg.public.t GROUP BY p"
    assert not any("GROUP BY" in query for query in sent(session, text))


@pytest.mark.parametrize("database", ["pg.public", "d.main"])
def test_averages_of_integers_are_floats_as_here(
    session: affidavit.Session, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="affidavit")
    text = f"SELECT p, avg(k) AS a, avg(id) AS b FROM {database}.t GROUP BY p"
    assert any("GROUP BY" in query for query in sent(session, text))
    assert len(both_ways(session, text)) == 5
    # floats hold no sum of these, so that the average depends on their order
    assert session.sql(f"SELECT avg(n) AS a FROM {database}.big").to_pylist()
    assert "answered here" in caplog.text


def test_sums_of_integers_are_those_of_a_sqlite_file_or_the_error_of_here(
    session: affidavit.Session, tmp_path: Path
) -> None:
    run_lite(
        tmp_path / "y.db",
        "CREATE TABLE t (k INT, n BIGINT)",
        "INSERT INTO t VALUES (1, 9223372036854775806), (1, 1), (2, -5), (2, NULL), (3, NULL)",
    )
    session.attach("sums", f"sqlite://{tmp_path / 'y.db'}")
    text = "SELECT k, sum(n) AS s FROM sums.main.t GROUP BY k ORDER BY s DESC LIMIT 2"
    assert any("GROUP BY" in query for query in sent(session, text))
    assert both_ways(session, text) == [{"k": 3, "s": None}, {"k": 1, "s": 2**63 - 1}]
    run_lite(tmp_path / "y.db", "INSERT INTO t VALUES (1, 1)")
    with pytest.raises(ExecutionError, match="out of range"):
        session.sql(text).to_arrow()
    session.detach("sums")


@pytest.mark.parametrize("database", DATABASES)
def test_what_a_list_has_not_knows_null_as_here(session: affidavit.Session, database: str) -> None:
    for condition, rows in (
        ("p NOT IN (SELECT id FROM {}.t WHERE id > 1)", 26),
        ("p NOT IN (SELECT id FROM {}.t WHERE id < 0)", 60),
        ("k NOT IN (SELECT id FROM {0}.t WHERE id < 3) AND NOT EXISTS "
         "(SELECT 1 FROM {0}.t b WHERE b.id = t.k AND b.id > 9)", 32),
    ):  # fmt: skip
        text = f"SELECT count(*) AS n FROM {database}.t WHERE {condition.format(database)}"
        (query,) = sent(session, text)
        assert query.count("NOT EXISTS") >= 3
        assert both_ways(session, text) == [{"n": rows}], condition
    text = f"SELECT count(*) AS n FROM {database}.t WHERE id NOT IN (SELECT p FROM {database}.t)"
    assert both_ways(session, text) == [{"n": 0}]
    first = f"SELECT p FROM {database}.t ORDER BY p LIMIT 1"  # which would be asked for thrice
    text = f"SELECT count(*) AS n FROM {database}.t WHERE id NOT IN ({first})"
    assert not any("NOT EXISTS" in query for query in sent(session, text))
    assert both_ways(session, text) == [{"n": ROWS - 1}]


def test_windows_over_several_databases_are_over_what_these_answer(
    session: affidavit.Session,
) -> None:
    text = (
        "SELECT q.p, q.c, rank() OVER (PARTITION BY q.c ORDER BY b.id) AS r, "
        "sum(b.id) OVER (ORDER BY b.id) AS s FROM (SELECT p, count(*) AS c FROM pg.public.t "
        "GROUP BY p) q JOIN d.main.t b ON b.id = q.p"
    )
    assert any("GROUP BY" in query for query in sent(session, text))
    assert len(both_ways(session, text)) == 4
