"""MariaDB: what can be named, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import affidavit
from affidavit.errors import TableExistsError

if TYPE_CHECKING:
    from tests.support.mariadb_server import MariaDbServer


def ids(session: affidavit.Session, text: str) -> list[int]:
    return sorted(each["id"] for each in session.sql(text).to_pylist())


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
