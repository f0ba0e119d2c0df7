"""How soon a statement is left and its processors are idle, once somebody else cancels it."""

from __future__ import annotations

import threading
from contextlib import closing
from statistics import median
from time import perf_counter, process_time, sleep
from typing import TYPE_CHECKING, Final

import duckdb

import affidavit
from affidavit.errors import StatementCancelledError
from bench.harness import Bound, Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import Plan

RUNS_S: Final = 0.7
"""How long a statement runs before it is cancelled."""

SAMPLE_S: Final = 0.1
IDLE_SHARE: Final = 0.15
"""The processors are idle once they work for less than this share of a sample."""

LONGEST_S: Final = 30.0

STATEMENTS: Final = {
    "scan": "SELECT count(*) FROM generate_series(1, 20000000000) AS a(n) "
    "WHERE n % 7 = 3 AND n * 3 % 11 = 5",
    "aggregate": "SELECT n % 1000003 AS k, sum(n) AS s FROM generate_series(1, 2000000000) AS a(n) "
    "GROUP BY n % 1000003",
    "sort": "SELECT n FROM generate_series(1, 60000000) AS a(n) ORDER BY n * 7919 % 1000003, n",
    "hash join": "SELECT count(*) FROM generate_series(1, 2000000000) AS a(n) "
    "JOIN generate_series(1, 3000000) AS b(m) ON n % 3000000 = m",
}
"""Minutes of work, or many seconds, which nobody waits for."""


def cancel(plan: Plan) -> Iterator[Figure]:
    """Yield how long it takes to cancel statements of several kinds, against DuckDB's interrupt."""
    rounds = plan.size(5, least=2)
    with affidavit.connect(plan.folder / "lake") as session, closing(duckdb.connect()) as other:
        for kind, text in STATEMENTS.items():

            def ours(text: str = text) -> object:
                return session.sql(text).to_arrow()

            def theirs(text: str = text) -> object:
                return other.execute(text).to_arrow_table()

            own: list[tuple[float, float]] = []
            others: list[tuple[float, float]] = []
            for _ in range(rounds):
                own.append(_cancelled(ours, session.cancel))
                others.append(_cancelled(theirs, other.interrupt))
            yield from _figures(kind, own, others)


def _cancelled(run: Callable[[], object], stop: Callable[[], object]) -> tuple[float, float]:
    """Run a statement, stop it, and return the seconds until its caller, and all, were free.

    The second counts in whole samples: it is up to one of them too much.
    """
    free_at: list[float] = []

    def wait() -> None:
        try:
            run()
        except (StatementCancelledError, duckdb.InterruptException):
            free_at.append(perf_counter())

    caller = threading.Thread(target=wait)
    caller.start()
    sleep(RUNS_S)
    asked_at = perf_counter()
    stop()
    idle_at_s = idle_s(asked_at)
    caller.join()
    assert free_at, "the statement was over before it was cancelled"
    return free_at[0] - asked_at, idle_at_s


def idle_s(since: float) -> float:
    """Wait until this process works no more, and return how many seconds after it was seen."""
    while True:
        began, before = perf_counter(), process_time()
        sleep(SAMPLE_S)
        now = perf_counter()
        if process_time() - before < IDLE_SHARE * (now - began):
            return now - since
        if now - since > LONGEST_S:
            return now - since


def _figures(
    kind: str, own: list[tuple[float, float]], others: list[tuple[float, float]]
) -> Iterator[Figure]:
    for at, (name, limit) in enumerate((("caller free", 0.5), ("CPU idle", 1.0))):
        measured, baseline = [each[at] for each in own], [each[at] for each in others]
        yield Figure(
            f"cancel, {kind}: {name}", "s", median(measured), median(baseline),
            "DuckDB's interrupt", (Bound("measured", "at most", limit),),
            {"longest_s": max(measured), "baseline_longest_s": max(baseline)},
        )  # fmt: skip
