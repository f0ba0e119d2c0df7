"""P14: what belongs to a caller belongs to one session, and to nobody else."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import mmap
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.lakes import vectors
from tests.support.records import Q8, everything, recorded

import affidavit
from affidavit import errors
from affidavit.engine.plan import tenants as tenants_module

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def t(session: affidavit.Session) -> affidavit.MutableTable:
    return session.create_table("t", [{"id": 1, "n": 0}], primary_key="id")


def counted(session: affidavit.Session, table: str = "t") -> int:
    return int(session.sql(f"SELECT count(*) AS n FROM {table}").to_pylist()[0]["n"])


# --- state ---------------------------------------------------------------------------------------


def test_p14_prepared_statements_are_a_sessions_own(session) -> None:
    with session.scope(actor="ann") as ann, session.scope(actor="bob") as bob:
        ann.sql("PREPARE p AS SELECT 'ann' AS who")
        bob.sql("PREPARE p AS SELECT 'bob' AS who")
        assert ann.sql("EXECUTE p").to_pylist() == [{"who": "ann"}]
        assert bob.sql("EXECUTE p").to_pylist() == [{"who": "bob"}]
        with pytest.raises(errors.SqlError, match="'p' is there already"):
            ann.sql("PREPARE p AS SELECT 1")
        ann.sql("DEALLOCATE p")
        with pytest.raises(errors.SqlError, match="no prepared statement 'p'"):
            ann.sql("DEALLOCATE p")
        assert bob.sql("EXECUTE p").num_rows == 1
        with pytest.raises(errors.SqlError, match="no prepared statement 'p'"):
            session.sql("EXECUTE p")


def test_p14_a_statement_that_cannot_be_planned_is_not_prepared(session) -> None:
    with pytest.raises(errors.AffidavitError, match="nowhere"):
        session.sql("PREPARE p AS SELECT * FROM nowhere")
    with pytest.raises(errors.SqlError, match="no prepared statement"):
        session.sql("EXECUTE p")
    session.sql("PREPARE p(INT) AS SELECT $1 + 1 AS n")
    assert session.sql("EXECUTE p(2)").to_pylist() == [{"n": 3}]


def test_p14_settings_are_a_sessions_own_and_what_is_attached_is_seen_with_them(
    session, tmp_path
) -> None:
    import sqlite3

    def shown(each: affidavit.Session) -> str:
        return each.sql("SHOW datafusion.execution.batch_size").to_pylist()[0]["value"]

    with sqlite3.connect(tmp_path / "x.db") as other:
        other.execute("CREATE TABLE a (n INTEGER)")
        other.execute("INSERT INTO a VALUES (7)")
    other.close()
    before = shown(session)
    with session.scope(actor="ann") as ann, session.scope(actor="bob") as bob:
        ann.sql("SET datafusion.execution.batch_size = 17")
        assert (shown(ann), shown(bob), shown(session)) == ("17", before, before)
        bob.attach("src", f"sqlite:///{tmp_path / 'x.db'}")
        for each in (ann, bob, session):
            assert each.sql("SELECT n FROM src.main.a").to_pylist() == [{"n": 7}]
        bob.detach("src")
        with pytest.raises(errors.AffidavitError):
            ann.sql("SELECT n FROM src.main.a").to_arrow()
        ann.sql("RESET datafusion.execution.batch_size")
        assert shown(ann) == before


@pytest.mark.parametrize("name", [
    "datafusion.runtime.memory_limit", "DATAFUSION.Runtime.memory_limit",
    '"datafusion.runtime.memory_limit"', 'datafusion."runtime".memory_limit',
    "'datafusion.runtime.memory_limit'", "`datafusion.runtime.memory_limit`",
    "datafusion /* . */ . runtime . memory_limit", "datafusion.catalog.location",
    "datafusion.sql_parser.recursion_limit",
])  # fmt: skip
@pytest.mark.parametrize("how", ["SET {} = '1M'", "SET {} TO '1M'", "RESET {}"])
def test_p20_a_restricted_session_changes_no_setting_of_the_process(session, name, how) -> None:
    with session.scope(tenant="red") as red:
        with pytest.raises(errors.ReadOnlyError, match="may not change"):
            red.sql(how.format(name))
        red.sql("SET datafusion.execution.batch_size = 100")


def test_p14_frames_are_a_sessions_own_and_go_with_it(session) -> None:
    with session.scope(actor="ann") as ann, session.scope(actor="bob") as bob:
        ann.attach("f", pa.table({"a": [1]}))
        bob.attach("f", pa.table({"a": [2]}))
        assert ann.sql("SELECT a FROM f").to_pylist() == [{"a": 1}]
        assert bob.sql("SELECT a FROM f").to_pylist() == [{"a": 2}]
        with pytest.raises(errors.TableNotFoundError):
            session.sql("SELECT a FROM f").to_arrow()
    with session.scope(actor="ann") as ann, pytest.raises(errors.TableNotFoundError):
        ann.sql("SELECT a FROM f").to_arrow()


# --- a scope -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["DROP FUNCTION upper", "CREATE FUNCTION upper() RETURNS INT RETURN 1"]
)
def test_p14_nobody_takes_a_function_from_the_others(session, text) -> None:
    """DataFusion's functions are its contexts', which all sessions of a tenant plan with."""
    with session.scope() as other:
        with pytest.raises(errors.SqlError, match="FUNCTION is not supported"):
            other.sql(text)
        other.sql(f"PREPARE p AS {text}")
        with pytest.raises(errors.SqlError):
            other.sql("EXECUTE p")
        with pytest.raises(errors.SqlError):
            session.explain(text, analyze=True)
    assert session.sql("SELECT upper('a') AS u").to_pylist() == [{"u": "A"}]


def test_p14_a_scope_of_the_past_is_of_the_past(session, t) -> None:
    before = session.ledger.size - 1
    t.insert([{"id": 2, "n": 0}])
    with session.at(before).scope(actor="ann") as past:
        assert counted(past) == 1
        with pytest.raises(errors.ReadOnlyError):
            past.sql("INSERT INTO t VALUES (3, 0)")
        with past.scope(actor="bob") as further:
            assert (further.actor, counted(further)) == ("bob", 1)
    with session.scope() as present:
        assert counted(present) == 2


def test_p14_what_a_frame_hides_is_not_changed_by_its_name(session) -> None:
    """Queries read the frame, and a DELETE took the rows of somebody else's table."""
    with session.scope(actor="ann") as ann:
        ann.attach("kept", [{"a": 1}])
        session.create_table("kept", [{"a": 5}, {"a": 6}])
        for text in (
            "DELETE FROM kept", "UPDATE kept SET a = 0", "INSERT INTO kept VALUES (7)",
            "DROP TABLE kept", "ALTER TABLE kept ADD COLUMN b INT", "TRUNCATE TABLE kept",
        ):  # fmt: skip
            with pytest.raises(errors.ReadOnlyError, match="'kept' is a frame in memory"):
                ann.sql(text)
        assert counted(ann, "kept") == 1
        ann.detach("kept")
        assert ann.sql("DELETE FROM kept WHERE a = 5").rows_affected == 1
    assert counted(session, "kept") == 1


