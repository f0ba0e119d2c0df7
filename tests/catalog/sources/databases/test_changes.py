"""Attached databases whose tables are made, altered and dropped by others."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.databases import run_duck, run_lite

import affidavit
from affidavit.errors import AffidavitError, SourceError, SqlError, TableNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pg_server import PgServer


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
