"""Attached databases: what can be named, what is refused, and what happens when they go away."""

from __future__ import annotations

import gc
import os
import resource
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.lakes import vectors

import affidavit
from affidavit.errors import (
    AffidavitError,
    SourceError,
    SqlError,
    TableExistsError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.pg_server import PgServer

PASSWORD = "s3cr3t p@ss/w%rd"
BOUND_S = 20.0


@pytest.fixture
def url(pg_server: PgServer) -> str:
    return pg_server.database("first", *POSTGRES)


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


def run_duck(path: Path, *statements: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(path)) as connection:
        for each in statements:
            connection.execute(each)


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


def run_lite(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for each in statements:
        connection.execute(each)
    connection.close()


@pytest.fixture
def pg(session: affidavit.Session, url: str) -> affidavit.Session:
    session.attach("pg", url)
    return session


@pytest.fixture
def all_three(pg: affidavit.Session, duck: Path, lite: Path) -> affidavit.Session:
    pg.attach("duck", f"duckdb://{duck}")
    pg.attach("lite", f"sqlite://{lite}")
    return pg


# --- what can be read -----------------------------------------------------------------------------


def test_one_statement_joins_all_sources_with_a_table_and_a_search(
    all_three: affidavit.Session,
) -> None:
    all_three.create_table("notes", [{"id": 1, "note": "first"}, {"id": 2, "note": "second"}])
    all_three.create_vector_table("docs", vectors(50))
    found = all_three.sql(
        "SELECT p.name, a.s, b.s AS t, n.note FROM pg.public.people p "
        "JOIN duck.main.a a ON a.id = p.id JOIN lite.main.b b ON b.id = p.id "
        "JOIN notes n ON n.id = p.id "
        "JOIN vector_search('docs', $q, 50) d ON d.id = p.id ORDER BY p.id",
        {"q": [1.0] * 8},
    ).to_pylist()
    assert found == [
        {"name": "Ada", "s": "n1", "t": "a", "note": "first"},
        {"name": "Grace", "s": "n2", "t": "b", "note": "second"},
    ]


@pytest.mark.parametrize(
    ("table", "rows"), [("pg.public.people", 3), ("duck.main.a", 5), ("lite.main.b", 3)]
)
def test_rows_are_counted_without_a_column(
    all_three: affidavit.Session, table: str, rows: int
) -> None:
    assert all_three.sql(f"SELECT count(*) AS n FROM {table}").to_pylist() == [{"n": rows}]
    assert all_three.sql(f"SELECT 1 AS one FROM {table}").to_arrow().num_rows == rows
    count = all_three.sql(f"SELECT count(*) AS n FROM {table} WHERE id = 2").to_pylist()
    assert count == [{"n": 1}]


def test_names_that_need_quotes_views_schemas_and_empty_tables(
    all_three: affidavit.Session,
) -> None:
    def rows(text: str) -> list[dict[str, object]]:
        return all_three.sql(text).to_pylist()

    assert rows('SELECT * FROM pg."Odd one"."Ta""b.le" WHERE "Co l" = 1 AND "qu""ote" > 1') == [
        {"Co l": 1, "select": "x", 'qu"ote': 2}
    ]
    assert rows("SELECT shout FROM pg.public.named WHERE id = 1") == [{"shout": "ADA"}]
    assert rows("SELECT * FROM pg.public.empty") == []
    assert rows('SELECT "C" FROM duck."Other"."T"') == [{"C": 7}]
    assert rows("SELECT count(*) AS n FROM duck.main.few") == [{"n": 2}]
    assert rows("SELECT s FROM lite.main.v WHERE s <> 'c'") == [{"s": "b"}]


def test_types_that_arrow_lacks_are_text(all_three: affidavit.Session) -> None:
    found = all_three.sql(
        "SELECT p, u, j, jb, m, l, t, ch, nan FROM pg.public.kinds WHERE m = 'glad' AND p > 9"
    )
    assert found.to_pylist() == [
        {
            "p": Decimal("9.50"),
            "u": "00000000-0000-0000-0000-000000000001",
            "j": '{"a": 1}',
            "jb": "[1]",
            "m": "glad",
            "l": [1, None, 3],
            "t": ["a", "b"],
            "ch": "ab",
            "nan": Decimal("1.25"),
        }
    ]
    found = all_three.sql("SELECT e, j, l, d, length(u) AS n FROM duck.main.kinds WHERE e = 'x'")
    assert found.to_pylist() == [{"e": "x", "j": "{}", "l": [1, 2], "d": Decimal("1.50"), "n": 36}]


@pytest.mark.parametrize(
    ("table", "column", "other"),
    [("pg.public.kinds", "n", "u"), ("duck.main.kinds", "h", "d"), ("lite.main.b", "u", "id")],
)
def test_a_column_that_cannot_be_given_is_named_and_keeps_no_other_away(
    all_three: affidavit.Session, table: str, column: str, other: str
) -> None:
    assert all_three.sql(f"SELECT {other} FROM {table}").to_arrow().num_rows > 0
    assert column not in all_three.sql(f"SELECT * FROM {table}").to_arrow().column_names
    with pytest.raises(SqlError, match=rf"\b{column}\b"):
        all_three.sql(f"SELECT {column} FROM {table}")


def test_postgresqls_infinities_are_the_greatest_and_the_least(
    session: affidavit.Session, pg_server: PgServer
) -> None:
    """The driver adds the years between two epochs to them, and the sum runs over."""
    url = pg_server.database(
        "endless",
        "CREATE TABLE t (id int, d date, ts timestamp, tz timestamptz)",
        "INSERT INTO t VALUES (1, 'infinity', 'infinity', 'infinity'), (3, now(), now(), now()), "
        "(2, '-infinity', '-infinity', '-infinity'), (4, NULL, NULL, NULL)",
        "CREATE TABLE far (ts timestamp)",
        "INSERT INTO far VALUES ('294276-12-31')",
    )
    session.attach("pg", url)
    found = session.sql("SELECT * FROM pg.public.t WHERE id < 3 ORDER BY id").to_arrow()
    assert found["d"].combine_chunks().view(pa.int32()).to_pylist() == [2**31 - 1, -(2**31)]
    for name in ("ts", "tz"):
        assert found[name].combine_chunks().view(pa.int64()).to_pylist() == [2**63 - 1, -(2**63)]
    day = "arrow_cast('2100-01-01', 'Timestamp(Microsecond, None)')"
    for sign, ids in ((">", [1]), ("<", [2, 3])):
        rows = session.sql(f"SELECT id FROM pg.public.t WHERE ts {sign} {day} ORDER BY id")
        assert [each["id"] for each in rows.to_pylist()] == ids
    with pytest.raises(SourceError, match="'ts'"):
        session.sql("SELECT ts FROM pg.public.far").to_arrow()


def test_a_server_in_another_encoding_is_read_as_utf_8(
    session: affidavit.Session, pg_server: PgServer
) -> None:
    pg_server.run(
        "DROP DATABASE IF EXISTS latin WITH (FORCE)",
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    pg_server.run(
        "SET client_encoding = 'UTF8'",
        "CREATE TABLE t AS SELECT 'é'::text AS s",
        database="latin",
    )
    session.attach("pg", pg_server.url("latin"))
    found = session.sql("SELECT s FROM pg.public.t WHERE s = 'é' AND s > 'z'").to_pylist()
    assert found == [{"s": "é"}]


# --- what changes under us ------------------------------------------------------------------------


def test_a_table_made_after_the_attaching_is_found(
    all_three: affidavit.Session, pg_server: PgServer, duck: Path, lite: Path
) -> None:
    for name in ("pg.public", "duck.main", "lite.main"):
        with pytest.raises(SqlError, match="late"):
            all_three.sql(f"SELECT * FROM {name}.late")
    statements = "CREATE TABLE late (x INT)", "INSERT INTO late VALUES (1)"
    pg_server.run(*statements, database="first")
    run_duck(duck, *statements)
    run_lite(lite, *statements)
    for name in ("pg.public", "duck.main", "lite.main"):
        assert all_three.sql(f"SELECT x FROM {name}.late").to_pylist() == [{"x": 1}]


def test_a_column_that_was_added_is_seen_after_a_refresh(
    all_three: affidavit.Session, pg_server: PgServer, duck: Path, lite: Path
) -> None:
    tables = ("pg.public.people", "duck.main.a", "lite.main.b")
    for table in tables:
        all_three.sql(f"SELECT id FROM {table}").to_arrow()
    pg_server.run("ALTER TABLE people ADD COLUMN fresh int DEFAULT 7", database="first")
    run_duck(duck, "ALTER TABLE a ADD COLUMN fresh INT DEFAULT 7")
    run_lite(lite, "ALTER TABLE b ADD COLUMN fresh INT DEFAULT 7")
    for table in tables:
        name = table.partition(".")[0]
        with pytest.raises(SqlError, match="fresh"):
            all_three.sql(f"SELECT fresh FROM {table}").to_arrow()
        all_three.refresh(name)
        found = all_three.sql(f"SELECT DISTINCT fresh FROM {table}").to_pylist()
        assert found == [{"fresh": 7}]
        listed = all_three.sql(
            "SELECT count(*) AS n FROM information_schema.columns "
            f"WHERE table_catalog = '{name}' AND column_name = 'fresh'"
        )
        assert listed.to_pylist() == [{"n": 1}]
    with pytest.raises(TableNotFoundError, match="nothing"):
        all_three.refresh("nothing")


def test_a_column_whose_type_was_changed_is_an_error_and_then_what_it_is(
    all_three: affidavit.Session, pg_server: PgServer, duck: Path, lite: Path
) -> None:
    """A filter that was sent for the old type could have lost rows."""
    tables = ("pg.public.people", "duck.main.a", "lite.main.b")
    for table in tables:
        all_three.sql(f"SELECT id FROM {table} WHERE id > 0").to_arrow()
    pg_server.run(
        "DROP VIEW named", "ALTER TABLE people ALTER COLUMN id TYPE text", "UPDATE people SET id = 'x' WHERE id = '2'",
        database="first",
    )  # fmt: skip
    run_duck(
        duck, "DROP VIEW few", "ALTER TABLE a ALTER COLUMN id TYPE VARCHAR",
        "UPDATE a SET id = 'x' WHERE id = '2'",
    )  # fmt: skip
    run_lite(
        lite, "DROP VIEW v", "DROP TABLE b", "CREATE TABLE b (id TEXT)",
        "INSERT INTO b VALUES ('1'), ('x'), ('-1')",
    )  # fmt: skip
    for table in tables:
        name = table.partition(".")[0]
        with pytest.raises(SourceError, match=f"'{name}'.*('id'|\\bid\\b|integer)"):
            all_three.sql(f"SELECT id FROM {table} WHERE id < 0").to_arrow()
        found = all_three.sql(f"SELECT id FROM {table} WHERE id = 'x'").to_pylist()
        assert found == [{"id": "x"}]


def test_a_column_or_table_that_is_dropped_is_an_error_that_names_it(
    all_three: affidavit.Session, pg_server: PgServer, duck: Path, lite: Path
) -> None:
    """SQLite takes a name between double quotes that no column has for a text."""
    tables = {"pg.public.people": "name", "duck.main.a": "s", "lite.main.b": "s"}
    for table, column in tables.items():
        all_three.sql(f"SELECT {column} FROM {table}").to_arrow()
    pg_server.run("ALTER TABLE people DROP COLUMN name CASCADE", database="first")
    run_duck(duck, "ALTER TABLE a DROP COLUMN s")
    run_lite(lite, "DROP VIEW v", "ALTER TABLE b DROP COLUMN s")
    for table, column in tables.items():
        with pytest.raises((SourceError, SqlError), match=rf"\b{column}\b"):
            all_three.sql(f"SELECT {column} FROM {table}").to_arrow()
        assert all_three.sql(f"SELECT id FROM {table}").to_arrow().num_rows
    pg_server.run("DROP TABLE people", database="first")
    run_duck(duck, "DROP TABLE a CASCADE")
    run_lite(lite, "DROP TABLE b")
    for table in tables:
        with pytest.raises((SourceError, SqlError), match=table.rpartition(".")[2]):
            all_three.sql(f"SELECT id FROM {table}").to_arrow()


def test_a_value_of_another_type_than_declared_names_its_column(
    all_three: affidavit.Session, lite: Path
) -> None:
    run_lite(lite, "INSERT INTO b (id, x) VALUES (9, 'not a number')")
    with pytest.raises(SourceError, match="'x'"):
        all_three.sql("SELECT x FROM lite.main.b").to_arrow()
    assert all_three.sql("SELECT id FROM lite.main.b").to_arrow().num_rows == 4


def test_a_view_that_sqlite_cannot_read_keeps_no_table_away(
    session: affidavit.Session, lite: Path
) -> None:
    run_lite(lite, "CREATE TABLE gone (x)", "CREATE VIEW w AS SELECT * FROM gone")
    run_lite(lite, "PRAGMA legacy_alter_table = ON", "DROP TABLE gone")
    session.attach("lite", f"sqlite://{lite}")
    assert session.sql("SELECT count(*) AS n FROM lite.main.b").to_pylist() == [{"n": 3}]


def test_a_view_of_a_duckdb_file_reads_no_other_file(
    session: affidavit.Session, duck: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("topsecret")
    run_duck(duck, f"CREATE VIEW peek AS SELECT content FROM read_text('{secret}')")
    session.attach("duck", f"duckdb://{duck}")
    with pytest.raises(AffidavitError) as caught:
        session.sql("SELECT * FROM duck.main.peek").to_arrow()
    assert "topsecret" not in str(caught.value)
    assert session.sql("SELECT count(*) AS n FROM duck.main.a").to_pylist() == [{"n": 5}]


def test_a_duckdb_file_is_free_for_a_writer_between_two_statements(
    session: affidavit.Session, duck: Path
) -> None:
    """DuckDB lets one process write, and none read meanwhile."""
    session.attach("duck", f"duckdb://{duck}")
    assert session.sql("SELECT count(*) AS n FROM duck.main.a").to_pylist() == [{"n": 5}]
    program = (
        "import duckdb, sys\n"
        "connection = duckdb.connect(sys.argv[1])\n"
        "connection.execute(\"INSERT INTO a VALUES (6, 'n6')\")\n"
        "connection.close()\n"
        "connection = duckdb.connect(sys.argv[1])\n"
        "print(flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(duck)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"\n"
        with pytest.raises(SourceError, match="'duck'"):
            session.sql("SELECT count(*) AS n FROM duck.main.a").to_arrow()
        writer.communicate(b"\n")
    assert session.sql("SELECT count(*) AS n FROM duck.main.a").to_pylist() == [{"n": 6}]


# --- large results and many readers ---------------------------------------------------------------

ROWS = 1_000_000


@pytest.fixture(scope="module")
def big(pg_server: PgServer) -> str:
    return pg_server.database(
        "big",
        f"CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS pad "
        f"FROM generate_series(1, {ROWS}) i",
    )


def test_a_large_table_is_streamed(session: affidavit.Session, big: str) -> None:
    session.attach("pg", big)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = batches = 0
    for batch in session.sql("SELECT id, pad FROM pg.public.t").batches():
        rows += batch.num_rows
        batches += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert rows == ROWS
    assert batches > 1
    assert grown < 90_000, f"{grown} KiB more for {ROWS * 108 // 1024} KiB of rows"


def backends(server: PgServer, database: str) -> list[str]:
    rows = server.run(
        f"SELECT state FROM pg_stat_activity WHERE datname = '{database}' "
        f"AND backend_type = 'client backend'"
    )
    return [state for (state,) in rows]


def test_a_result_that_is_given_up_leaves_no_query_running(
    session: affidavit.Session, pg_server: PgServer, big: str
) -> None:
    session.attach("pg", big)
    result = session.sql("SELECT id, pad FROM pg.public.t")
    batches = result.batches()
    assert next(batches).num_rows
    batches.close()
    result.close()
    del batches, result
    gc.collect()
    deadline = time.monotonic() + BOUND_S
    while "active" in backends(pg_server, "big") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "active" not in backends(pg_server, "big")
    assert session.sql("SELECT id FROM pg.public.t WHERE id = 7").to_pylist() == [{"id": 7}]
    for _ in range(20):
        session.sql("SELECT id FROM pg.public.t LIMIT 3").to_arrow()
    assert len(backends(pg_server, "big")) <= 9


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t SELECT id, name FROM v RETURNING id, (SELECT count(*) FROM v) AS n",
        "INSERT INTO t SELECT id, name FROM v WHERE id = 1 "
        "ON CONFLICT (id) DO UPDATE SET name = (SELECT max(name) FROM v)",
        "UPDATE t SET name = v.name FROM v WHERE t.id = v.id RETURNING (SELECT count(*) FROM v) AS n",
        "DELETE FROM t USING v WHERE t.id = v.id RETURNING (SELECT count(*) FROM v) AS n",
        "MERGE INTO t USING v ON t.id = v.id WHEN MATCHED THEN UPDATE SET name = v.name "
        "WHEN NOT MATCHED THEN INSERT (id, name) VALUES (v.id, v.name)",
    ],
)
@pytest.mark.parametrize("view", ["VIEW", ""])
def test_a_statement_that_changes_rows_reads_a_source_as_often_as_it_likes(
    pg: affidavit.Session, statement: str, view: str
) -> None:
    if view:
        pg.sql("CREATE VIEW v AS SELECT id, name FROM pg.public.people WHERE name IS NOT NULL")
    else:
        pg.sql("CREATE TABLE v AS SELECT id, name FROM pg.public.people WHERE name IS NOT NULL")
    pg.create_table("t", [{"id": 1, "name": "old"}], primary_key="id")
    if statement.startswith("INSERT") and "CONFLICT" not in statement:
        pg.sql("DELETE FROM t")
    with pg.transaction():
        pg.sql(statement)
    assert pg.sql("SELECT count(*) AS n FROM t").to_pylist()[0]["n"] in {0, 1, 2}


@pytest.mark.parametrize(
    "where", ["(id = 1) = (name = 'Ada')", "id IN (NULL, 1)", "id BETWEEN NULL AND 3", "NULL"]
)
@pytest.mark.parametrize("table", ["pg.public.people", "v", "here", "of_here"])
def test_filters_that_no_provider_can_be_asked_are_asked_here(
    pg: affidavit.Session, where: str, table: str
) -> None:
    pg.sql("CREATE VIEW v AS SELECT id, name FROM pg.public.people")
    rows = [{"id": n, "name": {1: "Ada", 2: "Grace"}.get(n)} for n in range(1, 3000)]
    pg.create_table("here", rows, primary_key="id")
    pg.sql("CREATE VIEW of_here AS SELECT id, name FROM here")
    wanted = 0 if "NULL" in where and "IN" not in where else 1
    found = pg.sql(f"SELECT id FROM {table} WHERE {where} AND id < 2").to_pylist()
    assert len(found) == wanted


def test_the_log_of_statements_names_what_was_read(
    all_three: affidavit.Session, tmp_path: Path
) -> None:
    with affidavit.connect(tmp_path / "other") as other:
        other.sql("CREATE TABLE notes AS SELECT 1 AS id")
    all_three.attach("archive", f"lake:///{tmp_path / 'other'}")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "x.parquet")
    all_three.attach("files", tmp_path / "x.parquet")
    tables = ("pg.public.people", "duck.main.a", "lite.main.b", "archive.main.notes", "files")
    text = f"SELECT count(*) AS n FROM {', '.join(tables)}"
    all_three.sql(text).to_arrow()
    (found,) = all_three.sql(
        "SELECT tables_read FROM audit.statements WHERE text = $1", [text]
    ).to_pylist()
    assert {each.partition("@")[0] for each in found["tables_read"]} == {
        *tables[:4], "main.files",
    }  # fmt: skip


def test_many_threads_read_at_once(all_three: affidavit.Session) -> None:
    def read(at: int) -> int:
        total = 0
        for table in ("pg.public.people", "duck.main.a", "lite.main.b"):
            rows = all_three.sql(f"SELECT id FROM {table} WHERE id >= {at % 3}").to_arrow()
            total += rows.num_rows
        return total

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(read, range(0, 120, 3))) == {11}


# --- a server that goes away ----------------------------------------------------------------------


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


# --- what is refused ------------------------------------------------------------------------------


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


def test_a_lakes_own_store_is_not_attached(
    session: affidavit.Session, lake: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(lake / "catalog.db")
    for path in (lake / "catalog.db", tmp_path / "link", lake / ".." / "lake" / "catalog.db"):
        for scheme in ("sqlite", "duckdb"):
            with pytest.raises(SourceError, match="own store"):
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


# --- passwords ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked(pg_server: PgServer) -> str:
    """The URL, without a password, of a server that asks ``locked`` for one."""
    pg_server.database("vault", "CREATE TABLE t AS SELECT 1 AS x", "GRANT SELECT ON t TO public")
    rules = pg_server.data / "pg_hba.conf"
    rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")
    pg_server.run(
        "DROP ROLE IF EXISTS locked",
        f"CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'",
        "SELECT pg_reload_conf()",
    )
    return pg_server.url("vault", user="locked")


def with_password(url: str, password: str) -> str:
    return url.replace("locked@", f"locked:{quote(password, safe='')}@")


def secrets(password: str) -> Iterator[bytes]:
    yield password.encode()
    yield quote(password, safe="").encode()
    yield quote(password).encode()


def test_a_password_is_kept_nowhere(
    lake: Path, locked: str, caplog: pytest.LogCaptureFixture
) -> None:
    with affidavit.connect(lake) as session:
        session.attach("pg", with_password(locked, PASSWORD))
        assert session.sql("SELECT x FROM pg.public.t").to_pylist() == [{"x": 1}]
        with pytest.raises(AffidavitError) as caught:
            session.sql("SELECT nothing FROM pg.public.t")
        shown = [str(caught.value), repr(caught.value), repr(session), caplog.text]
        shown += [str(session.sql("SELECT * FROM audit.statements").to_pylist())]
        for table in ("system.journal", "system.ledger", "system.sources"):
            shown.append(str(session.sql(f"SELECT * FROM {table}").to_pylist()))
        shown += [
            str(each) for each in session._instance.planner(session.identity).attached.values()
        ]
        kept = [*shown, *(_bytes(lake))]
        # "vault" is in the URL: the same search would have found a password there
        assert any(b"vault" in each for each in kept if isinstance(each, bytes))
    kept += _bytes(lake)
    for secret in secrets(PASSWORD):
        for each in kept:
            text = each.encode() if isinstance(each, str) else each
            assert secret not in text
    with affidavit.connect(lake) as session, pytest.raises(SourceError, match="'pg'") as caught:
        session.sql("SELECT x FROM pg.public.t").to_arrow()
    assert "password" in str(caught.value)


def _bytes(lake: Path) -> list[bytes]:
    return [each.read_bytes() for each in lake.rglob("*") if each.is_file()]


def test_a_wrong_password_is_an_error_without_it(session: affidavit.Session, locked: str) -> None:
    wrong = "wr0ng/one here"
    for url, options in (
        (with_password(locked, wrong), {}),
        (locked, {"password": wrong}),
        (locked, {"password": lambda: wrong}),
    ):
        with pytest.raises(SourceError, match="'pg'") as caught:
            session.attach("pg", url, **options)
        for secret in secrets(wrong):
            assert secret.decode() not in f"{caught.value} {caught.value!r}"
        assert "wr0ng" not in str(caught.value.__context__)


def test_a_password_comes_as_an_argument_a_function_or_a_variable(
    lake: Path, locked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with affidavit.connect(lake) as session:
        for password in (PASSWORD, lambda: PASSWORD):
            session.attach("pg", locked, password=password)
            assert session.sql("SELECT x FROM pg.public.t").to_pylist() == [{"x": 1}]
            session.detach("pg")
        monkeypatch.setenv("AFFIDAVIT_PASSWORD_PG", PASSWORD)
        session.attach("pg", locked)
    with affidavit.connect(lake) as session:
        assert session.sql("SELECT x FROM pg.public.t").to_pylist() == [{"x": 1}]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:12#hidden@h/db",
        "postgresql://u:12/hidden@h/db",
        "postgresql://u:12?hidden@h/db",
        "postgresql://u:hidden@h:port/db",
        "postgresql://u@h/db?sslpassword=hidden",
    ],
)
def test_a_url_whose_password_cannot_be_told_is_not_repeated(
    session: affidavit.Session, lake: Path, url: str
) -> None:
    with pytest.raises(SourceError) as caught:
        session.attach("pg", url)
    assert "hidden" not in f"{caught.value!r} {caught.value}"
    assert not any(b"hidden" in each for each in _bytes(lake))


def test_a_password_in_the_query_is_not_kept(lake: Path, locked: str) -> None:
    url = f"{locked}&pass%77ord={quote(PASSWORD, safe='')}"
    with affidavit.connect(lake) as session:
        session.attach("pg", url)
        assert session.sql("SELECT x FROM pg.public.t").to_pylist() == [{"x": 1}]
    for secret in secrets(PASSWORD):
        assert not any(secret in each for each in _bytes(lake))


def test_a_reopened_lake_knows_its_files(lake: Path, lite: Path, duck: Path) -> None:
    with affidavit.connect(lake) as session:
        session.attach("lite", f"sqlite://{lite}")
        session.attach("duck", f"duckdb://{duck}")
    with affidavit.connect(lake) as session:
        assert session.sql("SELECT * FROM lite.main.b").to_arrow().num_rows == 3
        assert session.sql("SELECT * FROM duck.main.a").to_arrow().num_rows == 5
        os.unlink(lite)  # noqa: PTH108
        session.detach("lite")
    with affidavit.connect(lake) as session, pytest.raises(SqlError):
        session.sql("SELECT * FROM lite.main.b")


# --- TLS ------------------------------------------------------------------------------------------


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answer each connection on a free port in a thread of its own, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                with suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            done.set()
            with suppress(OSError):
                socket.create_connection(server.getsockname(), timeout=1).close()
            thread.join()


def certificate(folder: Path) -> Path:
    """Make a certificate that nobody signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("mode", "told"),
    [("require", "not support SSL"), ("verify-full", "root certificate|certificate")],
)
def test_tls_that_cannot_be_had_is_an_error_soon(
    session: affidavit.Session, tmp_path: Path, mode: str, told: str
) -> None:
    """The server's side of PostgreSQL's SSLRequest: it has no TLS, or a certificate of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))

    def answer(connection: socket.socket) -> None:
        connection.recv(8)
        if mode == "require":
            connection.sendall(b"N")
            return
        connection.sendall(b"S")
        with (
            suppress(OSError, ssl.SSLError),
            context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            ) as wrapped,
        ):
            wrapped.do_handshake()
            wrapped.recv(1)

    began = time.monotonic()
    with listening(answer) as port, pytest.raises(SourceError, match=told) as raised:
        url = f"postgresql://ada:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/x?sslmode={mode}"
        session.attach("pg", url)
    assert "source 'pg'" in str(raised.value)
    assert PASSWORD not in str(raised.value)
    assert time.monotonic() - began < BOUND_S
    assert session.sql("SELECT * FROM system.sources").to_pylist() == []


def test_a_host_that_never_answers_is_given_up(session: affidavit.Session) -> None:
    began = time.monotonic()
    with (
        listening(lambda connection: connection.recv(1 << 16) and connection.recv(1)) as port,
        pytest.raises(SourceError, match="'pg'.*timeout"),
    ):
        session.attach("pg", f"postgresql://ada@127.0.0.1:{port}/x?connect_timeout=2")
    assert time.monotonic() - began < BOUND_S
