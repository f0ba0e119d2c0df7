"""Named consumers: a durable position, shared by workers; each event until it is settled."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter

import pyarrow as pa
import pytest
from tests.support.processes import Child

import affidavit
from affidavit import errors
from affidavit.triggers.subscriptions import consumer as consumer_module

SCHEMA = pa.schema([("id", pa.int64()), ("tag", pa.string())])
SOON_S = 30.0
"""Longer than anything here takes; a test that waits so long has failed."""


@pytest.fixture
def topics(session):
    session.topics.register("t", SCHEMA)
    return session.topics


class Clock:
    """The consumers' clocks, in seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def now_us(self) -> int:
        return int(self.now_s * 1_000_000)

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(consumer_module, "clock", made)
    monkeypatch.setattr(consumer_module, "monotonic", made.monotonic)
    return made


def publish(topics, *numbers: int, name: str = "t") -> None:
    for number in numbers:
        topics.publish(name, {"id": number, "tag": "ab"[number % 2]})


def taken(subscription, count: int) -> list[affidavit.Delivery]:
    found = [subscription.next(SOON_S) for _ in range(count)]
    assert None not in found, "there are not so many"
    return found


def offsets(deliveries) -> list[int]:
    return [delivery.offset for delivery in deliveries]


def rest(subscription) -> list[int]:
    """Acknowledge whatever there is now, and return the offsets."""
    found = []
    while (delivery := subscription.next(0)) is not None:
        delivery.ack()
        found.append(delivery.offset)
    return found


def status(session, *columns: str) -> list[tuple[object, ...]]:
    query = f"SELECT {', '.join(columns)} FROM system.consumers ORDER BY topic, name"
    return [tuple(row.values()) for row in session.sql(query)]


# --- the position --------------------------------------------------------------------------------


def test_p8_a_consumer_goes_on_where_it_was(lake) -> None:
    for opening in range(3):
        with affidavit.connect(lake) as session:
            session.topics.register("t", SCHEMA)
            publish(session.topics, *range(4))
            worker = session.topics.subscribe("t", consumer="c")
            expected = list(range(max(0, 4 * opening - 1), 4 * opening + 4))
            found = taken(worker, len(expected))
            assert offsets(found) == expected
            for delivery in found[:-1]:
                delivery.ack()
            assert worker.next(0) is None
            assert status(session, "position", "unsettled", "lag") == [(expected[-1], 1, 1)]
            found[-1].nak()


def test_a_new_consumer_begins_at_the_beginning_or_where_it_is_told(session, topics) -> None:
    publish(topics, 0, 1, 2)
    assert rest(topics.subscribe("t", consumer="all")) == [0, 1, 2]
    assert rest(topics.subscribe("t", consumer="late", from_offset=2)) == [2]
    assert rest(topics.subscribe("t", consumer="new", from_offset="now")) == []
    publish(topics, 3)
    again = topics.subscribe("t", consumer="new", from_offset="beginning")
    assert rest(again) == [3], "one that is there goes on where it was"


def test_consumers_do_not_know_of_each_other(session, topics) -> None:
    publish(topics, 0, 1)
    first, second = (topics.subscribe("t", consumer=name) for name in ("a", "b"))
    assert rest(first) == [0, 1]
    assert status(session, "name", "lag") == [("a", 0), ("b", 2)]
    assert rest(second) == [0, 1]


def test_lag_counts_what_is_not_settled_and_was_not_let_go(session) -> None:
    session.topics.register("t", SCHEMA, retain_events=3)
    publish(session.topics, 0, 1, 2)
    worker = session.topics.subscribe("t", consumer="c", where="id >= 0")
    columns = ("topic", "name", "predicate", "position", "lag")
    assert status(session, *columns) == [("t", "c", "id >= 0", 0, 3)]
    (first,) = taken(worker, 1)
    assert status(session, "position", "unsettled", "lag") == [(0, 1, 3)]
    first.ack()
    assert status(session, "position", "unsettled", "lag") == [(1, 0, 2)]
    publish(session.topics, *range(3, 10))
    assert status(session, "lag") == [(3,)]