def test_p14_a_view_is_of_nobodys_frame(session, t) -> None:
    """It was kept by the lake, and read whatever frame of that name who asked had."""
    session.attach("mine", [{"id": 9}])
    with pytest.raises(errors.SqlError, match=r"\['mine'\] are in memory of this session"):
        session.sql("CREATE VIEW v AS SELECT * FROM mine")
    with pytest.raises(errors.TableNotFoundError):
        session.sql("CREATE VIEW v AS SELECT * FROM nowhere")
    session.sql("CREATE VIEW v AS SELECT id AS mine FROM t")
    assert session.sql("SELECT mine FROM v").to_pylist() == [{"mine": 1}]


def test_p14_a_closed_scope_refuses_and_leaves_the_lake_open(session, t) -> None:
    scoped = session.scope(actor="ann")
    table = scoped.table("t")
    scoped.sql("BEGIN")
    scoped.sql("INSERT INTO t VALUES (2, 0)")
    scoped.close()
    scoped.close()
    for call in (
        lambda: scoped.sql("SELECT 1"), lambda: scoped.scope(), lambda: table.count(),
        lambda: scoped.search("t", Q8), lambda: scoped.begin(),
        lambda: table.insert([{"id": 9, "n": 9}]),
    ):  # fmt: skip
        with pytest.raises(errors.ClosedError, match="closed"):
            call()
    assert counted(session) == 1
    session.sql("INSERT INTO t VALUES (3, 0)")


