"""INSERT INTO another database: all or nothing, and written down."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.outgoing import SCHEMA, TABLE, entries, make, rows
from tests.support.processes import run_python

import affidavit
from affidavit.errors import (
    AffidavitError,
    ColumnNotFoundError,
    ExecutionError,
    ReadOnlyError,
    SourceError,
    SqlError,
    StoreBusyError,
    StoreError,
    TableNotFoundError,
    TransactionError,
)

if TYPE_CHECKING:
    from tests.support.pg_server import PgServer


def test_rows_of_a_query_are_inserted_and_written_down(
    session: affidavit.Session, source: str
) -> None:
    session.sql("CREATE TABLE src AS SELECT value AS id, 'n' || value AS s FROM range(1, 4)")
    assert session.sql(f"INSERT INTO {source} (id, s) SELECT id, s FROM src").rows_affected == 3
    assert rows(session, source) == [{"id": n, "s": f"n{n}"} for n in (1, 2, 3)]
    told = {"rows": 3, "columns": ["id", "s"]}
    assert entries(session, source) == [("insert", told), ("commit", {"rows": 3})]
    assert session.ledger.verify().ok


def test_columns_come_in_any_order_and_the_others_get_their_defaults(
    session: affidavit.Session, source: str
) -> None:
    session.sql(f"INSERT INTO {source} (d, id) VALUES (1.5, 1), (NULL, 2)")
    found = session.sql(f"SELECT id, s, d FROM {source} ORDER BY id").to_pylist()
    assert [(each["id"], each["s"], each["d"] and str(each["d"])) for each in found] == [
        (1, "none", "1.50"),
        (2, "none", None),
    ]


def test_without_a_list_every_column_is_given(session: affidavit.Session, source: str) -> None:
    session.sql(f"INSERT INTO {source} VALUES (1, 'a', 2)")
    session.sql(f"INSERT INTO {source} VALUES ($1, $2, $3)", [2, "b", None])
    assert rows(session, source) == [{"id": 1, "s": "a"}, {"id": 2, "s": "b"}]
    with pytest.raises(AffidavitError):
        session.sql(f"INSERT INTO {source} VALUES (3, 'c')")
    assert len(rows(session, source)) == 2


def test_no_rows_are_none(session: affidavit.Session, source: str) -> None:
    text = f"INSERT INTO {source} (id) SELECT CAST(1 AS INT) WHERE false"
    assert session.sql(text).rows_affected == 0
    assert rows(session, source) == []


def test_a_table_is_inserted_into_itself(session: affidavit.Session, source: str) -> None:
    session.sql(f"INSERT INTO {source} (id) VALUES (1), (2)")
    assert session.sql(f"INSERT INTO {source} (id) SELECT id + 10 FROM {source}").rows_affected == 2
    assert [row["id"] for row in rows(session, source)] == [1, 2, 11, 12]


def test_many_rows_are_streamed_there(session: affidavit.Session, source: str) -> None:
    count = 50_000
    text = f"INSERT INTO {source} (id, s) SELECT value, 'x' FROM range(0, {count})"
    assert session.sql(text).rows_affected == count
    found = session.sql(f"SELECT count(*) AS n, sum(id) AS total FROM {source}").to_pylist()
    assert found == [{"n": count, "total": count * (count - 1) // 2}]


def test_all_rows_or_none(session: affidavit.Session, source: str) -> None:
    session.sql(f"INSERT INTO {source} (id, s) VALUES (20000, 'here')")
    name = source.partition(".")[0]
    with pytest.raises(SourceError, match=f"source '{name}'.*writing"):
        session.sql(f"INSERT INTO {source} (id) SELECT value FROM range(0, 30000)")
    assert rows(session, source) == [{"id": 20000, "s": "here"}]
    assert [action for action, _ in entries(session, source)] == ["insert", "commit"]
    assert session.sql(f"INSERT INTO {source} (id) VALUES (1)").rows_affected == 1


def test_a_query_that_fails_midway_inserts_nothing(session: affidavit.Session, source: str) -> None:
    with pytest.raises(ExecutionError, match="zero"):
        session.sql(
            f"INSERT INTO {source} (id) SELECT value + 0 / (20000 - value) FROM range(0, 30000)"
        )
    assert rows(session, source) == []
    assert entries(session, source) == []


def test_what_cannot_be_written_down_is_not_written(
    session: affidavit.Session, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreBusyError("the journal", timeout_s=1)

    with monkeypatch.context() as patched:
        patched.setattr("affidavit.engine.run.outgoing.note", refuse)
        with pytest.raises(StoreBusyError):
            session.sql(f"INSERT INTO {source} (id) VALUES (1)")
    assert rows(session, source) == []


@pytest.mark.parametrize(
    ("statement", "error", "told"),
    [
        ("INSERT INTO {t} (id, nope) VALUES (1, 2)", ColumnNotFoundError, "nope"),
        ("INSERT INTO {t} (id, id) VALUES (1, 2)", SqlError, "twice"),
        ("INSERT INTO {s}.missing (id) VALUES (1)", TableNotFoundError, "missing"),
        ("INSERT INTO nowhere.x.t (id) VALUES (1)", TableNotFoundError, "nowhere"),
        ("INSERT INTO {t} (id) VALUES (1) RETURNING id", SqlError, "RETURNING"),
        ("INSERT INTO {t} (id) VALUES (1) ON CONFLICT DO NOTHING", SqlError, "ON CONFLICT"),
        ("INSERT INTO {t} (id) SELECT id FROM no_such_table", TableNotFoundError, "no_such_table"),
        ("INSERT INTO {t} (id) VALUES ('x')", AffidavitError, "x"),
        ("UPDATE {t} SET id = 1", SqlError, "inserted into, nothing else"),
        ("DELETE FROM {t}", SqlError, "inserted into, nothing else"),
        ("TRUNCATE {t}", SqlError, "inserted into, nothing else"),
        ("DROP TABLE {t}", SqlError, "inserted into, nothing else"),
        ("ALTER TABLE {t} DROP COLUMN s", SqlError, "inserted into, nothing else"),
        (
            "MERGE INTO {t} USING (SELECT 1 AS id) n ON t.id = n.id WHEN MATCHED THEN DELETE",
            SqlError,
            "inserted into, nothing else",
        ),
    ],
)
def test_bad_statements_are_named_and_change_nothing(
    session: affidavit.Session, source: str, statement: str, error: type[Exception], told: str
) -> None:
    session.sql(f"INSERT INTO {source} (id) VALUES (7)")
    with pytest.raises(error, match=told):
        session.sql(statement.format(t=source, s=source.rpartition(".")[0]))
    assert rows(session, source) == [{"id": 7, "s": "none"}]
    assert len(entries(session, source)) == 2


def test_a_transaction_does_not_hold_it(session: affidavit.Session, source: str) -> None:
    with pytest.raises(TransactionError, match="ROLLBACK"), session.transaction():
        session.sql(f"INSERT INTO {source} (id) VALUES (1)")
    session.sql("BEGIN")
    with pytest.raises(TransactionError):
        session.sql(f"INSERT INTO {source} (id) VALUES (1)")
    session.sql("ROLLBACK")
    assert rows(session, source) == []


def test_a_read_only_session_and_one_in_the_past_insert_nothing(
    session: affidavit.Session, source: str, lake: Path
) -> None:
    seq = session.journal.recent(1).to_pylist()[0]["seq"]
    with session.at(seq) as past, pytest.raises(ReadOnlyError):
        past.sql(f"INSERT INTO {source} (id) VALUES (1)")
    if source.startswith(("duck", "lite")):  # the others' passwords are not remembered
        with (
            affidavit.connect(lake, read_only=True) as reader,
            pytest.raises(ReadOnlyError),
        ):
            reader.sql(f"INSERT INTO {source} (id) VALUES (1)")
    assert rows(session, source) == []


def test_explaining_inserts_nothing(session: affidavit.Session, source: str) -> None:
    assert "Insert" in session.explain(f"INSERT INTO {source} (id) VALUES (1)")
    assert rows(session, source) == []


# --- crashes --------------------------------------------------------------------------------------


CRASH = """
import os, sys
import affidavit
import affidavit.catalog.sources.drivers.postgres as postgres
lake, url, when = sys.argv[1:]
real = postgres.rows_of
def rows_of(connection, sql, *rest):
    if sql == "COMMIT" and when == "before":
        os._exit(9)
    found = real(connection, sql, *rest)
    if sql == "COMMIT" and when == "after":
        os._exit(9)
    return found
