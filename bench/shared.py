"""A lake whose store is PostgreSQL: how many commits and recorded searches it takes a second.

The server is as durable as it is delivered: it waits for the disk at each commit, on both sides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

import affidavit
from bench.federation import postgres
from bench.harness import Bound, Figure
from bench.samples import clustered
from bench.search import ask, create_clustered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.harness import Plan

    Commit = Callable[[int], object]

MASTER_KEY: Final = "AFFIDAVIT_MASTER_KEY"
INSERT: Final = "INSERT INTO t VALUES ($key, 1)"
PLAIN: Final = "INSERT INTO plain VALUES (%s, 1)"
AGAINST: Final = "psycopg alone, autocommitted"
DIMENSION: Final = 64
ROWS: Final = 2000


@contextmanager
def lake(plan: Plan) -> Iterator[tuple[Path, str, str]]:
    """Yield a lake's folder, the URL of its store, and that of the server alone."""
    plan.folder.chmod(0o755)  # as root the server runs as another user, who has to get there
    os.environ.setdefault(MASTER_KEY, "5a" * 32)
    with postgres(plan.folder / "postgres", 1) as (url, connection):
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE plain (id bigint PRIMARY KEY, n bigint)")
            cursor.execute("SELECT current_setting('fsync')")
            if cursor.fetchone() != ("on",):
                msg = "the server does not wait for the disk: its commits are no measure"
                raise RuntimeError(msg)
        mark = "&" if "?" in url else "?"
        yield plan.folder / "lake", f"{url}{mark}schema=lake", url


def shared(plan: Plan) -> Iterator[Figure]:
    """Yield commits a second by threads and tenants, and recorded searches by processes."""
    with lake(plan) as (folder, store, url):
        with affidavit.connect(folder, store=store) as session:
            yield from _commits(plan, session, url)
        yield from _searches(plan, folder, store)


# --- commits -------------------------------------------------------------------------------------


def _commits(plan: Plan, session: affidavit.Session, url: str) -> Iterator[Figure]:
    seconds, rounds = (0.4, 2) if plan.quick else (2.0, 5)
    shapes = [(1, 1), (8, 1), (8, 8)] if plan.quick else [(1, 1), (8, 1), (64, 1), (8, 8), (64, 8)]
    one_tenant = 0.0
    first = 0
    with ExitStack() as opened:
        scopes = [opened.enter_context(session.scope(tenant=f"tenant{at}")) for at in range(8)]
        for scope in scopes:
            scope.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)")
        for threads, tenants in shapes:
            own = [_inserts(scopes[at % tenants]) for at in range(threads)]
            with _plain(url, threads) as plain:
                measured, baseline = _taking_turns(own, plain, seconds, rounds, first)
            first += 10**9
            if (threads, tenants) == (8, 1):
                one_tenant = measured
            yield Figure(
                f"journaled one-row INSERTs, {threads} threads, {tenants} tenants", "/s", measured,
                baseline, AGAINST, _bounds(threads, tenants, one_tenant),
            )  # fmt: skip


def _bounds(threads: int, tenants: int, one_tenant: float) -> tuple[Bound, ...]:
    """Return what is asked of one thread, and of many tenants beside what one had."""
    if threads == 1:
        return (Bound("ratio", "at least", 0.4),)
    return (Bound("measured", "at least", one_tenant),) if (threads, tenants) == (8, 8) else ()


def _inserts(scope: affidavit.Session) -> Commit:
    return lambda key: scope.sql(INSERT, key=key)


@contextmanager
def _plain(url: str, threads: int) -> Iterator[list[Commit]]:
    """Yield what commits a row with the driver alone, on a connection a thread."""
    import psycopg  # noqa: PLC0415 - benchmarks of other parts do without it

    with ExitStack() as opened:
        yield [
            _executes(opened.enter_context(psycopg.connect(url, autocommit=True)).execute)
            for _ in range(threads)
        ]


def _executes(execute: Callable[..., object]) -> Commit:
    return lambda key: execute(PLAIN, [key])


def _taking_turns(
    own: list[Commit], plain: list[Commit], seconds: float, rounds: int, first: int
) -> tuple[float, float]:
    """Return how many a second each did in turns, the first of which only warms up."""
    done = [0.0, 0.0]
    for at in range(rounds + 1):
        for which, commits in enumerate((own, plain)):
            rate = _rate(commits, seconds, first + at * 10**8)
            done[which] += rate if at else 0.0
    return done[0] / rounds, done[1] / rounds


def _rate(commits: list[Commit], seconds: float, first: int) -> float:
    """Return how many a second were committed, each thread with keys of its own."""
    until = monotonic() + seconds

    def work(number: int) -> int:
        count = 0
        while monotonic() < until:
            commits[number](first + number * 10**6 + count)
            count += 1
        return count

    started = perf_counter()
    with ThreadPoolExecutor(len(commits)) as pool:
        count = sum(pool.map(work, range(len(commits))))
    return count / (perf_counter() - started)


# --- searches ------------------------------------------------------------------------------------


def _searches(plan: Plan, folder: Path, store: str) -> Iterator[Figure]:
    processes, seconds = (2, 1.0) if plan.quick else (4, 5.0)
    with affidavit.connect(folder, store=store) as session:
        create_clustered(session, clustered(ROWS, DIMENSION, 1)[0])
    alone = _searched(folder, store, 1, seconds)
    yield Figure(
        f"recorded searches, {processes} processes", "/s",
        _searched(folder, store, processes, seconds), alone, "one process",
    )  # fmt: skip


def _searched(folder: Path, store: str, processes: int, seconds: float) -> float:
    """Return how many searches a second processes do that begin together."""
    command = [sys.executable, "-m", "bench.shared", str(folder), store, str(seconds)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for each in running:
        assert each.stdout is not None
        each.stdout.readline()
    return sum(json.loads(each.communicate("go\n")[0]) for each in running)


def main(folder: str, store: str, seconds: float) -> None:
    """Search until the time is over, and print how many a second there were."""
    queries = clustered(1, DIMENSION, 100)[1]
    with affidavit.connect(folder, store=store) as session:
        count = 0
        ask(session, queries[0])  # what opens the table is not measured
        print("ready", flush=True)
        sys.stdin.readline()
        started = perf_counter()
        while perf_counter() - started < seconds:
            ask(session, queries[count % len(queries)])
            count += 1
        print(count / (perf_counter() - started))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
