"""One statement reads a PostgreSQL server at one moment, in however many places."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import affidavit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.pg_server import PgServer

ROWS = 20_000
STATEMENTS = 15


@pytest.fixture
def written(pg_server: PgServer, tmp_path: Path) -> Iterator[affidavit.Session]:
    """A session with a server to which rows are added all the while."""
    url = pg_server.database(
        "moments",
        "CREATE TABLE t (id bigint PRIMARY KEY, f float8)",
        f"INSERT INTO t SELECT i, i FROM generate_series(1, {ROWS}) i",
    )
    over = threading.Event()

    def write() -> None:
        at = ROWS
        with pg_server.connect("moments") as connection, connection.cursor() as cursor:
            while not over.wait(0.002):
                at += 1
                cursor.execute(f"INSERT INTO t VALUES ({at}, {at})")
                connection.commit()

    writer = threading.Thread(target=write)
    with affidavit.connect(tmp_path / "lake") as session:
        session.attach("pg", url)
        session.sql("CREATE TABLE few (id BIGINT PRIMARY KEY)")
        session.sql("INSERT INTO few VALUES (1), (2)")
        writer.start()
        yield session
        over.set()
        writer.join()


def test_scans_of_one_statement_see_the_same_rows(written: affidavit.Session) -> None:
    whole = "(SELECT count(*) AS n, max(f) AS m FROM pg.public.t WHERE f > -1.5e0)"
    for _ in range(STATEMENTS):
        (row,) = written.sql(
            f"SELECT a.n AS a, b.n AS b, a.m AS m, b.m AS o FROM {whole} a CROSS JOIN {whole} b"
        ).to_pylist()
        assert row["a"] == row["b"]
        assert row["m"] == row["o"]
    assert row["a"] > ROWS, "nothing was written meanwhile"


def test_a_side_that_runs_first_sees_them_too(written: affidavit.Session) -> None:
    text = (
        "SELECT (SELECT count(*) FROM pg.public.t WHERE f > -1.5e0) AS n, q.m FROM few JOIN "
        "(SELECT 1 AS id, max(f) AS m FROM pg.public.t WHERE f > -1.5e0) q ON q.id = few.id "
        "JOIN pg.public.t t ON t.id = few.id"
    )
    for _ in range(STATEMENTS):
        (row,) = written.sql(text).to_pylist()
        assert row["n"] == row["m"]


def servers_of(server: PgServer) -> set[int]:
    """Return the processes that serve whoever is connected to the database."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = 'moments'")
        return {pid for (pid,) in cursor.fetchall()}


def test_a_moment_opens_no_connections_of_its_own(
    pg_server: PgServer, written: affidavit.Session
) -> None:
    whole = "(SELECT max(f) AS m FROM pg.public.t WHERE f > -1.5e0)"
    seen = set()
    for _ in range(4):
        written.sql(f"SELECT a.m, b.m AS o FROM {whole} a CROSS JOIN {whole} b").to_arrow()
        seen |= servers_of(pg_server)
    assert len(seen) <= 4  # who writes, who keeps the moment, and one for each of the two places


def test_hits_of_a_search_are_joined_by_one_connection_and_told_by_explain(
    pg_server: PgServer, written: affidavit.Session
) -> None:
    vectors = pa.array([[float(at), 1.0] for at in range(50)], pa.list_(pa.float32(), 2))
    written.create_vector_table("docs", pa.table({"id": range(50), "vector": vectors}))
    text = (
        "SELECT h.id, t.f FROM vector_search('docs', [3.0, 1.0], 5) h "
        "JOIN pg.public.t t ON t.id = h.id ORDER BY h.id"
    )
    before = servers_of(pg_server)
    assert written.sql(text).to_arrow()["f"].to_pylist() == [2.0, 3.0, 4.0, 5.0, 6.0]
    assert written.sql(text).to_arrow()["f"].to_pylist() == [2.0, 3.0, 4.0, 5.0, 6.0]
    assert len(servers_of(pg_server) - before) <= 1
    asked = "SELECT count(*) AS n FROM audit.searches"
    (count,) = written.sql(asked).to_pylist()
    assert "IN (3,4,5,2,6)" in written.explain(text, analyze=True)
    assert written.sql(asked).to_pylist() == [{"n": count["n"] + 1}]
