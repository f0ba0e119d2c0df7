"""Acknowledgements that share a commit: of several threads, and of one worker within a time."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import affidavit
from affidavit import errors
from affidavit.triggers.subscriptions import consumer as consumer_module
from affidavit.triggers.subscriptions import settling

SCHEMA = pa.schema([("id", pa.int64())])
LONG_S = 14.0
"""Longer than a test takes, and less than half of a consumer's ``ack_wait``."""

SOON_S = 30.0


@pytest.fixture
def session(lake):
    with affidavit.connect(lake, durability="normal") as session:
        yield session


@pytest.fixture
def topics(session):
    session.topics.register("t", SCHEMA)
    with session.transaction():
        for number in range(20):
            session.topics.publish("t", {"id": number})
    return session.topics


def status(session, name: str) -> tuple[object, ...]:
    query = f"SELECT position, unsettled, lag FROM system.consumers WHERE name = '{name}'"
    return tuple(session.sql(query).to_pylist()[0].values())


def told(delivery) -> tuple[int, int] | None:
    return None if delivery is None else (delivery.offset, delivery.attempts)


# --- gathered --------------------------------------------------------------------------------------


STEPS = st.lists(st.tuples(st.sampled_from("tttaanxcwr"), st.integers(0, 7)), max_size=25)


def _run(session, clock, name: str, steps, within: float | None) -> list[object]:
    """Return what a worker meets, step by step, and then what its consumer is."""
    topics, found, held = session.topics, [], []

    def opened():
        return topics.subscribe("t", consumer=name, max_deliveries=3, ack_within=within)

    worker, began = opened(), clock[0]
    for step, at in steps:
        chosen = held[at % len(held)] if held else None
        if step == "t":
            delivery = worker.next(0)
            found.append(told(delivery))
            held += [] if delivery is None else [delivery]
        elif step == "w":
            clock[0] += 10 * at
        elif step == "c":
            worker.close()
            worker = opened()
        elif chosen is None:
            continue
        elif step == "a":
            chosen.ack()
        elif step == "n":
            chosen.nak(at)
        elif step == "x":
            chosen.term("no")
        elif step == "r":
            with pytest.raises((ZeroDivisionError, errors.LeaseLostError)), session.transaction():
                chosen.ack()
                raise ZeroDivisionError
    worker.close()
    names = [each.name for each in topics.list()]
    letters = topics.replay(f"dead.t.{name}") if f"dead.t.{name}" in names else ()
    found.append(
        [
            (row["dead_offset"], row["dead_attempts"], row["dead_reason"])
            for each in letters
            for row in each.data.to_pylist()
        ]
    )
    found.append(status(session, name))
    clock[0] = began
    return found


@pytest.fixture
def clock(monkeypatch):
    now_s = [1_700_000_000.0]

    class Clock:
        @staticmethod
        def now_us() -> int:
            return int(now_s[0] * 1_000_000)

    monkeypatch.setattr(consumer_module, "clock", Clock)
    monkeypatch.setattr(consumer_module, "monotonic", lambda: now_s[0])
    return now_s


