"""An interrupt, wherever it comes in the store's transaction, leaves nothing open."""

from __future__ import annotations

import signal
import sqlite3
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.beside import BUSY, beside

import affidavit
from affidavit.catalog import store as store_room
from affidavit.catalog.store.settled import Baton, Lines, settled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ROOM = str(Path(store_room.__file__).resolve().parent)
EVENTS_MAX = 2_000


def is_locked(lake: Path) -> bool:
    """Return whether somebody holds the lock of those who write, and goes on holding it."""
    with beside(lake, timeout_s=1) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except BUSY:
            return True
    return False


class Interrupter:
    """Raises KeyboardInterrupt where one of the store's functions begins, or one in C returns."""

    def __init__(self, at: int) -> None:
        self._left = at
        self.came = False

    def __call__(self, frame: FrameType, event: str, _called: object) -> None:
        if event not in {"call", "c_return"}:  # the handler of a signal runs nowhere else
            return
        if not str(Path(frame.f_code.co_filename).resolve()).startswith(ROOM):
            return
        names = {each.f_code.co_name for each in (frame, frame.f_back) if each is not None}
        if "__del__" in names:  # what is raised there is nobody's
            return
        self._left -= 1
        if self._left == 0:
            sys.setprofile(None)
            self.came = True
            raise KeyboardInterrupt


def interrupted(at: int, table: affidavit.MutableTable) -> bool:
    """Insert a row, and be interrupted at the call; return whether the interrupt came."""
    interrupter = Interrupter(at)
    sys.setprofile(interrupter)
    try:
        table.insert([{"id": at}])
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return interrupter.came


@pytest.mark.slow
def test_p21_an_interrupt_at_any_call_of_the_stores_transaction_leaves_no_lock(lake) -> None:
    """Between BEGIN and the block that would have rolled back, it used to leave the lake locked."""
    with affidavit.connect(
        lake, durability="normal", busy_timeout_s=1, audit="searches"
    ) as session:
        session.sql("CREATE TABLE t (id BIGINT)")
        session.sql("INSERT INTO t VALUES (0)")
        table, came, kept = session.table("t"), 0, 0
        for at in range(1, EVENTS_MAX, 2):
            before = table.count()
            if not interrupted(at, table):
                break
            came += 1
            assert not is_locked(lake), f"locked after call {at}"
            added = table.count() - before
            assert added in {0, 1}
            kept += added
            assert session.sql("UPDATE t SET id = 0 WHERE id = -1").rows_affected == 0
        assert came > 30
        assert table.count() == 2 + kept
        assert session.ledger.verify()


INTERRUPTS = 25


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Let SIGINT interrupt, which the workers that tests run in ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("interrupts")
def test_p21_real_signals_leave_no_lock(lake) -> None:
    with affidavit.connect(lake, durability="normal", busy_timeout_s=2) as session:
        session.sql("CREATE TABLE t (id BIGINT)")
        table, came, done = session.table("t"), 0, 0
        for turn in range(INTERRUPTS):
            wait_s = 0.0005 * (turn % 20)
            timer = threading.Timer(wait_s, signal.raise_signal, [signal.SIGINT])
            try:
                timer.start()
                for _ in range(200):
                    table.insert([{"id": turn}])
                    done += 1
            except KeyboardInterrupt:
                came += 1
            with suppress(KeyboardInterrupt):
                timer.join()
                time.sleep(0.001)
            assert not is_locked(lake)
        assert came > INTERRUPTS // 2
        assert done <= table.count() <= done + came
        assert session.ledger.verify()


def test_p21_an_interrupt_while_a_turn_is_taken_leaves_it_to_others(lake) -> None:
    with affidavit.connect(lake, durability="normal", busy_timeout_s=1) as session:
        session.sql("CREATE TABLE t (id BIGINT)")
        table, came = session.table("t"), 0
        for at in range(1, EVENTS_MAX):
            with session.scope() as mine:
                mine.sql("BEGIN")
                interrupter = Interrupter(at)
                sys.setprofile(interrupter)
                with suppress(KeyboardInterrupt):
                    mine.table("t").count()
                sys.setprofile(None)
                with ThreadPoolExecutor(1) as pool:
                    assert pool.submit(mine.sql, "SELECT 1").result().num_rows == 1
                    pool.submit(mine.sql, "ROLLBACK").result()
            if not interrupter.came:
                break
            came += 1
        assert came > 10
        assert table.count() == 0


