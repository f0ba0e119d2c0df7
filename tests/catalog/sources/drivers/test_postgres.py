"""PostgreSQL's driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import affidavit
from affidavit.catalog.sources.databases import parts
from affidavit.catalog.sources.drivers import postgres
from affidavit.catalog.sources.drivers.postgres import Postgres

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tests.support.pg_server import PgServer


def test_a_url_may_name_neither_a_user_nor_a_host(
    session: affidavit.Session, pg_server: PgServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL lost two of its slashes, and libpq took it for a list of options."""
    url = pg_server.database("nobody", "CREATE TABLE t AS SELECT 1 AS id")
    monkeypatch.setenv("PGUSER", "postgres")
    session.attach("pg", url.replace("postgres@", ""))
    assert session.sql("SELECT * FROM pg.public.t").to_pylist() == [{"id": 1}]


def test_p16_a_read_on_record_names_the_snapshot_that_it_saw(
    lake: Path, pg_server: PgServer
) -> None:
    """Whoever has the server can tell by it which transactions the rows were of."""
    url = pg_server.database("seen", "CREATE TABLE t AS SELECT 1 AS id")
    with affidavit.connect(lake, audit="reads", store_queries=True) as session:
        session.attach("pg", url)
        [before, read, after] = [
            snapshot(pg_server), read_of(session, "SELECT * FROM pg.public.t"), snapshot(pg_server)
        ]  # fmt: skip
        [source] = [each["source"] for each in read.tables]
        [seen] = source["snapshots"]
        assert least(before) <= least(seen) <= least(after)
        assert session.ledger.verify(progress=False)
        assert session.audit.replay(read.read_id).outcome == "REPRODUCED"
        pg_server.run("INSERT INTO t VALUES (2)", database="seen")
        counted = read_of(session, "SELECT count(*) AS n FROM pg.public.t")
        [now] = counted.tables[0]["source"]["snapshots"]
        assert now != seen
        assert session.audit.replay(counted.read_id).outcome == "REPRODUCED"
        later = read_of(session, "SELECT id FROM pg.public.t")
        assert later.tables[0]["source"]["snapshots"] != [seen]
        gone = session.audit.replay(read.read_id)
        assert gone.outcome == "EVIDENCE_GONE"
        assert f"it was read at its snapshot {seen!r}" in gone.reason


def test_a_read_that_nobody_wants_on_record_asks_for_no_snapshot(
    session: affidavit.Session, pg_server: PgServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    session.attach("pg", pg_server.database("unseen", "CREATE TABLE t AS SELECT 1 AS id"))
    monkeypatch.setattr(Postgres, "begin_snapshot", lambda *_: asked.append("begun"))
    monkeypatch.setattr(Postgres, "snapshot_name", lambda *_: asked.append("named"))
    assert session.sql("SELECT * FROM pg.public.t").to_pylist() == [{"id": 1}]
    assert asked == []


def test_p16_the_parts_of_a_large_read_name_one_snapshot(
    lake: Path, pg_server: PgServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PARTED_ROWS_MIN", 0)
    monkeypatch.setattr(postgres, "_PART_ROWS", 1)
    monkeypatch.setattr(postgres.os, "cpu_count", lambda: 4)
    url = pg_server.database(
        "large",
        "CREATE TABLE t (id int PRIMARY KEY)",
        "INSERT INTO t SELECT i FROM generate_series(1, 1000) i",
        "ANALYZE",
    )
    with affidavit.connect(lake, audit="reads", store_queries=True) as session:
        session.attach("pg", url)
        assert "number_of_fragments=4" in session.explain("SELECT * FROM pg.public.t")
        read = read_of(session, "SELECT * FROM pg.public.t")
        assert len(read.tables[0]["source"]["snapshots"]) == 1
        count = "(SELECT count(*) FROM pg.public.t)"
        twice = read_of(session, f"SELECT {count} AS a, {count} AS b")
        assert 1 <= len(twice.tables[0]["source"]["snapshots"]) <= 2, "one of each place's parts"
        connections = session.sql("SELECT count(*) AS n FROM pg.public.t").to_pylist()
        assert connections == [{"n": 1000}]


def snapshot(server: PgServer) -> str:
    return str(server.run("SELECT pg_current_snapshot()::text", database="seen")[0][0])


def least(snapshot: str) -> int:
    return int(snapshot.partition(":")[0])


def read_of(session: affidavit.Session, text: str) -> affidavit.ReadRecord:
    result = session.sql(text)
    result.to_arrow()
    assert result.receipt is not None
    found = session.audit.get_read(result.receipt.read_id)
    assert found is not None
    return found
