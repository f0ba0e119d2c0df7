"""P16: what a subscription handed over is on record once it is over."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from tests.support.waiting import eventually

import affidavit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from affidavit import Session


@pytest.fixture
def audited(lake: Path) -> Iterator[Session]:
    with affidavit.connect(lake, audit="statements") as session:
        session.create_table("t", [{"id": 1}], primary_key="id")
        session.table("t").audit = "reads"
        session.topics.register("news", pa.schema([pa.field("n", pa.int64())]))
        session.topics.publish("news", [{"n": 1}, {"n": 2}])
        session.topics.publish("news", [{"n": 3}])
        yield session


def ends(session: Session) -> list[tuple[str, str, Any]]:
    """Return what became of each read of the topic, once the housekeeper has done its work."""
    session._instance.gate.settle_late()
    rows = session.sql("SELECT kind, status, rows_returned FROM audit.reads ORDER BY seq")
    return [(row["kind"], row["status"], row["rows_returned"]) for row in rows.to_pylist()]


def test_p16_a_subscription_that_is_closed_says_how_many_events_it_gave(audited: Session) -> None:
    with audited.topics.subscribe("news", from_offset=0, timeout=0.1) as events:
        assert ends(audited) == [("subscribe", "open", None)]
        assert len(list(events)) == 2
        assert ends(audited) == [("subscribe", "open", None)]
    eventually(lambda: ends(audited) == [("subscribe", "ok", 2)])
    assert audited.ledger.verify(progress=False)


def test_p16_events_that_were_fetched_and_not_taken_do_not_count(audited: Session) -> None:
    with audited.topics.subscribe("news", from_offset=0, timeout=0.1) as events:
        assert next(events).offset == 0
    eventually(lambda: ends(audited) == [("subscribe", "ok", 1)])


def test_p16_a_consumers_worker_says_so_too(audited: Session) -> None:
    with audited.topics.subscribe("news", consumer="c", timeout=0.1) as events:
        for delivery in events:
            delivery.ack()
    eventually(lambda: ends(audited) == [("subscribe", "ok", 2)])


def test_p16_an_async_subscription_counts_as_well(audited: Session) -> None:
    async def read() -> int:
        with audited.topics.subscribe("news", from_offset=0, timeout=0.1) as events:
            return len([each async for each in events])

    assert asyncio.run(read()) == 2
    eventually(lambda: ends(audited) == [("subscribe", "ok", 2)])


def test_p16_a_subscription_that_nobody_holds_is_abandoned(audited: Session) -> None:
    events = audited.topics.subscribe("news", from_offset=0, timeout=0.1)
    assert next(events).offset == 0
    del events
    gc.collect()
    eventually(lambda: ends(audited) == [("subscribe", "abandoned", 1)])


def test_p16_a_replay_says_how_many_events_it_gave(audited: Session) -> None:
    assert len(list(audited.topics.replay("news"))) == 2
    eventually(lambda: ends(audited) == [("replay", "ok", 2)])


@pytest.mark.parametrize("is_closed", [False, True])
def test_p16_a_replay_that_ends_early_is_abandoned(audited: Session, *, is_closed: bool) -> None:
    events = audited.topics.replay("news")
    next(events)
    if is_closed:
        events.close()  # type: ignore[attr-defined]  # as a generator has it
    del events
    gc.collect()
    eventually(lambda: ends(audited) == [("replay", "abandoned", 1)])


def test_p16_a_replay_that_was_never_begun_gave_nothing(audited: Session) -> None:
    audited.topics.replay("news")
    gc.collect()
    eventually(lambda: ends(audited) == [("replay", "abandoned", 0)])


def test_p16_a_subscription_that_is_closed_inside_of_a_transaction_holds_nobody_up(
    audited: Session,
) -> None:
    events = audited.topics.subscribe("news", from_offset=0, timeout=0.1)
    assert next(events).offset == 0
    with audited.transaction():
        audited.sql("INSERT INTO t VALUES (2)")
        events.close()
    eventually(lambda: ends(audited) == [("subscribe", "ok", 1)])


def test_p16_what_is_open_when_a_session_closes_ends_with_it(lake: Path, audited: Session) -> None:
    with affidavit.connect(lake, actor="eve") as session:
        events = session.topics.subscribe("news", from_offset=0, timeout=0.1)
        assert next(events).offset == 0
    [(kind, status, rows)] = ends(audited)
    assert (kind, status, rows) == ("subscribe", "ok", 1)


def test_p16_without_a_policy_nothing_is_counted(lake: Path) -> None:
    with affidavit.connect(lake, audit="statements") as session:
        session.topics.register("news", pa.schema([pa.field("n", pa.int64())]))
        session.topics.publish("news", [{"n": 1}])
        with session.topics.subscribe("news", from_offset=0, timeout=0.1) as events:
            assert len(list(events)) == 1
        assert ends(session) == []


def test_p16_a_function_of_a_trigger_is_a_subscription_like_any(audited: Session) -> None:
    called: list[affidavit.Delivery] = []
    taken = threading.Event()

    def take(delivery: affidavit.Delivery) -> None:
        called.append(delivery)
        taken.set()

    audited.triggers.on("t", "insert", call=take, name="told")
    assert [(kind, status) for kind, status, _ in ends(audited)] == [("subscribe", "open")]
    audited.sql("INSERT INTO t VALUES (5)")
    assert taken.wait(20)
    audited.triggers.drop("told")
    [(kind, status, rows)] = ends(audited)
    assert (kind, status, rows) == ("subscribe", "ok", 1)
