"""MariaDB attached: what comes of each type, what is sent, and what happens when it goes away."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pytest

import affidavit
from affidavit.catalog.sources.drivers import mariadb
from affidavit.errors import AffidavitError, SourceError, SqlError, TableExistsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.mariadb_server import MariaDbServer

BOUND_S = 20.0
PEOPLE = (
    "CREATE TABLE people (id bigint PRIMARY KEY, name varchar(40), born date)",
    "INSERT INTO people VALUES (1, 'Ada', '1815-12-10'), (2, 'Grace', '1906-12-09'), "
    "(3, NULL, NULL)",
    "CREATE TABLE empty (x int)",
    "CREATE VIEW named AS SELECT id, upper(name) AS shout FROM people WHERE name IS NOT NULL",
    "CREATE VIEW slow AS SELECT id, sleep(60) AS z FROM people",
)


@pytest.fixture
def url(mariadb_server: MariaDbServer) -> str:
    return mariadb_server.database("first", *PEOPLE)


@pytest.fixture
def my(session: affidavit.Session, url: str) -> affidavit.Session:
    session.attach("my", url)
    return session


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + BOUND_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def ids(session: affidavit.Session, text: str) -> list[int]:
    return sorted(each["id"] for each in session.sql(text).to_pylist())


# --- types ----------------------------------------------------------------------------------------

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


def test_a_column_that_cannot_be_given_is_named_and_keeps_no_other_away(
    session: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    url = mariadb_server.database(
        "odd",
        "CREATE TABLE t (id int, huge decimal(65, 30), place point)",
        "INSERT INTO t VALUES (1, 1.5, NULL)",
    )
    session.attach("my", url)
    assert session.sql("SELECT * FROM my.odd.t").to_pylist() == [{"id": 1}]
    for column, declared in (("huge", r"decimal\(65,30\)"), ("place", "point")):
        with pytest.raises(SqlError, match=rf"{column}.*{declared}"):
            session.sql(f"SELECT {column} FROM my.odd.t")


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


# --- names ----------------------------------------------------------------------------------------

NAMES = [
    "plain", "two words", "back`tick", 'dou"ble', "sin'gle", "back\\slash", "sémi;--", "日本", "select",
    "Case", "a?b", "{d '1'}", "/* no */", "per%cent", "a.b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_need_quotes(
    session: affidavit.Session, mariadb_server: MariaDbServer, name: str
) -> None:
    here, there = f"`{name.replace('`', '``')}`", '"' + name.replace('"', '""') + '"'
    database = f"db {name}".replace(".", "_")
    url = mariadb_server.database(
        database,
        f"CREATE TABLE {here} ({here} int, other varchar(40))",
        f"INSERT INTO {here} VALUES (1, 'x'), (2, '{name.replace(chr(39), chr(39) * 2)}')",
    )
    where = '"' + database.replace('"', '""') + '"'
    session.attach("my", url)
    text = f"SELECT {there} AS one FROM my.{where}.{there}"
    assert session.sql(f"{text} WHERE {there} = 1").to_pylist() == [{"one": 1}]
    value = name.replace("'", "''")
    assert session.sql(f"{text} WHERE other = '{value}'").to_pylist() == [{"one": 2}]
    assert session.sql(f"{text} WHERE other > 'x' OR other <= '{value}'").to_arrow().num_rows


def test_views_empty_tables_and_counts(my: affidavit.Session) -> None:
    assert my.sql("SELECT shout FROM my.first.named WHERE id = 1").to_pylist() == [{"shout": "ADA"}]
    assert my.sql("SELECT * FROM my.first.empty").to_pylist() == []
    assert my.sql("SELECT count(*) AS n FROM my.first.people").to_pylist() == [{"n": 3}]
    assert my.sql("SELECT 1 AS one FROM my.first.people").to_arrow().num_rows == 3


def test_a_server_without_a_path_shows_every_database_but_its_own(
    session: affidavit.Session, mariadb_server: MariaDbServer, url: str
) -> None:
    mariadb_server.database("second", "CREATE TABLE t (x int)")
    session.attach("all", mariadb_server.url())
    session.attach("one", url)
    rows = session.sql(
        "SELECT table_catalog AS c, table_schema AS s, table_name AS t FROM information_schema.tables "
        "WHERE table_schema <> 'information_schema'"
    ).to_pylist()
    found = {(each["c"], each["s"], each["t"]) for each in rows}
    assert {("all", "first", "people"), ("all", "second", "t"), ("one", "first", "named")} <= found
    assert not {each for each in found if each[0] == "one" and each[1] != "first"}
    assert not {each for each in found if each[0] == "all" and each[1] in {"mysql", "sys"}}


def test_system_sources_lists_it_without_a_secret(my: affidavit.Session, url: str) -> None:
    rows = my.sql("SELECT name, url FROM system.sources").to_pylist()
    assert rows == [
        {"name": "my", "url": url.partition("tester:")[0] + "tester@" + url.rpartition("@")[2]}
    ]


def test_a_source_joins_a_table_of_the_lake(my: affidavit.Session) -> None:
    my.create_table("notes", [{"id": 1, "note": "first"}])
    rows = my.sql("SELECT p.name, n.note FROM notes n JOIN my.first.people p ON p.id = n.id")
    assert rows.to_pylist() == [{"name": "Ada", "note": "first"}]


def test_a_name_is_given_once(my: affidavit.Session, url: str) -> None:
    with pytest.raises(TableExistsError):
        my.attach("my", url)
    my.detach("my")
    my.attach("my", url.replace("mysql:", "mariadb:"))
    assert ids(my, "SELECT id FROM my.first.people") == [1, 2, 3]


# --- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "sent"),
    [
        ("id = 1", "(`id` = 1)"),
        ("name = 'Ada'", "(`name` = 'Ada')"),
        ("name > 'B'", "(CAST(CONVERT(`name` USING utf8mb4) AS BINARY) > 'B')"),
        ("born < DATE '1900-01-01'", "(`born` < DATE '1900-01-01')"),
        ("name IS NULL", "(`name` IS NULL)"),
    ],
)
def test_what_is_sent_is_shown(my: affidavit.Session, condition: str, sent: str) -> None:
    assert sent in my.explain(f"SELECT id FROM my.first.people WHERE {condition}")


@pytest.mark.parametrize(
    "condition",
    ["name LIKE 'A%'", "name <> 'Ada'", "name NOT IN ('Ada', 'x')", "upper(name) = 'ADA'"],
)
def test_what_is_not_sent_is_filtered_here(my: affidavit.Session, condition: str) -> None:
    assert (
        "WHERE"
        not in my.explain(f"SELECT id FROM my.first.people WHERE {condition}").rpartition(
            "sent to"
        )[2]
    )
    assert ids(my, f"SELECT id FROM my.first.people WHERE {condition}") in ([1], [2])


WORDS = ["a", "A", "a ", "A ", "á", "b", "B", "", " ", "ss", "ß", "Z", "é", "e\u0301"]
CONDITIONS = {
    "s = 'a'": lambda s: s == "a",
    "s = 'A '": lambda s: s == "A ",
    "s = ''": lambda s: s == "",
    "s IN ('a', 'SS')": lambda s: s == "a",
    "s NOT IN ('a', 'ss')": lambda s: s not in {"a", "ss"},
    "NOT (s = 'a')": lambda s: s != "a",
    "s <> 'b'": lambda s: s != "b",
    "s < 'a'": lambda s: s < "a",
    "s <= 'b'": lambda s: s <= "b",
    "s > 'B'": lambda s: s > "B",
    "s BETWEEN 'A' AND 'a'": lambda s: "A" <= s <= "a",
    "s LIKE 'a%'": lambda s: s.startswith("a"),
    "s ILIKE 'a'": lambda s: s in {"a", "A"},
    "s = 'é' OR s = 'ß'": lambda s: s in {"é", "ß"},
}


@pytest.mark.parametrize(
    "collation",
    ["utf8mb4_general_ci", "utf8mb4_unicode_520_ci", "utf8mb4_nopad_bin", "utf16_general_ci"],
)
def test_text_is_compared_as_it_is_whatever_the_collation(
    session: affidavit.Session, mariadb_server: MariaDbServer, collation: str
) -> None:
    """Without regard to case, and to blanks at the end, MariaDB's own = would select more."""
    rows = ", ".join(f"('{each}')" for each in WORDS)
    url = mariadb_server.database(
        "words",
        f"CREATE TABLE t (s varchar(9) CHARACTER SET {collation.partition('_')[0]} COLLATE {collation}, KEY (s))",
        f"INSERT INTO t VALUES {rows}",
    )
    session.attach("my", url)
    for condition, holds in CONDITIONS.items():
        found = session.sql(f"SELECT s FROM my.words.t WHERE {condition}").to_arrow()["s"]
        assert sorted(found.to_pylist()) == sorted(filter(holds, WORDS)), condition


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("y = 70", []), ("y > 70", [1901, 1970, 2005]), ("NOT (y = 70)", [0, 1901, 1970, 2005]),
        ("y < 5", [0]), ("y > 0", [1901, 1970, 2005]), ("y = 1970", [1970]), ("y <> 5", [0, 1901, 1970, 2005]),
    ],
)  # fmt: skip
def test_a_year_of_two_digits_is_not_one_of_four(
    session: affidavit.Session, mariadb_server: MariaDbServer, condition: str, expected: list[int]
) -> None:
    """MariaDB compares a year with 70 as with 1970, so `y > 70` would lose 1901."""
    url = mariadb_server.database(
        "years", "CREATE TABLE t (y year)", "INSERT INTO t VALUES (0000), (1901), (1970), (2005)"
    )
    session.attach("my", url)
    found = session.sql(f"SELECT y FROM my.years.t WHERE {condition} ORDER BY y").to_arrow()["y"]
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sql_select_limit", "2"), ("sql_mode", "'ANSI_QUOTES'"), ("sql_mode", "'PAD_CHAR_TO_FULL_LENGTH'"),
        ("character_set_server", "latin1"), ("sql_auto_is_null", "1"), ("tx_isolation", "'SERIALIZABLE'"),
    ],
)  # fmt: skip
def test_what_a_server_sets_for_its_sessions_changes_no_answer(
    session: affidavit.Session, mariadb_server: MariaDbServer, name: str, value: str
) -> None:
    url = mariadb_server.database(
        "settings",
        "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, c char(5))",
        "INSERT INTO t (c) VALUES ('a'), ('é'), ('c')",
    )
    ((before,),) = mariadb_server.run(f"SELECT CAST(@@GLOBAL.{name} AS CHAR)")
    mariadb_server.run(f"SET GLOBAL {name} = {value}")
    try:
        session.attach("my", url)
        found = session.sql("SELECT * FROM my.settings.t WHERE id > 0 AND c <> '\"'").to_pylist()
    finally:
        mariadb_server.run(f"SET GLOBAL {name} = {before if before.isdigit() else repr(before)}")
    assert sorted(each["c"] for each in found) == ["a", "c", "é"]


