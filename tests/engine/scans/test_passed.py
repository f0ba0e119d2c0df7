"""``source_query``: a query in a source's own SQL, read as a table, on record, and reading only."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.support.databases import run_duck

import affidavit
from affidavit.engine.scans.calls.passed import only_query
from affidavit.errors import AffidavitError, InvalidQueryError, SourceError, SqlError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mariadb_server import MariaDbServer
    from tests.support.pg_server import PgServer


@pytest.fixture
def attached(session: affidavit.Session, pg_server: PgServer, tmp_path: Path) -> affidavit.Session:
    session.attach(
        "pg",
        pg_server.database(
            "passed",
            "CREATE TYPE mood AS ENUM ('glad')",
            "CREATE TABLE t (id int, m mood, u uuid, n numeric(5, 2), a int[])",
            "INSERT INTO t VALUES (1, 'glad', '00000000-0000-0000-0000-000000000001', 1.5, '{1}'), "
            "(2, NULL, NULL, NULL, '{{1}}')",
        ),
    )
    statements = ("CREATE TABLE t (id INTEGER, s TEXT)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    run_duck(tmp_path / "x.duckdb", *statements)
    with sqlite3.connect(tmp_path / "x.db") as there:
        for each in statements:
            there.execute(each)
    there.close()
    session.attach("duck", f"duckdb://{tmp_path / 'x.duckdb'}")
    session.attach("lite", f"sqlite://{tmp_path / 'x.db'}")
    return session


def rows(session: affidavit.Session, text: str, **given: object) -> list[tuple[object, ...]]:
    return [tuple(each.values()) for each in session.sql(text, **given).to_pylist()]


def test_a_query_is_answered_by_the_source_and_joined_here(attached: affidavit.Session) -> None:
    attached.create_table("names", [{"id": 1, "name": "one"}])
    query = "SELECT id, m, u, n, a, n * 2 AS twice FROM t WHERE id = 1 -- a comment"
    text = "SELECT q.*, name FROM source_query('pg', $q) q JOIN names ON names.id = q.id"
    found = rows(attached, text, q=query)
    uuid = "00000000-0000-0000-0000-000000000001"
    assert found == [(1, "glad", uuid, Decimal("1.50"), [1], "3.00", "one")]
    for name, call in (("pg", "max(m::text)"), ("duck", "list(s)::VARCHAR"), ("lite", "min(s)")):
        text = f"SELECT x FROM source_query('{name}', 'SELECT {call} AS x FROM t') WHERE x <> ''"
        assert len(rows(attached, text)) == 1, name
    lite = "SELECT count(*) AS n, avg(id) AS a, max(s) AS s, NULL AS x FROM t"
    assert rows(attached, "SELECT * FROM source_query('lite', $q) WHERE n > 1", q=lite) == [
        (2, 1.5, "b", None)
    ]
    assert rows(attached, "SELECT count(*) FROM source_query('duck', 'VALUES (1), (2);')") == [(2,)]
    named = "SELECT * FROM source_query(query => $q, source => 'lite')"
    assert rows(attached, named, q="SELECT 1") == [(1,)]
    plan = attached.explain("SELECT id FROM source_query('duck', 'SELECT * FROM t') WHERE id = 2")
    assert '"id" = 2' in plan
    with pytest.raises(SourceError, match=r"'pg'.*running the query.*column 'a'"):
        attached.sql("SELECT a FROM source_query('pg', 'SELECT * FROM t')").to_arrow()


def test_what_writes_reads_by_it_too(attached: affidavit.Session) -> None:
    """Its target was read as if the session had limits."""
    asked = "SELECT id FROM source_query('lite', 'SELECT id FROM t')"
    attached.sql("CREATE TABLE made (id BIGINT)")
    attached.create_vector_table("docs", [{"id": n, "vector": [1.0, 1.0]} for n in range(4)])
    for text, count in (
        (f"INSERT INTO made {asked}", 2),
        (f"DELETE FROM docs WHERE id IN ({asked})", 2),
        (f"UPDATE made SET id = 7 WHERE id IN ({asked} WHERE id = 1)", 1),
    ):
        assert attached.sql(text).rows_affected == count
    with attached.transaction() as tx:
        assert tx.sql(f"DELETE FROM made WHERE id IN ({asked})").rows_affected == 1
    assert rows(attached, "SELECT id FROM made") == [(7,)]


def test_mariadb_answers_too(session: affidavit.Session, mariadb_server: MariaDbServer) -> None:
    url = mariadb_server.database(
        "passed", "CREATE TABLE t (id int, d date)", "INSERT INTO t VALUES (1, '2024-01-02')"
    )
    session.attach("my", url)
    query = "SELECT id, d, id / 4 AS q, 'x' AS s, year(d) AS y FROM t"
    [row] = rows(session, "SELECT * FROM source_query('my', $q)", q=query)
    assert [str(each) for each in row] == ["1", "2024-01-02", "0.2500", "x", "2024"]


@pytest.mark.parametrize(
    ("source", "query", "kind"),
    [
        ("pg", "DROP TABLE t", SqlError),
        ("pg", "SELECT 1; SELECT 2", SqlError),
        ("pg", "SELECT 1) q; SELECT * FROM (SELECT 2", SqlError),
        ("pg", "", SqlError),
        ("pg", "WITH x AS (INSERT INTO t VALUES (9) RETURNING id) SELECT * FROM x", SourceError),
        ("pg", "SELECT nextval('s')", SourceError),
        ("pg", "SELECT 1 AS a, 2 AS a", SourceError),
        ("pg", "SELECT no_such_column FROM t", SourceError),
        ("duck", "SELECT * FROM read_csv('/etc/passwd')", SourceError),
        ("lite", "SELECT load_extension('x')", SourceError),
        ("none", "SELECT 1", InvalidQueryError),
        ("lake", "SELECT 1", InvalidQueryError),
    ],
)
def test_what_is_no_query_or_may_not_be_asked_is_refused(
    attached: affidavit.Session, source: str, query: str, kind: type[AffidavitError]
) -> None:
    with pytest.raises(kind):
        attached.sql("SELECT * FROM source_query($s, $q)", s=source, q=query).to_arrow()


def test_what_a_query_sets_is_gone_with_its_connection(attached: affidavit.Session) -> None:
    set_ = "SELECT set_config(''default_transaction_read_only'', ''off'', false) AS x"
    attached.sql(f"SELECT * FROM source_query('pg', '{set_}')").to_arrow()
    show = "SELECT current_setting(''default_transaction_read_only'') AS x"
    assert rows(attached, f"SELECT * FROM source_query('pg', '{show}')") == [("on",)]
    assert len(attached.sql("SELECT id FROM pg.public.t").to_arrow()) == 2


def test_a_session_with_limits_asks_none(attached: affidavit.Session, tmp_path: Path) -> None:
    attached.sql("CREATE VIEW v AS SELECT * FROM source_query('pg', 'SELECT 1 AS one')")
    assert rows(attached, "SELECT * FROM v") == [(1,)]
    with attached.scope(actor="guest", allowed_paths=[tmp_path]) as limited:
        for text in ("SELECT * FROM source_query('pg', 'SELECT 1 AS one')", "SELECT * FROM v"):
            with pytest.raises(SourceError, match="off in a session with limits"):
                limited.sql(text).to_arrow()


def test_the_read_is_on_record_with_its_text(lake: Path, pg_server: PgServer) -> None:
    url = pg_server.database("told", "CREATE TABLE t AS SELECT 1 AS id")
    with affidavit.connect(lake, audit="reads", store_queries=True) as session:
        session.attach("pg", url)
        text = "SELECT * FROM source_query('pg', 'SELECT id FROM t') JOIN source_query('pg', 'SELECT 1 AS x') ON true"
        result = session.sql(text)
        result.to_arrow()
        assert result.receipt is not None
        record = session.audit.get_read(result.receipt.read_id)
        assert record is not None
        told = {each["name"]: each["source"]["sql"] for each in record.tables}
        assert told == {
            "pg.source_query#1": "SELECT id FROM t", "pg.source_query#2": "SELECT 1 AS x"
        }  # fmt: skip
        assert session.ledger.verify(progress=False)


def test_a_semicolon_at_the_end_and_in_a_text_is_none_behind() -> None:
    assert only_query("SELECT 'a;b' ; ").strip() == "SELECT 'a;b'"
    assert only_query("TABLE t") == "TABLE t"
