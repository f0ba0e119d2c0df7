"""P1, P2, P12: standing searches find what a search finds, and leave its record."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.lakes import vectors
from tests.support.published import sent

import affidavit
from affidavit import errors
from affidavit.engine.audit.appender import Appender


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_a_standing_search_finds_what_a_search_finds(session, metric: str) -> None:
    table = session.create_vector_table("docs", vectors(3), metric=metric)
    query = vectors(1, seed=11)["vector"][0].as_py()
    rows = vectors(200, start=100, seed=12)
    within = {"cosine": 0.8, "l2": 12.0, "dot": 0.5}[metric]
    session.triggers.near("close", "docs", query, within, "alerts")
    table.insert(rows)
    wanted = [
        (row["id"], row["_distance"])
        for row in session.search("docs", query, k=203, exact=True).to_pylist()
        if row["_distance"] <= within and row["id"] >= 100
    ]
    found = [(row["new"]["id"], row["distance"]) for row in sent(session, "alerts")]
    assert 3 < len(wanted) < 200
    assert [key for key, _ in found] == [key for key, _ in wanted]
    np.testing.assert_allclose([d for _, d in found], [d for _, d in wanted], rtol=1e-4, atol=1e-5)


def test_a_standing_search_sees_changed_rows_and_no_deleted_ones(session, docs) -> None:
    query = np.eye(8, dtype=np.float32)[0]
    session.triggers.near("close", "docs", query, 0.01, "alerts")
    near = {"id": 5, "text": "x", "bucket": 1, "vector": (query * 3).tolist()}
    docs.upsert([near])
    docs.upsert([{**near, "vector": np.ones(8, np.float32).tolist()}])
    docs.delete("id = 5")
    (row,) = sent(session, "alerts")
    assert (row["action"], row["new"]["id"]) == ("update", 5)
    assert row["distance"] == pytest.approx(0, abs=1e-6)


def test_p2_what_a_standing_search_finds_is_on_record_and_replayable(session, docs) -> None:
    query = docs.to_arrow()["vector"][0].as_py()
    session.triggers.near("close", "docs", query, 0.3, "alerts")
    before = len(session.audit.recent(100))
    docs.insert(vectors(50, start=500, seed=3))
    assert len(session.audit.recent(100)) == before + (1 if sent(session, "alerts") else 0)
    docs.insert(vectors(1, start=900))
    record = session.audit.recent(1)[0]
    assert record.top_k_result_ids == ["900"]
    assert record.query_lineage == {"trigger": "close", "within": 0.3}
    assert record.table_version == docs.version
    assert record.exact
    assert session.audit.verify(record)
    assert (
        session.audit.replay(record.query_id, query=query).outcome is affidavit.Outcome.REPRODUCED
    )
    assert session.ledger.verify()


def test_p1_a_find_that_cannot_be_recorded_stops_the_change(session, docs, monkeypatch) -> None:
    query = docs.to_arrow()["vector"][0].as_py()
    session.triggers.near("close", "docs", query, 0.3, "alerts")
    rows = docs.count()

    def fail(*_: object, **__: object) -> None:
        raise errors.StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Appender, "append", fail)
        with pytest.raises(errors.StoreError, match="the disk is full"):
            docs.insert(vectors(1, start=900))
    assert docs.count() == rows
    assert sent(session, "alerts") == []
    docs.insert(vectors(1, start=900))
    assert len(sent(session, "alerts")) == 1


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"query": np.ones(7)}, errors.InvalidQueryError, "8 finite"),
        ({"query": [float("nan")] * 8}, errors.InvalidQueryError, "finite"),
        ({"query": np.zeros(8)}, errors.InvalidQueryError, "zero vector"),
        ({"within": float("inf")}, errors.InvalidQueryError, "distance"),
        ({"within": "near"}, errors.InvalidQueryError, "'near'"),
        ({"metric": "manhattan"}, errors.InvalidQueryError, "manhattan"),
        ({"column": "nope"}, errors.ColumnNotFoundError, "nope"),
        ({"column": "text"}, errors.SchemaMismatchError, "text"),
        ({"table": "nope"}, errors.TableNotFoundError, "nope"),
        ({"table": "plain"}, errors.InvalidTriggerError, "plain"),
        ({"publish": "affidavit.x"}, errors.ReservedNameError, "affidavit.x"),
    ],
    ids=range(11),
)
def test_p12_a_standing_search_that_cannot_be_asked(session, docs, changes, error, words) -> None:
    session.sql("CREATE TABLE plain (id BIGINT)")
    arguments = {
        "table": "docs",
        "query": np.ones(8),
        "within": 0.1,
        "publish": "alerts",
        **changes,
    }
    with pytest.raises(error, match=words):
        session.triggers.near("close", **arguments)
    assert session.triggers.list() == []


def test_p12_a_text_is_no_vector(session, docs) -> None:
    with pytest.raises(errors.InvalidQueryError, match="vector"):
        session.triggers.near("close", "docs", "words", 0.1, "alerts")