# --- pages ----------------------------------------------------------------------------------------


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make pages small, and return the queries as they are sent."""
    texts: list[str] = []
    real = mariadb.batches_of

    def noting(connection: Any, sql: str, *rest: Any) -> Any:
        texts.append(sql)
        return real(connection, sql, *rest)

    monkeypatch.setattr(mariadb, "PAGE_ROWS", 50)
    monkeypatch.setattr(mariadb, "batches_of", noting)
    return texts


PAGED = {
    "plain": "SELECT seq AS a, seq AS b, repeat('x', seq % 7) AS s FROM seq_1_to_500",
    "negative": "SELECT CAST(seq AS SIGNED) - 250 AS a, seq AS b, 'x' AS s FROM seq_1_to_500",
    "sparse": "SELECT seq * seq * 1000 AS a, seq AS b, 'x' AS s FROM seq_1_to_500",
    "composite": "SELECT CAST(seq AS SIGNED) % 3 - 1 AS a, CAST(seq AS SIGNED) - 250 AS b, 'x' AS s FROM seq_1_to_500",
    "exactly pages": "SELECT seq AS a, -CAST(seq AS SIGNED) AS b, 'x' AS s FROM seq_1_to_200",
}


def paged(server: MariaDbServer, rows: str, key: str = "a, b", kind: str = "bigint") -> str:
    return server.database(
        "paged",
        f"CREATE TABLE t (a {kind} NOT NULL, b {kind} NOT NULL, s varchar(20), PRIMARY KEY ({key}))",
        f"INSERT INTO t {rows}",
        "ANALYZE TABLE t",
    )


@pytest.mark.parametrize("key", ["a", "a, b", "b DESC, a"])
@pytest.mark.parametrize("rows", PAGED)
def test_pages_give_each_row_once(
    session: affidavit.Session, mariadb_server: MariaDbServer, sent: list[str], rows: str, key: str
) -> None:
    if rows == "composite" and key == "a":
        key = "b, a"
    session.attach("my", paged(mariadb_server, PAGED[rows], key))
    expected = sorted(mariadb_server.run("SELECT a, b, s FROM t", database="paged"))
    for columns in ("a, b, s", "s, b", "s", "a"):
        names = columns.split(", ")
        want = sorted(tuple(row["abs".index(name)] for name in names) for row in expected)
        sent.clear()
        found = session.sql(f"SELECT {columns} FROM my.paged.t").to_pylist()
        assert sorted(tuple(row.values()) for row in found) == want
        assert len(sent) > 3
    assert session.sql("SELECT count(*) AS n FROM my.paged.t").to_pylist() == [{"n": len(expected)}]
    for condition, holds in (
        ("b > 20", lambda row: row[1] > 20),
        ("a <> 5 AND s LIKE 'x%'", lambda row: row[0] != 5 and row[2].startswith("x")),
        ("a > 3 OR b < 10", lambda row: row[0] > 3 or row[1] < 10),
        ("a = 999", lambda row: row[0] == 999),
    ):
        found = session.sql(f"SELECT s, a FROM my.paged.t WHERE {condition}").to_pylist()
        want = sorted((row[2], row[0]) for row in expected if holds(row))
        assert sorted(tuple(row.values()) for row in found) == want, condition


def test_unsigned_keys_are_paged(
    session: affidavit.Session, mariadb_server: MariaDbServer, sent: list[str]
) -> None:
    rows = "SELECT ~0 - seq, seq, 'x' FROM seq_1_to_300"
    session.attach("my", paged(mariadb_server, rows, "a", "bigint unsigned"))
    found = session.sql("SELECT a FROM my.paged.t").to_arrow()["a"].to_pylist()
    assert sorted(found) == [2**64 - 1 - each for each in range(300, 0, -1)]
    assert len(sent) > 3


@pytest.mark.parametrize("declared", ["varchar(20)", "date", "year", "decimal(20, 0)", "binary(8)"])
def test_a_key_that_is_no_integer_is_not_paged(
    session: affidavit.Session, mariadb_server: MariaDbServer, sent: list[str], declared: str
) -> None:
    value = "DATE_ADD('1990-01-01', INTERVAL seq DAY)" if declared == "date" else "seq + 1910"
    url = mariadb_server.database(
        "paged",
        f"CREATE TABLE t (k {declared} PRIMARY KEY)",
        f"INSERT INTO t SELECT {value} FROM seq_1_to_200",
        "ANALYZE TABLE t",
    )
    session.attach("my", url)
    assert session.sql("SELECT k FROM my.paged.t").to_arrow().num_rows == 200
    assert len(sent) == 1


@pytest.mark.parametrize("isolation", ["REPEATABLE-READ", "READ-COMMITTED"])
def test_pages_are_of_one_moment(
    session: affidavit.Session, mariadb_server: MariaDbServer, sent: list[str], isolation: str
) -> None:
    """A server may set another isolation than the one that has snapshots."""
    url = paged(mariadb_server, "SELECT seq * 2, 0, 'old' FROM seq_1_to_500", "a")
    mariadb_server.run(f"SET GLOBAL tx_isolation = '{isolation}'")
    try:
        session.attach("my", url)
        batches = session.sql("SELECT a, s FROM my.paged.t").batches()
        rows = next(batches).to_pylist()
        before = len(sent)
        mariadb_server.run(
            "INSERT INTO t VALUES (501, 1, 'new'), (2001, 1, 'new')",
            "DELETE FROM t WHERE a > 900",
            "UPDATE t SET s = 'new'",
            database="paged",
        )
        for batch in batches:
            rows += batch.to_pylist()
    finally:
        mariadb_server.run("SET GLOBAL tx_isolation = 'REPEATABLE-READ'")
    assert len(sent) > before
    assert sorted(each["a"] for each in rows) == [2 * each for each in range(1, 501)]
    assert {each["s"] for each in rows} == {"old"}
    now = session.sql("SELECT count(*) AS n FROM my.paged.t WHERE s = 'new'").to_pylist()
    assert now == [{"n": 451}], "and the next statement sees what is there then"


# --- what changes under us ------------------------------------------------------------------------


def test_a_table_that_is_made_altered_or_dropped_is_noticed(
    my: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    with pytest.raises(SqlError, match="late"):
        my.sql("SELECT * FROM my.first.late")
    mariadb_server.run("CREATE TABLE late (x int)", "INSERT INTO late VALUES (1)", database="first")
    assert my.sql("SELECT x FROM my.first.late").to_pylist() == [{"x": 1}]
    my.sql("SELECT name FROM my.first.people").to_arrow()
    mariadb_server.run("ALTER TABLE people DROP COLUMN name", database="first")
    with pytest.raises((SourceError, SqlError), match=r"\bname\b"):
        my.sql("SELECT name FROM my.first.people").to_arrow()
    assert ids(my, "SELECT id FROM my.first.people") == [1, 2, 3]
    mariadb_server.run("ALTER TABLE people MODIFY id varchar(9)", database="first")
    mariadb_server.run("UPDATE people SET id = 'x' WHERE id = '1'", database="first")
    with pytest.raises(SourceError, match="'my'.*'id'"):
        my.sql("SELECT id FROM my.first.people").to_arrow()
    mariadb_server.run("DROP TABLE people", database="first")
    with pytest.raises((SourceError, SqlError), match="people"):
        my.sql("SELECT id FROM my.first.people").to_arrow()
    assert my.sql("SELECT x FROM my.first.late").to_pylist() == [{"x": 1}]


@pytest.fixture(scope="module")
def big(mariadb_server: MariaDbServer) -> str:
    return mariadb_server.database(
        "big",
        "CREATE TABLE t (id int PRIMARY KEY, pad varchar(100))",
        "INSERT INTO t SELECT seq, repeat('x', 100) FROM seq_1_to_100000",
        "ANALYZE TABLE t",
    )


def test_a_server_that_dies_mid_way_is_an_error_and_its_return_is_noticed(
    session: affidavit.Session,
    mariadb_server: MariaDbServer,
    big: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mariadb, "PAGE_ROWS", 5000)
    session.attach("my", big)
    batches = session.sql("SELECT id, pad FROM my.big.t").batches()
    assert next(batches).num_rows
    mariadb_server.kill()
    began = time.monotonic()
    try:
        with pytest.raises(SourceError, match=r"'my'.*big\.t"):
            for _ in batches:
                pass
        with pytest.raises(SourceError, match="'my'"):
            session.sql("SELECT id FROM my.big.t WHERE id = 1").to_arrow()
        assert time.monotonic() - began < BOUND_S
        assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    finally:
        mariadb_server.start()
    assert ids(session, "SELECT id FROM my.big.t WHERE id = 1") == [1]


def test_a_connection_that_died_while_idle_is_replaced(
    session: affidavit.Session, mariadb_server: MariaDbServer, big: str
) -> None:
    session.attach("my", big)
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(lambda at: ids(session, f"SELECT id FROM my.big.t WHERE id = {at}"), range(4))
        )
    for how in (mariadb_server.stop, mariadb_server.kill):
        how()
        mariadb_server.start()
        assert ids(session, "SELECT id FROM my.big.t WHERE id = 1") == [1]


# --- giving up ------------------------------------------------------------------------------------


def test_a_result_that_is_given_up_leaves_no_query_running(
    session: affidavit.Session,
    mariadb_server: MariaDbServer,
    big: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mariadb, "PAGE_ROWS", 5000)
    session.attach("my", big)
    for _ in range(5):
        result = session.sql("SELECT id, pad FROM my.big.t")
        batches = result.batches()
        assert next(batches).num_rows
        batches.close()
        result.close()
        del batches, result
    gc.collect()
    assert eventually(lambda: not any(mariadb_server.processes()))
    assert ids(session, "SELECT id FROM my.big.t WHERE id = 7") == [7]


def computing(server: MariaDbServer) -> bool:
    return any("slow" in each for each in server.processes())


def test_ctrl_c_ends_what_the_server_computes(
    my: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    """ADBC would take the signal in the main thread, and crash if the query ended meanwhile."""

    def interrupt() -> None:
        assert eventually(lambda: computing(mariadb_server))
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for _ in range(5):
            with ThreadPoolExecutor(1) as other:
                other.submit(interrupt)
                with pytest.raises(KeyboardInterrupt):
                    my.sql("SELECT * FROM my.first.slow").to_arrow()
            assert eventually(lambda: not computing(mariadb_server))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ids(my, "SELECT id FROM my.first.people") == [1, 2, 3]


def test_a_result_that_another_thread_closes_ends_what_the_server_computes(
    my: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    result = my.sql("SELECT * FROM my.first.slow")
    ended = threading.Event()

    def read() -> None:
        with pytest.raises(AffidavitError):
            result.to_arrow()
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert eventually(lambda: computing(mariadb_server))
    result.close()
    assert ended.wait(BOUND_S)
    reader.join()
    assert eventually(lambda: not computing(mariadb_server))
    assert ids(my, "SELECT id FROM my.first.people") == [1, 2, 3]


def test_many_threads_read_at_once(my: affidavit.Session, mariadb_server: MariaDbServer) -> None:
    def read(at: int) -> tuple[int, ...]:
        return tuple(ids(my, f"SELECT id FROM my.first.people WHERE id >= {at % 3 + 1}"))

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(read, range(200)))
    assert found == [tuple(range(at % 3 + 1, 4)) for at in range(200)]
    assert len(mariadb_server.processes()) <= 8


def test_a_session_that_closes_leaves_no_connection(
    lake: Path, mariadb_server: MariaDbServer, url: str
) -> None:
    assert eventually(lambda: not mariadb_server.processes())
    with affidavit.connect(lake) as session:
        session.attach("my", url)
        for _ in range(5):
            session.sql("SELECT * FROM my.first.people").to_arrow()
            with pytest.raises(AffidavitError):
                session.sql("SELECT nothing FROM my.first.people").to_arrow()
            session.sql("SELECT * FROM my.first.people LIMIT 1").to_arrow()
        session.sql("SELECT * FROM my.first.people").to_arrow()
        assert 1 <= len(mariadb_server.processes()) <= 8
    gc.collect()
    assert eventually(lambda: not mariadb_server.processes())


# --- what is refused ------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_an_error_soon(session: affidavit.Session) -> None:
    for place in ("127.0.0.1:1", "nowhere.invalid"):
        began = time.monotonic()
        with pytest.raises(SourceError, match="'away'"):
            session.attach("away", f"mysql://nobody:pw@{place}/db")
        assert time.monotonic() - began < BOUND_S


def test_a_server_that_says_nothing_is_an_error_soon(session: affidavit.Session) -> None:
    import socket

    with socket.socket() as dumb:
        dumb.bind(("127.0.0.1", 0))
        dumb.listen()
        began = time.monotonic()
        with pytest.raises(SourceError, match="'away'"):
            session.attach(
                "away", f"mysql://u:pw@127.0.0.1:{dumb.getsockname()[1]}/db?connect_timeout=1"
            )
        assert time.monotonic() - began < BOUND_S


def test_a_database_that_is_not_there_is_named(
    session: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    with pytest.raises(SourceError, match=r"'away'.*nothere"):
        session.attach("away", mariadb_server.url("nothere"))


@pytest.mark.parametrize(
    "option", ["force_tls=1", "ssl_verify=1", "tls_version=TLSv1.3", "ssl_ca=/x.pem"]
)
def test_encryption_that_the_server_has_not_is_an_error(
    session: affidavit.Session, url: str, option: str
) -> None:
    """The ODBC driver goes on in the clear, unless it is to verify the certificate."""
    with pytest.raises(SourceError, match=r"'my'.*(?i:ssl|tls)"):
        session.attach("my", f"{url}?{option}")


@pytest.mark.parametrize("option", ["sslmode", "charset", "SERVER", "pwd", "init%5Fcommand"])
def test_an_option_that_is_not_known_is_named(
    session: affidavit.Session, lake: Path, url: str, option: str
) -> None:
    with pytest.raises(SourceError) as caught:
        session.attach("my", f"{url}?{option}=h1dden")
    assert option.replace("%5F", "_") in str(caught.value)
    assert "h1dden" not in str(caught.value)
    assert not any(b"h1dden" in each for each in files(lake))


def test_a_missing_driver_is_named(
    session: affidavit.Session, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("adbcbridge.odbc_drivers", list)
        with pytest.raises(SourceError, match="odbc-mariadb"):
            session.attach("my", url)
    monkeypatch.setitem(sys.modules, "adbcbridge", None)
    with pytest.raises(SourceError) as caught:
        session.attach("my", url)
    assert "affidavit[mysql]" in str(caught.value)


# --- passwords ------------------------------------------------------------------------------------

PASSWORDS = [
    "s3cr3t p@ss/w%rd", "br}ace{s}}", "semi;colon=x", "per%41cent", "q'u\"o`te", "päßw😀rd", "a:b@c#d?e&f",
    "back\\slash", "}x;SERVER=elsewhere",
]  # fmt: skip


@pytest.fixture
def locked(mariadb_server: MariaDbServer) -> Iterator[Callable[[str], str]]:
    """Return what gives the URL, without it, of an account with a password."""
    mariadb_server.database("vault", "CREATE TABLE t AS SELECT 1 AS x")

    def make(password: str) -> str:
        mariadb_server.account("locked", password, "SELECT ON vault.*")
        return mariadb_server.url("vault", "locked", None)

    yield make
    mariadb_server.run("DROP USER IF EXISTS 'locked'@'%'")


def forms(password: str) -> set[str]:
    return {password, quote(password, safe=""), quote(password), password.replace("}", "}}")}


def files(lake: Path) -> list[bytes]:
    return [each.read_bytes() for each in lake.rglob("*") if each.is_file()]


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_works_however_it_comes_and_is_kept_nowhere(
    lake: Path,
    locked: Callable[[str], str],
    password: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = locked(password)
    with_password = url.replace("locked@", f"locked:{quote(password, safe='')}@")
    shown: list[str] = []
    with affidavit.connect(lake) as session:
        for given, options in (
            (with_password, {}),
            (f"{url}?password={quote(password, safe='')}", {}),
            (url, {"password": password}),
            (url, {"password": lambda: password}),
        ):
            session.attach("my", given, **options)
            assert session.sql("SELECT x FROM my.vault.t").to_pylist() == [{"x": 1}]
            with pytest.raises(AffidavitError) as caught:
                session.sql("SELECT nothing FROM my.vault.t").to_arrow()
            shown += [str(caught.value), repr(caught.value), repr(session)]
            attached = session._shared.planner(session.identity).attached
            shown += [f"{each} {each!r}" for each in attached.values()]
            session.detach("my")
        session.attach("my", given, **options)
        for table in ("audit.statements", "system.journal", "system.ledger", "system.sources"):
            shown.append(str(session.sql(f"SELECT * FROM {table}").to_pylist()))
    monkeypatch.setenv("AFFIDAVIT_PASSWORD_MY", password)
    with affidavit.connect(lake) as session:
        assert session.sql("SELECT x FROM my.vault.t").to_pylist() == [{"x": 1}]
    kept = files(lake)
    assert any(b"vault" in each for each in kept), "the search would find a password too"
    for secret in forms(password):
        assert not any(secret in each for each in [*shown, caplog.text])
        assert not any(secret.encode() in each for each in kept)


@pytest.mark.parametrize("wrong", ["wr0ng/one here", "wr0ng}x;", "wr0ng'é%"])
def test_a_wrong_password_is_an_error_without_it(
    session: affidavit.Session, locked: Callable[[str], str], wrong: str
) -> None:
    url = locked("right")
    for given, options in (
        (url.replace("locked@", f"locked:{quote(wrong, safe='')}@"), {}),
        (url, {"password": wrong}),
        (url, {"password": lambda: wrong}),
    ):
        with pytest.raises(SourceError, match=r"'my'.*Access denied") as caught:
            session.attach("my", given, **options)
        assert "wr0ng" not in f"{caught.value} {caught.value!r} {caught.value.__context__}"


def test_a_password_in_the_query_is_masked(session: affidavit.Session, lake: Path) -> None:
    with pytest.raises(SourceError, match="'my'") as caught:
        session.attach("my", "mysql://u@127.0.0.1:1/db?pass%77ord=h1dden")
    assert "h1dden" not in f"{caught.value!r} {caught.value} {caught.value.__context__}"
    assert not any(b"h1dden" in each for each in files(lake))
