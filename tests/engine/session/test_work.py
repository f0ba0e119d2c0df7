"""P15, P21: a statement has a time limit, and is cancelled and closed by others, whatever it computes."""

from __future__ import annotations

import gc
import math
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.processes import run_python
from tests.support.waiting import eventually

import affidavit
from affidavit.errors import (
    AffidavitError,
    ClosedError,
    InvalidQueryError,
    StatementCancelledError,
    StatementTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SOON_S = 10
COUNTING = "SELECT count(*) AS n FROM generate_series(1, 400000000000) t(a) WHERE a % 7 = 3"
JOINING = (
    "SELECT count(*) AS n FROM generate_series(1, 60000) a, generate_series(1, 20000) b "
    "WHERE (a.value * b.value) % 7 = 1"
)
"""Takes seconds, or a minute on a busy machine, and gives no row and no way meanwhile."""

ENDED_S = 300
"""How long one that was stopped may go on, which holds the threads that others run on."""

QUERIES = "SELECT * FROM system.queries"

LIGHT = """
import sys
import time
from concurrent.futures import ThreadPoolExecutor
import affidavit
lake, joining = sys.argv[1:]
with affidavit.connect(lake) as session, ThreadPoolExecutor() as pool:
    reads = [pool.submit(session.sql(joining).to_arrow) for _ in range(2)]
    while session.sql("SELECT * FROM system.queries").num_rows < 3:
        time.sleep(0.01)
    for at in range(5):
        print(session.sql(f"SELECT {at} AS a").to_pylist()[0]["a"])
    print("ended" if any(read.done() for read in reads) else "running")
    session.cancel()
    print("stopped" if all(read.exception() for read in reads) else "ended")
"""
"""Runs light statements beside heavy ones, which have not ended when those have."""


@pytest.fixture
def session(lake: Path) -> Iterator[affidavit.Session]:
    """A session whose statements are shown as they are; what they left running ends with it."""
    with affidavit.connect(lake, actor="tester", durability="normal", store_queries=True) as opened:
        yield opened
        eventually(lambda: not shown(opened), "what was stopped goes on", seconds=ENDED_S)
    gc.collect()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def told(ask: Callable[[], object], soon_s: float = SOON_S) -> AffidavitError:
    """Return the error that comes soon."""
    began = time.monotonic()
    with pytest.raises(AffidavitError) as caught:
        ask()
    assert time.monotonic() - began < soon_s
    return caught.value


def shown(session: affidavit.Session) -> list[dict[str, Any]]:
    """Return what runs besides the look at it."""
    return [row for row in session.sql(QUERIES).to_pylist() if row["text"] != QUERIES]


def runs(session: affidavit.Session, count: int = 1) -> None:
    eventually(lambda: len(shown(session)) == count, "it does not run")


# --- time limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [COUNTING, JOINING])
def test_a_query_that_takes_longer_than_its_limit_is_stopped(session, text: str) -> None:
    result = session.sql(text, timeout=0.3)
    error = told(result.to_arrow)
    assert isinstance(error, StatementTimeoutError)
    assert error.timeout_s == 0.3
    assert "0.3 s" in str(error)
    assert session.sql("SELECT 1 AS a", timeout=60).to_pylist() == [{"a": 1}]


def test_the_limit_counts_from_the_call_until_the_last_row(session) -> None:
    lazy = session.sql("SELECT 1 AS a", timeout=0.2)
    half = session.sql("SELECT * FROM generate_series(1, 100000)", timeout=5).batches()
    next(half)
    time.sleep(0.3)
    assert isinstance(told(lazy.to_arrow), StatementTimeoutError)
    assert sum(batch.num_rows for batch in half) > 0


@pytest.mark.parametrize(
    "text",
    [
        f"INSERT INTO t {COUNTING}",
        f"UPDATE t SET n = 1 WHERE n < ({COUNTING})",
        f"DELETE FROM t WHERE n < ({COUNTING})",
        f"CREATE TABLE u AS {COUNTING}",
        f"CREATE OR REPLACE TABLE t AS {COUNTING}",
        f"MERGE INTO t USING ({COUNTING}) s ON t.n = s.n WHEN MATCHED THEN DELETE",
    ],
)
def test_a_change_that_takes_longer_leaves_nothing_behind(session, text: str) -> None:
    session.sql("CREATE TABLE t AS SELECT CAST(7 AS BIGINT) AS n")
    journaled = session.sql("SELECT count(*) FROM journal").to_pylist()
    assert isinstance(told(lambda: session.sql(text, timeout=0.3)), StatementTimeoutError)
    assert session.sql("SELECT n FROM t").to_pylist() == [{"n": 7}]
    assert session.sql("SELECT count(*) FROM journal").to_pylist() == journaled
    assert [row["name"] for row in session.tables().to_pylist()] == ["t"]
    assert session.sql("INSERT INTO t VALUES (8)").rows_affected == 1


def test_a_transaction_goes_on_after_a_statement_in_it_was_stopped(session) -> None:
    session.sql("CREATE TABLE t (n BIGINT)")
    with session.transaction():
        session.sql("INSERT INTO t VALUES (1)")
        late = told(lambda: session.sql(f"INSERT INTO t {COUNTING}", timeout=0.3))
        assert isinstance(late, StatementTimeoutError)
        assert isinstance(told(lambda: session.sql(COUNTING, timeout=0.3)), StatementTimeoutError)
    assert session.sql("SELECT n FROM t").to_pylist() == [{"n": 1}]


@pytest.mark.parametrize("timeout", [0, -1, -0.0, math.nan, -math.inf, "1", True, [], 10**400])
def test_what_is_no_time_is_refused_by_name(session, timeout: object) -> None:
    with pytest.raises(InvalidQueryError, match="timeout="):
        session.sql("SELECT 1", timeout=timeout)


@pytest.mark.parametrize("timeout", [None, 5, 1e18, math.inf])
def test_a_limit_that_is_not_reached_changes_nothing(session, timeout: float | None) -> None:
    assert session.sql("SELECT 1 AS a", timeout=timeout).to_pylist() == [{"a": 1}]


def test_a_parameter_may_be_called_timeout(session) -> None:
    assert session.sql("SELECT $timeout AS a", {"timeout": 3}).to_pylist() == [{"a": 3}]


def test_the_log_says_why_a_statement_ended(session) -> None:
    told(lambda: session.sql(COUNTING, timeout=0.2).to_arrow())
    logged = session.sql(
        "SELECT error FROM audit.statements WHERE status = 'error' AND text = $t", t=COUNTING
    )
    assert logged.to_pylist()[0]["error"].startswith("StatementTimeoutError: ")


# --- cancelling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [COUNTING, JOINING])
def test_cancel_ends_a_wait_in_another_thread(session, pool, text: str) -> None:
    read = pool.submit(session.sql(text).to_arrow)
    runs(session)
    assert session.cancel() == 1
    with pytest.raises(StatementCancelledError, match="run it again"):
        read.result(SOON_S)


def test_cancel_ends_a_change_which_leaves_nothing(session, pool) -> None:
    session.sql("CREATE TABLE t (n BIGINT)")
    change = pool.submit(session.sql, f"INSERT INTO t {COUNTING}")
    eventually(lambda: session._instance.lake.queries.active())
    time.sleep(0.3)
    assert session.cancel() == 1
    with pytest.raises(StatementCancelledError):
        change.result(SOON_S)
    assert session.sql("SELECT n FROM t").to_pylist() == []


def test_cancel_ends_what_a_handle_runs(session, pool) -> None:
    table = session.create_table("t", [{"n": 7}])
    change = pool.submit(table.delete, f"n < ({COUNTING})")
    eventually(lambda: session._instance.lake.queries.active())
    time.sleep(0.3)
    assert session.cancel() == 1
    with pytest.raises(StatementCancelledError):
        change.result(SOON_S)
    assert table.count() == 1
    assert table.delete("n = 7") == 1


def test_a_search_is_listed_and_its_rows_are_released_to_nobody_if_cancelled(session, pool) -> None:
    session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def before(self, request) -> None:
            begun.set()
            assert go_on.wait(30)

    session.hooks.add(Slow())
    searching = pool.submit(session.search, "docs", [1.0, 2.0], k=1)
    assert begun.wait(30)
    with session.scope() as other:
        shown = other.sql("SELECT text FROM system.queries").to_pylist()
    assert {"text": "search('docs')"} in shown
    assert session.cancel() == 1
    go_on.set()
    with pytest.raises(StatementCancelledError):
        searching.result(30)
    assert len(session.audit.recent()) == 1


def test_cancel_of_what_does_not_run_does_nothing(session) -> None:
    unread = session.sql("SELECT 1 AS a")
    assert session.cancel() == 0
    assert unread.to_pylist() == [{"a": 1}]
    assert session.cancel() == 0


def test_a_half_read_result_is_cancelled(session) -> None:
    half = session.sql("SELECT * FROM generate_series(1, 1000000)").batches()
    next(half)
    assert session.cancel() == 1
    with pytest.raises(StatementCancelledError):
        list(half)


def test_cancel_stops_what_the_session_runs_and_nobody_elses(session, pool) -> None:
    with session.scope(actor="ann") as ann, session.scope(actor="bob") as bob:
        first, second = (
            pool.submit(ann.sql(COUNTING).to_arrow),
            pool.submit(bob.sql(COUNTING).to_arrow),
        )
        runs(session, 2)
        assert session.cancel() == 0
        assert ann.cancel() == 1
        with pytest.raises(StatementCancelledError):
            first.result(SOON_S)
        runs(session, 1)
        assert bob.cancel() == 1
        with pytest.raises(StatementCancelledError):
            second.result(SOON_S)


def test_many_threads_are_cancelled_at_once(session, pool) -> None:
    reads = [pool.submit(session.sql(COUNTING).to_arrow) for _ in range(8)]
    runs(session, 8)
    assert session.cancel() == 8
    for read in reads:
        with pytest.raises(StatementCancelledError):
            read.result(SOON_S)


# --- what runs -----------------------------------------------------------------------------------


def test_system_queries_shows_what_runs(session, pool) -> None:
    with session.scope(actor="ann") as ann:
        read = pool.submit(ann.sql(COUNTING).to_arrow)
        runs(session)
        row = shown(session)[0]
        assert (row["actor"], row["text"], row["rows"]) == ("ann", COUNTING, 0)
        assert row["state"] == "running"
        assert abs(row["started_at"].timestamp() - time.time()) < 60
        assert len(row["id"]) == 32
        ann.cancel()
        assert isinstance(read.exception(SOON_S), StatementCancelledError)
    eventually(lambda: not shown(session))


def test_a_statement_sees_itself_and_ends(session) -> None:
    rows = session.sql(QUERIES).to_pylist()
    assert [row["text"] for row in rows] == [QUERIES]
    assert session.sql(
        "SELECT count(*) AS n FROM system.queries WHERE actor = 'x'"
    ).to_pylist() == [{"n": 0}]


def test_rows_that_were_read_are_counted(session) -> None:
    half = session.sql("SELECT * FROM generate_series(1, 100000)").batches()
    first = next(half)
    assert shown(session)[0]["rows"] == first.num_rows
    half.close()
    assert shown(session) == []


@pytest.mark.parametrize("how", ["read", "closed", "dropped", "failed"])
def test_what_is_over_is_shown_no_more(session, how: str) -> None:
    text = "SELECT 1 / (value - 90000) FROM generate_series(1, 100000)"
    if how != "failed":
        text = "SELECT * FROM generate_series(1, 100000)"
    result = session.sql(text)
    half = result.batches()
    next(half)
    assert len(shown(session)) == 1
    if how in {"read", "failed"}:
        try:
            list(half)
        except AffidavitError:
            assert how == "failed"
    elif how == "closed":
        result.close()
    else:
        del half, result
        gc.collect()
    assert shown(session) == []


def test_secrets_are_not_shown(session, pool, tmp_path) -> None:
    text = f"{COUNTING} AND 'postgres://me:hidden@host/db' <> ''"
    read = pool.submit(session.sql(text).to_arrow)
    runs(session)
    assert "hidden" not in shown(session)[0]["text"]
    assert "***@host" in shown(session)[0]["text"]
    session.cancel()
    read.exception(SOON_S)


def test_another_tenants_statements_are_not_shown(session, pool) -> None:
    with session.scope(tenant="north") as north, session.scope(tenant=None) as shared:
        read = pool.submit(north.sql(COUNTING).to_arrow)
        runs(north)
        assert shown(session) == []
        assert shown(shared) == []
        north.cancel()
        read.exception(SOON_S)


def test_nobody_writes_to_system_queries(session) -> None:
    with pytest.raises(AffidavitError):
        session.sql("DELETE FROM system.queries")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="its threads are seen on Linux")
