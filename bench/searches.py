"""Searches beside lancedb: by every default, in batches, hybrid, filtered, in SQL, by threads.

Each is of one table that both read, unless what is compared is what each builds by its defaults.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, Final

import lancedb
import numpy as np
import pyarrow as pa

import affidavit
from bench.harness import Bound, Figure, milliseconds, per_second, take_turns
from bench.samples import SEED, clustered, vector_rows
from bench.search import NPROBES, RECALL_MIN, REFINE_FACTOR, K, ask, create_clustered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.harness import Plan
    from bench.samples import Vectors

ROWS_MAX: Final = int(os.environ.get("AFFIDAVIT_BENCH_VECTORS", "100_000"))
"""The largest table that is searched by its defaults; 1_000_000 is what the figure is meant for."""

DIMENSION: Final = 128
QUERIES: Final = 100
BATCH: Final = 32
LADDER: Final = ((20, 1), (20, 10), (20, 30), (40, 60), (80, 100), (160, 200), (320, 400))
"""What lancedb is asked, nprobes and refine_factor, until its recall is as good."""

THREADS: Final = ((1, 1.1), (4, 1.2), (16, 1.0))
COLUMNS: Final = 2000
MANY: Final = 20_000
SETTLED_S: Final = 2.0
"""How long what is done in the background is given."""


def searches(plan: Plan) -> Iterator[Figure]:
    """Yield what searches cost, each beside lancedb or Lance itself."""
    for rows in (10_000, 100_000, 1_000_000):
        if rows <= ROWS_MAX:
            yield from _defaults(plan, plan.size(rows))
    yield from _one_table(plan)
    yield from _small_writes(plan)
    yield _wide(plan)
    yield _replay(plan)


# --- by every default -----------------------------------------------------------------------------


def _uniform(rows: int, dimension: int, queries: int) -> tuple[Vectors, Vectors]:
    drawn = np.random.default_rng(SEED).random((rows + queries, dimension), dtype=np.float32) - 0.5
    return drawn[:rows], drawn[rows:]


def _defaults(plan: Plan, rows: int) -> Iterator[Figure]:
    folder = plan.folder / f"defaults{rows}"
    for name, draw in (("clustered", clustered), ("uniform", _uniform)):
        vectors, queries = draw(rows, DIMENSION, QUERIES)
        with affidavit.connect(folder / name, audit="off") as session:
            create_clustered(session, vectors)
            exact = [_ids(_by_default(session, query, exact=True)) for query in queries]
            own = _recall([_ids(_by_default(session, query)) for query in queries], exact)
            bounds = (Bound("measured", "at least", RECALL_MIN),) if name == "clustered" else ()
            yield Figure(
                f"recall@{K} by default, {rows:,} {name} x {DIMENSION}", "", own, 1.0,
                "exact search", bounds,
            )  # fmt: skip
            if name == "clustered":
                yield _beside_theirs(session, folder, vectors, queries, exact)


def _beside_theirs(
    session: affidavit.Session, folder: Path, vectors: Vectors, queries: Vectors, exact: list[Any]
) -> Figure:
    """Return what a search takes with every default, beside lancedb's of as good a recall."""
    texts = [f"text number {at}" for at in range(len(vectors))]
    other = lancedb.connect(folder / "theirs").create_table("t", vector_rows(texts, vectors))
    other.create_index(metric="cosine")
    for nprobes, refine in LADDER:
        found = _recall([_ids(_theirs(other, q, nprobes, refine)) for q in queries], exact)
        if found >= RECALL_MIN:
            break
    own, others = take_turns(
        lambda at: _by_default(session, queries[at % QUERIES]),
        lambda at: _theirs(other, queries[at % QUERIES], nprobes, refine),
        rounds=QUERIES, warmup=10,
    )  # fmt: skip
    return Figure(
        f"search p50 by default, {len(vectors):,} clustered", "ms", milliseconds(own),
        milliseconds(others), "lancedb's default index, asked for as good a recall",
        (Bound("ratio", "at most", 1.0),),
        {"their_recall": found, "their_nprobes": nprobes, "their_refine_factor": refine},
    )  # fmt: skip


def _by_default(session: affidavit.Session, query: Vectors, *, exact: bool = False) -> pa.Table:
    return session.search("clustered", query, K, select=["id", "text"], exact=exact).to_arrow()


