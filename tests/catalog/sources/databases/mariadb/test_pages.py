"""MariaDB: results read in pages give each row once, of one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import affidavit
from affidavit.catalog.sources.drivers import mariadb

if TYPE_CHECKING:
    from tests.support.mariadb_server import MariaDbServer


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
