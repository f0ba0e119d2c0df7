"""P14, P15 where coroutines ask: whose a transaction is, and what a cancelled task leaves."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import math
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.lakes import vectors
from tests.support.processes import run_python
from tests.support.records import Q8

import affidavit
from affidavit import errors
from affidavit.engine.fronts.aio.asking import CALLS_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

SOON_S = 10
COUNTING = "SELECT count(*) AS n FROM generate_series(1, 400000000000) t(a) WHERE a % 7 = 3"
FLOWING = "SELECT value FROM generate_series(1, 400000000000)"
QUERIES = "SELECT text FROM system.queries"


class Lake:
    """A lake that a test opens in the loop that it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, main: Callable[[affidavit.AsyncSession], Coroutine[Any, Any, object]]) -> None:
        async def opened() -> None:
            async with affidavit.aconnect(
                self.path, actor="tester", durability="normal"
            ) as session:
                await session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)")
                await session.sql("INSERT INTO t VALUES (1, 0)")
                await main(session)

        asyncio.run(asyncio.wait_for(opened(), 120))


@pytest.fixture
def a_lake(lake: Path) -> Lake:
    return Lake(lake)


async def counted(session: affidavit.AsyncSession) -> int:
    return (await (await session.sql("SELECT count(*) AS n FROM t")).to_pylist())[0]["n"]


async def shown(session: affidavit.AsyncSession) -> list[str]:
    found = await (await session.sql(QUERIES)).to_pylist()
    return [row["text"] for row in found if row["text"] != QUERIES]


async def until(holds: Callable[[], Coroutine[Any, Any, object]]) -> None:
    over = time.monotonic() + 30
    while not await holds():
        assert time.monotonic() < over, "it did not happen"
        await asyncio.sleep(0.02)


async def runs(session: affidavit.AsyncSession, count: int) -> None:
    async def so() -> bool:
        return len(await shown(session)) == count

    await until(so)


async def read(session: affidavit.AsyncSession, text: str) -> list[dict[str, Any]]:
    return await (await session.sql(text)).to_pylist()


# --- cancelled -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_p15_a_cancelled_task_stops_its_statement_and_no_other(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        first = asyncio.create_task(read(session, COUNTING))
        second = asyncio.create_task(read(session, COUNTING.replace("AS n", "AS m")))
        await runs(session, 2)
        began = time.monotonic()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert time.monotonic() - began < SOON_S
        await runs(session, 1)
        assert " AS m " in (await shown(session))[0]
        assert not second.done()
        assert await session.cancel() == 1
        with pytest.raises(errors.StatementCancelledError):
            await second
        assert await session.cancel() == 0
        assert await counted(session) == 1

    a_lake.run(main)


