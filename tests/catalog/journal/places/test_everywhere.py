"""Sealed segments in the lake, in a folder elsewhere and in an object store, the same tests."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tests.support.places import connect, fill, seqs


def test_sealed_events_read_as_before_and_later_sessions_find_them(session, place, lake) -> None:
    fill(session, 5000)
    before = session.sql("SELECT * FROM journal ORDER BY seq").to_arrow()
    assert session.journal.flush() == 5001
    assert [Path(path).name for path in place.files()] == [
        "1-5001.parquet",
        "1-5001.parquet.entities",
    ]
    assert session.sql("SELECT * FROM journal ORDER BY seq").to_arrow().equals(before)
    session.sql("UPDATE notes SET body = 'z' WHERE id = 4321")
    session.close()
    with connect(lake) as reopened:
        assert [row["action"] for row in reopened.journal.history(4321)] == ["insert", "update"]
        for where, count in (
            ("entity_id = '4321'", 2), ("entity_id IN ('7', '4321', 'none')", 3),
            ("entity_id = '4321' AND field = 'body'", 1), ("seq BETWEEN 4000 AND 4009", 10),
        ):  # fmt: skip
            assert reopened.sql(f"SELECT seq FROM journal WHERE {where}").num_rows == count
        assert reopened.sql("SELECT * FROM history('notes') WHERE entity_id = '7'").num_rows == 1
        assert [row["seq"] for row in reopened.journal.recent(3)] == [5002, 5001, 5000]
        assert reopened.journal.recent(4000).num_rows == 4000
        assert reopened.ledger.verify(progress=False)
        assert reopened.ledger.prove(77)
    with connect(lake, read_only=True) as reader:
        assert reader.journal.history(4321).num_rows == 2
    with connect(lake, place) as told:
        assert told.journal.history(4321).num_rows == 2


def test_the_past_is_read_from_sealed_events(session) -> None:
    fill(session, 20)
    moment = session.ledger.size - 1
    session.sql("UPDATE notes SET body = 'new'")
    session.sql("DELETE FROM notes WHERE id < 10")
    session.journal.flush()
    was = session.sql(f"SELECT * FROM as_of('notes', {moment}) ORDER BY id").to_pylist()
    assert was == [{"id": at, "body": f"b{at}"} for at in range(20)]
    changes = session.sql(
        f"SELECT * FROM changes('notes', {moment + 1}, {session.ledger.size - 1})"
    )
    assert changes.num_rows == 2 * 20 + 10


def test_small_segments_are_merged_and_every_event_stands_once(session, place) -> None:
    for at in range(17):
        fill(session, 10, start=at * 10)
        session.journal.flush()
    journal = session._catalog().journal
    journal.merging.compact()
    segments = session.sql("SELECT * FROM system.segments ORDER BY first_seq").to_pylist()
    assert [each["events"] for each in segments] == [81, 80, 10]
    for one, other in pairwise(segments):
        assert one["last_seq"] < other["first_seq"]
    assert seqs(session) == list(range(1, 172))
    assert session.journal.history(95).num_rows == 1
    assert session.ledger.verify(progress=False)
    assert len(place.files()) == 2 * (17 + 2)  # a snapshot may still read what was merged
    journal.erasing.remove_orphans(age_s=0)
    assert len(place.files()) == 2 * 3
    assert seqs(session) == list(range(1, 172))


def test_erased_values_are_in_no_file(session, place, lake) -> None:
    for at in range(9):
        session.table("notes").insert([{"id": at, "body": f"body-{at}"}])
        session.journal.flush()
    session._catalog().journal.merging.compact()
    assert session.journal.erase("1", "asked to be forgotten") == 1
    assert session.journal.history(1).to_pylist()[0]["new_value"] is None
    assert session.ledger.verify(progress=False).erased
    kept = [
        value
        for path in place.files()
        if path.endswith(".parquet")
        for value in pq.read_table(pa.BufferReader(place.read(path)))["new_value"].to_pylist()
    ]
    assert any("body-2" in value for value in kept if value)
    assert not any("body-1" in value for value in kept if value)
    assert not [path for path in (lake / "journal").rglob(".*") if path.is_file()]


def test_retention_leaves_the_leaves(session, place) -> None:
    for at in range(3):
        fill(session, 10, start=at * 10)
        session.journal.flush()
    size = sum(len(place.read(path)) for path in place.files())
    assert session.journal.retain(keep=20, reason="policy") == 11
    assert sum(len(place.read(path)) for path in place.files()) < size
    assert session.journal.history(1).num_rows == 0
    assert session.journal.history(15).num_rows == 1
    assert session.ledger.verify(progress=False)
