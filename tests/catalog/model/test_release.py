"""What a statement did that is to be on record: queued by whoever runs its plan, never lost."""

from __future__ import annotations

import threading

import pytest

from affidavit.catalog.model.release import Reading
from affidavit.errors import ClosedError


def test_nothing_begins_before_a_gate_is_open_nor_once_it_is_closed() -> None:
    reading = Reading()
    with pytest.raises(ClosedError, match="past the gate"):
        reading.begin()
    reading.open(lambda _: None)
    reading.begin()
    reading.close()
    with pytest.raises(ClosedError):
        reading.begin()


def test_what_ends_after_the_gate_closed_is_late_and_not_lost() -> None:
    late: list[object] = []
    reading = Reading()
    reading.open(late.append)
    reading.queue("first")
    assert reading.take() == ["first"]
    reading.queue("left over")
    reading.close()
    assert late == ["left over"]
    reading.queue("after")
    assert (late, reading.take()) == (["left over", "after"], [])


def test_each_thing_that_threads_queue_while_a_gate_closes_is_had_once() -> None:
    for _ in range(20):
        late: list[object] = []
        reading = Reading()
        reading.open(late.append)
        go = threading.Barrier(5)

        def work(name: int, reading: Reading = reading, go: threading.Barrier = go) -> None:
            go.wait()
            for at in range(50):
                reading.queue((name, at))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for each in threads:
            each.start()
        go.wait()
        taken = reading.take()
        reading.close()
        for each in threads:
            each.join()
        assert sorted(taken + late) == [(name, at) for name in range(4) for at in range(50)]
