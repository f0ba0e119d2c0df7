"""Two processes write a lake while clients, backends, the server and connections end under them.

Each says what it begins and how that went. What was said to be written is there once and in its order,
what was refused is not there, and what nobody could tell of is there once or not at all.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
import pytest
from tests.support.pg_proxy import PgProxy
from tests.support.pg_server import PgServer
from tests.support.processes import Child
from tests.support.waiting import eventually

import affidavit
from affidavit import errors
from affidavit.catalog.store.postgres.store import PostgresStore
from affidavit.catalog.store.protocol import StoreColumn, StoreTable
from affidavit.catalog.values.types import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.server, pytest.mark.crash]

ROUNDS = int(os.environ.get("AFFIDAVIT_CRASH_ROUNDS", "3"))
"""How often something ends, of each kind; a long run sets more."""

ALONE_S = 0.3
"""How long they write at most until it ends: where it ends is the point, and chance."""

CHILD = """
import os, sys, time
import affidavit
from affidavit import errors

path, url, said, key = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

def insert(session, key):
    session.sql("INSERT INTO t VALUES ($key, 0)", key=key)

def both(session, key):
    with session.transaction():
        session.sql("INSERT INTO t VALUES ($key, 0)", key=key)
        session.sql("INSERT INTO u VALUES ($key)", key=key)

def update(session, key):
    session.sql("UPDATE t SET n = $key WHERE id = 0", key=key)

def delete(session, key):
    session.sql("DELETE FROM t WHERE id = $id", id=key - 3)  # which insert wrote

def publish(session, key):
    session.topics.publish("news", {"key": key})

def connect():
    while True:
        try:
            return affidavit.connect(path, store=url)
        except errors.StoreError:
            time.sleep(0.02)

kinds = (insert, both, update, delete, publish)
with connect() as session, open(said, "a", buffering=1) as log:
    while not os.path.exists(said + ".stop"):
        kind = kinds[key % len(kinds)]
        print("begun", kind.__name__, key, file=log)
        try:
            kind(session, key)
        except errors.OutcomeUnknownError:
            print("unknown", kind.__name__, key, file=log)
        except errors.StoreError as error:
            print("refused", kind.__name__, key, error, file=log)
        else:
            print("written", kind.__name__, key, file=log)
        key += 1
"""
T = StoreTable("t", (StoreColumn("i", Kind.INTEGER),))
EVENTS = "SELECT seq, entity_type, entity_id, action, new_value FROM journal ORDER BY seq"


class Writers:
    """Two processes that write until they are stopped, and what they say."""

    def __init__(self, lake: Path, url: str, folder: Path) -> None:
        self._lake, self._url, self._folder = lake, url, folder
        self._logs: list[Path] = []
        self._running = [self._begin(), self._begin()]

    def _begin(self) -> tuple[Child, Path]:
        log = self._folder / f"said{len(self._logs)}"
        self._logs.append(log)
        return Child(CHILD, self._lake, self._url, log, len(self._logs) * 1_000_000), log

    def kill_one(self) -> None:
        at = random.randrange(len(self._running))
        child, _ = self._running[at]
        child.kill()
        child.communicate()
        self._running[at] = self._begin()

    def go_on(self) -> None:
        """Wait until each has written something more."""
        for child, log in self._running:
            before = _written(log)
            eventually(
                lambda log=log, before=before: _written(log) > before + 1,
                "it does not go on", seconds=60,
            )  # fmt: skip
            assert child.poll() is None

    def stop(self) -> None:
        for child, log in self._running:
            log.with_name(f"{log.name}.stop").touch()
            _, complaint = child.communicate(timeout=60)
            assert child.returncode == 0, complaint

    def kill(self) -> None:
        for child, _ in self._running:
            child.kill()

    def said(self) -> Iterator[dict[str, list[tuple[str, int]]]]:
        """Yield what each said: of every way it went the kinds and their keys."""
        for log in self._logs:
            found: dict[str, list[tuple[str, int]]] = {}
            for line in log.read_text().splitlines() if log.exists() else ():
                how, kind, key, *_ = line.split(" ", 3)
                found.setdefault(how, []).append((kind, int(key)))
            yield found


def _written(log: Path) -> int:
    return log.read_text().count("written") if log.exists() else 0


@pytest.fixture
def server() -> Iterator[PgServer]:
    """A server of the test's own, which may be killed."""
    made = PgServer()
    yield made
    made.start()
    made.cleanup()


@pytest.fixture
def proxy(server: PgServer) -> Iterator[PgProxy]:
    made = PgProxy(server.url())
    yield made
    made.close()


def kill_backends(server: PgServer) -> None:
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'affidavit' AND random() < 0.7"
        )


