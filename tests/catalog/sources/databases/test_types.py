"""Every type of every database comes out: as it is, as text, or as an error that names it."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from tests.support.databases import run_duck

import affidavit
from affidavit.catalog.sources.databases.dialect import Dialect
from affidavit.catalog.sources.drivers.duckdb_types import column_of
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pg_server import PgServer

ID = "11111111-2222-3333-4444-55555555555a"


def test_every_type_of_postgresql_is_given(session: affidavit.Session, pg_server: PgServer) -> None:
    """An interval, a uuid[] and whatever else Arrow lacks were left out of SELECT *."""
    kinds: dict[str, tuple[str, Any]] = {
        "interval": ("'3 days'", "3 days"),
        "uuid[]": (f"ARRAY['{ID}'::uuid]", [ID]),
        "numeric": ("1.50", "1.50"),
        "numeric(50, 1)": ("1e48", f"1{'0' * 48}.0"),
        "numeric[]": ("'{1.5,NaN}'", ["1.5", "NaN"]),
        "date[]": ("'{2024-01-01,infinity}'", ["2024-01-01", "infinity"]),
        "timetz": ("'24:00+02'", "24:00:00+02"),
        "money": ("'1.5'", "$1.50"),
        "int4range": ("'[1,3)'", "[1,3)"),
        "point": ("'(1,2)'", "(1,2)"),
        "bit(3)": ("B'101'", "101"),
        "oid": ("7", "7"),
        "int2vector": ("'1 2'", "1 2"),
        "jsonb[]": ("""ARRAY['{"a": 1}'::jsonb]""", ['{"a": 1}']),
        "mood": ("'glad'", "glad"),
        "mood[]": ("'{glad}'", ["glad"]),
        "pair_": ("ROW(1, 'x')", "(1,x)"),
        "twice": ("1.25", Decimal("1.25")),
        "several": ("'{1,2}'", [1, 2]),
        "int[][]": ("'{{1,2},{3,NULL}}'", [[1, 2], [3, None]]),
        "float8[][][]": ("'{{{1.5,Infinity}}}'", [[[1.5, float("inf")]]]),
        "text[][]": ("""'{{"a,b",NULL}}'""", [["a,b", None]]),
        "bool[]": ("'{t,f}'", [True, False]),
        "text[]": ("'{}'", []),
    }
    columns = ", ".join(f"c{at} {kind}" for at, kind in enumerate(kinds))
    values = ", ".join(value for value, _ in kinds.values())
    session.attach(
        "pg",
        pg_server.database(
            "every",
            "CREATE TYPE mood AS ENUM ('calm', 'glad')",
            "CREATE TYPE pair_ AS (a int, b text)",
            "CREATE DOMAIN once AS numeric(5, 2)",
            "CREATE DOMAIN twice AS once CHECK (VALUE > 0)",
            "CREATE DOMAIN several AS int[]",
            f"CREATE TABLE t ({columns})",
            f"INSERT INTO t VALUES ({values})",
            "INSERT INTO t DEFAULT VALUES",
            "CREATE VIEW means AS SELECT avg(x) AS mean, sum(x) AS total, max(x) AS most "
            "FROM (VALUES (1), (2)) v(x)",
        ),
    )
    full, empty = session.sql("SELECT * FROM pg.public.t ORDER BY c1 NULLS LAST").to_pylist()
    assert dict(zip(kinds, full.values(), strict=True)) == {k: v for k, (_, v) in kinds.items()}
    assert set(empty.values()) == {None}
    session.sql("CREATE TABLE kept AS SELECT * FROM pg.public.t")
    assert len(session.table("kept").schema) == len(kinds)
    (means,) = session.sql("SELECT * FROM pg.public.means").to_pylist()
    assert means == {"mean": "1.5000000000000000", "total": 3, "most": 2}


@pytest.mark.parametrize(
    ("declared", "value"),
    [("int[]", "{{1,2},{3,4}}"), ("int[]", "[5:6]={1,2}"), ("int[]", "[0:1]={1,2}"),
     ("int[][]", "{1}"), ("int[][]", "[1:1][2:3]={{1,2}}"), ("time", "24:00"),
     ("numeric(5, 2)", "NaN"), ("timestamp", "294276-12-31"), ("uuid[]", "[2:2]={NULL}")],
)  # fmt: skip
def test_what_a_type_does_not_hold_is_an_error_of_its_column_and_row(
    session: affidavit.Session, pg_server: PgServer, declared: str, value: str
) -> None:
    url = pg_server.database(
        "unheld",
        f"CREATE TABLE t (a text, b int, x {declared}, PRIMARY KEY (a, b))",
        f"INSERT INTO t VALUES ('one', 1, NULL), ('two', 2, '{value}'), ('three', 3, NULL)",
    )
    session.attach("pg", url)
    for columns in ("x", "*", "b, x"):
        with pytest.raises(SourceError, match=r"'pg'.*column 'x'.*where a = 'two', b = 2"):
            session.sql(f"SELECT {columns} FROM pg.public.t").to_arrow()
    with pytest.raises(SourceError, match="column 'x'"):
        session.sql("CREATE TABLE kept AS SELECT * FROM pg.public.t")
    assert len(session.sql("SELECT a FROM pg.public.t").to_arrow()) == 3
    assert len(session.sql("SELECT x FROM pg.public.t WHERE b <> 2").to_arrow()) == 2


def test_lookups_by_uuid_and_enum_are_sent_and_select_as_text_does(
    session: affidavit.Session, pg_server: PgServer, tmp_path: Path
) -> None:
    statements = (
        "CREATE TYPE mood AS ENUM ('zest', 'glad', 'it''s')",
        "CREATE TABLE t (id uuid, mood mood)",
        f"INSERT INTO t VALUES ('{ID}', 'glad'), ('{ID[:-1]}b', 'zest'), (NULL, NULL)",
    )
    session.attach("pg", pg_server.database("by_uuid", *statements))
    run_duck(tmp_path / "x.duckdb", *statements)
    session.attach("duck", f"duckdb://{tmp_path / 'x.duckdb'}")
    for table in ("pg.public.t", "duck.main.t"):
        session.sql(f"CREATE OR REPLACE TABLE kept AS SELECT * FROM {table}")
        for condition, is_sent in (
            (f"id = '{ID}'", True), (f"id > '{ID}'", True), (f"id <> '{ID}'", True),
            (f"id IN ('{ID}', '{ID[:-1]}b')", True), (f"id = '{ID.upper()}'", False),
            ("id = 'no uuid'", False), ("id > '2'", False), ("mood = 'glad'", True),
            ("mood IN ('glad', 'no word of it')", True), ("mood = 'it''s'", True),
            ("mood > 'h'", table.startswith("pg")), ("mood <> 'glad'", False),
            ("id IS NULL AND mood IS NULL", True), (f"NOT (id = '{ID}')", True),
        ):  # fmt: skip
            text = f"SELECT * FROM {{}} WHERE {condition} ORDER BY id"
            assert ("WHERE" in session.explain(text.format(table)).split("sent to")[-1]) == is_sent
            found = session.sql(text.format(table)).to_pylist()
            assert found == session.sql(text.format("kept")).to_pylist(), condition


def test_every_type_of_duckdb_is_given(session: affidavit.Session, tmp_path: Path) -> None:
    """Vectors, sums of integers, structs, maps and most moments were left out of SELECT *."""
    moment = datetime(2024, 1, 2, 3, 4, 5)
    kinds: dict[str, tuple[str, Any]] = {
        "FLOAT[3]": ("[1, 2, 3]", [1.0, 2.0, 3.0]),
        "INT[2][]": ("[[1, 2]]", [[1, 2]]),
        "HUGEINT": (f"{-(10**38) + 1}", Decimal(-(10**38) + 1)),
        "UHUGEINT": ("5", Decimal(5)),
        "STRUCT(a INT, b VARCHAR)": ("{'a': 1, 'b': 'x'}", {"a": 1, "b": "x"}),
        'STRUCT("a ""b" UUID, "c(" HUGEINT[])': (
            f"""{{'a "b': '{ID}', 'c(': [1]}}""", {'a "b': ID, "c(": ["1"]},
        ),
        "MAP(VARCHAR, INT)": ("MAP {'k': 2}", [("k", 2)]),
        "MAP(INT, INTERVAL)": ("MAP {1: INTERVAL 3 DAY}", [(1, "3 days")]),
        "UNION(n INT, s VARCHAR)": ("1", "1"),
        "TIMESTAMP_S": (f"'{moment}'", moment),
        "TIMESTAMP_MS": (f"'{moment}'", moment),
        "TIMESTAMP_NS": (f"'{moment}'", moment),
        "TIMESTAMPTZ": (f"'{moment}+00'", moment.replace(tzinfo=UTC)),
        "TIMETZ": ("'24:00:00+02'", "24:00:00+02"),
        "TIME": ("'23:59:59'", time(23, 59, 59)),
        "INTERVAL": ("INTERVAL 3 DAY", "3 days"),
        "BIT": ("'101'", "101"),
        "ENUM('x', 'it''s, (')[]": ("['it''s, (']", ["it's, ("]),
        "DECIMAL(5, 2)[]": ("[1.5]", [Decimal("1.50")]),
        "UUID[]": (f"['{ID}']", [ID]),
    }  # fmt: skip
    columns = ", ".join(f"c{at} {kind}" for at, kind in enumerate(kinds))
    values = ", ".join(value for value, _ in kinds.values())
    run_duck(
        tmp_path / "x.duckdb",
        f"CREATE TABLE t ({columns})",
        f"INSERT INTO t VALUES ({values})",
        f"INSERT INTO t VALUES ({', '.join(['NULL'] * len(kinds))})",
        "CREATE VIEW sums AS SELECT sum(x) AS total, avg(x) AS mean FROM (VALUES (1), (2)) v(x)",
    )
    session.attach("duck", f"duckdb://{tmp_path / 'x.duckdb'}")
    full, empty = session.sql("SELECT * FROM duck.main.t ORDER BY c2 NULLS LAST").to_pylist()
    assert dict(zip(kinds, full.values(), strict=True)) == {k: v for k, (_, v) in kinds.items()}
    assert set(empty.values()) == {None}
    found = session.sql("SELECT * FROM duck.main.sums WHERE total > 2").to_pylist()
    assert found == [{"total": Decimal(3), "mean": 1.5}]
    session.sql("CREATE TABLE kept AS SELECT * FROM duck.main.t")
    assert len(session.table("kept").schema) == len(kinds)


def test_what_duckdb_has_and_arrow_has_not_is_an_error_of_its_column_and_row(
    session: affidavit.Session, tmp_path: Path
) -> None:
    run_duck(
        tmp_path / "x.duckdb",
        "CREATE TABLE t (id INT PRIMARY KEY, h HUGEINT, opens TIME)",
        f"INSERT INTO t VALUES (1, 1, '12:00'), (2, {2**127 - 1}, '24:00')",
    )
    session.attach("duck", f"duckdb://{tmp_path / 'x.duckdb'}")
    for column in ("h", "opens"):
        with pytest.raises(SourceError, match=rf"column '{column}'.*where id = 2"):
            session.sql(f"SELECT {column} FROM duck.main.t").to_arrow()


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ('STRUCT("a, b" INTEGER, c STRUCT("d""" VARCHAR))[2][]', pa.list_(pa.list_(pa.struct(
            [("a, b", pa.int32()), ("c", pa.struct([('d"', pa.string())]))]), 2))),
        ("MAP(VARCHAR, DECIMAL(5,2))", pa.map_(pa.string(), pa.decimal128(5, 2))),
        ("SOMETHING NEW(1, 2)", pa.string()),
        ("STRUCT(x ENUM('a)', 'b\"'), y TIMESTAMP WITH TIME ZONE)", pa.struct(
            [("x", pa.string()), ("y", pa.timestamp("us", "UTC"))])),
    ],
)  # fmt: skip
def test_a_type_of_duckdb_is_read_as_it_is_written(declared: str, kind: pa.DataType) -> None:
    assert column_of("c", declared, Dialect("DuckDB")).type == kind


