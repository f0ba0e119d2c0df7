"""Large results of attached databases, and many readers of them."""

from __future__ import annotations

import gc
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.support.databases import BOUND_S, ROWS, backends

import affidavit

if TYPE_CHECKING:
    from tests.support.pg_server import PgServer


def test_a_large_table_is_streamed(session: affidavit.Session, big: str) -> None:
    session.attach("pg", big)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = batches = 0
    for batch in session.sql("SELECT id, pad FROM pg.public.t").batches():
        rows += batch.num_rows
        batches += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert rows == ROWS
    assert batches > 1
    assert grown < 90_000, f"{grown} KiB more for {ROWS * 108 // 1024} KiB of rows"


def test_a_result_that_is_given_up_leaves_no_query_running(
    session: affidavit.Session, pg_server: PgServer, big: str
) -> None:
    session.attach("pg", big)
    result = session.sql("SELECT id, pad FROM pg.public.t")
    batches = result.batches()
    assert next(batches).num_rows
    batches.close()
    result.close()
    del batches, result
    gc.collect()
    deadline = time.monotonic() + BOUND_S
    while "active" in backends(pg_server, "big") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "active" not in backends(pg_server, "big")
    assert session.sql("SELECT id FROM pg.public.t WHERE id = 7").to_pylist() == [{"id": 7}]
    for _ in range(20):
        session.sql("SELECT id FROM pg.public.t LIMIT 3").to_arrow()
    assert len(backends(pg_server, "big")) <= 9


def test_many_threads_read_at_once(all_three: affidavit.Session) -> None:
    def read(at: int) -> int:
        total = 0
        for table in ("pg.public.people", "duck.main.a", "lite.main.b"):
            rows = all_three.sql(f"SELECT id FROM {table} WHERE id >= {at % 3}").to_arrow()
            total += rows.num_rows
        return total

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(read, range(0, 120, 3))) == {11}
