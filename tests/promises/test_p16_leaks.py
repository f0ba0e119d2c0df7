"""P16: what a read is not to get past, and what its record is not to get wrong."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.lakes import vectors

import affidavit
from affidavit import errors
from affidavit.engine.plan import scanned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def reads(session: affidavit.Session) -> list[dict]:
    """Return what is on record of reads that were not of the record itself."""
    found = session.sql("SELECT * FROM audit.reads ORDER BY seq").to_pylist()
    return [each for each in found if "audit." not in str(each["text"])]


def rows_of(session: affidavit.Session) -> set[tuple[str, str]]:
    told = session.sql("SELECT row_id, how FROM audit.read_rows").to_pylist()
    return {(each["row_id"], each["how"]) for each in told}


@pytest.fixture
def audited(lake: Path) -> Iterator[affidavit.Session]:
    """A lake with a mutable and a vector table whose rows are on record."""
    with affidavit.connect(lake, actor="maria", durability="normal") as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, x VARCHAR)")
        session.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'secret')")
        session.sql("CREATE TABLE plain (id BIGINT, y VARCHAR)")
        session.sql("INSERT INTO plain VALUES (1, 'p')")
        session.create_vector_table("docs", vectors(20))
        session.sql("CREATE VIEW all_x AS SELECT id, (SELECT max(x) FROM t) AS m FROM t")
        session.table("t").audit = "rows"
        session.table("docs").audit = "rows"
        yield session


# --- which rows and columns ----------------------------------------------------------------------

EVERY = {("1", "scanned"), ("2", "scanned"), ("3", "scanned")}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id, (SELECT max(x) FROM t) AS m FROM t WHERE id = 1",
        "SELECT id FROM t WHERE id = 1 AND x < (SELECT max(x) FROM t)",
        "WITH c AS (SELECT * FROM t) SELECT id, (SELECT max(x) FROM c) AS m FROM c WHERE id = 2",
        "SELECT id FROM t ORDER BY (SELECT max(x) FROM main.t)",
        "SELECT id, m FROM all_x WHERE id = 1",
        'SELECT s.id, s.x FROM (SELECT id AS "q.id", 0 AS id, x FROM t) s',
    ],
)
def test_p16_rows_that_are_read_beside_those_that_are_returned_are_told(audited, text: str) -> None:
    audited.sql(text).to_arrow()
    assert rows_of(audited) == EVERY
    [table] = reads(audited)[0]["tables"]
    assert "x" in table["columns"]


@pytest.mark.parametrize(
    "text", ["SELECT id, upper(x) FROM t", "SELECT abs(id) AS k, id FROM t", "SELECT id, x || 'q' FROM t"]
)  # fmt: skip
def test_p16_a_call_beside_the_key_is_in_nobodys_way(audited, text: str) -> None:
    assert audited.sql(text).num_rows == 3
    assert rows_of(audited) == {("1", "returned"), ("2", "returned"), ("3", "returned")}


# --- what a caller's own code is given ------------------------------------------------------------


@pytest.fixture
def spied(audited) -> list[str]:
    """What a function of the session's, and a model, were given."""
    seen: list[str] = []

    def spy(texts: pa.Array) -> pa.Array:
        seen.extend(texts.to_pylist())
        return pa.array([False] * len(texts))

    def model(texts: list[str]) -> list[list[float]]:
        seen.extend(texts)
        return [[1.0] * 8 for _ in texts]

    audited.functions.register("spy", spy, [pa.string()], pa.bool_())
    audited.models.register("m", model, dim=8)
    return seen


