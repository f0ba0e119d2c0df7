"""Subscriptions: the log from some event on, then whatever comes; without a gap, without a duplicate."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import affidavit
from affidavit import errors
from affidavit.catalog.topics.log import PAGE_EVENTS
from affidavit.triggers.brokers import memory
from affidavit.triggers.subscriptions import subscription as subscription_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMA = pa.schema([("id", pa.int64()), ("score", pa.float64()), ("tag", pa.string())])
SOON_S = 30.0
"""Longer than anything here takes; a test that waits so long has failed."""


@pytest.fixture
def topics(session):
    session.topics.register("t", SCHEMA)
    return session.topics


def row(number: int) -> dict[str, object]:
    return {"id": number, "score": number / 10, "tag": "abc"[number % 3]}


def publish(topics, *numbers: int) -> None:
    for number in numbers:
        topics.publish("t", row(number))


def taken(subscription, count: int) -> list[int]:
    """Return the ids of the next ``count`` events' rows."""
    found: list[int] = []
    for _ in range(count):
        delivery = subscription.next(SOON_S)
        assert delivery is not None, f"nothing came after {found}"
        found += delivery.data["id"].to_pylist()
    return found


@contextmanager
def running(*works: Callable[[], object]) -> Iterator[list[threading.Thread]]:
    """Run functions in threads while the block runs; what they raise fails the test."""
    failures: list[BaseException] = []

    def call(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    yield threads
    for thread in threads:
        thread.join(SOON_S)
        assert not thread.is_alive(), "it still waits"
    assert not failures, failures


# --- where it begins -----------------------------------------------------------------------------


def test_a_subscription_begins_where_it_is_told_to(topics) -> None:
    publish(topics, 0, 1, 2)
    first, second, _ = topics.replay("t")
    starts = {
        None: [3], "now": [3], "beginning": [0, 1, 2, 3], 0: [0, 1, 2, 3], 2: [2, 3], 3: [3],
        first.produced_at: [0, 1, 2, 3],
        second.produced_at: [1, 2, 3],
        second.produced_at + timedelta(microseconds=1): [2, 3],
        second.produced_at.astimezone().replace(tzinfo=None): [1, 2, 3],
        datetime(1970, 1, 1, tzinfo=UTC): [0, 1, 2, 3],
        datetime(2500, 1, 1, tzinfo=UTC): [3],
    }  # fmt: skip
    opened = {start: topics.subscribe("t", from_offset=start, timeout=0) for start in starts}
    publish(topics, 3)
    for start, expected in starts.items():
        assert [d.offset for d in opened[start]] == expected, start
        if start is not None and expected != [3]:
            assert [d.offset for d in topics.replay("t", from_offset=start)] == expected, start


def test_p12_a_start_that_cannot_be_is_refused(topics) -> None:
    publish(topics, 0)
    for start in (2, 10**30):
        with pytest.raises(errors.InvalidQueryError, match="beyond topic 't'"):
            topics.subscribe("t", from_offset=start)
    for start in (-1, True, 0.0, "later", "0", datetime.min, object()):
        with pytest.raises(errors.InvalidQueryError, match="from_offset"):
            topics.subscribe("t", from_offset=start)
    for timeout in (-1, "1", float("nan")):
        with pytest.raises(errors.InvalidQueryError, match="timeout"):
            topics.subscribe("t", timeout=timeout)
    for option in (
        {"ack_wait": 1},
        {"max_deliveries": 1},
        {"max_in_flight": 1},
        {"dead_letter": "x"},
    ):
        with pytest.raises(errors.InvalidQueryError, match="consumer='name'"):
            topics.subscribe("t", **option)


def test_p8_what_is_published_in_an_open_transaction_is_not_now(session, topics) -> None:
    """Its offset may be another event's, if the transaction is rolled back."""
    publish(topics, 0)
    with pytest.raises(ZeroDivisionError), session.transaction():
        publish(topics, 1)
        live = topics.subscribe("t", timeout=0)
        assert list(live) == []
        raise ZeroDivisionError
    publish(topics, 2)
    assert [d.data["id"].to_pylist() for d in live] == [[2]]


# --- replay, then live ---------------------------------------------------------------------------


def test_p8_replay_and_live_tail_meet_without_a_gap_and_without_a_duplicate(topics) -> None:
    """Subscribers come at any time while a publisher never pauses."""
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            topics.publish("t", [row(number)] * (1 + number % 3))
            number += 1

    with running(work):
        seen = []
        for turn in range(12):
            start = "beginning" if turn % 3 else "now"
            with topics.subscribe("t", from_offset=start) as live:
                seen.append((start, [live.next(SOON_S) for _ in range(10 + 8 * turn)]))
        stop.set()
    for start, deliveries in seen:
        first = 0 if start == "beginning" else deliveries[0].offset
        assert [d.offset for d in deliveries] == list(range(first, first + len(deliveries)))
        for each in deliveries:
            assert each.data["id"].to_pylist() == [each.offset] * (1 + each.offset % 3)


@pytest.mark.slow
def test_p8_eight_subscribers_with_different_predicates_lose_and_reorder_nothing(lake) -> None:
    """3,000 events in transactions of odd sizes, some rolled back, past eight subscribers."""
    wheres: list[tuple[str | None, Callable[[int], bool]]] = [
        (None, lambda n: True), ("id % 2 = 0", lambda n: n % 2 == 0), ("tag = 'a'", lambda n: n % 3 == 0),
        ("tag in ('b', 'c') and score >= 100", lambda n: n % 3 > 0 and n >= 1000),
        ("score < 5 or id > 2990", lambda n: n < 50 or n > 2990), ("tag like '%c'", lambda n: n % 3 == 2),
        ("id = 1500", lambda n: n == 1500), ("id < 0", lambda n: False),
    ]  # fmt: skip
    with affidavit.connect(lake, durability="normal") as session:
        session.topics.register("t", SCHEMA)
        done = threading.Event()
        seen: list[list[tuple[int, int]]] = [[] for _ in wheres]

        def subscriber(at: int) -> Callable[[], None]:
            live = session.topics.subscribe("t", where=wheres[at][0], timeout=0.2)

            def work() -> None:
                is_over = False
                while not is_over:
                    is_over = done.is_set()  # before looking: then all there is was seen
                    for delivery in live:
                        seen[at].extend(
                            (delivery.offset, n) for n in delivery.data["id"].to_pylist()
                        )
                live.close()

            return work

        with running(*map(subscriber, range(len(wheres)))):
            number = 0
            while number < 3000:
                many = 1 + number % 17
                with session.transaction():
                    publish(session.topics, *range(number, number + many))
                with pytest.raises(ZeroDivisionError), session.transaction():
                    publish(session.topics, -1)
                    raise ZeroDivisionError
                number += many
            done.set()
        for (_, holds), found in zip(wheres, seen, strict=True):
            assert found == [(n, n) for n in range(number) if holds(n)]


def test_p8_every_event_of_other_sessions_is_seen(lake, topics) -> None:
    live = topics.subscribe("t")
    with affidavit.connect(lake) as other, affidavit.connect(lake) as third:
        publish(other.topics, 0)
        publish(third.topics, 1)
        publish(topics, 2)
        assert taken(live, 3) == [0, 1, 2]


def test_a_slow_subscriber_blocks_no_publisher_and_loses_nothing(session, topics) -> None:
    """It holds a page of the log, and reads on from there."""
    slow = topics.subscribe("t")
    publish(topics, 0)
    assert taken(slow, 1) == [0]
    with session.transaction():
        publish(topics, *range(1, 2000))
    publish(topics, 2000)
    assert len(slow._buffer) == 0
    assert taken(slow, 1) == [1]
    assert len(slow._buffer) == PAGE_EVENTS - 1
    assert taken(slow, 1999) == list(range(2, 2001))
    assert slow.next(0) is None


def test_p8_a_broker_that_says_nothing_delays_events_and_loses_none(
    lake, monkeypatch, caplog
) -> None:
    """Neither does one that raises: that is logged once, and never the publisher's error."""
    monkeypatch.setattr(subscription_module, "POLL_S", 0.05)

    class Broken:
        fails = True

        def notify(self, channel) -> None:
            if self.fails:
                raise ConnectionError("nats://maria:secret@example.org")

        def listen(self, channel, wake):
            return lambda: None

        def close(self) -> None:
            pass

    broker = Broken()
    with affidavit.connect(lake, broker=broker) as session:
        session.topics.register("t", SCHEMA)
        with session.topics.subscribe("t") as live:
            publish(session.topics, 0, 1)
            assert taken(live, 2) == [0, 1]
            broker.fails = False
            publish(session.topics, 2)
            broker.fails = True
            publish(session.topics, 3)
            assert taken(live, 2) == [2, 3]
    warned = [record.message for record in caplog.records if "broker" in record.message]
    assert len(warned) == 2, "once for each time that it began to fail"
    assert "secret" not in caplog.text


# --- predicates ----------------------------------------------------------------------------------


def test_of_an_event_the_rows_come_for_which_the_predicate_holds(topics) -> None:
    where = "score < 0.3 and tag in ('a', 'b')"
    live = topics.subscribe("t", where=where, timeout=0)
    topics.publish("t", [row(n) for n in range(6)])
    topics.publish("t", row(5))
    topics.publish("t", [row(1), {"id": None, "score": None, "tag": None}])
    for deliveries in (list(live), list(topics.replay("t", where=where))):
        assert [(d.offset, d.data["id"].to_pylist()) for d in deliveries] == [(0, [0, 1]), (2, [1])]
        assert {d.data.schema for d in deliveries} == {SCHEMA}


REFUSED = {
    "nope = 1": "nope", "_offset > 1": "_offset", "random() < 0.5": "random", "": "empty",
    **dict.fromkeys(["score <", "id", "id = 1; DROP TABLE t", "id > now()", "id in (select 1)",
                     "count(*) > 1", "id = $1"], "refused"),
    5: "text",
}  # fmt: skip


def test_p12_a_predicate_that_cannot_be_evaluated_is_refused_when_subscribing(
    session, topics
) -> None:
    for where, word in REFUSED.items():
        for call in (
            lambda where: topics.subscribe("t", where),
            lambda where: topics.replay("t", where),
            lambda where: topics.subscribe("t", where, consumer="c"),
        ):
            with pytest.raises(errors.UnsupportedPredicateError, match=word):
                call(where)
    assert session.sql("SELECT * FROM system.consumers").to_pylist() == []
    assert len(memory._listening) == 0


def test_a_predicate_that_fails_at_an_event_loses_none(topics) -> None:
    """Asking again fails again: the page with the event was skipped without a word before."""
    topics.publish("t", [{"id": 1}])
    topics.publish("t", [{"id": 0}])
    live = topics.subscribe("t", where="10 / id > 1", from_offset=0)
    for _ in range(2):
        with pytest.raises(errors.ExecutionError, match="(?i)divi"):
            live.next(0)
    assert live._feed.position == 0


@pytest.mark.parametrize("events", [3, 30])
def test_a_predicate_that_fails_names_the_event(topics, events: int) -> None:
    """Nobody could tell where to go on, and a consumer stood still for ever."""
    for at in range(events):
        topics.publish("t", [{"id": at - 2}])
    for options in ({}, {"consumer": "c"}):
        live = topics.subscribe("t", where="10 / id > 1", from_offset=0, **options)
        with pytest.raises(errors.ExecutionError, match="event 2 of topic 't'"):
            live.next(0)
    topics.seek("t", "c", 3)
    if events > 3:
        assert live.next(0).offset == 3


# --- the end -------------------------------------------------------------------------------------


def test_iterating_ends_when_nothing_came_for_the_timeout(topics) -> None:
    live = topics.subscribe("t", timeout=0.05)
    assert list(live) == []
    publish(topics, 0)
    assert [d.offset for d in live] == [0], "it can be iterated again"
    assert live.next(0) is None
    begun = time.monotonic()
    assert live.next(0.05) is None
    assert time.monotonic() - begun >= 0.05


def test_closing_ends_whoever_waits_in_another_thread(topics) -> None:
    live = topics.subscribe("t", from_offset=0)
    publish(topics, 0, 1)
    seen: list[int] = []
    started = threading.Event()

    def work() -> None:
        for delivery in live:
            seen.append(delivery.offset)
            if len(seen) == 2:
                started.set()

    with running(work):
        assert started.wait(SOON_S)
        live.close()
    live.close()
    assert seen == [0, 1]
    assert list(live) == []
    with pytest.raises(errors.ClosedError, match="subscribe again"):
        live.next(0)
    assert "closed" in repr(live)


def test_a_subscription_is_a_context_manager(topics) -> None:
    with topics.subscribe("t", timeout=0) as live:
        publish(topics, 0)
        assert repr(live) == "Subscription('t')"
        assert len(memory._listening) == 1
        assert [d.offset for d in live] == [0]
    assert list(live) == []
    assert len(memory._listening) == 0


def test_closing_the_session_ends_its_subscriptions(lake) -> None:
    session = affidavit.connect(lake)
    session.topics.register("t", SCHEMA)
    live = [session.topics.subscribe("t"), session.topics.subscribe("t", consumer="c")]
    started = threading.Barrier(3)

    def work(subscription) -> None:
        started.wait()
        assert list(subscription) == []

    with running(*(lambda each=each: work(each) for each in live)):
        started.wait()
        session.close()
    for each in live:
        with pytest.raises(errors.ClosedError):
            each.next(0)


def test_a_subscription_that_nobody_keeps_is_no_burden(session, topics) -> None:
    """Each was kept for the life of the session, and woken at every event."""
    for _ in range(5):
        list(topics.subscribe("t", timeout=0))
    gc.collect()
    assert len(memory._listening) == 0
    assert len(session._instance.exchange._broker._ends) == 0
    publish(topics, 0)


def test_a_dropped_topic_ends_its_subscriptions_with_an_error(session, topics) -> None:
    publish(topics, 0)
    live = [topics.subscribe("t", from_offset=0), topics.subscribe("t", consumer="c")]
    assert [each.next(0).offset for each in live] == [0, 0]

    def work(subscription) -> None:
        with pytest.raises(errors.TopicNotFoundError, match="'t'"):
            subscription.next(SOON_S)

    with running(*(lambda each=each: work(each) for each in live)):
        topics.drop("t")
        topics.register("t", SCHEMA)
        publish(topics, 1)  # another topic's event
    with session.scope(tenant=None) as shared, session.scope(tenant="red") as red:
        shared.topics.register("news", SCHEMA)
        reading = red.topics.subscribe("news", consumer="c")
        assert reading.next(0) is None
        shared.topics.drop("news")
        with pytest.raises(errors.TopicNotFoundError, match="'news'"):
            reading.next(SOON_S)


def test_retention_that_overtakes_a_subscriber_says_where_to_go_on(session) -> None:
    session.topics.register("t", SCHEMA, retain_events=2)
    publish(session.topics, 0)
    live = [
        session.topics.subscribe("t", from_offset=0),
        session.topics.subscribe("t", from_offset=0, where="id > 100"),
        session.topics.subscribe("t", consumer="c"),
    ]
    publish(session.topics, *range(1, 6))
    for each in live:
        for _ in range(2):
            with pytest.raises(errors.OffsetEvictedError, match="'t'") as evicted:
                each.next(0)
            assert evicted.value.first_offset == 4
    session.topics.seek("t", "c", "beginning")
    assert taken(live[2], 2) == [4, 5]


INTERRUPTED = """
import asyncio, signal, sys, affidavit, pyarrow as pa
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever starts tests may ignore
with affidavit.connect(sys.argv[1]) as session:
    session.topics.register("t", pa.schema([("id", pa.int64())]))
    session.topics.publish("t", {"id": 1})
    live = session.topics.subscribe("t", from_offset=0, consumer=sys.argv[3] or None)

    def ready():
        print("waiting", flush=True)

    async def iterate():
        async for delivery in live:
            delivery.ack()
            asyncio.get_running_loop().call_later(0.05, ready)
    try:
        if sys.argv[2] == "async":
            asyncio.run(iterate())
        else:
            for delivery in live:
                delivery.ack()
                ready()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
print("closed", flush=True)
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.slow
def test_ctrl_c_while_waiting_ends_cleanly(lake, kind: str) -> None:
    consumer = "c" if kind == "async" else ""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", INTERRUPTED, str(lake), kind, consumer],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=SOON_S)
    assert said.split() == ["interrupted", "closed"], complaints
    assert process.returncode == 0
    assert "Traceback" not in complaints


# --- asynchronous --------------------------------------------------------------------------------


def test_an_async_iterator_gets_what_was_and_what_comes(topics) -> None:
    publish(topics, 0, 1)

    async def main() -> list[int]:
        seen = []
        async for delivery in topics.subscribe("t", from_offset=0, timeout=SOON_S):
            seen.append(delivery.offset)
            if delivery.offset == 1:
                threading.Timer(0.02, publish, (topics, 2)).start()
            if delivery.offset == 2:
                await asyncio.to_thread(publish, topics, 3)
            if delivery.offset == 3:
                break
        return seen

    assert asyncio.run(main()) == [0, 1, 2, 3]


def test_an_async_iterator_ends_by_timeout_and_by_closing(session, topics) -> None:
    async def main() -> None:
        assert [d async for d in topics.subscribe("t", timeout=0.02)] == []
        live, also = topics.subscribe("t"), topics.subscribe("t", consumer="c")

        async def wait(subscription) -> list[object]:
            return [d async for d in subscription]

        waiting = [asyncio.create_task(wait(each)) for each in (live, also)]
        await asyncio.sleep(0.02)
        threading.Thread(target=live.close).start()
        also.close()
        assert await asyncio.wait_for(asyncio.gather(*waiting), SOON_S) == [[], []]

    asyncio.run(main())


def test_p8_a_task_that_is_cancelled_while_it_takes_an_event_loses_none(
    topics, monkeypatch
) -> None:
    """The event was in the hands of a thread that nobody waited for any more."""
    live = topics.subscribe("t", timeout=0)
    fetch, taking, go_on = live._feed.fetch, threading.Event(), threading.Event()

    def held() -> object:
        taking.set()
        go_on.wait(SOON_S)
        return fetch()

    async def main() -> list[int]:
        monkeypatch.setattr(live._feed, "fetch", held)
        publish(topics, 0, 1)
        task = asyncio.create_task(anext(live))
        await asyncio.to_thread(taking.wait, SOON_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        return [d.offset async for d in live]

    assert asyncio.run(main()) == [0, 1]


def test_p8_taking_events_with_a_short_patience_loses_none(topics) -> None:
    live = topics.subscribe("t")

    async def main() -> list[int]:
        seen: list[int] = []
        publishing = asyncio.to_thread(publish, topics, *range(30))
        task = asyncio.create_task(publishing)
        while len(seen) < 30:
            try:
                seen.append((await asyncio.wait_for(anext(live), 0.001)).offset)
            except TimeoutError:
                await asyncio.sleep(0)
        await task
        return seen

    assert asyncio.run(asyncio.wait_for(main(), SOON_S)) == list(range(30))


# --- what is delivered ---------------------------------------------------------------------------


def test_a_delivery_says_what_it_is(session, topics) -> None:
    before = datetime.now(UTC)
    live = topics.subscribe("t")
    publish(topics, 0)
    delivery = live.next(0)
    assert (delivery.topic, delivery.tenant, delivery.offset, delivery.attempts) == (
        "t",
        "default",
        0,
        1,
    )
    assert before - timedelta(seconds=1) < delivery.produced_at < datetime.now(UTC)
    assert delivery.produced_at.tzinfo == UTC
    assert delivery.data is delivery.data
    assert repr(delivery).startswith("Delivery('t', offset=0, produced_at=20")
    delivery.ack()
    delivery.nak()
    delivery.term()  # without a consumer they do nothing
    assert live.next(0) is None
    assert session.sql("SELECT * FROM system.consumers").to_pylist() == []
