"""P1, P2, P15: what a statement searched is on record before a batch of its rows is handed over."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.lakes import vectors
from tests.support.records import Q8, SEARCH, Listener, Refusing, everything, recorded
from tests.support.waiting import eventually

import affidavit
from affidavit import errors
from affidavit.engine.audit.commits import Commits
from affidavit.engine.statement.statement import parse_statement

MANY = f"SELECT v.id, s.value FROM {SEARCH} v, generate_series(1, 100000) s"
"""Of many batches, so that a result is open long after its search ran."""


class Hook:
    """Notes on which thread it is asked, and waits there until it may go on."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.threads: dict[str, int] = {}
        self.batches: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def _note(self, moment: str) -> None:
        self.seen.append(moment)
        self.threads[moment] = threading.get_ident()

    def before(self, _request: affidavit.SearchRequest) -> None:
        self._note("before")
        self.begun.set()
        assert self.go_on.wait(30)

    def after(self, searches: list[affidavit.CompletedSearch]) -> None:
        self._note("after")
        self.batches.append(len(searches))

    def failed(self, _request: affidavit.SearchRequest, _error: BaseException) -> None:
        self._note("failed")


@pytest.fixture
def hook(session: affidavit.Session, docs: affidavit.VectorTable) -> Hook:
    made = Hook()
    session.hooks.add(made)
    return made