@pytest.mark.parametrize("call", ["spy(text)", "embed('m', text)[1] > 1"])
def test_p16_rows_that_a_callers_code_is_given_are_told(audited, spied, call) -> None:
    """A model in the condition of a search was given every row's text, and no record said so."""
    searched = "SELECT id FROM vector_search('docs', $q, 3, where => $w)"
    near = [1.0] * 8
    for ask, rows in (
        (lambda: audited.search("docs", near, where=call), 20),
        (lambda: audited.sql(searched, q=near, w=call).to_arrow(), 20),
        (lambda: audited.sql(f"SELECT id FROM docs WHERE id < 3 AND {call}").to_arrow(), 3),
        (lambda: audited.sql(f"DELETE FROM docs WHERE id > 4 AND {call}"), 15),
        (lambda: audited.sql(f"UPDATE docs SET bucket = 1 WHERE {call}"), 20),
    ):
        before = len(reads(audited))
        ask()
        [table] = reads(audited)[before]["tables"]
        assert (table["name"], table["rows"]) == ("main.docs", rows)
        assert len({*spied}) == rows
        spied.clear()
    assert rows_of(audited) == {(str(row), "scanned") for row in range(20)}


def test_p16_rows_of_a_changed_table_that_a_function_is_given_are_told(audited, spied) -> None:
    audited.sql("UPDATE t SET x = 'y' WHERE spy(x) AND id < 3")
    audited.sql("INSERT INTO plain SELECT id, CAST(spy('z') AS VARCHAR) FROM plain")
    assert rows_of(audited) == {("1", "scanned"), ("2", "scanned")}
    assert spied == ["a", "b", "z"]
    audited.sql("MERGE INTO t USING plain p ON t.id = p.id WHEN MATCHED AND spy(x) THEN DELETE")
    assert rows_of(audited) == EVERY


def test_p16_texts_that_new_vectors_are_made_of_are_told(audited, spied) -> None:
    assert audited.table("docs").reembed("m", source="text") == 20
    [read] = reads(audited)
    assert (read["kind"], read["tables"][0]["columns"]) == ("reembed", ["text"])
    assert len(spied) == len(rows_of(audited)) == 20
    audited.hooks.add(Refuses())
    with pytest.raises(errors.HookError):
        audited.search("docs", [1.0] * 8, where="spy(text)")
    assert len(spied) == 20


class Refuses:
    """Lets no search run."""

    def before(self, _request: affidavit.SearchRequest) -> None:
        raise errors.HookError("no")


def test_p16_rows_of_the_past_are_told_apart(audited) -> None:
    then = audited.ledger.size - 3
    for text in (
        f"SELECT x FROM as_of('t', {then}) WHERE id = 2",
        "SELECT x FROM changes('t', 0, NULL) WHERE id = 2",
    ):
        audited.sql(text).to_arrow()
    audited.at(then).sql("SELECT x FROM t WHERE id = 2").to_arrow()
    assert [[each["rows"] for each in read["tables"]] for read in reads(audited)] == [[1]] * 3
    assert len(audited.audit.received("2", table="t")) == 3
    both = f"SELECT t.id, a.x FROM t JOIN as_of('t', {then}) a ON a.id <> t.id WHERE t.id = 1"
    audited.sql(both).to_arrow()
    now, past = reads(audited)[-1]["tables"]
    assert (now["rows"], past["rows"], past["version"]) == (1, 3, None)
    assert audited.ledger.verify()


@pytest.mark.parametrize(
    "text", ["UPDATE plain SET y = 'q' RETURNING y", "DELETE FROM plain RETURNING y"]
)
def test_p16_rows_without_a_key_that_are_returned_are_told_by_their_places(
    audited, text: str
) -> None:
    audited.table("plain").audit = "rows"
    audited.sql(text).to_arrow()
    assert rows_of(audited) == {("row:1", "returned")}


@pytest.mark.parametrize("keeps", [False, True])
def test_p16_columns_that_are_named_by_literals_can_be_let_go(
    audited, lake: Path, *, keeps: bool
) -> None:
    with affidavit.connect(lake, store_queries=keeps) as session:
        session.sql(
            "SELECT id, x = 'Smith', 'Jones', [named_struct('O''Hara', named_struct('Baker', 1, 'a', x))] "
            "AS s FROM t"
        ).to_arrow()
    [read] = reads(audited)
    for name in ("Smith", "Jones", "O'Hara", "Baker"):
        assert (name in read["result_schema"]) == keeps
    assert json.loads(read["result_schema"])[0] == ["id", "int64"]
    body = audited.sql("SELECT body FROM system.ledger WHERE kind = 'read'").to_pylist()[0]["body"]
    assert "Smith" not in body
    assert "Jones" not in body
    assert json.loads(body)["result_schema"].startswith("c:")