# --- settling ------------------------------------------------------------------------------------


def test_an_event_comes_until_it_is_acknowledged(topics, clock) -> None:
    publish(topics, 0, 1)
    worker = topics.subscribe("t", consumer="c", ack_wait=10)
    first, second = taken(worker, 2)
    assert (first.attempts, second.attempts) == (1, 1)
    second.ack()
    clock.now_s += 9
    assert worker.next(0) is None
    clock.now_s += 2
    (again,) = taken(worker, 1)
    assert (again.offset, again.attempts) == (0, 2)
    first.ack()  # late, and dealt with all the same
    clock.now_s += 100
    assert worker.next(0) is None


def test_nak_asks_for_it_again_at_once_or_later(topics, clock) -> None:
    publish(topics, 0, 1)
    worker = topics.subscribe("t", consumer="c")
    (first,) = taken(worker, 1)
    first.nak()
    first.nak(1000)  # it is no longer this delivery's
    assert offsets(taken(worker, 2)) == [0, 1]
    clock.now_s += 31
    first, second = taken(worker, 2)
    first.nak(5)
    second.ack()
    assert worker.next(0) is None
    clock.now_s += 5
    (again,) = taken(worker, 1)
    assert (again.offset, again.attempts) == (0, 4)
    for delay in (-1, "1", True, None, float("nan"), float("inf"), 1e300):
        with pytest.raises(errors.InvalidQueryError, match="delay"):
            again.nak(delay)
    again.ack()
    again.nak()
    assert worker.next(0) is None


def test_what_comes_again_comes_before_what_is_new(topics, clock) -> None:
    publish(topics, *range(6))
    worker = topics.subscribe("t", consumer="c", max_in_flight=3)
    found = taken(worker, 3)
    assert worker.next(0) is None, "so many may be unsettled"
    for delivery in reversed(found):
        delivery.nak()
    assert rest(worker) == [0, 1, 2, 3, 4, 5]


def test_p8_acknowledging_is_part_of_the_transaction(session, topics) -> None:
    session.sql("CREATE TABLE done (id BIGINT PRIMARY KEY)")
    publish(topics, 0, 1, 2)
    worker = topics.subscribe("t", consumer="c")
    first, second, third = taken(worker, 3)
    with session.transaction():
        first.ack()
        session.sql("INSERT INTO done VALUES (0)")
    with pytest.raises(errors.ConstraintError), session.transaction():
        second.ack()
        third.term()
        session.sql("INSERT INTO done VALUES (0)")
    assert status(session, "position", "unsettled") == [(1, 2)]
    assert [topic.name for topic in topics.list()] == ["t"], "its letter was rolled back too"
    second.ack()
    third.ack()
    assert status(session, "lag") == [(0,)]


def test_p8_taking_is_part_of_the_transaction_and_sees_only_what_is_committed(
    session, topics
) -> None:
    publish(topics, 0, 1)
    worker = topics.subscribe("t", consumer="c")
    with pytest.raises(ZeroDivisionError), session.transaction():
        publish(topics, 2)
        assert rest(worker) == [0, 1]
        raise ZeroDivisionError
    publish(topics, 3)
    assert [d.data["id"].to_pylist() for d in taken(worker, 3)] == [[0], [1], [3]]


# --- dead letters --------------------------------------------------------------------------------


