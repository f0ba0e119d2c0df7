"""P16: a read that a policy wants on record leaves one before its rows do, by every door."""

from __future__ import annotations

import datetime as dt
import gc
import hashlib
import json
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from tests.support.lakes import vectors
from tests.support.processes import run_python

import affidavit
from affidavit import errors
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import LEDGER
from affidavit.engine.audit import gate
from affidavit.engine.audit.audit import Audit
from affidavit.engine.session.journal import JournalHandle
from affidavit.engine.session.ledger import LedgerHandle
from affidavit.triggers.topics import Topics
from affidavit.triggers.triggers import Triggers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANY = 100_000


def reads(session: affidavit.Session, *, door: str = "") -> list[dict]:
    """Return what is on record of reads that were not of the record itself."""
    found = session.sql("SELECT * FROM audit.reads ORDER BY seq").to_pylist()
    mine = [each for each in found if "audit." not in str(each["text"])]
    return [each for each in mine if each["kind"] == door] if door else mine


@pytest.fixture
def audited(lake: Path) -> Iterator[affidavit.Session]:
    """A lake with a mutable and a vector table whose rows are on record."""
    with affidavit.connect(lake, actor="maria", durability="normal", store_queries=True) as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, x VARCHAR)")
        session.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
        session.sql("CREATE TABLE plain (id BIGINT)")
        session.create_vector_table("docs", vectors(20))
        session.sql("CREATE VIEW seen AS SELECT id, x FROM t WHERE id > 1")
        session.sql("ALTER TABLE t SET (audit = 'rows')")
        session.table("docs").audit = "rows"
        yield session


# --- policies ------------------------------------------------------------------------------------


def test_p16_the_stricter_of_floor_and_policy_holds(lake: Path) -> None:
    with affidavit.connect(lake) as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
        session.sql("INSERT INTO t VALUES (1)")
        session.sql("SELECT * FROM t").to_arrow()
        assert reads(session) == []
        table = session.table("t")
        assert table.audit is None
        for policy in ("reads", "rows", None):
            table.audit = policy
            assert table.audit == policy
        alters = session.sql("SELECT new_value FROM journal WHERE action = 'alter'").to_pylist()
        assert [each["new_value"] for each in alters] == [
            f'{{"detail": "audit = \'{each}\'"}}' for each in ("reads", "rows", "none")
        ]
    for floor, kept in (("reads", None), ("rows", 1)):
        with affidavit.connect(lake, audit=floor) as session:
            session.sql("SELECT * FROM t").to_arrow()
            assert reads(session)[-1]["level"] == floor
            assert reads(session)[-1]["tables"][0]["rows"] == kept


def test_p16_a_policy_holds_where_the_session_puts_nothing_on_record(audited, lake: Path) -> None:
    with affidavit.connect(lake, audit="off", actor="eve") as silent:
        silent.sql("SELECT * FROM t").to_arrow()
        assert silent.search("docs", [1.0] * 8, k=2).audit is not None
        silent.sql("SELECT id FROM vector_search('docs', $q, 2)", q=[1.0] * 8).to_arrow()
    assert [each["actor"] for each in reads(audited)] == ["eve", "eve"]
    assert [each.actor for each in audited.audit.recent()] == ["eve", "eve"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("ALTER TABLE t SET (audit = 'all')", "'reads' or 'rows', got 'all'"),
        ("ALTER TABLE t SET (audit = 'off')", "'reads' or 'rows', got 'off'"),
        ("ALTER TABLE t SET (speed = 'high')", "a table has one option, audit"),
        ("ALTER TABLE seen SET (audit = 'rows')", "has no policy of its own"),
        ("ALTER TABLE journal SET (audit = 'rows')", "never written"),
        ("ALTER TABLE audit.searches SET (audit = 'rows')", "audit"),
        ("ALTER TABLE nothing SET (audit = 'rows')", "nothing"),
    ],
)
def test_p16_a_policy_that_is_none_is_refused(audited, text: str, match: str) -> None:
    with pytest.raises(errors.AffidavitError, match=match):
        audited.sql(text)
    assert audited.table("t").audit == "rows"


def test_p16_another_tenants_policy_is_its_own(audited) -> None:
    with audited.scope(tenant="other") as other:
        other.sql("CREATE TABLE t (id BIGINT)")
        other.sql("SELECT * FROM t").to_arrow()
        assert reads(other) == []


# --- doors ---------------------------------------------------------------------------------------

