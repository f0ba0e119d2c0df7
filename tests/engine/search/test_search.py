"""Searches: by vector, text and both, by API and SQL; P13; hooks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from tests.support.lakes import vectors
from tests.support.records import recorded

import affidavit
from affidavit import errors
from affidavit.engine.search.searcher import fuse


@pytest.fixture
def indexed(session: affidavit.Session) -> affidavit.VectorTable:
    """2,000 rows in 16 dimensions with a vector index, a text index and old versions."""
    table = session.create_vector_table("docs", vectors(2000, 16))
    table.create_index("vector", num_partitions=16, num_sub_vectors=8)
    table.create_index("text", "FTS")
    return table


def query_of(table: affidavit.VectorTable, key: int) -> np.ndarray:
    row = table.to_lance().to_table(filter=f"id = {key}")
    return np.array(row["vector"][0].as_py(), dtype=np.float32)


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_exact_search_ranks_by_the_metric(session: affidavit.Session, metric: str) -> None:
    data = vectors(200, 4)
    session.create_vector_table("v", data, metric=metric)
    matrix = np.array(data["vector"].to_pylist())
    query = np.array([0.3, -1.0, 0.5, 0.1])
    if metric == "cosine":
        norms = np.linalg.norm(matrix, axis=1) * np.linalg.norm(query)
        distance = 1 - matrix @ query / norms
    elif metric == "l2":
        distance = ((matrix - query) ** 2).sum(axis=1)
    else:
        distance = 1 - matrix @ query
    found = session.search("v", query, k=5, exact=True).to_pylist()
    assert [row["id"] for row in found] == list(np.argsort(distance)[:5])
    assert [row["_distance"] for row in found] == pytest.approx(np.sort(distance)[:5], abs=1e-4)


@pytest.mark.parametrize("form", [list, tuple, np.array, pa.array], ids=lambda f: f.__name__)
def test_a_query_may_be_any_sequence_of_numbers(session, docs, form) -> None:
    query = query_of(docs, 3).tolist()
    assert session.search("docs", form(query), k=1).to_pylist()[0]["id"] == 3


def test_search_by_sql_finds_what_search_by_api_finds(session, indexed) -> None:
    query = query_of(indexed, 42)
    by_api = session.search("docs", query, k=7, select=["id"]).to_pylist()
    by_sql = session.sql(
        "SELECT id, _distance FROM vector_search('docs', $q, 7) ORDER BY _distance", q=query
    ).to_pylist()
    assert by_sql == by_api
    literal = "[" + ",".join(map(str, query.tolist())) + "]"
    written = session.sql(f"SELECT id FROM vector_search('docs', {literal}, 7)").to_pylist()
    assert {row["id"] for row in written} == {row["id"] for row in by_api}


@pytest.mark.parametrize("matching", [0, 1, 7, 60])
@pytest.mark.parametrize(
    ("mode", "column"), [("vector", "id"), ("hybrid", "id"), ("vector", "abs(id)")]
)
def test_p13_a_filtered_search_returns_min_of_k_and_matching(
    session, indexed, matching: int, mode: str, column: str
) -> None:
    """An index that looks at one partition finds few of a selective filter's rows."""
    where = f"{column} < {matching}"
    found = session.search(
        "docs", query_of(indexed, 1999), k=40, where=where, nprobes=1, mode=mode, text="even odd"
    )
    assert found.k_returned == min(40, matching)
    assert found.k_requested == 40
    assert {row["id"] for row in found} <= set(range(matching))
    options = json.dumps({"where": where, "nprobes": 1})
    by_sql = session.sql(
        "SELECT id FROM vector_search('docs', $q, 40, $o)", q=query_of(indexed, 1999), o=options
    )
    assert by_sql.num_rows == min(40, matching)


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_p19_a_filter_is_one_expression_or_refused(session, indexed, mode) -> None:
    """Lance reads the first expression of a text: the record named what was never asked."""
    query = "odd" if mode == "text" else query_of(indexed, 5)
    for where in (
        "id = 1) OR (id = 2", "id < 9 LIMIT 1", "id < 9 ORDER BY id", "id < 9 id > 2", "id < 9)",
        "id < 9 AND (", "id < 9 AS a", "id < 9, true", "",
    ):  # fmt: skip
        with recorded(session, 0), pytest.raises(errors.InvalidQueryError):
            session.search("docs", query, where=where, mode=mode, text="odd row")


