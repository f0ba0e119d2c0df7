"""P4, P12: events are sealed into segments, which prove and read as before."""

from __future__ import annotations

import threading
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.beside import beside
from tests.support.journals import fill

import affidavit
from affidavit import errors


def test_sealed_events_read_as_before(session, notes, lake) -> None:
    fill(session, 100)
    before = session.sql("SELECT * FROM journal ORDER BY seq").to_arrow()
    assert session.journal.stats() == {
        "buffer_events": 101, "flush_threshold": 10_000, "persisted_files": 0,
        "total_events_created": 101,
    }  # fmt: skip
    assert session.journal.flush() == 101
    assert session.journal.flush() == 0
    assert session.journal.stats()["persisted_files"] == 1
    assert session.journal.stats()["buffer_events"] == 0
    assert session.sql("SELECT * FROM journal ORDER BY seq").to_arrow().equals(before)
    fill(session, 5, start=1000)
    assert session.sql("SELECT count(*) AS n FROM journal").to_pylist() == [{"n": 106}]
    assert session.ledger.verify(progress=False)
    found = list((lake / "journal" / "default").glob("*.parquet"))
    assert [path.name for path in found] == ["1-101.parquet"]
    assert pq.read_table(found[0])["seq"].to_pylist() == list(range(1, 102))


@pytest.mark.slow
def test_a_full_tail_is_sealed_by_itself(session, notes) -> None:
    session.journal  # noqa: B018 - made with the lake's threshold
    fill(session, 12_000)
    assert session.journal.stats()["buffer_events"] == 0
    assert session.journal.stats()["persisted_files"] == 1
    assert session.ledger.verify(progress=False)


def test_closing_seals_and_reopening_reads(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        fill(session, 10)
    with affidavit.connect(lake, durability="normal") as session:
        assert session.journal.stats()["buffer_events"] == 0
        assert session.journal.stats()["total_events_created"] == 11
        assert session.journal.history("3").num_rows == 1
        assert session.ledger.verify(progress=False)


def test_small_segments_are_merged_without_changing_a_proof(session, notes) -> None:
    for at in range(20):
        fill(session, 10, start=at * 10)
        session.journal.flush()
    proof = session.ledger.prove(55)
    stated = proof.partition("\n\n")[2].splitlines()[:3]  # of whom, how large, its root
    session._catalog().journal.merging.compact()
    segments = session.sql("SELECT * FROM system.segments ORDER BY first_seq").to_pylist()
    assert 1 < len(segments) < 8
    assert sum(each["events"] for each in segments) == 201
    for one, other in pairwise(segments):
        assert one["last_seq"] < other["first_seq"]
    assert session.ledger.prove(55).partition("\n\n")[2].splitlines()[:3] == stated
    assert session.ledger.verify(progress=False)
    assert session.journal.history("155").num_rows == 1


def test_readers_during_sealing_see_every_event_once(session, notes) -> None:
    """Eight rounds of writing and sealing while a reader counts and checks for doubles."""
    fill(session, 50)
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            seqs = session.sql("SELECT seq FROM journal").to_arrow()["seq"].to_pylist()
            if sorted(seqs) != list(range(1, len(seqs) + 1)):
                wrong.append(seqs)

    reader = threading.Thread(target=read)
    reader.start()
    for at in range(1, 9):
        fill(session, 20, start=at * 100)
        session.journal.flush()
    stop.set()
    reader.join()
    assert not wrong


def test_orphans_of_a_crash_are_ignored(session, notes, lake) -> None:
    fill(session, 10)
    session.journal.flush()
    folder = lake / "journal" / "default"
    (folder / "999-1000.parquet").write_bytes(b"half a file")
    (folder / ".aside").write_bytes(b"x")
    assert session.sql("SELECT count(*) AS n FROM journal").to_pylist() == [{"n": 11}]
    assert session.ledger.verify(progress=False)


def test_p12_a_flush_in_a_transaction_is_refused(session, notes) -> None:
    with session.transaction(), pytest.raises(errors.TransactionError):
        session.journal.flush()


def test_p12_a_missing_or_damaged_segment_is_named(session, notes, lake) -> None:
    fill(session, 10)
    session.journal.flush()
    path = lake / "journal" / "default" / "1-11.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(errors.LedgerCorruptError, match=r"1-11\.parquet"):
        session.sql("SELECT * FROM journal").to_arrow()
    assert "1-11.parquet" in str(session.ledger.verify(progress=False))
    path.unlink()
    with pytest.raises(errors.LedgerCorruptError, match="missing"):
        session.journal.recent(5)
    assert "missing" in str(session.ledger.verify(progress=False))
    path.write_bytes(whole)
    assert session.ledger.verify(progress=False)


def test_p4_an_edited_segment_is_found_and_the_event_named(session, notes, lake) -> None:
    fill(session, 10)
    session.journal.flush()
    path = lake / "journal" / "default" / "1-11.parquet"
    table = pq.read_table(path)
    for column, value in (
        ("new_value", '{"id":4,"body":"forged"}'), ("actor", "nobody"), ("entity_id", "77"),
        ("old_value", "1"), ("action", "delete"), ("tx_id", "x"), ("reason", "because"),
    ):  # fmt: skip
        values = table[column].to_pylist()
        values[6] = value
        at = table.schema.get_field_index(column)
        pq.write_table(
            table.set_column(
                at, table.schema.field(at), pa.array(values, table.schema.field(at).type)
            ),
            path,
        )
        found = session.ledger.verify(progress=False)
        assert not found
        assert found.seq == 7, column
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("column", "old", "new"), [("data", b'\\"b1\\"', b'\\"b9\\"'), ("leaves", None, None)]
)
def test_p4_an_edited_tail_is_found(session, notes, lake, column, old, new) -> None:
    fill(session, 3)
    with beside(lake) as store:
        where = "WHERE first_seq = 2"
        (found,) = store.execute(f"SELECT {column} FROM journal_tail {where}").fetchone()
        changed = found.replace(old, new) if old else found[:32] + bytes(32) + found[64:]
        assert changed != found
        store.execute(f"UPDATE journal_tail SET {column} = ? {where}", (changed,))
        verdict = session.ledger.verify(progress=False)
        assert (verdict.ok, verdict.seq) == (False, 3)
        store.execute(f"UPDATE journal_tail SET {column} = ? {where}", (found,))
    assert session.ledger.verify(progress=False)