SQL_DOORS = {
    "a query": "SELECT x FROM t",
    "a column": "SELECT id FROM t WHERE x = 'a'",
    "an aggregate": "SELECT max(x) FROM t",
    "a view": "SELECT * FROM seen",
    "a join": "SELECT a.x FROM t a JOIN plain p ON a.id = p.id",
    "a common table": "WITH c AS (SELECT * FROM t) SELECT count(*) FROM c WHERE x > 'a'",
    "a sub-query": "SELECT (SELECT max(x) FROM t) AS m",
    "an EXISTS": "SELECT 1 WHERE EXISTS (SELECT * FROM t WHERE x = 'a')",
    "a union": "SELECT x FROM t UNION ALL SELECT x FROM t",
    "EXPLAIN ANALYZE": "EXPLAIN ANALYZE SELECT x FROM t",
    "CREATE TABLE AS": "CREATE TABLE made AS SELECT * FROM t",
    "SELECT INTO": "SELECT * INTO made2 FROM t",
    "INSERT SELECT": "INSERT INTO plain SELECT id FROM t",
    "UPDATE FROM": "UPDATE plain SET id = t.id FROM t WHERE t.id = plain.id",
    "DELETE USING": "DELETE FROM plain USING t WHERE t.id = plain.id",
    "MERGE": "MERGE INTO plain USING t ON plain.id = t.id WHEN NOT MATCHED THEN INSERT VALUES (t.id)",
    "RETURNING": "UPDATE t SET x = 'z' WHERE id = 1 RETURNING *",
    "as_of": "SELECT * FROM as_of('t', $now)",
    "changes": "SELECT * FROM changes('t', 0, NULL)",
    "history": "SELECT * FROM history('t')",
    "the journal": "SELECT new_value FROM journal",
    "the journal's other name": "SELECT new_value FROM system.journal",
    "a vector table": "SELECT * FROM docs",
    "a vector table as it was": "SELECT * FROM as_of('docs', $now)",
}


@pytest.mark.parametrize("door", SQL_DOORS)
def test_p16_every_statement_that_reads_is_on_record_before_its_rows(audited, door: str) -> None:
    audited.sql("INSERT INTO plain VALUES (1)")
    text = SQL_DOORS[door]
    params = {"now": audited.ledger.size - 1} if "$now" in text else {}
    before = len(reads(audited))
    audited.sql(text, params).to_arrow()
    new = reads(audited)[before:]
    assert [(each["status"], each["actor"]) for each in new] == [("ok", "maria")]
    assert new[0]["text"] == text
    assert new[0]["result_sha256"] is not None
    assert audited.ledger.verify()


def test_p16_what_reads_nothing_of_an_audited_table_leaves_no_record(audited) -> None:
    for text in ("SELECT 1", "SELECT * FROM plain", "EXPLAIN SELECT * FROM t", "SHOW TABLES"):
        audited.sql(text).to_arrow()
    audited.sql("PREPARE p AS SELECT * FROM t")
    audited.sql("SELECT * FROM t")  # nobody asks for its rows
    audited.describe("SELECT * FROM t")
    audited.sql("DELETE FROM t WHERE id = 1")
    assert reads(audited) == []
    audited.sql("EXECUTE p").to_arrow()
    assert [each["kind"] for each in reads(audited)] == ["execute"]


def test_p16_a_file_that_copy_writes_is_on_record_around_it(audited, tmp_path: Path) -> None:
    audited.sql(f"COPY (SELECT * FROM t) TO '{tmp_path / 'out.parquet'}'")
    [read] = reads(audited)
    assert (read["kind"], read["status"], read["rows_returned"]) == ("copy", "ok", 3)
    assert read["opened_seq"] < read["seq"]


def test_p16_handles_are_doors(audited) -> None:
    rows = audited.table("t").to_arrow()
    docs = audited.table("docs").to_arrow()
    history = audited.journal.history("1")
    recent = audited.journal.recent(3)
    assert [rows.num_rows, docs.num_rows, len(history), len(recent)] == [3, 20, 1, 3]
    found = [(each["kind"], each["rows_returned"]) for each in reads(audited)]
    assert found == [("to_arrow", 3), ("to_arrow", 20), ("history", 1), ("recent", 3)]
    with pytest.raises(errors.InvalidQueryError, match="to_lance"):
        audited.table("docs").to_lance()
    [t, docs] = [each["tables"][0] for each in reads(audited, door="to_arrow")]
    assert (t["name"], t["rows"], docs["name"], docs["rows"]) == ("main.t", 3, "main.docs", 20)


def test_p16_a_search_inside_a_statement_is_named_and_not_repeated(audited) -> None:
    query = "SELECT s.id FROM vector_search('docs', $q, 2) s JOIN t ON t.id > 0"
    audited.sql(query, q=[1.0] * 8).to_arrow()
    [read] = reads(audited)
    [search] = audited.audit.recent(5)
    assert read["searches"] == [search.query_id]
    assert read["seq"] == search.seq + 1
    audited.search("docs", [1.0] * 8, k=2)
    assert len(reads(audited)) == 1


def test_p16_a_session_that_only_reads_is_on_record(audited, lake: Path) -> None:
    with affidavit.connect(lake, read_only=True, actor="auditor") as other:
        other.sql("SELECT * FROM t").to_arrow()
        assert [(each["actor"], each["status"]) for each in reads(other)] == [("auditor", "ok")]


