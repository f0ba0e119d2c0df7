"""Statements of many threads are planned at once, and each reads what is its own."""

from __future__ import annotations

import faulthandler
import random
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from datafusion import SessionConfig, SessionContext, udtf
from datafusion.catalog import CatalogProvider, SchemaProvider, Table

import affidavit
from affidavit import errors
from affidavit.engine.scans.snapshot import Snapshot

THREADS = 8
STRESS_S = 5.0
STUCK_S = 120


@pytest.fixture(autouse=True)
def _told_if_stuck() -> Iterator[None]:
    """Threads that wait for each other are shown, and end the tests: nothing else would."""
    faulthandler.dump_traceback_later(STUCK_S * 2, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


def together(works: list[Callable[[], None]]) -> None:
    """Run each work on a thread of its own, and raise what the first of them raised."""
    failures: list[BaseException] = []
    begin = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        try:
            begin.wait()
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# --- what DataFusion does ------------------------------------------------------------------------


class _Calls:
    """On how many threads each callback was made, besides the one that asked."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()
        self._own = threading.local()

    def asking(self) -> None:
        self._own.asks = True

    def note(self, name: str) -> None:
        self.made[name] += 1
        if not getattr(self._own, "asks", False):
            self.elsewhere[name] += 1


class _Schema(SchemaProvider):
    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    @property
    def table_names(self) -> list[str]:
        self._calls.note("table_names")
        return ["a"]

    def table(self, name: str) -> Table | None:
        self._calls.note("table")
        return Table(pads.dataset(pa.table({"x": [1, 2]}))) if name == "a" else None

    def table_exist(self, name: str) -> bool:
        self._calls.note("table_exist")
        return name == "a"

    def register_table(self, name: str, table: object) -> None:
        self._calls.note("register_table")


class _Catalog(CatalogProvider):
    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    def schema_names(self) -> set[str]:
        self._calls.note("schema_names")
        return {"main"}

    def schema(self, name: str) -> _Schema | None:
        self._calls.note("schema")
        return _Schema(self._calls) if name == "main" else None


def _context(calls: _Calls) -> SessionContext:
    config = SessionConfig({"datafusion.catalog.create_default_catalog_and_schema": "false"})
    config = config.with_default_catalog_and_schema("lake", "main").with_target_partitions(4)
    context = SessionContext(config.with_information_schema(enabled=True))
    context.register_catalog_provider("lake", _Catalog(calls))

    def function(*_: object) -> Table:
        calls.note("function")
        return Table(pads.dataset(pa.table({"y": [1, 2]})))

    context.register_udtf(udtf(function, "f"))
    return context


PLANNED = [
    "SELECT * FROM a JOIN a AS b USING (x)",
    "SELECT x, count(*) FROM a, f(1) GROUP BY x",
    "EXPLAIN SELECT * FROM a WHERE x IN (SELECT y FROM f(2))",
    "EXPLAIN ANALYZE SELECT x, count(*) FROM a, f(1) GROUP BY x",
    "DESCRIBE a",
    "CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION '{file}'",
]


@pytest.mark.slow
def test_datafusion_asks_on_the_thread_that_plans(tmp_path: Path) -> None:
    """What the current snapshot of each thread rests on; running a plan asks nothing at all."""
    pq.write_table(pa.table({"x": [1]}), tmp_path / "e.parquet")
    calls = _Calls()
    context = _context(calls)

    def work() -> None:
        calls.asking()
        for text in PLANNED * 10:
            frame = context.sql(text.format(file=tmp_path / "e.parquet"))
            frame.into_view()
            frame.optimized_logical_plan()
            list(frame.execute_stream())

    together([work] * THREADS)
    assert set(calls.made) == {"schema", "table", "function", "table_exist", "register_table"}
    assert not calls.elsewhere


def test_datafusion_lists_the_catalog_from_threads_of_its_own() -> None:
    """So a listing in a transaction needs more than the thread's snapshot to see what is there.

    Where this fails because it asks on the thread that runs the plan, the listing's can go.
    """
    calls = _Calls()
    calls.asking()
    frame = _context(calls).sql(
        "SELECT table_schema, count(*) FROM information_schema.tables GROUP BY 1"
    )
    assert not calls.made
    list(frame.execute_stream())
    assert calls.elsewhere["table_names"] == 1


# --- what statements see -------------------------------------------------------------------------


def test_two_statements_are_planned_at_once(session, monkeypatch) -> None:
    """Each waits, in the midst of its planning, until the other is in the midst of its own."""
    session.create_table("t", [{"a": 1}])
    met = threading.Barrier(2, timeout=STUCK_S)
    original = Snapshot.note_read

    def meeting(self: Snapshot, *given: Any) -> None:
        met.wait()
        original(self, *given)

    monkeypatch.setattr(Snapshot, "note_read", meeting)

    def work() -> None:
        assert session.sql("SELECT a FROM t").to_pylist() == [{"a": 1}]

    together([work, work])


LISTINGS = [
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'main'",
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'main' GROUP BY 1",
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'main' UNION ALL "
    "SELECT table_name FROM information_schema.columns WHERE table_schema = 'main'",
]


@pytest.mark.slow
def test_a_transactions_listing_is_its_own(session) -> None:
    """It sees what it made, from whichever thread DataFusion asks; no other statement does."""
    session.create_table("old", [{"a": 1}])
    ended = threading.Event()

    def inside() -> None:
        try:
            with (
                pytest.raises(RuntimeError, match="enough"),
                session.scope() as scoped,
                scoped.transaction() as mine,
            ):
                mine.sql("CREATE TABLE fresh (b INT)")
                for text in LISTINGS * 10:
                    names = {row["name"] for row in mine.sql(text)}
                    assert names >= {"old", "fresh"}
                raise RuntimeError("enough")
        finally:
            ended.set()

    def outside() -> None:
        while not ended.is_set():
            assert session.sql("SELECT a FROM old").to_pylist() == [{"a": 1}]
            with pytest.raises(errors.TableNotFoundError):
                session.sql("SELECT b FROM fresh")
            assert [row["name"] for row in session.tables()] == ["old"]

    together([inside, *[outside] * (THREADS - 1)])
    assert [row["name"] for row in session.tables()] == ["old"]


class _Stress:
    """Statements of every kind over one session; each method is one thread's turn, and checks."""

    def __init__(self, session: affidavit.Session, folder: Path) -> None:
        self.session = session
        self.first = self.rows("SELECT max(seq) AS seq FROM system.ledger")[0]["seq"]
        self.file = folder / "e.parquet"
        pq.write_table(pa.table({"x": list(range(50))}), self.file)
        session.sql(f"CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION '{self.file}'")
        session.sql("CREATE VIEW w AS SELECT n.id, e.x FROM notes n JOIN e ON e.x = n.id")
        session.sql("CREATE VIEW v AS SELECT count(*) AS n FROM w")

    def rows(self, text: str, **params: object) -> list[dict[str, Any]]:
        return self.session.sql(text, params).to_pylist()

    def tables(self, turn: int) -> None:
        found = self.rows("SELECT id, $p AS p FROM notes WHERE id = $i", i=turn % 20, p=turn)
        assert found == [{"id": turn % 20, "p": turn}]

    def views(self, turn: int) -> None:
        assert self.rows("SELECT n FROM v") == [{"n": 20}]

    def external(self, turn: int) -> None:
        assert self.rows("SELECT count(*) AS n FROM e WHERE x < $x", x=turn % 50) == [
            {"n": turn % 50}
        ]

    def past(self, turn: int) -> None:
        past = self.session.at(self.first)
        assert past.sql("SELECT count(*) AS n FROM counted").to_pylist() == [{"n": 1}]
        assert self.rows("SELECT count(*) AS n FROM as_of('counted', $m)", m=self.first) == [
            {"n": 1}
        ]

    def searches(self, turn: int) -> None:
        query = [float(turn % 7 + 1)] * 8
        found = self.rows("SELECT id FROM vector_search('docs', $q, $k)", q=query, k=turn % 5 + 1)
        assert len(found) == turn % 5 + 1
        assert self.rows("SELECT count(*) AS n FROM docs") == [{"n": 100}]

    def frames(self, turn: int) -> None:
        name = f"frame_{threading.get_ident()}"
        self.session.attach(name, pa.table({"f": [turn]}))
        assert self.rows(f"SELECT f FROM {name}, (SELECT 1) AS one") == [{"f": turn}]
        self.session.detach(name)

    def sources(self, turn: int) -> None:
        found = self.rows("SELECT s.id, n.id AS m FROM old.main.t s JOIN notes n ON n.id = s.id")
        assert found == [{"id": 7, "m": 7}]
        assert self.rows("SELECT count(*) AS n FROM archive.main.there") == [{"n": 3}]
        assert self.rows("SELECT n FROM archive.main.seen") == [{"n": 3}]

    def writes(self, turn: int) -> None:
        name = f"own_{threading.get_ident()}"
        if turn == 0:
            self.session.sql(f"CREATE TABLE {name} (a BIGINT PRIMARY KEY, b BIGINT)")
        self.session.sql(f"INSERT INTO {name} VALUES ($a, 0)", {"a": turn})
        self.session.sql(f"UPDATE {name} SET b = (SELECT count(*) FROM notes) WHERE a = {turn}")
        assert self.rows(f"SELECT sum(b) AS s FROM {name}") == [{"s": 20 * (turn + 1)}]
        self.session.sql("UPDATE counted SET n = n + 1")

    def transactions(self, turn: int) -> None:
        name = f"tried_{threading.get_ident()}"
        with (
            pytest.raises(RuntimeError),
            self.session.scope() as scoped,
            scoped.transaction() as mine,
        ):
            mine.sql(f"CREATE TABLE {name} AS SELECT {turn} AS a")
            assert mine.sql(f"SELECT a FROM {name}").to_pylist() == [{"a": turn}]
            listing = "SELECT count(*) AS n FROM information_schema.columns WHERE table_name = $t"
            assert mine.sql(listing, t=name).to_pylist() == [{"n": 1}]
            raise RuntimeError
        with pytest.raises(errors.TableNotFoundError):
            self.rows(f"SELECT a FROM {name}")

    def settings(self, turn: int) -> None:
        size = 4096 + turn
        self.session.sql(f"SET datafusion.execution.batch_size = {size}")
        assert self.rows("SELECT count(*) AS n FROM notes") == [{"n": 20}]
        self.session.sql("RESET datafusion.execution.batch_size")

    def prepared(self, turn: int) -> None:
        name = f"p_{threading.get_ident()}"
        self.session.sql(f"PREPARE {name} (INT) AS SELECT id FROM notes WHERE id = $1")
        assert self.rows(f"EXECUTE {name} ({turn % 20})") == [{"id": turn % 20}]
        self.session.sql(f"DEALLOCATE {name}")

    def mistakes(self, turn: int) -> None:
        """An error is of the statement that made it, and of no other."""
        with pytest.raises(errors.TableNotFoundError, match=f"absent_{turn}"):
            self.rows(f"SELECT * FROM absent_{turn}")
        with pytest.raises(errors.InvalidQueryError, match="only vector tables"):
            self.rows("SELECT * FROM vector_search('notes', $q, 1)", q=[1.0] * 8)
        with pytest.raises(errors.TableNotFoundError, match="gone"):
            self.rows("SELECT * FROM text_search('gone', 'x', 1)")

    def plans(self, turn: int) -> None:
        told = self.session.explain("SELECT * FROM w JOIN docs ON docs.id = w.id")
        assert "docs" in str(told)


TURNS = [
    "tables", "views", "external", "past", "searches", "frames", "sources", "writes",
    "transactions", "settings", "prepared", "mistakes", "plans",
]  # fmt: skip


@pytest.fixture
def stress(session: affidavit.Session, docs: affidavit.VectorTable, tmp_path: Path) -> _Stress:
    session.sql("DELETE FROM docs WHERE id >= 100")
    session.create_table("notes", [{"id": at} for at in range(20)], primary_key="id")
    session.create_table("counted", [{"n": 0}])
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("CREATE TABLE t (id INTEGER)")
    connection.execute("INSERT INTO t VALUES (7)")
    connection.commit()
    connection.close()
    session.attach("old", f"sqlite:///{tmp_path / 'x.db'}")
    with affidavit.connect(tmp_path / "archive") as other:
        other.create_table("there", [{"x": at} for at in range(3)])
        other.sql("CREATE VIEW seen AS SELECT count(*) AS n FROM there")
    session.attach("archive", f"lake://{tmp_path / 'archive'}")
    return _Stress(session, tmp_path)


@pytest.mark.slow
def test_statements_of_many_threads_each_see_what_is_theirs(stress: _Stress) -> None:
    """Eight threads, each with statements of every kind, in an order of its own."""
    ends = time.monotonic() + STRESS_S

    def work(seed: int) -> None:
        order = random.Random(seed)
        for turn in range(1000):
            for name in order.sample(TURNS, len(TURNS)):
                getattr(stress, name)(turn)
            if time.monotonic() > ends:
                return

    together([lambda seed=seed: work(seed) for seed in range(THREADS)])
    assert stress.rows("SELECT count(*) AS n FROM notes") == [{"n": 20}]


def test_settings_are_the_same_in_both_contexts_whoever_set_them_last(session) -> None:
    """A statement over one table is planned in a context of its own, with the same settings."""

    def work(size: int) -> None:
        for _ in range(25):
            session.sql(f"SET datafusion.execution.batch_size = {size}")

    together([lambda size=size: work(size) for size in range(1000, 1000 + THREADS)])
    planner = session._executor().planner
    shown = {
        context.sql("SHOW datafusion.execution.batch_size").to_pydict()["value"][0]
        for context in (planner.context, planner._pair.narrow)
    }
    assert len(shown) == 1


@pytest.mark.slow
def test_settings_tables_of_files_and_queries_do_not_wait_for_each_other(stress: _Stress) -> None:
    """DataFusion calls back under its own lock while it makes a table of files.

    A SET that waited for that lock made everybody wait who read the context with Python's lock,
    which the callback needs.
    """
    ends = time.monotonic() + STRESS_S

    def work(name: str) -> None:
        for turn in range(100_000):
            getattr(stress, name)(turn)
            if time.monotonic() > ends:
                return

    names = ["external", "external", "views", "settings", "settings", "prepared", "tables", "plans"]
    together([lambda name=name: work(name) for name in names])