postgres.rows_of = rows_of
with affidavit.connect(lake) as session:
    session.attach("pg", url)
    session.sql("INSERT INTO pg.public.t (id) VALUES (1), (2)")
"""


@pytest.mark.crash
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_dies_at_the_commit_leaves_the_entry(
    lake: Path, pg_server: PgServer, when: str
) -> None:
    url = pg_server.database("writing", TABLE["pg"])
    run_python(CRASH, lake, url, when, status=9)
    with affidavit.connect(lake) as session:
        count = {"before": 0, "after": 2}[when]
        assert len(rows(session, "pg.public.t")) == count
        assert [action for action, _ in entries(session, "pg.public.t")] == ["insert"]
        assert session.ledger.verify().ok


def test_a_commit_that_fails_is_unsettled(session: affidavit.Session, pg_server: PgServer) -> None:
    url = pg_server.database(
        "writing",
        "CREATE TABLE p (id int PRIMARY KEY)",
        "CREATE TABLE t (id int REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    )
    session.attach("pg", url)
    with pytest.raises(SourceError, match="foreign key"):
        session.sql("INSERT INTO pg.public.t VALUES (1)")
    assert session.sql("SELECT * FROM pg.public.t").to_pylist() == []
    assert [action for action, _ in entries(session, "pg.public.t")] == ["insert", "unsettled"]


# --- what databases would let pass ----------------------------------------------------------------


def test_the_table_is_looked_at_as_it_is_now(session: affidavit.Session, source: str) -> None:
    """What was known of it may be old: an INSERT must not cut values to what it was."""
    kind = source.partition(".")[0]
    session.sql(f"SELECT * FROM {source}").to_arrow()
    run = {"pg": "ALTER TABLE t ADD COLUMN fresh int", "my": "ALTER TABLE t ADD COLUMN fresh int"}
    elsewhere(session, kind, run.get(kind, "ALTER TABLE t ADD COLUMN fresh INTEGER"))
    session.sql(f"INSERT INTO {source} (id, fresh) VALUES (1, 7)")
    session.refresh(kind)
    assert session.sql(f"SELECT fresh FROM {source}").to_pylist() == [{"fresh": 7}]


def elsewhere(session: affidavit.Session, kind: str, statement: str) -> None:
    """Run a statement in a source by a connection of its own kind."""
    database = session._instance.planner(session.identity).attached[kind].database
    connection = database.driver.connect(writing=True)
    try:
        if kind == "duck":
            connection.library.execute(statement)
        elif kind == "lite":
            connection.execute(statement)
        else:
            with connection.cursor() as cursor:
                cursor.execute(statement)
    finally:
        connection.close()


@pytest.mark.slow
def test_inserts_of_many_threads_are_all_there(session: affidavit.Session, source: str) -> None:
    def insert(at: int) -> None:
        ids = ", ".join(f"({at * 10 + n})" for n in range(10))
        assert session.sql(f"INSERT INTO {source} (id) VALUES {ids}").rows_affected == 10

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(insert, range(8)))
    assert [row["id"] for row in rows(session, source)] == list(range(80))
    actions = [action for action, _ in entries(session, source)]
    assert sorted(actions) == ["commit"] * 8 + ["insert"] * 8


def test_a_duckdb_file_that_the_program_has_open_keeps_everybodys_rows(
    session: affidavit.Session, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """DuckDB's file locks do not see one process open a file twice."""
    session.attach("duck", make("duck", request, tmp_path, "CREATE TABLE t (id int)"))
    with pytest.importorskip("duckdb").connect(str(tmp_path / "written.duck")) as own:
        for n in range(1, 6):
            if n % 2:
                own.execute(f"INSERT INTO t VALUES ({n})")
            else:
                session.sql(f"INSERT INTO duck.main.t VALUES ({n})")
    found = session.sql("SELECT id FROM duck.main.t ORDER BY id").to_pylist()
    assert [row["id"] for row in found] == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_duckdb_file_is_not_written_while_a_result_of_it_is_read(
    session: affidavit.Session,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("affidavit.catalog.sources.drivers.gate.WAIT_S", 0.2)
    table = "CREATE TABLE t AS SELECT range AS id FROM range(1000000)"
    session.attach("duck", make("duck", request, tmp_path, table))
    result = session.sql("SELECT id FROM duck.main.t")
    batches = result.batches()
    next(batches)
    with pytest.raises(SourceError, match="'duck'.*this process reads it"):
        session.sql("INSERT INTO duck.main.t VALUES (-1)")
    result.close()
    assert session.sql("INSERT INTO duck.main.t VALUES (-1)").rows_affected == 1


@pytest.mark.server
@pytest.mark.parametrize("column", ["enum('a', 'b')", "set('a', 'b')"])
def test_what_mariadbs_driver_takes_for_a_warning_is_an_error(
    column: str, session: affidavit.Session, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    session.attach("my", make("my", request, tmp_path, f"CREATE TABLE t (id int, s {column})"))
    with pytest.raises(SourceError, match="truncated"):
        session.sql("INSERT INTO my.writing.t VALUES (1, 'a'), (2, 'c'), (3, 'b')")
    assert rows(session, "my.writing.t") == []
    text = "SELECT value, CASE WHEN value = 20000 THEN 'c' ELSE 'a' END FROM range(0, 30000)"
    with pytest.raises(SourceError, match="truncated"):
        session.sql(f"INSERT INTO my.writing.t {text}")
    assert rows(session, "my.writing.t") == []
    assert session.sql("INSERT INTO my.writing.t VALUES (1, 'a'), (2, NULL)").rows_affected == 2


@pytest.mark.server
@pytest.mark.parametrize("column", ["datetime", "timestamp NULL", "datetime(3)"])
def test_parts_of_a_second_are_not_cut(
    column: str, session: affidavit.Session, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    session.attach("my", make("my", request, tmp_path, f"CREATE TABLE t (at {column})"))
    with pytest.raises(SourceError, match="'at'"):
        session.sql("INSERT INTO my.writing.t VALUES (TIMESTAMP '2020-01-01 00:00:00.999999')")
    text = "INSERT INTO my.writing.t VALUES (TIMESTAMP '1960-01-01 00:00:01'), (NULL)"
    if column.startswith("datetime"):
        assert session.sql(text).rows_affected == 2


@pytest.mark.server
def test_an_id_of_zero_stays_zero(
    session: affidavit.Session, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    table = "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, s text)"
    session.attach("my", make("my", request, tmp_path, table))
    session.sql("INSERT INTO my.writing.t VALUES (0, 'a')")
    assert rows(session, "my.writing.t") == [{"id": 0, "s": "a"}]


def test_rows_that_a_trigger_there_swallows_are_not_counted(
    session: affidavit.Session, pg_server: PgServer
) -> None:
    url = pg_server.database(
        "writing",
        "CREATE TABLE t (id int, s text)",
        "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.id % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER odd BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION odd()",
    )
    session.attach("pg", url)
    text = "INSERT INTO pg.public.t SELECT value, 'x' FROM range(0, 10)"
    assert session.sql(text).rows_affected == 5
    assert entries(session, "pg.public.t")[1] == ("commit", {"rows": 5})


def test_a_moment_at_infinity_is_not_written_as_another(
    session: affidavit.Session, pg_server: PgServer
) -> None:
    url = pg_server.database(
        "writing",
        "CREATE TABLE ends (at timestamp, d date)",
        "INSERT INTO ends VALUES ('infinity', 'infinity')",
        "CREATE TABLE t (at timestamp, d date)",
    )
    session.attach("pg", url)
    for column in ("at", "d"):
        with pytest.raises(SourceError, match=f"'{column}'.*infinity"):
            session.sql(f"INSERT INTO pg.public.t ({column}) SELECT {column} FROM pg.public.ends")
    assert session.sql("SELECT count(*) AS n FROM pg.public.t").to_pylist() == [{"n": 0}]


@pytest.mark.parametrize("kind", [pytest.param("pg", marks=pytest.mark.server), "duck"])
def test_no_name_there_is_mistaken_for_ours(
    kind: str, session: affidavit.Session, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    table = "CREATE TABLE affidavit_staging (c0 int, c1 text)"
    session.attach(kind, make(kind, request, tmp_path, table))
    name = f"{kind}.{SCHEMA[kind]}.affidavit_staging"
    assert session.sql(f"INSERT INTO {name} VALUES (1, 'a'), (2, 'b')").rows_affected == 2
    found = session.sql(f"SELECT c0, c1 FROM {name} ORDER BY c0").to_pylist()
    assert found == [{"c0": 1, "c1": "a"}, {"c0": 2, "c1": "b"}]


def test_an_entry_that_fails_after_the_commit_says_that_the_rows_are_there(
    session: affidavit.Session, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []

    def second_fails(*given: object) -> None:
        noted.append(str(given[4]))
        if len(noted) == 2:
            raise StoreBusyError("the journal", timeout_s=1)

    with monkeypatch.context() as patched:
        patched.setattr("affidavit.engine.run.outgoing.note", second_fails)
        with pytest.raises(StoreError, match="1 rows are in .* for good"):
            session.sql(f"INSERT INTO {source} (id) VALUES (1)")
    assert noted == ["insert", "commit"]
    assert len(rows(session, source)) == 1


def test_common_tables_may_come_first(session: affidavit.Session, source: str) -> None:
    session.sql("CREATE TABLE here (id INT)")
    for table in (source, "here"):
        text = f"WITH a AS (SELECT CAST(1 AS INT) AS id) INSERT INTO {table} (id) SELECT id FROM a"
        assert session.sql(text).rows_affected == 1
    assert len(rows(session, source)) == 1