@pytest.mark.slow
def test_p15_who_is_cancelled_while_it_writes_stops_the_plan_and_writes_nothing(
    a_lake: Lake,
) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        task = asyncio.create_task(
            session.sql(f"INSERT INTO t {COUNTING.replace('AS n', 'AS n, 1')}")
        )
        await runs(session, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await runs(session, 0)
        assert await counted(session) == 1

    a_lake.run(main)


@pytest.mark.slow
def test_p15_who_is_cancelled_between_batches_or_goes_leaves_nothing_running(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        read_s = asyncio.Event()

        async def streams() -> None:
            async for batch in (await session.sql(FLOWING)).batches():
                assert batch.num_rows
                read_s.set()

        task = asyncio.create_task(streams())
        await read_s.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await runs(session, 0)
        async with await session.sql(FLOWING) as result:
            async for _ in result.batches():
                break
        with pytest.raises(errors.ClosedError):
            await result.to_arrow()
        await runs(session, 0)

    a_lake.run(main)


@pytest.mark.slow
def test_p15_a_time_limit_of_a_loops_own_rolls_a_transaction_back(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), session.transaction() as tx:
                await tx.sql("INSERT INTO t VALUES (2, 0)")
                await tx.sql(f"CREATE TABLE u AS {COUNTING}")
        assert time.monotonic() - began < SOON_S
        async with session.scope(actor="bob") as bob:
            await bob.sql("INSERT INTO t VALUES (3, 0)")
        assert await counted(session) == 2
        with pytest.raises(errors.TransactionError, match="without a transaction"):
            await session.commit()

    a_lake.run(main)


def test_p15_what_was_never_begun_is_not_made_and_what_nobody_takes_is_undone(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        free, undone, gone = threading.Event(), asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()
        waits = [
            asyncio.create_task(session.run(lambda _: free.wait(60))) for _ in range(CALLS_MAX)
        ]
        await asyncio.sleep(0)
        never = asyncio.create_task(session.run(lambda _: gone.set()))
        await asyncio.sleep(0.05)
        never.cancel()
        waits[0].cancel()
        results = await asyncio.gather(never, waits[0], return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in results)
        free.set()
        assert await asyncio.gather(*waits[1:]) == [True] * (CALLS_MAX - 1)
        assert not gone.is_set()

        began = threading.Event()
        free.clear()

        def makes() -> str:
            began.set()
            free.wait(60)
            return "made"

        def undo(made: str) -> None:
            assert made == "made"
            loop.call_soon_threadsafe(undone.set)

        made = asyncio.create_task(session._asker.open(makes, undo))
        await asyncio.to_thread(began.wait, 60)
        made.cancel()
        with pytest.raises(asyncio.CancelledError):
            await made
        assert not undone.is_set()
        free.set()
        await asyncio.wait_for(undone.wait(), 60)

    a_lake.run(main)


def test_p15_a_begin_that_is_cancelled_while_it_waits_leaves_no_transaction(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        ann, bob, eve = (session.scope(actor=actor) for actor in ("ann", "bob", "eve"))
        async with ann, bob, eve:
            async with ann.transaction(immediate=True) as tx:
                waits = asyncio.create_task(bob.begin(immediate=True))
                entered = asyncio.create_task(bob.scope().transaction(immediate=True).__aenter__())
                asked = asyncio.create_task(eve.sql("BEGIN IMMEDIATE"))
                await asyncio.sleep(0.2)
                for each in (waits, entered, asked):
                    each.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await each
                await tx.sql("INSERT INTO t VALUES (2, 0)")
            await session.sql("INSERT INTO t VALUES (3, 0)")

            async def is_out() -> bool:
                opened = [each.blocking._own.transactions for each in (bob, eve)]
                return all(each.begun is None for each in opened)

            await until(is_out)
            with pytest.raises(errors.TransactionError):
                await bob.rollback()
            await bob.sql("INSERT INTO t VALUES (4, 0)")
        assert await counted(session) == 4

    a_lake.run(main)


# --- transactions --------------------------------------------------------------------------------


def test_p14_two_tasks_in_one_transaction_are_both_in_it_one_statement_at_a_time(
    a_lake: Lake,
) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        at_work, most = 0, 0

        class Watch:
            def on_change(self, *_: object) -> None:
                nonlocal at_work, most
                at_work += 1
                most = max(most, at_work)
                time.sleep(0.005)
                at_work -= 1

        session.add_change_listener(Watch())
        async with session.scope(actor="ann") as ann, session.scope(actor="bob") as bob:

            async def inserts(tx: affidavit.AsyncSession, first: int) -> None:
                for at in range(first, first + 10):
                    await tx.sql("INSERT INTO t VALUES ($1, 0)", [at])

            async with ann.transaction() as tx:
                await asyncio.gather(inserts(tx, 100), inserts(ann, 200))
                assert await counted(tx) == await counted(ann) == 21
                assert await counted(bob) == 1
            assert most == 1
            assert await counted(bob) == 21
            with pytest.raises(ZeroDivisionError):
                async with ann.transaction() as tx:
                    await asyncio.gather(inserts(tx, 300), inserts(tx, 400))
                    raise ZeroDivisionError
            assert await counted(bob) == 21
            with pytest.raises(errors.TransactionError, match="over"):
                await tx.sql("SELECT 1")

    a_lake.run(main)


def test_p14_a_block_may_be_left_in_another_task_and_context(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        async def dependency() -> AsyncIterator[affidavit.AsyncSession]:
            async with session.scope(actor="ann") as mine, mine.transaction() as tx:
                yield tx

        given = dependency()
        tx = await asyncio.create_task(anext(given), context=contextvars.Context())
        await asyncio.create_task(_insert(tx, 2), context=contextvars.Context())
        await asyncio.create_task(_rest(given), context=contextvars.Context())
        assert await counted(session) == 2
        with pytest.raises(errors.ClosedError):
            await tx.sql("SELECT 1")

        given = dependency()
        tx = await asyncio.create_task(anext(given))
        await _insert(tx, 3)
        await asyncio.create_task(given.aclose())  # nobody goes on with it
        assert await counted(session) == 2
        async with asyncio.timeout(30):
            await session.sql("INSERT INTO t VALUES (4, 0)")

    a_lake.run(main)


async def _insert(session: affidavit.AsyncSession, key: int) -> None:
    await session.sql("INSERT INTO t VALUES ($1, 0)", [key])


async def _rest(given: AsyncIterator[object]) -> None:
    async for _ in given:
        pass


def test_p14_savepoints_begin_and_sql_are_the_sessions_own(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        async with session.scope() as mine:
            await mine.begin()
            await _insert(mine, 2)
            with pytest.raises(ZeroDivisionError):
                async with mine.savepoint():
                    await _insert(mine, 3)
                    raise ZeroDivisionError
            async with mine.savepoint():
                await _insert(mine, 4)
            await mine.commit()
            assert await counted(session) == 3
            await mine.sql("BEGIN")
            await _insert(mine, 5)
            await mine.sql("ROLLBACK")
            assert await counted(session) == 3

    a_lake.run(main)


def test_p15_who_waits_for_a_transactions_end_keeps_it_from_no_thread(a_lake: Lake) -> None:
    """More tasks wait for the writer than there are threads; who holds it goes on and commits."""

    async def main(session: affidavit.AsyncSession) -> None:
        async with session.scope(actor="ann") as ann:
            async with ann.transaction() as tx:
                await _insert(tx, 2)
                others = [
                    asyncio.create_task(_insert(session, at))
                    for at in range(100, 100 + 2 * CALLS_MAX)
                ]
                await asyncio.sleep(0.3)
                async with asyncio.timeout(SOON_S):
                    await _insert(tx, 3)
                    assert await counted(tx) == 3
            await asyncio.gather(*others)
        assert await counted(session) == 3 + 2 * CALLS_MAX

    a_lake.run(main)


@pytest.mark.slow
def test_p15_a_transaction_ends_while_a_task_reads_a_long_result_in_its_session(
    a_lake: Lake,
) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        async with session.scope(actor="ann") as ann:
            result = await ann.sql(COUNTING)
            await ann.begin()
            await _insert(ann, 2)
            long = asyncio.create_task(result.to_arrow())
            await runs(session, 1)
            async with asyncio.timeout(SOON_S):
                await ann.commit()
            assert not long.done()
            assert await ann.cancel() == 1
            with pytest.raises(errors.StatementCancelledError):
                await long
        assert await counted(session) == 2

    a_lake.run(main)


@pytest.mark.slow
def test_p15_a_long_statement_in_a_transaction_is_cancelled_by_whoever_else_is_in_it(
    a_lake: Lake,
) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        async with session.scope(actor="ann") as ann, ann.transaction() as tx:
            await _insert(tx, 2)
            long = asyncio.create_task(read(tx, COUNTING))
            waits = asyncio.create_task(counted(ann))
            await runs(session, 1)
            long.cancel()
            async with asyncio.timeout(SOON_S):
                assert await waits == 2
            with pytest.raises(asyncio.CancelledError):
                await long
        assert await counted(session) == 2

    a_lake.run(main)


# --- many, and a loop that goes on ---------------------------------------------------------------


def test_p14_64_tasks_on_one_session_get_each_what_it_asked(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        docs = await session.create_vector_table("docs", vectors(100))

        async def one(at: int) -> None:
            await _insert(session, 100 + at)
            assert await read(session, f"SELECT {at} AS a") == [{"a": at}]
            found = await session.search("docs", Q8, 3, lineage={"at": at})
            assert found.audit.query_lineage == {"at": at}
            assert await docs.count() == 100
            assert await read(session, f"SELECT n FROM t WHERE id = {100 + at}") == [{"n": 0}]

        await asyncio.gather(*(one(at) for at in range(64)))
        assert await counted(session) == 65
        assert len(await session.audit.recent(1000)) == 64
        ours = [each for each in threading.enumerate() if each.name == "affidavit-call"]
        assert 1 <= len(ours) <= CALLS_MAX

    a_lake.run(main)


@pytest.mark.slow
def test_p15_the_loop_goes_on_while_statements_run(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        tasks = [asyncio.create_task(read(session, COUNTING)) for _ in range(3)]
        await runs(session, 3)
        turns, over = 0, time.monotonic() + 1.5
        while time.monotonic() < over:
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 10
        await session.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    a_lake.run(main)


# --- what blocks the loop ------------------------------------------------------------------------


def test_p15_what_blocks_a_loop_never_waits_for_a_transaction_of_its_tasks(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        async with session.scope(actor="ann") as ann, session.scope(actor="bob") as bob:
            async with ann.transaction() as tx:
                await _insert(tx, 2)
                began = time.monotonic()
                for refused in (
                    lambda: bob.blocking.sql("INSERT INTO t VALUES (9, 0)"),
                    lambda: bob.blocking.table("t").insert([{"id": 9, "n": 0}]),
                    lambda: bob.blocking.begin(immediate=True),
                    bob.blocking.journal.flush,
                ):
                    await tx.sql("UPDATE t SET n = n")  # the call is over once the task has it
                    with pytest.raises(errors.TransactionError, match="await the async session"):
                        refused()
                assert time.monotonic() - began < SOON_S
                assert bob.blocking.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 1}]
                ann.blocking.sql("INSERT INTO t VALUES (3, 0)")  # is in it, and waits for nobody
                waits = asyncio.to_thread(bob.blocking.sql, "INSERT INTO t VALUES (4, 0)")
                waiting = asyncio.create_task(waits)  # blocks a thread, and no loop
                await asyncio.sleep(0.1)
            assert (await waiting).rows_affected == 1
            bob.blocking.sql("INSERT INTO t VALUES (5, 0)")
            assert await counted(session) == 5

    a_lake.run(main)


def test_p15_a_call_that_blocks_is_told_of_a_task_of_its_loop_in_the_transaction(
    a_lake: Lake,
) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        free, inside = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        class Waits:
            def on_change(self, *_: object) -> None:
                loop.call_soon_threadsafe(inside.set)
                free.wait(60)

        listener = Waits()
        session.add_change_listener(listener)
        async with session.scope(actor="ann") as ann, ann.transaction() as tx:
            task = asyncio.create_task(_insert(tx, 2))
            await inside.wait()
            began = time.monotonic()
            with pytest.raises(errors.TransactionError, match="event loop"):
                ann.blocking.sql("SELECT 1")
            assert time.monotonic() - began < SOON_S
            in_thread = asyncio.create_task(asyncio.to_thread(ann.blocking.sql, "SELECT 1 AS a"))
            await asyncio.sleep(0.1)
            assert not in_thread.done()
            session.remove_change_listener(listener)
            free.set()
            await task
            assert (await in_thread).to_pylist() == [{"a": 1}]
            assert ann.blocking.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 2}]

    a_lake.run(main)


def test_p15_sessions_that_block_are_used_in_coroutines_as_ever(session) -> None:
    """A transaction of theirs may be ended by any thread: so whoever waits for it waits."""
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)")

    async def main() -> None:
        with session.scope(actor="ann") as ann, session.scope(actor="bob") as bob:
            with ann.transaction() as tx:
                tx.sql("INSERT INTO t VALUES (1, 0)")
                await asyncio.sleep(0)
                assert tx.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 1}]
            ann.begin()
            ann.sql("INSERT INTO t VALUES (2, 0)")
            with ThreadPoolExecutor(1) as pool:

                def ends() -> None:
                    time.sleep(0.3)
                    ann.commit()

                ended = pool.submit(ends)
                bob.sql("INSERT INTO t VALUES (3, 0)")
                ended.result()
        assert session.table("t").count() == 3

    asyncio.run(main())


# --- bad input, and the end ----------------------------------------------------------------------


def test_p14_p15_bad_input_is_told(a_lake: Lake) -> None:
    async def main(session: affidavit.AsyncSession) -> None:
        for limit in (0, -1, math.nan, "soon"):
            with pytest.raises(errors.InvalidQueryError, match="timeout"):
                await session.sql("SELECT 1", timeout=limit)
        with pytest.raises(errors.StatementTimeoutError):
            await (await session.sql(COUNTING, timeout=0.2)).to_arrow()
        for ends in (session.commit, session.rollback):
            with pytest.raises(errors.TransactionError, match="without a transaction"):
                await ends()
        async with session.scope(actor="ann") as ann:
            async with ann.transaction():
                with pytest.raises(errors.TransactionError, match="open already"):
                    await ann.begin()
                with pytest.raises(errors.TransactionError, match="own transaction"):
                    await ann.close()
            result = await ann.sql(FLOWING)
        for call in (lambda: ann.sql("SELECT 1"), lambda: ann.table("t"), result.to_arrow):
            with pytest.raises(errors.ClosedError):
                await call()
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                copied(session)

    a_lake.run(main)


def test_p14_closing_the_first_session_ends_what_tasks_of_its_scopes_wait_for(lake) -> None:
    async def main() -> None:
        session = await affidavit.aconnect(lake, durability="normal")
        scoped = session.scope(actor="ann")
        task = asyncio.create_task(read(scoped, COUNTING))
        await runs(session, 1)
        await session.close()
        with pytest.raises(errors.ClosedError):
            await task
        with pytest.raises(errors.ClosedError):
            await scoped.sql("SELECT 1")
        await session.close()

    asyncio.run(asyncio.wait_for(main(), 60))


INTERRUPTED = """
import asyncio, os, signal, sys, threading, affidavit
signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever starts tests may ignore
async def main():
    async with affidavit.aconnect(sys.argv[1], durability="normal") as session:
        async with session.transaction() as tx:
            await tx.sql("CREATE TABLE t (a INT)")
            threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
            await (await tx.sql(sys.argv[2])).to_arrow()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
with affidavit.connect(sys.argv[1], durability="normal", busy_timeout_s=2) as session:
    session.sql("CREATE TABLE t (a INT)")
print("interrupted")
"""


@pytest.mark.slow
def test_p21_ctrl_c_in_a_loop_stops_the_statement_and_rolls_back(lake) -> None:
    assert run_python(INTERRUPTED, lake, COUNTING, anew=True) == "interrupted\n"


PROGRAM = """
import asyncio, sys, affidavit
async def main():
    session = await affidavit.aconnect(sys.argv[1], durability="normal")
    held = session.scope(actor="ann").transaction()
    tx = await held.__aenter__()
    await tx.sql("CREATE TABLE t (a INT)")
    result = await session.sql(sys.argv[2])
    asyncio.get_running_loop().create_task(result.to_arrow())
    await asyncio.sleep(0.5)
    print("done", flush=True)
asyncio.run(main())
"""


@pytest.mark.slow
def test_p21_a_program_ends_whatever_its_tasks_left_open(lake) -> None:
    assert run_python(PROGRAM, lake, COUNTING, anew=True) == "done\n"


FORKED = """
import asyncio, os, sys, affidavit
async def main():
    async with affidavit.aconnect(sys.argv[1], durability="normal") as session:
        await session.sql("SELECT 1")
        child = os.fork()
        if not child:
            try:
                await session.sql("SELECT 1")
            except affidavit.errors.ForkedError:
                os._exit(7)
            os._exit(1)
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            await asyncio.sleep(0.02)
        print(os.waitstatus_to_exitcode(ended[1]))
asyncio.run(asyncio.wait_for(main(), 60))
"""


@pytest.mark.slow
def test_p14_a_forked_child_that_awaits_gets_an_error_at_once(lake) -> None:
    assert run_python(FORKED, lake) == "7\n"