def _theirs(
    other: Any,  # noqa: ANN401 - a table of lancedb's
    query: Any,  # noqa: ANN401 - a vector, or many
    nprobes: int = NPROBES,
    refine: int = REFINE_FACTOR,
    where: str | None = None,
) -> pa.Table:
    asked = other.search(query, vector_column_name="vector").distance_type("cosine").limit(K)
    asked = asked.nprobes(nprobes).refine_factor(refine).select(["id", "text", "_distance"])
    return (asked if where is None else asked.where(where, prefilter=True)).to_arrow()


def _ids(rows: pa.Table) -> set[int]:
    return set(rows["id"].to_pylist())


def _recall(found: list[set[int]], exact: list[set[int]]) -> float:
    return float(np.mean([len(a & b) / K for a, b in zip(found, exact, strict=True)]))


# --- of one table ---------------------------------------------------------------------------------


def _one_table(plan: Plan) -> Iterator[Figure]:
    rows, rounds = plan.size(100_000), plan.size(200, least=30)
    vectors, queries = clustered(rows, DIMENSION, 500)
    with affidavit.connect(plan.folder / "one") as session:
        create_clustered(session, vectors)
        table = session.table("clustered")
        table.create_index("text", "FTS")
        other = lancedb.connect(plan.folder / "one" / "vectors" / "default").open_table("clustered")

        def pair(own: Callable[[int], object], others: Callable[[int], object]) -> Any:  # noqa: ANN401
            return take_turns(own, others, rounds=rounds, warmup=10)

        def figure(name: str, times: Any, limit: float) -> Figure:  # noqa: ANN401
            own, others = times
            return Figure(
                f"{name}, {rows:,} x {DIMENSION}, on record", "ms", milliseconds(own),
                milliseconds(others), "lancedb, the same table and parameters",
                (Bound("ratio", "at most", limit),),
                {"p95_ms": float(np.percentile(own, 95)) * 1000},
            )  # fmt: skip

        def query(at: int) -> Vectors:
            found: Vectors = queries[at % 500]
            return found

        statement = (
            "SELECT id, text, _distance FROM vector_search('clustered', $q, 10, "
            f"nprobes => {NPROBES}, refine_factor => {REFINE_FACTOR})"
        )
        yield figure(
            "search in SQL p50",
            pair(
                lambda at: session.sql(statement, q=query(at)).to_arrow(),
                lambda at: _theirs(other, query(at)),
            ),
            1.0,
        )
        for share in (0.01, 0.5):
            where = f"id < {round(rows * share)}"
            yield figure(
                f"search of {share:.0%} of the rows p50",
                pair(
                    lambda at, where=where: _filtered(session, query(at), where),
                    lambda at, where=where: _theirs(other, query(at), where=where),
                ),
                0.9,
            )
        yield figure(
            f"batch of {BATCH} p50",
            pair(lambda at: _batch(session, queries, at), lambda at: _batch(other, queries, at)),
            1.0,
        )
        yield figure(
            "hybrid search by default p50",
            pair(
                lambda at: session.search(
                    "clustered", query(at), K, mode="hybrid", text=f"number {at}",
                    select=["id", "text"],
                ).to_arrow(),
                lambda at: _their_hybrid(other, query(at), f"number {at}"),
            ),
            0.9,
        )  # fmt: skip
        yield from _threads(session, other, queries, plan)


def _filtered(session: affidavit.Session, query: Vectors, where: str) -> pa.Table:
    return session.search(
        "clustered", query, K, select=["id", "text"], where=where, nprobes=NPROBES,
        refine_factor=REFINE_FACTOR,
    ).to_arrow()  # fmt: skip


def _batch(of: Any, queries: Vectors, at: int) -> object:  # noqa: ANN401 - a session, or their table
    asked = [queries[(at * BATCH + each) % 500] for each in range(BATCH)]
    if not isinstance(of, affidavit.Session):
        return _theirs(of, asked)
    return [
        found.to_arrow()
        for found in of.search_batch(
            "clustered", asked, K, select=["id", "text"], nprobes=NPROBES,
            refine_factor=REFINE_FACTOR,
        )
    ]  # fmt: skip


def _their_hybrid(other: Any, query: Vectors, text: str) -> pa.Table:  # noqa: ANN401
    asked = other.search(query_type="hybrid", vector_column_name="vector", fts_columns="text")
    asked = asked.vector(query).text(text).distance_type("cosine").limit(K)
    return asked.select(["id", "text"]).to_arrow()


