"""A plan that runs: its batches, and how it is stopped while nothing comes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from datafusion import SessionConfig, SessionContext
from tests.support.waiting import eventually

from affidavit.engine.plan.running import RunningPlan
from affidavit.engine.plan.workers import start_workers

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON_S = 10
COUNTING = "SELECT count(*) FROM generate_series(1, 400000000000) t(a) WHERE a % 7 = 3"
SORTING = "SELECT a FROM generate_series(1, 4000000000) t(a) ORDER BY a % 7919 LIMIT 5"
GROUPING = "SELECT a % 7, count(*) FROM generate_series(1, 40000000000) t(a) GROUP BY 1"
JOINING = (
    "SELECT count(*) FROM generate_series(1, 20000) a, generate_series(1, 20000) b "
    "WHERE (a.value * b.value) % 7 = 1"
)
"""Gives no way for seconds, and stops for nobody."""


@pytest.fixture(autouse=True, scope="module")
def _workers() -> None:
    start_workers()


def plan(text: str, **settings: str) -> RunningPlan:
    context = SessionContext(SessionConfig(settings))
    return RunningPlan(context.sql(text).execute_stream())


def batches(running: RunningPlan) -> Iterator[list[dict[str, object]]]:
    while (batch := running.next()) is not None:
        yield batch.to_pylist()


def idle() -> bool:
    """Return whether this process computes next to nothing."""
    before = time.process_time()
    time.sleep(0.5)
    return time.process_time() - before < 0.15


def test_batches_come_in_order_and_then_none() -> None:
    running = plan("SELECT 1 AS a")
    assert list(batches(running)) == [[{"a": 1}]]
    assert running.next() is None
    assert not running.is_stopped


def test_every_batch_comes() -> None:
    running = plan("SELECT * FROM generate_series(1, 50000)", **{
        "datafusion.execution.batch_size": "1000", "datafusion.execution.target_partitions": "1",
    })  # fmt: skip
    found = [row["value"] for batch in batches(running) for row in batch]
    assert found == list(range(1, 50001))


def test_what_datafusion_raises_is_raised() -> None:
    running = plan("SELECT CAST(value AS INT) / 0 FROM generate_series(1, 2)")
    with pytest.raises(Exception, match="Divide by zero"):
        running.next()


@pytest.mark.parametrize("text", [COUNTING, SORTING, GROUPING, JOINING])
def test_another_thread_ends_the_wait(text: str) -> None:
    running = plan(text)
    threading.Timer(0.3, running.stop).start()
    began = monotonic()
    assert running.next() is None
    assert monotonic() - began < SOON_S
    assert running.is_stopped


@pytest.mark.parametrize("text", [COUNTING, SORTING, GROUPING])
def test_a_plan_that_is_stopped_computes_no_more(text: str) -> None:
    eventually(idle, "another test's plan computes")
    running = plan(text)
    threading.Timer(0.5, running.stop).start()
    assert running.next() is None
    eventually(idle, "it computes on", seconds=20)
    eventually(lambda: not running.is_left)


def test_a_stopped_plan_gives_nothing_more() -> None:
    running = plan("SELECT 1")
    running.stop()
    assert running.next() is None
    running.stop()


def test_a_deadline_ends_the_wait_alone() -> None:
    running = plan("SELECT count(*) AS n FROM generate_series(1, 30000000) t(a) WHERE a % 7 = 3")
    with pytest.raises(TimeoutError):
        running.next(monotonic())
    assert list(batches(running)) == [[{"n": 4285714}]]


def test_it_is_asked_within_a_running_loop_and_leaves_it_be() -> None:
    async def ask() -> list[list[dict[str, object]]]:
        found = list(batches(plan("SELECT 1 AS a")))
        await asyncio.sleep(0)
        return found

    assert asyncio.run(ask()) == [[{"a": 1}]]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_an_interrupt_gets_through_to_who_waits_for_a_join() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    running = plan(JOINING)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            running.next()
    finally:
        timer.join()
        running.stop()
        signal.signal(signal.SIGINT, before)
    assert monotonic() - began < SOON_S


def test_many_threads_ask_their_plans_at_once() -> None:
    found = []

    def ask(number: int) -> None:
        for _ in range(20):
            found.extend(batches(plan(f"SELECT {number} AS a")))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each[0]["a"] for each in found) == sorted(list(range(16)) * 20)