def test_an_event_that_nobody_takes_goes_to_the_dead_letters(session, topics, clock) -> None:
    topics.publish("t", [{"id": 7, "tag": "x"}, {"id": None, "tag": "y"}])
    publish(topics, 1, 2, 3)
    worker = topics.subscribe("t", consumer="c", max_deliveries=2, ack_wait=10)
    failed, silent, given_up, fine = taken(worker, 4)
    failed.nak(reason="the first time")
    given_up.term("not for me")
    fine.ack()
    clock.now_s += 11
    failed, silent = taken(worker, 2)
    assert failed.attempts == silent.attempts == 2
    failed.nak(reason="the second time")
    clock.now_s += 11
    assert worker.next(0) is None
    letters = [each.data.to_pylist() for each in topics.replay("dead.t.c")]
    told = {"dead_consumer": "c", "dead_attempts": 2}
    assert letters == [
        [{"dead_offset": 2, "dead_consumer": "c", "dead_attempts": 1, "dead_reason": "not for me", "id": 2, "tag": "a"}],
        [
            {"dead_offset": 0, **told, "dead_reason": "the second time", "id": 7, "tag": "x"},
            {"dead_offset": 0, **told, "dead_reason": "the second time", "id": None, "tag": "y"},
        ],
        [{"dead_offset": 1, **told, "dead_reason": "it was not acknowledged in time", "id": 1, "tag": "b"}],
    ]  # fmt: skip
    assert status(session, "lag", "dead_letter") == [(0, "dead.t.c")]
    assert topics.get("dead.t.c").metadata == {"dead_letters_of": "t"}


def test_p8_no_event_is_given_up_that_nobody_was_given(topics, clock) -> None:
    """What slow workers held in advance used to count as delivered, each time that it ran out."""
    publish(topics, *range(20))
    workers = [topics.subscribe("t", consumer="c", max_deliveries=1, ack_wait=10) for _ in range(2)]
    given: Counter[int] = Counter()
    for turn in range(400):
        delivery = workers[turn % 2].next(0)
        if delivery is not None:
            given[delivery.offset] += 1
            assert delivery.attempts == 1
            if turn % 3:
                delivery.ack()
        if turn % 5 == 0:
            clock.now_s += 11
    assert given == Counter(range(20))
    letters = {
        row["dead_offset"] for each in topics.replay("dead.t.c") for row in each.data.to_pylist()
    }
    assert letters < set(range(20))


def test_letters_go_where_they_are_told_to_with_a_reason_of_bounded_length(topics) -> None:
    publish(topics, 0)
    worker = topics.subscribe("t", consumer="c", dead_letter="grave.yard")
    taken(worker, 1)[0].term("x" * 10_000)
    (letter,) = topics.replay("grave.yard")
    assert letter.data["dead_reason"].to_pylist() == ["x" * consumer_module.REASON_LENGTH_MAX]
    reading = topics.subscribe("grave.yard", consumer="c")
    taken(reading, 1)[0].term()
    (again,) = topics.replay("dead.grave.yard.c")
    assert again.data.schema.names == [
        *(f"dead_{n}" for n in ("offset", "consumer", "attempts", "reason")),
        "id",
        "tag",
    ]


def test_p12_a_topic_that_cannot_take_the_letters_is_refused_and_loses_none(
    session, topics
) -> None:
    topics.register("other", pa.schema([("x", pa.int8())]))
    with pytest.raises(
        errors.SchemaConflictError, match="'other' cannot take the dead letters of 't'"
    ):
        topics.subscribe("t", consumer="c", dead_letter="other")
    for bad in ("t", "affidavit.dead", "", "a..b", 5):
        with pytest.raises(errors.AffidavitError):
            topics.subscribe("t", consumer="c", dead_letter=bad)
    assert status(session, "name") == []
    publish(topics, 0, 1)
    worker = topics.subscribe("t", consumer="c", max_deliveries=1)
    topics.register("dead.t.c", SCHEMA)  # afterwards
    (first,) = taken(worker, 1)
    with pytest.raises(errors.SchemaConflictError):
        first.term()
    topics.drop("dead.t.c")
    first.term()
    assert rest(worker) == [1]
    assert [d.data["dead_offset"].to_pylist() for d in topics.replay("dead.t.c")] == [[0]]


