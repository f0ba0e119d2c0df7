"""Which events a topic keeps: by their number, by their age, by both."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.support.topics import SCHEMA, offsets, row

import affidavit
from affidavit import errors
from affidavit.catalog.store.tables import LOG
from affidavit.catalog.topics.log import evict_old


def test_the_newest_events_are_kept(session) -> None:
    session.topics.register("t", SCHEMA, retain_events=3)
    for n in range(10):
        assert session.topics.publish("t", row(n)) == n
    assert offsets(session, from_offset="beginning") == [7, 8, 9]
    for call in (session.topics.replay, session.topics.subscribe):
        with pytest.raises(errors.OffsetEvictedError, match="first that is kept is 7") as evicted:
            call("t", from_offset=6)
        assert evicted.value.first_offset == 7
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.topics.publish("t", row(10))
        raise ZeroDivisionError
    assert offsets(session, from_offset=7) == [7, 8, 9], "what was rolled back evicted nothing"
    assert session.sql("SELECT first_offset, next_offset FROM system.topics").to_pylist() == [
        {"first_offset": 7, "next_offset": 10}
    ]


def test_old_events_go_and_offsets_go_on(lake, clock) -> None:
    with affidavit.connect(lake) as session:
        session.topics.register("t", SCHEMA, retain_for=timedelta(seconds=10))
        for n in range(4):
            session.topics.publish("t", row(n))
            clock.now_s += 4
        assert offsets(session, from_offset="beginning") == [2, 3]
        assert session.sql("SELECT DISTINCT _offset AS o FROM topics.t ORDER BY o").to_pylist() == [
            {"o": 2}, {"o": 3},
        ]  # fmt: skip
        clock.now_s += 100
        for name in ("beginning", "now", 4):
            assert offsets(session, from_offset=name) == []
        with pytest.raises(errors.OffsetEvictedError) as evicted:
            session.topics.replay("t", from_offset=3)
        assert evicted.value.first_offset == 4
        assert session.sql("SELECT count(*) AS n FROM topics.t").to_pylist() == [{"n": 0}]
        evict_old(session._instance.lake.store)
        evict_old(session._instance.lake.store)
        with session._catalog().read() as reader:
            assert reader.select(LOG, ("offset", "data")) == [(3, None)]
    with affidavit.connect(lake) as session:
        assert offsets(session, from_offset="beginning") == []
        assert session.topics.publish("t", row(4)) == 4
        assert offsets(session, from_offset="beginning") == [4]
        clock.now_s += 5
        assert session.topics.publish("t", row(5)) == 5
        with session._catalog().read() as reader:
            assert reader.count(LOG) == 2
        clock.now_s -= 1_000  # a clock that is set back puts no event before another
        session.topics.publish("t", row(6))
        times = [d.produced_at for d in session.topics.replay("t", from_offset=4)]
        assert times == sorted(times)


def test_a_topic_may_be_kept_by_age_and_by_events(session, clock) -> None:
    session.topics.register("t", SCHEMA, retain_for=10, retain_events=2)
    for n in range(5):
        session.topics.publish("t", row(n))
    assert offsets(session, from_offset="beginning") == [3, 4]
    clock.now_s += 11
    session.topics.publish("t", row(5))
    assert offsets(session, from_offset="beginning") == [5]
