"""A search in a transaction stays on record, however that ends."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.beside import beside
from tests.support.lakes import events, vectors
from tests.support.records import Q8, SEARCH, Listener, everything, pending, recorded
from tests.support.waiting import eventually

import affidavit
from affidavit import errors
from affidavit.engine.audit import carried
from affidavit.engine.audit.appender import Appender
from affidavit.engine.audit.commits import Commits


@pytest.mark.parametrize("how", ["block", "sql"])
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_search_in_a_transaction_stays_on_record_however_that_ends(
    session, docs, how, ends
) -> None:
    session.create_table("t", [{"a": 0}])

    def inside() -> list[str]:
        session.sql("INSERT INTO t VALUES (1)")
        first = session.search("docs", Q8, k=2)
        assert session.audit.get(first.query_id) == first.audit, "the transaction sees it"
        session.sql(f"SELECT id FROM {SEARCH}", q=Q8).to_arrow()
        batch = session.search_batch("docs", [Q8, Q8], k=1)
        assert len(pending(session)) == 6, "three files and their locks"
        return [first.query_id, *(each.query_id for each in batch)]

    if how == "sql":
        session.sql("BEGIN")
        ids = inside()
        session.sql(ends)
    elif ends == "commit":
        with session.transaction():
            ids = inside()
    else:
        with pytest.raises(ZeroDivisionError), session.transaction():
            ids = inside()
            raise ZeroDivisionError
    assert [each.k_requested for each in everything(session)] == [2, 3, 1, 1]
    assert {*ids} < {each.query_id for each in everything(session)}
    assert all(session.audit.verify(session.audit.get(each)) for each in ids)
    assert pending(session) == []
    assert session.table("t").count() == (2 if ends == "commit" else 1)
    assert session.sql("SELECT count(*) AS n FROM audit.results").to_pylist() == [{"n": 7}]
    assert session.ledger.verify().entries == 5 + events(session)


def test_a_statement_that_fails_in_a_transaction_leaves_its_searchs_record(session, docs) -> None:
    """It was signed as the entry that another search became; as such it is denied."""
    listener = Listener()
    session.audit.add_listener(listener)
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
    with session.transaction():
        first = session.search("docs", Q8, k=1).audit
        with pytest.raises(errors.ConstraintError):
            session.sql(f"INSERT INTO t SELECT 7 FROM {SEARCH}", q=Q8)
        second = session.search("docs", Q8, k=2).audit
        session.sql("INSERT INTO t VALUES (8)")
    assert session.table("t").to_arrow().to_pylist() == [{"id": 8}]
    assert [each.k_requested for each in everything(session)] == [1, 2, 3]
    assert session.ledger.verify().entries == 4 + events(session)
    assert second.seq == first.seq + 1
    undone, kept = [each for each in listener.seen if each.k_requested == 3]
    assert undone.seq == second.seq
    assert session.audit.get(undone.query_id) == kept
    assert (kept.seq, session.audit.verify(kept)) == (session.ledger.size - 1, True)
    assert not session.audit.verify(undone)


@pytest.mark.parametrize("text", [
    f"INSERT INTO t SELECT 7, 1 FROM {SEARCH}",
    f"UPDATE t SET id = 1 WHERE id IN (SELECT id FROM {SEARCH})",
    f"CREATE TABLE made (a BIGINT PRIMARY KEY) AS SELECT 7 AS a FROM {SEARCH}",
])  # fmt: skip
def test_a_change_that_fails_leaves_its_searchs_record(session, docs, text) -> None:
    session.create_table("t", [{"id": i, "v": i} for i in range(300)], primary_key="id")
    with recorded(session, 1) as new, pytest.raises(errors.ConstraintError):
        session.sql(text, q=Q8)
    assert session.audit.verify(new[0])
    assert session.table("t").to_arrow()["v"].to_pylist() == list(range(300))
    assert pending(session) == []


def test_a_query_made_before_a_transaction_and_read_in_it_is_recorded(session, docs) -> None:
    """DataFusion's own threads run the search of a join: they waited for the transaction to end."""
    session.create_table("t", [{"id": i} for i in range(5000)], primary_key="id")
    joined = session.sql(f"SELECT t.id FROM t JOIN {SEARCH} h ON h.id = t.id ORDER BY 1", q=Q8)
    with recorded(session, 1), session.transaction():
        session.sql("INSERT INTO t VALUES (5000)")
        assert joined.num_rows == 3


@pytest.mark.parametrize("changes", [False, True])
def test_a_transaction_that_a_scope_left_is_ended_with_its_searches_on_record(
    session, docs, changes
) -> None:
    def work() -> None:
        with session.scope(actor="ann") as ann:
            ann.sql("BEGIN")
            if changes:
                ann.create_table("undone", [{"a": 1}])
            ann.search("docs", Q8, k=2)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    session.create_table("t", [{"a": 1}])
    assert {row["name"] for row in session.tables()} == {"docs", "t"}
    assert [each.k_requested for each in everything(session)] == [2]
    assert pending(session) == []


