"""What whoever attaches a source chooses: what a number without a precision is, and a bad value."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.databases import run_duck

import affidavit
from affidavit.catalog.sources.kinds import parse_url
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mariadb_server import MariaDbServer
    from tests.support.pg_server import PgServer


def test_a_bad_value_is_null_where_that_is_chosen_and_the_choice_is_remembered(
    lake: Path, tmp_path: Path, pg_server: PgServer, mariadb_server: MariaDbServer
) -> None:
    with sqlite3.connect(tmp_path / "x.db") as there:
        there.execute("CREATE TABLE t (id INTEGER, n INT, s TEXT, d DECIMAL(3, 1))")
        there.execute("INSERT INTO t VALUES (1, 'x', x'00', 'x'), (2, 5, 'y', 1.5)")
    there.close()
    run_duck(
        tmp_path / "x.duckdb",
        "CREATE TABLE t (id INT, h HUGEINT, opens TIME)",
        f"INSERT INTO t VALUES (1, {2**127 - 1}, '24:00'), (2, 7, '12:00')",
    )
    urls = {
        "pg": pg_server.database(
            "bad",
            "CREATE TABLE t (id int, n numeric(5, 2), opens time, a int[], b int[][], ts timestamp)",
            "INSERT INTO t VALUES (1, 'NaN', '24:00', '{{1}}', '{1}', '294276-12-31'), "
            "(2, 1.5, '12:00', '{1}', '{{1}}', '2024-01-01')",
        ),
        "my": mariadb_server.database(
            "bad",
            "CREATE TABLE t (id int, d date, dt datetime)",
            "INSERT INTO t VALUES (1, '0000-00-00', '2024-00-10'), (2, '2024-01-01', '2024-01-01')",
        ),
        "lite": f"sqlite://{tmp_path / 'x.db'}",
        "duck": f"duckdb://{tmp_path / 'x.duckdb'}",
    }
    tables = {"pg": "pg.public.t", "my": "my.bad.t", "lite": "lite.main.t", "duck": "duck.main.t"}
    with affidavit.connect(lake, actor="tester") as session:
        for name, url in urls.items():
            session.attach(name, url, on_bad_value="null")
        check_bad(session, tables["my"])  # whose password is not remembered
    with affidavit.connect(lake, actor="tester") as later:
        for name in ("pg", "lite", "duck"):
            check_bad(later, tables[name])


def check_bad(session: affidavit.Session, table: str) -> None:
    bad, good = session.sql(f"SELECT * FROM {table} ORDER BY id").to_pylist()
    assert set(bad.values()) == {1, None}, table
    assert None not in good.values(), table
    for column in bad:
        null = f"SELECT count(*) AS n FROM {table} WHERE {column} IS NULL"
        assert session.sql(null).to_pylist() == [{"n": int(column != "id")}], "it is no NULL there"


def test_a_zero_date_names_its_row(
    session: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    url = mariadb_server.database(
        "zero",
        "CREATE TABLE t (k varchar(9) PRIMARY KEY, d date)",
        "INSERT INTO t VALUES ('a', '2024-01-01'), ('b', '0000-00-00')",
    )
    session.attach("my", url)
    with pytest.raises(SourceError, match=r"column 'd'.*'0000-00-00'.*where k = 'b'"):
        session.sql("SELECT d FROM my.zero.t").to_arrow()


def test_a_number_without_a_precision_is_a_text_or_the_decimal_that_is_chosen(
    session: affidavit.Session, pg_server: PgServer, mariadb_server: MariaDbServer
) -> None:
    url = pg_server.database(
        "numbers",
        "CREATE TABLE t (id int PRIMARY KEY, n numeric)",
        "INSERT INTO t VALUES (1, 1.5), (2, 2.25), (3, -7)",
        "CREATE VIEW means AS SELECT avg(id) AS mean FROM t",
    )
    session.attach("texts", url)
    session.attach("pg", url, numeric="decimal(12, 1)")
    found = session.sql("SELECT n FROM pg.public.t WHERE n > 1 AND id = 1").to_arrow()
    assert found.schema.types == [pa.decimal128(12, 1)]
    assert session.sql("SELECT mean FROM pg.public.means").to_pylist() == [{"mean": Decimal("2.0")}]
    assert session.sql("SELECT n FROM texts.public.t WHERE n = '2.25'").to_pylist() == [
        {"n": "2.25"}
    ]
    with pytest.raises(SourceError, match=r"'n'.*2\.25.*where id = 2"):
        session.sql("SELECT n FROM pg.public.t").to_arrow()
    my = mariadb_server.database(
        "numbers", "CREATE TABLE t (n decimal(65, 30))", "INSERT INTO t VALUES (1.5)"
    )
    session.attach("my", my, numeric="decimal(38,2)", on_bad_value="null")
    assert session.sql("SELECT n FROM my.numbers.t").to_pylist() == [{"n": Decimal("1.50")}]


@pytest.mark.parametrize(
    ("option", "value"),
    [("numeric", "float"), ("numeric", "decimal(39, 1)"), ("numeric", "decimal(2, 3)"),
     ("numeric", "decimal(0, 0)"), ("on_bad_value", "drop")],
)  # fmt: skip
def test_what_is_no_choice_is_refused(
    session: affidavit.Session, pg_server: PgServer, option: str, value: str
) -> None:
    with pytest.raises(SourceError, match=option):
        session.attach("pg", pg_server.database("none"), **{option: value})
    with pytest.raises(SourceError, match="numeric"):
        session.attach("lite", "sqlite:///x.db", numeric="text")


def test_the_choices_stand_at_the_end_of_a_url() -> None:
    for plain in ("sqlite:////x/y.db", "postgresql://u@h/d?sslmode=require", "mysql://h/d"):
        url = parse_url(
            f"{plain}{'&' if '?' in plain else '?'}numeric=decimal(9,2)&on_bad_value=null"
        )
        assert (url.plain, url.choices.decimal) == (plain, pa.decimal128(9, 2))
        assert url.choices.bad_is_null
        assert parse_url(url.kept) == url
        assert parse_url(plain).kept == plain
