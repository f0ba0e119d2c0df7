"""Statements about one row by its key, and rows of VALUES, each beside ``sqlite3``."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Final

import affidavit
from bench import plain_sqlite
from bench.harness import Bound, Figure, milliseconds, take_turns
from bench.samples import eight_columns

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from bench.harness import Plan

ROWS: Final = 100_000
VALUES: Final = 1_000
THREADS: Final = (4, 16)
SQLITE: Final = "sqlite3, synchronous = FULL"
READ: Final = "SELECT * FROM t WHERE id = $id"


def keyed(plan: Plan) -> Iterator[Figure]:
    """Yield what a statement by a key takes."""
    rows, rounds = plan.size(ROWS), plan.size(500, least=50)
    data = eight_columns(rows)
    with (
        affidavit.connect(plan.folder / "lake") as session,
        plain_sqlite.opened(plan.folder / "plain.db") as plain,
    ):
        session.create_table("t", data, primary_key="id")
        plain_sqlite.create(plain, "t")
        plain_sqlite.fill(plain, "t", plain_sqlite.tuples(data))
        for name, limit, own, others in _statements(session, plain, rows):
            times, baseline = take_turns(own, others, rounds=rounds, warmup=20)
            yield Figure(
                f"{name}, {rows:,} rows, p50", "ms", milliseconds(times), milliseconds(baseline),
                SQLITE, (Bound("measured", "at most", limit),),
                {"p95_ms": sorted(times)[int(len(times) * 0.95)] * 1000},
            )  # fmt: skip
        yield from _threads(session, rows, plan.size(4000))
    yield _imported(plan.size(10, least=3))


def _statements(
    session: affidavit.Session, plain: sqlite3.Connection, rows: int
) -> Iterator[tuple[str, float, Callable[[int], object], Callable[[int], object]]]:
    """Yield what is done, the milliseconds that it may take, and it by each of the two."""
    table, many = session.table("t"), rows * 10
    one = f"INSERT INTO t VALUES ({', '.join('?' * 8)})"
    row = (5, 1.5, 2.5, "name", "city", None, True)
    changed, gone = "UPDATE t SET price = ? WHERE id = ?", "DELETE FROM t WHERE id = ?"

    def commit(text: str, *values: object) -> None:
        plain_sqlite.commit(plain, text, values)  # type: ignore[arg-type]  # what SQLite takes

    yield (
        "SELECT by key", 0.5, lambda at: session.sql(READ, id=at % rows).to_arrow(),
        lambda at: plain.execute("SELECT * FROM t WHERE id = ?", (at % rows,)).fetchall(),
    )  # fmt: skip
    yield (
        "INSERT of a row", 0.9, lambda at: session.sql(one, [many + at, *row]),
        lambda at: commit(one, many + at, *row),
    )  # fmt: skip
    yield (
        "UPDATE by key", 1.0, lambda at: session.sql(changed, [at + 0.5, at]),
        lambda at: commit(changed, at + 0.5, at),
    )  # fmt: skip
    yield (
        "update() by key", 0.8, lambda at: table.update({"price": at + 1.5}, f"id = {at}"),
        lambda at: commit(changed, at + 1.5, at),
    )  # fmt: skip
    yield (
        "DELETE by key", 1.0, lambda at: session.sql(gone, [at]), lambda at: commit(gone, at),
    )  # fmt: skip
    yield (
        f"INSERT of VALUES of {VALUES:,} rows", 40,
        lambda at: session.sql(_rows(2 * many + at * VALUES)),
        lambda at: commit(_rows(2 * many + at * VALUES)),
    )  # fmt: skip


def _rows(first: int) -> str:
    rows = (f"({first + at}, 5, 1.5, 2.5, 'n{at}', 'c', NULL, TRUE)" for at in range(VALUES))
    return f"INSERT INTO t VALUES {', '.join(rows)}"


def _threads(session: affidavit.Session, rows: int, count: int) -> Iterator[Figure]:
    """Yield how many reads by a key several threads do in a second, beside one."""

    def read(numbers: range) -> None:
        for at in numbers:
            session.sql(READ, id=at % rows).to_arrow()

    def per_s(threads: int) -> float:
        started = perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, [range(at, count, threads) for at in range(threads)]))
        return count / (perf_counter() - started)

    alone = per_s(1)
    for threads in THREADS:
        yield Figure(
            f"SELECT by key, {threads} threads", "/s", per_s(threads), alone, "one thread",
            (Bound("ratio", "at least", 1), Bound("measured", "at least", 2000)),
        )  # fmt: skip


def _imported(rounds: int) -> Figure:
    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    times, baseline = take_turns(
        lambda _: run("import affidavit"), lambda _: run("pass"), rounds=rounds, warmup=1
    )
    return Figure(
        "import affidavit, the process included", "ms", milliseconds(times),
        milliseconds(baseline), "a process that does nothing", (Bound("measured", "at most", 250),),
    )  # fmt: skip
