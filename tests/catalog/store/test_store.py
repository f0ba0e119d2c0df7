"""The contract of the relational store, run against every implementation."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.support import disks

import affidavit
from affidavit import errors
from affidavit.catalog.sql.predicate import (
    And,
    Compare,
    CompareColumns,
    Constant,
    In,
    IsNull,
    Not,
    Or,
)
from affidavit.catalog.store.postgres.store import PostgresStore
from affidavit.catalog.store.protocol import (
    ROWID,
    PutOff,
    StoreColumn,
    StoreIndex,
    StoreOptions,
    StoreTable,
)
from affidavit.catalog.store.registry import open_store
from affidavit.catalog.store.sqlite import connections, schema
from affidavit.catalog.store.sqlite.migrations import APPLICATION_ID, FORMAT, MIGRATIONS
from affidavit.catalog.store.sqlite.store import SqliteStore
from affidavit.catalog.values.types import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from affidavit.catalog.store.protocol import Store

T = StoreTable(
    "t",
    (StoreColumn("i", Kind.INTEGER), StoreColumn("s", Kind.TEXT), StoreColumn("b", Kind.BLOB)),
    (StoreIndex("t_i", ("i",), unique=True),),
)
ROWS = [
    (1, "a", b"x"),
    (2, None, b""),
    (-(2**63), "", None),
    (2**63 - 1, "a\x00b", b"\x00\xff"),
    (None, "ß", b"y"),
]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def again(request, tmp_path) -> Callable[[], Store]:
    """Opens one store, as often as wanted."""
    if request.param == "sqlite":
        (tmp_path / "locks").mkdir()
        return lambda: SqliteStore(
            tmp_path / "s.db", locks=tmp_path / "locks", durability="normal", busy_timeout_s=0.3
        )
    url = request.getfixturevalue("pg_server").schema(tmp_path)
    return lambda: PostgresStore(url, durability="normal", busy_timeout_s=0.3)


@pytest.fixture
def sqlite(tmp_path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "s.db", locks=tmp_path, durability="normal")
    with opened.write("acme") as writer:
        writer.create_table(T)
        writer.insert(T, ("i", "s", "b"), ROWS)
    yield opened
    opened.close()


@pytest.fixture
def store(again) -> Iterator[Store]:
    opened = again()
    with opened.write("acme") as writer:
        writer.create_table(T)
        writer.insert(T, ("i", "s", "b"), ROWS)
    yield opened
    opened.close()


def rows(store, where=None, tenant="acme"):
    with store.read(tenant) as reader:
        return reader.select(T, ("i", "s", "b"), where, order_by=(ROWID,))


def test_values_come_back_as_they_were(store) -> None:
    assert rows(store) == ROWS
    with store.read("acme") as reader:
        batches = list(reader.scan(T, ("s", "i", "b", ROWID), batch_rows=2))
        assert [b.num_rows for b in batches] == [2, 2, 1]
        assert [str(t) for t in batches[0].schema.types] == ["string", "int64", "binary", "int64"]
        assert [r["i"] for b in batches for r in b.to_pylist()] == [r[0] for r in ROWS]
        assert [b.num_rows for b in reader.scan(T, ())] == [5]
        assert reader.count(T) == 5
        assert reader.select(T, ("i",), order_by=("i",), limit=2)[1] == (-(2**63),)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (Compare("=", "i", 1), [0]),
        (Compare("!=", "i", 1), [1, 2, 3]),
        (Compare(">", "s", "a"), [3, 4]),
        (Compare("<=", "b", b"x"), [0, 1, 3]),
        (Compare("=", "i", None), []),
        (In("i", (1, 2, 99)), [0, 1]),
        (In("i", (1,), has_null=True), [0]),
        (Not(In("i", (1,), has_null=True)), []),
        (Not(In("i", (1,))), [1, 2, 3]),
        (IsNull("s"), [1]),
        (Not(IsNull("s")), [0, 2, 3, 4]),
        (And((Compare(">", "i", 0), Compare("<", "i", 3))), [0, 1]),
        (Or((IsNull("i"), Compare("=", "s", ""))), [2, 4]),
        (Not(Or((IsNull("i"), Compare("=", "s", "")))), [0, 3]),
        (CompareColumns("=", "s", "s"), [0, 2, 3, 4]),
        (Constant(value=True), [0, 1, 2, 3, 4]),
        (Constant(value=None), []),
    ],
)
def test_predicates_have_sqls_three_values(store, where, found) -> None:
    expected = {ROWS[at] for at in found}
    if where == Compare("<=", "b", b"x"):
        expected = {r for r in ROWS if r[2] is not None and r[2] <= b"x"}
    assert set(rows(store, where)) == expected


def test_a_write_is_whole_or_nothing(store) -> None:
    with pytest.raises(ZeroDivisionError), store.write("acme") as writer:
        writer.delete_where(T, None)
        assert writer.count(T) == 0
        raise ZeroDivisionError
    assert rows(store) == ROWS
    with store.write("acme") as writer:
        with pytest.raises(errors.ConstraintError), writer.savepoint():
            writer.insert(T, ("i",), [(50,), (50,)])
        writer.insert(T, ("i",), [(60,)])
    assert [r[0] for r in rows(store)][5:] == [60]


def test_what_is_asked_for_in_a_savepoint_that_is_undone_is_not_called(store) -> None:
    called: list[str] = []
    with store.write("acme") as writer:
        writer.on_commit("kept", lambda: called.append("kept"))
        with pytest.raises(ZeroDivisionError), writer.savepoint():
            writer.on_commit("undone", lambda: called.append("undone"))
            raise ZeroDivisionError
        with writer.savepoint():
            writer.on_commit("undone", lambda: called.append("again"))
    assert called == ["kept", "again"]


def test_rows_are_changed_by_identity_and_by_condition(store) -> None:
    with store.write("acme") as writer:
        ids = {i: rowid for rowid, i in writer.select(T, (ROWID, "i"))}
        writer.update(T, ("s", "b"), [("one", b"1", ids[1])])
        writer.delete(T, [ids[2]])
        assert writer.update_where(T, {"s": "null"}, IsNull("i")) == 1
        writer.increment(T, {"i": 10}, Compare("=", "i", 1))
        assert writer.delete_where(T, Compare("=", "i", 2**63 - 1)) == 1
        writer.insert(T, (ROWID, "i"), [(ids[2], 77)])
    assert {r[:2] for r in rows(store)} == {(11, "one"), (-(2**63), ""), (None, "null"), (77, None)}


def test_appended_rows_are_there_for_whatever_is_asked_next_and_at_the_end(store) -> None:
    """As rows inserted one by one: read, undone by a savepoint, committed and rolled back."""
    many = 1100  # more than are held back at a time
    with store.write("acme") as writer:
        writer.delete_where(T, None)
        for number in range(many):
            writer.append(T, ("i",), (number,))
        assert writer.count(T) == many
        with pytest.raises(ZeroDivisionError), writer.savepoint():
            writer.append(T, ("i",), (many,))
            raise ZeroDivisionError
        writer.append(T, ("i", "s"), (many, "later"))
        with writer.savepoint():
            writer.append(T, ("i",), (many + 1,))
    assert sorted(r[0] for r in rows(store)) == list(range(many + 2))
    with pytest.raises(ZeroDivisionError), store.write("acme") as writer:
        writer.append(T, ("i",), (-1,))
        raise ZeroDivisionError
    assert len(rows(store)) == many + 2


def test_an_appended_row_that_cannot_be_inserted_keeps_all_from_being_committed(store) -> None:
    before = rows(store)
    with pytest.raises(errors.ConstraintError), store.write("acme") as writer:
        writer.append(T, ("i",), (99,))
        writer.append(T, ("i",), (99,))
        with pytest.raises(errors.ConstraintError):
            writer.count(T)
    with pytest.raises(errors.ConstraintError), store.write("acme") as writer:
        writer.append(T, ("i",), (1,))
    assert rows(store) == before


def test_appended_rows_of_several_tables_wait_for_whoever_asks_for_them(store) -> None:
    other = StoreTable("other", T.columns)
    with store.write("acme") as writer:
        writer.create_table(other)
        writer.append(T, ("i",), (100,))
        writer.append(other, ("i",), (1,))
        with pytest.raises(ZeroDivisionError), writer.savepoint():
            writer.append(T, ("i",), (101,))
            assert writer.count(T) == len(ROWS) + 2
            writer.append(other, ("i",), (2,))
            raise ZeroDivisionError
        assert writer.count(T) == len(ROWS) + 1
        with writer.savepoint():
            writer.append(other, ("i",), (3,))
        assert [row[0] for row in writer.select(other, ("i",), order_by=("i",))] == [1, 3]


def test_what_is_put_off_is_written_once_before_it_is_asked_for(store) -> None:
    written: list[int] = []

    def put_off(number: int) -> None:
        def write() -> None:
            written.append(number)
            writer.insert(T, ("i",), [(number,)])

        writer.put_off("key", PutOff(number, frozenset({"t"}), write))

    with store.write("acme") as writer:
        assert writer.pending("key") is None
        put_off(100)
        put_off(101)
        assert (writer.pending("key"), written) == (101, [])
        assert writer.count(T) == len(ROWS) + 1
        assert (writer.pending("key"), written) == (None, [101])
        put_off(102)
        with pytest.raises(ZeroDivisionError), writer.savepoint():
            put_off(103)
            assert writer.count(T) == len(ROWS) + 2
            raise ZeroDivisionError
        assert (writer.pending("key"), written) == (102, [101, 103])
        assert writer.select(T, ("i",), Compare("=", "i", 103)) == []
        with writer.savepoint():
            put_off(104)
    assert written == [101, 103, 102, 104]
    assert len(rows(store)) == len(ROWS) + 3


def test_what_was_put_off_and_cannot_be_written_keeps_all_from_being_committed(store) -> None:
    before = rows(store)

    def fails() -> None:
        writer.insert(T, ("i",), [(98,)])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), store.write("acme") as writer:
        writer.put_off("key", PutOff(1, frozenset({"t"}), fails))
        with pytest.raises(ZeroDivisionError):
            writer.count(T)
    assert rows(store) == before
    with pytest.raises(ZeroDivisionError), store.write("acme") as writer:
        writer.put_off("key", PutOff(1, frozenset({"u"}), fails))
        writer.insert(T, ("i",), [(99,)])
    assert rows(store) == before


def test_tables_change_shape(store) -> None:
    with store.write("acme") as writer:
        writer.add_column(T, StoreColumn("n", Kind.INTEGER))
        writer.drop_index(T.indexes[0])
        writer.insert(T, ("i",), [(1,)])
        writer.drop_column(T, "s")
        wider = StoreTable("t", (*T.columns, StoreColumn("n", Kind.INTEGER)))
        assert writer.select(wider, ("i", "n"), Compare("=", "i", 1)) == [(1, None), (1, None)]
        with pytest.raises(errors.ConstraintError):
            writer.create_index(T, T.indexes[0])
        writer.drop_table(T)


def test_a_reader_keeps_its_snapshot_and_never_waits(store) -> None:
    with store.read("acme") as before:
        assert before.count(T) == 5
        with store.write("acme") as writer:
            writer.delete_where(T, None)
            with store.read("acme") as meanwhile:
                assert meanwhile.count(T) == 5
        with store.read("acme") as after:
            assert after.count(T) == 0
        assert before.count(T) == 5


def test_a_tenants_rows_are_its_own(store) -> None:
    with store.write("other") as writer:
        assert writer.count(T) == 0
        assert writer.delete_where(T, None) == writer.update_where(T, {"s": "x"}, None) == 0
        writer.delete(T, [1, 2, 3])
        writer.update(T, ("s",), [("x", 1)])
        writer.insert(T, ("i",), [(500,)])
    with store.write("") as writer:
        writer.insert(T, ("i",), [(600,)])
    assert [r[0] for r in rows(store)] == [*(r[0] for r in ROWS), 600]
    assert [r[0] for r in rows(store, tenant="other")] == [500, 600]
    assert [r[0] for r in rows(store, tenant="")] == [600]


@pytest.mark.slow
def test_writers_wait_for_each_other_and_give_up_clearly(store, again) -> None:
    second = again()
    with store.write("acme"):
        for contender in (store, second):
            start = time.monotonic()
            with pytest.raises(errors.StoreBusyError, match=r"0\.3 s"), contender.write("acme"):
                pass
            assert time.monotonic() - start >= 0.25
    with second.write("acme") as writer:
        writer.delete_where(T, None)
    second.close()


def test_the_store_tells_how_long_its_writer_has_had_it(store) -> None:
    assert store.holds.lasts_s == 0
    with store.write("acme"):
        first = store.holds.lasts_s
        assert 0 < first < store.holds.lasts_s
        with pytest.raises(errors.StoreBusyError), store.write("acme", timeout_s=0):
            pytest.fail("somebody else writes")
        assert store.holds.lasts_s > first, "who waits in vain is not the one who writes"
    assert store.holds.lasts_s == 0
    with pytest.raises(ZeroDivisionError), store.write("acme"):
        raise ZeroDivisionError
    assert store.holds.lasts_s == 0


def test_locks_exclude_threads_and_are_released(store) -> None:
    order = []
    held = threading.Event()

    def hold() -> None:
        with store.lock("x"):
            held.set()
            order.append("thread")

    with store.lock("x"):
        with pytest.raises(errors.StoreBusyError, match="lock"), store.lock("x"):
            pass
        thread = threading.Thread(target=hold)
        thread.start()
        order.append("main")
        assert not held.is_set()
    thread.join()
    with store.lock("x"), store.lock("y"):
        order.append("both")
    assert order == ["main", "thread", "both"]


def test_a_closed_snapshot_says_so(store) -> None:
    with store.read("acme") as reader:
        scan = reader.scan(T, ("i",), batch_rows=2)
        next(scan)
    with pytest.raises(errors.ClosedError, match="closed"):
        next(scan)
    with pytest.raises(errors.ClosedError):
        reader.count(T)


@pytest.fixture
def synced(monkeypatch) -> None:
    """What is written waits for the disk, as it does where it is used."""
    for durability, level in disks.SYNCHRONOUS.items():
        monkeypatch.setitem(connections.SYNCHRONOUS, durability, level)


def test_durability_is_what_was_asked_for(synced, tmp_path) -> None:
    for durability, level in (("full", 2), ("normal", 1)):
        store = SqliteStore(tmp_path / f"{durability}.db", locks=tmp_path, durability=durability)
        with store.read("x") as reader:
            assert reader._connection.execute("PRAGMA synchronous").fetchone() == (level,)
            assert reader._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        store.close()
    with pytest.raises(errors.LakeError, match="durability"):
        SqliteStore(tmp_path / "x.db", locks=tmp_path, durability="maybe")


def test_a_full_disk_is_an_error_and_loses_nothing(sqlite) -> None:
    """SQLite's page limit stands in for the end of the disk."""
    store = sqlite
    with store.write("acme") as writer:
        pages = writer._connection.execute("PRAGMA page_count").fetchone()[0]
        writer._connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(errors.StoreError, match="full"), store.write("acme") as writer:
        writer.insert(T, ("s",), (("x" * 1000,) for _ in range(1000)))
    assert rows(store) == ROWS
    with store.write("acme") as writer:
        writer.insert(T, ("i",), [(70,)])


