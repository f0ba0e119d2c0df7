"""P9, P12: the table versions that records keep from being cleaned up, until they are released."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lance
import pytest
from tests.support.lakes import vectors

import affidavit
from affidavit import Outcome, errors

Q8 = [1.0] * 8
NOW = timedelta(0)
GONE = Outcome.EVIDENCE_GONE


def entries(session: affidavit.Session, kind: str) -> list[dict]:
    rows = session.sql("SELECT body FROM system.ledger WHERE kind = $k ORDER BY seq", k=kind)
    return [json.loads(row["body"]) for row in rows]


def versions(table: affidavit.VectorTable) -> list[int]:
    return [each["version"] for each in table.to_lance().versions()]


def grown(session: affidavit.Session, table: affidavit.VectorTable, count: int = 1) -> None:
    for _ in range(count):
        table.insert(vectors(1, start=10_000 + table.count()))


def test_a_cleanup_spares_the_versions_that_were_searched(session, docs) -> None:
    docs.create_index("text", "FTS")
    asks = [
        lambda: session.search("docs", Q8, k=3),
        lambda: session.search("docs", "word5", k=3, mode="text"),
        lambda: session.search_batch("docs", [Q8, Q8], k=3),
        lambda: session.sql("SELECT id FROM vector_search('docs', $q, 3)", q=Q8).to_arrow(),
    ]
    for ask in asks:
        ask()
        grown(session, docs, 2)
    searched = {each.table_version for each in session.audit.recent()}
    assert searched == {2, 4, 6, 8}
    docs.optimize(cleanup_older_than=NOW)
    assert set(versions(docs)) == {*searched, docs.version}
    queries = {"text": "word5"}
    for record in session.audit.recent():
        query = queries.get(record.mode, Q8)
        assert session.audit.replay(record.query_id, query).outcome is Outcome.REPRODUCED


def test_a_reader_keeps_what_it_searched(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        docs = session.create_vector_table("docs", vectors(20))
        with affidavit.connect(lake, read_only=True, durability="normal") as reader:
            query_id = reader.search("docs", Q8, k=3).query_id
        grown(session, docs)
        docs.optimize(cleanup_older_than=NOW)
        assert session.audit.replay(query_id, Q8).outcome is Outcome.REPRODUCED


def test_release_frees_what_only_old_records_refer_to(session, docs) -> None:
    old = session.search("docs", Q8, k=3).audit
    grown(session, docs)
    shared = session.search("docs", Q8, k=3).audit
    limit = shared.executed_at + timedelta(microseconds=1)
    also = session.search("docs", Q8, k=3).audit
    grown(session, docs)
    newest = session.search("docs", Q8, k=3).audit
    assert [r.table_version for r in (old, shared, also, newest)] == [1, 2, 2, 3]
    with session.scope(actor="clerk") as clerk:
        assert clerk.audit.release(limit, reason="retention of a year") == 1
    [entry] = entries(session, "release")
    table_id = old.table_id
    assert entry["versions"] == [{"table": "docs", "table_id": table_id, "versions": [1]}]
    assert (entry["reason"], entry["actor"]) == ("retention of a year", "clerk")
    assert entry["before"] == limit.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    docs.optimize(cleanup_older_than=NOW)
    verdict = session.audit.replay(old.query_id, Q8)
    assert verdict.outcome is GONE
    assert verdict.reason == f"version 1 of 'docs' is gone; entry {entry['seq']} released it"
    for record in (shared, also, newest):
        assert session.audit.replay(record.query_id, Q8).outcome is Outcome.REPRODUCED
    assert session.ledger.verify()


def test_release_never_frees_the_newest_version(session, docs) -> None:
    old = session.search("docs", Q8, k=3).audit
    grown(session, docs)
    newest = session.search("docs", Q8, k=3).audit
    assert session.audit.release(datetime.now(UTC), reason="asked") == 1
    assert session.audit.release(datetime.now(UTC), reason="asked") == 0
    assert list(docs.tags().values()) == [newest.table_version]
    assert [len(each["versions"]) for each in entries(session, "release")] == [1, 0]
    docs.optimize(cleanup_older_than=NOW)
    assert session.audit.replay(newest.query_id, Q8).outcome is Outcome.REPRODUCED
    assert session.audit.replay(old.query_id, Q8).outcome is GONE


def test_what_was_let_go_is_kept_again_when_it_is_searched_again(session, docs, lake) -> None:
    """A session that had kept it before did not look whether another had let it go."""
    with affidavit.connect(lake, durability="normal") as other:
        for each in (session, other):
            each.search("docs", Q8, k=3)
        grown(session, docs)
        assert session.audit.release(datetime.now(UTC), reason="asked") == 1
        for each in (other, session):
            assert docs.tags() == {}
            query_id = each.search("docs", Q8, k=3, version=1).query_id
            assert list(docs.tags().values()) == [1]
            if each is other:
                assert session.audit.release(datetime.now(UTC), reason="asked") == 1
    docs.optimize(cleanup_older_than=NOW)
    assert session.audit.replay(query_id, Q8).outcome is Outcome.REPRODUCED


def test_p9_a_tenant_lets_go_of_its_own_evidence_alone(session) -> None:
    with session.scope(tenant=None) as shared:
        shared.create_vector_table("docs", vectors(20))
    ids = {}
    for tenant in ("red", "blue"):
        with session.scope(tenant=tenant) as scoped:
            ids[tenant] = scoped.search("docs", Q8, k=3).query_id
    with session.scope(tenant=None) as shared:
        grown(shared, shared.table("docs"))
    with session.scope(tenant="red") as red:
        assert red.audit.release(datetime.now(UTC), reason="asked") == 1
        assert entries(red, "release")[0]["versions"][0]["versions"] == [1]
    with session.scope(tenant=None) as shared:
        assert shared.audit.release(datetime.now(UTC), reason="asked") == 0, (
            "nor does the table's owner"
        )
        shared.table("docs").optimize(cleanup_older_than=NOW)
    with session.scope(tenant="blue") as blue:
        assert blue.audit.replay(ids["blue"], Q8).outcome is Outcome.REPRODUCED
        assert blue.audit.release(datetime.now(UTC), reason="asked") == 1
    with session.scope(tenant=None) as shared:
        shared.table("docs").optimize(cleanup_older_than=NOW)
    with session.scope(tenant="blue") as blue:
        assert blue.audit.replay(ids["blue"], Q8).outcome is GONE


def test_evidence_is_not_let_go_of_in_a_transaction(session, docs) -> None:
    """What the ledger says of it would be rolled back, and the versions be gone."""
    session.search("docs", Q8, k=3)
    grown(session, docs)
    with session.transaction(), pytest.raises(errors.TransactionError, match="releasing evidence"):
        session.audit.release(datetime.now(UTC), reason="asked")
    assert list(docs.tags().values()) == [1]
    assert entries(session, "release") == []


@pytest.mark.parametrize("before", [None, 3, "2024-01-01", datetime.min.date(), timedelta(days=1)])
def test_p12_release_takes_a_datetime(session, before) -> None:
    with pytest.raises(errors.InvalidQueryError, match="before must be a datetime"):
        session.audit.release(before, reason="asked")
    assert session.ledger.size == 0


def test_release_reads_a_time_without_zone_as_local(session, docs) -> None:
    record = session.search("docs", Q8, k=3).audit
    grown(session, docs)
    moment = record.executed_at.astimezone().replace(tzinfo=None)
    assert session.audit.release(moment, reason="asked") == 0
    assert session.audit.release(moment + timedelta(microseconds=1), reason="asked") == 1


def test_users_tags_are_not_touched(session, docs) -> None:
    docs.tag("mine")
    session.search("docs", Q8, k=3)
    grown(session, docs)
    assert session.audit.release(datetime.now(UTC), reason="asked") == 1
    assert docs.tags() == {"mine": 1}


@pytest.mark.slow
def test_tables_are_tagged_while_many_search_them(session, docs) -> None:
    """Lance lends a handle that tags to nobody else: searches failed with ``Already borrowed``."""
    stop = threading.Event()

    def search() -> int:
        count = 0
        while not stop.is_set():
            count += session.search("docs", Q8, k=1).num_rows
        return count

    with ThreadPoolExecutor(6) as pool:
        searching = [pool.submit(search) for _ in range(6)]
        try:
            for at in range(12):
                docs.tag(f"tag{at}")
                grown(session, docs)
                session.audit.release(datetime.now(UTC), reason="asked")
        finally:
            stop.set()
        total = sum(each.result() for each in searching)
    assert len(session.audit.recent(1_000_000)) == total
    assert {f"tag{at}" for at in range(12)} <= set(docs.tags())
    assert session.ledger.verify(signatures=False)


def test_the_lakes_folder_holds_no_more_than_it_should(session, docs, lake: Path) -> None:
    """Records keep versions by Lance's own tags, so that any reader of Lance sees why."""
    session.search("docs", Q8, k=3)
    [tag] = lance.dataset(str(lake / "vectors" / "default" / "docs.lance")).tags.list()
    owner = hashlib.sha256(b"default").hexdigest()[:12]
    assert tag == f"affidavit-{owner}-1"


