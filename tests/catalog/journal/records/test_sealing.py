"""P4, P16: records are sealed, and nobody who asks can tell."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.beside import beside
from tests.support.processes import Child
from tests.support.sealed import (
    QUERY,
    ask,
    connect,
    files,
    furnish,
    in_store,
    query,
    segments,
    shown,
)
from tests.support.waiting import eventually

from affidavit import errors
from affidavit.catalog.journal.records import kept
from affidavit.catalog.journal.segments.reading import SegmentReader
from affidavit.catalog.ledger.verifier import leaf_hash
from affidavit.catalog.sql.predicate import Compare


@pytest.fixture
def session(lake):
    with connect(lake) as opened:
        furnish(opened)
        yield opened


def test_p4_sealed_records_are_shown_as_they_were(session, lake) -> None:
    """All that anybody could ask of them gives the same, before and after, and proves it."""
    ids = ask(session, 6)
    size = session.ledger.size
    before = shown(session, size)
    received, got = session.audit.received("3"), [session.audit.get(each) for each in ids]
    read_id = before["audit.reads"][0]["read_id"]
    read = session.audit.get_read(read_id)
    session.journal.flush()
    assert in_store(session) == 0
    assert sum(each["records"] for each in segments(session)) >= 2 * 6
    assert shown(session, size) == before
    assert session.audit.received("3")[: len(received)] == received
    assert [session.audit.get(each) for each in ids] == got
    assert session.audit.get_read(read_id) == read
    assert all(session.audit.verify(each) for each in (*got, read))
    assert str(session.audit.replay(ids[0], query(0)).outcome) == "REPRODUCED"
    assert session.ledger.verify(progress=False, data=True)
    assert session.ledger.prove(got[0].seq).startswith("c2sp.org/tlog-proof@v1")
    bundle = session.ledger.export(lake.parent / "bundle", progress=False)
    told = subprocess.run(
        [sys.executable, str(bundle / "verify.py"), str(bundle)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr


def test_p4_sealed_and_other_records_come_in_the_order_of_the_ledger(session) -> None:
    """Three segments, a key from the middle of them, and a tail."""
    for at in range(3):
        ask(session, 2, first=2 * at)
        session.journal.flush()
        session.ledger.rotate_key()
    ids = ask(session, 2, first=6)
    numbers = [row["seq"] for row in session.sql("SELECT seq FROM system.ledger").to_pylist()]
    assert numbers == list(range(len(numbers)))
    assert [each.query_id for each in session.audit.recent(2)] == ids[::-1]
    newest = [each.seq for each in session.audit.recent(100)]
    assert newest == sorted(newest, reverse=True)
    assert len(newest) == 8
    assert [each.seq for each in session.audit.recent(5)] == newest[:5]
    given = [each.seq for each in session.audit.received("3")]
    assert given == sorted(given)
    text = "SELECT query_id FROM audit.searches WHERE seq > $low AND seq <= $high"
    some = session.sql(text, low=newest[6], high=newest[1]).to_pylist()
    assert len(some) == 5
    assert session.ledger.verify(progress=False)


def test_plain_parquet_readers_find_what_was_signed(session, lake) -> None:
    (query_id, *_) = ask(session, 3)
    record = session.audit.get(query_id)
    session.journal.flush()
    table = pa.concat_tables(map(pq.read_table, files(lake)))
    (row,) = [each for each in table.to_pylist() if each["entry_id"] == query_id]
    assert (row["seq"], row["kind"], row["signature"]) == (record.seq, "search", record.signature)
    assert row["created_at"] == record.executed_at
    assert row["logged_at"] is None
    assert row["leaf_hash"] == leaf_hash(row["body"].encode(), row["signature"])
    _, ids = json.loads(row["opened"])["top_k_result_ids"]
    assert ids == list(record.top_k_result_ids)
    (read,) = [each for each in table.to_pylist() if each["kind"] == "read"][:1]
    assert read["logged_at"] is not None


def test_records_are_sealed_once_they_are_many_and_searches_do_not_wait(session, lake) -> None:
    session._catalog().journal.records.sealing.flush_threshold = 5
    ask(session, 6)
    eventually(lambda: segments(session) != [])
    assert files(lake)
    assert session.ledger.verify(progress=False)


def test_a_session_that_ends_leaves_few_where_they_are(lake) -> None:
    with connect(lake) as session:
        furnish(session)
        ask(session, 1)
    assert not files(lake)
    with connect(lake) as session:
        session._catalog().journal.records.sealing.flush_threshold = 10
        ask(session, 2)
    assert files(lake)
    with connect(lake, read_only=True) as session:
        assert len(session.audit.recent(100)) == 3
        assert session.ledger.verify(progress=False)


def test_p16_a_session_that_only_reads_seals_what_it_puts_on_record(lake) -> None:
    with connect(lake) as session:
        furnish(session)
    with connect(lake, read_only=True) as session:
        session._catalog().journal.records.sealing.flush_threshold = 4
        ask(session, 5)
        eventually(lambda: segments(session) != [])
        assert len(session.audit.recent(100)) == 5
        assert session.ledger.verify(progress=False)


def test_an_id_is_unique_among_sealed_records_too(session) -> None:
    ids = ask(session, 1)
    session.journal.flush()
    again = {
        "model_id": "m", "model_version": "1", "query_lineage": None, "query_id": ids[0],
        "top_k_result_ids": ["1"], "retrieval_scores": [0.5],
    }  # fmt: skip
    with pytest.raises(errors.ConstraintError, match="on record already"):
        session.audit.log([again])
    assert len(session.audit.recent(10)) == 1


def test_a_read_whose_beginning_is_sealed_is_one_row_with_its_end(session) -> None:
    """The end names the number of the beginning, which no longer stands in the store."""
    session.create_table("many", [{"id": at} for at in range(70_000)], primary_key="id")
    session.sql("ALTER TABLE many SET (audit = 'reads')")
    batches = session.sql("SELECT id FROM many").batches()
    rows = next(batches).num_rows
    session.journal.flush()
    rows += sum(each.num_rows for each in batches)
    assert rows == 70_000
    text = "SELECT * FROM audit.reads WHERE rows_returned = 70000"
    (read,) = session.sql(text).to_pylist()
    assert (read["status"], read["opened_seq"] is not None) == ("ok", True)
    opened = "SELECT count(*) AS n FROM audit.reads WHERE status = 'open'"
    assert session.sql(opened).to_pylist() == [{"n": 0}]
    session.journal.flush()
    assert session.sql(text).to_pylist() == [read]
    assert session.ledger.verify(progress=False)


def test_rows_are_found_through_the_index_and_without_it(session, lake) -> None:
    ask(session, 4)
    text = "SELECT seq FROM audit.read_rows WHERE row_id IN ('1', '2') ORDER BY seq"
    found, given = session.sql(text).to_pylist(), session.audit.received("1")
    assert found
    session.journal.flush()
    assert session.sql(text).to_pylist() == found
    for path in (lake / "records").rglob("*.entities"):
        whole = path.read_bytes()
        path.write_bytes(whole[:-8])  # one that was cut short says no end, and is not used
        assert session.sql(text).to_pylist() == found
        assert session.audit.received("1")[: len(given)] == given
        path.unlink()
        assert session.audit.received("1")[: len(given)] == given
        assert session.audit.get_read(given[-1].read_id) == given[-1]
        path.write_bytes(whole)


@pytest.mark.parametrize("where", ["row_id > '2'", "row_id LIKE '1%'", "row_id = '1' AND seq > 5"])
def test_conditions_on_rows_that_are_no_list_find_the_same(session, where) -> None:
    ask(session, 5)
    size = session.ledger.size
    text = f"SELECT * FROM audit.results WHERE {where} AND seq < {size} ORDER BY seq, rank"
    before = session.sql(text).to_pylist()
    session.journal.flush()
    assert session.sql(text).to_pylist() == before


def test_small_segments_are_merged_and_still_found(session, lake) -> None:
    ids = []
    for at in range(8):
        ids += ask(session, 1, first=at)
        session._catalog().journal.records.sealing.flush()
    received = session.audit.received("3")
    session._catalog().journal.records.merging.compact()  # unless the background was quicker
    assert len(segments(session)) == 1
    assert session.audit.received("3")[: len(received)] == received
    assert [session.audit.get(each).query_id for each in ids] == ids
    assert session.ledger.verify(progress=False)
    session._catalog().journal.records.erasing.remove_orphans(age_s=0)
    assert len(files(lake)) == 1
    assert session.ledger.verify(progress=False)


def test_a_snapshot_reads_on_when_its_segments_are_merged(session, monkeypatch) -> None:
    for at in range(8):
        ask(session, 1, first=at)
        session._catalog().journal.records.sealing.flush()
    catalog = session._catalog()
    expected = [each.query_id for each in session.audit.recent(100)]
    with catalog.read() as reader:
        catalog.ledger.last_seq(reader)  # the snapshot begins
        catalog.journal.records.merging.compact()
        catalog.journal.records.erasing.remove_orphans(age_s=0)
        found = catalog.ledger.entries(reader, Compare("=", "kind", "search"), descending=True)
        assert [each.entry_id for each in found] == expected


READER = """
import sys
import affidavit
path, expected = sys.argv[1], int(sys.argv[2])
with affidavit.connect(path, read_only=True, audit="searches") as session:
    for _ in range(30):
        found = session.sql("SELECT seq FROM audit.searches ORDER BY seq").to_arrow()["seq"].to_pylist()
        assert len(found) == len(set(found)) >= expected, (len(found), len(set(found)))
        assert len(session.audit.received("3")) >= 1
