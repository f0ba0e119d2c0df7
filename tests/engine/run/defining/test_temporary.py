"""Temporary tables: a session's own, written as any table, and nothing that the lake knows of."""

from __future__ import annotations

import pytest

import affidavit
from affidavit import errors


@pytest.fixture
def shadowed(session):
    """A lake's table of two rows, and a temporary one of its name with one."""
    session.sql("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR)")
    session.sql("INSERT INTO t VALUES (1, 'lake'), (2, 'lake')")
    session.sql("CREATE VIEW seen AS SELECT a FROM t")
    session.sql("CREATE TEMP TABLE t AS SELECT id, 'own' AS a FROM t WHERE id = 1")
    return session


def rows(session, text: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in session.sql(text).to_pylist()]


def test_a_temporary_table_is_written_as_any_table_is(session) -> None:
    session.sql("CREATE SEQUENCE s")
    session.sql(
        "CREATE TEMPORARY TABLE t (id INT PRIMARY KEY, n INT CHECK (n > 0) DEFAULT 1, "
        "g INT GENERATED ALWAYS AS (n * 2), u VARCHAR(2) UNIQUE, no BIGINT DEFAULT nextval('s'))"
    )
    assert rows(session, "INSERT INTO t (id, u) VALUES (1, 'a'), (2, 'b') RETURNING id, g") == [
        (1, 2), (2, 2),
    ]  # fmt: skip
    session.sql("INSERT INTO temp.t (id, n) VALUES (2, 5) ON CONFLICT (id) DO UPDATE SET n = 5")
    session.sql("INSERT OR REPLACE INTO t (id, u) VALUES (3, 'a')")
    session.sql(
        "MERGE INTO t USING (SELECT * FROM range(2, 6)) AS s ON t.id = s.value "
        "WHEN MATCHED AND id = 2 THEN DELETE WHEN MATCHED THEN UPDATE SET n = 7 "
        "WHEN NOT MATCHED THEN INSERT (id) VALUES (s.value)"
    )
    session.sql("UPDATE T SET n = n + s.value FROM range(3, 4) AS s WHERE t.id = s.value")
    session.sql("DELETE FROM t WHERE id = 5")
    assert rows(session, "SELECT id, n, g, u FROM t ORDER BY id") == [
        (3, 10, 20, "a"), (4, 1, 2, None),
    ]  # fmt: skip
    for text in (
        "INSERT INTO t (id) VALUES (3)",
        "INSERT INTO t (id, n) VALUES (9, -1)",
        "INSERT INTO t (id) VALUES (NULL)",
        "UPDATE t SET u = 'a'",
        "UPDATE t SET u = 'abc'",
        "INSERT INTO t (id, g) VALUES (9, 1)",
    ):
        with pytest.raises(errors.ConstraintError):
            session.sql(text)
    assert rows(session, "SELECT count(*), max(no) FROM t") == [(2, 5)]
    [shown] = session.sql("SHOW CREATE TABLE t").to_pylist()
    session.sql("TRUNCATE t")
    session.sql("DROP TABLE t")
    session.sql(shown["definition"])
    assert session.sql("SHOW CREATE TABLE t").to_pylist() == [shown]


def test_it_hides_the_lakes_table_until_it_goes(shadowed) -> None:
    assert rows(shadowed, "SELECT * FROM t") == [(1, "own")] == rows(shadowed, "FROM temp.t")
    assert rows(shadowed, "SELECT * FROM seen") == [("lake",), ("lake",)]
    shadowed.sql("CREATE TABLE kept AS SELECT * FROM t")
    shadowed.sql("UPDATE t SET a = 'mine'")
    shadowed.table("t").delete("id = 2")
    assert shadowed.table("t").to_arrow().to_pylist() == [{"id": 1, "a": "lake"}]
    shadowed.sql("INSERT INTO kept SELECT id + 10, a FROM t")
    assert rows(shadowed, "SELECT * FROM kept") == [(1, "own"), (11, "mine")]
    listed = "SELECT table_schema FROM information_schema.tables WHERE table_name = 't' ORDER BY 1"
    assert rows(shadowed, listed) == [("main",), ("temp",)]
    columns = "SELECT is_nullable FROM information_schema.columns WHERE table_name = 't' AND "
    assert rows(shadowed, f"{columns} table_schema = 'main'") == [("NO",), ("YES",)]
    assert [row[0] for row in rows(shadowed, "DESCRIBE t")] == ["id", "a"]
    assert ("temp", "t", "temporary") in rows(
        shadowed, "SELECT schema_name, name, kind FROM system.tables"
    )
    shadowed.sql("CREATE OR REPLACE TEMP TABLE t (id INT, a VARCHAR, b INT)")
    viewed = "SELECT column_name FROM information_schema.columns WHERE table_name = 'whole'"
    shadowed.sql("CREATE VIEW whole AS SELECT * FROM t")
    assert rows(shadowed, viewed) == [("id",), ("a",)]
    with shadowed.scope() as other:
        assert rows(other, "SELECT a FROM t") == [("lake",)]
        assert rows(other, "SELECT count(*) FROM system.tables WHERE kind = 'temporary'") == [(0,)]
    shadowed.sql("DROP TABLE kept, t")
    assert rows(shadowed, "SELECT * FROM t") == [(1, "lake")]
    assert "own" not in str(shadowed.journal.recent(50))