def _threads(
    session: affidavit.Session,
    other: Any,  # noqa: ANN401 - a table of lancedb's
    queries: Vectors,
    plan: Plan,
) -> Iterator[Figure]:
    count = plan.size(320, least=64)
    for threads, limit in THREADS:
        with ThreadPoolExecutor(threads) as pool:
            own, others = take_turns(
                lambda _, pool=pool: list(
                    pool.map(lambda at: ask(session, queries[at % 500]), range(count))
                ),
                lambda _, pool=pool: list(
                    pool.map(lambda at: _theirs(other, queries[at % 500]), range(count))
                ),
                rounds=3, warmup=1,
            )  # fmt: skip
        yield Figure(
            f"searches by {threads} threads, on record", "/s", per_second(count, own),
            per_second(count, others), "lancedb", (Bound("ratio", "at least", limit),),
        )  # fmt: skip


# --- after small writes ---------------------------------------------------------------------------


def _small_writes(plan: Plan) -> Iterator[Figure]:
    """Yield what searches and writes take after many one-row inserts, beside what they took."""
    rows, writes = plan.size(100_000), plan.size(1000, least=100)
    vectors, queries = clustered(rows, 64, 2 * writes + 100)
    data = vector_rows(["" for _ in queries], queries)
    moved = pa.array(range(rows, rows + len(queries)), pa.int64())
    data = data.set_column(0, "id", moved)
    with affidavit.connect(plan.folder / "written") as session:
        create_clustered(session, vectors)
        table = session.table("clustered")
        theirs = lancedb.connect(plan.folder / "theirs")
        other = theirs.create_table("t", session.table("clustered").to_arrow())

        def search(at: int) -> object:
            return ask(session, queries[at])

        table.insert(data.slice(0, 1))
        [before] = take_turns(search, rounds=100, warmup=20)
        for at in range(1, writes):
            table.insert(data.slice(at, 1))
            other.add(data.slice(at, 1))
        sleep(SETTLED_S)
        [after] = take_turns(search, rounds=100, warmup=20)
        inserted = take_turns(
            lambda at: table.insert(data.slice(writes + at, 1)),
            lambda at: other.add(data.slice(writes + at, 1)), rounds=20, warmup=3,
        )  # fmt: skip
        deleted = take_turns(
            lambda at: table.delete(keys=[rows + 2 * at]),
            lambda at: other.delete(f"id = {rows + 2 * at}"), rounds=20, warmup=3,
        )  # fmt: skip
    yield Figure(
        f"search p50 after {writes:,} one-row inserts, {rows:,} x 64", "ms", milliseconds(after),
        milliseconds(before), "after one", (Bound("ratio", "at most", 1.3),),
    )  # fmt: skip
    for name, (own, others), limit in (("insert", inserted, 10), ("delete", deleted, 40)):
        yield Figure(
            f"one-row {name} after {writes:,} inserts", "ms", milliseconds(own),
            milliseconds(others), "lancedb, which looks for no equal key and signs nothing",
            (Bound("measured", "at most", limit),),
        )  # fmt: skip


# --- wide tables, and many rows -------------------------------------------------------------------


def _wide(plan: Plan) -> Figure:
    rows = clustered(1000, 8, 0)[0]
    columns = {f"c{at}": np.arange(len(rows)) for at in range(COLUMNS)}
    data = vector_rows(["" for _ in rows], rows)
    for name, values in columns.items():
        data = data.append_column(name, pa.array(values))
    with affidavit.connect(plan.folder / "wide") as session:
        dataset = session.create_vector_table("wide", data).to_lance()
        wanted = {"column": "vector", "q": rows[0], "k": K, "metric": "cosine"}
        own, others = take_turns(
            lambda _: session.search("wide", rows[0], K).to_arrow(),
            lambda _: dataset.scanner(nearest=wanted).to_table(),
            rounds=5, warmup=1,
        )  # fmt: skip
    return Figure(
        f"search in a table of {COLUMNS:,} columns", "ms", milliseconds(own), milliseconds(others),
        "Lance's own scanner", (Bound("measured", "at most", 200),),
    )  # fmt: skip


def _replay(plan: Plan) -> Figure:
    rows = clustered(plan.size(50_000, least=MANY), 32, 0)[0]
    with affidavit.connect(plan.folder / "many") as session:
        create_clustered(session, rows)
        started = perf_counter()
        found = session.search("clustered", rows[0], MANY, select=["id"])
        searched = perf_counter() - started
        started = perf_counter()
        session.audit.replay(found.query_id, rows[0])
        replayed = perf_counter() - started
    return Figure(
        f"replay of a search of {MANY:,} rows", "ms", replayed * 1000, searched * 1000,
        "the search", (Bound("measured", "at most", 1000),),
    )  # fmt: skip