def test_p14_closing_the_first_session_closes_every_scope(lake) -> None:
    session = affidavit.connect(lake, durability="normal")
    session.sql("CREATE TABLE t (a INT)")
    scoped = session.scope(actor="ann")
    scoped.sql("BEGIN")
    scoped.sql("INSERT INTO t VALUES (1)")
    session.close()
    for each in (session, scoped):
        with pytest.raises(errors.ClosedError):
            each.sql("SELECT 1")
    scoped.close()
    with affidavit.connect(lake, durability="normal") as session:
        assert counted(session) == 0


def test_p14_blocks_may_be_left_in_another_context_and_thread(session, t) -> None:
    def dependency() -> Iterator[affidavit.Session]:
        with session.scope(actor="ann") as ann, ann.transaction() as tx:
            yield tx

    steps = dependency()
    tx = contextvars.copy_context().run(next, steps)
    tx.sql("INSERT INTO t VALUES (2, 0)")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: next(steps, "over")).result() == "over"
    assert counted(session) == 2
    with pytest.raises(errors.ClosedError, match="scope"):
        tx.sql("SELECT 1")


# --- a transaction -------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["scope", "lake"])
def test_p14_who_is_in_a_block_is_told_that_closing_rolled_it_back(lake, whose) -> None:
    """The block came to its end as if all were committed."""
    with affidavit.connect(lake, durability="normal") as watching:
        watching.create_table("t", schema=pa.schema([("id", pa.int64())]))
        opened = affidavit.connect(lake, durability="normal")
        scope = opened.scope()
        ends = opened.close if whose == "lake" else lambda: scope.__exit__(None, None, None)
        with pytest.raises(errors.ClosedError, match="rolled back"), scope.transaction() as tx:
            tx.sql("INSERT INTO t VALUES (1)")
            with ThreadPoolExecutor(1) as pool:
                pool.submit(ends).result()
        with pytest.raises(errors.ClosedError):
            scope.sql("SELECT 1")
        opened.close()
        assert counted(watching) == 0


def test_p14_a_block_that_was_committed_before_its_session_closed_ends_well(session, t) -> None:
    scope = session.scope()
    with scope.transaction() as tx:
        tx.sql("INSERT INTO t VALUES (2, 0)")
        tx.commit()
        scope.__exit__(None, None, None)
    assert counted(session) == 2


def test_p14_begin_keeps_nobody_from_writing(session, t) -> None:
    with session.scope() as one, session.scope() as other:
        one.sql("BEGIN")
        other.sql("INSERT INTO t VALUES (2, 0)")
        assert counted(one) == 2, "the snapshot is the first read's"
        other.sql("INSERT INTO t VALUES (3, 0)")
        assert (counted(one), counted(other)) == (2, 3)
        assert one.table("t").count() == 2
        one.sql("COMMIT")
        assert counted(one) == 3


def test_p14_what_was_read_and_changed_since_is_a_conflict(session, t) -> None:
    session.create_table("u", [{"a": 1}])
    with session.scope() as one, session.scope() as other:
        one.sql("BEGIN")
        assert counted(one) == 1
        other.sql("UPDATE t SET n = 5")
        with pytest.raises(errors.ConflictError, match="'t' changed after") as told:
            one.sql("UPDATE t SET n = n + 1")
        assert told.value.names == ["t"]
        assert pickle.loads(pickle.dumps(told.value)).names == ["t"]
        assert one.sql("SELECT n FROM t").to_pylist() == [{"n": 0}], "it still reads what it read"
        other.sql("UPDATE t SET n = 6")  # nothing is held
        one.sql("ROLLBACK")
        with one.transaction() as again:
            assert again.sql("SELECT n FROM t").to_pylist() == [{"n": 6}]
            other.sql("INSERT INTO u VALUES (2)")
            again.sql("UPDATE t SET n = n + 1")
            assert counted(again, "u") == 2
        assert one.sql("SELECT n FROM t").to_pylist() == [{"n": 7}]