def test_p16_a_parameter_that_json_has_no_number_for_hides_no_record(audited, lake: Path) -> None:
    with affidavit.connect(lake, store_queries=True) as session:
        result = session.sql("SELECT id FROM t WHERE id < $most", most=2**62)
        result.to_arrow()
    [read] = reads(audited)
    assert read["parameters"] == f'{{"most":{2**62}}}'
    assert str(audited.audit.replay(result.receipt.read_id).outcome) == "REPRODUCED"


# --- policies that are taken away ----------------------------------------------------------------


def test_p16_a_policy_that_a_transaction_takes_away_holds_in_it(audited) -> None:
    for take in (
        lambda: audited.sql("ALTER TABLE t SET (audit = NULL)"),
        lambda: setattr(audited.table("t"), "audit", None),
    ):
        before = len(reads(audited))
        audited.begin()
        take()
        assert audited.sql("SELECT * FROM t").num_rows == 3
        assert audited.table("t").to_arrow().num_rows == 3
        audited.rollback()
        assert [each["level"] for each in reads(audited)[before:]] == ["rows", "rows"]
    audited.sql("ALTER TABLE t SET (audit = NULL)")
    before = len(reads(audited))
    audited.sql("SELECT * FROM t").to_arrow()
    assert len(reads(audited)) == before


@pytest.mark.parametrize("is_anew", [False, True])
def test_p16_a_table_that_was_dropped_keeps_its_policy(audited, *, is_anew: bool) -> None:
    then = audited.ledger.size - 3
    audited.drop_table("docs")
    audited.sql("DROP TABLE t")
    if is_anew:
        audited.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, x VARCHAR)")
    for text in (
        f"SELECT * FROM as_of('t', {then})", "SELECT * FROM history('t')",
        "SELECT new_value FROM journal",
    ):  # fmt: skip
        before = len(reads(audited))
        assert audited.sql(text).num_rows >= 3
        assert len(reads(audited)) == before + 1
    audited.at(then).sql("SELECT x FROM t").to_arrow()
    audited.journal.history("3")
    assert [each["kind"] for each in reads(audited)[-2:]] == ["query", "history"]


def test_p16_a_table_that_is_replaced_keeps_its_policy(audited) -> None:
    audited.sql("CREATE OR REPLACE TABLE t AS SELECT * FROM t")
    assert audited.table("t").audit == "rows"
    before = len(reads(audited))
    audited.sql("SELECT * FROM t").to_arrow()
    assert len(reads(audited)) == before + 1
    audited.sql("CREATE OR REPLACE TABLE plain AS SELECT 1 AS id")
    assert audited.table("plain").audit is None
    assert audited.ledger.verify()


def test_p16_the_history_of_a_name_that_a_table_had_is_on_record(audited) -> None:
    audited.sql("ALTER TABLE t RENAME TO other")
    audited.sql("SELECT * FROM history('t')").to_arrow()
    assert len(reads(audited)) == 1