def test_infinities_are_the_same_wherever_they_come_from(
    session: affidavit.Session, pg_server: PgServer, tmp_path: Path
) -> None:
    columns = "id int, d date, ts timestamp, tz timestamptz"
    statements = (
        f"CREATE TABLE t ({columns})",
        "INSERT INTO t VALUES (1, '-infinity', '-infinity', '-infinity'), "
        "(2, 'infinity', 'infinity', 'infinity'), (3, NULL, NULL, NULL), "
        "(4, '0044-03-15 BC', '0044-03-15 BC', '12345-01-01 00:00:00+00')",
        f"CREATE TABLE target ({columns})",
    )
    duck = tmp_path / "x.duckdb"
    session.attach("pg", pg_server.database("infinite", *statements))
    run_duck(duck, *(each.replace("0044-03-15 BC", "0044-03-15 (BC)") for each in statements))
    session.attach("duck", f"duckdb://{duck}")
    for column in ("d", "ts", "tz"):
        same = f"FROM pg.public.t a JOIN duck.main.t b ON a.{column} = b.{column} AND a.id = b.id"
        assert session.sql(f"SELECT count(*) AS n {same}").to_pylist() == [{"n": 3}]
    session.sql("INSERT INTO duck.main.target SELECT * FROM pg.public.t")
    session.close()
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(duck)) as connection:
        left = connection.execute("SELECT * FROM target EXCEPT SELECT * FROM t").fetchall()
    assert left == []