# --- workers -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_p8_workers_in_threads_share_the_events(lake) -> None:
    """Four workers, two sessions: each event to one of them, and to each in order."""
    with (
        affidavit.connect(lake, durability="normal") as one,
        affidavit.connect(lake, durability="normal") as two,
    ):
        one.topics.register("t", SCHEMA)
        seen: list[list[int]] = [[] for _ in range(4)]
        done = threading.Event()

        def work(at: int) -> None:
            session = (one, two)[at % 2]
            with session.topics.subscribe("t", consumer="c") as worker:
                while not (done.is_set() and status(session, "lag") == [(0,)]):
                    delivery = worker.next(0.02)
                    if delivery is not None:
                        seen[at].append(delivery.offset)
                        delivery.ack()

        threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        with one.scope() as publisher:
            for start in range(0, 400, 40):
                with publisher.transaction():
                    publish(publisher.topics, *range(start, start + 40))
        done.set()
        for thread in threads:
            thread.join(SOON_S)
            assert not thread.is_alive()
        assert sorted(offset for each in seen for offset in each) == list(range(400))
        assert all(each == sorted(each) for each in seen)


WORKER = """
import sys, affidavit
with affidavit.connect(sys.argv[1], durability="normal") as session:
    with session.topics.subscribe("t", consumer="c", timeout=2) as worker:
        for delivery in worker:
            print(delivery.offset, delivery.attempts, flush=True)
            if sys.argv[2] == "hang":
                sys.stdin.read()
            delivery.ack()
"""


@pytest.mark.crash
def test_p8_what_a_killed_worker_had_comes_to_another(lake) -> None:
    """Three processes, one of which is killed with an event in hand: all are dealt with."""
    with affidavit.connect(lake, durability="normal") as session:
        session.topics.register("t", SCHEMA)
        session.topics.subscribe("t", consumer="c", ack_wait=1).close()
        publish(session.topics, *range(100))
        killed = Child(WORKER, lake, "hang")
        held = int(killed.stdout.readline().split()[0])
        others = [Child(WORKER, lake, "work") for _ in range(2)]
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        told = [process.communicate(timeout=60)[0].splitlines() for process in others]
        assert [process.returncode for process in others] == [0, 0]
        attempts = {int(line.split()[0]): int(line.split()[1]) for lines in told for line in lines}
        assert sorted(attempts) == list(range(100))
        assert attempts[held] >= 2
        assert status(session, "lag") == [(0,)]


def test_what_a_worker_never_handed_out_goes_to_others_when_it_closes(topics, clock) -> None:
    publish(topics, *range(10))
    first = topics.subscribe("t", consumer="c")
    taken(first, 4)  # it holds more by now
    assert len(first._buffer) > 0
    first.close()
    other = topics.subscribe("t", consumer="c")
    assert [(d.offset, d.attempts) for d in taken(other, 6)] == [(n, 1) for n in range(4, 10)]


def test_a_slow_worker_keeps_what_it_holds_and_a_dead_one_does_not(topics, clock) -> None:
    """A lease begins anew when its event is handed out, if nobody else has it by then."""
    publish(topics, *range(7))
    worker = topics.subscribe("t", consumer="c", ack_wait=10)
    for number in range(7):  # it takes 1, 2 and then 4 at once, and is slow only now
        (delivery,) = taken(worker, 1)
        assert (delivery.offset, delivery.attempts) == (number, 1)
        if number >= 3:
            clock.now_s += 9
        delivery.ack()
    publish(topics, *range(7, 14))
    holding = topics.subscribe("t", consumer="c")
    assert offsets(taken(holding, 4)) == [7, 8, 9, 10]
    clock.now_s += 11
    quick = topics.subscribe("t", consumer="c")
    assert rest(quick) == list(range(7, 14))
    assert holding.next(0) is None, "the others have it"


def test_a_slow_worker_takes_one_at_a_time(topics, clock) -> None:
    publish(topics, *range(12))
    slow, other = (topics.subscribe("t", consumer="c") for _ in range(2))
    for number in range(3):
        clock.now_s += 1
        assert offsets(taken(slow, 1)) == [number]
    assert rest(other) == list(range(3, 12))


