"""Connections that end: what was committed is known to be, or nobody says that it was not."""

from __future__ import annotations

import itertools
import sys
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.support.pg_proxy import PgProxy
from tests.support.stores import schema_url
from tests.support.waiting import eventually

import affidavit
from affidavit import errors
from affidavit.catalog.store.postgres import committing, watch
from affidavit.catalog.store.postgres.address import parse_address
from affidavit.catalog.store.postgres.store import PostgresStore
from affidavit.catalog.store.protocol import StoreColumn, StoreIndex, StoreTable
from affidavit.catalog.values.types import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

pytestmark = pytest.mark.server

T = StoreTable("t", (StoreColumn("i", Kind.INTEGER),), (StoreIndex("t_i", ("i",), unique=True),))


@pytest.fixture
def proxy(pg_server) -> Iterator[PgProxy]:
    made = PgProxy(pg_server.url())
    yield made
    made.close()


@pytest.fixture
def store(proxy, tmp_path) -> Iterator[PostgresStore]:
    opened = PostgresStore(schema_url(proxy.url, tmp_path), busy_timeout_s=2)
    with opened.write("acme") as writer:
        writer.create_table(T)
    yield opened
    opened.close()


@pytest.fixture
def admin(pg_server) -> Iterator[psycopg.Connection]:
    with psycopg.connect(pg_server.url(), autocommit=True) as connection:
        yield connection


def insert(store: PostgresStore, number: int) -> list[int]:
    """Insert a row, and return which calls were made once it was committed."""
    told: list[int] = []
    with store.write("acme") as writer:
        writer.insert(T, ("i",), [(number,)])
        writer.on_commit("told", lambda: told.append(number))
    return told


def found(store: PostgresStore) -> list[int]:
    with store.read("acme") as reader:
        return [i for (i,) in reader.select(T, ("i",), order_by=("i",))]


@pytest.mark.parametrize("where", ["before", "half"])
def test_a_commit_that_never_came_is_not_written(store, proxy, where) -> None:
    """Where the server learns of nothing its backend is ended, and so its locks are free."""
    proxy.cut = where
    with pytest.raises(errors.StoreError, match="nothing was written") as raised:
        insert(store, 1)
    assert not isinstance(raised.value, errors.OutcomeUnknownError)
    assert insert(store, 2) == [2]
    assert found(store) == [2]


def test_a_commit_whose_answer_was_lost_is_written_once(store, proxy) -> None:
    proxy.cut = "after"
    assert insert(store, 1) == [1]
    assert found(store) == [1]
    with pytest.raises(errors.ConstraintError):
        insert(store, 1)


def test_a_commit_that_was_cut_in_the_middle_is_as_is_said(store, proxy) -> None:
    for number in range(10):
        proxy.cut = "in"
        try:
            told = insert(store, number)
        except errors.StoreError as error:
            assert "nothing was written" in str(error)
            told = []
        assert (number in found(store)) == (told == [number])


def test_where_nobody_can_tell_nobody_says_that_nothing_was_written(
    store, proxy, monkeypatch
) -> None:
    monkeypatch.setattr(committing, "ASKED_MIN_S", 0.2)
    store.hurry(0.2)
    proxy.cut = "after"
    proxy.is_shut = True
    with pytest.raises(errors.OutcomeUnknownError, match="look whether what you wrote is there"):
        insert(store, 1)
    proxy.is_shut = False
    assert found(store) == [1]


def test_a_backend_that_is_killed_takes_nothing_with_it(store, admin) -> None:
    with pytest.raises(errors.StoreError), store.write("acme") as writer:
        writer.insert(T, ("i",), [(1,)])
        pid = writer._connection.info.backend_pid
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        writer.insert(T, ("i",), [(2,)])
    assert found(store) == []
    assert insert(store, 3) == [3]


def test_kept_connections_that_ended_are_replaced(store, proxy) -> None:
    assert found(store) == []
    proxy.cut_all()
    assert found(store) == []
    proxy.cut_all()
    assert insert(store, 1) == [1]
    proxy.cut_all()
    assert store.take_places("a", 1) == 0
    with store.lock("x"):
        pass


def test_a_watch_that_lost_its_connection_says_so_once(store, proxy, monkeypatch) -> None:
    watching = store.watch()
    assert not watching.changed()
    insert(store, 1)
    eventually(watching.changed)
    assert not watching.changed()
    proxy.cut_all()
    eventually(watching.changed)
    assert not watching.changed()
    insert(store, 2)
    eventually(watching.changed)
    monkeypatch.setattr(watch, "HEARTBEAT_S", 0.0)
    assert not watching.changed()  # asks for a sign of life
    assert watching.changed()  # nothing can come in no time: another listens
    watching.close()


