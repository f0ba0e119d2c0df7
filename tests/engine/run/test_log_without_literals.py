"""Unless queries are stored, what a statement has of values stands in no table and no file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.lakes import vectors

import affidavit
from affidavit import errors
from affidavit.engine.session.housekeeping import Housekeeper

SECRET = "hush4711"
STATEMENTS = (
    "SELECT '{0}' AS a", "SELECT id FROM t WHERE name = '{0}'", "SELECT id FROM t WHERE name = {0}",
    "SELECT CAST('{0}' AS BIGINT)", "SELECT CAST('{0}' AS BIGINT) FROM t", "SELECT '{0}", "SELEC '{0}'",
    "INSERT INTO t VALUES (1, 'a') -- {0}", "INSERT INTO t VALUES ('{0}', 'a')", "SELECT 1; SELECT '{0}'",
    "INSERT INTO k VALUES ('{0}'), ('{0}')", "SELECT * FROM '{0}.parquet'", "SELECT 'a' '{0}'",
    "SELECT id FROM vector_search('docs', [1.0, 2.0, '{0}'], 3)", "SELECT * FROM vector_search('{0}', [1.0], 3)",
    "SELECT id FROM vector_search('docs', [1.0], 3, '{{\"{0}\": 1}}')", "COPY t TO '/{0}/x.csv'",
    "EXPLAIN SELECT '{0}'", "PREPARE p AS SELECT '{0}'", "EXECUTE p('{0}')", "BEGIN '{0}'", "ROLLBACK TO '{0}'",
    "CREATE EXTERNAL TABLE z STORED AS CSV LOCATION '/{0}.csv'", "SET datafusion.execution.batch_size = '{0}'",
    "UPDATE t SET name = '{0}' WHERE id = 'a'", "DELETE FROM t WHERE name IN ('{0}', 5)", "SELECT $a, '{0}'",
    "SELECT json_get_str('{0}', 1)", "SELECT * FROM as_of('t', '{0}')", "SELECT * FROM history('{0}')",
)  # fmt: skip


def test_no_literal_of_a_statement_is_kept(lake: Path, monkeypatch) -> None:
    """Each was kept as it was written, and what errors said repeated it."""
    monkeypatch.setattr(Housekeeper, "wake", lambda _: None)
    with affidavit.connect(lake, durability="normal", journal=False) as session:
        session.create_vector_table("docs", vectors(5))
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR)")
        session.sql("CREATE TABLE k (name VARCHAR PRIMARY KEY)")
        for text in STATEMENTS:
            with suppress(errors.AffidavitError):
                session.sql(text.format(SECRET)).to_arrow()
        session.sql("DELETE FROM t")
        kept = session.sql("SELECT * FROM audit.statements").to_pylist()
        assert len(kept) == 2 + len(STATEMENTS) + 1
        as_name = (f"name = {SECRET}", f"No field named {SECRET}.")  # what is no literal is a name
        assert not any(
            SECRET in str(row).replace(as_name[0], "").replace(as_name[1], "") for row in kept
        )
        assert sum(row["status"] == "error" for row in kept) > len(STATEMENTS) // 2


def test_the_same_statement_is_told_by_its_shape(session) -> None:
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR)")
    for at in range(3):
        session.sql(f"INSERT INTO t VALUES ({at}, 'name {at}')")
    found = session.sql(
        "SELECT text, count(*) AS n FROM audit.statements WHERE kind = 'insert' GROUP BY text"
    )
    assert found.to_pylist() == [{"text": "INSERT INTO t VALUES (?, ?)", "n": 3}]


def test_what_runs_is_shown_as_the_log_has_it(session) -> None:
    rows = iter(session.sql(f"SELECT value, '{SECRET}' FROM range(100000) -- {SECRET}").batches())
    next(rows)
    shown = [row["text"] for row in session.sql("SELECT text FROM system.queries").to_pylist()]
    assert "SELECT value, ? FROM range(?)" in shown
    rows.close()


@pytest.mark.parametrize("store_queries", [False, True])
def test_who_stores_queries_has_all_of_it(lake: Path, store_queries: bool) -> None:
    with affidavit.connect(lake, durability="normal", store_queries=store_queries) as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
        session.sql("INSERT INTO t VALUES (4711)")
        with pytest.raises(errors.ConstraintError):
            session.sql("INSERT INTO t VALUES (4711)")
        row = session.sql("SELECT * FROM audit.statements").to_pylist()[-1]
    if store_queries:
        assert row["text"] == "INSERT INTO t VALUES (4711)"
    else:
        assert row["text"] == "INSERT INTO t VALUES (?)"
    assert row["error"] == "ConstraintError", "what it said would repeat a value"
