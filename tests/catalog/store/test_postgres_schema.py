"""A schema of PostgreSQL's as a lake's store: how it is made, whose it is, and what is wrong with it."""

from __future__ import annotations

import sys
import threading

import psycopg
import pytest

from affidavit import errors
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.predicate import Compare, In, Not
from affidavit.catalog.store.identity import lake_id, new_lake_id
from affidavit.catalog.store.postgres import connections
from affidavit.catalog.store.postgres.address import parse_address
from affidavit.catalog.store.postgres.keys import short_name
from affidavit.catalog.store.postgres.schema import FORMAT
from affidavit.catalog.store.postgres.store import PostgresStore
from affidavit.catalog.store.protocol import (
    StoreColumn,
    StoreIndex,
    StoreOptions,
    StoreTable,
)
from affidavit.catalog.store.registry import open_store
from affidavit.catalog.store.tables import STORE_TABLES
from affidavit.catalog.values.types import Kind

pytestmark = pytest.mark.server


@pytest.fixture
def url(pg_server, tmp_path) -> str:
    return pg_server.schema(tmp_path)


def run(url: str, *texts: str) -> list[tuple]:
    address = parse_address(url)
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        connection.execute(f"SET search_path = {address.schema}")
        for text in texts:
            found = connection.execute(text)
        return found.fetchall() if found.description else []


def test_a_new_schema_is_as_declared_and_a_changed_one_is_told(url) -> None:
    opened = PostgresStore(url)
    with opened.read(SHARED) as reader:
        assert reader.faults(STORE_TABLES) == []
        identity = lake_id(reader)
    run(
        url,
        "DROP INDEX tables_id",
        "CREATE INDEX strange ON tables (name)",
        "CREATE VIEW shown AS SELECT 1 AS one",
        "ALTER TABLE sources ADD COLUMN more text",
        "ALTER TABLE links ENABLE ROW LEVEL SECURITY",
        "DROP TABLE holds",
    )
    with opened.read(SHARED) as reader:
        assert sorted(reader.faults(STORE_TABLES)) == [
            "holds is missing",
            "links has a trigger, a rule or a policy that does not belong there",
            "shown has a trigger, a rule or a policy that does not belong there",
            "the columns of sources are not those that belong there",
            "the index strange does not belong there",
            "the index tables_id is missing",
            "the view shown does not belong there",
        ]
        assert lake_id(reader) == identity
    opened.close()


