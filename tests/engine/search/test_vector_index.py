"""What a search looks at by default: what suits the index, and its record says it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import affidavit
from affidavit.engine.search.vector_index import VectorIndex, nprobes_for, refine_factor_for


def clusters(rows: int, dimension: int = 32) -> pa.Table:
    random = np.random.default_rng(3)
    centres = random.normal(size=(40, dimension))
    data = centres[np.arange(rows) % 40] + random.normal(size=(rows, dimension)) * 0.5
    flat = pa.array(data.astype("f4").ravel())
    return pa.table(
        {"id": range(rows), "vector": pa.FixedSizeListArray.from_arrays(flat, dimension)}
    )


def _index(kind: str, rows: int, partitions: int) -> VectorIndex:
    return VectorIndex({"type": kind}, partitions, rows)


@pytest.mark.parametrize(("partitions", "nprobes"), [(1, 20), (24, 20), (244, 31), (2441, 99)])
def test_more_partitions_are_looked_at_where_there_are_more(partitions, nprobes) -> None:
    assert nprobes_for(_index("IVF_SQ", 1, partitions)) == nprobes


@pytest.mark.parametrize(
    ("kind", "rows", "metric", "factor"),
    [
        ("IVF_SQ", 1_000_000, "cosine", 4),
        ("IVF_SQ", 1_000_000, "l2", 8),
        ("IVF_HNSW_SQ", 10, "cosine", 4),
        ("IVF_FLAT", 10, "l2", 1),
        ("IVF_PQ", 100_000, "cosine", 30),
        ("IVF_PQ", 1_000_000, "cosine", 95),
        ("IVF_RQ", 1_000_000_000, "dot", 200),
    ],
)
def test_coarser_codes_are_refined_more(kind, rows, metric, factor) -> None:
    assert refine_factor_for(_index(kind, rows, 9), metric, 10, 10) == factor
    halved = refine_factor_for(_index(kind, rows, 9), metric, 10, 50)
    assert halved == max(min(2, factor), -(-factor // 5))


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@pytest.mark.parametrize("kind", ["IVF", "IVF_PQ"])
def test_the_defaults_find_the_true_nearest_of_clusters(session, metric, kind) -> None:
    data = clusters(4000)
    table = session.create_vector_table("v", data, metric=metric)
    table.create_index("vector", kind, num_partitions=30)
    found = 0
    for at in range(0, 4000, 200):
        query = data["vector"][at].as_py()
        near = session.search("v", query, select=["id"])
        exact = session.search("v", query, select=["id"], exact=True)
        ids = [{row["id"] for row in each.to_pylist()} for each in (near, exact)]
        found += len(ids[0] & ids[1])
        assert near.audit is not None
        assert near.audit.index_name == "vector_idx"
    assert found >= 0.95 * 200


def test_the_record_says_what_was_used_and_a_replay_asks_it_again(session) -> None:
    table = session.create_vector_table("v", clusters(2000))
    table.create_index("vector", num_partitions=200)
    query = table.to_arrow()["vector"][7].as_py()
    told = session.search("v", query).audit
    assert (told.params["nprobes"], told.params["refine_factor"]) == (28, 4)
    assert session.search("v", query, nprobes=3).audit.params["nprobes"] == 3
    table.insert([{"id": 9999, "vector": query}])
    table.create_index("vector", "IVF_FLAT", num_partitions=4)
    newer = session.search("v", query).audit.params
    assert (newer["nprobes"], newer["refine_factor"]) == (20, 1)
    verdict = session.audit.replay(told.query_id, query)
    assert verdict.outcome in {affidavit.Outcome.REPRODUCED, affidavit.Outcome.ANN_MISS}
