"""Databases to be attached: what is in them, and how tests change it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pg_server import PgServer


PASSWORD = "s3cr3t p@ss/w%rd"
BOUND_S = 20.0
POSTGRES = (
    "CREATE TABLE people (id bigint PRIMARY KEY, name text, born date)",
    "INSERT INTO people VALUES (1, 'Ada', '1815-12-10'), (2, 'Grace', '1906-12-09'), "
    "(3, NULL, NULL)",
    "CREATE TABLE empty (x int)",
    "CREATE VIEW named AS SELECT id, upper(name) AS shout FROM people WHERE name IS NOT NULL",
    'CREATE SCHEMA "Odd one"',
    'CREATE TABLE "Odd one"."Ta""b.le" ("Co l" int, "select" text, "qu""ote" int)',
    'INSERT INTO "Odd one"."Ta""b.le" VALUES (1, \'x\', 2)',
    "CREATE TYPE mood AS ENUM ('sad', 'glad')",
    "CREATE DOMAIN price AS numeric(8, 2) CHECK (VALUE >= 0)",
    "CREATE TABLE kinds (p price, u uuid, j json, jb jsonb, m mood, l int[], t text[], n numeric, "
    "iv interval, ch char(4), nan numeric(5, 2), tm time)",
    "INSERT INTO kinds VALUES (9.5, '00000000-0000-0000-0000-000000000001', '{\"a\": 1}', '[1]', "
    "'glad', '{1,NULL,3}', '{a,b}', 1.5, '1 day', 'ab', 1.25, '10:00')",
)


def run_duck(path: Path, *statements: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(path)) as connection:
        for each in statements:
            connection.execute(each)


def run_lite(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for each in statements:
        connection.execute(each)
    connection.close()


ROWS = 1_000_000


def backends(server: PgServer, database: str) -> list[str]:
    rows = server.run(
        f"SELECT state FROM pg_stat_activity WHERE datname = '{database}' "
        f"AND backend_type = 'client backend'"
    )
    return [state for (state,) in rows]
