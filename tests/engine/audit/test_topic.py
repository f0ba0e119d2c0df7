"""P1, P9: the audit topic: every record an event, for its own tenant, or no record at all."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from tests.support.lakes import vectors
from tests.support.published import sent

import affidavit
from affidavit import errors

AUDIT = "affidavit.audit.searches"


def test_every_record_is_an_event_that_a_stranger_can_check(session, docs) -> None:
    query = np.ones(8, np.float32)
    one = session.search("docs", query, k=3)
    many = session.search_batch("docs", [query, query * 2], k=2)
    session.sql("SELECT * FROM vector_search('docs', $q, 2)", q=query.tolist()).to_arrow()
    events = list(session.topics.replay(AUDIT))
    assert [each.data.num_rows for each in events] == [1, 2, 1]
    rows = sent(session, AUDIT)
    assert [row["query_id"] for row in rows][:3] == [each.query_id for each in (one, *many)]
    assert [row["k_requested"] for row in rows] == [3, 2, 2, 2]
    for row in rows:
        record = session.audit.get(row["query_id"])
        assert record.signature == row["signature"]
        assert json.loads(row["record"])["seq"] == row["seq"] == record.seq


def test_p1_without_the_event_there_is_no_record_and_no_rows(session, docs, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise errors.StoreError("the disk is full")

    before = session.ledger.size
    with monkeypatch.context() as patched:
        patched.setattr("affidavit.engine.audit.topic.AuditTopics.publish", fail)
        with pytest.raises(errors.StoreError):
            session.search("docs", np.ones(8), k=3)
    assert session.ledger.size == before
    session.search("docs", np.ones(8), k=3)
    assert len(sent(session, AUDIT)) == 1


def test_the_audit_topic_is_live_filtered_and_its_own_tenants(session, docs) -> None:
    session.search("docs", np.ones(8), k=1)
    with session.topics.subscribe(AUDIT, where="k_requested > 2") as live:
        session.search("docs", np.ones(8), k=2)
        session.search("docs", np.ones(8), k=3)
        delivery = live.next(10)
    assert delivery is not None
    assert delivery.data["k_returned"].to_pylist() == [3]
    with session.scope(tenant="red") as red, pytest.raises(errors.TopicNotFoundError):
        list(red.topics.replay(AUDIT))


def test_nobody_else_publishes_to_affidavits_own_topics(session, docs) -> None:
    session.search("docs", np.ones(8), k=1)
    row = sent(session, AUDIT)[0]
    for attempt in (
        lambda: session.topics.publish(AUDIT, row),
        lambda: session.topics.publish("Affidavit.x", {"a": 1}),
        lambda: session.topics.drop(AUDIT),
        lambda: session.topics.register("affidavit.mine", pa.schema([("a", pa.int64())])),
        lambda: session.topics.register("affidavit", pa.schema([("a", pa.int64())])),
        lambda: session.sql(f'DELETE FROM topics."{AUDIT}"'),
        lambda: session.sql(f'UPDATE topics."{AUDIT}" SET seq = 1'),
        lambda: session.sql(f'INSERT INTO topics."{AUDIT}" (seq) VALUES (1)'),
        lambda: session.sql(f'DROP TABLE topics."{AUDIT}"'),
        lambda: session.sql("CREATE TABLE topics.mine (a BIGINT)"),
        lambda: session.topics.subscribe(AUDIT, consumer="c", dead_letter="affidavit.dead"),
    ):
        with pytest.raises(errors.ReservedNameError):
            attempt()
    assert [each["seq"] for each in sent(session, AUDIT)] == [row["seq"]]


def test_p1_the_audit_topic_outlives_a_statement_that_is_undone(session, docs) -> None:
    """The topic that the tenant's first search made was known after its savepoint was undone.

    Every later record was published to a topic that was not there.
    """
    session.sql("CREATE TABLE found (id BIGINT PRIMARY KEY)")
    session.sql("INSERT INTO found VALUES (1)")
    with session.transaction():
        with pytest.raises(errors.ConstraintError):
            session.sql("INSERT INTO found SELECT 1 FROM vector_search('docs', $q, 1)", q=[1.0] * 8)
        session.search("docs", [1.0] * 8, k=1)
    session.search("docs", [1.0] * 8, k=1)
    recorded = [record.query_id for record in session.audit.recent(10)]
    assert sorted(row["query_id"] for row in sent(session, AUDIT)) == sorted(recorded)


def test_p9_nobody_else_reads_the_shared_scopes_own_topics(lake) -> None:
    """A tenant that had not searched yet read the records of those who had in the shared scope."""
    with affidavit.connect(lake, tenant=None) as shared, affidavit.connect(lake) as session:
        shared.create_vector_table("docs", vectors(10))
        shared.triggers.on("docs", "insert", call=print, name="note")
        shared.search("docs", [1.0] * 8, k=1)
        own = [AUDIT, "affidavit.triggers.note"]
        assert [topic.name for topic in shared.topics.list()] == own
        assert session.topics.list() == []
        assert session.sql("SELECT * FROM system.topics").to_pylist() == []
        for name in own:
            with pytest.raises(errors.TopicNotFoundError):
                session.topics.replay(name)
            with pytest.raises(errors.TableNotFoundError):
                session.sql(f'SELECT * FROM topics."{name}"')
        session.search("docs", [1.0] * 8, k=1)
        refused = len(own)  # the statements above are on record too
        assert [row["seq"] for row in sent(session, AUDIT)] == [1 + refused]