def test_migrations_only_ever_go_forward(tmp_path, monkeypatch) -> None:
    connection = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
    schema.migrate(connection, "m", read_only=False)
    assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    first = connection.execute("SELECT sql FROM sqlite_schema").fetchall()
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE extra (a)",)))
        newer.setattr(schema, "FORMAT", FORMAT + 1)
        schema.migrate(connection, "m", read_only=False)
    assert len(connection.execute("SELECT sql FROM sqlite_schema").fetchall()) == len(first) + 1
    with pytest.raises(errors.LakeVersionError):
        schema.migrate(connection, "m", read_only=False)
    connection.close()


def test_a_lake_of_an_older_format_says_how_to_read_it(tmp_path) -> None:
    connection = sqlite3.connect(tmp_path / "old.db")
    for statement in MIGRATIONS[0]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    with pytest.raises(errors.LakeError, match="has format 1: open it to write once"):
        schema.migrate(connection, "old.db", read_only=True)
    schema.migrate(connection, "old.db", read_only=False)
    schema.migrate(connection, "old.db", read_only=True)
    connection.close()


@pytest.mark.parametrize("url", ["sqlite:///x.db", "", "x", 3, []])
def test_a_store_that_there_is_not_says_so(tmp_path, url) -> None:
    with pytest.raises(errors.LakeError, match="store= is not supported by this version"):
        affidavit.connect(tmp_path / "lake", store=url)
    assert not (tmp_path / "lake").exists()
    with pytest.raises(errors.LakeError, match="store= is not supported by this version"):
        open_store(url, StoreOptions(tmp_path / "s.db", tmp_path))
    assert not (tmp_path / "s.db").exists()


