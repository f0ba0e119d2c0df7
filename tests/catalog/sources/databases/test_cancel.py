"""A statement that is given up stops what other databases do for it."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.processes import Child
from tests.support.waiting import eventually

import affidavit
from affidavit.errors import ClosedError

if TYPE_CHECKING:
    from tests.support.mariadb_server import MariaDbServer
    from tests.support.pg_server import PgServer

SLOW_S = 60
BOUND_S = 20
SOURCES = {
    "pg": "pg.public.slow",
    "my": "my.cancel.slow",
    "duck": "duck.main.slow",
    "lite": "lite.main.slow",
}


SERVERS = {"pg", "my"}


@pytest.fixture(
    params=[pytest.param(each, marks=[pytest.mark.server] * (each in SERVERS)) for each in SOURCES]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database with a view ``slow``, which takes longer than anybody waits."""
    if kind == "pg":
        pg: PgServer = request.getfixturevalue("pg_server")
        view = f"CREATE VIEW slow AS SELECT 1 AS x, pg_sleep({SLOW_S})::text AS s"
        return pg.database("cancel", view)
    if kind == "my":
        my: MariaDbServer = request.getfixturevalue("mariadb_server")
        return my.database("cancel", f"CREATE VIEW slow AS SELECT SLEEP({SLOW_S}) AS x")
    path = tmp_path / "slow.db"
    if kind == "duck":
        with pytest.importorskip("duckdb").connect(str(path)) as connection:
            connection.execute(
                "CREATE VIEW slow AS SELECT a.range AS x FROM range(10000000) a, "
                "range(10000000) b WHERE a.range + b.range = 7"
            )
        return f"duckdb:///{path}"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x INTEGER)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(3000)])
    connection.execute(
        "CREATE VIEW slow AS SELECT a.x FROM t a, t b, t c, t d WHERE a.x + b.x + c.x + d.x = -1"
    )
    connection.commit()
    connection.close()
    return f"sqlite:///{path}"


def active(kind: str, request: pytest.FixtureRequest) -> bool:
    """Return whether a server runs the query; of files only the process knows."""
    if kind == "pg":
        server: PgServer = request.getfixturevalue("pg_server")
        text = "SELECT 1 FROM pg_stat_activity WHERE datname = 'cancel' AND state = 'active'"
        return bool(server.run(text))
    if kind == "my":
        mariadb: MariaDbServer = request.getfixturevalue("mariadb_server")
        return any("slow" in text for text in mariadb.processes())
    return False


def test_closing_a_result_stops_what_another_thread_waits_for(
    kind: str, url: str, session: affidavit.Session, request: pytest.FixtureRequest
) -> None:
    session.attach(kind, url)
    result = session.sql(f"SELECT x FROM {SOURCES[kind]}")
    raised: list[BaseException] = []

    def read() -> None:
        try:
            result.to_arrow()
        except BaseException as error:
            raised.append(error)

    reader = threading.Thread(target=read)
    began = time.monotonic()
    reader.start()
    time.sleep(0.3)
    if kind in {"pg", "my"}:
        eventually(lambda: active(kind, request))
    result.close()
    reader.join(BOUND_S)
    assert not reader.is_alive()
    assert time.monotonic() - began < BOUND_S
    assert isinstance(raised[0], ClosedError), raised
    eventually(lambda: not active(kind, request))
    assert session.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]


CTRL_C = """
import signal, sys, threading, os, time
import affidavit
signal.signal(signal.SIGINT, signal.default_int_handler)
lake, kind, url, table = sys.argv[1:]
with affidavit.connect(lake) as session:
    session.attach(kind, url)
    print("ready", flush=True)
    began = time.monotonic()
    try:
        session.sql(f"SELECT x FROM {table}").to_arrow()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(session.sql("SELECT 1 AS one").to_pylist(), flush=True)
"""


@pytest.mark.slow
def test_ctrl_c_stops_it(kind: str, url: str, lake: Path, request: pytest.FixtureRequest) -> None:
    began = time.monotonic()
    with Child(CTRL_C, lake, kind, url, SOURCES[kind]) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        if kind in {"pg", "my"}:
            eventually(lambda: active(kind, request))
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=BOUND_S)[0]
    assert told.splitlines() == ["interrupted", "[{'one': 1}]"]
    assert process.returncode == 0
    assert time.monotonic() - began < BOUND_S
    assert not active(kind, request)