@pytest.mark.parametrize("change", [
    "DROP TABLE u", "ALTER TABLE u ADD COLUMN b INT", "INSERT INTO u VALUES (2)", "TRUNCATE u",
])  # fmt: skip
@pytest.mark.parametrize("how", ["sql", "handle", "search"])
def test_p14_every_way_of_reading_is_noted(session, t, change, how) -> None:
    session.create_table("u", [{"a": 1}])
    docs = session.create_vector_table("docs", vectors(20))
    with session.scope() as one, pytest.raises(errors.ConflictError):
        with one.transaction() as tx:
            if how == "sql":
                tx.sql("SELECT a FROM u").to_arrow()
            elif how == "handle":
                tx.table("u").to_arrow()
            else:
                tx.search("docs", Q8, k=1)
            if how == "search":
                docs.insert(vectors(1, start=50))
            else:
                session.sql(change)
            tx.sql("INSERT INTO t VALUES (2, 0)")
    assert counted(session) == 1


def test_p14_a_change_that_reads_nothing_before_waits_and_is_no_conflict(session, t) -> None:
    def work(number: int) -> None:
        for step in range(10):
            with session.scope() as mine, mine.transaction() as tx:
                tx.sql("UPDATE t SET n = n + 1 WHERE id = 1")
                tx.table("t").insert([{"id": 100 + number * 10 + step, "n": 0}])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert session.sql("SELECT n FROM t WHERE id = 1").to_pylist() == [{"n": 40}]
    assert counted(session) == 41


def test_p14_begin_immediate_waits_at_once(lake) -> None:
    with affidavit.connect(lake, durability="normal", busy_timeout_s=0.2) as session:
        session.sql("CREATE TABLE t (a INT)")
        with session.scope() as one, session.scope() as other:
            one.sql("BEGIN IMMEDIATE")
            with pytest.raises(errors.StoreBusyError):
                other.sql("BEGIN IMMEDIATE")
            with pytest.raises(errors.TransactionError, match="without a transaction"):
                other.sql("COMMIT")
            one.sql("COMMIT")
            other.begin(immediate=True)
            other.sql("INSERT INTO t VALUES (1)")
            other.commit()
        assert counted(session) == 1


def test_p14_savepoints(session, t) -> None:
    session.sql("BEGIN")
    session.sql("SAVEPOINT early")  # a note: nothing was changed
    session.sql("INSERT INTO t VALUES (2, 0)")
    session.sql("SAVEPOINT s")
    session.sql("INSERT INTO t VALUES (3, 0)")
    session.sql('SAVEPOINT "S"')
    session.sql("INSERT INTO t VALUES (4, 0)")
    session.sql("ROLLBACK TO SAVEPOINT s")
    assert counted(session) == 2
    with pytest.raises(errors.TransactionError, match="no savepoint 'S'"):
        session.sql('ROLLBACK TO "S"')
    session.sql("INSERT INTO t VALUES (5, 0)")
    session.sql("ROLLBACK TRANSACTION TO s")
    session.sql("RELEASE SAVEPOINT s")
    with pytest.raises(errors.TransactionError, match=r"no savepoint 's'.*'early'"):
        session.sql("RELEASE s")
    assert counted(session) == 2
    session.sql("ROLLBACK TO early")
    assert counted(session) == 1
    session.sql("INSERT INTO t VALUES (6, 0)")
    session.sql("COMMIT")
    assert session.sql("SELECT id FROM t ORDER BY id").to_pylist() == [{"id": 1}, {"id": 6}]
    inserts = session.sql("SELECT entity_id FROM journal WHERE entity_type = 't' AND field = '*'")
    assert [row["entity_id"] for row in inserts][-1] == "6"
    assert session.ledger.verify()


def test_p14_a_savepoint_as_a_block(session, t) -> None:
    with session.transaction() as tx:
        tx.sql("INSERT INTO t VALUES (2, 0)")
        with pytest.raises(ZeroDivisionError), tx.savepoint():
            tx.sql("INSERT INTO t VALUES (3, 0)")
            raise ZeroDivisionError
        with tx.savepoint():
            tx.sql("INSERT INTO t VALUES (4, 0)")
    assert [row["id"] for row in session.sql("SELECT id FROM t ORDER BY id")] == [1, 2, 4]
    with pytest.raises(errors.TransactionError, match="SAVEPOINT without"), session.savepoint():
        pass


