"""P4, P8, P21: a clock that was wrong, and one that jumps, stop nothing and end no wait too soon.

The clock is the one place that reads what time it is, and is turned there.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from time import monotonic, time_ns
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.lakes import vectors
from tests.support.records import Q8

import affidavit
from affidavit import errors
from affidavit.catalog.ledger.verifier import check_bundle
from affidavit.catalog.model import clock

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 86_400 * 10**9
YEAR_NS = 365 * DAY_NS
NEWS = pa.schema([("a", pa.int64())])


class Turned:
    """The machine's clock, and by how much it is wrong."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def __call__(self) -> int:
        return time_ns() + self.ahead_ns


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> Turned:
    made = Turned()
    monkeypatch.setattr(clock, "time_ns", made)
    return made


def now() -> datetime:
    return datetime.now(UTC)


def rows(session: affidavit.Session) -> list[tuple[int, str]]:
    return [tuple(row.values()) for row in session.sql("SELECT * FROM t ORDER BY id").to_pylist()]


@pytest.fixture
def ahead(lake: Path, tmp_path: Path, turned: Turned) -> dict[str, object]:
    """A lake of which a session with a clock a year ahead wrote a part; how it is opened."""
    how = {"durability": "normal", "witness": tmp_path / "witness", "actor": "maria"}
    with affidavit.connect(lake, **how) as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, x VARCHAR)")
        session.sql("INSERT INTO t VALUES (1, 'a')")
        session.create_vector_table("docs", vectors(20))
        session.topics.register("news", NEWS)
    turned.ahead_ns = YEAR_NS
    with affidavit.connect(lake, **how) as session:
        session.sql("INSERT INTO t VALUES (2, 'b')")
        session.search("docs", Q8, k=2)
        session.topics.publish("news", [{"a": 1}])
        session.topics.publish("news", [{"a": 2}])
        with session.topics.subscribe("news", consumer="c", ack_wait=0.5) as taken:
            next(taken).nak(0.2, "later")
            next(taken)  # and is never told of again
        session.ledger.checkpoint()
        assert rows(session.at(now() + timedelta(days=365))) == [(1, "a"), (2, "b")]
    turned.ahead_ns = 0
    return how


def test_p21_a_lake_that_was_written_a_year_ahead_is_written_checked_and_exported(
    lake, tmp_path, ahead
) -> None:
    with affidavit.connect(lake, checkpoint_interval_s=0.0, **ahead) as session:
        session.sql("INSERT INTO t VALUES (3, 'c')")
        session.sql("UPDATE t SET x = 'z' WHERE id = 2")
        assert session.search("docs", Q8, k=2).num_rows == 2
        size = session.ledger.size
        assert session.ledger.checkpoint()
        assert session.ledger.checkpoint() == session.ledger.checkpoint()
        session.journal.flush()
        assert session.topics.publish("news", [{"a": 3}]) == 2
        session.table("docs").insert(vectors(3, start=100))
        session.table("docs").optimize()
        assert session.ledger.verify(data=True)
        session.ledger.export(tmp_path / "bundle")
        assert check_bundle(tmp_path / "bundle")
        assert rows(session.at(size - 1)) == [(1, "a"), (2, "z"), (3, "c")]
        assert len(session.audit.recent()) == 2
        assert session.ledger.rotate_key() == session.ledger.public_key
        assert session.ledger.verify()
    assert (tmp_path / "witness").read_text()
    with affidavit.connect(lake, **ahead) as session:
        assert session.ledger.verify(data=True)


def test_p21_a_checkpoint_is_due_again_although_the_last_is_of_next_year(lake, ahead) -> None:
    """Of that one nobody knows how long ago it was kept: another is kept at once, and then in time."""
    with affidavit.connect(lake, checkpoint_interval_s=1000.0, **ahead) as session:
        store, ledger = session._instance.lake.store, session._catalog().ledger

        def kept() -> int:
            with store.read("default") as reader:
                return len(ledger.checkpoints(reader))

        before = kept()
        session.sql("INSERT INTO t VALUES (3, 'c')")
        assert kept() == before + 1
        session.sql("INSERT INTO t VALUES (4, 'd')")
        assert kept() == before + 1


