"""What databases answer of one statement, read side by side."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.catalog.sources.databases.conftest import run_duck
from tests.support.processes import run_python
from tests.support.waiting import eventually

import affidavit
from affidavit.catalog.sources.databases.dataset import SourceDataset
from affidavit.catalog.sources.databases.running import Running
from affidavit.engine.plan.cutting import beside
from affidavit.engine.plan.cutting.beside import Beside
from affidavit.errors import (
    AffidavitError,
    ClosedError,
    SourceError,
    StatementCancelledError,
    StatementTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from tests.support.pg_server import PgServer

BOUND_S = 30.0
SIDE = "(SELECT id AS k, count(s) AS n FROM {}.public.{} GROUP BY id)"
BOTH = (
    f"SELECT a.k, a.n, b.n AS m FROM {SIDE.format('one', 'slow')} a "
    f"JOIN {SIDE.format('two', 'slow')} b ON a.k = b.k"
)


def readers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == beside.NAME]


@pytest.fixture(scope="module")
def session(
    tmp_path_factory: pytest.TempPathFactory, pg_server: PgServer
) -> Iterator[affidavit.Session]:
    folder = tmp_path_factory.mktemp("beside")
    run_duck(
        folder / "x.duckdb",
        "CREATE TABLE t AS SELECT i % 100 AS id, i AS v FROM range(100000) t(i)",
    )
    with affidavit.connect(folder / "lake") as opened:
        for name in ("one", "two"):
            url = pg_server.database(
                f"beside_{name}",
                "CREATE TABLE t AS SELECT i % 100 AS id, i AS v FROM generate_series(1, 100000) i",
                "CREATE TABLE bad AS SELECT 1 AS id, '2024-01-01'::date AS day",
                "CREATE VIEW slow AS SELECT 1 AS id, pg_sleep(60)::text AS s",
                "CREATE VIEW broken AS SELECT id, (1 / (id - 1))::text AS s FROM bad",
            )
            opened.attach(name, url)
        opened.attach("d", f"duckdb://{folder / 'x.duckdb'}")
        yield opened


@pytest.fixture
def active(pg_server: PgServer) -> Callable[[], int]:
    """Return what tells in how many databases a query of a side runs."""
    text = (
        "SELECT count(DISTINCT datname) FROM pg_stat_activity "
        "WHERE datname LIKE 'beside_%' AND state = 'active' AND query LIKE '%slow%'"
    )
    return lambda: int(pg_server.run(text)[0][0])


@pytest.fixture(autouse=True)
def none_left(session: affidavit.Session, active: Callable[[], int]) -> Iterator[None]:
    yield
    assert session
    eventually(lambda: not readers(), "a reader is left")
    eventually(lambda: not active(), "a query is left")


def failing(
    scan: Callable[..., Iterator[pa.RecordBatch]],
) -> Callable[..., Iterator[pa.RecordBatch]]:
    """Return a scan that fails for sub-trees, before it gives a row."""

    def failed(dataset: SourceDataset, *rest: object) -> Iterator[pa.RecordBatch]:
        if dataset.table.is_written:
            raise SourceError("a digit too many")
        return scan(dataset, *rest)

    return failed


def close(result: affidavit.Result, session: affidavit.Session) -> None:
    result.close()


def interrupt(result: affidavit.Result, session: affidavit.Session) -> None:
    session.cancel()


@pytest.mark.parametrize(
    ("end", "error"), [(close, ClosedError), (interrupt, StatementCancelledError)]
)
def test_sub_trees_of_two_databases_run_at_once_and_end_with_their_statement(
    session: affidavit.Session,
    active: Callable[[], int],
    end: Callable[[affidavit.Result, affidavit.Session], None],
    error: type[AffidavitError],
) -> None:
    raised: list[BaseException] = []
    result = session.sql(BOTH)
    assert not readers(), "nothing runs before rows are asked for"

    def read() -> None:
        try:
            result.to_arrow()
        except BaseException as found:
            raised.append(found)

    thread = threading.Thread(target=read)
    thread.start()
    eventually(lambda: active() == 2, "they do not run at once")
    end(result, session)
    thread.join(BOUND_S)
    assert isinstance(raised[0], error), raised


def test_a_time_limit_ends_both(session: affidavit.Session) -> None:
    with pytest.raises(StatementTimeoutError):
        session.sql(BOTH, timeout=0.5).to_arrow()


def test_nothing_begins_for_a_plan_that_is_only_explained_or_refused(
    session: affidavit.Session,
) -> None:
    begun: list[Beside] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Beside, "begin", begun.append)
        assert session.explain(BOTH).count("sent to") == 2
        session.sql(f"EXPLAIN {BOTH}").to_arrow()
        assert session.sql(BOTH).schema.names == ["k", "n", "m"]
        with pytest.raises(AffidavitError):
            session.sql(f"{BOTH} WHERE no_such_column = 1")
    assert begun == []


def test_what_a_limit_needs_no_rows_of_is_cancelled(session: affidavit.Session) -> None:
    quick = SIDE.format("one", "t").replace("count(s)", "count(v)")
    slow = SIDE.format("two", "slow")
    text = f"SELECT * FROM (SELECT * FROM {quick} UNION ALL SELECT * FROM {slow}) LIMIT 1"
    assert session.sql(text).to_arrow().num_rows == 1


def test_what_fails_there_is_raised_in_its_words_and_the_rest_is_ended(
    session: affidavit.Session,
) -> None:
    text = BOTH.replace("one.public.slow", "one.public.broken")
    with pytest.raises(SourceError, match=r"'one'.*division by zero"):
        session.sql(text).to_arrow()


def test_what_fails_only_there_is_answered_here(
    session: affidavit.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "SELECT a.id, a.n, b.n AS m, c.n AS l FROM (SELECT id, sum(v) AS n FROM one.public.t GROUP BY id) a "
        "JOIN (SELECT id, sum(v) AS n FROM d.main.t GROUP BY id) b ON a.id = b.id "
        "JOIN (SELECT id, sum(v) AS n FROM two.public.t GROUP BY id) c ON a.id = c.id ORDER BY a.id"
    )
    wanted = session.sql(text).to_pylist()
    assert len(wanted) == 100
    monkeypatch.setattr(SourceDataset, "scan", failing(SourceDataset.scan))
    assert session.sql(text).to_pylist() == wanted


LEFT = """
import sys, threading, affidavit
session = affidavit.connect(sys.argv[1])
session.attach("d", sys.argv[2])
batches = session.sql(sys.argv[3]).batches()
begun = threading.Event()
def read():
    next(batches)
    begun.set()
    for _ in batches:
        pass
