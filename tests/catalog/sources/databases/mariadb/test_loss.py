"""MariaDB: what happens when its tables change, it goes away, or a result is given up."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import eventually

import affidavit
from affidavit.catalog.sources.drivers import mariadb
from affidavit.errors import AffidavitError, SourceError, SqlError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mariadb_server import MariaDbServer


BOUND_S = 20.0


def ids(session: affidavit.Session, text: str) -> list[int]:
    return sorted(each["id"] for each in session.sql(text).to_pylist())


# --- what changes under us ------------------------------------------------------------------------


def test_a_table_that_is_made_altered_or_dropped_is_noticed(
    my: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    with pytest.raises(SqlError, match="late"):
        my.sql("SELECT * FROM my.first.late")
    mariadb_server.run("CREATE TABLE late (x int)", "INSERT INTO late VALUES (1)", database="first")
    assert my.sql("SELECT x FROM my.first.late").to_pylist() == [{"x": 1}]
    my.sql("SELECT name FROM my.first.people").to_arrow()
    mariadb_server.run("ALTER TABLE people DROP COLUMN name", database="first")
    with pytest.raises((SourceError, SqlError), match=r"\bname\b"):
        my.sql("SELECT name FROM my.first.people").to_arrow()
    assert ids(my, "SELECT id FROM my.first.people") == [1, 2, 3]
    mariadb_server.run("ALTER TABLE people MODIFY id varchar(9)", database="first")
    mariadb_server.run("UPDATE people SET id = 'x' WHERE id = '1'", database="first")
    with pytest.raises(SourceError, match="'my'.*'id'"):
        my.sql("SELECT id FROM my.first.people").to_arrow()
    mariadb_server.run("DROP TABLE people", database="first")
    with pytest.raises((SourceError, SqlError), match="people"):
        my.sql("SELECT id FROM my.first.people").to_arrow()
    assert my.sql("SELECT x FROM my.first.late").to_pylist() == [{"x": 1}]


@pytest.fixture(scope="module")
def big(mariadb_server: MariaDbServer) -> str:
    return mariadb_server.database(
        "big",
        "CREATE TABLE t (id int PRIMARY KEY, pad varchar(100))",
        "INSERT INTO t SELECT seq, repeat('x', 100) FROM seq_1_to_100000",
        "ANALYZE TABLE t",
    )


def test_a_server_that_dies_mid_way_is_an_error_and_its_return_is_noticed(
    session: affidavit.Session,
    mariadb_server: MariaDbServer,
    big: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mariadb, "PAGE_ROWS", 5000)
    session.attach("my", big)
    batches = session.sql("SELECT id, pad FROM my.big.t").batches()
    assert next(batches).num_rows
    mariadb_server.kill()
    began = time.monotonic()
    try:
        with pytest.raises(SourceError, match=r"'my'.*big\.t"):
            for _ in batches:
                pass
        with pytest.raises(SourceError, match="'my'"):
            session.sql("SELECT id FROM my.big.t WHERE id = 1").to_arrow()
        assert time.monotonic() - began < BOUND_S
        assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    finally:
        mariadb_server.start()
    assert ids(session, "SELECT id FROM my.big.t WHERE id = 1") == [1]


def test_a_connection_that_died_while_idle_is_replaced(
    session: affidavit.Session, mariadb_server: MariaDbServer, big: str
) -> None:
    session.attach("my", big)
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(lambda at: ids(session, f"SELECT id FROM my.big.t WHERE id = {at}"), range(4))
        )
    for how in (mariadb_server.stop, mariadb_server.kill):
        how()
        mariadb_server.start()
        assert ids(session, "SELECT id FROM my.big.t WHERE id = 1") == [1]


# --- giving up ------------------------------------------------------------------------------------


def test_a_result_that_is_given_up_leaves_no_query_running(
    session: affidavit.Session,
    mariadb_server: MariaDbServer,
    big: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mariadb, "PAGE_ROWS", 5000)
    session.attach("my", big)
    for _ in range(5):
        result = session.sql("SELECT id, pad FROM my.big.t")
        batches = result.batches()
        assert next(batches).num_rows
        batches.close()
        result.close()
        del batches, result
    gc.collect()
    eventually(lambda: not any(mariadb_server.processes()))
    assert ids(session, "SELECT id FROM my.big.t WHERE id = 7") == [7]


def computing(server: MariaDbServer) -> bool:
    return any("slow" in each for each in server.processes())


def test_ctrl_c_ends_what_the_server_computes(
    my: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    """ADBC would take the signal in the main thread, and crash if the query ended meanwhile."""

    def interrupt() -> None:
        eventually(lambda: computing(mariadb_server))
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for _ in range(5):
            with ThreadPoolExecutor(1) as other:
                other.submit(interrupt)
                with pytest.raises(KeyboardInterrupt):
                    my.sql("SELECT * FROM my.first.slow").to_arrow()
            eventually(lambda: not computing(mariadb_server))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ids(my, "SELECT id FROM my.first.people") == [1, 2, 3]


def test_a_result_that_another_thread_closes_ends_what_the_server_computes(
    my: affidavit.Session, mariadb_server: MariaDbServer
) -> None:
    result = my.sql("SELECT * FROM my.first.slow")
    ended = threading.Event()

    def read() -> None:
        with pytest.raises(AffidavitError):
            result.to_arrow()
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    eventually(lambda: computing(mariadb_server))
    result.close()
    assert ended.wait(BOUND_S)
    reader.join()
    eventually(lambda: not computing(mariadb_server))
    assert ids(my, "SELECT id FROM my.first.people") == [1, 2, 3]


def test_many_threads_read_at_once(my: affidavit.Session, mariadb_server: MariaDbServer) -> None:
    def read(at: int) -> tuple[int, ...]:
        return tuple(ids(my, f"SELECT id FROM my.first.people WHERE id >= {at % 3 + 1}"))

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(read, range(200)))
    assert found == [tuple(range(at % 3 + 1, 4)) for at in range(200)]
    assert len(mariadb_server.processes()) <= 8


def test_a_session_that_closes_leaves_no_connection(
    lake: Path, mariadb_server: MariaDbServer, url: str
) -> None:
    eventually(lambda: not mariadb_server.processes())
    with affidavit.connect(lake) as session:
        session.attach("my", url)
        for _ in range(5):
            session.sql("SELECT * FROM my.first.people").to_arrow()
            with pytest.raises(AffidavitError):
                session.sql("SELECT nothing FROM my.first.people").to_arrow()
            session.sql("SELECT * FROM my.first.people LIMIT 1").to_arrow()
        session.sql("SELECT * FROM my.first.people").to_arrow()
        assert 1 <= len(mariadb_server.processes()) <= 8
    gc.collect()
    eventually(lambda: not mariadb_server.processes())