def test_p16_a_table_of_another_lake_is_on_record_with_who_reads_it(
    audited, lake: Path, tmp_path: Path
) -> None:
    with affidavit.connect(tmp_path / "reader", actor="eve") as other:
        other.attach("north", f"lake://{lake}")
        other.sql("SELECT * FROM north.main.t").to_arrow()
        [read] = reads(other)
        [table] = read["tables"]
        assert (table["name"], table["lake_id"]) == (
            "north.main.t", audited._catalog().lake.lake_id,
        )  # fmt: skip
        assert read["actor"] == "eve"
    assert reads(audited) == []


def test_p16_events_of_a_topic_are_on_record_before_the_first_is_given(audited) -> None:
    audited.topics.register("news", pa.schema([pa.field("n", pa.int64())]))
    audited.topics.publish("news", [{"n": 1}])
    assert len(list(audited.topics.replay("news"))) == 1
    with audited.topics.subscribe("news", from_offset=0, timeout=0.1) as events:
        assert len(list(events)) == 1
    audited.sql("SELECT * FROM topics.news").to_arrow()
    audited._instance.gate.settle_late()  # as the housekeeper does
    told = [(each["kind"], each["status"], each["tables"][0]["name"]) for each in reads(audited)]
    assert sorted(told) == [
        ("query", "ok", "topics.news"), ("replay", "ok", "topics.news"),
        ("subscribe", "ok", "topics.news"),
    ]  # fmt: skip


DOORS: dict[type, dict[str, set[str]]] = {
    affidavit.Session: {
        "on record": {"sql", "search", "search_batch", "tables", "explain", "table"},
        "tells no values": {"verify_data"},
        "opens another door": {"audit", "journal", "ledger", "topics", "triggers", "at", "scope",
                               "create_table", "create_vector_table", "transaction", "retention"},
        "gives no rows": {"actor", "add_change_listener", "attach", "begin", "cancel", "close", "closed",
                          "commit", "describe", "detach", "drop_table", "erase", "functions", "hold", "hooks",
                          "identity", "is_scoped", "models", "refresh", "release_hold",
                          "remove_change_listener", "rollback", "savepoint", "tenant"},
    },
    affidavit.MutableTable: {
        "on record": {"get", "to_arrow", "scan_after"},
        "gives no rows": {"audit", "count", "delete", "insert", "kind", "primary_key", "schema",
                          "truncate", "update", "upsert"},
    },
    affidavit.VectorTable: {
        "on record": {"get", "to_arrow"},
        "refused": {"to_lance"},
        "gives no rows": {"audit", "count", "create_index", "delete", "indexes", "insert", "key",
                          "kind", "metric", "model", "optimize", "reembed", "restore", "schema", "source", "tag",
                          "tags", "update", "upsert", "version", "versions"},
    },
    JournalHandle: {
        "on record": {"history", "recent"},
        "gives no rows": {"erase", "flush", "record", "record_ingest", "record_insert",
                          "record_update", "retain", "stats"},
    },
    LedgerHandle: {
        "gives hashes": {"checkpoint", "export", "prove", "public_key", "rotate_key", "origin",
                         "size"},
        "tells no values": {"verify", "verify_data"},  # of what is to be on record
    },
    Audit: {
        "gives records": {"get", "get_read", "received", "recent"},
        "gives no rows": {"add_listener", "check", "log", "mode", "release", "replay", "verify"},
    },
    Topics: {
        "on record": {"replay", "subscribe"},
        "gives no rows": {"drop", "drop_consumer", "get", "list", "publish", "register", "retain",
                          "seek"},
    },
    Triggers: {
        "gives what it is asked for": {"on", "near"},
        "gives no rows": {"drop", "list"},
    },
}  # fmt: skip
"""Every public name of what gives rows, and what becomes of rows there.

Whoever adds one says here whether rows leave by it, and a test that it leaves a record.
"""


@pytest.mark.parametrize("kind", DOORS, ids=lambda kind: kind.__name__)
def test_p16_every_public_door_is_known(kind: type) -> None:
    listed = [name for names in DOORS[kind].values() for name in names]
    assert sorted(listed) == [name for name in dir(kind) if not name.startswith("_")]