def test_p12_a_parameter_in_a_filter_is_refused_by_name(session, indexed) -> None:
    """Lance's thread panicked, and the error said that a task was aborted."""
    for where, name in (("id = $1", "$1"), ("id = $id", "$id"), ("id = ?", "?")):
        with pytest.raises(errors.InvalidQueryError, match=f"no parameters.*{re.escape(name)}"):
            session.search("docs", query_of(indexed, 5), where=where)


def test_p12_a_search_without_a_query_is_refused(session, indexed) -> None:
    for ask in (
        lambda: session.search("docs"),
        lambda: session.sql("SELECT * FROM vector_search('docs', NULL, 3)"),
    ):
        with pytest.raises(errors.InvalidQueryError, match="needs a query: pass a vector"):
            ask()


def test_a_where_above_a_table_function_filters_what_came_back(session, indexed) -> None:
    query = query_of(indexed, 10)
    above = session.sql(
        "SELECT id FROM vector_search('docs', $q, 10) WHERE bucket = 3 AND id <> 10", q=query
    )
    nearest = session.search("docs", query, k=10).to_pylist()
    assert {r["id"] for r in above} == {r["id"] for r in nearest if r["bucket"] == 3}


def test_text_search_ranks_by_bm25_and_obeys_filters(session, indexed) -> None:
    found = session.search("docs", "word17", mode="text", select=["id"]).to_pylist()
    assert found[0]["id"] == 17
    assert found[0]["_score"] > 0
    odd = session.search("docs", "odd row", k=20, mode="text", where="bucket = 3").to_pylist()
    assert len(odd) == 20
    assert {row["bucket"] for row in odd} == {3}
    by_sql = session.sql(
        "SELECT id FROM text_search('docs', $words, 3)", words="word17"
    ).to_pylist()
    assert by_sql[0]["id"] == 17


def test_hybrid_search_fuses_both_rankings(session, indexed) -> None:
    found = session.search(
        "docs", query_of(indexed, 42), k=5, mode="hybrid", text="word17", select=["id"]
    ).to_pylist()
    assert {42, 17} <= {row["id"] for row in found}
    scores = [row["_score"] for row in found]
    assert scores == sorted(scores, reverse=True)
    by_sql = session.sql(
        "SELECT id FROM hybrid_search('docs', $q, 'word17', 5)", q=query_of(indexed, 42)
    )
    assert {row["id"] for row in by_sql} == {row["id"] for row in found}


def test_reciprocal_rank_fusion_adds_reciprocal_ranks() -> None:
    order, scores = fuse(["a", "b", "c"], ["b", "d"])
    assert order == ["b", "a", "d", "c"]
    assert scores[0] == pytest.approx(1 / 62 + 1 / 61)


def test_a_past_version_and_a_tag_are_searched_as_they_were(session, docs) -> None:
    query, before = query_of(docs, 5), docs.version
    docs.tag("audited")
    docs.delete("id = 5")
    assert session.search("docs", query, k=1).to_pylist()[0]["id"] != 5
    for version in (before, "audited"):
        assert session.search("docs", query, k=1, version=version).to_pylist()[0]["id"] == 5
    options = json.dumps({"version": before})
    found = session.sql("SELECT id FROM vector_search('docs', $q, 1, $o)", q=query, o=options)
    assert found.to_pylist() == [{"id": 5}]


def test_search_batch_answers_each_query(session, indexed) -> None:
    queries = [query_of(indexed, key) for key in (1, 500, 1500)]
    results = session.search_batch("docs", queries, k=2)
    assert [result.to_pylist()[0]["id"] for result in results] == [1, 500, 1500]
    assert session.search_batch("docs", []) == []


