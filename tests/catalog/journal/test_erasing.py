"""P4: values that were erased and events let go are gone, and every proof holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.support.beside import beside
from tests.support.journals import fill

from affidavit import errors


def test_erased_values_are_gone_and_every_proof_holds(session, lake) -> None:
    people = session.create_table(
        "people", [{"id": 1, "name": "first-secret"}, {"id": 2, "name": "kept"}], primary_key="id"
    )
    people.update({"name": "second-secret"}, "id = 1")
    session.journal.flush()
    people.update({"name": "third-secret"}, "id = 1")
    people.delete("id = 1")
    assert session.journal.erase("1", "asked to be forgotten") == 4
    rows = session.journal.history("1").to_pylist()
    assert [(row["action"], row["old_value"], row["new_value"]) for row in rows] == [
        (action, None, None) for action in ("insert", "update", "update", "delete")
    ]
    verdict = session.ledger.verify(progress=False)
    assert verdict
    ((entry, count),) = verdict.erased.items()
    assert count == 4
    assert f"4 events erased by entry {entry}" in str(verdict)
    body = session.sql(f"SELECT body FROM system.ledger WHERE seq = {entry}").to_pylist()[0]["body"]
    assert json.loads(body)["reason"] == "asked to be forgotten"
    assert "kept" in session.journal.history("2").to_pylist()[0]["new_value"]
    session.journal.flush()
    assert session.ledger.verify(progress=False)
    stored = b"".join(path.read_bytes() for path in (lake / "journal").rglob("*.parquet"))
    with beside(lake) as store:
        kept = b"".join(data for (data,) in store.execute("SELECT data FROM journal_tail"))
    assert b"secret" not in stored + kept
    with pytest.raises(errors.RecordNotFoundError, match="nobody"):
        session.journal.erase("nobody", "x")
    assert session.journal.erase("1", "again") == 0


def test_p4_values_that_were_removed_without_an_erasure_are_found(session, notes, lake) -> None:
    fill(session, 3)
    session.journal.flush()
    from affidavit.catalog.journal.signing import without_values

    path = lake / "journal" / "default" / "1-4.parquet"
    events = pq.read_table(path)
    mask = pc.equal(events["entity_id"], "1").combine_chunks()
    pq.write_table(without_values(events, mask), path)
    found = session.ledger.verify(progress=False)
    assert (found.ok, found.seq) == (False, 3)
    assert "no entry says" in found.problem


def test_retention_drops_whole_segments_and_the_rest_verifies(session, notes) -> None:
    for at in range(3):
        fill(session, 10, start=at * 10)
        session.journal.flush()
    moment = session.ledger.size - 1
    session.sql("UPDATE notes SET stars = 1 WHERE id = 29")
    assert session.journal.retain(keep=12, reason="policy") == 11
    assert session.journal.history("1").num_rows == 0
    assert session.journal.history("29").num_rows == 2
    assert session.ledger.verify(progress=False)
    assert session.ledger.prove(3)
    rows = session.sql(f"SELECT stars FROM as_of('notes', {moment}) WHERE id = 29").to_pylist()
    assert rows == [{"stars": None}]
    with pytest.raises(errors.InvalidQueryError, match="let go"):
        session.sql("SELECT * FROM as_of('notes', 5)").to_arrow()
    assert session.journal.retain(before=datetime(2000, 1, 1, tzinfo=UTC), reason="asked") == 0
    dropped = session.sql("SELECT count(*) AS n FROM system.segments WHERE dropped").to_pylist()
    assert dropped == [{"n": 1}]


def test_p4_a_segment_that_was_emptied_without_a_retention_is_found(session, notes, lake) -> None:
    fill(session, 3)
    session.journal.flush()
    from affidavit.catalog.journal.events import EVENTS_SCHEMA

    path = lake / "journal" / "default" / "1-4.parquet"
    whole = pq.read_table(path)
    kept = {"seq", "timestamp", "leaf_hash"}
    columns = [whole[f.name] if f.name in kept else pa.nulls(4, f.type) for f in EVENTS_SCHEMA]
    pq.write_table(pa.Table.from_arrays(columns, schema=EVENTS_SCHEMA), path)
    found = session.ledger.verify(progress=False)
    assert (found.ok, found.seq) == (False, 1)


def test_erased_values_are_gone_from_segments_that_were_merged_away_too(session, lake) -> None:
    """What a merge leaves behind stays for an hour, and held the values."""
    people = session.create_table("people", [{"id": 1, "name": "first-secret"}], primary_key="id")
    for at in range(9):
        people.insert([{"id": 10 + at, "name": "kept"}])
        session.journal.flush()
    session._catalog().journal.merging.compact()
    assert session.journal.erase("1", "asked") == 1
    stored = [path.read_bytes() for path in (lake / "journal").rglob("*") if path.is_file()]
    assert stored
    files = (lake / "journal").rglob("*.parquet")
    values = [row for path in files for row in pq.read_table(path)["new_value"].to_pylist()]
    assert not [value for value in values if value and "secret" in value]
    assert session.ledger.verify(progress=False)


def test_the_events_of_a_vector_table_are_erased_and_its_rows_stay(session) -> None:
    """They tell of batches, and have no values; a row that stays in its table stays."""
    docs = session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 0.0]}], key="id")
    people = session.create_table("people", [{"id": 1, "name": "Ann Somebody"}], primary_key="id")
    assert session.journal.erase("docs", "asked") > 0
    assert session.journal.erase("1", "asked", entity_type="people") == 1
    assert (len(docs), len(people)) == (1, 1)
    assert session.ledger.verify(progress=False)
