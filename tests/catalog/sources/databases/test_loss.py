"""An attached server that goes away, and comes back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.support.databases import BOUND_S

import affidavit
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pg_server import PgServer


def test_a_server_that_stops_mid_way_is_an_error_and_its_return_is_noticed(
    session: affidavit.Session, pg_server: PgServer, big: str
) -> None:
    session.attach("pg", big)
    session.sql("SELECT id FROM pg.public.t WHERE id = 1").to_arrow()
    batches = session.sql("SELECT id, pad FROM pg.public.t").batches()
    next(batches)
    pg_server.stop()
    began = time.monotonic()
    try:
        with pytest.raises(SourceError, match="'pg'"):
            for _ in batches:
                pass
        with pytest.raises(SourceError, match="'pg'"):
            session.sql("SELECT id FROM pg.public.t WHERE id = 1").to_arrow()
        assert time.monotonic() - began < BOUND_S
        assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    finally:
        pg_server.start()
    assert session.sql("SELECT id FROM pg.public.t WHERE id = 1").to_pylist() == [{"id": 1}]


def test_a_connection_that_died_while_idle_is_replaced(
    session: affidavit.Session, pg_server: PgServer, big: str
) -> None:
    session.attach("pg", big)
    with ThreadPoolExecutor(4) as pool:  # so that several are idle
        list(
            pool.map(lambda _: session.sql("SELECT max(id) FROM pg.public.t").to_arrow(), range(4))
        )
    pg_server.run(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'big'"
    )
    assert session.sql("SELECT id FROM pg.public.t WHERE id = 1").to_pylist() == [{"id": 1}]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody@127.0.0.1:1/db",
        "postgresql://nobody@nowhere.invalid/db",
        "postgresql://nobody@/db?host=/nowhere",
    ],
)
def test_a_server_that_is_not_there_is_an_error_soon(session: affidavit.Session, url: str) -> None:
    began = time.monotonic()
    with pytest.raises(SourceError, match="'away'"):
        session.attach("away", url)
    assert time.monotonic() - began < BOUND_S


def test_a_database_that_is_not_there_is_named(
    session: affidavit.Session, pg_server: PgServer, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=r"'away'.*nothere"):
        session.attach("away", pg_server.url("nothere"))
    for scheme in ("duckdb", "sqlite"):
        with pytest.raises(SourceError, match="nothere"):
            session.attach("away", f"{scheme}://{tmp_path / 'nothere'}")
        (tmp_path / "text").write_text("no database, and long enough to be read as one" * 100)
        with pytest.raises(SourceError, match="text"):
            session.attach("away", f"{scheme}://{tmp_path / 'text'}")
