"""P1, P2, P15: rows wait no longer for somebody's open transaction than it takes to be sure of their record."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest
from tests.support.beside import beside
from tests.support.lakes import vectors
from tests.support.processes import run_python
from tests.support.records import ASKS, Q8, SEARCH, Listener, everything, pending, recorded
from tests.support.waiting import eventually

import affidavit
from affidavit import errors
from affidavit.catalog.store.group_commit import GroupCommit
from affidavit.engine.audit.commits import WAIT_S

PATIENCE_S = 20
"""Far less than the busy timeout of these tests, and far more than a search waits."""


@pytest.fixture
def session(lake) -> Iterator[affidavit.Session]:
    with affidavit.connect(lake, durability="normal", busy_timeout_s=60) as opened:
        opened.create_vector_table("docs", vectors(300))
        opened.create_table("t", [{"id": i, "v": 0} for i in range(300)], primary_key="id")
        yield opened


@contextmanager
def changing(
    session: affidavit.Session, text: str = "INSERT INTO t VALUES (1000, 1)"
) -> Iterator[None]:
    """Hold a transaction open, in another thread, that has changed something."""
    changed, over = threading.Event(), threading.Event()

    def hold() -> None:
        with session.scope() as other, other.transaction():
            other.sql(text)
            changed.set()
            over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert changed.wait(30)
        yield
    finally:
        over.set()
        thread.join()


SEARCHES: dict[str, Callable[[affidavit.Session], int]] = {
    name: ask for name, ask in ASKS.items() if name != "dml"
} | {"join": lambda s: s.sql(f"SELECT h.id FROM {SEARCH} h JOIN t ON t.id = h.id", q=Q8).num_rows}


@pytest.mark.parametrize("name", SEARCHES)
def test_p15_a_search_beside_an_open_transaction_gets_its_rows_and_later_its_number(
    session, name
) -> None:
    count = 3 if name == "batch" else 1
    with recorded(session, count) as new:
        with changing(session):
            began = time.monotonic()
            assert SEARCHES[name](session) == 3
            assert time.monotonic() - began < PATIENCE_S
            assert len(pending(session)) == 2, "one file, and the lock that says that we live"
            assert everything(session) == []
        eventually(lambda: pending(session) == [])
    assert all(session.audit.verify(each) for each in new)
    assert session.ledger.verify()
    assert session.table("t").count() == 301


def test_p15_only_the_first_searches_beside_a_long_transaction_wait_for_it(session) -> None:
    """Each waited a quarter of a second: one thread had four a second beside a long load."""
    count = 80
    with recorded(session, count):
        with changing(session):
            session.search("docs", Q8, k=1)
            began = time.monotonic()
            for _ in range(count - 1):
                session.search("docs", Q8, k=1)
            assert time.monotonic() - began < (count - 1) * WAIT_S / 2
        eventually(lambda: pending(session) == [])
    assert session.ledger.verify()


def test_p2_a_record_without_its_number_says_so_and_is_found_by_its_name(session) -> None:
    with changing(session):
        record = session.search("docs", Q8, k=2).audit
        assert (record.seq, record.key_id, record.signature) == (None, None, None)
        assert (record.tenant, record.k_returned) == ("default", 2)
        assert not session.audit.verify(record)
        with pytest.raises(errors.RecordNotFoundError):
            session.audit.get(record.query_id)
        assert "has its number once" in session.search("docs", Q8, k=2)._repr_html_()
    eventually(lambda: len(everything(session)) == 2)
    kept = session.audit.get(record.query_id)
    assert kept.replaced(seq=None, key_id=None, signature=None) == record
    assert session.audit.verify(kept)


def test_p1_a_record_that_can_be_made_durable_nowhere_gives_no_rows(session, lake) -> None:
    (lake / "pending").write_text("no folder")
    with recorded(session, 0), changing(session):
        for ask in SEARCHES.values():
            with pytest.raises(errors.StoreError, match="cannot be put on record"):
                ask(session)
    (lake / "pending").unlink()
    with recorded(session, 1):
        assert session.search("docs", Q8, k=3).num_rows == 3


def test_many_threads_defer_their_records_under_one_lock(session, lake) -> None:
    with recorded(session, 40):
        with changing(session), ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: session.search("docs", Q8, k=1).query_id, range(40)))
            names = pending(session)
            assert len([name for name in names if name.endswith(".lock")]) == 1
            assert 1 <= len([name for name in names if name.endswith(".json")]) <= 40
        eventually(lambda: pending(session) == [])
    assert {each.query_id for each in everything(session)} == {*found}
    assert session.ledger.verify()


def test_p2_a_transaction_that_searches_itself_and_one_that_waits_for_it(session) -> None:
    inside, over = threading.Event(), threading.Event()

    def work() -> None:
        with pytest.raises(ZeroDivisionError), session.scope() as other, other.transaction():
            other.sql("INSERT INTO t VALUES (1000, 1)")
            other.search("docs", Q8, k=1)
            inside.set()
            over.wait(60)
            raise ZeroDivisionError

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(30)
    session.search("docs", Q8, k=2)
    over.set()
    thread.join()
    eventually(lambda: pending(session) == [])
    assert sorted(each.k_requested for each in everything(session)) == [1, 2]
    assert session.ledger.verify()


def test_p2_no_listener_can_refuse_a_record_whose_rows_are_out(session, caplog) -> None:
    session.audit.add_listener(listener := Listener(refused_k=1))
    with changing(session):
        first = session.search("docs", Q8, k=1).query_id
        second = session.search("docs", Q8, k=2).query_id
    eventually(lambda: pending(session) == [])
    assert [each.query_id for each in everything(session)] == [first, second]
    assert [each.k_requested for each in listener.seen] == [1, 2], "each was told"
    assert caplog.text.count("could not be refused any more") == 1
    assert session.ledger.verify()


KILLED = """
import os, signal, sys, threading
import affidavit

