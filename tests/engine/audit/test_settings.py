"""What a session is told to put on record, and a session that only reads does."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from tests.support.lakes import vectors
from tests.support.records import Q8, Q16, SEARCH, everything, made

import affidavit
from affidavit import errors

# --- what is put on record ------------------------------------------------------------------------


def kinds(session: affidavit.Session) -> list[str]:
    return [row["kind"] for row in session.sql("SELECT kind FROM system.ledger ORDER BY seq")]


def test_audit_off_is_noted_once_for_each_tenant_that_searches(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        with session.scope(tenant=None) as shared:
            shared.create_vector_table("docs", vectors(10))
    with affidavit.connect(lake, audit="off", actor="ann", durability="normal") as session:
        assert session.audit.mode == "off"
        for _ in range(2):
            result = session.search("docs", Q8, k=2)
            assert (result.audit, result.query_id, result.num_rows) == (None, None, 2)
            assert "record" not in result._repr_html_()
        assert session.sql(f"SELECT * FROM {SEARCH}", q=Q8).num_rows == 3
        assert kinds(session) == ["key", "audit-off"]
        with session.scope(tenant="red") as red:
            assert red.ledger.size == 0
            with pytest.raises(ZeroDivisionError), red.transaction():
                red.search("docs", Q8)
                raise ZeroDivisionError
            red.search("docs", Q8)
            assert kinds(red) == ["key", "audit-off"]
            [body] = red.sql("SELECT body FROM system.ledger WHERE kind = 'audit-off'").to_pylist()
            assert json.loads(body["body"])["actor"] == "ann"
        assert session.sql("SELECT * FROM audit.statements").num_rows == 0
        assert session.audit.log([made()])[0].seq == 2, "what a caller logs is logged"
        assert session.ledger.verify()


@pytest.mark.parametrize("how", [
    dict(audit="on"), dict(audit=None), dict(audit=False), dict(audit_recall=1.5),
    dict(audit_recall=-0.1), dict(audit_recall="all"), dict(audit_recall=math.nan),
])  # fmt: skip
def test_p12_what_cannot_be_put_on_record_is_refused_before_anything_is_made(lake, how) -> None:
    [name] = how
    with pytest.raises(errors.InvalidQueryError, match=name):
        affidavit.connect(lake, **how)
    assert not lake.exists()


def test_recall_is_measured_where_that_is_asked_for(lake) -> None:
    data = np.random.default_rng(5).normal(size=(800, 16)).astype("f4")
    table = pa.table(
        {"id": range(800), "vector": pa.FixedSizeListArray.from_arrays(data.ravel(), 16)}
    )
    with affidavit.connect(lake, audit_recall=1.0, durability="normal") as session:
        docs = session.create_vector_table("docs", table)
        docs.create_index("vector", num_partitions=8, num_sub_vectors=2)
        result = session.search("docs", Q16, k=20, nprobes=1, refine_factor=1)
        truth = session.search("docs", Q16, k=20, exact=True)
        share = len({r["id"] for r in result} & {r["id"] for r in truth}) / 20
        assert share < 1, "the index must miss something"
        assert (result.audit.recall, truth.audit.recall) == (share, 1.0)
        assert f"measured recall {share:.0%}" in result._repr_html_()
        assert "measured recall 100%" in truth._repr_html_()
        shown = session.sql("SELECT recall FROM audit.searches ORDER BY seq").to_pylist()
        assert shown == [{"recall": share}, {"recall": 1.0}]
        assert session.audit.replay(result.query_id, Q16).recall == share
        assert session.audit.verify(result.audit)
    with affidavit.connect(lake, durability="normal") as session:
        assert session.search("docs", Q16, k=20).audit.recall is None


def test_recall_counts_rows_of_one_score_as_one_another(lake) -> None:
    """Of many copies any may come back: which of them did was taken for a miss."""
    from affidavit.engine.search.ranking import Ranking

    found = Ranking(("a", "x", "y"), (0.1, 0.5, 0.5), 3)
    truth = Ranking(("a", "v", "w"), (0.1, 0.5, 0.5), 3)
    assert found.recall_of(truth) == 1.0
    assert Ranking(("b", "x", "y"), (0.2, 0.5, 0.5), 3).recall_of(truth) == pytest.approx(2 / 3)


# --- sessions that only read ----------------------------------------------------------------------


def test_a_session_that_only_reads_puts_its_searches_on_record(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
        session.create_table("t", [{"a": 1}])
    with affidavit.connect(lake, read_only=True, actor="eve", durability="normal") as session:
        one = session.search("docs", Q8, k=2)
        assert session.sql(f"SELECT id FROM {SEARCH}", q=Q8).num_rows == 3
        assert len(session.search_batch("docs", [Q8] * 2, k=1)) == 2
        assert session.audit.get(one.query_id) == one.audit
        assert str(session.audit.replay(one.query_id, Q8).outcome) == "REPRODUCED"
        before = kinds(session)
        assert before == ["key", *["event"] * 4, *["search"] * 4, "replay"]
        for write in (
            lambda: session.audit.log([made()]),
            lambda: session.audit.release(datetime.now(UTC), reason="asked"),
            lambda: session.sql("INSERT INTO t VALUES (2)"),
            lambda: session.sql("BEGIN"),
            lambda: session.table("t").insert([{"a": 2}]),
            lambda: session.table("docs").insert(vectors(1, start=99)),
            lambda: session.create_table("u", [{"a": 1}]),
            lambda: session.ledger.rotate_key(),
        ):
            with pytest.raises(errors.ReadOnlyError):
                write()
        refused = session.sql("SELECT kind, status, error_class FROM audit.reads").to_pylist()
        assert {(each["status"], each["error_class"]) for each in refused} == {
            ("refused", "ReadOnlyError")
        }
        assert [kind for kind in kinds(session) if kind != "read"] == before
    with affidavit.connect(lake, durability="normal") as session:
        assert [each.actor for each in everything(session)] == ["eve"] * 4
        assert session.sql("SELECT * FROM audit.statements").num_rows == 0
        assert session.ledger.verify()
        assert session.table("t").count() == 1