def test_unindexed_rows_are_found(session, indexed) -> None:
    """Rows that came after the index was built are searched beside it."""
    indexed.insert(vectors(5, 16, start=5000, seed=99))
    assert session.search("docs", query_of(indexed, 5003), k=1).to_pylist()[0]["id"] == 5003


def encode(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), text.count("a") + 1.0, 1.0] for text in texts], dtype=np.float32)


def test_a_query_may_be_text_where_the_table_names_a_model(session: affidavit.Session) -> None:
    session.models.register("counts", encode, version="2", dim=3)
    words = ["banana", "kiwi", "avocado pear"]
    rows = [{"id": w, "vector": v} for w, v in zip(words, encode(words).tolist(), strict=True)]
    session.create_vector_table("fruit", rows, model="counts", metric="l2")
    result = session.search("fruit", "banana", k=1)
    assert result.to_pylist()[0]["id"] == "banana"
    assert (result.request.model, result.request.model_version) == ("counts", "2")
    by_sql = session.sql("SELECT id FROM vector_search('fruit', 'kiwi', 1)").to_pylist()
    assert by_sql == [{"id": "kiwi"}]
    with pytest.raises(errors.ModelNotFoundError, match="'other'"):
        session.search("fruit", "kiwi", model="other")


def test_a_model_of_lancedbs_registry_is_accepted(session: affidavit.Session) -> None:
    from lancedb.embeddings import EmbeddingFunction

    class Lengths(EmbeddingFunction):
        def ndims(self) -> int:
            return 2

        def compute_query_embeddings(
            self, query: str, *_: object, **__: object
        ) -> list[list[float]]:
            return [[float(len(query)), 1.0]]

        def compute_source_embeddings(self, texts: Sequence[str], *_: object, **__: object) -> list:
            return [[float(len(text)), 1.0] for text in texts]

    session.models.register("lengths", Lengths.create(), version=1)
    rows = [{"id": n, "vector": [float(n), 1.0]} for n in range(1, 9)]
    session.create_vector_table("n", rows, model="lengths", metric="l2")
    assert session.search("n", "four", k=1).to_pylist()[0]["id"] == 4


def test_a_model_that_fails_or_lies_is_named(session: affidavit.Session) -> None:
    session.models.register("broken", lambda texts: 1 / 0)
    session.models.register("flat", lambda texts: np.zeros(3), dim=3)
    session.create_vector_table("v", [{"id": 1, "vector": [1.0, 2.0, 3.0]}])
    for name in ("broken", "flat"):
        with pytest.raises(errors.ExecutionError, match=f"'{name}'"):
            session.search("v", "words", model=name)


# --- hooks ---------------------------------------------------------------------------------------


class Hook:
    def __init__(self, *, fail: str = "") -> None:
        self.fail = fail
        self.seen: list[str] = []
        self.batches: list[Sequence[affidavit.CompletedSearch]] = []

    def _note(self, moment: str) -> None:
        self.seen.append(moment)
        if moment == self.fail:
            msg = f"not {moment}"
            raise RuntimeError(msg)

    def before(self, request: affidavit.SearchRequest) -> None:
        assert request.vector is not None
        self._note("before")

    def after(self, searches: Sequence[affidavit.CompletedSearch]) -> None:
        self.batches.append(searches)
        self._note("after")

    def failed(self, request: affidavit.SearchRequest, error: BaseException) -> None:
        self._note("failed")


SEARCHES = [
    "SELECT * FROM vector_search('docs', $q, 3)",
    "SELECT count(*) FROM vector_search('docs', $q, 3)",
    "SELECT v.id FROM vector_search('docs', $q, 3) v JOIN docs d ON d.id = v.id",
    "WITH hits AS (SELECT * FROM vector_search('docs', $q, 3)) SELECT * FROM hits",
    "SELECT id FROM docs WHERE id IN (SELECT id FROM vector_search('docs', $q, 3))",
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM vector_search('docs', $q, 3))",
    "SELECT (SELECT min(id) FROM vector_search('docs', $q, 3)) AS m",
    "SELECT id FROM docs WHERE id NOT IN (SELECT id FROM vector_search('docs', $q, 3))",
    "CREATE TABLE kept AS SELECT id FROM vector_search('docs', $q, 3)",
    "EXPLAIN ANALYZE SELECT * FROM vector_search('docs', $q, 3)",
    "SELECT * FROM vector_search('docs', $q, 3) LIMIT 1",
]


