"""Group commit: who waits shares a transaction, and an item's fault is its own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.waiting import eventually

from affidavit import errors
from affidavit.catalog.store.group_commit import ITEMS_MAX, GroupCommit, _Ticket


def test_a_group_keeps_its_order_and_its_size() -> None:
    batches: list[list[int]] = []
    first, others = threading.Event(), threading.Event()

    def commit(items):
        if not batches:
            first.set()
            assert others.wait(20)
        batches.append(list(items))
        return [item * 2 for item in items]

    group: GroupCommit[int, int] = GroupCommit(commit)
    with ThreadPoolExecutor(ITEMS_MAX + 20) as pool:
        futures = [pool.submit(group.submit, 0)]
        assert first.wait(20)
        for number in range(1, ITEMS_MAX + 10):
            futures.append(pool.submit(group.submit, number))
            eventually(lambda number=number: len(group._waiting) == number)
        others.set()
        assert [each.result() for each in futures] == [n * 2 for n in range(ITEMS_MAX + 10)]
    assert [len(batch) for batch in batches] == [1, ITEMS_MAX, 9]
    assert [item for batch in batches for item in batch] == list(range(ITEMS_MAX + 10))


@pytest.mark.parametrize(
    ("error", "commits"), [(errors.StoreBusyError("x", timeout_s=1), 1), (errors.ConstraintError(), 4)],
    ids=["the store's", "an item's"],
)  # fmt: skip
def test_only_what_may_be_an_items_fault_is_tried_item_by_item(error, commits) -> None:
    """A busy store is waited for once, and not once for each."""
    batches = []

    def commit(items):
        batches.append(items)
        raise error

    group: GroupCommit[int, int] = GroupCommit(commit)
    others = [_Ticket(1), _Ticket(2)]
    group._waiting += others
    with pytest.raises(type(error)):
        group.submit(3)
    assert batches == [[1, 2, 3], [1], [2], [3]][:commits]
    assert [each.error for each in others] == [error] * 2


def test_a_thread_that_is_interrupted_fails_those_it_committed_for() -> None:
    """Whatever of it was committed, nobody is given rows; the next one is committed as ever."""

    def commit(items):
        if -1 in items:
            raise KeyboardInterrupt
        return items

    group: GroupCommit[int, int] = GroupCommit(commit)
    other = _Ticket(7)
    group._waiting.append(other)
    with pytest.raises(KeyboardInterrupt):
        group.submit(-1)
    assert isinstance(other.error, errors.StoreError)
    assert other.done
    assert group.submit(3) == 3
