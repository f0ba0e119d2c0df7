"""P1: searches of many threads share a transaction, and each answers for its own record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import pytest
from tests.support.faults import Faulty
from tests.support.lakes import events
from tests.support.records import Q8, SEARCH, Listener, everything
from tests.support.waiting import eventually

import affidavit
from affidavit import SearchRecord, errors
from affidavit.engine.audit import commits


@pytest.mark.slow
def test_p1_sixteen_threads_at_once_all_find_their_records(session, docs) -> None:
    def work(number: int) -> list[SearchRecord]:
        query = [float(number + 1)] * 8
        made = [session.search("docs", query, k=2).audit for _ in range(5)]
        found = session.sql(f"SELECT id FROM {SEARCH}", q=query).to_pylist()
        assert len(found) == 3
        return made + [each.audit for each in session.search_batch("docs", [query] * 3, k=1)]

    with ThreadPoolExecutor(16) as pool:
        made = [record for records in pool.map(work, range(16)) for record in records]
    assert len(everything(session)) == 16 * 9
    assert {each.query_id for each in made} <= {each.query_id for each in everything(session)}
    assert all(session.audit.get(each.query_id) == each for each in made)
    assert all(map(session.audit.verify, made))
    assert session.ledger.verify().entries == 16 * 9 + 1 + events(session)


@contextmanager
def gathered(
    session: affidavit.Session, ask: Callable[[int], object], threads: int = 16
) -> Iterator[list[Future]]:
    """Hold the store until ``threads`` wait to be recorded; yield what becomes of them.

    However slow the machine is, none of them gives up waiting.
    """
    group = session._instance.recorder._commits._group("default")
    leading: list[int] = []
    attempt = group._try

    def noted(batch):
        leading.append(len(batch))
        return attempt(batch)

    group._try = noted
    with ThreadPoolExecutor(threads) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(commits, "WAIT_S", 60.0)
        with session._instance.lake.store.write("default"):
            futures = [pool.submit(ask, number) for number in range(threads)]
            eventually(lambda: len(group._waiting) + sum(leading) == threads)
            yield futures
        wait(futures)


def test_p1_searches_that_wait_share_a_transaction(faulty) -> None:
    before, size = Faulty.commits, faulty.ledger.size
    with gathered(faulty, lambda number: faulty.search("docs", Q8, k=number + 1)) as futures:
        pass
    results = [each.result() for each in futures]
    assert [each.num_rows for each in results] == list(range(1, 17))
    assert Faulty.commits - before <= 3, "the one that held the store, the first's, the others'"
    assert sorted(each.audit.seq for each in results) == list(range(size, size + 16))
    assert faulty.ledger.verify()


def test_p1_a_store_that_fails_fails_every_search_that_waits(faulty) -> None:
    with gathered(faulty, lambda number: faulty.search("docs", Q8, k=number + 1)) as futures:
        Faulty.left, Faulty.lasting = 2, True  # after this block's own COMMIT
    for each in futures:
        with pytest.raises(errors.StoreError, match="disk I/O error"):
            each.result()
    Faulty.left = None
    assert len(everything(faulty)) == 1
    assert faulty.search("docs", Q8).num_rows == 10
    assert faulty.ledger.verify()


def test_p1_what_is_wrong_with_one_search_is_no_others_error(session, docs) -> None:
    """A listener that refused one of those that share a transaction refused all of them."""
    session.audit.add_listener(Listener(refused_k=7))
    with gathered(session, lambda number: session.search("docs", Q8, k=number + 1)) as futures:
        pass
    outcomes = [each.exception() for each in futures]
    assert [at + 1 for at, error in enumerate(outcomes) if error is not None] == [7]
    assert str(outcomes[6]) == "refused"
    assert sorted(each.k_requested for each in everything(session)) == [
        k for k in range(1, 17) if k != 7
    ]
    assert session.ledger.verify()