def test_p1_a_search_that_a_savepoint_takes_back_stays_on_record(session, t) -> None:
    session.create_vector_table("docs", vectors(20))
    with recorded(session, 2), session.transaction() as tx:
        tx.sql("INSERT INTO t VALUES (2, 0)")
        tx.sql("SAVEPOINT s")
        tx.search("docs", Q8, k=1)
        tx.sql("ROLLBACK TO s")
        tx.search("docs", Q8, k=2)
    assert sorted(each.k_requested for each in everything(session)) == [1, 2]
    assert session.ledger.verify()


@pytest.mark.parametrize("text", [
    "ROLLBACK TO", "RELEASE", "SAVEPOINT", "SAVEPOINT a b", "ROLLBACK AND CHAIN", "COMMIT AND CHAIN",
    "BEGIN ISOLATION LEVEL SERIALIZABLE", "RELEASE SAVEPOINT a b", "COMMIT TO a",
])  # fmt: skip
def test_p19_what_a_transaction_does_not_support_is_refused(session, text) -> None:
    session.sql("BEGIN")
    with pytest.raises((errors.TransactionError, errors.SqlError)):
        session.sql(text)
    session.sql("ROLLBACK")


def test_p14_what_does_not_pair_up_is_told(session, t) -> None:
    for word in ("COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s", "END"):
        with pytest.raises(errors.TransactionError, match="without a transaction"):
            session.sql(word)
    with session.transaction() as tx:
        with pytest.raises(errors.TransactionError, match="open already"):
            session.sql("BEGIN")
        with pytest.raises(errors.TransactionError, match="open already"), tx.transaction():
            pass
        tx.sql("INSERT INTO t VALUES (2, 0)")
        tx.commit()
        for call in (tx.commit, tx.rollback, lambda: tx.sql("SELECT 1"), lambda: tx.table("t")):
            with pytest.raises(errors.TransactionError, match="over"):
                call()
        session.sql("INSERT INTO t VALUES (3, 0)")
    assert counted(session) == 3


def test_p14_a_transaction_that_does_nothing_is_rolled_back_and_its_session_told(lake) -> None:
    with affidavit.connect(
        lake, durability="normal", transaction_idle_s=0.3, busy_timeout_s=20
    ) as session:
        session.sql("CREATE TABLE t (a INT)")
        with session.scope() as idle, session.scope() as reads:
            reads.sql("BEGIN")
            assert counted(reads) == 0
            idle.sql("BEGIN")
            idle.sql("INSERT INTO t VALUES (1)")
            session.sql("INSERT INTO t VALUES (2)")  # waits until it is rolled back
            with pytest.raises(errors.TransactionError, match="did nothing for 0.3 s"):
                idle.sql("COMMIT")
            assert counted(idle) == 1, "it was told once"
            assert counted(reads) == 0, "who holds nothing may take its time"
            reads.sql("COMMIT")
        with pytest.raises(errors.TransactionError, match="did nothing"), session.transaction():
            session.sql("INSERT INTO t VALUES (3)")
            until = time.monotonic() + 20
            while session._own.transactions.begun is not None and time.monotonic() < until:
                time.sleep(0.02)
        assert session.sql("SELECT a FROM t").to_pylist() == [{"a": 2}]


@pytest.mark.parametrize("value", [0, -1, float("nan"), "soon", None, True])
def test_p12_a_bad_idle_time_is_refused(lake, value) -> None:
    with pytest.raises(errors.LakeError, match="transaction_idle_s"):
        affidavit.connect(lake, transaction_idle_s=value)
    assert not lake.exists()


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1e300, "1", None, True])
def test_p12_a_bad_time_to_wait_is_refused(lake, value) -> None:
    with pytest.raises(errors.LakeError, match="busy_timeout_s must be a number of seconds"):
        affidavit.connect(lake, busy_timeout_s=value)


def test_p14_statements_of_a_transaction_take_turns(session, t) -> None:
    with session.transaction() as tx:
        with ThreadPoolExecutor(8) as pool:
            added = pool.map(
                lambda at: tx.sql("INSERT INTO t VALUES ($a, 0)", a=at).rows_affected, range(10, 50)
            )
            assert sum(added) == 40
        with session.scope() as other:
            assert counted(other) == 1
    assert counted(session) == 41


