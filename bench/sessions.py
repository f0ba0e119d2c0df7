"""Sessions beside each other: a mix of statements beside a join, searches beside a load."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np

import affidavit
from affidavit.errors import AffidavitError
from bench.harness import Bound, Figure
from bench.samples import SEED, clustered, eight_columns, measurements
from bench.search import create_clustered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.harness import Plan
    from bench.samples import Vectors

    Statement = Callable[[affidavit.Session, int], object]

THREADS: Final = 16
DIMENSION: Final = 64
KEYED_ROWS: Final = 20_000
JOINED_ROWS: Final = 200_000
"""So that a join takes many seconds beside others."""


SEARCH: Final = "SELECT id, text FROM vector_search('clustered', $query, 10)"
READ: Final = "SELECT * FROM keyed WHERE id = $id"
UPDATE: Final = "UPDATE keyed SET price = price + 1 WHERE id = $id"
JOIN: Final = """
SELECT a.station, count(*) AS pairs, avg(b.reading) AS mean FROM measured a
JOIN measured b ON a.station = b.station AND a.level < b.level GROUP BY a.station
"""
LOAD: Final = """
CREATE TABLE {name} AS SELECT value AS id, value % 1000 AS station, value / 7.0 AS reading
FROM generate_series(1, {rows})
"""


@dataclass(slots=True)
class Done:
    """What threads did in a while.

    Attributes:
        times: How long each statement took, by its kind, in seconds.
        errors: The classes of those that failed.
        seconds: How long the while was.
    """

    times: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def all(self) -> list[float]:
        """Every statement's time."""
        return [each for times in self.times.values() for each in times]

    @property
    def per_s(self) -> float:
        """How many a second."""
        return len(self.all) / self.seconds

    def milliseconds(self, percent: float, kind: str | None = None) -> float:
        """Return a percentile of the times, or of one kind's."""
        times = self.all if kind is None else self.times[kind]
        return float(np.percentile(times, percent)) * 1000

    def add(self, other: Done) -> None:
        """Add what others did, or what was done at another time."""
        for kind, times in other.times.items():
            self.times.setdefault(kind, []).extend(times)
        self.errors += other.errors
        self.seconds += other.seconds


# --- who works -----------------------------------------------------------------------------------


def work(
    session: affidavit.Session,
    statements: dict[str, Statement],
    threads: int,
    until: Callable[[], bool],
) -> Done:
    """Run ``statements`` in turn in each of ``threads``, a scope of its own, ``until`` it is time.

    An error is counted and the thread goes on, so that one of them does not end the measurement.
    """

    def one(number: int) -> Done:
        own = Done()
        with session.scope(actor=f"worker {number}") as scoped:
            at = number
            while not until():
                kind = list(statements)[at % len(statements)]
                started = perf_counter()
                try:
                    statements[kind](scoped, at * THREADS + number)
                except AffidavitError as error:
                    own.errors[type(error).__name__] += 1
                own.times.setdefault(kind, []).append(perf_counter() - started)
                at += 1
        return own

    done, started = Done(), perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for each in pool.map(one, range(threads)):
            done.add(each)
    done.seconds = perf_counter() - started
    return done


def after(seconds: float) -> Callable[[], bool]:
    """Return what says whether so many seconds from now are over."""
    over = monotonic() + seconds
    return lambda: monotonic() >= over


@contextmanager
def joining(session: affidavit.Session) -> Iterator[list[float]]:
    """Compute a join all the while, in a thread of its own; yield how long each took, in seconds.

    The last is waited for, and not cancelled: a join that makes many rows of few does not stop
    before it has made them, and would slow what is measured next.
    """
    took: list[float] = []
    over = threading.Event()

    def join() -> None:
        with session.scope(actor="analyst") as scoped:
            while not over.is_set():
                started = perf_counter()
                scoped.sql(JOIN).to_arrow()
                took.append(perf_counter() - started)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(join)
        try:
            yield took
        finally:
            over.set()
        done.result()


# --- a mix beside a join -------------------------------------------------------------------------


def mix(plan: Plan) -> Iterator[Figure]:
    """Yield what threads with a mix of statements notice of a join that takes long."""
    seconds, rounds = (10.0, 3) if not plan.quick else (2.0, 2)
    alone, beside, joins = Done(), Done(), list[float]()
    with affidavit.connect(plan.folder / "lake") as session:
        queries = _tables(session, plan)
        statements = _mixed(queries)
        work(session, statements, THREADS, after(1))  # what opens the tables is not measured
        for _ in range(rounds):
            alone.add(work(session, statements, THREADS, after(seconds)))
            with joining(session) as took:
                beside.add(work(session, statements, THREADS, after(seconds)))
            joins += took
    label, against = f"mix of {THREADS} threads beside a join", "the same mix without the join"
    yield Figure(
        f"errors, {label}", "", beside.errors.total(), len(beside.all), "statements that were run",
        (Bound("measured", "at most", 0),),
        {"errors": dict(beside.errors), "errors_alone": dict(alone.errors), "joins_s": joins},
    )  # fmt: skip
    for name, percent, bounds in (
        ("p50", 50, ()),
        ("p99", 99, (Bound("ratio", "at most", 4),)),
        ("longest wait", 100, (Bound("measured", "at most", 2000),)),
    ):
        yield Figure(
            f"{name}, {label}", "ms", beside.milliseconds(percent), alone.milliseconds(percent),
            against, bounds,
            {kind: [beside.milliseconds(percent, kind), alone.milliseconds(percent, kind)]
             for kind in statements},
        )  # fmt: skip
    yield Figure(f"statements, {label}", "/s", beside.per_s, alone.per_s, against)


