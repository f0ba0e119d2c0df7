"""Vector search: how quick beside lancedb on the same table, and how right beside exact search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import lancedb
import numpy as np

import affidavit
from bench.harness import Bound, Figure, milliseconds, take_turns
from bench.samples import clustered, vector_rows
from bench.sentences import embedded, sentences

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from bench.harness import Plan
    from bench.samples import Vectors

K: Final = 10
NPROBES: Final = 20
REFINE_FACTOR: Final = 10
DIMENSION: Final = 256
TEXT_DIMENSION: Final = 128
RECALL_MIN: Final = 0.95
DISTANCE_SLACK: Final = 1e-6
"""How far distances of the same vector may differ between an indexed and an exact search."""


def search(plan: Plan) -> Iterator[Figure]:
    """Searches of clustered vectors: p50 without and with audit against lancedb's, and recall."""
    rows, rounds, warmup = plan.size(100_000), plan.size(400, least=50), 20
    vectors, queries = clustered(rows, DIMENSION, rounds + warmup)
    lake = plan.folder / "lake"
    with affidavit.connect(lake) as session, affidavit.connect(lake, audit="off") as unaudited:
        create_clustered(session, vectors)
        other = lancedb.connect(lake / "vectors" / "default").open_table("clustered")
        found: dict[str, list[pa.Table]] = {"without audit": [], "with audit": []}
        expected: list[pa.Table] = []

        def theirs(at: int) -> None:
            query = other.search(queries[at]).distance_type("cosine").limit(K)
            query = query.nprobes(NPROBES).refine_factor(REFINE_FACTOR)
            expected.append(query.select(["id", "text", "_distance"]).to_arrow())

        plain, audited, others = take_turns(
            lambda at: found["without audit"].append(ask(unaudited, queries[at])),
            lambda at: found["with audit"].append(ask(session, queries[at])),
            theirs,
            rounds=rounds, warmup=warmup,
        )  # fmt: skip
        for label, own, limit in (("without audit", plain, 0.8), ("with audit", audited, 1.0)):
            same = [a["id"] == b["id"] for a, b in zip(found[label], expected, strict=True)]
            yield Figure(
                f"search p50 {label}, {rows:,} x {DIMENSION}, k={K}", "ms",
                milliseconds(own), milliseconds(others), "lancedb's Table.search",
                (Bound("ratio", "at most", limit),),
                {"same_ids": sum(same) / len(same), "p99_ms": float(np.percentile(own, 99)) * 1000,
                 "baseline_p99_ms": float(np.percentile(others, 99)) * 1000},
            )  # fmt: skip
        yield Figure(
            "audit's share of a search, p50", "ms",
            milliseconds([a - b for a, b in zip(audited, plain, strict=True)]),
            milliseconds(plain), "the search without audit",
        )  # fmt: skip
        asked = queries[: plan.size(200, least=50)]
        yield _recall(session, "clustered", f"{rows:,} clustered vectors", asked)


def create_clustered(session: affidavit.Session, vectors: Vectors) -> None:
    """Create the indexed table that :func:`ask` searches."""
    texts = [f"text number {at}" for at in range(len(vectors))]
    session.create_vector_table("clustered", vector_rows(texts, vectors)).create_index("vector")


def ask(session: affidavit.Session, query: Vectors) -> pa.Table:
    """Return the ``K`` nearest rows."""
    return session.search(
        "clustered", query, K, select=["id", "text"], nprobes=NPROBES, refine_factor=REFINE_FACTOR
    ).to_arrow()


def recall(plan: Plan) -> Iterator[Figure]:
    """Recall on sentences of the standard library's docstrings, with every default."""
    held_out = plan.size(200, least=50)
    texts = sentences()
    order = np.random.default_rng(0).permutation(len(texts))
    texts, vectors = embedded([texts[at] for at in order[: plan.size(len(texts))]], TEXT_DIMENSION)
    stored = len(texts) - held_out
    with affidavit.connect(plan.folder / "lake") as session:
        table = session.create_vector_table(
            "sentences", vector_rows(texts[:stored], vectors[:stored])
        )
        table.create_index("vector")
        label = f"{stored:,} sentences"
        yield _recall(session, "sentences", label, vectors[stored:])


def _recall(session: affidavit.Session, table: str, label: str, queries: Vectors) -> Figure:
    """Return how many of the ``K`` rows found are as near as the true ones, with all defaults.

    A row counts if it is no farther than the last of the true rows: of several rows at one
    distance, any will do.
    """
    shares = []
    for query in queries:
        near = _distances(session.search(table, query, K, select=["id"]))
        true = _distances(session.search(table, query, K, select=["id"], exact=True))
        shares.append(np.count_nonzero(near <= true.max() + DISTANCE_SLACK) / K)
    return Figure(
        f"recall@{K}, {label}", "", float(np.mean(shares)), 1.0, "exact search",
        (Bound("measured", "at least", RECALL_MIN),), {"worst_query": min(shares)},
    )  # fmt: skip


def _distances(result: affidavit.SearchResult) -> np.ndarray[Any, Any]:
    distances: np.ndarray[Any, Any] = result.to_arrow()["_distance"].to_numpy()
    return distances
