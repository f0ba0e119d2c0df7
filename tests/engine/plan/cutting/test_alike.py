"""What databases answer of a statement is what this process would, errors and types too."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

import affidavit
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.pg_server import PgServer

TABLES = (
    "CREATE TABLE t (id BIGINT PRIMARY KEY, v VARCHAR, n DECIMAL(38, 0))",
    "CREATE TABLE loose (id BIGINT PRIMARY KEY, v VARCHAR COLLATE NOCASE)",
    "INSERT INTO loose VALUES (1, 'x'), (2, 'X')",
    "INSERT INTO t VALUES (1, 'ab', 99999999999999999999999999999999999999), (2, 'Ab', 1)",
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    duckdb = pytest.importorskip("duckdb")
    folder = tmp_path_factory.mktemp("alike")
    with duckdb.connect(str(folder / "x.duckdb")) as connection:
        for each in TABLES:
            connection.execute(each)
    with affidavit.connect(folder / "lake") as opened:
        opened.attach("d", f"duckdb://{folder / 'x.duckdb'}")
        yield opened


def outcome(session: affidavit.Session, text: str) -> Any:
    try:
        found = session.sql(text).to_arrow()
    except affidavit.AffidavitError as error:
        return type(error), str(error)
    return found.schema, sorted(map(repr, found.to_pylist()))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id, count(*) AS n FROM d.main.t WHERE v ILIKE 'a%' GROUP BY id",
        "SELECT id, count(*) AS n FROM d.main.t WHERE v NOT ILIKE 'a%' GROUP BY id",
        "SELECT id, count(*) AS n FROM d.main.t WHERE v LIKE 'a!%' ESCAPE '!' GROUP BY id",
        "SELECT id, (SELECT count(*) FROM d.main.t) AS n FROM d.main.t",
        "SELECT max(id) AS m FROM d.main.t WHERE n > (SELECT max(id) FROM d.main.t)",
        "SELECT sum(n * 2) AS s FROM d.main.t",
        "SELECT v, count(*) AS n FROM d.main.loose GROUP BY v",
    ],
)
def test_a_database_answers_alike(session: affidavit.Session, text: str) -> None:
    found = outcome(session, text)
    session.sql("SET affidavit.pushdown = 'off'")
    try:
        assert found == outcome(session, text)
    finally:
        session.sql("RESET affidavit.pushdown")


def test_a_collation_of_a_text_leaves_numbers_to_the_database(session: affidavit.Session) -> None:
    asked = session.explain("SELECT id, count(*) FROM d.main.loose GROUP BY id")
    assert "sent to d" in asked
    assert "GROUP BY" in asked.split("sent to d")[1]


def test_a_table_that_was_changed_is_not_computed_with_as_it_was(tmp_path: Path) -> None:
    text = "SELECT a, max(i) AS m FROM l.main.t GROUP BY a"
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    connection.execute("CREATE TABLE t (a TEXT, i INT)")
    connection.execute("INSERT INTO t VALUES ('x', 9), ('x', 10)")
    with affidavit.connect(tmp_path / "lake") as opened:
        opened.attach("l", f"sqlite://{tmp_path / 'x.db'}")
        assert opened.sql(text).to_pylist() == [{"a": "x", "m": 10}]
        connection.execute("ALTER TABLE t RENAME COLUMN i TO j")
        connection.execute("ALTER TABLE t ADD COLUMN i TEXT DEFAULT '1.5'")
        with pytest.raises(SourceError, match="it was changed"):
            opened.sql(text).to_arrow()
        assert opened.sql(text).to_pylist() == [{"a": "x", "m": "1.5"}]
    connection.close()


def test_a_column_that_has_another_type_by_now_is_the_error_that_it_is_here(
    session: affidavit.Session, pg_server: PgServer
) -> None:
    url = pg_server.database(
        "retyped", "CREATE TABLE t (k int, n int)", "INSERT INTO t VALUES (1, 2), (1, 3)"
    )
    session.attach("retyped", url)
    text = "SELECT k, count(n) AS c, sum(n) AS s FROM retyped.public.t GROUP BY k"
    assert session.sql(text).to_pylist() == [{"k": 1, "c": 2, "s": 5}]
    with pg_server.connect("retyped") as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE t ALTER n TYPE numeric USING n + 0.4")
    with pytest.raises(SourceError, match="was changed"):
        session.sql(text).to_arrow()
    session.detach("retyped")
