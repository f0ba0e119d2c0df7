"""P4, P18: what records say is let go, sealed or not, and every proof goes on holding."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from tests.support.lakes import vectors
from tests.support.sealed import ask, connect, files, furnish, in_store, query, segments

import affidavit
from affidavit import Outcome, errors
from affidavit.catalog.ledger.commitments import opened_members, without
from affidavit.catalog.ledger.entry import StoredEntry, draft
from affidavit.catalog.ledger.verifier import check_bundle
from affidavit.catalog.model import clock
from affidavit.catalog.store.protocol import Writer

LINEAGE = frozenset({"query_lineage"})


@pytest.fixture
def session(lake):
    with connect(lake, busy_timeout_s=5) as opened:
        furnish(opened)
        yield opened


def noted(session: affidavit.Session, kind: str, **fields: object):
    """Return what says in the ledger what was let go."""

    def note(writer: Writer, *_: object) -> None:
        entry = draft(
            kind, f"{kind}-{uuid4().hex}", clock.now_us(), actor="", source="", workspace="",
            **fields,
        )  # fmt: skip
        session._catalog().ledger.append(writer, [entry], now_us=clock.now_us())

    return note


def without_of(seqs: list[int], members: frozenset[str] = LINEAGE):
    """Return what lets go of some members of those records alone."""
    return lambda entry: without(entry.opened, members) if entry.seq in seqs else entry.opened


def let_go_of_lineage(session: affidavit.Session, seqs: list[int]) -> int:
    """Let go of the lineage of some searches, as an erasure does."""
    records = [[seq, ["query_lineage"]] for seq in seqs]
    note = noted(session, "erasure", entity_id="x", reason="asked", events=0, records=records)
    return session._catalog().journal.records.erasing.rewrite(without_of(seqs), note)


def test_p18_what_sealed_and_other_records_say_is_let_go(session, lake) -> None:
    """One in a segment, one in the tail: neither file nor store has it any more."""
    ids = ask(session, 3)
    session.journal.flush()
    ids += ask(session, 2, first=3)
    chosen = [session.audit.get(ids[at]) for at in (1, 4)]
    before = {path.name for path in files(lake)}
    assert let_go_of_lineage(session, [each.seq for each in chosen]) == 2
    for each in chosen:
        found = session.audit.get(str(each.query_id))
        assert found.query_lineage is None
        assert found.top_k_result_ids == each.top_k_result_ids
    assert session.audit.get(ids[0]).query_lineage == {"at": 0}
    assert [path.name for path in files(lake)] != sorted(before), "the old file is gone"
    table = pq.read_table(files(lake)[0]).to_pylist()
    assert '"query_lineage"' not in next(
        row["opened"] for row in table if row["seq"] == chosen[0].seq
    )
    assert session.ledger.verify(progress=False)
    session.ledger.export(lake.parent / "bundle", progress=False)
    assert let_go_of_lineage(session, [each.seq for each in chosen]) == 0


def test_p18_a_row_that_is_let_go_from_a_record_is_found_no_more(session) -> None:
    """The index of rows knows it neither in the store nor in the segment."""
    gone = frozenset({"top_k_result_ids", "retrieval_scores"})
    for at in range(2):
        (query_id,) = ask(session, 1, first=at)
        if not at:
            session.journal.flush()
        record = session.audit.get(query_id)
        (row, *_) = record.top_k_result_ids
        assert query_id in {getattr(each, "query_id", None) for each in session.audit.received(row)}
        records = [[record.seq, sorted(gone)]]
        session._catalog().journal.records.erasing.rewrite(
            without_of([record.seq], gone),
            noted(session, "erasure", entity_id="x", reason="r", events=0, records=records),
        )  # fmt: skip
        left = {getattr(each, "query_id", None) for each in session.audit.received(row)}
        assert query_id not in left
        assert session.ledger.verify(progress=False)


def test_p4_what_is_let_go_without_a_word_is_found(session) -> None:
    (query_id,) = ask(session, 1)
    seq = session.audit.get(query_id).seq
    session.journal.flush()
    session._catalog().journal.records.erasing.rewrite(without_of([seq]), lambda *_: None)
    found = session.ledger.verify(progress=False)
    assert (found.ok, found.seq) == (False, seq)
    assert "query_lineage" in str(found)


def test_every_record_is_asked_what_is_to_be_left(session) -> None:
    ask(session, 2)
    session.journal.flush()
    ask(session, 2, first=2)
    seen: list[StoredEntry] = []

    def change(entry: StoredEntry) -> bytes | None:
        seen.append(entry)
        return entry.opened

    erasing = session._catalog().journal.records.erasing
    assert erasing.rewrite(change, lambda *_: pytest.fail("nothing changed")) == 0
    assert sum("query_lineage" in opened_members(each.opened) for each in seen) == 4


def test_p18_erasing_a_row_reaches_sealed_reads(session) -> None:
    """What a read of the row hashes to is gone from the segment, and the entry says so."""
    session.sql("UPDATE notes SET n = 100 WHERE id = 2")
    result = session.sql("SELECT n FROM notes WHERE id = 2")
    rows, receipt = result.to_arrow(), result.receipt
    session.journal.flush()
    assert session.audit.check(receipt, rows)
    assert session.journal.erase("2", "asked") > 0
    with pytest.raises(errors.RecordNotFoundError, match="erased"):
        session.audit.check(receipt, rows)
    assert session.ledger.verify(progress=False)


def retain(session: affidavit.Session, keep: int = 0, before_us: int | None = None) -> list:
    def note(writer: Writer, let_go) -> None:
        noted(
            session, "retention", reason="policy", keep=keep, before=None, of="records",
            ranges=[[each.first_seq, each.last_seq] for each in let_go],
            roots=[each.root.hex() for each in let_go], events=sum(e.events for e in let_go),
        )(writer)  # fmt: skip

    return session._catalog().journal.records.erasing.retain(before_us, keep, note)


def test_p4_whole_segments_are_let_go_and_the_rest_verifies(session, lake) -> None:
    ids = ask(session, 2)
    session._catalog().journal.records.sealing.flush()
    bundle = session.ledger.export(lake.parent / "old", progress=False)
    ids += ask(session, 2, first=2)
    session._catalog().journal.records.sealing.flush()
    middle = time.time_ns() // 1000
    ids += ask(session, 1, first=4)
    session._catalog().journal.records.sealing.flush()
    ids += ask(session, 1, first=5)
    assert len(retain(session, keep=in_store(session) + 1, before_us=middle)) == 2
    assert [each["dropped"] for each in segments(session)] == [True, True, False]
    assert [each.query_id for each in session.audit.recent(100)] == ids[:3:-1]
    with pytest.raises(errors.RecordNotFoundError):
        session.audit.get(ids[0])
    found = session.ledger.verify(progress=False)
    assert found, str(found)
    assert bundle.is_dir()
    husk = pq.read_table(files(lake)[0])
    assert husk["body"].null_count == husk["opened"].null_count == husk.num_rows
    assert husk["leaf_hash"].null_count == 0
    last = session.audit.get(ids[4]).seq
    assert session.ledger.prove(0)
    assert session.ledger.prove(last - 3)
    session.ledger.export(lake.parent / "new", last, progress=False)
    session.ledger.export(lake.parent / "all", 3, progress=False)
    assert check_bundle(lake.parent / "all")


def test_p4_records_that_go_without_a_word_are_found(session) -> None:
    """An entry that let go of events covers none of the records in between."""
    ask(session, 2)
    session.journal.flush()
    first = segments(session)[0]["first_seq"]

    def note(writer: Writer, let_go) -> None:
        noted(
            session, "retention", reason="policy", keep=0, before=None, roots=[], events=0,
            ranges=[[each.first_seq, each.last_seq] for each in let_go],
        )(writer)  # fmt: skip

    session._catalog().journal.records.erasing.retain(None, 0, note)
    found = session.ledger.verify(progress=False)
    assert (found.ok, found.seq) == (False, first)


def test_p18_a_rewrite_that_fails_leaves_all_as_it_was(session, lake) -> None:
    (query_id,) = ask(session, 1)
    session.journal.flush()
    record = session.audit.get(query_id)

    def refuse(*_: object) -> None:
        raise errors.StoreError("no")

    with pytest.raises(errors.StoreError, match="no"):
        session._catalog().journal.records.erasing.rewrite(without_of([record.seq]), refuse)
    assert session.audit.get(query_id) == record
    assert len(files(lake)) == 1
    assert session.ledger.verify(progress=False)


def test_p9_evidence_of_sealed_records_is_released_and_who_did_it_is_found(session) -> None:
    """The record and the entry that released its version both stand in segments."""
    docs = session.table("docs")
    (old,) = ask(session, 1)
    session.journal.flush()
    docs.insert(vectors(1, start=100))
    docs.optimize(cleanup_older_than=timedelta(0))
    assert session.audit.replay(old, query(0)).outcome is Outcome.REPRODUCED
    session.journal.flush()
    assert session.audit.release(datetime.now(tz=UTC), reason="over") > 0
    session.journal.flush()
    docs.insert(vectors(1, start=101))
    docs.optimize(cleanup_older_than=timedelta(0))
    found = session.audit.replay(old, query(0))
    assert found.outcome is Outcome.EVIDENCE_GONE
    assert "released it" in found.reason
    text = "SELECT seq FROM system.ledger WHERE kind = 'release'"
    (release,) = session.sql(text).to_pylist()
    assert f"entry {release['seq']} released it" in found.reason
    assert session.ledger.verify(progress=False)