def test_duckdbs_moments_of_other_units_are_kept_whole(
    session: affidavit.Session, tmp_path: Path
) -> None:
    """Infinity counted in seconds was no infinity in microseconds, and was not found by it."""
    run_duck(
        tmp_path / "x.duckdb",
        "CREATE TABLE t (id INT, s TIMESTAMP_S, ms TIMESTAMP_MS, us TIMESTAMP)",
        "INSERT INTO t VALUES (1, '-infinity', '-infinity', '-infinity'), "
        "(2, 'infinity', 'infinity', 'infinity'), (3, '2024-01-01', '2024-01-01', '2024-01-01')",
    )
    session.attach("duck", f"duckdb://{tmp_path / 'x.duckdb'}")
    for column in ("s", "ms"):
        found = session.sql(f"SELECT count(*) AS n FROM duck.main.t WHERE {column} = us")
        assert found.to_pylist() == [{"n": 3}]
    session.sql("INSERT INTO duck.main.t SELECT id + 3, us, us, us FROM duck.main.t")
    same = session.sql("SELECT count(*) AS n FROM duck.main.t WHERE s = us AND ms = us")
    assert same.to_pylist() == [{"n": 6}]
    for moment in ("2024-01-01T00:00:00.5", "2024-01-01T00:00:00.000001"):
        with pytest.raises(SourceError, match=r"'m?s' is TIMESTAMP_.*parts of a second"):
            session.sql(f"INSERT INTO duck.main.t (s, ms) VALUES ('{moment}', '{moment}')")


