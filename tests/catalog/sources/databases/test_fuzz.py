"""An attached database's tables answer as the same rows in memory do, whatever is asked."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from datetime import date
from decimal import Decimal
from math import isfinite, isnan
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt
import pytest
from datafusion import SessionContext
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.sub_trees import without_faults, works

import affidavit
from affidavit.catalog.sources.drivers.duckdb import DuckDb
from affidavit.catalog.sources.drivers.mariadb import MariaDb
from affidavit.catalog.sources.drivers.postgres import Postgres
from affidavit.catalog.sources.drivers.sqlite import Sqlite
from affidavit.catalog.sql import predicate as p
from affidavit.engine.statement.mended.mended import mended
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.mariadb_server import MariaDbServer
    from tests.support.pg_server import PgServer

    from affidavit.catalog.sources.databases.dialect import Dialect

EXAMPLES: Final = int(os.environ.get("AFFIDAVIT_FUZZ_EXAMPLES", "25"))

WORKS: Final = 6
"""So many statements of a case join, group or sort."""

TEXTS = (
    "", " ", "a", "A", "b", "b ", "B", "ab", "aB", "AB", "z", "Z", "'", "a'b", '"', "%", "_", "\\",
    "é", "e\u0301", "ß", "ss", "ÄÖ", "\u65e5\u672c", "\uff5e", "\U0001d11e", "0", "10", "9", "\n",
)  # fmt: skip
FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.1, 0.30000000000000004, 5e-324, 2.2250738585072014e-308, 1e300,
    -1.7976931348623157e308, 123456789.123, float("nan"), -float("nan"), float("inf"), float("-inf"), 1 / 3,
)  # fmt: skip
FOREVER_DAYS, FOREVER_US = 2**31 - 1, 2**63 - 1
DAYS = (
    -FOREVER_DAYS,
    FOREVER_DAYS,
    -2_440_588,
    -719_162,
    -365_243,
    -1,
    0,
    18_262,
    18_263,
    2_932_896,
    2_000_000_000,
)
MOMENTS = (
    -FOREVER_US, FOREVER_US, -210_866_803_200_000_000, -62_135_596_800_000_000, -30_610_224_000_000_000, -1, 0, 1,
    1_577_836_800_000_000, 1_577_836_800_123_456, 253_402_300_799_999_999,
    9_223_371_000_000_000_000,
)  # fmt: skip
TIMES = (0, 1, 43_200_000_000, 43_200_000_001, 86_399_999_999)
LISTS = ([], [1], [1, None, 3], [2**31 - 1, -(2**31)])
UUIDS = tuple(f"{at}0000000-0000-4000-8000-00000000000{at}" for at in "019af")
WORDS = ("zest", "glad", "it's", "Glad", "")
WIDE = tuple(map(Decimal, ("0E-10", "-1E-10", "1234567890123456789012345678.0000000001")))
NAMED: dict[str, tuple[Any, ...]] = {
    "t": TIMES, "a": LISTS, "u": UUIDS, "m": WORDS, "wide": WIDE,
}  # fmt: skip
DECIMALS = tuple(map(Decimal, ("0.000", "0.001", "-1.500", "1.500", "999999999.999", "7.000")))
BYTES = (b"", b"\x00", b"a", b"\xff\x00", b"A")


def values_of(column: pa.Field) -> tuple[Any, ...]:
    """Return what a column may hold; dates and moments as counts."""
    kind = column.type
    if column.name in NAMED:
        return NAMED[column.name]
    if pt.is_boolean(kind):
        return (True, False)
    if pt.is_integer(kind):
        width = kind.bit_width
        if pt.is_unsigned_integer(kind):
            return (0, 1, 7, 2 ** (width - 1), 2**width - 1)
        return (-(2 ** (width - 1)), 2 ** (width - 1) - 1, -1, 0, 1, 7)
    if pt.is_float32(kind):
        return tuple(pa.array([each for each in FLOATS if abs(each) < 1e38], kind).to_pylist())
    if pt.is_floating(kind):
        return FLOATS
    if pt.is_decimal(kind):
        return DECIMALS
    if pt.is_date32(kind):
        return DAYS
    if pt.is_timestamp(kind):
        return MOMENTS
    if pt.is_binary(kind):
        return BYTES
    if column.name == "fixed":  # char(5), which is given without its trailing spaces
        return tuple(each.rstrip(" ") for each in TEXTS)
    if column.name == "latin":
        return tuple(each for each in TEXTS if each.isascii() or each in "éßÄÖ")
    return TEXTS


def literal(kind: pa.DataType, value: Any) -> str | None:
    """Return a value in SQL; ``None`` for a moment that SQL has no name for here."""
    if pt.is_boolean(kind):
        return str(value).lower()
    if pt.is_integer(kind):
        return str(value)
    if pt.is_floating(kind):
        return f"CAST('{value!r}' AS {'REAL' if pt.is_float32(kind) else 'DOUBLE'})"
    if pt.is_decimal(kind):
        return f"CAST('{value:f}' AS DECIMAL({kind.precision}, {kind.scale}))"
    if pt.is_list(kind):
        return None
    if pt.is_time(kind):
        text = pa.scalar(value, pa.int64()).cast(kind).as_py().isoformat("microseconds")
        return f"arrow_cast('{text}', 'Time64(Microsecond)')"
    if pt.is_binary(kind):
        return f"X'{value.hex()}'"
    if pt.is_date32(kind):
        day = value + date(1970, 1, 1).toordinal()
        return f"DATE '{date.fromordinal(day)}'" if 1 <= day <= date.max.toordinal() else None
    if pt.is_timestamp(kind):
        if not -62_135_596_800_000_000 <= value <= 253_402_300_799_999_999:
            return None
        text = pa.scalar(value, pa.timestamp("us")).as_py().isoformat(" ")
        zone = "None" if kind.tz is None else f'Some("{("UTC", "+05:30")[value % 2]}")'
        text += "" if kind.tz is None else "+00:00"
        return f"arrow_cast('{text}', 'Timestamp(Microsecond, {zone})')"
    return "'" + value.replace("'", "''") + "'"


def array_of(column: pa.Field, values: list[Any]) -> pa.Array:
    if pt.is_date32(column.type):
        return pa.array(values, pa.int32()).view(column.type)
    if pt.is_timestamp(column.type) or pt.is_time(column.type):
        return pa.array(values, pa.int64()).view(column.type)
    return pa.array(values, column.type)


@st.composite
def tables(draw: st.DrawFn, schema: pa.Schema) -> pa.Table:
    """Return rows that have each column's every value, in any combination; or few, or none."""
    rows = draw(st.sampled_from([64, 64, 64, 2, 0]))
    shuffled = Random(draw(st.integers(0, 2**32)))
    columns = []
    for column in schema:
        values = [None, None, *values_of(column)]
        if pt.is_float64(column.type):
            values += draw(st.lists(st.floats(), max_size=3))
        several = values * (rows // len(values) + 1)
        shuffled.shuffle(several)
        columns.append(array_of(column, several[:rows]))
    return pa.Table.from_arrays(columns, schema=schema)


@st.composite
def conditions(draw: st.DrawFn, schema: pa.Schema, depth: int = 3) -> str:
    shape = draw(st.sampled_from(["leaf", "leaf", "AND", "OR", "NOT"] if depth else ["leaf"]))
    if shape == "NOT":
        return f"NOT ({draw(conditions(schema, depth - 1))})"
    if shape != "leaf":
        sides = draw(st.lists(conditions(schema, depth - 1), min_size=2, max_size=3))
        return f" {shape} ".join(f"({each})" for each in sides)
    column = draw(st.sampled_from(list(schema)))
    pool = [literal(column.type, each) for each in values_of(column)]
    if not any(pool):
        return f"{column.name} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
    value = st.sampled_from([each for each in pool if each is not None])
    sign = draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">="]))
    forms = ["compare", "turned", "in", "between", "null", "columns"]
    forms += ["alone"] if pt.is_boolean(column.type) else []
    forms += ["like"] if pt.is_string(column.type) else []
    match draw(st.sampled_from(forms)):
        case "compare":
            return f"{column.name} {sign} {draw(value)}"
        case "turned":
            return f"{draw(value)} {sign} {column.name}"
        case "in":
            several = draw(st.lists(value | st.just("NULL"), min_size=1, max_size=5))
            no = draw(st.sampled_from(["", "NOT "]))
            return f"{column.name} {no}IN ({', '.join(several)})"
        case "between":
            no = draw(st.sampled_from(["", "NOT "]))
            return f"{column.name} {no}BETWEEN {draw(value)} AND {draw(value)}"
        case "null":
            return f"{column.name} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
        case "columns":
            same = [each.name for each in schema if each.type == column.type]
            return f"{column.name} {sign} {draw(st.sampled_from(same))}"
        case "alone":
            return column.name
    pattern = draw(st.sampled_from(["a%", "%b", "_", "%", "A_", "", "%''%"]))
    return f"{column.name} LIKE '{pattern}'"


