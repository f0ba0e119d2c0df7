"""P8: offsets are contiguous from 0, and an event is seen once it is committed."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest
from tests.support.processes import Child
from tests.support.topics import SCHEMA, ids, row

import affidavit
from affidavit import errors
from affidavit.catalog.store.tables import LOG


def test_p8_an_event_is_seen_once_it_is_committed_and_not_after_a_rollback(
    lake, session, topics
) -> None:
    with affidavit.connect(lake) as other:
        with session.transaction():
            assert [topics.publish("t", row(n)) for n in range(3)] == [0, 1, 2]
            assert ids(other) == []
            assert ids(session) == [0, 1, 2], "the transaction sees what it wrote"
            assert session.sql("SELECT count(*) AS n FROM topics.t").to_pylist() == [{"n": 3}]
        assert ids(other) == [0, 1, 2]
        with pytest.raises(ZeroDivisionError), session.transaction():
            assert topics.publish("t", row(3)) == 3
            raise ZeroDivisionError
        session.sql("BEGIN")
        assert topics.publish("t", row(4)) == 3
        session.sql("ROLLBACK")
        assert ids(other) == ids(session) == [0, 1, 2]
        assert topics.publish("t", row(5)) == 3


def test_p8_offsets_have_no_gap_where_part_of_a_transaction_is_undone(session, topics) -> None:
    session.sql("CREATE TABLE k (id INT PRIMARY KEY)")

    class Refusing:
        def on_change(self, change, writer) -> None:
            topics.publish("t", row(100))
            raise RuntimeError("no")

    with session.transaction():
        assert topics.publish("t", row(0)) == 0
        with pytest.raises(errors.InvalidEventError):
            topics.publish("t", [])
        session.add_change_listener(Refusing())
        with pytest.raises(RuntimeError):
            session.sql("INSERT INTO k VALUES (1)")  # its savepoint undoes event 1
        assert topics.publish("t", row(1)) == 1
        topics.drop("t")
        topics.register("t", SCHEMA)
        assert topics.publish("t", row(2)) == 0
    assert [(d.offset, d.data["id"][0].as_py()) for d in topics.replay("t")] == [(0, 2)]


def test_a_replay_that_outlives_its_transaction_ends(session, topics) -> None:
    """It used to ask for ever for the events that had been rolled back."""
    topics.publish("t", row(0))
    session.sql("BEGIN")
    topics.publish("t", row(1))
    replay = topics.replay("t", from_offset=1)
    session.sql("ROLLBACK")
    assert list(replay) == []


def test_p8_offsets_go_on_after_reopening(lake) -> None:
    for opening in range(3):
        with affidavit.connect(lake) as session:
            session.topics.register("t", SCHEMA)
            assert session.topics.publish("t", row(opening)) == opening
            assert session.ledger.verify()
    with affidavit.connect(lake) as session:
        assert ids(session) == [0, 1, 2]


PUBLISHER = """
import sys, affidavit
with affidavit.connect(sys.argv[1], durability="normal") as session:
    for n in range(int(sys.argv[3])):
        try:
            with session.transaction():
                session.topics.publish("t", {"id": n, "tag": sys.argv[2]})
                if n % 5 == 4:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
"""


@pytest.mark.slow
def test_p8_offsets_are_contiguous_across_threads_and_processes(lake, session, topics) -> None:
    """2 processes and 3 threads publish 30 events each and roll 6 of them back."""
    processes = [Child(PUBLISHER, lake, f"p{n}", 30) for n in range(2)]

    def publish(name: str) -> None:
        for n in range(30):
            try:
                with session.scope() as scoped, scoped.transaction() as mine:
                    mine.topics.publish("t", {"id": n, "tag": name})
                    if n % 5 == 4:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass

    threads = [threading.Thread(target=publish, args=(f"t{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.communicate() for process in processes] == [("", "")] * 2
    assert [process.returncode for process in processes] == [0, 0]
    deliveries = list(topics.replay("t"))
    assert [d.offset for d in deliveries] == list(range(120))
    times = [d.produced_at for d in deliveries]
    assert times == sorted(times)
    by_publisher: dict[str, list[int]] = {}
    for each in deliveries:
        (only,) = each.data.to_pylist()
        by_publisher.setdefault(only["tag"], []).append(only["id"])
    assert by_publisher == {
        name: [n for n in range(30) if n % 5 != 4] for name in ("p0", "p1", "t0", "t1", "t2")
    }


def test_an_event_of_10_000_rows_is_one_row_of_the_log(session, topics) -> None:
    big = pa.table(
        {"id": range(10_000), "score": [0.5] * 10_000, "tag": ["x"] * 10_000}, schema=SCHEMA
    )
    assert topics.publish("t", big) == 0
    assert topics.publish("t", row(1)) == 1
    with session._catalog().read() as reader:
        assert reader.count(LOG) == 2
    found = session.sql("SELECT count(*) AS n, sum(id) AS s, max(_row_index) AS m FROM topics.t")
    assert found.to_pylist() == [{"n": 10_001, "s": sum(range(10_000)) + 1, "m": 9_999}]