@pytest.mark.sqlite("its writer has one connection")
def test_a_begin_that_failed_closes_its_connection(lake) -> None:
    with (
        affidavit.connect(lake, durability="normal", busy_timeout_s=0.1) as one,
        closing(sqlite3.connect(lake / "catalog.db", isolation_level=None)) as other,
    ):
        one.sql("CREATE TABLE t (id BIGINT)")
        store = one._instance.lake.store._inner
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(affidavit.errors.StoreBusyError):
            one.sql("INSERT INTO t VALUES (1)")
        assert store._writer is None
        other.execute("ROLLBACK")
        assert one.sql("INSERT INTO t VALUES (1)").rows_affected == 1


def test_p15_who_writes_again_and_again_lets_another_session_in_between(lake) -> None:
    with (
        affidavit.connect(lake, durability="normal") as one,
        affidavit.connect(lake, durability="normal") as other,
    ):
        one.sql("CREATE TABLE t (id BIGINT)")
        busy, mine = one._instance.lake.store, other._instance.lake.store
        taken, is_done = [0], threading.Event()

        def write_on() -> None:
            while not is_done.is_set():
                with busy.write("default"):
                    taken[0] += 1
                    time.sleep(0.002)

        writer = threading.Thread(target=write_on)
        writer.start()
        passed = []
        try:
            for _ in range(20):
                time.sleep(0.005)
                before = taken[0]
                with mine.write("default"):
                    passed.append(taken[0] - before)
        finally:
            is_done.set()
            writer.join()
        assert statistics.median(passed) <= 2  # the one under way, and the one whose turn it was


def test_p15_a_session_that_waits_for_another_s_writes_gives_up_in_time(lake) -> None:
    with (
        affidavit.connect(lake, busy_timeout_s=0.1) as one,
        affidavit.connect(lake) as other,
    ):
        other.sql("CREATE TABLE t (id BIGINT)")
        with other.transaction(immediate=True), pytest.raises(affidavit.errors.StoreBusyError):
            one.sql("INSERT INTO t VALUES (1)")
        assert one.sql("INSERT INTO t VALUES (1)").rows_affected == 1


def test_a_baton_that_is_lost_is_free_again() -> None:
    baton = Baton()
    held = baton.take(0.1)
    assert held is not None
    assert baton.take(0.01) is None
    threading.Thread(target=held.give_back).start()
    again = baton.take(5)
    assert again is not None
    held.give_back()  # a second time is nothing
    assert baton.take(0.01) is None
    del again
    assert baton.take(0.1) is not None


def test_a_block_that_is_not_entered_is_left() -> None:
    left: list[str] = []

    @settled
    def block() -> Iterator[int]:
        try:
            yield 1
        finally:
            left.append("left")

    with block() as one:
        assert one == 1
    assert left == ["left"]
    made = block()
    with pytest.raises(KeyboardInterrupt) as kept:
        sys.setprofile(_at_return_of_next)
        made.__enter__()
    sys.setprofile(None)
    assert left == ["left", "left"]
    assert kept.tb is not None


def _at_return_of_next(_: FrameType, event: str, called: object) -> None:
    if event == "c_return" and getattr(called, "__name__", "") == "next":
        sys.setprofile(None)
        raise KeyboardInterrupt


def test_p15_a_tenant_with_many_writers_keeps_another_waiting_for_one() -> None:
    """Writers were served in the order of their coming, so that one waited for all of another's."""
    lines, order = Lines(), []
    held = lines.take("busy", 1)
    threads = []
    for at in range(13):
        name = "quiet" if at == 12 else "busy"

        def write(name: str = name) -> None:
            mine = lines.take(name, 30)
            order.append(name)
            time.sleep(0.02)
            mine.give_back()

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        time.sleep(0.05)  # so that each waits when the next comes
    held.give_back()
    for thread in threads:
        thread.join()
    assert order.index("quiet") < 6  # no queue of Python's promises the order of two that wait
    assert sorted(order) == ["busy"] * 12 + ["quiet"]


def test_p15_a_place_in_a_line_is_left_in_time() -> None:
    lines = Lines()
    held = lines.take("a", 1)
    assert lines.take("a", 0.01) is None
    assert lines.take("b", 0.01) is None
    held.give_back()
    for name in ("a", "b"):
        again = lines.take(name, 1)
        assert again is not None
        again.give_back()
