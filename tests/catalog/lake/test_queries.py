"""What runs on a lake: known while somebody works for it, stopped once, and told the first reason."""

from __future__ import annotations

import gc

import pytest

from affidavit.catalog.lake.queries import Queries, Query
from affidavit.catalog.model.identity import Identity
from affidavit.errors import ClosedError, StatementCancelledError, StatementTimeoutError

NOBODY = Identity("default")


def made(queries: Queries, **given: object) -> Query:
    return queries.add(Query(queries, NOBODY, **given))


def cancelled() -> StatementCancelledError:
    return StatementCancelledError("cancelled")


def never() -> bool:
    return False


def test_it_is_active_while_somebody_works_for_it() -> None:
    queries = Queries()
    query = made(queries)
    assert queries.active() == []
    with query.active():
        with query.active():
            pass
        assert queries.active() == [query]
    assert queries.active() == []


def test_the_first_reason_is_told() -> None:
    query = made(Queries())
    query.check()
    query.stop(cancelled)
    query.stop(lambda: ClosedError("closed"))
    for _ in range(2):
        with pytest.raises(StatementCancelledError):
            query.check()


def test_a_deadline_that_has_passed_is_told_before_anything_runs() -> None:
    query = made(Queries(), timeout_s=1e-9)
    with pytest.raises(StatementTimeoutError), query.running(never, never):
        pytest.fail("it ran")


def test_what_runs_is_stopped_and_what_ran_is_not() -> None:
    queries, stopped = Queries(), []
    query = made(queries, session="s")
    with query.running(lambda: stopped.append("first"), never):
        pass
    with query.running(lambda: stopped.append("second"), never):
        assert queries.stop(cancelled, session="another") == 0
        assert queries.stop(cancelled, session="s") == 1
        assert queries.stop(cancelled, session="s") == 0
    assert stopped == ["second"]


def test_what_does_not_end_stays_until_it_has() -> None:
    queries, left = Queries(), [True]
    query = made(queries)
    with query.running(never, lambda: bool(left)):
        query.stop(cancelled)
    assert queries.active() == [query]
    left.clear()
    assert queries.active() == []


def test_closing_reaches_results_that_nobody_reads() -> None:
    queries = Queries()
    mine, other = made(queries, session="s"), made(queries, session="t")
    queries.close(lambda: ClosedError("closed"), session="s")
    with pytest.raises(ClosedError):
        mine.check()
    other.check()
    queries.close(lambda: ClosedError("closed"))
    with pytest.raises(ClosedError):
        other.check()


def test_nobody_keeps_what_is_over() -> None:
    queries = Queries()
    for _ in range(10):
        with made(queries).active():
            pass
    gc.collect()
    assert len(queries._known) == 0
    assert queries.active() == []
