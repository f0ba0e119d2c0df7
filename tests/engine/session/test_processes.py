"""P14: a forked child gets an error at once, and nothing that owns what is open is copied."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import time
import warnings
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.processes import run_python

import affidavit
from affidavit.errors import ForkedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMIT_S = 60
CALLS: dict[str, Callable[[affidavit.Session, Path], object]] = {
    "sql": lambda session, _: session.sql("SELECT 1"),
    "insert": lambda session, _: session.sql("INSERT INTO t VALUES (5)"),
    "search": lambda session, _: session.search("docs", [1.0, 0.0]),
    "table": lambda session, _: session.table("t"),
    "create": lambda session, _: session.create_table("u", [{"a": 1}]),
    "transaction": lambda session, _: session.transaction().__enter__(),
    "scope": lambda session, _: session.scope(actor="x"),
    "audit": lambda session, _: session.audit.recent(1),
    "topics": lambda session, _: session.topics.list(),
    "cancel": lambda session, _: session.cancel(),
    "connect": lambda _, folder: affidavit.connect(folder / "another"),
}


def in_a_fork(what: Callable[[], object]) -> str:
    """Return what came of it in a forked child: a class of errors, or what it gave."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():  # Lance's, and from 3.12 on Python's own
        warnings.simplefilter("ignore")
        child = os.fork()
    if not child:
        try:
            told = repr(what())
        except BaseException as error:
            told = type(error).__name__
        os.write(writes, told.encode()[:1000])
        os._exit(0)
    until = time.monotonic() + LIMIT_S
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail(f"the child had not ended after {LIMIT_S} s")
        time.sleep(0.01)
    os.close(writes)
    with os.fdopen(reads) as said:
        return said.read()


@pytest.fixture
def filled(session: affidavit.Session) -> affidavit.Session:
    session.create_table("t", [{"a": 1}], primary_key="a")
    session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 0.0]}])
    session.sql("SELECT * FROM t").to_arrow()
    return session


@pytest.mark.parametrize("name", CALLS)
def test_any_call_in_a_fork_is_refused_at_once(filled, tmp_path, name: str) -> None:
    assert in_a_fork(lambda: CALLS[name](filled, tmp_path)) == "ForkedError"
    assert filled.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 1}]


def test_handles_and_results_in_a_fork_are_refused_at_once(filled) -> None:
    table, topics, unread = filled.table("t"), filled.topics, filled.sql("SELECT * FROM t")
    half = filled.sql("SELECT * FROM generate_series(1, 100000)").batches()
    next(half)
    for use in (
        table.count, table.to_arrow, lambda: table.insert([{"a": 9}]), lambda: table.delete("a = 1"),
        topics.list, unread.to_arrow, lambda: next(half),
    ):  # fmt: skip
        assert in_a_fork(use) == "ForkedError"
    assert unread.to_pylist() == [{"a": 1}]
    assert sum(batch.num_rows for batch in half) > 0


def test_closing_in_a_fork_does_nothing_to_the_other(filled) -> None:
    assert in_a_fork(filled.close) == "None"
    assert filled.sql("SELECT a FROM t").to_pylist() == [{"a": 1}]


def test_the_error_says_what_to_do() -> None:
    assert "spawn" in str(ForkedError("the session"))


SPAWNED = """
import multiprocessing, sys, affidavit

def count(path):
    with affidavit.connect(path, durability="normal") as session:
        return session.sql("SELECT count(*) AS n FROM t").to_pylist()

if __name__ == "__main__":
    with affidavit.connect(sys.argv[1], durability="normal") as session:
        session.create_table("t", [{"a": 1}, {"a": 2}])
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(count, [sys.argv[1]]))
"""


@pytest.mark.slow
def test_a_process_that_is_spawned_opens_the_lake(tmp_path) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    run = f"import runpy, sys; sys.argv[1:] = sys.argv[1:]; runpy.run_path({str(script)!r}, run_name='__main__')"
    assert run_python(run, tmp_path / "lake", anew=True).strip() == "[{'n': 2}]"


SHARED = """
import os, sys, time
import pyarrow as pa
import affidavit

with affidavit.connect(sys.argv[1], durability="normal") as session:
    session.sql("CREATE TABLE t (id BIGINT, word VARCHAR)")
    rows = pa.table({{"id": range(60_000), "word": ["x" * 300] * 60_000}})  # more than SQLite caches
    child = 1
    try:
        with session.transaction() as tx:
            session.table("t").insert(rows)
            with {block}:
                child = os.fork()
                {leaves}
            if child:
                os.waitpid(child, 0)
                with affidavit.connect(sys.argv[1], read_only=True) as other:
                    print(other.sql("SELECT count(*) AS n FROM t").to_pylist())
                print(tx.sql("SELECT count(*) AS n, sum(id) AS s FROM t").to_pylist())
                tx.sql("INSERT INTO t VALUES (-1, 'more')")
    except affidavit.errors.ForkedError:
        assert not child
    if not child:
        sys.exit(3)
    print(session.sql("SELECT count(*) AS n, sum(id) AS s FROM t").to_pylist())
    print(bool(session.ledger.verify()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("block", ["tx.savepoint()", "tx.scope()"])
@pytest.mark.parametrize("leaves", ["pass", "child or sys.exit(3)", "child or 1 / 0"])
def test_p21_a_fork_leaves_its_parents_transaction_alone(tmp_path, block: str, leaves: str) -> None:
    """The child committed it, or rolled it back under its parent, whose file was damaged then."""
    told = run_python(SHARED.format(block=block, leaves=leaves), tmp_path / "lake")
    rows = 60_000
    total = sum(range(rows))
    assert told.splitlines() == [
        "[{'n': 0}]",
        str([{"n": rows, "s": total}]),
        str([{"n": rows + 1, "s": total - 1}]),
        "True",
    ]


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_session_is_neither_copied_nor_pickled(session, way) -> None:
    with pytest.raises(TypeError, match=r"session\.scope\(\)"):
        way(session)
    with session.scope(actor="ann") as ann, pytest.raises(TypeError, match="Session"):
        way(ann)
    assert session.sql("SELECT 1 AS a").to_pylist() == [{"a": 1}]


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda result: pickle.loads(pickle.dumps(result))]
)
def test_a_result_is_pickled_and_copied_as_its_rows(filled, way) -> None:
    for text in ("SELECT a FROM t", "SELECT a FROM t WHERE a > 5", "DELETE FROM t WHERE a = 7"):
        result = filled.sql(text)
        there = way(result)
        assert there.to_arrow().equals(result.to_arrow())
        assert there.schema == result.schema
        assert there.rows_affected == result.rows_affected
    found = way(filled.search("docs", [1.0, 0.0]))
    assert isinstance(found, affidavit.Result)
    assert isinstance(found.to_arrow(), pa.Table)
    assert found.to_pylist()[0]["id"] == 1