def test_tenants_write_side_by_side_and_the_shared_scope_alone(store) -> None:
    with store.write("acme") as first, store.write("other") as second:
        first.insert(T, ("i",), [(1,)])
        second.insert(T, ("i",), [(2,)])
        with pytest.raises(errors.StoreBusyError), store.write("", timeout_s=0):
            pass
        with pytest.raises(errors.StoreBusyError), store.write("acme", timeout_s=0):
            pass
    with store.write("") as shared:
        shared.insert(T, ("i",), [(3,)])
        with pytest.raises(errors.StoreBusyError), store.write("acme", timeout_s=0):
            pass
    assert found(store) == [1, 3]


def test_a_ledger_has_no_gap_where_many_threads_of_two_hosts_write(
    pg_server, lake, monkeypatch
) -> None:
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", "5a" * 32)
    url = pg_server.schema(lake)
    with affidavit.connect(lake, store=url) as one, affidavit.connect(lake, store=url) as two:
        one.create_table("t", [{"id": 0}], primary_key="id")
        scopes = [each.scope(tenant=name) for each in (one, two) for name in ("a", "b")]
        for scope in scopes[:2]:
            scope.create_table("t", [{"id": 0}], primary_key="id")

        def write(scope: affidavit.Session, first: int) -> None:
            for at in range(10):
                scope.sql(f"INSERT INTO t VALUES ({first + at})")

        threads = [
            threading.Thread(target=write, args=(scope, 100 * (at + 1)))
            for at, scope in enumerate(scopes)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        for scope in scopes[:2]:
            assert scope.sql("SELECT count(*) AS n FROM t").to_pylist() == [{"n": 21}]
            assert scope.ledger.verify()
    address = parse_address(url)
    with psycopg.connect(address.conninfo) as connection:
        for name in (b"a", b"b"):
            seqs = connection.execute(
                f"SELECT seq FROM {address.schema}.ledger WHERE _tenant = %s ORDER BY seq", [name]
            ).fetchall()
            assert [seq for (seq,) in seqs] == list(range(len(seqs)))


def test_what_a_schema_says_of_passwords_is_nothing(pg_server, lake, monkeypatch) -> None:
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", "5a" * 32)
    pg_server.run("DROP ROLE IF EXISTS ann", "CREATE ROLE ann SUPERUSER LOGIN PASSWORD 'geheim'")
    url = pg_server.schema(lake).replace("postgres@", "ann:geheim@")
    with affidavit.connect(lake, store=url) as session:
        session.create_table("t", [{"id": 1}])
        session.sql("SELECT * FROM t").to_arrow()
        assert "geheim" not in repr(session)
    address = parse_address(url)
    with psycopg.connect(address.conninfo) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'",
            [address.schema],
        ).fetchall()
        for (name,) in names:
            rows = connection.execute(f'SELECT * FROM {address.schema}."{name}"').fetchall()
            assert b"geheim" not in repr(rows).encode()
    for path in lake.rglob("*"):
        assert not path.is_file() or b"geheim" not in path.read_bytes()


def test_a_lock_that_many_want_is_free_afterwards(store) -> None:
    """One that was granted just as its time was over was once held for good by a kept connection."""

    def take(timeout_s: float | None) -> None:
        for _ in range(100):
            with suppress(errors.StoreBusyError), store.lock("x", timeout_s=timeout_s):
                pass

    threads = [threading.Thread(target=take, args=(each,)) for each in (0, 0, None, None)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    with store.lock("x", timeout_s=0.1):
        pass


class Stopper:
    """Raises KeyboardInterrupt at one of the calls that a commit makes, in the driver or around it."""

    def __init__(self, at: int) -> None:
        self._left = at
        self._is_on = False
        self.came = False

    def __call__(self, frame: FrameType, event: str, _called: object) -> None:
        if frame.f_code is committing.commit.__code__:
            self._is_on = event != "return"
        if (
            not self._is_on
            or event not in {"call", "c_return"}
            or frame.f_code.co_name == "__del__"
        ):
            return
        self._left -= 1
        if self._left == 0:
            sys.setprofile(None)
            self.came = True
            raise KeyboardInterrupt


def test_who_is_told_to_stop_in_a_commit_has_done_what_waited_for_it_if_it_is_written(
    store,
) -> None:
    written = []
    for at in itertools.count(1, 4):
        told: list[int] = []
        stopper = Stopper(at)
        with suppress(KeyboardInterrupt), store.write("acme") as writer:
            writer.insert(T, ("i",), [(at,)])
            writer.on_commit("told", partial(told.append, at))
            sys.setprofile(stopper)
        sys.setprofile(None)
        assert found(store) == [*written, *told], f"at call {at}"
        written += told
        if not stopper.came:
            break
    assert 1 < len(written) < at // 4