def test_a_cleanup_spares_the_versions_that_reads_on_record_used(session, docs) -> None:
    """A read's replay said that its evidence was gone once a clean-up had come by."""
    docs.audit = "reads"
    reads = [
        lambda: session.sql("SELECT id FROM docs ORDER BY id").to_arrow(),
        docs.to_arrow,
        lambda: session.sql("SELECT count(text) AS n FROM as_of('docs', 'v5')").to_arrow(),
    ]
    for read in reads:
        read()
        grown(session, docs, 2)
    rows = session.sql("SELECT read_id, text FROM audit.reads ORDER BY seq").to_pylist()
    read_ids = [row["read_id"] for row in rows]
    used = {table["version"] for each in read_ids for table in read_of(session, each).tables}
    assert used == {1, 3, 5}
    docs.optimize(cleanup_older_than=NOW)
    assert used <= {each["version"] for each in docs.versions()}
    texts = [
        "SELECT id FROM docs ORDER BY id",
        None,
        "SELECT count(text) AS n FROM as_of('docs', 'v5')",
    ]
    for read_id, text in zip(read_ids, texts, strict=True):
        verdict = session.audit.replay(read_id, text=text, params=None if text is None else {})
        assert verdict.outcome is Outcome.REPRODUCED
    limit = read_of(session, read_ids[-1]).executed_at + timedelta(seconds=60)
    assert session.audit.release(limit, reason="old") == 3
    docs.optimize(cleanup_older_than=NOW)
    verdict = session.audit.replay(read_ids[0], text=texts[0], params={})
    assert verdict.outcome is GONE
    [entry] = entries(session, "release")
    assert verdict.reason.endswith(f"entry {entry['seq']} released it")
    assert session.ledger.verify()


def test_reads_that_are_not_on_record_keep_no_version(session, docs) -> None:
    session.sql("SELECT id FROM docs").to_arrow()
    docs.to_arrow()
    grown(session, docs)
    docs.optimize(cleanup_older_than=NOW)
    assert [each["version"] for each in docs.versions()] == [docs.version]


def read_of(session: affidavit.Session, read_id: str) -> affidavit.ReadRecord:
    found = session.audit.get_read(read_id)
    assert found is not None
    return found