# --- settings, seek, drop ------------------------------------------------------------------------


def test_p12_conflicting_settings_are_refused_by_name(session, topics) -> None:
    made = {
        "where": "id > 0",
        "ack_wait": 5.0,
        "max_deliveries": 3,
        "max_in_flight": 7,
        "dead_letter": "dead",
    }
    topics.subscribe("t", consumer="c", **made)
    topics.subscribe("t", consumer="c", **made)
    topics.subscribe("t", consumer="c")
    for name, other in (
        ("where", "id > 1"),
        ("ack_wait", 6),
        ("max_deliveries", 4),
        ("max_in_flight", 8),
        ("dead_letter", "d"),
    ):
        with pytest.raises(errors.ConsumerConflictError, match=rf"'c' of topic 't' has {name}"):
            topics.subscribe("t", consumer="c", **{name: other})
    for name, bad in {
        "ack_wait": [0, -1, "1", True, float("inf"), float("nan"), 1e300],
        "max_deliveries": [0, -1, 1.5, True, 2**80],
        "max_in_flight": [0, "1", 2**80],
    }.items():
        for value in bad:
            with pytest.raises(errors.InvalidQueryError, match=name):
                topics.subscribe("t", consumer="d", **{name: value})
    for name in ("", "a.b", "x" * 129, 5, "\ud800", "a\x00b"):
        with pytest.raises(errors.InvalidNameError):
            topics.subscribe("t", consumer=name)
    topics.register("x" * 80, SCHEMA)
    with pytest.raises(errors.InvalidNameError):
        topics.subscribe("x" * 80, consumer="y" * 80)  # its letters' topic could not be named
    assert status(session, "name", "max_in_flight") == [("c", 7)]


def test_seek_moves_a_consumer_back_and_forth(session, topics, clock) -> None:
    publish(topics, *range(5))
    worker = topics.subscribe("t", consumer="c")
    taken(worker, 5)[0].nak(1000)
    topics.seek("t", "c", 3)
    assert rest(worker) == [3, 4]
    topics.seek("t", "c", "beginning")
    assert [d.attempts for d in taken(worker, 2)] == [1, 1]
    topics.seek("t", "c", "now")
    assert rest(worker) == []
    topics.seek("t", "c", next(topics.replay("t", from_offset=4)).produced_at)
    assert rest(worker) == [4]
    with pytest.raises(ZeroDivisionError), session.transaction():
        topics.seek("t", "c", 0)
        raise ZeroDivisionError
    assert rest(worker) == []
    with pytest.raises(errors.InvalidQueryError, match="beyond"):
        topics.seek("t", "c", 6)
    for call in (lambda: topics.seek("t", "nope", 0), lambda: topics.drop_consumer("t", "nope")):
        with pytest.raises(errors.ConsumerNotFoundError, match="'nope'"):
            call()


def test_seek_takes_back_what_a_worker_holds(topics) -> None:
    publish(topics, *range(8))
    worker = topics.subscribe("t", consumer="c")
    assert offsets(taken(worker, 4)) == [0, 1, 2, 3]
    assert len(worker._buffer) > 0
    topics.seek("t", "c", 1)
    assert rest(worker) == list(range(1, 8))


def test_seek_wakes_who_waits(topics) -> None:
    publish(topics, 0)
    worker = topics.subscribe("t", consumer="c")
    assert rest(worker) == [0]
    threading.Timer(0.02, topics.seek, ("t", "c", 0)).start()
    assert offsets(taken(worker, 1)) == [0]


def test_p12_seek_to_what_was_let_go_names_the_first_that_is_kept(session) -> None:
    session.topics.register("t", SCHEMA, retain_events=2)
    publish(session.topics, *range(5))
    session.topics.subscribe("t", consumer="c")
    with pytest.raises(errors.OffsetEvictedError) as evicted:
        session.topics.seek("t", "c", 2)
    assert evicted.value.first_offset == 3


