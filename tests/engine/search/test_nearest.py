"""Many queries as one scan, and wide rows by their ids, find what each query finds by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.support.lakes import vectors

import affidavit
from affidavit import errors
from affidavit.engine.search import nearest

QUERIES = np.random.default_rng(5).normal(size=(7, 16)).astype(np.float32)
OWN = ("query_id", "executed_at", "duration_us", "seq", "signature", "query_sha256", "journal_seq")


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """2,000 rows with an index of each kind, of which some are not in it yet."""
    with affidavit.connect(tmp_path_factory.mktemp("lake"), durability="normal") as session:
        table = session.create_vector_table("docs", vectors(2000, 16))
        table.create_index("vector", num_partitions=16, num_sub_vectors=8)
        table.create_index("text", "FTS")
        table.insert(vectors(5, 16, start=5000, seed=8))
        yield session


def _told(result: affidavit.SearchResult) -> dict[str, Any]:
    record = result.audit
    assert record is not None
    return {name: value for name, value in record.to_dict().items() if name not in OWN}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"exact": True},
        {"metric": "l2", "select": ["text"]},
        {"where": "bucket = 3", "nprobes": 1},
        {"where": "bucket = 3 AND id < 40", "nprobes": 1},
        {"where": "abs(id) % 2 = 0"},
        {"k": 3000},
        {"mode": "hybrid", "text": "even odd", "select": ["id", "bucket"]},
        {"nprobes": 2, "refine_factor": 1},
    ],
    ids=str,
)
def test_a_batch_finds_what_its_queries_find_one_by_one(docs, options) -> None:
    together = docs.search_batch("docs", QUERIES, **options)
    alone = [docs.search("docs", query, **options) for query in QUERIES]
    assert [each.to_arrow() for each in together] == [each.to_arrow() for each in alone]
    assert [each.to_arrow().schema for each in together] == [e.to_arrow().schema for e in alone]
    assert list(map(_told, together)) == list(map(_told, alone))
    ids = {each.query_id for each in together}
    assert len(ids) == len(QUERIES)


def test_a_large_batch_is_several_scans(docs, monkeypatch) -> None:
    whole = [each.to_arrow() for each in docs.search_batch("docs", QUERIES)]
    monkeypatch.setattr(nearest, "QUERIES_MAX", 2)
    assert [each.to_arrow() for each in docs.search_batch("docs", QUERIES)] == whole


def test_a_batch_with_a_bad_query_releases_nothing(docs) -> None:
    with pytest.raises(errors.InvalidQueryError, match="dimension 16"):
        docs.search_batch("docs", [QUERIES[0], [1.0]])
    assert docs.search_batch("docs", []) == []


def test_a_column_of_lances_name_for_queries_is_a_column_as_any(session) -> None:
    data = vectors(300, 16).append_column("query_index", pa.array(range(300), pa.int32()))
    session.create_vector_table("named", data)
    found = session.search_batch("named", QUERIES)
    assert [each.to_pylist() for each in found] == [
        session.search("named", query).to_pylist() for query in QUERIES
    ]
    assert "query_index" in found[0].to_arrow().schema.names


@pytest.mark.parametrize("options", [{}, {"where": "bucket < 5"}, {"where": "abs(id) < 50"}])
def test_wide_rows_are_found_as_narrow_ones(docs, monkeypatch, options) -> None:
    narrow = [docs.search("docs", query, **options).to_arrow() for query in QUERIES]
    monkeypatch.setattr(nearest, "COLUMNS_MAX", 1)
    assert [docs.search("docs", query, **options).to_arrow() for query in QUERIES] == narrow
    assert [e.to_arrow() for e in docs.search_batch("docs", QUERIES, **options)] == narrow


def test_a_table_of_many_columns_asks_lance_for_its_schema_once(session, monkeypatch) -> None:
    """Each selected column asked for it anew: a search in 2,000 columns took 11 s."""
    asked = []
    data = vectors(20)
    for at in range(200):
        data = data.append_column(f"c{at}", pa.array(range(20)))
    table = session.create_vector_table("wide", data)
    kind = type(table.to_lance())
    schema = kind.__mro__[1].schema
    monkeypatch.setattr(
        kind.__mro__[1], "schema", property(lambda self: asked.append(1) or schema.fget(self))
    )
    found = session.search("wide", [1.0] * 8, k=3).to_arrow()
    assert found.num_columns == 205
    assert len(asked) < 10
