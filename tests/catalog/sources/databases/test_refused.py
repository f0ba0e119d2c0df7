"""What is refused of an attached database, and of an attaching."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.databases import BOUND_S, backends

import affidavit
from affidavit.errors import (
    AffidavitError,
    PathNotAllowedError,
    SourceError,
    SqlError,
    TableExistsError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pg_server import PgServer


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {} VALUES (9)",
        "UPDATE {} SET id = 9",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "DROP TABLE {}",
        "CREATE TABLE {}_new (id INT)",
        "CREATE VIEW {}_new AS SELECT 1 AS one",
        "ALTER TABLE {} RENAME TO other",
    ],
)
def test_writes_are_refused(all_three: affidavit.Session, statement: str) -> None:
    for table in ("pg.public.people", "duck.main.a", "lite.main.b"):
        before = all_three.sql(f"SELECT count(*) AS n FROM {table}").to_pylist()
        with pytest.raises(AffidavitError):
            all_three.sql(statement.format(table))
        assert all_three.sql(f"SELECT count(*) AS n FROM {table}").to_pylist() == before


def test_a_name_is_given_once(pg: affidavit.Session, url: str) -> None:
    pg.sql("CREATE SCHEMA sales")
    for name in ("pg", "lake", "main", "sales"):
        with pytest.raises(TableExistsError):
            pg.attach(name, url)


def test_a_source_that_is_detached_is_gone_and_may_come_back(
    pg: affidavit.Session, pg_server: PgServer, url: str
) -> None:
    pg.sql("SELECT * FROM pg.public.people").to_arrow()
    pg.detach("pg")
    with pytest.raises(SqlError):
        pg.sql("SELECT * FROM pg.public.people")
    deadline = time.monotonic() + BOUND_S
    while backends(pg_server, "first") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert backends(pg_server, "first") == []
    pg.attach("pg", url)
    assert pg.sql("SELECT * FROM pg.public.people").to_arrow().num_rows == 3


def test_another_tenant_does_not_see_a_source(session: affidavit.Session, lite: Path) -> None:
    allowed = [lite.parent]
    with (
        session.scope(tenant="red", allowed_paths=allowed) as red,
        session.scope(tenant="blue", allowed_paths=allowed) as blue,
    ):
        red.attach("lite", f"sqlite://{lite}")
        assert red.sql("SELECT * FROM lite.main.b").to_arrow().num_rows == 3
        with pytest.raises(SqlError):
            blue.sql("SELECT * FROM lite.main.b")
        blue.attach("lite", f"sqlite://{lite}")
        blue.detach("lite")
        assert red.sql("SELECT * FROM lite.main.b").to_arrow().num_rows == 3


def test_files_lie_where_the_session_may_read(tmp_path: Path, lite: Path, duck: Path) -> None:
    (tmp_path / "in").mkdir()
    with affidavit.connect(tmp_path / "lake", allowed_paths=[tmp_path / "in"]) as session:
        for each in (f"sqlite://{lite}", f"duckdb://{duck}", f"sqlite://{tmp_path}/in/../x.db"):
            with pytest.raises(AffidavitError):
                session.attach("out", each)
        lite.rename(tmp_path / "in" / "x.db")
        session.attach("inside", f"sqlite://{tmp_path}/in/x.db")


@pytest.mark.sqlite("its file is attached")
def test_a_lakes_own_store_is_not_attached(
    session: affidavit.Session, lake: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(lake / "catalog.db")
    for path in (lake / "catalog.db", tmp_path / "link", lake / ".." / "lake" / "catalog.db"):
        for scheme in ("sqlite", "duckdb"):
            with pytest.raises(PathNotAllowedError, match="own files"):
                session.attach("own", f"{scheme}://{path}")


@pytest.mark.parametrize(
    ("scheme", "module", "extra"),
    [
        ("postgresql", "adbc_driver_postgresql", "affidavit[postgres]"),
        ("duckdb", "adbc_driver_duckdb", "affidavit[duckdb]"),
    ],
)
def test_a_missing_driver_is_named(
    session: affidavit.Session,
    duck: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    module: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.dbapi", None)
    url = f"duckdb://{duck}" if scheme == "duckdb" else "postgresql://u@127.0.0.1:1/db"
    with pytest.raises(SourceError) as caught:
        session.attach("x", url)
    assert extra in str(caught.value)