def test_retention_takes_what_nobody_settled(session, clock) -> None:
    session.topics.register("t", SCHEMA, retain_events=2)
    publish(session.topics, 0, 1)
    worker = session.topics.subscribe("t", consumer="c")
    taken(worker, 2)
    publish(session.topics, 2)
    clock.now_s += 31
    assert rest(worker) == [1, 2]
    assert status(session, "unsettled", "lag") == [(0, 0)]


def test_a_consumer_made_anew_is_another(session, topics) -> None:
    """A worker of the one that was dropped used to take the new one's events, and lose them."""
    publish(topics, 0, 1)
    old = topics.subscribe("t", consumer="c")
    (held,) = taken(old, 1)
    topics.drop_consumer("t", "c")
    assert status(session, "name") == []
    new = topics.subscribe("t", consumer="c")
    with pytest.raises(errors.ConsumerConflictError, match="'c' of topic 't' was dropped"):
        old.next(0)
    held.ack()
    assert rest(new) == [0, 1]


# --- predicates and tenants ----------------------------------------------------------------------


def test_a_consumer_with_a_predicate_passes_over_the_rest(session, topics, clock) -> None:
    topics.publish("t", [{"id": n, "tag": "x"} for n in range(3)])
    with session.transaction():
        publish(topics, *range(1, 1200))
    worker = topics.subscribe("t", consumer="c", where="id = 2 or id > 1190")
    found = []
    for _ in range(3):
        clock.now_s += 1  # a slow worker holds nothing in advance
        found += taken(worker, 1)
    assert [(d.offset, d.data["id"].to_pylist()) for d in found] == [
        (0, [2]),
        (2, [2]),
        (1191, [1191]),
    ]
    found[0].nak()
    clock.now_s += 1
    (again,) = taken(worker, 1)
    assert (again.offset, again.data["id"].to_pylist(), again.attempts) == (0, [2], 2)
    again.term("all of it")
    (letter,) = topics.replay("dead.t.c")
    assert letter.data["id"].to_pylist() == [0, 1, 2]
    joined = topics.subscribe("t", consumer="c", where="id = 2 or id > 1190")
    assert rest(joined) == list(range(1192, 1200))
    assert topics.subscribe("t", consumer="none", where="id < 0").next(0) is None
    assert status(session, "name", "lag") == [("c", 2), ("none", 0)]


def test_p9_a_shared_topic_has_each_tenants_own_consumers(session) -> None:
    with (
        session.scope(tenant=None) as shared,
        session.scope(tenant="red") as red,
        session.scope(tenant="blue") as blue,
    ):
        shared.topics.register("news", SCHEMA)
        publish(shared.topics, 0, 1, 2, name="news")
        workers = [each.topics.subscribe("news", consumer="c") for each in (red, blue, shared)]
        assert rest(workers[0]) == [0, 1, 2]
        assert [status(each, "lag") for each in (red, blue, shared)] == [[(0,)], [(3,)], [(3,)]]
        taken(workers[1], 1)[0].term("no")
        assert [topic.name for topic in red.topics.list()] == ["news"]
        assert [topic.name for topic in blue.topics.list()] == ["dead.news.c", "news"]
        assert blue.topics.get("dead.news.c").tenant == "blue"
        blue.topics.drop_consumer("news", "c")
        assert [status(each, "lag") for each in (red, blue, shared)] == [[(0,)], [], [(3,)]]
        with pytest.raises(errors.ConsumerNotFoundError):
            blue.topics.seek("news", "c", 0)
        assert rest(workers[2]) == [0, 1, 2]


def test_a_publish_wakes_a_waiting_worker(topics) -> None:
    worker = topics.subscribe("t", consumer="c")
    begun = time.monotonic()
    threading.Timer(0.05, publish, (topics, 0)).start()
    assert offsets(taken(worker, 1)) == [0]
    assert time.monotonic() - begun < SOON_S