def test_many_who_make_a_lake_at_once_make_one(url) -> None:
    found: list[str] = []

    def make() -> None:
        opened = PostgresStore(url)
        with opened.read(SHARED) as reader:
            found.append(lake_id(reader))
        opened.close()

    threads = [threading.Thread(target=make) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_making_that_was_killed_leaves_nothing(url) -> None:
    """All of it is one transaction, so the next one finds nothing, or a schema that is empty."""
    address = parse_address(url)
    with psycopg.connect(address.conninfo) as half:
        half.execute(f"CREATE SCHEMA {address.schema}")
        half.execute(f"CREATE TABLE {address.schema}.store_format (format bigint, program text)")
        half.rollback()
    run(url, f"CREATE SCHEMA {address.schema}")
    opened = PostgresStore(url, lake_id="0" * 32)
    with opened.read(SHARED) as reader:
        assert lake_id(reader) == "0" * 32
    opened.close()


def test_what_is_not_this_lakes_is_refused(url) -> None:
    first = new_lake_id()
    PostgresStore(url, lake_id=first).close()
    with pytest.raises(errors.LakeError, match="another lake's than this folder"):
        PostgresStore(url, lake_id=new_lake_id())
    run(url, f"UPDATE store_format SET format = {FORMAT + 1}")
    with pytest.raises(errors.LakeVersionError):
        PostgresStore(url, lake_id=first)
    run(url, "DROP TABLE store_format")
    with pytest.raises(errors.LakeError, match="tables that are no lake's"):
        PostgresStore(url, lake_id=first)


def test_who_only_reads_makes_nothing(url) -> None:
    with pytest.raises(errors.LakeError, match="has no lake, and it was opened read-only"):
        PostgresStore(url, read_only=True)
    assert run(url, "SELECT to_regnamespace(current_setting('search_path')) IS NULL") == [(True,)]
    PostgresStore(url).close()
    opened = PostgresStore(url, read_only=True)
    with pytest.raises(errors.ReadOnlyError), opened.write("acme"):
        pass
    with opened.write("acme", record=True):
        pass
    opened.close()


def test_a_database_that_takes_no_writes_is_for_readers(pg_server, tmp_path) -> None:
    base = pg_server.database("still")
    url = f"{base}&schema=lake"
    PostgresStore(url).close()
    pg_server.run("ALTER DATABASE still SET default_transaction_read_only = on")
    with pytest.raises(errors.LakeError, match="takes no writes"):
        PostgresStore(url)
    opened = PostgresStore(url, read_only=True)
    assert opened.is_closed_to_writers
    with pytest.raises(errors.ReadOnlyError), opened.write("acme", record=True):
        pass
    opened.close()


def test_an_old_server_is_refused(url, monkeypatch) -> None:
    monkeypatch.setattr(connections, "SERVER_MIN", 990000)
    with pytest.raises(errors.LakeError, match="a lake needs 14 or later"):
        PostgresStore(url)


def test_a_missing_driver_is_named_with_its_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(errors.MissingLibraryError, match=r"affidavit\[postgres-store\]"):
        open_store("postgresql://h/d", StoreOptions(tmp_path / "s.db", tmp_path))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:geheim%zz@localhost:1/d",
        "postgresql://ann:geheim@localhost:1/d",
        "postgresql://ann:geheim@localhost:1/d?schema=pg_mine",
        "postgresql://ann:geheim@localhost:1/d?schema=a&schema=b",
        "postgresql://ann:geheim@localhost:port/d",
        "postgresql://ann@localhost:1/d?password=geheim",
        "postgresql://ann@localhost:1/d?sslpassword=geheim&nothing=1",
        "postgresql://ann:geheim@[localhost/d",
    ],
)
def test_a_password_is_in_no_error_and_in_no_repr(url) -> None:
    with pytest.raises(errors.AffidavitError) as raised:
        PostgresStore(url)
    told: BaseException | None = raised.value
    while told is not None:
        assert "geheim" not in repr(told)
        assert "geheim" not in str(told)
        told = told.__cause__ or (None if told.__suppress_context__ else told.__context__)
    if "[" not in url and "schema" not in url:
        assert "geheim" not in repr(parse_address(url))


LONG = StoreTable(
    "long",
    (StoreColumn("s", Kind.TEXT), StoreColumn("b", Kind.BLOB)),
    (
        StoreIndex("i" * 80 + "a", ("s",), unique=True),
        StoreIndex("i" * 80 + "b", ("b", "s")),
    ),
)


def test_long_names_and_long_keys_are_kept(url) -> None:
    assert short_name("i" * 80 + "a") != short_name("i" * 80 + "b")
    assert len(short_name("ß" * 80).encode()) <= 63
    opened = PostgresStore(url)
    with opened.write("acme") as writer:
        writer.create_table(LONG)
        writer.insert(LONG, ("s", "b"), [("x" * 20_000, b"y" * 20_000), ("z", None)])
        with pytest.raises(errors.ConstraintError):
            writer.insert(LONG, ("s",), [("x" * 20_000,)])
        assert writer.count(LONG, Compare("=", "s", "x" * 20_000)) == 1
        assert writer.count(LONG, In("b", (b"y" * 20_000, b""))) == 1
        assert writer.count(LONG, Not(In("b", (b"a",), has_null=True))) == 0
        writer.drop_index(LONG.indexes[0])
    opened.close()


def test_a_dropped_table_is_read_to_the_end_and_goes_then(url) -> None:
    opened = PostgresStore(url, busy_timeout_s=1)
    with opened.write("acme") as writer:
        writer.create_table(LONG)
        writer.insert(LONG, ("s",), [("a",)])
    there = "SELECT to_regclass('long') IS NOT NULL"
    with opened.read("acme") as reader:
        assert reader.count(LONG) == 1
        with opened.write("acme") as writer:
            writer.drop_table(LONG)
        assert reader.count(LONG) == 1
        assert run(url, there) == [(True,)]
        assert not opened.scrub()
    assert opened.scrub()
    assert run(url, there) == [(False,)]
    with opened.write("acme") as writer:
        writer.create_table(LONG)
        writer.drop_table(LONG)
    assert run(url, there) == [(False,)]
    opened.close()
