"""P12: functions that are called with a change, after its commit, until they took it."""

from __future__ import annotations

import logging
import threading
import time

import pyarrow as pa
import pytest
from tests.support.published import sent
from tests.support.waiting import eventually

import affidavit
from affidavit import errors
from affidavit.triggers.subscriptions import runners


def test_a_function_is_called_after_the_commit(session, orders) -> None:
    seen: list[tuple] = []

    def note(delivery: affidavit.Delivery) -> None:
        seen.append((delivery.data["new"].to_pylist(), orders.count()))

    session.triggers.on("orders", "insert", call=note)
    with session.transaction():
        session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
        time.sleep(0.05)
        assert seen == []
    eventually(lambda: seen)
    assert seen == [([{"id": 1, "total": 1.0, "who": "a"}], 1)]


@pytest.mark.slow
def test_a_function_that_raises_harms_nobody_and_is_called_again(session, orders, caplog) -> None:
    attempts: list[int] = []

    def fail(delivery: affidavit.Delivery) -> None:
        attempts.append(delivery.attempts)
        raise ValueError("not today")

    session.triggers.on("orders", "insert", call=fail, name="fails", max_deliveries=3)
    with caplog.at_level(logging.WARNING, "affidavit"):
        assert session.sql("INSERT INTO orders VALUES (1, 1, 'a')").rows_affected == 1
        eventually(lambda: any(topic.name == "dead.fails" for topic in session.topics.list()))
    assert attempts == [1, 2, 3]
    (letter,) = sent(session, "dead.fails")
    assert letter["dead_offset"] == 0
    assert letter["dead_attempts"] == 3
    assert letter["dead_reason"] == "ValueError: not today"
    assert letter["new"]["id"] == 1
    assert "not today" in caplog.text


def test_a_function_that_hangs_is_left_behind(session, orders) -> None:
    release = threading.Event()
    done: list[int] = []

    def slow(delivery: affidavit.Delivery) -> None:
        if delivery.attempts == 1 and delivery.offset == 0:
            release.wait(30)
        done.append(delivery.offset)

    session.triggers.on("orders", "insert", call=slow, timeout=0.1)
    session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
    session.sql("INSERT INTO orders VALUES (2, 1, 'a')")
    eventually(lambda: sorted(done) == [0, 1])
    release.set()


def test_what_happened_while_nobody_called_is_brought_later(lake) -> None:
    seen: list[int] = []

    def note(delivery: affidavit.Delivery) -> None:
        seen.extend(row["id"] for row in delivery.data["new"].to_pylist())

    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
        session.triggers.on("t", "insert", call=note, name="note")
        session.sql("INSERT INTO t VALUES (1)")
        eventually(lambda: seen == [1])
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("INSERT INTO t VALUES (2)")
        session.sql("INSERT INTO t VALUES (3)")
        session.triggers.on("t", "insert", call=note, name="note")
        eventually(lambda: seen == [1, 2, 3])
        session.triggers.drop("note")
        session.sql("INSERT INTO t VALUES (4)")
        assert session.topics.list() == []
    assert seen == [1, 2, 3]


# --- what a review found --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [{"max_deliveries": 0}, {"timeout": 0}, {"timeout": float("nan")}, {"timeout": "x"}],
    ids=range(4),
)
def test_p12_a_callback_with_settings_that_make_no_sense_leaves_nothing(
    session, orders, given
) -> None:
    with pytest.raises(errors.InvalidQueryError, match=next(iter(given))):
        session.triggers.on("orders", "insert", call=print, **given)
    assert session.triggers.list() == []
    with session.transaction(), pytest.raises(errors.TransactionError):
        session.triggers.on("orders", "insert", call=print)
    assert session.triggers.list() == []