def test_p14_who_waits_too_long_for_a_turn_is_told(lake) -> None:
    with affidavit.connect(lake, durability="normal", busy_timeout_s=0.2) as session:
        session.sql("CREATE TABLE t (a INT)")
        session.sql("BEGIN")
        inside, over = threading.Event(), threading.Event()

        def hold() -> None:
            with session._catalog().write():
                inside.set()
                over.wait(20)

        thread = threading.Thread(target=hold)
        thread.start()
        assert inside.wait(20)
        with pytest.raises(errors.TransactionError, match="one at a time"):
            session.sql("SELECT 1")
        over.set()
        thread.join()
        session.sql("COMMIT")


def test_p14_tasks_of_one_loop_have_a_transaction_each(session, t) -> None:
    async def request(number: int) -> None:
        with session.scope(actor=f"r{number}") as mine:
            mine.sql("BEGIN")
            await asyncio.sleep(0)
            counted(mine)
            await asyncio.sleep(0)
            if number % 2:
                return  # and nobody ends it
            mine.sql("INSERT INTO t VALUES ($n, 0)", n=100 + number)
            mine.sql("COMMIT")

    async def requests() -> list[BaseException | None]:
        return await asyncio.gather(*map(request, range(20)), return_exceptions=True)

    outcomes = asyncio.run(requests())
    conflicts = sum(isinstance(each, errors.ConflictError) for each in outcomes)
    assert [each for each in outcomes if not isinstance(each, errors.ConflictError | None)] == []
    assert counted(session) == 1 + 10 - conflicts


# --- what tenants keep in memory -----------------------------------------------------------------


def test_tenants_that_nobody_uses_are_let_go(lake, monkeypatch) -> None:
    monkeypatch.setattr(tenants_module, "IDLE_TENANTS_MAX", 4)
    with affidavit.connect(lake, durability="normal") as session:
        with session.scope(tenant="busy") as busy:
            busy.sql("SET datafusion.execution.batch_size = 17")
            for at in range(20):
                with session.scope(tenant=f"t{at}") as scoped:
                    assert scoped.sql("SELECT 1 AS a").to_pylist() == [{"a": 1}]
            gc.collect()
            assert len(session._instance._engines) <= 4 + 1, "the last ones, and the one in use"
            assert busy.sql("SHOW datafusion.execution.batch_size").to_pylist()[0]["value"] == "17"
        with session.scope(tenant="t0") as again:
            again.sql("CREATE TABLE t (a INT)")
            assert counted(again) == 0


TENANTS = 1_000
GROWTH_MAX_BYTES = 40 << 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for the memory")
def test_many_tenants_with_a_statement_each_take_little_memory(lake) -> None:
    """Each used to leave its contexts behind, some 90 kB a tenant."""

    def resident() -> int:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * mmap.PAGESIZE

    with affidavit.connect(lake, durability="normal") as session:

        def ask(tenants: range) -> None:
            for at in tenants:
                with session.scope(tenant=f"t{at}") as scoped:
                    assert scoped.sql("SELECT 1 AS a").num_rows == 1

        ask(range(100))  # what is kept at once is there by then
        before = resident()
        ask(range(100, 100 + TENANTS))
        assert resident() - before < GROWTH_MAX_BYTES


def test_a_tenant_is_made_once_however_many_ask_and_anew_if_that_fails(session) -> None:
    made: list[str] = []
    engines = session._instance._engines
    make = engines._make

    def slow(tenant: str) -> object:
        made.append(tenant)
        time.sleep(0.05)
        if len(made) == 1:
            raise errors.SourceError("the first time fails")
        return make(tenant)

    engines._make = slow
    with session.scope(tenant="red") as red, ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(lambda: red.sql("SELECT 1").num_rows) for _ in range(6)]
        failed = [each for each in asked if each.exception() is not None]
    assert len(failed) == 1
    assert made == ["red", "red"]


def test_a_source_with_a_password_is_not_let_go(lake, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tenants_module, "IDLE_TENANTS_MAX", 1)
    with affidavit.connect(lake, durability="normal") as session:
        with session.scope(tenant="red") as red:
            red.sql("SELECT 1").to_arrow()
            engine = session._instance.planner(red.identity)
            engine._has_passwords = True
            number = id(engine)
            del engine
        for tenant in "abc":
            with session.scope(tenant=tenant) as scoped:
                scoped.sql("SELECT 1").to_arrow()
        gc.collect()
        with session.scope(tenant="red") as red:
            assert id(session._instance.planner(red.identity)) == number