def test_infinity_is_refused_by_postgresqls_driver_in_a_sentence(
    session: affidavit.Session, pg_server: PgServer
) -> None:
    url = pg_server.database(
        "unwritten", "CREATE TABLE t (ts timestamp)", "INSERT INTO t VALUES ('-infinity')"
    )
    session.attach("pg", url)
    with pytest.raises(SourceError, match="column 'ts' has a moment at infinity") as raised:
        session.sql("INSERT INTO pg.public.t SELECT ts FROM pg.public.t")
    assert "Traceback" not in str(raised.value)


def test_what_sqlite_declares_is_what_is_given(session: affidavit.Session, tmp_path: Path) -> None:
    """Dates, numbers without a size and what a view computes were left out of SELECT *."""
    with sqlite3.connect(tmp_path / "x.db") as there:
        there.execute(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, d DATE, dt DATETIME, ok BOOLEAN, n NUMERIC, "
            "m DECIMAL(9, 2), u, x REAL, b BLOB)"
        )
        there.execute(
            "INSERT INTO t VALUES (1, '2024-01-02', 1704067200, 1, 1.5, 2.25, 'any', 2, x'00'), "
            "(2, NULL, NULL, 0, 9007199254740993, NULL, 7, NULL, NULL)"
        )
        there.execute("CREATE VIEW v AS SELECT count(*) AS n, max(d) AS last, id FROM t")
    there.close()
    session.attach("lite", f"sqlite://{tmp_path / 'x.db'}")
    assert session.sql("SELECT * FROM lite.main.t ORDER BY id").to_pylist() == [
        {"id": 1, "d": "2024-01-02", "dt": "1704067200", "ok": True, "n": "1.5",
         "m": Decimal("2.25"), "u": "any", "x": 2.0, "b": b"\x00"},
        {"id": 2, "d": None, "dt": None, "ok": False, "n": "9007199254740993", "m": None,
         "u": "7", "x": None, "b": None},
    ]  # fmt: skip
    found = session.sql("SELECT n, last FROM lite.main.v WHERE n = '2'").to_pylist()
    assert found == [{"n": "2", "last": "2024-01-02"}]


@pytest.mark.parametrize(
    ("declared", "value"),
    [("INT", "'x'"), ("TEXT", "x'00'"), ("REAL", "'x'"), ("BLOB", "1"), ("BOOLEAN", "2"),
     ("DECIMAL(3, 1)", "1.25"), ("DECIMAL(3, 1)", "9e30"), ("DATE", "x'00'")],
)  # fmt: skip
def test_a_mistyped_value_of_sqlite_is_an_error_of_its_column_and_row(
    session: affidavit.Session, tmp_path: Path, declared: str, value: str
) -> None:
    with sqlite3.connect(tmp_path / "x.db") as there:
        there.execute(f"CREATE TABLE t (k TEXT PRIMARY KEY, v {declared})")
        there.execute(f"INSERT INTO t VALUES ('first', NULL), ('second', {value})")
    there.close()
    session.attach("lite", f"sqlite://{tmp_path / 'x.db'}")
    with pytest.raises(SourceError, match="column 'v'.*where k = 'second'"):
        session.sql("SELECT v FROM lite.main.t").to_arrow()