def test_a_function_can_be_brought_again_with_other_settings_and_to_a_renamed_table(
    session, orders
) -> None:
    first, second = [], []
    session.triggers.on("orders", "insert", call=lambda d: first.append(d.offset), name="note")
    session.sql("ALTER TABLE orders RENAME TO requests")
    session.triggers.on(
        "requests", "insert", call=lambda d: second.append(d.offset), name="note", timeout=5
    )
    session.sql("INSERT INTO requests VALUES (1, 1, 'a')")
    eventually(lambda: second == [0])
    assert first == []
    assert session.triggers.list()[0].table == "requests"


def test_what_a_function_has_taken_is_let_go(session, orders, monkeypatch) -> None:
    monkeypatch.setattr("affidavit.triggers.subscriptions.callbacks.TIDY_EVENTS", 4)
    taken: list[int] = []
    session.triggers.on("orders", "insert", call=lambda d: taken.append(d.offset), name="note")
    for at in range(10):
        session.sql("INSERT INTO orders VALUES ($id, 1, 'a')", id=at)
    eventually(lambda: len(taken) == 10)
    text = "SELECT first_offset FROM system.topics WHERE name = 'affidavit.triggers.note'"
    eventually(
        lambda: session.sql(text).to_pylist()[0]["first_offset"] in {7, 8}
    )  # the newest stays
    session.sql("INSERT INTO orders VALUES (99, 1, 'a')")
    eventually(lambda: taken == list(range(11)))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"timeout": 6e8}, "timeout"),
        ({"name": "x" * 125}, "dead.x"),
        ({"name": "taken"}, "dead.taken"),
    ],
    ids=["timeout", "long-name", "dead-letters"],
)
def test_p12_a_callback_whose_consumer_cannot_be_made_leaves_no_trigger(
    session, orders, given, named
) -> None:
    """The trigger was committed first, and went on filling a topic that nobody read."""
    session.topics.register("dead.taken", pa.schema([("a", pa.int64())]))
    with pytest.raises(errors.AffidavitError, match=named):
        session.triggers.on("orders", "insert", call=print, **given)
    assert session.triggers.list() == []
    assert [topic.name for topic in session.topics.list()] == ["dead.taken"]


@pytest.mark.slow
def test_a_function_is_called_again_once_the_store_is_free(lake, caplog) -> None:
    """A writer that held the store for longer than busy_timeout_s ended the callback for good."""
    seen: list[int] = []
    held = threading.Event()

    def note(delivery: affidavit.Delivery) -> None:
        held.wait()
        seen.append(delivery.offset)

    with (
        affidavit.connect(lake, busy_timeout_s=0.05, audit="searches") as session,
        affidavit.connect(lake) as other,
    ):
        other.sql("CREATE TABLE orders (id BIGINT PRIMARY KEY)")
        session.triggers.on("orders", "insert", call=note, name="note")
        other.sql("INSERT INTO orders VALUES (1)")
        eventually(lambda: "affidavit-call-note" in {t.name for t in threading.enumerate()})
        with caplog.at_level(logging.WARNING, "affidavit"), other.transaction():
            other.sql("INSERT INTO orders VALUES (2)")
            held.set()
            eventually(lambda: "waits" in caplog.text)
        eventually(lambda: seen == [0, 1])


def test_a_drop_that_is_rolled_back_ends_no_callback(session, orders) -> None:
    seen: list[int] = []
    session.triggers.on("orders", "insert", call=lambda d: seen.append(d.offset), name="note")
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.triggers.drop("note")
        _ = 1 / 0
    session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
    eventually(lambda: seen == [0])
    with session.transaction():
        session.triggers.drop("note")
    eventually(lambda: "affidavit-trigger-note" not in {t.name for t in threading.enumerate()})


def test_a_function_may_drop_its_trigger_and_close_the_session(lake) -> None:
    """Each waited for the call that it was made in."""
    done = threading.Event()
    took: list[float] = []
    session = affidavit.connect(lake)
    session.sql("CREATE TABLE orders (id BIGINT PRIMARY KEY)")

    def end(_: affidavit.Delivery) -> None:
        began = time.monotonic()
        session.triggers.drop("note")
        session.close()
        took.append(time.monotonic() - began)
        done.set()

    session.triggers.on("orders", "insert", call=end, name="note")
    session.sql("INSERT INTO orders VALUES (1)")
    assert done.wait(20)
    assert took[0] < runners.STOPPING_S