threading.Thread(target=read, daemon=True).start()
begun.wait()
"""


def test_a_program_ends_in_the_midst_of_it(tmp_path: Path) -> None:
    """Python ended threads that were in DataFusion, which took the process with it."""
    run_duck(tmp_path / "x.duckdb", "CREATE TABLE t AS SELECT i AS id FROM range(300000) t(i)")
    side = "(SELECT id, count(*) AS n FROM d.main.t GROUP BY id)"
    text = f"SELECT a.id, b.n FROM {side} a JOIN {side} b ON a.id = b.id"
    run_python(LEFT, tmp_path / "lake", f"duckdb://{tmp_path / 'x.duckdb'}", text)


# --- one reader ----------------------------------------------------------------------------------


class Given:
    """Batches that are read one by one, and what was asked of them."""

    def __init__(self, batches: int, rows: int, error: Exception | None = None) -> None:
        self.given, self.is_closed = 0, False
        self._batches, self._rows, self._error = batches, rows, error

    def read(self) -> Generator[pa.RecordBatch]:
        try:
            for _ in range(self._batches):
                self.given += 1
                yield pa.record_batch({"x": pa.array(range(self._rows), pa.int64())})
            if self._error is not None:
                raise self._error
        finally:
            self.is_closed = True


@pytest.mark.parametrize(
    ("rows", "most"),
    [(1, beside.BATCHES_MAX), (1 << 16, beside.BYTES_MAX >> 19), (beside.BYTES_MAX, 1)],
)
def test_so_much_is_read_ahead_and_no_more(rows: int, most: int) -> None:
    given = Given(100, rows)
    reader = Beside(given.read, Running())
    reader.begin()
    eventually(lambda: given.given == most + 1)  # one waits for room
    assert reader.take()
    batches = reader.batches()
    next(batches)
    eventually(lambda: given.given == most + 2)
    batches.close()
    eventually(lambda: given.is_closed)


def test_an_error_is_raised_after_the_rows_before_it_and_once() -> None:
    reader = Beside(Given(3, 1, SourceError("it failed")).read, Running())
    reader.begin()
    batches = reader.batches()
    assert sum(next(batches).num_rows for _ in range(3)) == 3
    with pytest.raises(SourceError, match="it failed"):
        next(batches)
    assert list(batches) == []


def test_a_reader_that_was_ended_does_not_pass_for_one_without_more_rows() -> None:
    given = Given(100, 1)
    reader = Beside(given.read, Running())
    reader.begin()
    batches = reader.batches()
    next(batches)
    reader.end()
    with pytest.raises(SourceError, match="has ended"):
        next(batches)
    eventually(lambda: given.is_closed)
    assert not reader.is_left


def test_what_was_not_begun_is_read_where_it_is_wanted_and_by_one_alone() -> None:
    reader = Beside(Given(1, 1).read, Running())
    assert not reader.take()
    reader.begin()  # too late
    assert not readers()
    begun = Beside(Given(1, 1).read, Running())
    begun.begin()
    assert begun.take()
    assert not begun.take()
    begun.end()