def doing(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


# --- on the caller's thread ----------------------------------------------------------------------


@pytest.mark.parametrize("text", [
    f"SELECT t.id FROM t JOIN {SEARCH} h ON h.id = t.id ORDER BY 1",
    f"UPDATE t SET v = 1 WHERE id IN (SELECT id FROM {SEARCH})",
    f"CREATE TABLE made AS SELECT id FROM {SEARCH} UNION ALL SELECT id FROM t",
])  # fmt: skip
def test_p15_after_is_asked_on_the_callers_thread_and_may_use_the_lake(
    session, docs, hook, text
) -> None:
    session.create_table("t", [{"id": i, "v": 0} for i in range(3000)], primary_key="id")
    counted = []

    class Counter:
        def after(self, _searches: object) -> None:
            counted.append(session.sql("SELECT count(*) FROM t").num_rows)

    session.hooks.add(Counter())
    session.sql(text, q=Q8).to_arrow()
    assert hook.threads["after"] == threading.get_ident()
    assert counted == [1]


def test_p15_failed_is_told_on_the_callers_thread(session, docs, hook) -> None:
    session.hooks.add(Refusing("before"))
    with recorded(session, 0), pytest.raises(errors.HookError, match="not today"):
        session.sql(f"SELECT id FROM docs WHERE id IN (SELECT id FROM {SEARCH})", q=Q8).to_arrow()
    assert hook.seen == ["before", "failed"]
    assert hook.threads["failed"] == threading.get_ident()


def test_the_searches_of_one_statement_are_one_commit(session, docs, hook, monkeypatch) -> None:
    commits = []
    original = Commits._commit
    monkeypatch.setattr(
        Commits, "_commit", lambda *given, **more: commits.append(given) or original(*given, **more)
    )
    asked = (f"SELECT min(id) AS m FROM vector_search('docs', $q, {k})" for k in (1, 2, 3, 4))
    with recorded(session, 4):
        session.sql(f"SELECT sum(m) FROM ({' UNION ALL '.join(asked)})", q=Q8).to_arrow()
    assert len(commits) == 1, "a sum has one batch, and before it all of them ran"
    assert hook.batches == [4]


def test_p15_searches_in_sql_and_changes_that_plan_never_stop_each_other(lake) -> None:
    """Engine threads waited for the lock of writers, whose holder's plan waited for the threads.

    All of them stood still until the busy timeout; six threads are more than the engine has.
    """
    search = f"SELECT d.id, r.n FROM vector_search('d', {Q8}, 5) d LEFT JOIN r ON r.id = d.id"
    update = "UPDATE r SET n = n + 1 WHERE id IN (SELECT id FROM r r2 WHERE n >= 0)"
    with affidavit.connect(lake, durability="normal", busy_timeout_s=30) as session:
        session.create_vector_table("d", vectors(50))
        session.create_table("r", [{"id": i, "n": 0} for i in range(500)], primary_key="id")
        done: dict[str, int] = {search: 0, update: 0}
        failures: list[BaseException] = []

        def work(text: str) -> None:
            try:
                for _ in range(8):
                    assert session.sql(text).to_arrow().num_rows == (5 if text == search else 1)
                    done[text] += 1
            except BaseException as error:  # told by the test's own thread
                failures.append(error)

        began = time.monotonic()
        threads = [doing(lambda text=text: work(text)) for text in [search] * 6 + [update] * 2]
        for each in threads:
            each.join()
        assert failures == []
        assert time.monotonic() - began < 25, "somebody waited for the busy timeout"
        assert done == {search: 48, update: 16}
        assert len(everything(session)) == 48
        assert session.ledger.verify()


# --- no record, no rows --------------------------------------------------------------------------


def test_p1_no_plan_runs_a_search_past_the_gate(session, docs) -> None:
    statement = parse_statement(f"SELECT * FROM {SEARCH}")
    planner = session._planner()
    with recorded(session, 0), planner.snapshot(session._catalog()) as snapshot:
        frame = planner.plan(statement.text, {"q": Q8}, snapshot, names=statement.names)
        with pytest.raises(Exception, match="past the gate"):
            frame.collect()


def test_p1_a_plan_whose_searches_no_ledger_takes_is_not_run(
    session, docs, hook, monkeypatch
) -> None:
    def refuse(*_: object) -> None:
        raise errors.MasterKeyError("another key")

    monkeypatch.setattr(session._instance.guard, "open", refuse)
    with recorded(session, 0), pytest.raises(errors.MasterKeyError, match="another key"):
        session.sql(MANY, q=Q8).to_arrow()
    assert hook.seen == ["failed"]


def test_p1_a_record_that_fails_gives_no_row_of_its_batch(session, docs, hook) -> None:
    session.audit.add_listener(Listener(refused_k=3))
    result = session.sql(MANY, q=Q8)
    rows = 0
    with recorded(session, 0), pytest.raises(RuntimeError, match="refused"):
        for batch in result.batches():
            rows += batch.num_rows
    assert rows == 0
    assert hook.seen == ["before", "failed"]


def test_p1_a_hook_that_raises_after_gives_no_row_of_its_batch(session, docs, hook) -> None:
    session.hooks.add(Refusing("after"))
    result = session.sql(MANY, q=Q8)
    rows = 0
    with recorded(session, 1), pytest.raises(errors.HookError, match="not today"):
        for batch in result.batches():
            rows += batch.num_rows
    assert rows == 0
    assert hook.seen == ["before", "after", "failed"]


def test_p1_a_record_that_fails_while_the_statement_does_is_told_beside_its_error(
    session, docs
) -> None:
    session.audit.add_listener(Listener(refused_k=3))
    with recorded(session, 0), pytest.raises(errors.ExecutionError, match="[Dd]ivide") as raised:
        session.sql(f"SELECT 1 / (id - id) FROM {SEARCH}", q=Q8).to_arrow()
    assert any("not put on record: refused" in note for note in raised.value.__notes__)


# --- what ran is on record -----------------------------------------------------------------------


def test_p2_a_failure_in_the_middle_of_a_stream_leaves_the_record_alone(
    session, docs, hook
) -> None:
    text = f"SELECT v.id, 1 / (s.value - 99000) AS x FROM {SEARCH} v, generate_series(1, 99000) s"
    with recorded(session, 1), pytest.raises(errors.ExecutionError, match="[Dd]ivide"):
        session.sql(text, q=Q8).to_arrow()
    assert hook.seen == ["before", "after"]


def test_p2_a_search_whose_rows_never_reach_a_batch_is_on_record(session, docs, hook) -> None:
    text = f"SELECT id FROM docs WHERE id IN (SELECT id FROM {SEARCH} WHERE id = -1)"
    with recorded(session, 1):
        assert session.sql(text, q=Q8).num_rows == 0
    assert hook.seen == ["before", "after"]


def test_p2_a_result_that_is_closed_before_it_is_read_searches_nothing(session, docs, hook) -> None:
    with recorded(session, 0):
        session.sql(MANY, q=Q8).close()
    assert hook.seen == []


@pytest.mark.parametrize("how", ["close", "drop"])
def test_p2_a_result_that_is_given_up_half_read_has_its_record(session, docs, how) -> None:
    result = session.sql(MANY, q=Q8)
    batches = result.batches()
    with recorded(session, 1):
        assert next(batches).num_rows > 0
        if how == "close":
            result.close()
        del batches, result
        gc.collect()


@pytest.mark.parametrize("how", ["close", "drop", "fail"])
def test_p2_a_search_that_ends_after_its_statement_is_on_record(session, docs, hook, how) -> None:
    """It was begun on an engine thread, and nobody waits for it any more."""
    hook.go_on.clear()
    other = "1 / (value - value)" if how == "fail" else "value"
    slow = f"SELECT id FROM {SEARCH} UNION ALL SELECT {other} FROM generate_series(1, 500000)"
    batches = iter(session.sql(slow, q=Q8).batches())
    if how == "fail":
        with pytest.raises(errors.ExecutionError):
            list(batches)
    else:
        next(batches)
    assert hook.begun.wait(30)
    if how == "close":
        batches.close()
    del batches
    gc.collect()
    assert everything(session) == []
    hook.go_on.set()
    eventually(lambda: len(everything(session)) == 1)
    assert hook.seen == ["before"], "nobody gets rows of it"


def test_p2_a_late_search_whose_commit_is_not_known_of_has_one_record(
    session, docs, hook, monkeypatch
) -> None:
    """Where the thread that committed was interrupted it was described anew, by another name."""
    failing = 1

    def commit(self, *given, **waits):
        nonlocal failing
        entries = original(self, *given, **waits)
        failing -= 1
        if failing >= 0:
            raise errors.StoreError("the thread that committed was interrupted")
        return entries

    original = Commits._commit
    monkeypatch.setattr(Commits, "_commit", commit)
    with recorded(session, 1):
        hook.go_on.clear()
        slow = f"SELECT id FROM {SEARCH} UNION ALL SELECT value FROM generate_series(1, 500000)"
        batches = session.sql(slow, q=Q8).batches()
        next(batches)
        assert hook.begun.wait(30)
        batches.close()
        hook.go_on.set()
        eventually(lambda: failing < 1)
        eventually(lambda: not session._instance.gate._late)
        session._instance.gate.settle_late()
    assert session.ledger.verify()


def test_p14_a_late_search_is_no_part_of_what_its_session_has_begun_since(
    session, docs, hook
) -> None:
    """The housekeeper took a turn in the transaction, and wrote into it."""
    session.sql("CREATE TABLE t (a INT)")
    hook.go_on.clear()
    slow = f"SELECT id FROM {SEARCH} UNION ALL SELECT value FROM generate_series(1, 500000)"
    batches = session.sql(slow, q=Q8).batches()
    next(batches)
    assert hook.begun.wait(30)
    batches.close()
    with session.transaction() as tx:
        tx.sql("INSERT INTO t VALUES (1)")
        hook.go_on.set()
        pending = session._instance.lake.folders.pending
        eventually(lambda: any(pending.glob("*.json")))
        assert everything(session) == []
    eventually(lambda: len(everything(session)) == 1)
    eventually(lambda: not any(pending.iterdir()))


def test_p2_closing_the_session_puts_late_searches_on_record(lake) -> None:
    hook = Hook()
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        session.hooks.add(hook)
        hook.go_on.clear()
        slow = f"SELECT id FROM {SEARCH} UNION ALL SELECT value FROM generate_series(1, 500000)"
        batches = session.sql(slow, q=Q8).batches()
        next(batches)
        assert hook.begun.wait(30)
        batches.close()
        settle = session._instance.gate.settle_late
        left = session._instance.gate._late
        hook.go_on.set()
        eventually(lambda: len(left) == 1 or len(everything(session)) == 1)
    assert settle() is False
    with affidavit.connect(lake, durability="normal") as session:
        assert len(everything(session)) == 1


@pytest.mark.parametrize("text", [
    f"INSERT INTO t SELECT 7, 1 FROM {SEARCH}",
    f"INSERT INTO docs SELECT 7, 'x', 1, vector FROM {SEARCH}",
    f"COPY (SELECT 1 / (id - id) FROM {SEARCH}) TO $$PATH/out.csv$$",
])  # fmt: skip
def test_p2_a_change_that_fails_leaves_its_searchs_record(session, docs, tmp_path, text) -> None:
    session.create_table("t", [{"id": i, "v": i} for i in range(300)], primary_key="id")
    text = text.replace("$$PATH", f"'{tmp_path}").replace("$$", "'")
    with recorded(session, 1) as new, pytest.raises(errors.AffidavitError):
        session.sql(text, q=Q8)
    assert session.audit.verify(new[0])


@pytest.fixture(params=["copy", "insert"])
def outgoing(session, docs, tmp_path, request) -> tuple[str, Path]:
    """A statement by which DataFusion itself writes what was searched, and the folder it fills."""
    folder = tmp_path / "out"
    folder.mkdir()
    if request.param == "copy":
        rows = f"(SELECT id, text FROM {SEARCH})"
        return f"COPY {rows} TO '{folder}/out.parquet'", folder
    session.sql(
        f"CREATE EXTERNAL TABLE files (id BIGINT, text VARCHAR) STORED AS CSV LOCATION '{folder}/'"
    )
    return f"INSERT INTO files SELECT id, text FROM {SEARCH}", folder


def test_p2_a_search_that_leaves_the_lake_is_on_record_once(session, outgoing, hook) -> None:
    text, folder = outgoing
    with recorded(session, 1) as new:
        assert session.sql(text, q=Q8).rows_affected == 3
    assert new[0].k_returned == 3
    assert (hook.seen, list(folder.iterdir()) != []) == (["before", "after"], True)


@pytest.mark.parametrize("refuses", ["listener", "after"])
def test_p1_a_search_whose_record_fails_leaves_no_file(session, outgoing, refuses) -> None:
    """DataFusion writes the file: by the time that it hands a batch over, the rows are out."""
    text, folder = outgoing
    if refuses == "listener":
        session.audit.add_listener(Listener(refused_k=3))
    else:
        session.hooks.add(Refusing("after"))
    with (
        recorded(session, int(refuses == "after")),
        pytest.raises(Exception, match="refused|not today"),
    ):
        session.sql(text, q=Q8)
    assert list(folder.iterdir()) == []


def test_p2_a_search_that_no_copy_reads_is_not_run(session, docs, tmp_path, hook) -> None:
    with recorded(session, 0):
        session.sql(f"COPY (SELECT id FROM {SEARCH} WHERE false) TO '{tmp_path}/out.csv'", q=Q8)
    assert hook.seen == []


def test_p2_a_copy_that_reads_a_table_whole_searches_once(session, docs, tmp_path) -> None:
    """A filter that a table cannot be asked has the tables read whole, and the plan made anew."""
    for told in ("seq > 0 AND true", "(seq > 0) IS TRUE", "seq > 0 OR true"):
        text = f"SELECT v.id FROM {SEARCH} v, (SELECT seq FROM journal WHERE {told}) t"
        with recorded(session, 1):
            session.sql(f"COPY ({text}) TO '{tmp_path}/out.csv'", q=Q8)