# --- which rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT id, x FROM t WHERE id > 1", {("2", "returned"), ("3", "returned")}),
        ("SELECT x FROM t WHERE id > 1", {("2", "scanned"), ("3", "scanned")}),
        ("SELECT a.id AS k FROM t a ORDER BY k LIMIT 1", {("1", "returned")}),
        ("SELECT * FROM seen WHERE id = 2", {("2", "returned")}),
        ("SELECT count(*) FROM t", set()),
        ("SELECT a.id FROM t a JOIN t b ON a.id = b.id + 1",
         {("1", "scanned"), ("2", "scanned"), ("3", "scanned")}),
        ("UPDATE t SET x = 'z' WHERE id = 2 RETURNING x", {("2", "returned")}),
        ("SELECT id + 1 FROM t WHERE id = 1", {("1", "scanned")}),
    ],
)  # fmt: skip
def test_p16_the_rows_that_a_statement_was_given_are_told(audited, text: str, rows: set) -> None:
    audited.sql(text).to_arrow()
    told = audited.sql("SELECT row_id, how FROM audit.read_rows").to_pylist()
    assert {(each["row_id"], each["how"]) for each in told} == rows
    for row_id, _ in rows:
        assert [each.text for each in audited.audit.received(row_id, table="t")] == [text]
        found = audited.sql("SELECT read_id FROM audit.read_rows WHERE row_id = $r", r=row_id)
        assert found.num_rows == 1
    assert audited.audit.received("1", reads=False) == []
    assert audited.ledger.verify()


def test_p16_rows_of_a_table_without_a_key_are_told_by_their_places(audited) -> None:
    audited.sql("INSERT INTO plain VALUES (7), (8)")
    audited.table("plain").audit = "rows"
    audited.sql("SELECT * FROM plain WHERE id = 8").to_arrow()
    told = audited.sql("SELECT row_id FROM audit.read_rows").to_pylist()
    assert told == [{"row_id": "row:2"}]


def test_p16_of_very_many_rows_the_number_is_told(audited) -> None:
    audited.sql("INSERT INTO t SELECT value, 'x' FROM range(10, 20000)")
    audited.sql("SELECT id FROM t").to_arrow()
    [read] = reads(audited)
    assert read["tables"][0]["rows"] == 3 + 19_990
    assert audited.sql("SELECT * FROM audit.read_rows").num_rows == 0
    assert audited.ledger.verify()


# --- large results -------------------------------------------------------------------------------


@pytest.fixture
def large(lake: Path) -> Iterator[affidavit.Session]:
    with affidavit.connect(lake, actor="maria", durability="normal") as session:
        session.sql(f"CREATE TABLE big AS SELECT value AS id FROM range(0, {MANY})")
        session.table("big").audit = "reads"
        yield session


def test_p16_a_large_result_is_on_record_before_its_first_row_and_after_its_last(large) -> None:
    result = large.sql("SELECT * FROM big")
    batches = result.batches()
    next(batches)
    [opened] = reads(large)
    assert (opened["status"], opened["rows_returned"], result.receipt) == ("open", None, None)
    rest = list(batches)
    [closed] = reads(large)
    assert (closed["status"], closed["rows_returned"]) == ("ok", MANY)
    assert closed["opened_seq"] == opened["seq"] < closed["seq"]
    assert rest
    receipt = result.receipt
    again = large.sql("SELECT * FROM big ORDER BY id")
    assert not large.audit.check(receipt, again.to_arrow().slice(1))
    assert str(large.audit.replay(receipt.read_id).outcome) == "REPRODUCED"


def test_p16_the_last_batch_waits_for_the_end_of_the_record(large, monkeypatch) -> None:
    given = 0
    with pytest.raises(errors.StoreError, match="no more"):
        for batch in large.sql("SELECT * FROM big").batches():
            given += batch.num_rows
            if given > gate.HELD_ROWS_MAX:
                monkeypatch.setattr(large._instance.recorder, "_put", _refuse)
    assert 0 < given < MANY
    monkeypatch.undo()
    assert [each["status"] for each in reads(large)] == ["open"]


def _refuse(*_: object, **__: object) -> None:
    msg = "no more"
    raise errors.StoreError(msg)


def test_p16_no_record_no_rows(large, monkeypatch) -> None:
    monkeypatch.setattr(large._instance.recorder, "_put", _refuse)
    for text in ("SELECT * FROM big LIMIT 1", "SELECT * FROM big"):
        given = []
        with pytest.raises(errors.StoreError, match="no more"):
            given += large.sql(text).batches()
        assert given == []
    with pytest.raises(errors.StoreError, match="no more"):
        large.table("big").to_arrow()


def test_p16_a_result_that_is_closed_half_read_says_so(large) -> None:
    result = large.sql("SELECT * FROM big")
    batches = result.batches()
    given = next(batches).num_rows
    result.close()
    del batches
    gc.collect()
    _settled(large)
    [read] = reads(large)
    assert read["status"] == "abandoned"
    assert read["rows_returned"] == given
    assert result.receipt is None


def test_p16_a_result_that_is_dropped_half_read_is_closed_by_the_housekeeper(large) -> None:
    batches = large.sql("SELECT * FROM big").batches()
    next(batches)
    del batches
    gc.collect()
    _settled(large)
    assert [each["status"] for each in reads(large)] == ["abandoned"]


def _settled(session: affidavit.Session) -> None:
    deadline = time.monotonic() + 20
    while reads(session)[-1]["status"] == "open" and time.monotonic() < deadline:
        time.sleep(0.05)


