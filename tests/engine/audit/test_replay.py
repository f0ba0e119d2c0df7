"""Replaying records: what was found then, held against the same data now."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta

import lance
import numpy as np
import pyarrow as pa
import pytest
from tests.support.beside import beside
from tests.support.lakes import events, vectors

import affidavit
from affidavit import Outcome, SearchRecord, errors
from affidavit.engine.audit.replay import judge
from affidavit.engine.search.ranking import Ranking

Q8 = [1.0] * 8
NOW = timedelta(0)
GONE = Outcome.EVIDENCE_GONE


def clusters(rows: int = 800, dimension: int = 16) -> pa.Table:
    """Rows around centers, which an index of few partitions and coarse codes gets wrong."""
    random = np.random.default_rng(3)
    centers = random.normal(size=(20, dimension))
    data = centers[np.arange(rows) % 20] + random.normal(size=(rows, dimension)) * 0.4
    flat = pa.array(data.astype("f4").ravel())
    return pa.table(
        {
            "id": range(rows),
            "bucket": [at % 10 for at in range(rows)],
            "text": [f"word{at} of a row" for at in range(rows)],
            "vector": pa.FixedSizeListArray.from_arrays(flat, dimension),
        }
    )


def encode(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), *[1.0] * 15] for text in texts], dtype=np.float32)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    """``docs`` with a model, a vector index that misses much, and a text index."""
    lake = tmp_path_factory.mktemp("indexed")
    with affidavit.connect(lake, actor="ann", durability="normal") as session:
        session.models.register("lengths", encode, version="3", dim=16)
        docs = session.create_vector_table("docs", clusters(), model="lengths")
        docs.create_index("vector", num_partitions=8, num_sub_vectors=2)
        docs.create_index("text", "FTS")
        yield session


def entries(session: affidavit.Session, kind: str) -> list[dict]:
    rows = session.sql("SELECT body FROM system.ledger WHERE kind = $k ORDER BY seq", k=kind)
    return [json.loads(row["body"]) for row in rows]


# --- what a replay finds --------------------------------------------------------------------------


Q16 = clusters()["vector"][7].as_py()
SEARCHES = {
    "exact": (dict(query=Q16, exact=True), {}),
    "index": (dict(query=Q16, refine_factor=50), {}),
    "filtered": (dict(query=Q16, where="bucket = 3", select=["id"]), {}),
    "text": (dict(query="word17 row", mode="text"), {}),
    "one column": (dict(query="word17", mode="text", column="text"), {}),
    "hybrid": (dict(query=Q16, mode="hybrid", text="word17"), dict(text="word17")),
    "encoded": (dict(query="seven"), {}),
    "other metric": (dict(query=Q16, metric="l2"), {}),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_of_data_that_is_unchanged_is_reproduced(indexed, name: str) -> None:
    options, more = SEARCHES[name]
    record = indexed.search("docs", k=30, **options).audit  # refined, that is every row
    verdict = indexed.audit.replay(record.query_id, options["query"], **more)
    assert verdict == affidavit.Verdict(
        record.query_id, Outcome.REPRODUCED, 1.0, (),
        f"an exact search of version {record.table_version} finds the same rows",
    )  # fmt: skip
    assert str(verdict) == f"REPRODUCED: {verdict.reason}"


def test_a_search_in_sql_is_replayed_like_any_other(indexed) -> None:
    indexed.sql(
        "SELECT id FROM vector_search('docs', $q, 4, '{\"exact\": true}')", q=Q16
    ).to_arrow()
    indexed.sql("SELECT id FROM hybrid_search('docs', $q, 'word3', 4)", q=Q16).to_arrow()
    hybrid, exact = indexed.audit.recent(2)
    assert indexed.audit.replay(exact.query_id, np.array(Q16)).outcome is Outcome.REPRODUCED
    replayed = indexed.audit.replay(hybrid.query_id, Q16, text="word3")
    assert replayed.outcome is Outcome.REPRODUCED


def test_what_an_index_missed_is_named(indexed) -> None:
    """One partition of eight, compared by two bytes a vector."""
    recalls = []
    for at in range(8):
        query = clusters()["vector"][at].as_py()
        found = indexed.search("docs", query, k=10, nprobes=1, refine_factor=1)
        truth = indexed.search("docs", query, k=10, exact=True)
        ids, true_ids = found.audit.top_k_result_ids, truth.audit.top_k_result_ids
        verdict = indexed.audit.replay(found.query_id, query)
        missed = tuple(row for row in true_ids if row not in set(ids))
        assert verdict.missed == missed
        assert verdict.recall == (10 - len(missed)) / 10
        assert verdict.outcome is (Outcome.ANN_MISS if missed else Outcome.REPRODUCED)
        if missed:
            assert f"finds {len(missed)} that the index missed" in verdict.reason
        recalls.append(verdict.recall)
    assert min(recalls) < 1, "the index must miss something"


def test_stored_queries_need_not_be_given(lake) -> None:
    with affidavit.connect(lake, store_queries=True, durability="normal") as session:
        session.models.register("counts", lambda texts: np.array([[len(t), 1.0] for t in texts]))
        rows = [{"id": n, "text": f"word{n}", "vector": [float(n), 1.0]} for n in range(1, 40)]
        session.create_vector_table("docs", rows, model="counts").create_index("text", "FTS")
        made = [
            session.search("docs", [3.0, 1.0], k=3),
            session.search("docs", "word7", k=3, mode="text"),
            session.search("docs", [3.0, 1.0], k=3, mode="hybrid", text="word9"),
            session.search("docs", "seven", k=3),
        ]
        for each in made:
            assert session.audit.replay(each.query_id).outcome is Outcome.REPRODUCED
    with affidavit.connect(lake, durability="normal") as session:
        assert session.audit.replay(made[3].query_id).outcome is Outcome.REPRODUCED, "by its vector"
        with pytest.raises(errors.ModelNotFoundError):
            session.audit.replay(made[3].query_id, "seven")


def test_past_versions_and_tags_are_replayed_as_they_were(session, docs) -> None:
    docs.tag("audited")
    record = session.search("docs", Q8, k=3).audit
    session.sql("DELETE FROM docs WHERE id IN (SELECT id FROM vector_search('docs', $q, 3))", q=Q8)
    now, then = session.search("docs", Q8, k=3), session.search("docs", Q8, k=3, version="audited")
    assert then.audit.top_k_result_ids == record.top_k_result_ids != now.audit.top_k_result_ids
    assert (record.table_version, then.audit.table_version, now.audit.table_version) == (1, 1, 2)
    for query_id in (record.query_id, then.query_id, now.query_id):
        assert session.audit.replay(query_id, Q8).outcome is Outcome.REPRODUCED


def test_a_table_and_columns_that_were_renamed_are_found_again(session, docs) -> None:
    """The key and the vectors had other names at the version that was searched."""
    record = session.search("docs", Q8, k=3, where="bucket < 5").audit
    for text in (
        "ALTER TABLE docs RENAME TO papers",
        "ALTER TABLE papers RENAME COLUMN id TO key",
        "ALTER TABLE papers RENAME COLUMN vector TO embedding",
        "ALTER TABLE papers RENAME COLUMN bucket TO shelf",
    ):
        session.sql(text)
        assert session.audit.replay(record.query_id, Q8).outcome is Outcome.REPRODUCED
    past = session.search("papers", Q8, k=3, version=1, where="bucket < 5")
    assert [str(row["id"]) for row in past] == record.top_k_result_ids
    options = json.dumps({"version": 1, "where": "bucket < 5"})
    by_sql = session.sql("SELECT id FROM vector_search('papers', $q, 3, $o)", q=Q8, o=options)
    assert [str(row["id"]) for row in by_sql] == record.top_k_result_ids
    now = session.search("papers", Q8, k=3, where="shelf < 5")
    assert [str(row["key"]) for row in now] == record.top_k_result_ids
    assert session.audit.replay(now.query_id, Q8).outcome is Outcome.REPRODUCED


# --- the verdict, decided -------------------------------------------------------------------------


def record_of(*rows: tuple[str, float], k: int = 3) -> SearchRecord:
    return SearchRecord(
        None, None, None, [row for row, _ in rows], [score for _, score in rows],
        query_id="q", k_requested=k, table_version=1,
    )  # fmt: skip


def ranking(*rows: tuple[str, float], k: int = 3) -> Ranking:
    return Ranking(tuple(row for row, _ in rows), tuple(score for _, score in rows), k)


ABC = (("a", 0.1), ("b", 0.2), ("c", 0.3))
VERDICTS = [
    ("the same", ABC, ABC, Outcome.REPRODUCED, 1.0, ()),
    ("scores that another kernel adds up", (("a", 0.1000001), *ABC[1:]), ABC, Outcome.REPRODUCED,
     1.0, ()),
    ("another score", (("a", 0.11), *ABC[1:]), ABC, Outcome.DRIFT, 1.0, ()),
    ("one missed", (*ABC[:2], ("d", 0.4)), ABC, Outcome.ANN_MISS, 2 / 3, ("c",)),
    ("fewer", ABC[:2], ABC, Outcome.ANN_MISS, 2 / 3, ("c",)),
    ("none", (), ABC, Outcome.ANN_MISS, 0.0, ("a", "b", "c")),
    ("none of none", (), (), Outcome.REPRODUCED, 1.0, ()),
    ("equal rows in another order", (("b", 0.1), ("a", 0.1), ("c", 0.3)),
     (("a", 0.1), ("b", 0.1), ("c", 0.3)), Outcome.REPRODUCED, 1.0, ()),
    ("others of the last score", (("a", 0.1), ("x", 0.3), ("y", 0.3)),
     (("a", 0.1), ("v", 0.3), ("w", 0.3)), Outcome.REPRODUCED, 1.0, ()),
    ("rows that changed places", (("b", 0.1), ("a", 0.2), ("c", 0.3)), ABC, Outcome.DRIFT, 1.0, ()),
    ("NaN as it was", (("a", 0.1), ("b", math.nan)), (("a", 0.1), ("b", math.nan)),
     Outcome.REPRODUCED, 1.0, ()),
    ("NaN where a number is", (("a", math.nan), *ABC[1:]), ABC, Outcome.DRIFT, 1.0, ()),
    ("infinity", (("a", math.inf),), (("a", math.inf),), Outcome.REPRODUCED, 1.0, ()),
    ("another row where none was left out", (("a", 0.1), ("x", 0.2)), (("a", 0.1), ("b", 0.2)),
     Outcome.DRIFT, 0.5, ("b",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "truth", "outcome", "recall", "missed"),
    [case[1:] for case in VERDICTS], ids=[case[0] for case in VERDICTS],
)  # fmt: skip
def test_the_verdict_follows_from_rows_and_scores(kept, truth, outcome, recall, missed) -> None:
    """What the search found again is what is recorded for a miss, and the truth for a drift."""
    again = kept if outcome is Outcome.ANN_MISS else truth
    verdict = judge(record_of(*kept), ranking(*again), ranking(*truth))
    assert verdict.outcome is outcome
    assert verdict.recall == pytest.approx(recall)
    assert verdict.missed == missed


# --- what is no longer there, or another's --------------------------------------------------------


def test_data_that_somebody_replaced_is_drift(lake, tmp_path) -> None:
    data = vectors(60)
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", data)
        record = session.search("docs", Q8, k=5).audit
    first, second = (int(row) for row in record.top_k_result_ids[:2])
    values = np.array(data["vector"].to_pylist(), dtype="f4")
    others = {"every vector": -values, "two rows": values.copy()}
    others["two rows"][[first, second]] = values[[second, first]]
    folder = lake / "vectors" / "default" / "docs.lance"
    shutil.move(folder, tmp_path / "genuine.lance")
    for changed in others.values():
        column = pa.FixedSizeListArray.from_arrays(pa.array(changed.ravel()), 8)
        forged = data.set_column(data.schema.get_field_index("vector"), "vector", column)
        lance.write_dataset(forged, str(folder))
        with affidavit.connect(lake, durability="normal") as session:
            verdict = session.audit.replay(record.query_id, Q8)
            assert verdict.outcome is Outcome.DRIFT
            assert (
                verdict.reason == "neither the same search nor an exact one finds what was recorded"
            )
            assert entries(session, "replay")[-1]["outcome"] == "DRIFT"
        shutil.rmtree(folder)
    shutil.move(tmp_path / "genuine.lance", folder)
    with affidavit.connect(lake, durability="normal") as session:
        assert session.audit.replay(record.query_id, Q8).outcome is Outcome.REPRODUCED


def test_data_of_another_shape_is_no_evidence(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(20))
        record = session.search("docs", Q8, k=5).audit
    folder = lake / "vectors" / "default" / "docs.lance"
    shutil.rmtree(folder)
    lance.write_dataset(pa.table({"other": [1, 2]}), str(folder))
    with affidavit.connect(lake, durability="normal") as session:
        verdict = session.audit.replay(record.query_id, Q8)
        assert verdict.outcome is GONE
        assert "version 1 is not what was searched" in verdict.reason


@pytest.mark.parametrize("missing", ["files", "folder", "version"])
def test_data_that_somebody_deleted_is_gone(lake, missing: str) -> None:
    """A missing file was an error in the question."""
    with affidavit.connect(lake, durability="normal") as session:
        docs = session.create_vector_table("docs", vectors(20))
        record = session.search("docs", Q8, k=5).audit
        docs.insert(vectors(1, start=99))
    folder = lake / "vectors" / "default" / "docs.lance"
    if missing == "folder":
        shutil.rmtree(folder)
    elif missing == "files":
        shutil.rmtree(folder / "data")
    else:
        dataset = lance.dataset(str(folder))
        for tag in dataset.tags.list():
            dataset.tags.delete(tag)
        dataset.cleanup_old_versions(NOW)
    with affidavit.connect(lake, durability="normal") as session:
        verdict = session.audit.replay(record.query_id, Q8)
        assert (verdict.outcome, verdict.recall, verdict.missed) == (GONE, None, ())
        assert "version 1" in verdict.reason
        if missing == "files":
            with pytest.raises(errors.StoreError, match="Not found"):
                session.search("docs", Q8, k=5)


def test_a_dropped_table_is_gone_and_its_name_gives_nothing_back(session, docs) -> None:
    record = session.search("docs", Q8, k=5).audit
    session.drop_table("docs")
    session.create_vector_table("docs", vectors(300))
    for query in (Q8, None):
        verdict = session.audit.replay(record.query_id, query)
        assert (verdict.outcome, verdict.reason) == (GONE, "table 'docs' was dropped")
    assert len(entries(session, "replay")) == 2
    assert session.audit.verify(record), "the record stays, and what it says"


def logged(session: affidavit.Session, **changes: object) -> SearchRecord:
    base = {
        "model_id": None, "model_version": None, "query_lineage": None, "top_k_result_ids": ["7"],
        "retrieval_scores": [0.0],
    }  # fmt: skip
    return session.audit.log([{**base, **changes}])[0]


def test_a_logged_record_is_replayed_as_far_as_it_says_of_what(indexed) -> None:
    hashed = hashlib.sha256(np.array(Q16, dtype="<f4").tobytes()).hexdigest()
    whole = dict(table_name="docs", table_version=1, k_requested=1, query_sha256=hashed)

    def replayed(**changes: object) -> affidavit.Verdict:
        return indexed.audit.replay(logged(indexed, **{**whole, **changes}).query_id, Q16)

    assert replayed().outcome is Outcome.REPRODUCED
    assert replayed(top_k_result_ids=["8"]).outcome is Outcome.REPRODUCED, "of its score it is one"
    assert replayed(retrieval_scores=[0.5]).outcome is Outcome.DRIFT
    for gone in (
        dict(table_name=None), dict(table_version=None), dict(table_name="nope"),
        dict(table_name="../docs"), dict(table_version=2**40), dict(table_version=0),
        dict(table_id="nope"),
    ):  # fmt: skip
        assert replayed(**gone).outcome is GONE, gone
    for changes, words in (
        (dict(query_sha256=None), "has no hash of its query"),
        (dict(params={"colour": 1}), "has a parameter 'colour'"),
        (dict(params={"nprobes": "many"}), "nprobes must be a whole number"),
        (dict(k_requested=None), "k must be a whole number, got None"),
        (dict(mode="magic"), "no search mode 'magic'"),
        (dict(query_sha256="0" * 64), "its SHA-256 differs"),
    ):
        with pytest.raises(errors.InvalidQueryError, match=words):
            replayed(**changes)


# --- the query must be the recorded one -----------------------------------------------------------


def test_another_query_is_refused_and_leaves_no_entry(indexed) -> None:
    near = indexed.search("docs", Q16, k=3).query_id
    words = indexed.search("docs", "word3", k=3, mode="text").query_id
    both = indexed.search("docs", Q16, k=3, mode="hybrid", text="word3").query_id
    before = len(entries(indexed, "replay"))
    other = [*Q16[:-1], float(np.nextafter(np.float32(Q16[-1]), np.float32(9)))]
    for query_id, query, text, message in (
        (near, other, None, "its SHA-256 differs"),
        (near, Q8, None, "dimension 16"),
        (near, None, None, "holds only the hash of its query"),
        (near, "seven", None, "its SHA-256 differs"),
        (words, "word4", None, "its SHA-256 differs"),
        (words, None, "word4", "its SHA-256 differs"),
        (words, Q16, None, "needs a text"),
        (words, None, None, "holds only the hash of its query"),
        (both, Q16, "word4", "its SHA-256 differs"),
        (both, other, "word3", "its SHA-256 differs"),
        (both, Q16, None, "needs a text"),
        (both, None, "word3", "holds only the hash of its query"),
    ):
        with pytest.raises(errors.InvalidQueryError, match=message):
            indexed.audit.replay(query_id, query, text=text)
    with pytest.raises(errors.RecordNotFoundError):
        indexed.audit.replay("nope", Q16)
    assert len(entries(indexed, "replay")) == before
    assert indexed.audit.replay(words, text="word3").outcome is Outcome.REPRODUCED


def test_a_record_that_was_changed_is_not_replayed(session, docs, lake) -> None:

    record = session.search("docs", Q8, k=3).audit
    with beside(lake) as db:
        [body] = db.execute("SELECT body FROM ledger WHERE seq = ?", (record.seq,)).fetchone()
        changed = body.replace(b'"k_requested":3', b'"k_requested":4')
        assert changed != body
        db.execute("UPDATE ledger SET body = ? WHERE seq = ?", (changed, record.seq))
    with pytest.raises(errors.SignatureMismatchError, match=record.query_id):
        session.audit.replay(record.query_id, Q8)


# --- a replay is itself on record -----------------------------------------------------------------


def test_a_replay_is_an_entry_and_no_search(session, docs) -> None:
    record = session.search("docs", Q8, k=3).audit
    with session.scope(actor="auditor", source="court", workspace="w") as scoped:
        verdict = scoped.audit.replay(record.query_id, Q8)
    [entry] = entries(session, "replay")
    assert entry["query_id"] == record.query_id
    assert (entry["outcome"], entry["recall"]) == (str(verdict.outcome), 1)
    assert (entry["actor"], entry["source"], entry["workspace"]) == ("auditor", "court", "w")
    assert session.audit.recent() == [record]
    assert session.ledger.verify().signatures == 2


def test_a_replay_in_a_transaction_that_is_rolled_back_stays_on_record(session, docs) -> None:
    """Its verdict names rows that were found: it was lost with the transaction."""
    record = session.search("docs", Q8, k=3).audit
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.audit.replay(record.query_id, Q8)
        raise ZeroDivisionError
    with session.transaction():
        session.audit.replay(record.query_id, Q8)
    assert [each["query_id"] for each in entries(session, "replay")] == [record.query_id] * 2
    assert session.ledger.verify().entries == 4 + events(session)


def test_a_verdict_on_many_rows_takes_time_in_proportion_to_them() -> None:
    """For every row that was found, a set of all that were recorded was made."""
    ids = [str(at) for at in range(100_000)]
    record = SearchRecord(
        None, None, None, ids[:50_000], [1.0] * 50_000, query_id="q", k_requested=100_000
    )
    truth = Ranking(tuple(ids), (1.0,) * 100_000, 100_000)
    began = time.monotonic()
    verdict = judge(record, truth, truth)
    assert time.monotonic() - began < 10
    assert (verdict.outcome, len(verdict.missed)) == (Outcome.DRIFT, 50_000)


def test_p21_parameters_of_a_read_are_given_as_they_were(lake) -> None:
    with affidavit.connect(lake, audit="reads") as session:
        session.sql("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
        text = "SELECT v FROM t WHERE id = ?"
        session.sql(text, [1]).to_arrow()
        read_id = session.sql("SELECT read_id FROM audit.reads").to_pylist()[0]["read_id"]
        for params in ([1], (1,), {"1": 1}):
            verdict = session.audit.replay(read_id, text=text, params=params)
            assert verdict.outcome == Outcome.REPRODUCED
        with pytest.raises(errors.InvalidQueryError, match="params must be"):
            session.audit.replay(read_id, text=text, params=5)