@st.composite
def firsts(draw: st.DrawFn, schema: pa.Schema) -> str:
    """Return what needs the first rows of an order alone, which says all that is selected."""
    ordered = [each.name for each in schema if not pt.is_list(each.type)]
    names = draw(st.lists(st.sampled_from(ordered), min_size=1, max_size=3, unique=True))
    where = draw(st.sampled_from(["", f" WHERE {draw(conditions(schema, 1))}"]))
    if draw(st.booleans()):
        calls = [f"{draw(st.sampled_from(['min', 'max']))}({name})" for name in names]
        return f"SELECT {', '.join(calls)} FROM {{}}{where}"
    way = st.sampled_from(["", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
    keys = ", ".join(f"{name}{draw(way)}" for name in names)
    limit = f"LIMIT {draw(st.integers(1, 9))} OFFSET {draw(st.integers(0, 3))}"
    return f"SELECT {', '.join(names)} FROM {{}}{where} ORDER BY {keys} {limit}"


@st.composite
def cases(draw: st.DrawFn, schema: pa.Schema) -> tuple[pa.Table, list[str]]:
    """Return rows, and what is asked of them."""
    asked = []
    for _ in range(10):
        names = draw(st.lists(st.sampled_from(schema.names), min_size=1, max_size=4, unique=True))
        what = draw(st.sampled_from([", ".join(names), "*", "count(*)"]))
        asked.append(f"SELECT {what} FROM {{}} WHERE {draw(conditions(schema))}")
    asked += [draw(firsts(schema)) for _ in range(3)]
    asked += [draw(works(schema, conditions(schema, 1))) for _ in range(WORKS)]
    return draw(tables(schema)), asked


def bits(table: pa.Table) -> Counter[tuple[Any, ...]]:
    """Return the rows as a multiset in which only equal bits are equal."""
    columns = []
    for column in table.columns:
        array = column.combine_chunks()
        if pt.is_floating(array.type) or pt.is_temporal(array.type):
            array = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
        columns.append(map(str, array.to_pylist()) if pt.is_list(array.type) else array.to_pylist())
    return Counter(zip(*columns, strict=True))


def outcome(session: affidavit.Session, text: str) -> tuple[pa.Schema, Counter[Any]] | str:
    """Return a statement's columns and rows, or that it fails."""
    try:
        found = session.sql(text).to_arrow()
    except affidavit.AffidavitError as error:
        return type(error).__name__
    return found.schema, bits(found)


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    with without_faults():
        yield


def check_work(session: affidavit.Session, text: str) -> None:
    """Check that a database, and this process, answer a statement alike.

    What is an error here may be answered there, which leaves out groups before it computes all of
    them.
    """
    found = outcome(session, text)
    session.sql("SET affidavit.pushdown = 'off'")
    try:
        assert outcome(session, text) in (found, ExecutionError.__name__), text
    finally:
        session.sql("RESET affidavit.pushdown")


def check(session: affidavit.Session, where: str, rows: pa.Table, asked: list[str]) -> None:
    context = SessionContext()
    context.from_arrow(rows, name="t")
    whole = session.sql(f"SELECT * FROM {where}").to_arrow()
    assert whole.schema == rows.schema
    assert bits(whole) == bits(rows)
    for each in asked[len(asked) - WORKS :]:
        check_work(session, each.format(where))
    for each in asked[: len(asked) - WORKS]:
        asked_here = mended(each.format("t"), lambda query: context.sql(query).schema())
        expected = context.sql(asked_here).to_arrow_table()
        found = session.sql(each.format(where)).to_arrow()
        assert bits(found) == bits(expected), each


@pytest.mark.parametrize(
    "dialect", [Postgres.dialect, DuckDb.dialect, Sqlite.dialect, MariaDb.dialect]
)
@pytest.mark.parametrize(
    ("column", "value"), [("f8", pa.scalar(1.5)), ("s", pa.scalar("a")), ("f8", pa.scalar(0.0))]
)
@pytest.mark.parametrize("sign", ["=", "!=", "<", "<=", ">", ">="])
def test_what_may_select_too_much_is_not_sent_under_not(
    dialect: Dialect, column: str, value: pa.Scalar, sign: str
) -> None:
    """DataFusion turns most NOT away before it asks, so the fuzz seldom gets there."""
    types = {"f8": pa.float64(), "s": pa.string(), "i8": pa.int64()}
    inexact = p.Compare(sign, column, value)
    exact = p.Compare("=", "i8", pa.scalar(1))
    for each in (inexact, p.And((exact, inexact)), p.Or((exact, inexact))):
        assert dialect.condition(p.Not(each), types) is None
    sent = dialect.condition(p.And((exact, p.CompareColumns("=", "i8", "i8"))), types)
    assert sent is not None
    assert not sent.exact
    assert dialect.condition(p.Not(exact), types) is not None


fuzz = settings(max_examples=EXAMPLES, deadline=None)

SHARED: Final = [
    pa.field("b", pa.bool_()), pa.field("b2", pa.bool_()), pa.field("i2", pa.int16()),
    pa.field("i4", pa.int32()), pa.field("i8", pa.int64()), pa.field("j8", pa.int64()),
    pa.field("f4", pa.float32()), pa.field("f8", pa.float64()), pa.field("g8", pa.float64()),
    pa.field("n", pa.decimal128(12, 3)), pa.field("d", pa.date32()),
    pa.field("ts", pa.timestamp("us")), pa.field("tz", pa.timestamp("us", "UTC")),
    pa.field("s", pa.string()), pa.field("odd", pa.string()), pa.field("bin", pa.binary()),
]  # fmt: skip
TYPED: Final = [
    pa.field("wide", pa.decimal128(38, 10)), pa.field("t", pa.time64("us")),
    pa.field("a", pa.list_(pa.int32())), pa.field("u", pa.string()), pa.field("m", pa.string()),
]  # fmt: skip
TYPED_COLUMNS: Final = "wide numeric(38, 10), t time, a int[], u uuid, m mood"
MOOD: Final = "CREATE TYPE mood AS ENUM ('zest', 'glad', 'it''s', 'Glad', '')"
POSTGRES: Final = pa.schema([*SHARED, *TYPED, pa.field("fixed", pa.string())])
DUCKDB: Final = pa.schema([*SHARED, *TYPED])
SQLITE: Final = pa.schema(
    [pa.field("i8", pa.int64()), pa.field("j8", pa.int64()), pa.field("f8", pa.float64()),
     pa.field("s", pa.string()), pa.field("odd", pa.string()), pa.field("trimmed", pa.string()),
     pa.field("bin", pa.binary())]
)  # fmt: skip
MARIADB: Final = pa.schema(
    [pa.field("i1", pa.int8()), pa.field("u1", pa.uint8()), pa.field("i2", pa.int16()),
     pa.field("u2", pa.uint16()), pa.field("i4", pa.int32()), pa.field("u4", pa.uint32()),
     *(each for each in SHARED if each.name not in {"b", "b2", "i2", "i4"}),
     pa.field("u8", pa.uint64()), pa.field("exact", pa.string()), pa.field("latin", pa.string()),
     pa.field("fixed", pa.string())]
)  # fmt: skip


def loose_collation(server: PgServer) -> str:
    """Return a collation in which unequal texts are equal, where the server can be built so."""
    found = server.run(
        "SELECT collname FROM pg_collation WHERE NOT collisdeterministic OR "
        "(collprovider = 'c' AND collname LIKE 'en_US%') ORDER BY collisdeterministic LIMIT 1"
    )
    return found[0][0] if found else "C"


@pytest.fixture(scope="module")
def pg_session(
    pg_server: PgServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[affidavit.Session]:
    url = pg_server.database(
        "fuzz",
        MOOD,
        "CREATE TABLE t (b boolean, b2 boolean, i2 smallint, i4 int, i8 bigint, j8 bigint, f4 real, "
        "f8 float8, g8 float8, n numeric(12, 3), d date, ts timestamp, tz timestamptz, s text, "
        f'odd varchar(20) COLLATE "{loose_collation(pg_server)}", bin bytea, '
        f"{TYPED_COLUMNS}, fixed char(5))",
    )
    with affidavit.connect(tmp_path_factory.mktemp("pg") / "lake") as session:
        session.attach("pg", url)
        yield session


DAY_US: Final = 86_400_000_000


def written(name: str, forever: int, kind: str, finite: str) -> str:
    """Return a moment of PostgreSQL's by its count."""
    infinite = f"WHEN {forever} THEN {kind} 'infinity' WHEN {-forever} THEN {kind} '-infinity'"
    return f"CASE {name} {infinite} ELSE {finite} END"


@pytest.mark.fuzz
@fuzz
@given(case=cases(POSTGRES))
def test_postgresql_answers_as_the_rows_in_memory_do(
    pg_session: affidavit.Session, pg_server: PgServer, case: tuple[pa.Table, list[str]]
) -> None:
    rows, asked = case
    with pg_server.connect("fuzz") as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE t")
        cursor.execute("DROP TABLE IF EXISTS raw")
        cursor.execute("SET TIME ZONE 'UTC'")
        raw = rows
        for name in ("d", "ts", "tz"):  # the driver cannot write infinity
            place = rows.schema.get_field_index(name)
            raw = raw.set_column(place, name, pa.array(counts(rows[name]), pa.int64()))
        cursor.adbc_ingest("raw", raw, mode="create")
        day = written("d", FOREVER_DAYS, "date", "date '1970-01-01' + d::int")
        moments = [
            written(name, FOREVER_US, kind, f"{kind} 'epoch' + {name} / {DAY_US} * interval '1 day' "
                    f"+ {name} % {DAY_US} * interval '1 microsecond'")
            for name, kind in (("ts", "timestamp"), ("tz", "timestamptz"))
        ]  # fmt: skip
        cursor.execute(
            f"INSERT INTO t SELECT b, b2, i2, i4, i8, j8, f4, f8, g8, n::numeric(12, 3), {day}, "
            f"{', '.join(moments)}, s, odd, bin, wide::numeric(38, 10), t, a, u::uuid, m::mood, "
            "fixed FROM raw"
        )
    check(pg_session, "pg.public.t", rows, asked)


@pytest.fixture(scope="module", params=["", "COLLATE NOCASE"])
def duck_session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[affidavit.Session, Path]]:
    duckdb = pytest.importorskip("duckdb")
    folder = tmp_path_factory.mktemp("duck")
    path = folder / "x.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(MOOD)
        connection.execute(
            "CREATE TABLE t (b BOOLEAN, b2 BOOLEAN, i2 SMALLINT, i4 INT, i8 BIGINT, j8 BIGINT, "
            "f4 FLOAT, f8 DOUBLE, g8 DOUBLE, n DECIMAL(12, 3), d DATE, ts TIMESTAMP, "
            f"tz TIMESTAMPTZ, s VARCHAR, odd VARCHAR {request.param}, bin BLOB, {TYPED_COLUMNS})"
        )
    with affidavit.connect(folder / "lake") as session:
        session.attach("duck", f"duckdb://{path}")
        yield session, path


@pytest.mark.fuzz
@fuzz
@given(case=cases(DUCKDB))
def test_duckdb_answers_as_the_rows_in_memory_do(
    duck_session: tuple[affidavit.Session, Path], case: tuple[pa.Table, list[str]]
) -> None:
    duckdb = pytest.importorskip("duckdb")
    rows, asked = case
    session, path = duck_session
    for at, column in enumerate(rows.schema):
        if pt.is_floating(column.type):  # DuckDB has one NaN, without a sign
            floats = [
                float("nan") if x is not None and isnan(x) else x for x in rows[at].to_pylist()
            ]
            rows = rows.set_column(at, column, pa.array(floats, column.type))
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM t")
        connection.register("raw", rows)
        connection.execute("INSERT INTO t SELECT * FROM raw")
    check(session, "duck.main.t", rows, asked)


@pytest.fixture(scope="module", params=["UTF-8", "UTF-16le"])
def lite_session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[affidavit.Session, sqlite3.Connection]]:
    folder = tmp_path_factory.mktemp("lite")
    connection = sqlite3.connect(folder / "x.db", isolation_level=None)
    connection.execute(f"PRAGMA encoding = '{request.param}'")
    connection.execute(
        "CREATE TABLE t (i8 INT, j8 BIGINT, f8 DOUBLE, s TEXT, odd VARCHAR(9) COLLATE NOCASE, "
        "trimmed TEXT COLLATE RTRIM, bin BLOB)"
    )
    with affidavit.connect(folder / "lake") as session:
        session.attach("lite", f"sqlite://{folder / 'x.db'}")
        yield session, connection
    connection.close()


@pytest.mark.fuzz
@fuzz
@given(case=cases(SQLITE))
def test_sqlite_answers_as_the_rows_in_memory_do(
    lite_session: tuple[affidavit.Session, sqlite3.Connection],
    case: tuple[pa.Table, list[str]],
) -> None:
    rows, asked = case
    session, connection = lite_session
    # SQLite keeps NaN as NULL, and a zero without its sign
    floats = [
        None if each is None or each != each else each or 0.0  # noqa: PLR0124 - NaN
        for each in rows["f8"].to_pylist()
    ]
    rows = rows.set_column(2, "f8", pa.array(floats, pa.float64()))
    connection.execute("BEGIN")
    connection.execute("DELETE FROM t")
    values = zip(*rows.to_pydict().values(), strict=True)
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    connection.execute("COMMIT")
    check(session, "lite.main.t", rows, asked)


def test_a_collation_of_the_sources_own_loses_no_row(
    lite_session: tuple[affidavit.Session, sqlite3.Connection],
) -> None:
    session, connection = lite_session
    connection.execute("DELETE FROM t")
    connection.executemany("INSERT INTO t (odd) VALUES (?)", [("B",), ("a",), ("b",)])
    connection.commit()
    found = session.sql("SELECT odd FROM lite.main.t WHERE odd < 'a'").to_pylist()
    assert found == [{"odd": "B"}], "without regard to case it is greater"


# --- MariaDB --------------------------------------------------------------------------------------

MARIADB_TYPES: Final = {
    "i1": "tinyint", "u1": "tinyint unsigned", "i2": "smallint", "u2": "smallint unsigned",
    "i4": "int", "u4": "int unsigned", "i8": "bigint", "j8": "bigint", "u8": "bigint unsigned",
    "f4": "float", "f8": "double", "g8": "double", "n": "decimal(12, 3)", "d": "date",
    "ts": "datetime(6)", "tz": "timestamp(6) NULL", "bin": "varbinary(9)",
    "s": "text COLLATE utf8mb4_general_ci", "odd": "varchar(9) COLLATE utf8mb4_unicode_520_ci",
    "exact": "varchar(9) COLLATE utf8mb4_bin", "latin": "varchar(9) CHARACTER SET latin1",
    "fixed": "char(5)",
}  # fmt: skip
MARIADB_MOMENTS: Final = {
    "d": (-719_162, 2_932_896), "ts": (-62_135_596_800_000_000, 253_402_300_799_999_999),
    "tz": (1_000_000, 2**31 * 1_000_000 - 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def maria_session(
    mariadb_server: MariaDbServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[affidavit.Session]:
    columns = [f"`{each.name}` {MARIADB_TYPES[each.name]}" for each in MARIADB]
    url = mariadb_server.database(
        "fuzz", f"CREATE TABLE t ({', '.join(columns)})", "CREATE INDEX by_text ON t (odd, latin)"
    )
    with affidavit.connect(tmp_path_factory.mktemp("maria") / "lake") as session:
        session.attach("my", url)
        yield session


@pytest.mark.fuzz
@fuzz
@given(case=cases(MARIADB))
def test_mariadb_answers_as_the_rows_in_memory_do(
    maria_session: affidavit.Session,
    mariadb_server: MariaDbServer,
    case: tuple[pa.Table, list[str]],
) -> None:
    rows, asked = case
    for at, column in enumerate(rows.schema):
        kept = [held_by_mariadb(column, each) for each in counts(rows[at])]
        rows = rows.set_column(at, column, array_of(column, kept))
    values = zip(
        *(
            [mariadb_literal(column, each) for each in counts(rows[column.name])]
            for column in rows.schema
        ),
        strict=True,
    )
    several = ", ".join(f"({', '.join(row)})" for row in values)
    insert = [f"INSERT INTO t VALUES {several}"] if several else []
    mariadb_server.run("DELETE FROM t", *insert, database="fuzz")
    check(maria_session, "my.fuzz.t", rows, asked)


def counts(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values, dates and moments as counts."""
    array = column.combine_chunks()
    if pt.is_temporal(array.type):
        array = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
    return array.to_pylist()


def held_by_mariadb(column: pa.Field, value: Any) -> Any:
    """Return what MariaDB would hold, which has no NaN, no infinity, no -0.0, and fewer years."""
    if value is None or not isinstance(value, (int, float)):
        return value
    if isinstance(value, float):
        return (value or 0.0) if isfinite(value) else None
    least, most = MARIADB_MOMENTS.get(column.name, (value, value))
    return value if least <= value <= most else None


def mariadb_literal(column: pa.Field, value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return f"CONVERT(x'{value.encode().hex()}' USING utf8mb4)"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if pt.is_date32(column.type):
        return f"'{date.fromordinal(value + date(1970, 1, 1).toordinal())}'"
    if pt.is_timestamp(column.type):
        return f"'{pa.scalar(value, pa.timestamp('us')).as_py().isoformat(' ')}'"
    return f"{value!r}" if isinstance(value, float) and "e" in repr(value) else f"'{value}'"