def test_closing_in_a_transaction_keeps_the_searches_on_record(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        session.sql("BEGIN")
        session.create_table("t", [{"a": 1}])
        session.search("docs", Q8, k=2)
    with affidavit.connect(lake, durability="normal") as session:
        assert [each.k_requested for each in everything(session)] == [2]
        assert {row["name"] for row in session.tables()} == {"docs"}


def test_a_rollback_that_cannot_be_recorded_is_recorded_by_the_next_open(lake, monkeypatch) -> None:
    """Each of its searches is tried, whatever became of another."""
    failing = 2

    def commit(self, tenant, batches, **waits):
        nonlocal failing
        failing -= 1
        if failing >= 0:
            raise errors.StoreError("the disk is full")
        return original(self, tenant, batches, **waits)

    original = Commits._commit
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        session.sql("BEGIN IMMEDIATE")
        ids = [session.search("docs", Q8, k=k).query_id for k in (1, 2, 3)]
        monkeypatch.setattr(Commits, "_commit", commit)
        with pytest.raises(errors.StoreError, match="the disk is full"):
            session.sql("ROLLBACK")
        assert [each.query_id for each in everything(session)] == ids[2:]
        assert len(pending(session)) == 4, "two files and their locks"
    gc.collect()
    with affidavit.connect(lake, durability="normal") as session:
        assert sorted(each.query_id for each in everything(session)) == ids
        assert pending(session) == []
        assert session.ledger.verify()


def test_p2_a_record_beside_a_transaction_that_has_changed_nothing_is_found_in_it(
    session, docs
) -> None:
    """It was looked for in the snapshot from before it, and so denied."""
    with session.transaction() as tx:
        tx.sql("SELECT count(*) FROM docs").to_arrow()
        record = tx.search("docs", Q8, k=2).audit
        assert tx.audit.verify(record)
        assert tx.audit.get(record.query_id) == record == tx.audit.recent(1)[0]
        assert tx.audit.received(record.top_k_result_ids[0]) == [record]
        assert str(tx.audit.replay(record.query_id, Q8).outcome) == "REPRODUCED"
        assert tx.sql("SELECT * FROM audit.searches").num_rows == 0, "as all that is read"


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_p2_an_end_that_another_writer_follows_is_told_as_it_was(
    lake, session, docs, end, monkeypatch
) -> None:
    """COMMIT raised StoreBusyError for what was committed, and the record waited for the next open."""
    session.sql("CREATE TABLE t (a INT)")
    session.sql("BEGIN")
    session.sql("SAVEPOINT s")
    session.sql("INSERT INTO t VALUES (1)")
    query_id = session.search("docs", Q8, k=1).query_id
    session.sql("ROLLBACK TO s")
    session.sql("INSERT INTO t VALUES (2)")
    missing = Appender.missing
    with beside(lake) as other:

        def found_while_another_writes(*given):
            found = missing(*given)
            other.execute("BEGIN IMMEDIATE")
            return found

        with monkeypatch.context() as patched:
            patched.setattr(Appender, "missing", found_while_another_writes)
            session.sql(end)
        assert len(pending(session)) == 2, "a file and its lock"
        assert everything(session) == []
        other.execute("ROLLBACK")
    eventually(lambda: pending(session) == [])
    assert session.audit.verify(session.audit.get(query_id))
    assert session.table("t").count() == (1 if end == "COMMIT" else 0)
    assert session.ledger.verify()


@pytest.mark.parametrize("ends", [("ROLLBACK",), ("ROLLBACK", "BEGIN", "INSERT INTO t VALUES (2)")])
def test_p2_a_search_that_waits_for_its_turn_is_recorded_whatever_is_open_by_then(
    session, docs, ends, monkeypatch
) -> None:
    """It was to be told of the end of the transaction that it had found, and that had come.

    Its file stayed, and with the next one's rollback the record waited until the lake was opened.
    """
    session.sql("CREATE TABLE t (a INT)")
    lazy = session.sql(f"SELECT id FROM {SEARCH}", q=Q8)
    session.sql("BEGIN")
    session.sql("INSERT INTO t VALUES (1)")
    comes, append = threading.Event(), carried.CarriedRecords.append
    monkeypatch.setattr(
        carried.CarriedRecords, "append", lambda *given: (comes.set(), append(*given))[1]
    )
    with recorded(session, 1) as new, ThreadPoolExecutor(1) as pool:
        with session._own.transactions.turn():
            rows = pool.submit(lambda: lazy.num_rows)
            assert comes.wait(30)
            time.sleep(0.1)  # until it waits
            for text in ends:
                session.sql(text)
        assert rows.result(30) == 3
        if len(ends) > 1:
            session.sql("ROLLBACK")
    assert pending(session) == []
    assert session.audit.verify(new[0])


def test_an_open_transactions_searches_are_not_taken_for_abandoned(session, docs, lake) -> None:
    with session.transaction(immediate=True):
        query_id = session.search("docs", Q8, k=1).query_id
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: affidavit.connect(lake, read_only=True).close()).result()
            opened = pool.submit(affidavit.connect, lake, durability="normal").result()
        assert len(pending(session)) == 2
    with opened:
        assert [each.query_id for each in everything(opened)] == [query_id]
        assert opened.ledger.verify()