def _tables(session: affidavit.Session, plan: Plan) -> Vectors:
    """Create what is searched, read, changed and joined; return vectors to look for."""
    vectors, queries = clustered(plan.size(100_000), DIMENSION, 1000)
    create_clustered(session, vectors)
    session.create_table("keyed", eight_columns(KEYED_ROWS), primary_key="id")
    session.create_table("measured", measurements(plan.size(JOINED_ROWS, least=100_000)))
    return queries


def _mixed(queries: Vectors) -> dict[str, Statement]:
    keys = np.random.default_rng(SEED).permutation(KEYED_ROWS).tolist()
    return {
        "search": _searching(queries),
        "read": lambda own, at: own.sql(READ, id=keys[at % KEYED_ROWS]).to_arrow(),
        "update": lambda own, at: own.sql(UPDATE, id=keys[at % KEYED_ROWS]),
    }


def _searching(queries: Vectors) -> Statement:
    return lambda own, at: own.sql(SEARCH, query=queries[at % len(queries)]).to_arrow()


# --- searches beside a load ----------------------------------------------------------------------


def load(plan: Plan) -> Iterator[Figure]:
    """Yield how many searches in SQL are recorded in a second while a query fills a table."""
    rows = plan.size(2_000_000)
    with affidavit.connect(plan.folder / "lake") as session:
        vectors, queries = clustered(plan.size(100_000), DIMENSION, 1000)
        create_clustered(session, vectors)
        statements = {"search": _searching(queries)}
        for threads in (1, 4, THREADS):
            alone, beside, load_s = _beside_a_load(session, statements, threads, rows)
            yield from _of_load(threads, alone, beside, rows, load_s)


def _beside_a_load(
    session: affidavit.Session, statements: dict[str, Statement], threads: int, rows: int
) -> tuple[Done, Done, float]:
    """Return what was done without a load, what was done beside it, and how long it took."""
    work(session, statements, threads, after(1))
    alone = work(session, statements, threads, after(4))
    with session.scope(actor="loader") as scoped, ThreadPoolExecutor(1) as pool:
        started = perf_counter()
        text = LOAD.format(name=f"loaded_{threads}", rows=rows)
        loading = pool.submit(lambda: scoped.sql(text))
        beside = work(session, statements, threads, loading.done)
        load_s = perf_counter() - started
        loading.result()
        scoped.sql(f"DROP TABLE loaded_{threads}")
    alone.add(work(session, statements, threads, after(4)))
    return alone, beside, load_s


def _of_load(threads: int, alone: Done, beside: Done, rows: int, load_s: float) -> Sequence[Figure]:
    label = f"{threads} thread{'s' if threads > 1 else ''} beside a CTAS of {rows:,} rows"
    against = "the same searches alone"
    return (
        Figure(
            f"recorded searches, {label}", "/s", beside.per_s, alone.per_s, against,
            (Bound("ratio", "at least", 0.4),), {"load_s": load_s},
        ),
        Figure(
            f"search p95, {label}", "ms", beside.milliseconds(95), alone.milliseconds(95), against,
            (Bound("ratio", "at most", 3),),
            {"p50_ms": beside.milliseconds(50), "longest_ms": beside.milliseconds(100)},
        ),
        Figure(
            f"errors, {label}", "", beside.errors.total(), len(beside.all), "searches that ran",
            (Bound("measured", "at most", 0),), {"errors": dict(beside.errors)},
        ),
    )  # fmt: skip


# --- a light statement beside a heavy one --------------------------------------------------------


def light(plan: Plan) -> Iterator[Figure]:
    """Yield the p50 and p99 of ``SELECT 1`` beside a join that takes all processors."""
    seconds, rounds = (5.0, 3) if not plan.quick else (1.0, 2)
    alone, beside = Done(), Done()
    statements: dict[str, Statement] = {"light": lambda own, _: own.sql("SELECT 1").to_arrow()}
    with affidavit.connect(plan.folder / "lake") as session:
        session.create_table("measured", measurements(plan.size(JOINED_ROWS, least=100_000)))
        for _ in range(rounds):
            alone.add(work(session, statements, 1, after(seconds)))
            with joining(session):
                beside.add(work(session, statements, 1, after(seconds)))
    for percent, bounds in ((50, ()), (99, (Bound("measured", "at most", 50),))):
        yield Figure(
            f"SELECT 1 p{percent} beside a join", "ms", beside.milliseconds(percent),
            alone.milliseconds(percent), "SELECT 1 alone", bounds,
            {"longest_ms": beside.milliseconds(100)},
        )  # fmt: skip
