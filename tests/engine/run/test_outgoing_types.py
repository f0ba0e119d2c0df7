"""P10: values arrive in another database as they were, or are refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from tests.support.outgoing import SCHEMA, SOURCES, TABLE, make, rows

import affidavit
from affidavit.errors import SourceError

KINDS = {
    "pg": (
        "CREATE TABLE kinds (b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, "
        "n numeric(38, 10), s text, c char(4), bin bytea, d date, ts timestamp, tz timestamptz, "
        "tm time, u uuid, j json, jb jsonb, l int[], t text[])"
    ),
    "my": (
        "CREATE TABLE kinds (i1 tinyint, i2 smallint unsigned, i4 int unsigned, "
        "i8 bigint unsigned, f4 float, f8 double, n decimal(38, 10), s text, c char(4), "
        "bin blob, d date, ts datetime(6), tz timestamp(6) NULL, tm time(6), u uuid, j json, "
        "e enum('a', 'b'), bt bit(9), y year)"
    ),
    "duck": (
        "CREATE TABLE kinds (b bool, i1 tinyint, u8 ubigint, i8 bigint, f4 float, f8 double, "
        "n decimal(38, 10), s varchar, bin blob, d date, ts timestamp, tz timestamptz, tm time, "
        "u uuid, l int[])"
    ),
    "lite": "CREATE TABLE kinds (i8 integer, f8 real, s text, bin blob, n decimal(15, 3))",
}
VALUES = {
    "b": "true", "i1": "-128", "i2": "{i2}", "i4": "{i4}", "i8": "{i8}", "u8": "18446744073709551615",
    "f4": "CAST(1.1 AS REAL)", "f8": "1.7976931348623157e308",
    "n": "{n}", "s": "'a\u00e9\U0001d11e''\"\\'", "c": "'ab'",
    "bin": "x'00ff41'", "d": "DATE '1815-12-10'", "ts": "TIMESTAMP '2020-02-29 23:59:59.123456'",
    "tz": "TIMESTAMP '2020-02-29 23:59:59.123456'", "tm": "{tm}",
    "u": "'00000000-0000-0000-0000-0000000000ff'", "j": "'[1]'", "jb": "'[1]'", "l": "[1, NULL]",
    "t": "['a', NULL]", "e": "'b'", "bt": "257", "y": "2024",
}  # fmt: skip
SPECIAL = {
    "pg": {"i2": "-32768", "i4": "-2147483648", "i8": "-9223372036854775807"},
    "my": {"i2": "65535", "i4": "4294967295", "i8": "18446744073709551615", "tm": "'-12:30:00.5'"},
    "duck": {"i8": "-9223372036854775807"},
    "lite": {"i8": "-9223372036854775807", "n": "123456.789"},
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_p10_values_arrive_as_they_were(
    kind: str, session: affidavit.Session, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    session.attach("x", make(kind, request, tmp_path, KINDS[kind]))
    table = f"x.{SCHEMA[kind]}.kinds"
    names = session.sql(f"SELECT * FROM {table}").schema.names
    special = {"n": "1234567890123456789012345678.0123456789", "tm": "TIME '23:59:59.123456'"}
    special.update(SPECIAL[kind])
    schema = session.sql(f"SELECT * FROM {table}").schema
    values = ", ".join(
        f"arrow_cast({VALUES[name].format(**special)}, '{arrow_name(schema.field(name).type)}') AS {name}"
        for name in names
    )
    session.sql(f"CREATE TABLE src AS SELECT {values}")
    session.sql(f"INSERT INTO {table} SELECT * FROM src")
    listed = ", ".join(names)
    session.sql(f"INSERT INTO {table} ({listed}) SELECT {', '.join(f'NULL AS {n}' for n in names)}")
    found = session.sql(f"SELECT * FROM {table}").to_arrow()
    whole = found.filter(pa.compute.is_valid(found["s"])).to_pylist()
    wanted = session.sql("SELECT * FROM src").to_arrow().to_pylist()
    for each in (*whole, *wanted):
        if "tm" in each and kind == "my":
            each["tm"] = str(each["tm"]).rstrip("0")
    assert whole == wanted
    empty = found.filter(pa.compute.is_null(found["s"])).to_pylist()
    assert empty == [dict.fromkeys(names)]


def arrow_name(kind: pa.DataType) -> str:
    """Return what DataFusion's arrow_cast calls a type."""
    if pa.types.is_list(kind):
        return f"List({arrow_name(kind.value_type)})"
    if pa.types.is_decimal(kind):
        return f"Decimal128({kind.precision}, {kind.scale})"
    names = {
        pa.bool_(): "Boolean", pa.float32(): "Float32", pa.float64(): "Float64",
        pa.string(): "Utf8", pa.binary(): "Binary", pa.date32(): "Date32",
        pa.timestamp("us"): "Timestamp(Microsecond, None)",
        pa.timestamp("us", "UTC"): 'Timestamp(Microsecond, Some("UTC"))',
        pa.time64("us"): "Time64(Microsecond)",
    }  # fmt: skip
    return names.get(kind) or str(kind).replace("uint", "UInt").replace("int", "Int", 1).replace(
        "UInt", "UInt"
    )


@pytest.mark.server
@pytest.mark.parametrize(
    ("kind", "value"),
    [("pg", "'toolong'"), ("my", "'toolong'"), ("my", "'\U0001d11e' || 'toolong'")],
)
def test_a_value_that_does_not_fit_is_refused_and_not_cut(
    kind: str,
    value: str,
    session: affidavit.Session,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    session.attach("x", make(kind, request, tmp_path, TABLE[kind]))
    with pytest.raises(SourceError, match="long"):
        session.sql(f"INSERT INTO x.{SCHEMA[kind]}.t (id, s) VALUES (1, {value})")
    assert rows(session, f"x.{SCHEMA[kind]}.t") == []


def test_nan_is_not_made_null(
    session: affidavit.Session, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    session.attach("lite", make("lite", request, tmp_path, "CREATE TABLE f (x real)"))
    with pytest.raises(SourceError, match="'x'.*NaN"):
        session.sql("INSERT INTO lite.main.f VALUES (arrow_cast('NaN', 'Float64'))")
    assert session.sql("SELECT * FROM lite.main.f").to_pylist() == []