@pytest.mark.slow
def test_closing_waits_once_for_all_calls(lake) -> None:
    """Every call that hung held up the end of the session by itself."""
    going, called = threading.Event(), threading.Semaphore(0)
    session = affidavit.connect(lake)
    session.sql("CREATE TABLE orders (id BIGINT PRIMARY KEY)")

    def hang(_: affidavit.Delivery) -> None:
        called.release()
        going.wait()

    for at in range(4):
        session.triggers.on("orders", "insert", call=hang, name=f"note{at}")
    session.sql("INSERT INTO orders VALUES (1)")
    for _ in range(4):
        assert called.acquire(timeout=20)
    began = time.monotonic()
    session.close()
    going.set()
    assert time.monotonic() - began < 2 * runners.STOPPING_S


@pytest.mark.slow
def test_closing_while_another_writes_does_not_wait_for_consumers(lake) -> None:
    """What a consumer had in hand was given back with all the patience of a writer."""
    session = affidavit.connect(lake, busy_timeout_s=60)
    session.topics.register("t", pa.schema([("a", pa.int64())]))
    for at in range(20):
        session.topics.publish("t", {"a": at})
    with session.topics.subscribe("t", consumer="c") as subscription:
        for _ in range(10):
            subscription.next(20).ack()
        with affidavit.connect(lake) as other, other.transaction():
            other.topics.publish("t", {"a": 1})
            began = time.monotonic()
            session.close()
    assert time.monotonic() - began < 30


def test_a_function_may_ask_for_an_event_again_or_give_it_up(session, orders) -> None:
    """It was acknowledged all the same when the function returned, and was lost."""
    seen: list[tuple[int, int]] = []

    def later(delivery: affidavit.Delivery) -> None:
        seen.append((delivery.offset, delivery.attempts))
        if delivery.offset:
            delivery.term("not mine")
        elif delivery.attempts < 3:
            delivery.nak(0.01)

    session.triggers.on("orders", "insert", call=later, name="note")
    session.sql("INSERT INTO orders VALUES (1, 1, 'a')")
    eventually(lambda: seen == [(0, 1), (0, 2), (0, 3)])
    session.sql("INSERT INTO orders VALUES (2, 1, 'a')")
    eventually(lambda: [topic for topic in session.topics.list() if topic.name == "dead.note"])
    assert [row["dead_reason"] for row in sent(session, "dead.note")] == ["not mine"]
    assert seen[3:] == [(1, 1)]


def test_p14_a_function_is_part_of_no_transaction_that_its_session_has_open(
    session, orders
) -> None:
    """What it did, and its acknowledgement, would be rolled back with what it knows nothing of."""
    session.sql("CREATE TABLE taken (id BIGINT)")
    began: list[str] = []

    def take(delivery: affidavit.Delivery) -> None:
        with session.transaction() as own:
            (row,) = delivery.data["new"].to_pylist()
            own.sql("INSERT INTO taken VALUES ($id)", id=row["id"])
            delivery.ack()
        began.append("and ended")

    session.triggers.on("orders", "insert", call=take, name="take")
    session.sql("BEGIN")
    assert session.sql("SELECT count(*) AS n FROM taken").to_pylist() == [{"n": 0}]
    with session.scope(actor="ann") as ann:
        ann.sql("INSERT INTO orders VALUES (1, 1, 'a')")
    eventually(lambda: began)
    session.sql("ROLLBACK")
    assert session.sql("SELECT id FROM taken").to_pylist() == [{"id": 1}]
    (consumer,) = session.sql("SELECT lag FROM system.consumers WHERE name = 'take'").to_pylist()
    assert consumer["lag"] == 0
