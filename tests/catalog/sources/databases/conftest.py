"""A database of each kind, and sessions that attached them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.databases import POSTGRES, ROWS, run_duck, run_lite

import affidavit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pg_server import PgServer


@pytest.fixture
def url(pg_server: PgServer) -> str:
    return pg_server.database("first", *POSTGRES)


@pytest.fixture
def duck(tmp_path: Path) -> Path:
    path = tmp_path / "x.duckdb"
    run_duck(
        path,
        "CREATE TABLE a AS SELECT i::BIGINT id, 'n' || i s FROM range(1, 6) t(i)",
        "CREATE TABLE kinds AS SELECT 1::HUGEINT h, uuid() u, 'x'::ENUM('x', 'y') e, "
        "'{}'::JSON j, [1, 2] l, 1.50::DECIMAL(5, 2) d",
        "CREATE VIEW few AS SELECT * FROM a WHERE id < 3",
        'CREATE SCHEMA "Other"',
        'CREATE TABLE "Other"."T" ("C" INT)',
        'INSERT INTO "Other"."T" VALUES (7)',
    )
    return path


@pytest.fixture
def lite(tmp_path: Path) -> Path:
    path = tmp_path / "x.db"
    run_lite(
        path,
        "CREATE TABLE b (id INTEGER PRIMARY KEY, x REAL, s TEXT, bl BLOB, u)",
        "INSERT INTO b VALUES (1, 1.5, 'a', x'00', NULL), (2, NULL, 'b', NULL, 'x'), "
        "(3, 2, 'c', NULL, 7)",
        "CREATE VIEW v AS SELECT id, s FROM b WHERE id > 1",
    )
    return path


@pytest.fixture
def pg(session: affidavit.Session, url: str) -> affidavit.Session:
    session.attach("pg", url)
    return session


@pytest.fixture
def all_three(pg: affidavit.Session, duck: Path, lite: Path) -> affidavit.Session:
    pg.attach("duck", f"duckdb://{duck}")
    pg.attach("lite", f"sqlite://{lite}")
    return pg


@pytest.fixture(scope="session")
def big(pg_server: PgServer) -> str:
    return pg_server.database(
        "big",
        f"CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS pad "
        f"FROM generate_series(1, {ROWS}) i",
    )