def test_p8_a_worker_that_gathers_meets_what_one_does_that_waits(session, topics, clock) -> None:
    """The same deliveries, attempts, dead letters and position, whatever is done with them."""
    made = iter(range(10**6))

    @settings(
        max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(steps=STEPS)
    def check(steps) -> None:
        number = next(made)
        waited = _run(session, clock, f"w{number}", steps, None)
        assert _run(session, clock, f"g{number}", steps, LONG_S) == waited

    check()


def test_gathered_acknowledgements_are_committed_in_time_and_at_the_end(lake) -> None:
    """The end of a session is that of its workers."""
    with affidavit.connect(lake, durability="normal") as session:
        session.topics.register("t", SCHEMA)
        for number in range(4):
            session.topics.publish("t", {"id": number})
        committed = threading.Event()
        with session.topics.subscribe("t", consumer="soon", ack_within=0.001) as worker:
            settle = worker._feed._gathered._write
            worker._feed._gathered._write = lambda part: (settle(part), committed.set())
            worker.next(SOON_S).ack()
            assert committed.wait(SOON_S)
            assert status(session, "soon")[0] == 1
        worker = session.topics.subscribe("t", consumer="late", ack_within=LONG_S)
        for _ in range(3):
            worker.next(SOON_S).ack()
        worker.next(SOON_S)
    with affidavit.connect(lake, durability="normal") as session:
        assert status(session, "late") == (3, 1, 1)


def test_p8_what_was_gathered_and_not_committed_comes_again(session, topics, clock) -> None:
    """As after a crash: what was settled is delivered again, and none is given up unseen."""
    dead = topics.subscribe("t", consumer="c", ack_within=LONG_S, max_deliveries=2)
    dead._feed._gathered._begin = lambda: None  # it is gone before its time
    given = [dead.next(SOON_S) for _ in range(3)]
    given[0].ack()
    given[1].ack()
    clock[0] += 31
    other = topics.subscribe("t", consumer="c", ack_within=LONG_S)
    again = [told(other.next(SOON_S)) for _ in range(3)]
    assert again == [(0, 2), (1, 1), (2, 1)], "what was handed out is counted with the next look"
    clock[0] += 31
    assert [told(other.next(SOON_S)) for _ in range(2)] == [(1, 2), (2, 2)]
    clock[0] += 31
    left = iter(lambda: told(other.next(0)), None)
    assert list(left) == [(n, 1) for n in range(3, 20)], "what ended its workers was given up"
    letters = [row for each in topics.replay("dead.t.c") for row in each.data.to_pylist()]
    assert [each["dead_offset"] for each in letters] == [0, 1, 2]


def test_a_commit_that_fails_in_the_background_is_told_to_who_comes_next(session, topics) -> None:
    worker = topics.subscribe("t", consumer="c", ack_within=LONG_S)
    first, second = worker.next(SOON_S), worker.next(SOON_S)
    first.ack()
    gathered = worker._feed._gathered
    write = gathered._write

    def fails(part: object) -> None:
        raise errors.StoreError("the disk is full")

    gathered._write = fails
    gathered._commit_late()
    with pytest.raises(errors.StoreError, match="the disk is full"):
        second.ack()
    gathered._write = write
    second.ack()
    assert status(session, "c")[0] == 2


def test_acknowledgements_are_gathered_for_a_time_that_makes_sense(session, topics) -> None:
    for bad in (-1, "1", True, float("nan")):
        with pytest.raises(errors.InvalidQueryError, match="ack_within"):
            topics.subscribe("t", consumer="c", ack_within=bad)
    with pytest.raises(errors.InvalidQueryError, match="ack_within"):
        topics.subscribe("t", ack_within=1)
    worker = topics.subscribe("t", consumer="c", ack_wait=2, ack_within=100)
    assert worker._feed._gathered._within_s == 1


# --- of several threads ----------------------------------------------------------------------------


def test_p8_acknowledgements_of_several_threads_share_a_commit(
    session, topics, monkeypatch
) -> None:
    """Eight wait for a writer, and are in one transaction after the first's."""
    worker = topics.subscribe("t", consumer="c")
    held = [worker.next(SOON_S) for _ in range(8)]
    sizes: list[int] = []
    do = settling.Settling._do

    def counted(self, tenant, steps):
        sizes.append(len(steps))
        return do(self, tenant, steps)

    monkeypatch.setattr(settling.Settling, "_do", counted)
    threads = [threading.Thread(target=each.ack) for each in held]
    with session.scope() as other, other.transaction(immediate=True):
        for thread in threads:
            thread.start()
        group = session._instance.exchange.settling._group(session.identity.tenant)
        while len(group._waiting) < len(held) - 1:
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join(SOON_S)
    assert sizes == [1, 7]
    assert status(session, "c")[0] == 8
