"""Names and texts that need quoting, in sub-trees of all databases."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

import pytest
from tests.catalog.sources.databases.conftest import run_duck

import affidavit

if TYPE_CHECKING:
    from pathlib import Path

NAMES: Final = (
    "select", "it's", 'say "so"', "tick`s", "back\\slash", "100%", "who?", "$1", ":name", "%s",
    "ümlaut", "日本", "😀", "two  words", "a.b", "--no", "/*no*/", "{x}", "Order", "line\nbreak",
)  # fmt: skip
VALUES: Final = (
    *NAMES,
    "",
    "\\",
    "'",
    "''",
    "\\'",
    '"',
    "%",
    "_",
    "?",
    "$1$",
    ":a :b",
    "\t",
    "\\n",
)


SCHEMAS: Final = {"postgresql": "public", "mysql": "names", "mariadb": "names"}


def named(quote: str) -> list[str]:
    """Return the names of a table's columns: MariaDB's have no character of four bytes."""
    return [each for each in NAMES if quote == '"' or max(map(ord, each)) < 1 << 16]


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def name(value: str, quote: str = '"') -> str:
    return quote + value.replace(quote, quote * 2) + quote


def statements(quote: str, kind: str) -> list[str]:
    """Return what makes a table whose names are those, with a row for each value."""
    names = named(quote)
    columns = ", ".join(f"{name(each, quote)} {kind}" for each in names)
    rows = ", ".join(
        f"({at}, {', '.join(text(each) for _ in names)})" for at, each in enumerate(VALUES)
    )
    table = name(NAMES[2], quote)
    integers = name(NAMES[1], quote)
    of = ", ".join(f"{name(each, quote)} int" for each in names)
    return [
        f"CREATE TABLE {table} (id int PRIMARY KEY, {columns})",
        f"INSERT INTO {table} VALUES {rows}",
        f"CREATE TABLE {integers} ({of})",
        f"INSERT INTO {integers} VALUES ({', '.join(map(str, range(len(names))))})",
    ]


@pytest.fixture(
    params=["duckdb", "sqlite", *(pytest.param(each, marks=pytest.mark.server) for each in ("pg", "my"))]
)  # fmt: skip
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "x.db"
    match request.param:
        case "pg":
            made = statements('"', "text")
            return str(request.getfixturevalue("pg_server").database("names", *made))
        case "my":
            made = statements("`", "varchar(40) COLLATE utf8mb4_bin")
            return str(request.getfixturevalue("mariadb_server").database("names", *made))
        case "duckdb":
            run_duck(path, *statements('"', "varchar"))
        case _:
            with sqlite3.connect(path) as lite:
                for each in statements('"', "text"):
                    lite.execute(each)
            lite.close()
    return f"{request.param}://{path}"


def test_names_and_texts_mean_themselves_in_a_sub_tree(
    session: affidavit.Session, url: str
) -> None:
    schema = SCHEMAS.get(url.split(":", maxsplit=1)[0], "main")
    session.attach("order 1%", url)
    table = f'"order 1%".{schema}.{name(NAMES[2])}'
    names = named("`" if schema == "names" else '"')
    for each in names:
        asked = (
            f"SELECT count(*) AS n, min(id) AS {name(each)}, max(CASE WHEN {name(each)} IS NULL "
            f"THEN 0 ELSE id END) AS m FROM {table} WHERE {name(each)} = $v"
        )
        wanted = {"n": 1, each: VALUES.index(each), "m": VALUES.index(each)}
        assert session.sql(asked, v=each).to_pylist() == [wanted], each
    column = name(NAMES[6])
    for at, value in enumerate(VALUES):
        asked = f"SELECT count(*) AS n, min(id) AS low FROM {table} WHERE {column} IN ({text(value)}, 'none')"
        assert session.sql(asked).to_pylist() == [{"n": 1, "low": at}], value
    most = ", ".join(f"max({name(each)}) AS {name(each)}" for each in names)
    asked = f'SELECT {most} FROM "order 1%".{schema}.{name(NAMES[1])} GROUP BY {name(names[3])}'
    assert session.sql(asked).to_pylist() == [{each: at for at, each in enumerate(names)}]
    assert " AS c0" in session.explain(asked), "it is a sub-tree"
