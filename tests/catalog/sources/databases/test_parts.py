"""Large tables of PostgreSQL are read in ranges of their key, side by side, at one moment."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import affidavit
from affidavit.catalog.sources.databases import parts
from affidavit.catalog.sources.drivers import postgres
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from tests.support.pg_server import PgServer

ROWS = 1000
STATEMENTS = (
    f"CREATE TABLE t AS SELECT i AS id, i % 7 AS n, 'x' || i AS s FROM generate_series(1, {ROWS}) i",
    "ALTER TABLE t ADD PRIMARY KEY (id)",
    "CREATE TABLE low (id bigint PRIMARY KEY, s text)",
    f"INSERT INTO low SELECT i, 'x' FROM generate_series(-{ROWS}, {ROWS}) i",
    "CREATE TABLE two (a int, b int, s text, PRIMARY KEY (b, a))",
    f"INSERT INTO two SELECT i % 10, i / 10, 'x' FROM generate_series(1, {ROWS}) i",
    "CREATE TABLE edges (id bigint PRIMARY KEY)",
    "INSERT INTO edges VALUES (-9223372036854775808), (9223372036854775807), (0), (1), (-1)",
    "CREATE TABLE one (id int PRIMARY KEY)",
    "INSERT INTO one VALUES (5)",
    "CREATE TABLE none (id int PRIMARY KEY)",
    "CREATE TABLE words (id text PRIMARY KEY)",
    "INSERT INTO words SELECT 'w' || i FROM generate_series(1, 100) i",
    "CREATE TABLE cut (id int PRIMARY KEY, s text) PARTITION BY RANGE (id)",
    "CREATE TABLE cut1 PARTITION OF cut FOR VALUES FROM (0) TO (500)",
    "CREATE TABLE cut2 PARTITION OF cut FOR VALUES FROM (500) TO (2000)",
    f"INSERT INTO cut SELECT i, 'x' FROM generate_series(1, {ROWS}) i",
    'CREATE TABLE odd ("the ""key" int PRIMARY KEY, s text)',
    "INSERT INTO odd SELECT i, 'x' FROM generate_series(1, 50) i",
    "ANALYZE",
)


@pytest.fixture
def parted(
    session: affidavit.Session, pg_server: PgServer, monkeypatch: pytest.MonkeyPatch
) -> affidavit.Session:
    """Attach a database whose tables are all large."""
    monkeypatch.setattr(parts, "PARTED_ROWS_MIN", 0)
    monkeypatch.setattr(postgres, "_PART_ROWS", 1)
    monkeypatch.setattr(postgres.os, "cpu_count", lambda: 4)
    session.attach("pg", pg_server.database("parted", *STATEMENTS))
    return session


def fragments(session: affidavit.Session, text: str) -> int:
    plan = session.explain(text)
    return int(plan.split("number_of_fragments=")[1].split(",")[0].split("]")[0].strip())


@pytest.mark.parametrize(
    ("table", "key", "parts"),
    [
        ("t", "id", 4),
        ("low", "id", 4),
        ("two", "b", 4),
        ("cut", "id", 4),
        ("edges", "id", 4),
        ("one", "id", 1),
        ("none", "id", 1),
        ("words", "id", 1),
        ("odd", '"the ""key"', 4),
    ],
)
def test_every_row_comes_once(
    parted: affidavit.Session, pg_server: PgServer, table: str, key: str, parts: int
) -> None:
    text = f"SELECT {key} AS k FROM pg.public.{table}"
    assert fragments(parted, text) == parts
    wanted = sorted(k for (k,) in pg_server.run(f"SELECT {key} FROM {table}", database="parted"))
    found = parted.sql(text).to_arrow()
    assert sorted(found["k"].to_pylist()) == wanted
    counted = parted.sql(f"SELECT count(*) AS n FROM pg.public.{table}").to_pylist()
    assert counted == [{"n": len(wanted)}]


@pytest.mark.parametrize(
    "where",
    ["n = 3", "id > 500", "id = 7", "id IN (1, 500, 1000)", "s < 'x5'", "id % 2 = 0", "false"],
)
def test_filters_hold_in_every_part(parted: affidavit.Session, where: str) -> None:
    parted.sql("CREATE TABLE here AS SELECT id, n, s FROM pg.public.t")
    wanted = parted.sql(f"SELECT s FROM here WHERE {where} ORDER BY s").to_pylist()
    assert parted.sql(f"SELECT s FROM pg.public.t WHERE {where} ORDER BY s").to_pylist() == wanted


def test_parts_are_joined_grouped_and_ordered(parted: affidavit.Session) -> None:
    text = """
        SELECT a.n, count(*) AS c, min(b.s) AS s FROM pg.public.t a JOIN pg.public.t b ON a.id = b.id
        GROUP BY a.n ORDER BY a.n
    """
    here = text.replace("pg.public.t", "here")
    parted.sql("CREATE TABLE here AS SELECT id, n, s FROM pg.public.t")
    assert parted.sql(text).to_pylist() == parted.sql(here).to_pylist()


def test_a_plan_that_runs_its_scan_again_reads_it_again(parted: affidavit.Session) -> None:
    text = """
        WITH RECURSIVE steps AS (
            SELECT CAST(1 AS INT) AS id
            UNION ALL
            SELECT t.id FROM steps JOIN pg.public.t ON t.id = steps.id * 2
        )
        SELECT id FROM steps ORDER BY id
    """
    assert [row["id"] for row in parted.sql(text)] == [2**n for n in range(10)]


def test_all_parts_are_of_one_moment(parted: affidavit.Session, pg_server: PgServer) -> None:
    """Rows move from range to range while they are read, and their sum stays."""
    stop = threading.Event()
    moved = []

    def move() -> None:
        with pg_server.connect("parted") as connection, connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute("UPDATE t SET id = id + 100000 WHERE id = (SELECT min(id) FROM t)")
                moved.append(1)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(30):
            found = parted.sql("SELECT id FROM pg.public.t").to_arrow()["id"].to_pylist()
            assert len(found) == ROWS
            # those that moved are the ones that were the least: no gap, nothing twice
            assert len({each % 100_000 for each in found}) == ROWS
    finally:
        stop.set()
        mover.join()
    assert moved


def test_connections_go_back_and_are_used_again(
    parted: affidavit.Session, pg_server: PgServer
) -> None:
    for _ in range(5):
        parted.sql("SELECT id FROM pg.public.t").to_arrow()
        parted.sql("SELECT id FROM pg.public.t LIMIT 3").to_arrow()
    states = pg_server.run(
        "SELECT state FROM pg_stat_activity WHERE datname = 'parted' AND state LIKE '%transaction%'"
    )
    assert states == []
    pg_server.run("INSERT INTO t VALUES (5000, 1, 'new')", database="parted")
    assert parted.sql("SELECT s FROM pg.public.t WHERE id = 5000").to_pylist() == [{"s": "new"}]
    count = pg_server.run("SELECT count(*) FROM pg_stat_activity WHERE datname = 'parted'")
    assert count[0][0] <= 9


def test_connections_that_died_while_idle_are_replaced(
    parted: affidavit.Session, pg_server: PgServer
) -> None:
    parted.sql("SELECT id FROM pg.public.t").to_arrow()
    pg_server.run(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'parted'"
    )
    assert parted.sql("SELECT id FROM pg.public.t").to_arrow().num_rows == ROWS


def test_a_table_that_is_gone_is_an_error_that_names_it(
    parted: affidavit.Session, pg_server: PgServer
) -> None:
    parted.sql("SELECT id FROM pg.public.t").to_arrow()
    pg_server.run("DROP TABLE t", database="parted")
    with pytest.raises(SourceError, match=r"'pg'.*public\.t"):
        parted.sql("SELECT id FROM pg.public.t").to_arrow()
    assert parted.sql("SELECT count(*) AS n FROM pg.public.low").to_pylist() == [{"n": 2001}]


def test_small_tables_and_narrow_filters_are_read_as_one(
    session: affidavit.Session, pg_server: PgServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.attach("pg", pg_server.database("parted", *STATEMENTS))
    assert fragments(session, "SELECT id FROM pg.public.t") == 1
    monkeypatch.setattr(parts, "PARTED_ROWS_MIN", 0)
    monkeypatch.setattr(postgres, "_PART_ROWS", 100)
    monkeypatch.setattr(postgres.os, "cpu_count", lambda: 4)
    session.refresh("pg")
    assert fragments(session, "SELECT id FROM pg.public.t") == 4
    assert fragments(session, "SELECT id FROM pg.public.t WHERE id < 250") == 2
    assert fragments(session, "SELECT id FROM pg.public.t WHERE id = 7") == 1