def test_p8_leases_of_a_clock_that_was_ahead_run_out_and_what_was_put_back_comes(
    lake, ahead
) -> None:
    """It was a year until they came again: their time was kept as that clock told it."""
    with affidavit.connect(lake, **ahead) as session:
        began, came = monotonic(), {}
        with session.topics.subscribe("news", consumer="c", ack_wait=0.5, timeout=10) as feed:
            for delivery in feed:
                came[delivery.data["a"][0].as_py()] = monotonic() - began
                delivery.ack()
                if len(came) == 2:
                    break
        assert sorted(came) == [1, 2]
        assert came[1] >= 0.2, "what was put back waits as long as it was told to, from now on"
        assert came[2] >= 0.5, "and a lease as long as one lasts"
        assert max(came.values()) < 8


def test_p21_the_past_is_never_a_state_that_never_was(lake, ahead) -> None:
    """As of now, the rows of a session that was ahead were left out, and later ones were there."""
    before = now()
    with affidavit.connect(lake, **ahead) as session:
        for time in (before, now()):
            with pytest.raises(errors.AffidavitError, match="has not come yet.*ask by number"):
                rows(session.at(time))
        session.sql("INSERT INTO t VALUES (3, 'c')")
        after = now()
        assert rows(session.at(after)) == [(1, "a"), (2, "b"), (3, "c")]
        session.sql("DELETE FROM t")
        assert rows(session.at(after)) == [(1, "a"), (2, "b"), (3, "c")]
        assert rows(session.at(now())) == []
        session.journal.flush()  # the same where the events are in a file
        assert rows(session.at(after)) == [(1, "a"), (2, "b"), (3, "c")]
        assert rows(session.at(now())) == []
        with pytest.raises(errors.AffidavitError, match="has not come yet"):
            rows(session.at(before))
        with session.scope(tenant="red") as red:
            assert red.ledger.size == 0


# --- while something waits ------------------------------------------------------------------------

JUMPS = pytest.mark.parametrize("jump_ns", [DAY_NS, -DAY_NS], ids=["forwards", "backwards"])


@JUMPS
def test_p21_a_clock_that_jumps_ends_no_wait(lake, turned, jump_ns) -> None:
    with (
        affidavit.connect(
            lake, durability="normal", transaction_idle_s=60.0, busy_timeout_s=0.3
        ) as session,
        session.scope(actor="other") as other,
    ):
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, x VARCHAR)")
        session.topics.register("news", NEWS)
        with session.transaction():
            session.sql("INSERT INTO t VALUES (1, 'a')")
            turned.ahead_ns = jump_ns
            session.sql("INSERT INTO t VALUES (2, 'b')")
            began = monotonic()
            with pytest.raises(errors.StoreBusyError):
                other.sql("INSERT INTO t VALUES (9, 'x')")
            assert 0.2 < monotonic() - began < 20
        assert session.sql("SELECT * FROM t", timeout=30).num_rows == 2
        began = monotonic()
        with session.topics.subscribe("news", timeout=0.5) as feed:
            threading.Timer(0.1, lambda: setattr(turned, "ahead_ns", 2 * jump_ns)).start()
            assert list(feed) == []
        assert 0.4 < monotonic() - began < 20
        session.sql("INSERT INTO t VALUES (3, 'c')")
        session.journal.flush()
        assert session.ledger.checkpoint()
        assert session.ledger.verify(data=True)
        assert rows(session) == [(1, "a"), (2, "b"), (3, "c")]


@JUMPS
def test_p8_a_worker_whose_clock_jumps_goes_on(lake, turned, jump_ns) -> None:
    """Each event is dealt with, and none waits for the day that was lost."""
    with affidavit.connect(lake, durability="normal") as session:
        session.topics.register("news", NEWS)
        for at in range(6):
            session.topics.publish("news", [{"a": at}])
        began, done = monotonic(), set()
        with session.topics.subscribe("news", consumer="c", ack_wait=1.0, timeout=15) as feed:
            for delivery in feed:
                at = delivery.data["a"][0].as_py()
                if at == 2 and not turned.ahead_ns:
                    turned.ahead_ns = jump_ns
                    delivery.nak(0.3)
                    continue
                delivery.ack()
                done.add(at)
                if len(done) == 6:
                    break
        assert done == set(range(6))
        assert monotonic() - began < 12