def test_a_store_is_opened_as_is_said(synced, tmp_path) -> None:
    opened = open_store(None, StoreOptions(tmp_path / "s.db", tmp_path, durability="normal"))
    assert isinstance(opened, SqliteStore)
    with opened.read("x") as reader:
        assert reader._connection.execute("PRAGMA synchronous").fetchone() == (1,)
    opened.close()
    options = StoreOptions(tmp_path / "s.db", tmp_path, read_only=True)
    opened = open_store(None, options)
    with pytest.raises(errors.ReadOnlyError), opened.write("x"):
        pass
    opened.close()
    with pytest.raises(errors.LakeError, match="durability"):
        StoreOptions(tmp_path / "s.db", tmp_path, durability="maybe")


# --- places --------------------------------------------------------------------------------------


def test_a_place_is_taken_whatever_becomes_of_the_transaction(store) -> None:
    assert store.take_places("a", 2) == 0
    with pytest.raises(ZeroDivisionError), store.write("acme"):
        assert store.take_places("a", 3) == 2
        raise ZeroDivisionError
    assert store.take_places("a", 1) == 5
    assert store.take_places("b", 1) == 0
    assert store.take_places("a", 1, 100) == 100
    assert store.take_places("a", 0) == 101


def test_places_are_given_back_unless_others_took_more(store) -> None:
    store.take_places("a", 10)
    store.give_places_back("a", 4, 10)
    assert store.take_places("a", 1) == 4
    store.give_places_back("a", 0, 4)
    assert store.take_places("a", 0) == 5