def test_p16_a_search_of_an_audited_table_is_on_record_whatever_the_floor(
    audited, lake: Path
) -> None:
    audited.create_vector_table("free", vectors(5))
    with affidavit.connect(lake, audit="off") as session:
        session.search("docs", [1.0] * 8, k=2)
        session.search_batch("docs", [[1.0] * 8] * 2, k=2)
        session.search("free", [1.0] * 8, k=2)
    told = audited.sql("SELECT table_name FROM audit.searches").to_pylist()
    assert [each["table_name"] for each in told] == ["docs"] * 3


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("floor", ["off", "statements", "reads"])
@pytest.mark.parametrize(
    "text",
    [
        "SELECT CAST(x AS INT) FROM t WHERE id = 3",
        "DELETE FROM t WHERE CAST(x AS INT) = 3",
        "UPDATE t SET x = CAST(CAST(x AS INT) AS VARCHAR) WHERE id = 3",
        "UPDATE plain SET id = CAST((SELECT max(x) FROM t) AS BIGINT)",
    ],
)
def test_p16_an_error_that_tells_a_value_is_on_record_once(
    audited, lake: Path, floor: str, text: str
) -> None:
    with affidavit.connect(lake, audit=floor) as session:
        with pytest.raises(errors.ExecutionError, match="secret|'a'"):
            session.sql(text).to_arrow()
    [read] = reads(audited)
    assert (read["status"], read["error_class"]) == ("failed", "ExecutionError")
    assert "main.t" in [each["name"] for each in read["tables"]]


def test_p16_p21_ctrl_c_waits_until_a_plan_was_looked_at(audited, monkeypatch) -> None:
    looked = []

    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        looked.append(True)  # what is raised before is a panic where DataFusion asks us

    monkeypatch.setattr(scanned, "tells_itself", lambda *_: False)
    monkeypatch.setattr(scanned, "note_scans", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts tests may ignore
    try:
        with pytest.raises(KeyboardInterrupt):
            audited.sql("SELECT * FROM t").to_arrow()
    finally:
        signal.signal(signal.SIGINT, before)
    assert looked
    monkeypatch.undo()
    assert audited.sql("SELECT * FROM t").num_rows == 3


def test_p16_a_large_result_that_fails_is_on_record_once(lake: Path) -> None:
    with affidavit.connect(lake, audit="reads") as session:
        session.sql("CREATE TABLE big AS SELECT value AS id FROM range(0, 200000)")
        with pytest.raises(errors.ExecutionError):
            session.sql("SELECT 1 / (199999 - id) FROM big").to_arrow()
        failed = [each for each in reads(session) if each["status"] == "failed"]
        assert len(failed) == 1
        assert failed[0]["opened_seq"] is not None


# --- transactions that are rolled back -----------------------------------------------------------


def test_p16_a_read_of_a_transaction_that_was_rolled_back_stays_what_it_was(audited) -> None:
    audited.sql("CREATE TABLE big AS SELECT value AS id FROM range(0, 80000)")
    audited.table("big").audit = "reads"
    audited.begin()
    audited.sql("INSERT INTO t VALUES (7, 'new'), (8, 'new')")
    small = audited.sql("SELECT * FROM t ORDER BY id")
    given, large = small.to_arrow(), audited.sql("SELECT * FROM big")
    large.to_arrow()
    audited.rollback()
    first, second = reads(audited)
    assert first["seq"] != small.receipt.seq
    assert audited.audit.check(small.receipt, given)
    assert audited.audit.check(large.receipt, large)
    assert second["opened_seq"] == second["seq"] - 1
    verdict = audited.audit.replay(small.receipt.read_id)
    assert str(verdict.outcome) == "EVIDENCE_GONE"
    assert "rolled back" in verdict.reason
    assert audited.ledger.verify()


def test_p16_the_end_of_a_read_is_its_record_though_its_beginning_got_a_number_later(
    audited, lake: Path
) -> None:
    audited.sql("CREATE TABLE big AS SELECT value AS id FROM range(0, 80000)")
    audited.table("big").audit = "reads"
    with affidavit.connect(lake, actor="writer") as writer:
        writer.begin()
        writer.sql("INSERT INTO plain VALUES (2, 'q')")
        result = audited.sql("SELECT * FROM big")
        batches = result.batches()
        next(batches)
        writer.rollback()
    rest = list(batches)
    assert rest
    read = audited.audit.get_read(result.receipt.read_id)
    assert (read.status, read.rows_returned) == ("ok", 80_000)
    assert audited.ledger.verify()
