"""Whole sub-trees sent to databases, and keys of small sides of joins, beside their own time."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import affidavit
from bench.federation import postgres
from bench.harness import Bound, Figure, milliseconds, take_turns
from bench.tpch import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness import Plan

ROWS: Final = 5_000_000
VECTORS: Final = 20_000
WIDTH: Final = 64


def keys(plan: Plan) -> Iterator[Figure]:
    """Yield what a join of a search's hits with a large table of a server takes, and 100 keys."""
    rows = plan.size(ROWS)
    rng = np.random.default_rng(7)
    vectors = rng.random((VECTORS, WIDTH), dtype=np.float32)
    data = pa.table({
        "id": pa.array(range(1, VECTORS + 1), pa.int64()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH),
    })  # fmt: skip
    listed = ", ".join(str(each) for each in rng.choice(rows, 100, replace=False) + 1)
    asked = f"SELECT id, n, x FROM {{}} WHERE id IN ({listed})"
    with (
        postgres(plan.folder / "postgres", rows) as (url, connection),
        affidavit.connect(plan.folder / "lake") as session,
    ):
        session.attach("pg", url)
        session.create_vector_table("docs", data)
        search = "SELECT id FROM vector_search('docs', $q, 100)"
        joined = (
            "SELECT h.id, t.n, t.x FROM vector_search('docs', $q, 100) h "
            "JOIN pg.public.t t ON t.id = h.id"
        )
        own, others = take_turns(
            lambda at: session.sql(joined, q=vectors[at].tolist()).to_arrow(),
            lambda at: session.sql(search, q=vectors[at].tolist()).to_arrow(),
            rounds=15, warmup=3,
        )  # fmt: skip
        yield Figure(
            f"100 hits of a search joined with {rows:,} rows of PostgreSQL", "ms",
            milliseconds(own), milliseconds(others), "the search alone",
            (Bound("measured", "at most", milliseconds(others) + 5),),
        )  # fmt: skip

        def alone(_: int) -> Any:  # noqa: ANN401 - a table
            with connection.cursor() as cursor:
                cursor.execute(asked.format("t"))
                return cursor.fetch_arrow_table()

        own, others = take_turns(
            lambda _: session.sql(asked.format("pg.public.t")).to_arrow(), alone,
            rounds=15, warmup=3,
        )  # fmt: skip
        yield Figure(
            f"100 keys of {rows:,} rows of PostgreSQL", "ms", milliseconds(own),
            milliseconds(others), "the ADBC driver alone",
        )  # fmt: skip


def one_server(plan: Plan) -> Iterator[Figure]:
    """Yield how long TPC-H takes whose tables are all in one PostgreSQL, against its own time."""
    scale, data = "0.1" if plan.quick else "1", plan.folder / "data"
    tool = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    subprocess.run([tool, "parquet", "-s", scale, "--output-dir", str(data)], check=True)
    with (
        postgres(plan.folder / "postgres", 1) as (url, connection),
        affidavit.connect(plan.folder / "lake") as session,
    ):
        names = [path.stem for path in data.glob("*.parquet")]
        with connection.cursor() as cursor:
            for name in names:
                _fill(cursor, name, data / f"{name}.parquet")
        session.attach("pg", url)
        own, others = {}, {}
        for number, text in QUERIES.items():
            here = text.format(**{name: f"pg.public.{name}" for name in names})
            there = text.format(**{name: name for name in names})
            for asked, took in ((here, own), (there, others)):
                started = perf_counter()
                if asked is here:
                    found = session.sql(asked).to_arrow()
                else:
                    with connection.cursor() as cursor:
                        cursor.execute(asked)
                        wanted = cursor.fetch_arrow_table()
                took[number] = perf_counter() - started
            assert found.num_rows == wanted.num_rows
    yield Figure(
        f"TPC-H at scale {scale}, 22 queries over one PostgreSQL", "s", sum(own.values()),
        sum(others.values()), "PostgreSQL's own, by the ADBC driver",
        (Bound("ratio", "at most", 1.15),), details={"queries_s": own, "baseline_s": others},
    )  # fmt: skip


def beside(plan: Plan) -> Iterator[Figure]:
    """Yield how long a join of two databases takes, of which each computes, against one alone."""
    with (
        postgres(plan.folder / "postgres", 1_000) as (url, _),
        affidavit.connect(plan.folder / "lake") as session,
    ):
        for name in ("one", "two"):  # one server, and pools of their own
            session.attach(name, url)
        side = "(SELECT id, count(slept) AS n FROM {}.public.slow GROUP BY id)"
        both = f"SELECT a.n FROM {side.format('one')} a JOIN {side.format('two')} b ON b.id = a.id"
        own, others = take_turns(
            lambda _: session.sql(both).to_arrow(),
            lambda _: session.sql(f"SELECT n FROM {side.format('one')} a").to_arrow(),
            rounds=3, warmup=1,
        )  # fmt: skip
    yield Figure(
        "a join of two databases that take a second each", "ms", milliseconds(own),
        milliseconds(others), "one of them alone", (Bound("ratio", "at most", 1.2),),
    )  # fmt: skip


_KEYS: Final = {
    "orders": "o_orderkey", "customer": "c_custkey", "part": "p_partkey", "supplier": "s_suppkey",
    "nation": "n_nationkey", "region": "r_regionkey", "partsupp": "ps_partkey, ps_suppkey",
    "lineitem": "l_orderkey, l_linenumber",
}  # fmt: skip
_DECIMAL: Final = "numeric(15, 2)"


def _fill(cursor: Any, name: str, path: Path) -> None:  # noqa: ANN401 - an ADBC cursor
    """Make a table of a Parquet file's rows, with the key and the types of TPC-H."""
    table = pq.read_table(path)
    plain = pa.schema([
        field.with_type(pa.string()) if pa.types.is_string_view(field.type) else field
        for field in table.schema
    ])  # fmt: skip
    cursor.adbc_ingest(name, table.cast(plain), mode="create")
    for field in plain:
        if pa.types.is_decimal(field.type):
            cursor.execute(f"ALTER TABLE {name} ALTER {field.name} TYPE {_DECIMAL}")
    cursor.execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({_KEYS[name]})")
    cursor.execute(f"ANALYZE {name}")