def test_a_rollback_brings_it_back(session) -> None:
    session.sql("CREATE TEMP TABLE t AS SELECT 1 AS a")
    with pytest.raises(ZeroDivisionError), session.transaction() as tx:
        tx.sql("INSERT INTO t VALUES (2)")
        with pytest.raises(KeyError), tx.savepoint():
            tx.sql("DELETE FROM t")
            tx.sql("INSERT INTO t VALUES (3)")
            raise KeyError
        assert rows(tx, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]
        tx.sql("CREATE TEMP TABLE made (a INT)")
        tx.sql("DROP TABLE t")
        raise ZeroDivisionError
    assert rows(session, "SELECT * FROM t") == [(1,)]
    with pytest.raises(errors.TableNotFoundError):
        session.sql("SELECT * FROM made")
    with session.transaction() as tx:
        tx.sql("INSERT INTO t VALUES (2)")
    assert rows(session, "SELECT count(*) FROM t") == [(2,)]


def test_it_goes_with_its_session_and_counts_while_it_is_there(lake) -> None:
    with affidavit.connect(lake, memory_limit="16MiB") as session:
        session.sql("CREATE TEMP TABLE t AS SELECT * FROM range(500000)")
        with pytest.raises(errors.MemoryLimitError):
            session.sql("INSERT INTO t SELECT value FROM range(2000000)")
        with pytest.raises(errors.MemoryLimitError):
            session.sql("CREATE TEMP TABLE more AS SELECT value, value + 1 FROM range(600000)")
        assert rows(session, "SELECT count(*) FROM t") == [(500000,)]
        session.sql("CREATE OR REPLACE TEMP TABLE t AS SELECT 1 AS a")
        session.sql("CREATE TEMP TABLE more AS SELECT value, value + 1 FROM range(600000)")
        before = session.ledger.verify(data=True)
    with affidavit.connect(lake) as session:
        assert before
        assert session.tables().to_pylist() == []
        with pytest.raises(errors.TableNotFoundError):
            session.sql("SELECT * FROM t")


def test_a_read_of_it_is_on_record_and_cannot_be_run_again(lake) -> None:
    with affidavit.connect(lake, audit="reads", store_queries=True) as session:
        session.sql("CREATE TABLE t (a INT)")
        session.sql("INSERT INTO t VALUES (1)")
        session.sql("CREATE TEMP TABLE t AS SELECT * FROM t")
        result = session.sql("SELECT a FROM t")
        assert result.to_pylist() == [{"a": 1}]
        read, made = session.sql(
            "SELECT read_id, tables FROM audit.reads ORDER BY seq DESC LIMIT 2"
        ).to_pylist()
        assert [each["name"] for each in made["tables"]] == ["main.t"]
        assert [each["name"] for each in read["tables"]] == ["temp.t"]
        verdict = session.audit.replay(read["read_id"])
        assert verdict.outcome == "EVIDENCE_GONE"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("CREATE TEMP TABLE k (a INT) ON COMMIT DROP", "ON COMMIT DROP is not supported"),
        ("CREATE TEMP TABLE k (a INT) ON COMMIT PRESERVE ROWS", "ON COMMIT PRESERVE is not"),
        ("CREATE TEMP VIEW k AS SELECT 1", "TEMP VIEW is not supported"),
        ("CREATE TEMP TABLE k (a SERIAL)", "IDENTITY is not supported in a temporary table"),
        ("CREATE TEMP TABLE k (a INT REFERENCES kept)", "REFERENCES is not supported in a temp"),
        ("CREATE TEMP TABLE k (LIKE t)", "LIKE is not supported in a temporary table"),
        ("CREATE TEMP TABLE s.k (a INT)", "is in the schema temp, not in 's'"),
        ("CREATE OR REPLACE TEMP TABLE IF NOT EXISTS t (a INT)", "contradict each other"),
        ("SELECT 1 AS a INTO TEMP k", "SELECT INTO TEMP is not supported"),
        ("CREATE TABLE temp.k (a INT)", "CREATE TEMP TABLE"),
        ("CREATE SCHEMA temp", "'temp' cannot name a schema"),
        ("CREATE TEMP TABLE t (a INT)", "a temporary table 't' exists"),
        ("CREATE TABLE k (LIKE t)", "'t' is a temporary table of this session"),
        ("CREATE TABLE t (a INT)", "a temporary table 't' exists"),
        ("CREATE VIEW k AS SELECT * FROM temp.t", "a view is the lake's"),
        ("ALTER TABLE t ADD COLUMN b INT", "'t' is a temporary table of this session"),
        ("CREATE INDEX i ON t (id)", "'t' is a temporary table of this session"),
        ("COMMENT ON TABLE t IS 'x'", "'t' is a temporary table of this session"),
        ("CREATE TRIGGER k AFTER INSERT ON t PUBLISH 'x'", "'t' is a temporary table of"),
        (lambda s: s.attach("t", [{"a": 1}]), "'t' exists"),
        (lambda s: s.erase("t", where="id = 1", reason="asked"), "'t' is a temporary table of"),
    ],
)
def test_what_is_not_done_with_it_is_refused_by_name(shadowed, text, told) -> None:
    with pytest.raises(errors.AffidavitError, match=told):
        shadowed.sql(text) if isinstance(text, str) else text(shadowed)
    shadowed.sql("CREATE TEMP TABLE IF NOT EXISTS t (other INT)")
    assert rows(shadowed, "SELECT * FROM t") == [(1, "own")]
