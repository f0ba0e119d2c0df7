"""Mutable tables: look-ups, single-row commits, bulk loads and repeated scans."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np
from datafusion import SessionContext

import affidavit
from bench import plain_sqlite
from bench.harness import Bound, Figure, milliseconds, per_second, take_turns
from bench.samples import EIGHT_COLUMNS, SEED, eight_columns, measurements, one_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Plan

SQLITE: Final = "sqlite3, WAL, synchronous=FULL"
COMMITS: Final = 100
"""How many commits are one round, so that a round has its share of SQLite's checkpoints."""

BATCH_ROWS: Final = 65_536


def select(plan: Plan) -> Iterator[Figure]:
    """Yield the p50 of a SELECT by primary key, on a large table against a small one."""
    large, small, rounds = plan.size(100_000), plan.size(1_000), plan.size(500, least=50)
    picks = np.random.default_rng(SEED).integers(0, small, rounds + 20).tolist()
    with affidavit.connect(plan.folder / "lake", journal=False) as session:
        session.create_table("large", eight_columns(large), primary_key="id")
        session.create_table("small", eight_columns(small), primary_key="id")

        def look_up(table: str, key: int) -> None:
            session.sql(f"SELECT * FROM {table} WHERE id = $id", id=key).to_arrow()

        times, baseline = take_turns(
            lambda at: look_up("large", picks[at] * (large // small)),
            lambda at: look_up("small", picks[at]),
            rounds=rounds, warmup=20,
        )  # fmt: skip
    yield Figure(
        f"SELECT by key p50, {large:,} rows", "ms", milliseconds(times), milliseconds(baseline),
        f"the same on {small:,} rows",
        (Bound("measured", "at most", 3), Bound("ratio", "at most", 2)),
        {"p99_ms": float(np.percentile(times, 99)) * 1000},
    )  # fmt: skip


def change(plan: Plan) -> Iterator[Figure]:
    """Yield how many UPDATEs and DELETEs by key commit in a second."""
    rows, rounds, commits = plan.size(100_000), 7, plan.size(COMMITS)
    data = eight_columns(rows)
    keys = np.random.default_rng(SEED).permutation(rows)[: (rounds + 1) * commits].tolist()
    with (
        affidavit.connect(plan.folder / "lake", journal=False) as session,
        plain_sqlite.opened(plan.folder / "plain.db") as plain,
    ):
        session.create_table("t", data, primary_key="id")
        plain_sqlite.create(plain, "t")
        plain_sqlite.fill(plain, "t", plain_sqlite.tuples(data))
        for verb, ours, theirs in (
            ("UPDATE", "UPDATE t SET price = $v WHERE id = $id",
             "UPDATE t SET price = :v WHERE id = :id"),
            ("DELETE", "DELETE FROM t WHERE id = $id", "DELETE FROM t WHERE id = :id"),
        ):  # fmt: skip

            def own(at: int, verb: str = verb, text: str = ours) -> None:
                for key in keys[at * commits : (at + 1) * commits]:
                    session.sql(text, _values(verb, key, at))

            def others(at: int, verb: str = verb, text: str = theirs) -> None:
                for key in keys[at * commits : (at + 1) * commits]:
                    plain_sqlite.commit(plain, text, _values(verb, key, at))

            times, baseline = take_turns(own, others, rounds=rounds, warmup=1)
            yield Figure(
                f"{verb} by key, {rows:,} rows", "/s", per_second(commits, times),
                per_second(commits, baseline), SQLITE, (Bound("measured", "at least", 300),),
            )  # fmt: skip


def _values(verb: str, key: int, at: int) -> dict[str, Any]:
    return {"id": key, "v": key + at + 0.5} if verb == "UPDATE" else {"id": key}


def insert(plan: Plan) -> Iterator[Figure]:
    """Yield how many inserts of one row commit in a second."""
    rounds, commits = 7, plan.size(5 * COMMITS)
    with (
        affidavit.connect(plan.folder / "lake", journal=False) as session,
        plain_sqlite.opened(plan.folder / "plain.db") as plain,
    ):
        table = session.create_table("t", schema=EIGHT_COLUMNS, primary_key="id")
        plain_sqlite.create(plain, "t")
        count = (rounds + 1) * commits
        rows = [one_row(at) for at in range(count)]
        values = plain_sqlite.tuples(eight_columns(count))
        text = "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

        def own(at: int) -> None:
            for row in rows[at * commits : (at + 1) * commits]:
                table.insert(row)

        def others(at: int) -> None:
            for row in values[at * commits : (at + 1) * commits]:
                plain_sqlite.commit(plain, text, row)

        times, baseline = take_turns(own, others, rounds=rounds, warmup=1)
    yield Figure(
        "insert of one row, 8 columns, a key", "/s", per_second(commits, times),
        per_second(commits, baseline), SQLITE,
        (Bound("ratio", "at least", 0.6), Bound("measured", "at least", 1500)),
    )  # fmt: skip


def batch(plan: Plan) -> Iterator[Figure]:
    """Yield how many rows a second an Arrow table is inserted with, without and with a key."""
    rows, rounds = plan.size(200_000), 3
    data = eight_columns(rows)
    ready = plain_sqlite.tuples(data)
    with (
        affidavit.connect(plan.folder / "lake", journal=False) as session,
        plain_sqlite.opened(plan.folder / "plain.db") as plain,
    ):
        for label, key in (("no key", False), ("a key", True)):
            names = [f"{'keyed' if key else 'plain'}_{at}" for at in range(rounds + 1)]
            tables = [
                session.create_table(n, schema=data.schema, primary_key="id" if key else ())
                for n in names
            ]
            for name in names:
                plain_sqlite.create(plain, name, key=key)

            def own(at: int, tables: list[affidavit.MutableTable] = tables) -> None:
                tables[at].insert(data)

            def others(at: int, names: list[str] = names) -> None:
                plain_sqlite.fill(plain, names[at], ready)

            times, baseline = take_turns(own, others, rounds=rounds, warmup=1)
            yield Figure(
                f"batch insert, {rows:,} rows, 8 columns, {label}", "rows/s",
                per_second(rows, times), per_second(rows, baseline),
                "sqlite3 executemany of ready tuples",
                (Bound("measured", "at least", 150_000),),
            )  # fmt: skip


_SCANNED: Final = """
import sys, time, affidavit
with affidavit.connect(sys.argv[1], journal=False) as session:
    session.sql("SELECT 1").to_arrow()
    began = time.perf_counter()
    session.sql(sys.argv[2]).to_arrow()
    print(time.perf_counter() - began)
"""
"""A process of its own, which prints how long its first scan of a table takes, in seconds."""


def changed(plan: Plan) -> Iterator[Figure]:
    """Yield what an aggregate takes after one row changed, and in a new process, beside DuckDB."""
    rows, rounds = plan.size(1_000_000), 7
    data = eight_columns(rows)
    query = "SELECT city, count(*) AS n, sum(price) AS total, avg(weight) AS mean FROM t GROUP BY 1"
    lake, plain = plan.folder / "lake", duckdb.connect(plan.folder / "plain.duckdb")
    plain.execute("CREATE TABLE t AS SELECT * FROM data")
    plain.execute("CREATE UNIQUE INDEX by_id ON t (id)")
    with affidavit.connect(lake, journal=False) as session:
        table = session.create_table("t", data, primary_key="id")

        def change(at: int) -> None:
            table.update({"price": at + 0.5}, f"id = {at * 7919 % rows}")
            plain.execute("UPDATE t SET price = ? WHERE id = ?", [at + 0.5, at * 7919 % rows])

        own, others = take_turns(
            lambda _: session.sql(query).to_arrow(), lambda _: plain.sql(query).to_arrow_table(),
            rounds=rounds, warmup=2, before=change,
        )  # fmt: skip
        yield Figure(
            f"GROUP BY over {rows:,} rows after one changed", "ms", milliseconds(own),
            milliseconds(others), "DuckDB", (Bound("ratio", "at most", 1.5),),
        )  # fmt: skip
    first = [
        float(
            subprocess.run(
                [sys.executable, "-c", _SCANNED, lake, query], check=True, capture_output=True
            ).stdout
        )
        for _ in range(3)
    ]
    yield Figure(
        f"the first scan of {rows:,} x 8 in a process", "ms", milliseconds(first),
        milliseconds(others), "DuckDB", (Bound("measured", "at most", 400),),
    )  # fmt: skip


def scan(plan: Plan) -> Iterator[Figure]:
    """Yield the times of scans after a change, against DataFusion on the same data in memory."""
    rows, rounds = plan.size(1_000_000), 5
    data = measurements(rows + rounds)
    stored, new = data[:rows], data[rows:]
    query = (
        "SELECT station, count(*) AS n, sum(level) AS total, avg(reading) AS mean "
        "FROM t GROUP BY station"
    )
    plain = SessionContext()
    plain.register_record_batches("t", [stored.to_batches(max_chunksize=BATCH_ROWS)])
    with affidavit.connect(plan.folder / "lake", journal=False) as session:
        table = session.create_table("t", stored, primary_key="id")

        def own(_: int) -> None:
            session.sql(query).to_arrow()

        def others(_: int) -> None:
            plain.sql(query).to_arrow_table()

        first, base_1, second, base_2, third, base_3 = take_turns(
            own, others, own, others, own, others,
            rounds=rounds, before=lambda at: table.insert(new[at : at + 1]),
        )  # fmt: skip
    for label, times, baseline in (
        ("first", first, base_1),
        ("second", second, base_2),
        ("third", third, base_3),
    ):
        yield Figure(
            f"{label} scan after a change, GROUP BY, {rows:,} rows", "ms", milliseconds(times),
            milliseconds(baseline), "DataFusion in memory",
            () if label == "first" else (Bound("ratio", "at most", 2),),
        )  # fmt: skip
