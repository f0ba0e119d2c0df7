"""The log of SQL statements: what ran, by whom, on which tables, and how it went."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pyarrow as pa
import pytest
from tests.support.lakes import Recorder, events, vectors
from tests.support.processes import run_python

import affidavit
from affidavit import errors
from affidavit.catalog.lake.trace import Trace
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.store.tables import STATEMENTS
from affidavit.engine.run.log import WAITING_MAX, StatementLog
from affidavit.engine.scans.audit import STATEMENTS_SCHEMA
from affidavit.engine.session.housekeeping import Housekeeper
from affidavit.engine.statement.shown import SHOWN_LENGTH_MAX, Shown

Q8 = [1.0] * 8


@pytest.fixture
def session(lake) -> Iterator[affidavit.Session]:
    """A session that logs statements as they are: without literals they are told apart less well."""
    with affidavit.connect(lake, actor="tester", durability="normal", store_queries=True) as opened:
        yield opened
    gc.collect()


def log(session: affidavit.Session) -> list[dict]:
    """Return every row but those of reading the log, oldest first."""
    rows = session.sql("SELECT * FROM audit.statements").to_pylist()
    return [row for row in rows if "audit.statements" not in row["text"]]


def last(session: affidavit.Session) -> dict:
    return log(session)[-1]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    lake = tmp_path_factory.mktemp("statements")
    with affidavit.connect(
        lake,
        actor="ann",
        source="notebook",
        workspace="lab",
        durability="normal",
        store_queries=True,
    ) as session:
        prepare(session)
        yield session


def prepare(session: affidavit.Session) -> None:
    session.create_vector_table("docs", vectors(50))
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT)")
    session.sql("INSERT INTO t SELECT value, value AS v FROM range(20)")
    session.sql("CREATE TABLE u (id BIGINT, v BIGINT)")
    session.sql("CREATE VIEW big AS SELECT * FROM t WHERE v > 10")


# --- what a row says -----------------------------------------------------------------------------


def test_a_row_says_who_ran_what_when_and_how_it_went(tables) -> None:
    before = datetime.now(UTC)
    with tables.scope(actor="bob", source="web", workspace="w") as bob:
        bob.sql("SELECT id FROM t WHERE id < $n", n=5).to_arrow()
    found = tables.sql("SELECT * FROM audit.statements").to_arrow()
    assert found.schema.names == STATEMENTS_SCHEMA.names
    types = {field.name: field.type for field in found.schema}
    assert types["executed_at"] == pa.timestamp("us", "UTC")
    assert types["tables_read"].value_type == types["tables_written"].value_type == pa.string()
    row = last(tables)
    statement_id, moment = UUID(row.pop("statement_id")), row.pop("executed_at")
    assert statement_id.version == 7
    assert before - timedelta(milliseconds=1) <= moment <= datetime.now(UTC)
    assert 0 <= row.pop("duration_us") <= (datetime.now(UTC) - moment) // timedelta(microseconds=1)
    version = row["tables_read"][0].partition("@")[2]
    assert int(version) > 0
    assert row == {
        "tenant": "default", "actor": "bob", "source": "web", "workspace": "w", "kind": "query",
        "text": "SELECT id FROM t WHERE id < $n", "tables_read": [f"main.t@{version}"],
        "tables_written": [], "rows": 5, "status": "ok", "error": None,
    }  # fmt: skip


SEARCH = f"vector_search('docs', {Q8}, 3)"
KINDS = [
    ("SELECT 1", "query", [], [], 1),
    ("SELECT * FROM t JOIN docs ON docs.id = t.id", "query", ["main.docs@", "main.t@"], [], 20),
    (f"SELECT id FROM {SEARCH}", "query", ["main.docs@"], [], 3),
    ("SELECT * FROM big", "query", ["main.t@"], [], 9),
    ("WITH x AS (SELECT * FROM t) SELECT * FROM x", "query", ["main.t@"], [], 20),
    ("SELECT count(*) FROM audit.searches", "query", [], [], 1),
    ("EXPLAIN SELECT * FROM t", "explain", ["main.t@"], [], None),
    (f"EXPLAIN ANALYZE SELECT id FROM {SEARCH}", "explain", ["main.docs@"], [], None),
    ("INSERT INTO u VALUES (1, 1), (2, 2)", "insert", [], ["main.u"], 2),
    ("INSERT INTO u SELECT id, v FROM t WHERE id < 4", "insert", ["main.t@"], ["main.u"], 4),
    ("INSERT INTO u VALUES (3, 3) RETURNING id", "insert", [], ["main.u"], 1),
    ("INSERT INTO t VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET v = 5", "insert", [], ["main.t"], 1),
    ("INSERT INTO t VALUES (1, 5) ON CONFLICT (id) DO NOTHING", "insert", [], [], 0),
    ("INSERT INTO u SELECT id, v FROM t WHERE false", "insert", ["main.t@"], [], 0),
    ("UPDATE t SET v = v + 1 WHERE id < 3", "update", [], ["main.t"], 3),
    (f"UPDATE t SET v = 0 WHERE id IN (SELECT id FROM {SEARCH})", "update", ["main.docs@"], None, None),
    ("UPDATE t SET v = 1 WHERE false", "update", [], [], 0),
    ("DELETE FROM u WHERE id = 1", "delete", [], ["main.u"], None),
    ("UPDATE docs SET bucket = 3 WHERE id = 1", "update", [], ["main.docs@"], 1),
    (
        "MERGE INTO t USING (SELECT 1 AS id) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = 9",
        "merge", [], ["main.t"], 1,
    ),
    ("TRUNCATE u", "truncate", [], ["main.u"], None),
    ("CREATE TABLE made AS SELECT id FROM t WHERE id < 6", "create", ["main.t@"], ["main.made"], 6),
    ("CREATE INDEX i ON made (id)", "create", [], ["main.made"], 0),
    ("ALTER TABLE made ADD COLUMN x BIGINT", "alter", [], ["main.made"], 0),
    ("DROP TABLE made", "drop", [], ["main.made"], 0),
    ("CREATE VIEW near AS SELECT id FROM t", "create", ["main.t@"], ["main.near"], 0),
    ("DROP VIEW near", "drop", [], ["main.near"], 0),
    ("SELECT id INTO made FROM t WHERE id < 2", "select_into", ["main.t@"], ["main.made"], 2),
    ("DROP TABLE IF EXISTS made", "drop", [], ["main.made"], 0),
    ("PREPARE p AS SELECT id FROM t WHERE id < 2", "prepare", ["main.t@"], [], 0),
    ("EXECUTE p", "execute", ["main.t@"], [], 2),
    ("DEALLOCATE p", "deallocate", [], [], 0),
    ("BEGIN", "begin", [], [], 0),
    ("ROLLBACK", "rollback", [], [], 0),
    ("SET datafusion.execution.batch_size = 4096", "setting", [], [], 0),
    ("SHOW TABLES", "query", None, [], None),
    ("DESCRIBE t", "query", None, [], 2),
]  # fmt: skip


@pytest.mark.parametrize("listening", [False, True], ids=["alone", "listened to"])
def test_each_kind_of_statement_has_its_row(session, listening: bool) -> None:
    """In one order, since they make what the next ones use; the log is read at the end.

    What an INSERT wrote was noted only where somebody listened.
    """
    prepare(session)
    if listening:
        session.add_change_listener(Recorder())
    before = len(log(session))
    for text, *_ in KINDS:
        session.sql(text).to_arrow()
    rows = log(session)[before:]
    assert [row["text"] for row in rows] == [text for text, *_ in KINDS]
    for row, (text, kind, read, written, count) in zip(rows, KINDS, strict=True):
        assert (row["kind"], row["status"], row["error"]) == (kind, "ok", None), text
        if read is not None:
            assert [name.rstrip("0123456789") for name in sorted(row["tables_read"])] == read, text
            assert all(name[-1].isdigit() for name in row["tables_read"]), text
        if written is not None:
            shown = [name.rstrip("0123456789") for name in row["tables_written"]]
            assert shown == written, text
        if count is not None:
            assert row["rows"] == count, text
        assert row["duration_us"] >= 0
        assert (row["actor"], row["tenant"]) == ("tester", "default")


def test_versions_are_those_that_were_read_and_written(session, docs) -> None:
    session.sql("UPDATE docs SET bucket = 1 WHERE id = 1")
    session.sql("SELECT id FROM vector_search('docs', $q, 1)", q=Q8).to_arrow()
    options = '{"version": 1}'
    session.sql(f"SELECT id FROM vector_search('docs', $q, 1, '{options}')", q=Q8).to_arrow()
    session.sql("CREATE TABLE t (a BIGINT)")
    session.sql("SELECT * FROM t").to_arrow()
    session.sql("INSERT INTO t VALUES (1)")
    session.sql("SELECT * FROM t").to_arrow()
    rows = log(session)
    assert rows[0]["tables_written"] == ["main.docs@2"]
    assert [row["tables_read"] for row in rows[1:3]] == [["main.docs@2"], ["main.docs@1"]]
    then, now = (int(row["tables_read"][0].removeprefix("main.t@")) for row in (rows[4], rows[6]))
    assert then < now


def test_what_is_appended_to_files_is_written(session, tmp_path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    session.sql(f"COPY (SELECT 1 AS a) TO '{folder}/a.csv' STORED AS CSV")
    session.sql(f"CREATE EXTERNAL TABLE e (a BIGINT) STORED AS CSV LOCATION '{folder}/'")
    session.sql("INSERT INTO e VALUES (2)")
    copied, made, inserted = log(session)
    assert (copied["kind"], copied["rows"], copied["tables_written"]) == ("copy", 1, [])
    assert made["tables_written"] == inserted["tables_written"] == ["main.e"]


@pytest.mark.parametrize(
    ("text", "kind", "error"),
    [
        ("SELEC 1", "query", "SqlError"),
        ("SELECT * FROM nope", "query", "TableNotFoundError: no table 'nope'"),
        ("INSERT INTO t VALUES (1, 1)", "insert", "ConstraintError"),
        ("SELECT 1 / (v - v) FROM t", "query", "ExecutionError"),
        ("DELETE FROM audit.searches", "delete", "ReservedNameError: "),
        ("SELECT 1; SELECT 2", None, "SqlError"),
        ("", None, "SqlError"),
        ("COMMIT", "commit", "TransactionError"),
        ("SELECT '\ud800'", "query", "SqlError"),
        (7, None, "SqlError"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_statement_that_fails_has_its_row_and_its_errors_class(tables, text, kind, error) -> None:
    with pytest.raises(Exception) as raised:
        tables.sql(text).to_arrow()
    row = last(tables)
    assert row["text"] == (str(text) if not isinstance(text, str) else text.replace("\ud800", "?"))
    assert (row["status"], row["rows"], row["tables_written"]) == ("error", None, [])
    assert row["error"].startswith(error)
    assert ":" in error or row["error"] == error, "what it said may have values"
    if isinstance(raised.value, errors.AffidavitError):
        assert kind is None or row["kind"] == kind


def test_a_listener_that_refuses_leaves_nothing_written(session, recorder) -> None:
    session.sql("CREATE TABLE t (a BIGINT)")
    recorder.refuse = "insert"
    with pytest.raises(RuntimeError):
        session.sql("INSERT INTO t VALUES (1)")
    row = last(session)
    assert (row["status"], row["tables_written"]) == ("error", [])
    assert row["error"] == "RuntimeError"


@pytest.mark.slow
def test_a_query_has_its_row_once_it_ran(tables) -> None:
    def new(run) -> list[int | None]:
        before = len(log(tables))
        run(lambda: tables.sql("SELECT id FROM t"))
        gc.collect()
        return [row["rows"] for row in log(tables)[before:]]

    def half(query) -> None:
        for _ in query():
            break

    total = tables.table("t").count()
    assert new(lambda query: query().close()) == []
    assert new(lambda query: query().schema) == []
    assert new(lambda query: query() and None) == [total], "whether it is true takes its length"
    assert new(lambda query: query().to_arrow()) == [total]
    assert new(lambda query: (r := query(), r.to_arrow(), r.to_pylist(), len(r))) == [total]
    assert new(lambda query: sum(1 for _ in query())) == [total]
    assert new(lambda query: repr(query())) == [total]
    assert new(half) == [total], "of the batch that was read"
    assert new(lambda query: pa.table(query())) == [total]


def test_what_python_calls_do_is_in_no_row(session, docs) -> None:
    table = session.create_table("t", [{"a": 1}])
    table.insert([{"a": 2}])
    table.update({"a": 3}, "a = 1")
    table.delete("a = 2")
    docs.delete("id = 1")
    session.search("docs", Q8)
    assert log(session) == []
    assert session.explain("SELECT 1")
    assert [(row["kind"], row["text"]) for row in log(session)] == [("explain", "EXPLAIN SELECT 1")]


def test_odd_texts_are_kept_as_they_are(session) -> None:
    odd = "SELECT 'a\u2028é\n\t''x' AS \"\U0001f600\" -- end"
    session.sql(odd).to_arrow()
    assert last(session)["text"] == odd
    long = f"SELECT '{'x' * (SHOWN_LENGTH_MAX + 50)}' AS a"
    session.sql(long).to_arrow()
    assert last(session)["text"] == long[:SHOWN_LENGTH_MAX]
    with session.scope(actor="\ud800", source="\udfff", workspace="\ud801") as odd_one:
        odd_one.sql("SELECT 'odd actor'").to_arrow()
    row = last(session)
    assert (row["text"], row["actor"], row["source"]) == ("SELECT 'odd actor'", "?", "?")


# --- whose rows, and which -----------------------------------------------------------------------


def test_filters_on_the_log_find_what_they_should(tables) -> None:
    tables.sql("SELECT 'marked'").to_arrow()
    row = last(tables)
    for condition in (
        f"statement_id = '{row['statement_id']}'", "text = 'SELECT ''marked'''",
        f"executed_at = '{row['executed_at'].isoformat()}' AND kind = 'query'",
        f"statement_id IN ('{row['statement_id']}', 'x') AND status = 'ok' AND rows = 1",
        f"text LIKE '%marked%' AND actor = 'ann' AND duration_us = {row['duration_us']}",
    ):  # fmt: skip
        found = tables.sql(
            f"SELECT statement_id FROM audit.statements WHERE {condition} AND kind <> 'drop' "
            "AND text NOT LIKE '%audit.%'"
        ).to_pylist()
        assert found == [{"statement_id": row["statement_id"]}], condition


@pytest.mark.parametrize("name", ["audit.statements", "AUDIT.Statements", '"audit"."statements"',
                                  "lake.audit.statements"])  # fmt: skip
def test_who_reads_the_log_finds_what_ran_before(session, name: str) -> None:
    session.sql("SELECT 1").to_arrow()
    assert session.sql(f"SELECT text FROM {name}").to_pylist() == [{"text": "SELECT 1"}]


def test_p9_each_tenant_finds_its_own_statements(session) -> None:
    for tenant in ("red", "blue", None):
        with session.scope(tenant=tenant) as scoped:
            scoped.sql(f"SELECT 'of {tenant}'").to_arrow()
    for tenant in ("red", "blue", None):
        with session.scope(tenant=tenant) as scoped:
            assert [(row["text"], row["tenant"]) for row in log(scoped)] == [
                (f"SELECT 'of {tenant}'", tenant)
            ]
    assert log(session) == []


def test_audit_says_what_is_logged(lake) -> None:
    for mode, count in (("statements", 1), ("searches", 1), ("off", 1), ("statements", 2)):
        with affidavit.connect(
            lake, audit=mode, durability="normal", store_queries=True
        ) as session:
            assert session.audit.mode == mode
            session.sql("SELECT 1").to_arrow()
            assert len(log(session)) == count, mode


# --- written behind ------------------------------------------------------------------------------


def test_what_waits_is_written_when_the_session_closes(lake, monkeypatch) -> None:
    monkeypatch.setattr(Housekeeper, "wake", lambda _: None)
    with affidavit.connect(lake, durability="normal", store_queries=True) as session:
        for at in range(5):
            session.sql(f"SELECT {at}").to_arrow()
        result = session.sql("SELECT 'never read'")
        assert len(session._instance.statements._waiting) == 5
    result.close()
    with affidavit.connect(lake, durability="normal", store_queries=True) as session:
        assert [row["text"] for row in log(session)] == [f"SELECT {at}" for at in range(5)]


def test_what_waits_is_written_in_the_background(session, monkeypatch) -> None:
    written = threading.Event()
    flush = StatementLog.flush

    def noted(self) -> bool:
        done = flush(self)
        written.set()
        return done

    session._instance.housekeeper._tasks[0] = lambda: noted(session._instance.statements)
    session._instance.housekeeper._interval_s = 0.001
    session.sql("SELECT 1").to_arrow()
    assert written.wait(20)
    with session._catalog().read() as reader:
        assert reader.count(STATEMENTS) == 1


def test_many_threads_lose_no_rows(session) -> None:
    session.create_table("t", [{"a": at} for at in range(10)])

    def work(number: int) -> None:
        for at in range(25):
            session.sql(f"SELECT a, {number * 100 + at} AS n FROM t").to_arrow()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    rows = log(session)
    assert len(rows) == 200
    assert {row["rows"] for row in rows} == {10}
    assert len({row["text"] for row in rows}) == len({row["statement_id"] for row in rows}) == 200


def test_statements_in_a_transaction_are_logged_however_it_ends(session) -> None:
    session.sql("CREATE TABLE t (a BIGINT)")
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.sql("INSERT INTO t VALUES (1)")
        assert session.sql("SELECT count(*) FROM audit.statements").num_rows == 1
        raise ZeroDivisionError
    assert [(row["kind"], row["tables_written"]) for row in log(session)] == [
        ("create", ["main.t"]), ("insert", ["main.t"]), ("rollback", []),
    ]  # fmt: skip
    assert session.table("t").count() == 0


class Failing:
    """A store that cannot be written for statements."""

    def __init__(self, store, error: Exception) -> None:
        self._store = store
        self.error: Exception | None = error
        self.tried = 0

    def write(self, tenant: str, **options):
        self.tried += 1
        if self.error is not None:
            raise self.error
        return self._store.write(tenant, **options)


@pytest.mark.parametrize(
    "error", [errors.StoreError("the disk is full"), errors.StoreBusyError("x", timeout_s=1)],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_log_that_cannot_be_written_fails_no_statement(lake, monkeypatch, error) -> None:
    """Reading the log wrote it first, and failed with it."""
    monkeypatch.setattr(Housekeeper, "wake", lambda _: None)
    with affidavit.connect(lake, durability="normal", store_queries=True) as session:
        statements = session._instance.statements
        store = statements._store = Failing(statements._store, error)
        session.sql("CREATE TABLE t (a BIGINT)")
        session.sql("INSERT INTO t VALUES (1)")
        assert session.sql("SELECT * FROM t").num_rows == 1
        assert session.sql("SELECT * FROM audit.statements").to_pylist() == []
        assert store.tried == 1
        assert len(statements._waiting) == 4
        store.error = None
        assert [row["kind"] for row in log(session)] == ["create", "insert", "query"]


def test_a_log_that_cannot_be_written_is_tried_again_in_the_background(session, caplog) -> None:
    shared = session._instance
    store = shared.statements._store = Failing(shared.lake.store, errors.StoreError("full"))
    logged = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "background task failed" in record.getMessage():
                logged.set()

    handler = Handler()
    logging.getLogger("affidavit").addHandler(handler)
    shared.housekeeper._interval_s = 0.001
    session.sql("SELECT 1").to_arrow()
    assert logged.wait(20)
    logging.getLogger("affidavit").removeHandler(handler)
    until = time.monotonic() + 20
    while store.tried < 3 and time.monotonic() < until:
        time.sleep(0.01)
    store.error = None
    assert [row["text"] for row in log(session)] == ["SELECT 1"]


def test_p15_the_log_waits_for_a_long_transaction_and_nobody_for_the_log(lake, caplog) -> None:
    """Reading the log waited for the writer as long as any writer, and its failure was logged."""
    with affidavit.connect(
        lake, durability="normal", busy_timeout_s=60, store_queries=True
    ) as session:
        shared = session._instance
        shared.housekeeper._interval_s = 0.01
        shared.housekeeper.add(lambda: rounds.set() or False)
        with shared.lake.store.write("default"):
            rounds = threading.Event()
            session.sql("SELECT 1").to_arrow()
            assert rounds.wait(20)
            began = time.monotonic()
            assert session.sql("SELECT * FROM audit.statements").to_pylist() == []
            assert time.monotonic() - began < 20
        assert [row["text"] for row in log(session)] == ["SELECT 1"]
    assert "background task" not in caplog.text


def test_a_session_whose_log_cannot_be_written_still_keeps_its_checkpoint(lake) -> None:
    session = affidavit.connect(lake, durability="normal", store_queries=True)
    session.create_vector_table("docs", vectors(5))
    for _ in range(2):
        session.search("docs", Q8)
    session.sql("SELECT 1").to_arrow()
    session._instance.statements._store = Failing(None, errors.StoreError("the disk is full"))
    with pytest.raises(errors.StoreError, match="the disk is full"):
        session.close()
    with affidavit.connect(lake, durability="normal", store_queries=True) as again:
        found = again.sql("SELECT max(size) AS n FROM audit.checkpoints").to_pylist()
        assert found == [{"n": 3 + events(again)}]


def unwritten() -> tuple[StatementLog, Callable[[str, affidavit.Result], affidavit.Result]]:
    """Return a log without a store, and what logs a statement to it."""
    waiting = StatementLog(None, None, None, Shown(literals=True), lambda: None)  # type: ignore[arg-type]  # it is never written

    def run(text: str, result: affidavit.Result) -> affidavit.Result:
        return waiting.run(Identity("default"), text, Trace(), lambda _: result)

    return waiting, run


@pytest.mark.slow
def test_a_log_that_is_never_written_is_bounded_and_drops_the_oldest() -> None:
    waiting, run = unwritten()
    result = affidavit.Result.of(pa.table({"a": [1]}))
    for at in range(WAITING_MAX + 5):
        assert run(f"SELECT {at}", result) is result
    assert len(waiting._waiting) == WAITING_MAX
    texts = [row[6] for _, row in (waiting._waiting[0], waiting._waiting[-1])]
    assert texts == ["SELECT 5", f"SELECT {WAITING_MAX + 4}"]


def test_a_result_that_is_dropped_while_the_log_is_in_hand_does_not_hang() -> None:
    """Garbage is collected anywhere, in a thread that holds the log's lock too."""
    waiting, run = unwritten()
    table = pa.table({"a": [1, 2]})
    rows = iter(run("SELECT a", affidavit.Result(table.schema, iter(table.to_batches()))))
    next(rows)
    done = threading.Event()

    def drop() -> None:
        with waiting._queue:
            rows.close()
        done.set()

    threading.Thread(target=drop, daemon=True).start()
    assert done.wait(20)
    assert [row[6] for _, row in waiting._waiting] == ["SELECT a"]


CRASHING = """
import os, signal, sys, affidavit
from affidavit.engine.session.housekeeping import Housekeeper
Housekeeper.wake = lambda self: None
session = affidavit.connect(sys.argv[1], durability="normal", store_queries=True)
session.sql("CREATE TABLE t (a BIGINT)")
session.sql("SELECT * FROM audit.statements").to_arrow()
session.sql("SELECT 'lost'").to_arrow()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.crash
def test_a_crash_loses_at_most_what_waited(lake) -> None:
    run_python(CRASHING, lake, status=-9)
    with affidavit.connect(lake, durability="normal", store_queries=True) as session:
        assert [row["text"] for row in log(session)] == ["CREATE TABLE t (a BIGINT)"]
        assert session.table("t").count() == 0
