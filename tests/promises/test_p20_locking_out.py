"""P20, P15: what one tenant does keeps another waiting for no longer than is said."""

from __future__ import annotations

import threading
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

import affidavit
from affidavit import errors

if TYPE_CHECKING:
    from pathlib import Path

IDLE_S = 0.3


@pytest.fixture
def lake_of_two(lake: Path):
    with affidavit.connect(
        lake, tenant="a", durability="normal", transaction_idle_s=IDLE_S, busy_timeout_s=30
    ) as session:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)")
        with session.scope(tenant="b", allowed_paths=[]) as other:
            other.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)")
            yield session, other


def test_p20_a_transaction_that_is_never_idle_ends_all_the_same(lake_of_two) -> None:
    """Its tenant goes on with statements for ever; the other's insert waits for so long, not more."""
    session, other = lake_of_two
    other.begin()
    other.sql("INSERT INTO t VALUES (1, 1)")
    began_s = monotonic()
    thread = threading.Thread(target=lambda: session.sql("INSERT INTO t VALUES (7, 7)"))
    thread.start()
    with pytest.raises(errors.TransactionError, match="in all"):
        while monotonic() - began_s < 60:
            other.sql("UPDATE t SET n = n + 1")
            sleep(IDLE_S / 10)
    thread.join()
    assert session.sql("SELECT id FROM t").to_pylist() == [{"id": 7}]
    assert other.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 0}]


def test_p20_many_writers_of_one_tenant_keep_another_waiting_for_one(lake_of_two) -> None:
    """Many threads of a tenant write for all they are worth: the other's writes are in between."""
    session, other = lake_of_two
    stop, done = threading.Event(), [0] * 32

    def write(which: int) -> None:
        while not stop.is_set():
            other.sql("INSERT INTO t VALUES ($i, 0)", i=which * 1_000_000 + done[which])
            done[which] += 1

    threads = [threading.Thread(target=write, args=(which,)) for which in range(32)]
    for thread in threads:
        thread.start()
    try:
        sleep(0.5)
        ours, before = 0, sum(done)
        began_s = monotonic()
        while ours < 50 and monotonic() - began_s < 60:
            session.sql("INSERT INTO t VALUES ($i, 0)", i=ours)
            ours += 1
        theirs = sum(done) - before
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert ours == 50
    assert theirs < 50 * 32 / 2  # by arrival, each of ours would have waited for all of theirs


def test_p20_searches_go_on_beside_another_tenants_open_transaction(lake: Path) -> None:
    with (
        affidavit.connect(lake, tenant="a", durability="normal") as session,
        session.scope(tenant="b", allowed_paths=[]) as other,
    ):
        other.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
        session.create_vector_table(
            "docs", [{"id": n, "vector": [1.0, float(n)]} for n in range(9)]
        )
        other.begin(immediate=True)
        other.sql("INSERT INTO t VALUES (1)")
        assert session.search("docs", [1.0, 0.0], k=3).num_rows == 3
        other.commit()  # it was open all the time
        assert other.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 1}]