def test_p16_a_result_that_fails_half_read_says_so(large) -> None:
    text = f"SELECT 1 / ({MANY - 1} - id) FROM big"
    with pytest.raises(errors.ExecutionError):
        large.sql(text).to_arrow()
    told = [(each["status"], each["error_class"]) for each in reads(large)]
    assert told in ([("failed", "ExecutionError")], [])  # nothing may have left before


CHILD = """
import os, signal, sys
import affidavit
session = affidavit.connect(sys.argv[1], durability="normal")
batches = session.sql("SELECT * FROM big").batches()
next(batches)
print("given", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_p16_a_process_that_is_killed_in_between_leaves_an_open_record(large, lake: Path) -> None:
    assert run_python(CHILD, lake, status=-signal.SIGKILL) == "given\n"
    with affidavit.connect(lake) as session:
        assert [each["status"] for each in reads(session)] == ["open"]
        assert session.ledger.verify()


# --- receipts and replays ------------------------------------------------------------------------


def test_p16_a_receipt_tells_whether_a_frame_is_the_answer(audited, tmp_path: Path) -> None:
    result = audited.sql("SELECT id, x FROM t ORDER BY id")
    assert result.receipt is None
    table = result.to_arrow()
    receipt = result.receipt
    assert receipt.seq == reads(audited)[0]["seq"]
    check = audited.audit.check
    assert check(receipt, table)
    assert check(receipt, table.to_pandas())
    assert check(receipt, result)
    assert affidavit.digest(table, bytes.fromhex(receipt.salt)) == receipt.result_sha256
    for other in (
        table.slice(1), table.select(["id"]), table.rename_columns(["id", "y"]),
        pa.concat_tables([table, table]), table.slice(1).append_column("y", pa.nulls(2)),
        table.set_column(1, "x", pa.array(["a", "b", "C"])),
    ):  # fmt: skip
        assert not check(receipt, other)
    with pytest.raises(errors.InvalidQueryError, match="receipt"):
        check("no receipt", table)
    with affidavit.connect(tmp_path / "other") as elsewhere:
        with pytest.raises(errors.RecordNotFoundError, match="another lake"):
            elsewhere.audit.check(receipt, table)
    with audited.scope(tenant="other") as other_tenant:
        with pytest.raises(errors.RecordNotFoundError, match="tenant"):
            other_tenant.audit.check(receipt, table)


def test_p16_a_frame_that_lost_types_is_held_in_those_of_the_answer(
    audited, tmp_path: Path
) -> None:
    result = audited.sql(
        "SELECT id, CASE WHEN id > 1 THEN id END AS n, CAST(id AS SMALLINT) AS s, "
        "CAST('2026-01-02' AS DATE) AS d, CAST(id + 0.25 AS DECIMAL(12, 4)) AS p, x, [id, NULL] AS l, "
        "CAST(id AS REAL) AS r, NULL AS nothing, id > 1 AS b FROM t ORDER BY id"
    )
    frame = result.to_pandas()
    receipt = result.receipt
    assert str(frame["n"].dtype) == "float64"
    check = audited.audit.check
    assert check(receipt, frame)
    assert check(receipt, result.to_pylist())
    assert check(receipt, result.to_polars())
    assert check(receipt, frame.astype({"x": "category", "s": "int64"}))
    for column, value in (("n", 2.5), ("n", None), ("id", 9), ("x", "other"), ("b", None)):
        changed = frame.copy()
        changed[column] = changed[column].astype(object)
        changed.loc[1, column] = value
        assert not check(receipt, changed), column
    assert not check(receipt, frame[::-1].reset_index(drop=True))
    assert not check(receipt, frame.iloc[1:])
    assert not check(receipt, frame[["n", "id", *frame.columns[2:]]])
    assert not check(replace(receipt, schema=None), frame)
    zoned = audited.sql(f"SELECT {INSTANT} AS v FROM t")
    finer = zoned.to_arrow()["v"].cast(pa.timestamp("ns", "UTC"))
    assert check(zoned.receipt, pa.table({"v": finer}))
    flat = audited.sql("SELECT id, x, CAST(id AS SMALLINT) AS s FROM t ORDER BY id")
    path = tmp_path / "report.csv"
    flat.to_pandas().to_csv(path, index=False)
    assert check(flat.receipt, pacsv.read_csv(path))


MAP = pa.map_(pa.string(), pa.int64())
INSTANT = "arrow_cast(TIMESTAMP '2020-01-01 00:00:00', 'Timestamp(Microsecond, Some(\"UTC\"))')"


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        ("CAST(1 AS BIGINT)", pa.array(["1"])), ("CAST(1 AS BIGINT)", pa.array([True])),
        ("CAST(1 AS BIGINT)", pa.array([1], pa.timestamp("s"))), ("'1'", pa.array([1])),
        ("CAST(1 AS BIGINT)", pa.array([1], pa.duration("s"))), ("'a'", pa.array([b"a"])),
        ("TRUE", pa.array([1])), ("X'31'", pa.array(["1"])), ("'nan'", pa.array([float("nan")])),
        ("TIMESTAMP '2020-01-01 00:00:00'", pa.array([1577836800], pa.timestamp("s", "Asia/Tokyo"))),
        ("TIMESTAMP '2020-01-01 00:00:00'", pa.array([1577836800], pa.int64())),
        (INSTANT, pa.array([1577836800], pa.timestamp("s"))),
        (INSTANT, pa.array([1577836800], pa.timestamp("s", "Asia/Tokyo"))),
        ("[id]", pa.array([["1"]])), ("[id]", pa.array([[True]])), ("[id]", pa.array([[("a", 1)]], MAP)),
        ("struct(id)", pa.array([{"c0": "1"}])), ("struct(id)", pa.array([{"c0": 1, "c1": None}])),
        ("[struct(id)]", pa.array([[{"c0": 1, "c1": None}]])), ("-0.0", pa.array([0])),
        ("CAST(0.1 AS REAL)", pa.array([0.1])),
    ],
)  # fmt: skip
def test_p16_what_is_told_from_the_answer_is_not_the_answer(audited, asked: str, other) -> None:
    result = audited.sql(f"SELECT {asked} AS v FROM t WHERE id = 1")
    table = result.to_arrow()
    assert audited.audit.check(result.receipt, table)
    assert not audited.audit.check(result.receipt, pa.table({"v": other}))


def test_p16_what_is_no_table_is_refused(audited) -> None:
    result = audited.sql("SELECT id FROM t")
    result.to_arrow()
    for rows in (pd.Series([1]), pd.Index([1]), [1], None):
        with pytest.raises(errors.SchemaMismatchError):
            audited.audit.check(result.receipt, rows)


def test_p16_a_stream_that_was_read_is_not_taken_for_no_rows(audited) -> None:
    nothing = audited.sql("SELECT id FROM t WHERE id < 0")
    empty = nothing.to_arrow()
    assert empty.num_rows == 0
    some = pa.table({"id": pa.array([1, 2], pa.int64())})
    for rows in (some, some.to_reader(), iter(some.to_batches()), some.to_pandas()):
        assert not audited.audit.check(nothing.receipt, rows)
    assert audited.audit.check(nothing.receipt, empty)


def test_p16_a_read_is_run_again_on_what_it_read(audited) -> None:
    first = audited.sql("SELECT * FROM t WHERE id >= $least ORDER BY id", least=2)
    first.to_arrow()
    free = audited.sql("SELECT x, count(*) AS n FROM t GROUP BY x")
    free.to_arrow()
    audited.table("t").to_arrow()
    handle = reads(audited, door="to_arrow")[0]["read_id"]
    audited.sql("UPDATE t SET x = 'other'")
    for read_id in (first.receipt.read_id, free.receipt.read_id, handle):
        assert str(audited.audit.replay(read_id).outcome) == "REPRODUCED"
    with pytest.raises(errors.InvalidQueryError, match="SHA-256 differs"):
        audited.audit.replay(first.receipt.read_id, text="SELECT * FROM nothing")
    with pytest.raises(errors.RecordNotFoundError):
        audited.audit.replay("nothing")
    assert [each["kind"] for each in audited.sql("SELECT kind FROM system.ledger").to_pylist()
            ].count("replay") == 3  # fmt: skip


@pytest.mark.parametrize("name", ["Upper", "select", "two words", "größe"])
def test_p16_a_handle_is_read_again_whatever_its_table_is_called(audited, name: str) -> None:
    table = audited.create_table(name, [{"id": 1}], primary_key="id")
    table.audit = "reads"
    table.to_arrow()
    found = reads(audited, door="to_arrow")[0]["read_id"]
    assert str(audited.audit.replay(found).outcome) == "REPRODUCED"


def test_p16_what_a_read_hashed_to_goes_with_a_row_that_is_erased(audited) -> None:
    result = audited.sql("SELECT * FROM t WHERE id = 2")
    table, receipt = result.to_arrow(), result.receipt
    other = audited.sql("SELECT * FROM t WHERE id = 1")
    rest = other.to_arrow()
    audited.sql("DELETE FROM t WHERE id = 2")
    audited.journal.erase("2", "asked for")
    with pytest.raises(errors.RecordNotFoundError, match="erased"):
        audited.audit.check(receipt, table)
    assert audited.audit.check(other.receipt, rest)
    assert str(audited.audit.replay(receipt.read_id).outcome) == "EVIDENCE_GONE"
    assert [each["row_id"] for each in audited.sql("SELECT row_id FROM audit.read_rows")] == [
        "2", "1"
    ]  # fmt: skip
    verification = audited.ledger.verify()
    assert verification
    assert "erased" in str(verification)


def test_p16_what_is_gone_of_a_record_and_was_not_erased_is_found(audited) -> None:
    audited.sql("SELECT * FROM t WHERE id = 2").to_arrow()
    seq = reads(audited)[0]["seq"]
    tampered = {
        "text": b'{"text":["00","SELECT 1"]}',
        "gone": None,
        "unreadable": b"?",
    }
    for opened in tampered.values():
        with audited._catalog().lake.store.write("default") as writer:
            where = own("default", Compare("=", "seq", seq))
            writer.update_where(LEDGER, {"opened": opened}, where)
        found = audited.ledger.verify()
        assert not found
        assert found.seq == seq


def test_p16_a_drift_is_told(audited, tmp_path: Path) -> None:
    """A file has no versions, and a function of the time gives something else each time."""
    path = tmp_path / "rows.csv"
    path.write_text("n\n1\n2\n")
    audited.attach("file", str(path))
    joined = audited.sql("SELECT t.id, f.n FROM t JOIN file f ON f.n = t.id ORDER BY t.id")
    joined.to_arrow()
    timed = audited.sql("SELECT id, now() AS at FROM t ORDER BY id")
    timed.to_arrow()
    path.write_text("n\n1\n")
    gone = audited.audit.replay(joined.receipt.read_id)
    assert (str(gone.outcome), "no versions" in gone.reason) == ("EVIDENCE_GONE", True)
    assert "files are others now: 1 of 6 bytes were read" in gone.reason
    path.unlink()
    gone = audited.audit.replay(joined.receipt.read_id)
    assert (str(gone.outcome), "cannot be read" in gone.reason) == ("EVIDENCE_GONE", True)
    assert str(audited.audit.replay(timed.receipt.read_id).outcome) == "UNREPEATABLE"


@pytest.fixture
def reading(lake: Path) -> Iterator[affidavit.Session]:
    """A session of which every read is on record, with its literals."""
    with affidavit.connect(lake, audit="reads", store_queries=True, durability="normal") as session:
        yield session


def test_p16_the_files_that_were_read_are_told(reading, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for at in range(3):
        (folder / f"{at}.csv").write_text(f"n\n{at}\n")
    reading.attach("files", f"{folder}/", format="csv")
    read = reading.sql("SELECT n FROM files ORDER BY n")
    read.to_arrow()
    [table] = reading.audit.get_read(read.receipt.read_id).tables
    each = [[4, hashlib.sha256(f"n\n{at}\n".encode()).hexdigest()] for at in range(3)]
    lines = "".join(f"{size} {told}\n" for size, told in each)
    assert table["source"] == {
        "files": 3, "bytes": 12, "sha256": hashlib.sha256(lines.encode()).hexdigest(), "each": each,
    }  # fmt: skip
    assert reading.audit.replay(read.receipt.read_id).outcome == "REPRODUCED"
    (folder / "3.csv").write_text("n\n3\n")
    assert reading.audit.replay(read.receipt.read_id).outcome == "EVIDENCE_GONE"
    catalog = reading._catalog()
    with catalog.read() as reader:
        bodies = [entry.body for entry in catalog.ledger.entries(reader)]
    assert not any(each[0][1].encode() in body for body in bodies), (
        "a file of few values is guessed"
    )
    assert reading.ledger.verify()


def test_p16_a_delta_table_is_read_again_at_its_version(reading, tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    place = str(tmp_path / "delta")
    deltalake.write_deltalake(place, pa.table({"a": [1, 2]}))
    reading.attach("events", place)
    read = reading.sql("SELECT a FROM events ORDER BY a")
    read.to_arrow()
    deltalake.write_deltalake(place, pa.table({"a": [9]}), mode="append")
    [table] = reading.audit.get_read(read.receipt.read_id).tables
    assert (table["name"], table["version"]) == ("main.events", 0)
    assert reading.audit.replay(read.receipt.read_id).outcome == "REPRODUCED"
    assert reading.sql("SELECT a FROM events").num_rows == 3


def test_p16_a_receipt_can_be_kept_as_json(reading) -> None:
    reading.create_table("t", [{"id": 1, "at": dt.date(2026, 1, 2)}], primary_key="id")
    result = reading.sql("SELECT * FROM t ORDER BY id")
    frame = result.to_pandas()
    kept = affidavit.Receipt.from_dict(json.loads(json.dumps(result.receipt.to_dict())))
    assert kept == result.receipt
    assert kept.schema == result.receipt.schema
    assert reading.audit.check(kept, frame)
    for wrong in ({}, None, {**kept.to_dict(), "schema": "x"}):
        with pytest.raises(errors.InvalidQueryError, match="to_dict"):
            affidavit.Receipt.from_dict(wrong)


def test_p16_a_record_of_a_read_is_verified_as_one_of_a_search(reading) -> None:
    reading.create_table("t", [{"id": 1}], primary_key="id")
    result = reading.sql("SELECT * FROM t")
    result.to_arrow()
    record = reading.audit.get_read(result.receipt.read_id)
    assert reading.audit.verify(record)
    assert not reading.audit.verify(replace(record, actor="somebody else"))
    assert "query ok, 1 rows of main.t" in repr(record)
    copied = reading.sql(f"COPY t TO '{reading._instance.lake.path}/../out.csv'")
    copied.to_arrow()
    [copy] = [each for each in reads(reading) if each["kind"] == "copy"]
    with pytest.raises(errors.InvalidQueryError, match="only queries are run again"):
        reading.audit.replay(copy["read_id"])


def test_p16_without_stored_queries_no_literal_is_kept(lake: Path) -> None:
    with affidavit.connect(lake, audit="reads") as session:
        session.create_table("t", [{"id": 1, "x": "a"}], primary_key="id")
        text = "SELECT x FROM t WHERE x <> 'Lupus' AND id = $id ORDER BY x"
        result = session.sql(text, id=1)
        result.to_arrow()
        [read] = reads(session)
        assert (read["text"], read["parameters"], read["tables"][0]["filter"]) == (
            "SELECT x FROM t WHERE x <> ? AND id = $id ORDER BY x", None, None,
        )  # fmt: skip
        with pytest.raises(errors.AffidavitError):
            session.sql("SELECT 'Lupus' FROM nothing")
        read_id = result.receipt.read_id
        for given in (
            {},
            {"text": text},
            {"params": {"id": 1}},
            {"text": text, "params": {"id": 2}},
        ):
            with pytest.raises(errors.InvalidQueryError):
                session.audit.replay(read_id, **given)
        assert session.audit.replay(read_id, text=text, params={"id": 1}).outcome == "REPRODUCED"
    for path in lake.rglob("*"):
        if path.is_file():
            assert b"Lupus" not in path.read_bytes(), path


# --- attempts ------------------------------------------------------------------------------------


def test_p16_what_was_refused_is_on_record_and_names_nothing_of_anothers(audited) -> None:
    with audited.scope(tenant="other", actor="eve") as eve:
        for ask in (
            lambda: eve.sql("SELECT * FROM t").to_arrow(),
            lambda: eve.sql("COPY (SELECT 1) TO '/nowhere/x.csv'"),
            lambda: eve.search("docs", [1.0] * 8),
            lambda: eve.table("docs"),
        ):
            with pytest.raises(errors.AffidavitError):
                ask()
        found = reads(eve)
        assert {each["status"] for each in found} == {"refused"}
        assert [each["error_class"] for each in found] == [
            "TableNotFoundError", "PathNotAllowedError", "TableNotFoundError",
            "TableNotFoundError",
        ]  # fmt: skip
        assert {str(each["tables"]) for each in found} == {"[]"}
        assert eve.ledger.verify()
    assert reads(audited) == []


def test_p16_what_failed_is_on_record_from_the_floor_reads_on(lake: Path) -> None:
    for floor, kept in (("statements", []), ("reads", ["SqlError", "ExecutionError"])):
        with affidavit.connect(lake, audit=floor) as session:
            for text in ("SELEC 1", "SELECT 1 / 0"):
                with pytest.raises(errors.AffidavitError):
                    session.sql(text).to_arrow()
            assert [each["error_class"] for each in reads(session)] == kept


# --- the record ----------------------------------------------------------------------------------


def test_p16_p3_a_record_says_who_read_what_of_which_version(audited) -> None:
    context = {"address": "10.0.0.7", "purpose": "ward round"}
    with audited.scope(actor="maria", source="app", workspace="ward 7", context=context) as scope:
        scope.sql("SELECT x FROM t WHERE id = $id", id=2).to_arrow()
    [read] = reads(audited)
    version = audited.sql("SELECT version FROM system.tables WHERE name = 't'").to_pylist()
    assert read["tables"] == [{
        "name": "main.t", "table_id": audited.table("t")._info().table_id,
        "version": version[0]["version"], "columns": ["x"], "filter": "t.id = Int64(2)", "rows": 1,
        "lake_id": None,
    }]  # fmt: skip
    assert read["parameters"] == '{"id":2}'
    assert read["context"] == '{"address":"10.0.0.7","purpose":"ward round"}'
    assert (read["source"], read["workspace"]) == ("app", "ward 7")
    body = audited.sql("SELECT body FROM system.ledger WHERE kind = 'read'").to_pylist()[0]["body"]
    for secret in ("ward round", "WHERE", "Int64(2)"):
        assert secret not in body
    record = audited.audit.get_read(read["read_id"])
    assert (record.parameters, record.context) == ({"id": 2}, context)
    assert record.to_dict()["text"] == read["text"]


@pytest.mark.parametrize("context", [[1], "x", {1: 2}, {"a": object()}, {"a": "x" * 10_000}])
def test_p16_a_context_that_cannot_be_written_is_refused(audited, context) -> None:
    with pytest.raises(errors.InvalidQueryError, match="context"):
        audited.scope(context=context)