session = affidavit.connect(sys.argv[1], durability="normal", busy_timeout_s=60)
changed = threading.Event()

def hold():
    with session.scope() as other, other.transaction():
        other.sql("INSERT INTO t VALUES (1000, 1)")
        changed.set()
        threading.Event().wait()

threading.Thread(target=hold, daemon=True).start()
changed.wait()
print(session.search("docs", [1.0] * 8, k=1).query_id)
rows = session.sql("SELECT id FROM vector_search('docs', $q, 2)", q=[1.0] * 8)
print(rows.num_rows, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_p2_what_was_deferred_is_on_record_after_kill_9(session, lake) -> None:
    session.close()
    first, rows = run_python(KILLED, lake, status=-9).split()
    assert rows == "2"
    with affidavit.connect(lake, durability="normal") as opened:
        assert sorted(each.k_requested for each in everything(opened)) == [1, 2]
        assert opened.audit.verify(opened.audit.get(first))
        assert pending(opened) == []
        assert opened.table("t").count() == 300
        assert opened.ledger.verify()


def test_p2_a_session_that_closes_while_another_process_writes_leaves_its_records(lake) -> None:
    session = affidavit.connect(lake, durability="normal", busy_timeout_s=1)
    session.create_vector_table("docs", vectors(20))
    with beside(lake) as other:
        other.execute("BEGIN IMMEDIATE")
        assert session.search("docs", Q8, k=2).num_rows == 2
        session.close()
        assert len(list((lake / "pending").glob("*.json"))) == 1
        other.execute("ROLLBACK")
    with affidavit.connect(lake, durability="normal") as opened:
        assert [each.k_requested for each in everything(opened)] == [2]
        assert pending(opened) == []


ABANDONED = """
import os, pathlib, signal, sys
import affidavit
from tests.support.beside import beside

session = affidavit.connect(sys.argv[1], durability="normal")
with beside(pathlib.Path(sys.argv[1])) as other:
    other.execute("BEGIN IMMEDIATE")
    print(session.search("docs", [1.0] * 8, k=2).query_id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_p15_a_lake_opens_while_another_writer_keeps_a_dead_process_records_waiting(lake) -> None:
    """Nobody could open it: each waited for the whole busy timeout, and was told the lake is held."""
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
    query_id = run_python(ABANDONED, lake, status=-9).strip()
    with ExitStack() as stack:
        other = stack.enter_context(beside(lake))
        other.execute("BEGIN IMMEDIATE")
        opened = stack.enter_context(
            affidavit.connect(lake, durability="normal", busy_timeout_s=60)
        )
        opened.audit.add_listener(Listener(refused_k=2))  # whose rows are out
        assert opened.search("docs", Q8, k=1).num_rows == 1
        assert everything(opened) == []
        other.execute("ROLLBACK")
        eventually(lambda: pending(opened) == [])
        assert sorted(each.k_requested for each in everything(opened)) == [1, 2]
        assert opened.audit.verify(opened.audit.get(query_id))
        assert opened.ledger.verify()


def test_p1_what_waits_while_the_ledger_gets_another_master_key_is_recorded(lake, tmp_path) -> None:
    """It was taken for forged: nobody could open the lake but by taking it away."""
    (tmp_path / "new").mkdir()
    new = affidavit.FileKeyStore(tmp_path / "new")
    new.create()
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        query_id = run_python(ABANDONED, lake, status=-9).strip()
        session.ledger.rotate_key(new)
    with affidavit.connect(lake, durability="normal", key_store=new) as opened:
        assert opened.audit.verify(opened.audit.get(query_id))
        assert pending(opened) == []
        assert opened.ledger.verify()


def test_p1_no_rows_for_a_record_that_another_master_key_would_refuse(lake, tmp_path) -> None:
    """They were out, and their record was taken for forged by whoever opened the lake next."""
    (tmp_path / "new").mkdir()
    new = affidavit.FileKeyStore(tmp_path / "new")
    new.create()
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        old = affidavit.connect(lake, durability="normal")
        assert old.search("docs", Q8, k=1).num_rows == 1
        session.ledger.rotate_key(new)
        with changing(session, "CREATE TABLE made (a INT)"):
            with pytest.raises(errors.MasterKeyError):
                old.search("docs", Q8, k=1)
            assert session.search("docs", Q8, k=2).num_rows == 2
        eventually(lambda: pending(session) == [])
        with suppress(errors.MasterKeyError):  # it can keep no checkpoint
            old.close()
    with affidavit.connect(lake, durability="normal", key_store=new) as opened:
        assert [each.k_requested for each in everything(opened)] == [1, 2]
        assert opened.ledger.verify()


def test_a_session_that_only_reads_defers_its_records_too(session, lake) -> None:
    with affidavit.connect(lake, read_only=True, durability="normal", busy_timeout_s=60) as reader:
        with changing(session):
            assert reader.search("docs", Q8, k=2).num_rows == 2
        eventually(lambda: len(everything(reader)) == 1)
    assert pending(session) == []


# --- the group -----------------------------------------------------------------------------------


def test_an_item_that_may_not_wait_is_taken_back_or_was_committed() -> None:
    entered, go_on = threading.Event(), threading.Event()
    committed: list[int] = []

    def commit(items):
        entered.set()
        assert go_on.wait(30)
        committed.extend(items)
        return items

    group: GroupCommit[int, int] = GroupCommit(commit)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(group.submit, 1)
        assert entered.wait(30)
        with pytest.raises(errors.StoreBusyError):
            group.submit(2, wait_s=0.01)
        go_on.set()
        assert first.result(30) == 1
    assert group.submit(3, wait_s=0.01) == 3
    assert committed == [1, 3]
