"""Servers that die amid a sub-tree, and statistics that lie about one."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.catalog.sources.databases.conftest import run_duck
from tests.support.waiting import eventually

import affidavit
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.mariadb_server import MariaDbServer
    from tests.support.pg_server import PgServer

ROWS = 300_000
TABLE = "CREATE TABLE t AS SELECT i AS id, 'text ' || i AS s FROM {} t(i)"
GROUPED = "SELECT id, count(*) AS n, max(s) AS s FROM {} GROUP BY id"
BESIDE = (
    "SELECT a.id, a.n, b.n AS m FROM (SELECT id, count(s) AS n FROM pg.public.slow GROUP BY id) a "
    "JOIN (SELECT id, count(*) AS n FROM d.main.t GROUP BY id) b ON a.id = b.id"
)


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[affidavit.Session]:
    run_duck(tmp_path / "x.duckdb", TABLE.format(f"range({ROWS})"))
    with affidavit.connect(tmp_path / "audited", audit="reads") as session:
        session.attach("d", f"duckdb://{tmp_path / 'x.duckdb'}")
        yield session


def die(server: PgServer) -> None:
    """Have a server shut down at once, without waiting for anybody."""
    pid = int((server.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    eventually(lambda: not (server.data / "postmaster.pid").exists())


def test_postgresql_that_dies_amid_a_sub_tree_is_an_error(
    audited: affidavit.Session, pg_server: PgServer
) -> None:
    made = TABLE.replace("'text ' || i", "repeat('x', 200)")  # more than is on its way at once
    made = made.format(f"generate_series(0, {ROWS - 1})")
    audited.attach("pg", pg_server.database("dying", made))
    text = GROUPED.format("pg.public.t")
    assert " AS c0" in audited.explain(text)
    batches = audited.sql(text).batches()
    rows = next(batches).num_rows
    die(pg_server)
    try:
        with pytest.raises(SourceError, match="'pg'"):
            rows += sum(each.num_rows for each in batches)
        assert rows < ROWS
        assert audited.sql("SELECT count(*) AS n FROM d.main.t").to_pylist() == [{"n": ROWS}]
        with pytest.raises(SourceError, match="'pg'"):
            audited.sql(text).to_arrow()
        ended = audited.sql(
            "SELECT status FROM audit.activity WHERE kind LIKE 'read%' ORDER BY seq"
        )
        assert [each["status"] for each in ended] == ["open", "failed", "ok", "failed"]
    finally:
        pg_server.start()
    assert audited.sql(text).to_arrow().num_rows == ROWS


def test_postgresql_that_dies_while_another_is_read_is_an_error(
    audited: affidavit.Session, pg_server: PgServer
) -> None:
    slow = "CREATE VIEW slow AS SELECT 1::bigint AS id, pg_sleep(60)::text AS s"
    audited.attach("pg", pg_server.database("dying", slow))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: audited.sql(BESIDE).to_arrow())
        running = "SELECT 1 FROM pg_stat_activity WHERE datname = 'dying' AND state = 'active'"
        eventually(lambda: pg_server.run(running))
        die(pg_server)
        try:
            with pytest.raises(SourceError, match="'pg'"):
                asked.result()
        finally:
            pg_server.start()
    assert audited.sql("SELECT count(*) AS n FROM pg.public.slow WHERE id = 2").num_rows == 1


def test_a_connection_of_mariadb_that_is_killed_is_an_error(
    audited: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    url = mariadb_server.database(
        "dying", "CREATE TABLE t AS SELECT seq AS id FROM seq_1_to_9",
        "CREATE VIEW slow AS SELECT id, sleep(60) AS s FROM t",
    )  # fmt: skip
    audited.attach("my", url)
    text = BESIDE.replace("pg.public.slow", "my.dying.slow").replace("count(s)", "max(s)")
    running = (
        "SELECT id FROM information_schema.processlist "
        "WHERE info LIKE '%slow%' AND id <> CONNECTION_ID() AND command <> 'Killed'"
    )
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: audited.sql(text).to_arrow())

        def killed() -> bool:  # each time that it is tried
            for (connection,) in mariadb_server.run(running):
                with suppress(Exception):  # it may have ended
                    mariadb_server.run(f"KILL {connection}")
            return asked.done()

        eventually(killed)
        with pytest.raises(SourceError, match="'my'"):
            asked.result()
    assert audited.sql("SELECT count(*) AS n FROM my.dying.t").to_pylist() == [{"n": 9}]


LIES = (
    "SELECT l.k, count(*) AS n, sum(s.v) AS v FROM {0} l JOIN {1} s ON l.k = s.id GROUP BY l.k",
    "SELECT s.id, g.n FROM {1} s LEFT JOIN (SELECT k, count(*) AS n FROM {0} GROUP BY k) g "
    "ON g.k = s.id",
    "SELECT count(*) AS n FROM {0} l WHERE NOT EXISTS (SELECT 1 FROM {1} s WHERE s.id = l.k)",
    "SELECT s.id, d.n FROM {1} s JOIN (SELECT id, count(*) AS n FROM d.main.t GROUP BY id) d "
    "ON d.id = s.id JOIN {0} l ON l.id = s.id",
)


def test_statistics_that_lie_change_no_answer(
    audited: affidavit.Session, pg_server: PgServer
) -> None:
    url = pg_server.database(
        "lying",
        "CREATE TABLE large AS SELECT i AS id, i % 700 AS k FROM generate_series(1, 30000) i",
        "CREATE TABLE small AS SELECT i AS id, i * 2 AS v FROM generate_series(1, 500) i",
    )
    wanted = None
    for large, small in ((-1, -1), (3, 2_000_000_000), (0, 0), (2_000_000_000, 1)):
        pg_server.run(
            f"UPDATE pg_class SET reltuples = {large}, relpages = 1 WHERE relname = 'large'",
            f"UPDATE pg_class SET reltuples = {small}, relpages = 1 WHERE relname = 'small'",
            database="lying",
        )
        for pushdown in ("full", "off") if wanted is None else ("full",):
            audited.attach("pg", url)
            audited.sql(f"SET affidavit.pushdown = '{pushdown}'")
            found = [
                sorted(map(repr, audited.sql(each.format("pg.public.large", "pg.public.small"))))
                for each in LIES
            ]
            audited.detach("pg")
            wanted = wanted or found
            assert found == wanted, (large, small, pushdown)
        audited.sql("RESET affidavit.pushdown")