@pytest.mark.parametrize("text", SEARCHES)
def test_p2_each_search_in_sql_passes_the_hooks_once(session, docs, text: str) -> None:
    hook = Hook()
    session.hooks.add(hook)
    session.sql(text, q=query_of(docs, 1)).to_arrow()
    assert hook.seen == ["before", "after"]
    [search] = hook.batches[0]
    assert search.request.version == docs.version
    assert len(search.ids) == len(search.scores) == 3


def test_p2_what_does_not_run_does_not_search(session, docs) -> None:
    """EXPLAIN, PREPARE, a view's definition, and a result that nobody reads."""
    hook = Hook()
    session.hooks.add(hook)
    query = query_of(docs, 1)
    literal = "[" + ",".join(map(str, query.tolist())) + "]"
    session.explain("SELECT * FROM vector_search('docs', $q, 3)", {"q": query})
    session.sql(f"PREPARE p AS SELECT * FROM vector_search('docs', {literal}, 3)")
    session.sql(f"CREATE VIEW near AS SELECT id FROM vector_search('docs', {literal}, 3)")
    session.sql("SELECT * FROM vector_search('docs', $q, 3)", q=query).close()
    assert hook.seen == []
    assert session.sql("SELECT * FROM near").num_rows == 3
    assert hook.seen == ["before", "after"]
    session.sql("EXECUTE p").to_arrow()
    assert hook.seen == ["before", "after"] * 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_p1_a_hook_that_raises_keeps_the_rows_back(session, docs, moment: str) -> None:
    hook = Hook(fail=moment)
    session.hooks.add(hook)
    query = query_of(docs, 1)
    with pytest.raises(errors.HookError, match=f"not {moment}"):
        session.search("docs", query)
    with pytest.raises(errors.HookError, match=f"not {moment}"):
        session.sql("SELECT * FROM vector_search('docs', $q, 3)", q=query).to_arrow()
    with pytest.raises(errors.HookError, match=f"not {moment}"):
        session.sql("CREATE TABLE kept AS SELECT id FROM vector_search('docs', $q, 3)", q=query)
    assert hook.seen[-1] == "failed"
    with pytest.raises(errors.TableNotFoundError):
        session.table("kept")
    session.hooks.remove(hook)
    assert len(session.search("docs", query)) == 10


def test_a_batch_passes_after_together(session, docs) -> None:
    hook = Hook()
    session.hooks.add(hook)
    session.search_batch("docs", [query_of(docs, key) for key in range(4)], k=2)
    assert hook.seen == ["before"] * 4 + ["after"]
    assert [len(batch) for batch in hook.batches] == [4]


def test_a_hook_must_have_a_hooks_methods(session) -> None:
    with pytest.raises(TypeError, match="before, after or failed"):
        session.hooks.add(object())


# --- bad input -----------------------------------------------------------------------------------