print("read")
"""


@pytest.mark.slow
def test_other_processes_read_while_records_are_sealed(session, lake) -> None:
    """No snapshot of another process has a record twice, or lacks one."""
    ask(session, 8)
    readers = [Child(READER, lake, 8) for _ in range(2)]
    at = 8
    while any(each.poll() is None for each in readers):
        ask(session, 1, first=at)
        session._catalog().journal.records.sealing.flush()
        with suppress(errors.StoreBusyError):
            session._catalog().journal.records.merging.compact(wait=False)
        at += 1
    for each in readers:
        told, complaint = each.communicate()
        assert (each.returncode, told) == (0, "read\n"), complaint
    assert session.ledger.verify(progress=False)


def test_a_segment_that_cannot_be_written_loses_nothing(session, lake, monkeypatch) -> None:
    ids = ask(session, 2)
    blocked = lake / "records"
    blocked.write_text("in the way")
    with pytest.raises(errors.StoreError, match="cannot be written"):
        session.journal.flush()
    assert in_store(session) > 0
    assert session.audit.get(ids[0]).query_id == ids[0]
    blocked.unlink()
    session.journal.flush()
    assert in_store(session) == 0
    assert session.ledger.verify(progress=False)


def test_a_record_that_was_changed_before_is_not_sealed_over(lake) -> None:
    """What sealing would have to make up is refused, by its number."""
    with suppress(errors.LedgerCorruptError), connect(lake) as session:
        furnish(session)
        ids = ask(session, 2)
        seq = session.audit.get(ids[1]).seq
        with beside(lake) as store:
            store.execute("UPDATE ledger SET leaf_hash = 'text' WHERE seq = ?", (seq,))
        with pytest.raises(errors.LedgerCorruptError) as told:
            session._catalog().journal.records.sealing.flush()
        assert told.value.seq == seq
        assert not files(lake)


def test_p9_records_of_tenants_are_sealed_apart(lake) -> None:
    with connect(lake, tenant="a") as a, connect(lake, tenant="b") as b:
        for each in (a, b):
            furnish(each)
            ask(each, 2)
        a.journal.flush()
        ask(a, 1)
        ask(b, 1)
        a.journal.flush()
        assert len(a.audit.recent(100)) == len(b.audit.recent(100)) == 3
        assert [each["records"] for each in segments(b)] == []
        b.journal.flush()
        for each in (a, b):
            assert in_store(each) == 0
            assert each.ledger.verify(progress=False)
            assert len(each.audit.received("3")) >= 3


def test_checkpoints_are_proved_without_reading_a_segment(lake, monkeypatch) -> None:
    with connect(lake, checkpoint_entries=1) as session:
        furnish(session)
        ask(session, 3)
        session.journal.flush()
        reading = threading.Event()
        monkeypatch.setattr(SegmentReader, "_open", lambda *_: reading.set())
        session.search("docs", QUERY, k=1)
        session.ledger.checkpoint()
        monkeypatch.undo()
        assert not reading.is_set()
        assert session.ledger.verify(progress=False)


def test_old_lakes_are_sealed_a_part_at_a_time(lake, monkeypatch) -> None:
    """What an older version left in the store is sealed in several transactions."""
    with connect(lake) as session:
        furnish(session)
        ids = ask(session, 12)
        monkeypatch.setattr(kept, "SEALED_AT_ONCE", 4)
        monkeypatch.setattr(kept, "READ_AT_ONCE", 4)
        session._catalog().journal.records.sealing.flush()
        assert len(segments(session)) >= 6
        assert [session.audit.get(each).query_id for each in ids] == ids
        assert session.ledger.verify(progress=False)


@pytest.mark.parametrize(
    "where",
    ["kind <> 'read'", "kind IN ('event', 'search')", "kind > 'a'", "kind = 'event' OR seq < 3",
     "kind IN ('key', 'search')", "kind NOT IN ('search')"],
)  # fmt: skip
def test_p4_kinds_of_entries_are_chosen_as_any_value_is(session, where) -> None:
    """Events are kept apart from other entries, and only a filter that names kinds leaves them out."""
    ask(session, 1)
    session.sql("UPDATE notes SET n = 7 WHERE id = 2")
    session.journal.flush()
    every = session.sql("SELECT seq, kind FROM system.ledger").to_arrow()
    session.attach("every", every)
    seen = f"({where}) AND seq < {every.num_rows} ORDER BY seq"
    found = session.sql(f"SELECT seq FROM system.ledger WHERE {seen}").to_pylist()
    assert found == session.sql(f"SELECT seq FROM every WHERE {seen}").to_pylist()
    assert found
