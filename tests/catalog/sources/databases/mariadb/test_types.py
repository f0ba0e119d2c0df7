"""MariaDB: what a type holds comes out as it is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import affidavit
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from tests.support.mariadb_server import MariaDbServer


def ids(session: affidavit.Session, text: str) -> list[int]:
    return sorted(each["id"] for each in session.sql(text).to_pylist())


UTC_ZONE = pa.timestamp("us", "UTC")
MOMENT = pa.timestamp("us")
NUMBERS: list[tuple[str, pa.DataType, list[tuple[str, Any]]]] = [
    ("tinyint", pa.int8(), [("-128", -128), ("127", 127)]),
    ("tinyint unsigned", pa.uint8(), [("0", 0), ("255", 255)]),
    ("boolean", pa.int8(), [("true", 1), ("false", 0)]),
    ("smallint", pa.int16(), [("-32768", -32768), ("32767", 32767)]),
    ("smallint unsigned", pa.uint16(), [("65535", 65535)]),
    ("mediumint", pa.int32(), [("-8388608", -8388608), ("8388607", 8388607)]),
    ("mediumint unsigned", pa.uint32(), [("16777215", 16777215)]),
    ("int", pa.int32(), [(str(-(2**31)), -(2**31)), (str(2**31 - 1), 2**31 - 1)]),
    ("int unsigned", pa.uint32(), [(str(2**32 - 1), 2**32 - 1)]),
    ("int(7) zerofill", pa.uint32(), [("42", 42)]),
    ("bigint", pa.int64(), [(str(-(2**63)), -(2**63)), (str(2**63 - 1), 2**63 - 1)]),
    ("bigint unsigned", pa.uint64(), [(str(2**63), 2**63), (str(2**64 - 1), 2**64 - 1)]),
    ("year", pa.int16(), [("1901", 1901), ("2155", 2155), ("0000", 0), ("'70'", 1970)]),
    ("bit(1)", pa.uint64(), [("b'0'", 0), ("b'1'", 1)]),
    ("bit(64)", pa.uint64(), [("~0", 2**64 - 1), ("b'101'", 5)]),
    ("float", pa.float32(), [("-3.4028234e38", -3.4028234663852886e38), ("16777216", 16777216.0), ("1e-45", 1.401298464324817e-45), ("0.1", 0.10000000149011612)]),
    ("float(7, 2)", pa.float32(), [("99999.99", 99999.9921875)]),
    ("double", pa.float64(), [("-1.7976931348623157e308", -1.7976931348623157e308), ("5e-324", 5e-324), ("0.1", 0.1), ("123456789.12345679", 123456789.12345679)]),
    ("decimal(38, 10)", pa.decimal128(38, 10), [("-9999999999999999999999999999.9999999999", Decimal("-9999999999999999999999999999.9999999999")), ("0.0000000001", Decimal("0.0000000001"))]),
    ("decimal(38, 30)", pa.decimal128(38, 30), [("99999999.999999999999999999999999999999", Decimal("99999999.999999999999999999999999999999"))]),
    ("decimal(5, 0)", pa.decimal128(5, 0), [("-99999", Decimal(-99999))]),
    ("decimal(10, 2) unsigned", pa.decimal128(10, 2), [("99999999.99", Decimal("99999999.99"))]),
]  # fmt: skip
TEXTS: list[tuple[str, pa.DataType, list[tuple[str, Any]]]] = [
    ("char(5)", pa.string(), [("'ab'", "ab"), ("''", ""), ("'日本語'", "日本語")]),
    ("varchar(40)", pa.string(), [("'é😀 '", "é😀 "), ("''", ""), ("concat('a', char(0), 'b')", "a\0b")]),
    ("varchar(40) CHARACTER SET latin1", pa.string(), [("'éß€'", "éß€")]),
    ("varchar(40) CHARACTER SET utf8mb3", pa.string(), [("'日本'", "日本")]),
    ("varchar(40) CHARACTER SET utf16", pa.string(), [("'é😀'", "é😀")]),
    ("varchar(40) CHARACTER SET sjis", pa.string(), [("'日本表'", "日本表")]),
    ("varchar(40) COLLATE utf8mb4_bin", pa.string(), [("'x '", "x ")]),
    ("tinytext", pa.string(), [("'t'", "t"), ("''", "")]),
    ("text", pa.string(), [("repeat('é', 30000)", "é" * 30000)]),
    ("mediumtext", pa.string(), [("repeat('😀', 1000000)", "😀" * 1_000_000), ("'short'", "short")]),
    ("longtext", pa.string(), [("repeat('xyz', 2000000)", "xyz" * 2_000_000)]),
    ("json", pa.string(), [("'{\"a\": [1, null]}'", '{"a": [1, null]}')]),
    ("enum('sad', 'glad')", pa.string(), [("'glad'", "glad")]),
    ("set('a', 'b', 'c')", pa.string(), [("'c,a'", "a,c"), ("''", "")]),
    ("uuid", pa.string(), [("'00000000-0000-0000-0000-00000000000A'", "00000000-0000-0000-0000-00000000000a")]),
    ("inet6", pa.string(), [("'::1'", "::1")]),
    ("inet4", pa.string(), [("'10.0.0.1'", "10.0.0.1")]),
    ("binary(4)", pa.binary(), [("'ab'", b"ab\0\0")]),
    ("varbinary(9)", pa.binary(), [("x'00ff'", b"\x00\xff"), ("''", b"")]),
    ("tinyblob", pa.binary(), [("x'27'", b"'")]),
    ("blob", pa.binary(), [("repeat(x'00ff', 30000)", b"\x00\xff" * 30000)]),
    ("longblob", pa.binary(), [("repeat(x'00ff', 2000000)", b"\x00\xff" * 2_000_000), ("''", b"")]),
]  # fmt: skip
TIMES: list[tuple[str, pa.DataType, list[tuple[str, Any]]]] = [
    ("date", pa.date32(), [("'1000-01-01'", date(1000, 1, 1)), ("'9999-12-31'", date(9999, 12, 31)), ("'0001-01-01'", date(1, 1, 1))]),
    ("time", pa.string(), [("'838:59:59'", "838:59:59"), ("'-25:00:01'", "-25:00:01")]),
    ("time(6)", pa.string(), [("'-00:00:00.000001'", "-00:00:00.000001")]),
    ("datetime", MOMENT, [("'9999-12-31 23:59:59'", datetime(9999, 12, 31, 23, 59, 59))]),
    ("datetime(1)", MOMENT, [("'2020-02-29 01:02:03.4'", datetime(2020, 2, 29, 1, 2, 3, 400_000))]),
    ("datetime(3)", MOMENT, [("'1000-01-01 00:00:00.001'", datetime(1000, 1, 1, 0, 0, 0, 1000))]),
    ("datetime(6)", MOMENT, [("'0001-01-01 00:00:00.000001'", datetime(1, 1, 1, 0, 0, 0, 1))]),
    ("timestamp", UTC_ZONE, [("'1970-01-01 00:00:01'", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))]),
    ("timestamp(6)", UTC_ZONE, [("'2038-01-19 03:14:07.999999'", datetime(2038, 1, 19, 3, 14, 7, 999_999, tzinfo=UTC))]),
]  # fmt: skip


@pytest.mark.parametrize("types", [NUMBERS, TEXTS, TIMES], ids=["numbers", "texts", "times"])
def test_what_a_type_holds_comes_out_as_it_is(
    session: affidavit.Session,
    mariadb_server: MariaDbServer,
    types: list[tuple[str, pa.DataType, list[tuple[str, Any]]]],
) -> None:
    """Thrice, since an array of values is laid out otherwise than one, and with NULL between.

    The ODBC driver takes an array of float for one of double, and gives zeros and others' values.
    """
    url = mariadb_server.database("kinds")
    for at, (declared, _, values) in enumerate(types):
        rows = ", ".join(f"({literal}), (NULL)" for literal, _ in values)
        mariadb_server.run(
            f"CREATE TABLE t{at} (n int AUTO_INCREMENT PRIMARY KEY, x {declared} NULL)",
            *[f"INSERT INTO t{at} (x) VALUES {rows}"] * 3,
            database="kinds",
        )
    session.attach("my", url)
    for at, (declared, kind, values) in enumerate(types):
        found = session.sql(f"SELECT x FROM my.kinds.t{at} ORDER BY n").to_arrow()
        assert found.schema.field("x").type == kind, declared
        expected = [each for _, value in values for each in (value, None)] * 3
        assert found["x"].to_pylist() == expected, declared


def test_a_zero_has_no_sign(session: affidavit.Session, mariadb_server: MariaDbServer) -> None:
    """MariaDB drops it when it stores the number."""
    url = mariadb_server.database(
        "zero", "CREATE TABLE t (x double)", "INSERT INTO t VALUES ('-0')"
    )
    session.attach("my", url)
    assert str(session.sql("SELECT x FROM my.zero.t").to_pylist()[0]["x"]) == "0.0"


def test_what_arrow_lacks_is_text(
    session: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    url = mariadb_server.database(
        "odd",
        "CREATE TABLE t (id int, huge decimal(65, 30), place point)",
        "INSERT INTO t VALUES (1, 1.5, POINT(1, 2))",
    )
    session.attach("my", url)
    assert session.sql("SELECT * FROM my.odd.t").to_pylist() == [
        {"id": 1, "huge": f"1.5{'0' * 29}", "place": "POINT(1 2)"}
    ]


@pytest.mark.parametrize("zone", ["+00:00", "+05:30", "-11:00"])
def test_a_moment_is_in_utc_whatever_zone_the_server_is_in(
    session: affidavit.Session, mariadb_server: MariaDbServer, zone: str
) -> None:
    url = mariadb_server.database(
        "zones",
        "CREATE TABLE t (ts timestamp(6) NULL, dt datetime)",
        "INSERT INTO t VALUES ('2020-06-01 12:00:00.5', '2020-06-01 12:00:00')",
    )
    mariadb_server.run(f"SET GLOBAL time_zone = '{zone}'")
    try:
        session.attach("my", url)
        moment = "arrow_cast('2020-06-01 12:00:00.5', 'Timestamp(Microsecond, Some(\"UTC\"))')"
        found = session.sql(f"SELECT * FROM my.zones.t WHERE ts = {moment}").to_pylist()
    finally:
        mariadb_server.run("SET GLOBAL time_zone = 'SYSTEM'")
    assert found == [
        {"ts": datetime(2020, 6, 1, 12, 0, 0, 500_000, UTC), "dt": datetime(2020, 6, 1, 12)}
    ]


@pytest.mark.parametrize("value", ["0000-00-00", "2020-00-10", "2020-02-00"])
@pytest.mark.parametrize("declared", ["date", "date NOT NULL", "datetime", "datetime(3)"])
def test_a_date_that_is_none_is_an_error_that_names_its_column(
    session: affidavit.Session, mariadb_server: MariaDbServer, declared: str, value: str
) -> None:
    """A server that is not strict keeps them; the ODBC driver makes other dates of some."""
    url = mariadb_server.database(
        "zeros",
        f"CREATE TABLE t (id int, born {declared})",
        f"INSERT INTO t VALUES (1, '{value}'), (2, '2020-01-01')",
    )
    session.attach("my", url)
    for filtered in ("", " WHERE born IS NOT NULL", " WHERE id = 1"):
        with pytest.raises(SourceError, match=r"'my'.*'born'"):
            session.sql(f"SELECT born FROM my.zeros.t{filtered}").to_arrow()
    assert ids(session, "SELECT id FROM my.zeros.t") == [1, 2]
    day = "DATE '2019-01-01'" if "time" not in declared else "TIMESTAMP '2019-01-01'"
    assert ids(session, f"SELECT id FROM my.zeros.t WHERE born > {day} AND id = 2") == [2]


def test_a_timestamp_of_zeros_is_an_error_too(
    session: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    url = mariadb_server.database(
        "zeros", "CREATE TABLE t (born timestamp NULL)", "INSERT INTO t VALUES (0)"
    )
    session.attach("my", url)
    with pytest.raises(SourceError, match="'born'"):
        session.sql("SELECT born FROM my.zeros.t").to_arrow()