Q = [1.0] * 8
BAD_SEARCHES = [
    (dict(query=[1.0, 2.0]), errors.InvalidQueryError, "dimension 8, got shape"),
    (dict(query=[[1.0] * 8]), errors.InvalidQueryError, "dimension 8"),
    (dict(query=[float("nan")] * 8), errors.InvalidQueryError, "NaN or infinity"),
    (dict(query=[float("inf")] * 8), errors.InvalidQueryError, "NaN or infinity"),
    (dict(query=[1e300] * 8), errors.InvalidQueryError, "NaN or infinity"),
    (dict(query=[0.0] * 8), errors.InvalidQueryError, "zero vector"),
    (dict(query=["a"] * 8), errors.InvalidQueryError, "list of numbers"),
    (dict(query=None), errors.InvalidQueryError, "pass a vector"),
    (dict(query="words"), errors.InvalidQueryError, "names no model"),
    (dict(query=Q, k=0), errors.InvalidQueryError, "k must be between 1"),
    (dict(query=Q, k=-5), errors.InvalidQueryError, "k must be between 1"),
    (dict(query=Q, k=2.5), errors.InvalidQueryError, "whole number, got 2.5"),
    (dict(query=Q, k=True), errors.InvalidQueryError, "whole number"),
    (dict(query=Q, k=10**9), errors.InvalidQueryError, "between 1 and"),
    (dict(query=Q, nprobes=0), errors.InvalidQueryError, "nprobes"),
    (dict(query=Q, where="nope = 3"), errors.InvalidQueryError, "nope"),
    (dict(query=Q, where="id ==== 3"), errors.InvalidQueryError, "id ==== 3"),
    (dict(query=Q, where="  "), errors.InvalidQueryError, "where"),
    (dict(query=Q, where="id; DROP TABLE docs"), errors.InvalidQueryError, "docs"),
    (dict(query=Q, select=["nope"]), errors.ColumnNotFoundError, "'nope'"),
    (dict(query=Q, select="id"), errors.InvalidQueryError, "list of columns"),
    (dict(query=Q, column="nope"), errors.ColumnNotFoundError, "'nope'"),
    (dict(query=Q, column="text"), errors.InvalidQueryError, "has no vectors"),
    (dict(query=Q, metric="manhattan"), errors.InvalidQueryError, "manhattan"),
    (dict(query=Q, mode="magic"), errors.InvalidQueryError, "magic"),
    (dict(query="word1", mode="text"), errors.InvalidQueryError, "no full-text index"),
    (dict(query="", mode="text"), errors.InvalidQueryError, "needs a text"),
    (dict(query=Q, mode="hybrid"), errors.InvalidQueryError, "needs a text"),
    (dict(query=Q, version=99), errors.InvalidQueryError, "no version 99"),
    (dict(query=Q, version="v1"), errors.InvalidQueryError, "no version 'v1'"),
]


@pytest.mark.parametrize(("call", "kind", "words"), BAD_SEARCHES)
def test_p12_a_bad_search_says_what_is_wrong(session, docs, call, kind, words: str) -> None:
    with pytest.raises(kind, match=words):
        session.search("docs", **call)


def test_p12_searching_what_cannot_be_searched(session, docs) -> None:
    session.sql("CREATE TABLE plain (id INT)")
    with pytest.raises(errors.TableNotFoundError, match=r"'nope'.*'docs'"):
        session.search("nope", Q)
    with pytest.raises(errors.InvalidQueryError, match="only vector tables"):
        session.search("plain", Q)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        ("vector_search('docs', $q)", errors.InvalidQueryError, "takes"),
        ("vector_search('docs', $q, 5, 'x')", errors.InvalidQueryError, "JSON object"),
        ("vector_search('docs', $q, 5, '[1]')", errors.InvalidQueryError, "JSON object"),
        ("vector_search('docs', $q, 5, '{\"nprobe\": 3}')", errors.InvalidQueryError, "'nprobe'"),
        ("vector_search(docs, $q, 5)", errors.InvalidQueryError, "needs quotes"),
        ("vector_search('nope', $q, 5)", errors.TableNotFoundError, "'nope'"),
        ("vector_search('docs', $missing, 5)", errors.SqlError, r"\$missing has no value"),
        ("vector_search('docs', $q, 0)", errors.InvalidQueryError, "k must be"),
        ("vector_search('docs', (SELECT 1), 5)", errors.InvalidQueryError, "literal"),
    ],
)
def test_p12_a_bad_table_function_says_what_is_wrong(session, docs, call, kind, words) -> None:
    with pytest.raises(kind, match=words):
        session.sql(f"SELECT * FROM {call}", {"q": Q} if "$q" in call else None).to_arrow()