def test_a_join_that_goes_on_is_shown_as_stopping_until_it_ends(session, pool) -> None:
    seen = []
    for _ in range(6):  # one that is just between two batches ends at once
        read = pool.submit(session.sql(JOINING).to_arrow)
        runs(session)
        time.sleep(0.5)
        session.cancel()
        assert isinstance(read.exception(SOON_S), StatementCancelledError)
        seen = [row["state"] for row in shown(session)]
        assert set(seen) <= {"stopping"}
        assert session.cancel() == 0
        eventually(lambda: not shown(session), "it does not end", seconds=ENDED_S)
        if seen:
            break
    assert seen == ["stopping"]


# --- closing -------------------------------------------------------------------------------------


def test_closing_a_result_ends_who_reads_it(session, pool) -> None:
    result = session.sql(COUNTING)
    read = pool.submit(result.to_arrow)
    runs(session)
    result.close()
    with pytest.raises(ClosedError, match="the result was closed"):
        read.result(SOON_S)
    eventually(lambda: not shown(session))


def test_closing_a_session_ends_what_it_runs_and_closes_its_results(lake, pool) -> None:
    session = affidavit.connect(lake, durability="normal")
    session.create_table("t", [{"a": at} for at in range(5000)])
    unread, read = session.sql("SELECT * FROM t"), session.sql("SELECT count(*) AS n FROM t")
    assert read.to_pylist() == [{"n": 5000}]
    half = session.sql("SELECT * FROM generate_series(1, 1000000)").batches()
    next(half)
    waits = pool.submit(session.sql(COUNTING).to_arrow)
    writes = pool.submit(session.sql, f"INSERT INTO t {COUNTING}")
    eventually(lambda: len(session._instance.lake.queries.active()) == 3)
    time.sleep(0.3)
    session.close()
    for ask in (lambda: waits.result(SOON_S), lambda: writes.result(SOON_S), unread.to_arrow):
        with pytest.raises(ClosedError, match="session was closed"):
            ask()
    with pytest.raises(ClosedError, match="session was closed"):
        list(half)
    assert read.to_pylist() == [{"n": 5000}]
    with pytest.raises(ClosedError):
        session.sql("SELECT 1").to_arrow()
    with affidavit.connect(lake, durability="normal") as again:
        assert again.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 5000}]


def test_sixty_four_threads_ask_one_session(session) -> None:
    session.create_table("t", [{"a": at} for at in range(100)])
    with ThreadPoolExecutor(64) as many:
        found = many.map(
            lambda at: session.sql("SELECT a FROM t WHERE a = $a", a=at % 100).to_pylist(),
            range(256),
        )
        assert [rows[0]["a"] for rows in found] == [at % 100 for at in range(256)]
    assert shown(session) == []


def test_a_light_statement_does_not_wait_for_heavy_ones(lake: Path) -> None:
    """In a process of its own: joins that others have stopped may still hold its threads."""
    assert run_python(LIGHT, lake, JOINING).split() == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "running",
        "stopped",
    ]