def kill_server(server: PgServer) -> None:
    """Kill the server's first process, and begin another once its others have ended."""
    pid = int((server.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)

    def begins() -> bool:
        with suppress(Exception):  # the memory of the one before is still in use
            server.start()
            with psycopg.connect(server.url()):
                return True
        return False

    eventually(begins, "the server does not begin")


def cut(proxy: PgProxy) -> None:
    proxy.cut = random.choice(["before", "in", "after", "half", None])
    if proxy.cut is None:
        proxy.cut_all()


ENDS: dict[str, Callable[[Writers, PgServer, PgProxy], object]] = {
    "client": lambda writers, *_: writers.kill_one(),
    "backend": lambda _, server, __: kill_backends(server),
    "server": lambda _, server, __: kill_server(server),
    "connection": lambda _, __, proxy: cut(proxy),
}


def test_a_number_that_a_crash_gave_to_another_transaction_is_not_taken_for_ones_own(
    server, proxy, tmp_path
) -> None:
    """It was committed, said the server of another's, and an insert that was lost was confirmed."""
    server.run("ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()")
    store = PostgresStore(f"{proxy.url}&schema=numbers", busy_timeout_s=60)
    with store.write("acme") as writer:
        writer.create_table(T)
    raised: list[BaseException] = []

    def insert() -> None:
        try:
            with store.write("acme") as writer:
                writer.insert(T, ("i",), [(1,)])
                proxy.cut, proxy.is_shut = "before", True
        except errors.StoreError as error:
            raised.append(error)

    server.run("CREATE TABLE others (i int)", "CHECKPOINT")
    inserting = threading.Thread(target=insert)
    inserting.start()
    eventually(lambda: proxy.is_shut and proxy.cut is None)
    kill_server(server)
    for _ in range(20):
        server.run("INSERT INTO others VALUES (1)")
    proxy.is_shut = False
    inserting.join()
    assert raised
    with store.read("acme") as reader:
        assert reader.count(T) == 0
    store.close()


@pytest.mark.parametrize("what", ENDS)
def test_whatever_ends_nothing_is_lost_doubled_or_reordered(
    server, proxy, lake, tmp_path, monkeypatch, what
) -> None:
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", "5a" * 32)
    schema = f"lake_{what}"
    with affidavit.connect(lake, store=f"{server.url()}&schema={schema}") as session:
        session.create_table("t", [{"id": 0, "n": 0}], primary_key="id")
        session.sql("CREATE TABLE u (id BIGINT PRIMARY KEY)")
        session.topics.register("news", pa.schema([("key", pa.int64())]))
    writers = Writers(lake, f"{proxy.url}&schema={schema}", tmp_path)
    try:
        writers.go_on()
        for _ in range(ROUNDS):
            time.sleep(random.uniform(0, ALONE_S))
            ENDS[what](writers, server, proxy)
            writers.go_on()
        writers.stop()
    finally:
        writers.kill()
    with affidavit.connect(lake, store=f"{server.url()}&schema={schema}") as session:
        check(session, list(writers.said()))


def check(session: affidavit.Session, said: list[dict[str, list[tuple[str, int]]]]) -> None:
    """Everything is as the writers said, the tables as their events, and the ledger verifies."""
    verdict = session.ledger.verify(progress=False)
    assert verdict, str(verdict)
    events = session.sql(EVENTS).to_pylist()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    found = [mark for event in events if (mark := _mark(event)) is not None]
    published = session.sql("SELECT _offset AS at, key FROM topics.news ORDER BY _offset")
    news = [("publish", row["key"]) for row in published.to_pylist()]
    assert max(Counter([*found, *news]).values()) == 1
    inserted = {key for kind, key in found if kind == "insert"}
    second = {key for kind, key in found if kind == "second"}
    deleted = {key - 3 for kind, key in found if kind == "delete"}
    updated = [key for kind, key in found if kind == "update"]
    rows = {row["id"]: row["n"] for row in session.sql("SELECT id, n FROM t").to_pylist()}
    assert rows == {**dict.fromkeys(inserted - deleted, 0), 0: updated[-1]}
    assert {row["id"] for row in session.sql("SELECT id FROM u").to_pylist()} == second
    assert second == {key for key in inserted if key % 5 == 1}
    for number, each in enumerate(said, 1):
        _check_one(number, each, [_told(mark) for mark in found if mark[0] != "second"], inserted)
        _check_one(number, each, news, None)


def _mark(event: dict[str, object]) -> tuple[str, int] | None:
    """Return what an event says was done, and under which key."""
    table, action, at = event["entity_type"], event["action"], event["entity_id"]
    match table, action:
        case "t", "insert" if at != "0":
            return "insert", int(str(at))
        case "u", "insert":
            return "second", int(str(at))
        case "t", "update":
            return "update", int(str(event["new_value"]))
        case "t", "delete":
            return "delete", int(str(at)) + 3
    return None


def _told(mark: tuple[str, int]) -> tuple[str, int]:
    kind, key = mark
    return ("both", key) if kind == "insert" and key % 5 == 1 else mark


def _check_one(
    number: int,
    said: dict[str, list[tuple[str, int]]],
    found: list[tuple[str, int]],
    inserted: set[int] | None,
) -> None:
    """What is found of one writer is what it said, in the order in which it did it."""
    kinds = {"publish"} if inserted is None else {"insert", "both", "update", "delete"}
    own = [mark for mark in found if mark[1] // 1_000_000 == number]
    assert own == sorted(own, key=lambda mark: mark[1])
    ways = {how: {mark for mark in marks if mark[0] in kinds} for how, marks in said.items()}
    written = {
        (kind, key)
        for kind, key in ways.get("written", ())
        if kind != "delete" or key - 3 in (inserted or ())
    }
    assert written <= set(own)
    assert not ways.get("refused", set()) & set(own)
    assert set(own) <= ways.get("begun", set())