def test_a_statement_that_fails_elsewhere_stops_it(
    kind: str, url: str, session: affidavit.Session, request: pytest.FixtureRequest
) -> None:
    session.attach(kind, url)
    session.sql("CREATE TABLE here AS SELECT value AS x FROM range(0, 5)")
    began = time.monotonic()
    with pytest.raises(affidavit.AffidavitError, match="zero"):
        session.sql(
            f"SELECT 1 / (x - 3) AS y FROM here UNION ALL SELECT x AS y FROM {SOURCES[kind]}"
        ).to_arrow()
    eventually(lambda: not active(kind, request))
    assert time.monotonic() - began < BOUND_S


CTRL_C_WHILE_INSERTING = """
import signal, sys
import affidavit
signal.signal(signal.SIGINT, signal.default_int_handler)
lake, kind, url, table = sys.argv[1:]
with affidavit.connect(lake) as session:
    session.attach(kind, url)
    print("ready", flush=True)
    try:
        session.sql(f"INSERT INTO {table} SELECT value FROM range(0, 1000000000)")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(session.sql(f"SELECT count(*) AS n FROM {table}").to_pylist(), flush=True)
    print(session.sql("SELECT action FROM journal WHERE action <> 'attach'").to_pylist())
"""


@pytest.mark.slow
def test_ctrl_c_while_inserting_keeps_nothing(
    kind: str, url: str, lake: Path, request: pytest.FixtureRequest
) -> None:
    schema = SOURCES[kind].split(".")[1]
    make_target(kind, url, request)
    with Child(CTRL_C_WHILE_INSERTING, lake, kind, url, f"{kind}.{schema}.n") as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=BOUND_S)[0]
    assert told.splitlines() == ["interrupted", "[{'n': 0}]", "[]"]
    assert process.returncode == 0


def make_target(kind: str, url: str, request: pytest.FixtureRequest) -> None:
    """Make an empty table ``n`` beside the slow view."""
    statement = "CREATE TABLE n (x bigint)"
    path = url.partition("://")[2].removeprefix("/")
    if kind == "pg":
        request.getfixturevalue("pg_server").run(statement, database="cancel")
    elif kind == "my":
        request.getfixturevalue("mariadb_server").run(statement, database="cancel")
    elif kind == "duck":
        with pytest.importorskip("duckdb").connect(path) as connection:
            connection.execute(statement)
    else:
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.close()


CTRL_C_WHILE_WAITING = """
import signal, sys
import affidavit
signal.signal(signal.SIGINT, signal.default_int_handler)
lake, kind, url, statement = sys.argv[1:]
with affidavit.connect(lake) as session:
    session.attach(kind, url)
    print("ready", flush=True)
    try:
        session.sql(statement).to_arrow()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(session.sql("SELECT 1 AS one").to_pylist(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {schema}.n SELECT x FROM {slow}",
        "CREATE TABLE made AS SELECT x FROM {slow}",
        "COPY (SELECT x FROM {slow}) TO '{path}'",
    ],
)
def test_ctrl_c_stops_what_a_statement_that_writes_waits_for(
    kind: str, url: str, lake: Path, tmp_path: Path, request: pytest.FixtureRequest, statement: str
) -> None:
    make_target(kind, url, request)
    schema = SOURCES[kind].rpartition(".")[0]
    text = statement.format(schema=schema, slow=SOURCES[kind], path=tmp_path / "x.parquet")
    with Child(CTRL_C_WHILE_WAITING, lake, kind, url, text) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=BOUND_S)[0]
    assert told.splitlines() == ["interrupted", "[{'one': 1}]"]
    eventually(lambda: not active(kind, request))


@pytest.mark.slow
def test_ctrl_c_stops_the_planning_of_ranges(lake: Path, pg_server: PgServer) -> None:
    """Another locks the table whose key is looked at."""
    url = pg_server.database(
        "cancel",
        "CREATE TABLE t AS SELECT i AS x FROM generate_series(1, 600000) i",
        "ALTER TABLE t ADD PRIMARY KEY (x)",
        "ANALYZE t",
    )
    script = CTRL_C_WHILE_WAITING.replace(
        'print("ready"', 'session.sql("SELECT x FROM pg.public.t WHERE x = 1").to_arrow()\n'
        '    print("ready"',
    ).replace("    try:", "    sys.stdin.readline()\n    try:")  # fmt: skip
    with Child(script, lake, "pg", url, "SELECT count(*) FROM pg.public.t") as process:
        assert process.stdout.readline() == "ready\n"
        with pg_server.connect("cancel") as holder, holder.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            process.stdin.write("go\n")
            process.stdin.flush()
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            told = process.communicate(timeout=BOUND_S)[0]
            cursor.execute("ROLLBACK")
    assert told.splitlines() == ["interrupted", "[{'one': 1}]"]
