"""A table of a database of each kind to be written to, and what is written down of it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import affidavit

if TYPE_CHECKING:
    from tests.support.mariadb_server import MariaDbServer
    from tests.support.pg_server import PgServer


SOURCES = (
    pytest.param("pg", marks=pytest.mark.server),
    pytest.param("my", marks=pytest.mark.server),
    "duck",
    "lite",
)
TABLE = {
    "pg": "CREATE TABLE t (id int PRIMARY KEY, s varchar(5) DEFAULT 'none', d numeric(10, 2))",
    "my": "CREATE TABLE t (id int PRIMARY KEY, s varchar(5) DEFAULT 'none', d decimal(10, 2))",
    "duck": "CREATE TABLE t (id int PRIMARY KEY, s varchar DEFAULT 'none', d decimal(10, 2))",
    "lite": "CREATE TABLE t (id integer PRIMARY KEY, s text DEFAULT 'none', d decimal(10, 2))",
}
SCHEMA = {"pg": "public", "my": "writing", "duck": "main", "lite": "main"}


def make(kind: str, request: pytest.FixtureRequest, folder: Path, *statements: str) -> str:
    """Make a database of a kind, and return its URL."""
    if kind == "pg":
        pg: PgServer = request.getfixturevalue("pg_server")
        return pg.database("writing", *statements)
    if kind == "my":
        my: MariaDbServer = request.getfixturevalue("mariadb_server")
        return my.database("writing", *statements)
    path = folder / f"written.{kind}"
    if kind == "duck":
        with pytest.importorskip("duckdb").connect(str(path)) as connection:
            for each in statements:
                connection.execute(each)
        return f"duckdb:///{path}"
    plain = sqlite3.connect(path, isolation_level=None)
    for each in statements:
        plain.execute(each)
    plain.close()
    return f"sqlite:///{path}"


def rows(session: affidavit.Session, table: str) -> list[dict[str, Any]]:
    return session.sql(f"SELECT id, s FROM {table} ORDER BY id").to_pylist()


def entries(session: affidavit.Session, name: str) -> list[tuple[str, Any]]:
    found = session.sql(
        "SELECT action, new_value FROM journal WHERE entity_id = $name ORDER BY seq", name=name
    ).to_pylist()
    return [
        (each["action"], None if each["new_value"] is None else json.loads(each["new_value"]))
        for each in found
    ]
