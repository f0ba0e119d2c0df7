"""P10: every kind of value through every door comes out as docs/types.md says, or is refused by name."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pytest
from tests.support.doors import LAKE, source
from tests.support.matrix import KINDS, tried

import affidavit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.doors import Door
    from tests.support.mariadb_server import MariaDbServer
    from tests.support.matrix import Kind
    from tests.support.pg_server import PgServer

SERVERS: Final = {"PostgreSQL": "pg_server", "MariaDB": "mariadb_server"}
PAGE: Final = Path(__file__).parents[2] / "docs" / "types.md"


def told(door: str) -> dict[str, str]:
    """Return what the documentation says of a door, by the kind of value."""
    columns: list[str] = []
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [each.strip() for each in line.split("|")[1:-1]]
        if not cells:
            columns = []
        elif not columns:
            columns = cells
        elif door in columns and not set(cells[0]) <= {"-"}:
            found[cells[0].strip("`")] = cells[columns.index(door)]
    return found


def check(
    name: str, door: Door, session: affidavit.Session, folder: Path, kinds: list[Kind]
) -> None:
    found = {}
    for kind in kinds:
        rows = kind.rows
        if name == "literal":
            rows = rows.filter(pa.array([each is not None for each in kind.literals]))
        found[kind.name] = tried(door, session, folder, kind, rows)
    assert found == {kind: cell for kind, cell in told(name).items() if cell}


@pytest.mark.parametrize("name", LAKE)
def test_p10_what_goes_in_comes_out_of_the_lakes_own_doors(
    session: affidavit.Session, tmp_path: Path, name: str
) -> None:
    check(name, LAKE[name], session, tmp_path, list(KINDS))


@pytest.fixture
def attached(
    request: pytest.FixtureRequest, session: affidavit.Session, tmp_path: Path
) -> Iterator[tuple[str, Door]]:
    """A door through the database that a test names."""
    name, path = request.param, tmp_path / "doors"
    with ExitStack() as stack:
        if name in SERVERS:
            server: PgServer | MariaDbServer = request.getfixturevalue(SERVERS[name])
            url, run = server.database("doors", "SELECT 1"), partial(server.run, database="doors")
        elif name == "SQLite":
            lite = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            url, run = f"sqlite:///{path}", lite.execute
        else:
            duck = stack.enter_context(pytest.importorskip("duckdb").connect(str(path)))
            url, run = f"duckdb:///{path}", duck.execute
        run("CREATE TABLE there (id bigint PRIMARY KEY)")
        session.attach("source", url)
        schema = {"PostgreSQL": "public", "MariaDB": "doors"}.get(name, "main")
        yield name, source(name, schema, run)


@pytest.mark.parametrize(
    "attached",
    [
        pytest.param("PostgreSQL", marks=pytest.mark.server),
        pytest.param("MariaDB", marks=pytest.mark.server),
        "SQLite",
        "DuckDB",
    ],
    indirect=True,
)
def test_p10_what_goes_into_a_database_comes_back(
    session: affidavit.Session, tmp_path: Path, attached: tuple[str, Door]
) -> None:
    name, door = attached
    check(name, door, session, tmp_path, [kind for kind in KINDS if name in kind.there])
