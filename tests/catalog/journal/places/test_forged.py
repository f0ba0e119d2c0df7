"""P4: whatever is changed in sealed segments, or in what finds them, is found and named."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.beside import beside
from tests.support.places import Place, connect, fill, index_of_nobody, seqs, verdict

from affidavit import errors

ANY_TYPE = pytest.mark.sqlite("its columns take any type")


def edited(data: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(data))
    actors = table["actor"].to_pylist()
    actors[3] = "nobody"
    at = table.schema.get_field_index("actor")
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(at, "actor", pa.array(actors, pa.string())), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("how", ["edited", "missing", "truncated", "swapped", "empty"])
def test_p4_a_segment_that_is_not_what_was_sealed_is_named(lake, place, how) -> None:
    with connect(lake, place) as session:
        session.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        fill(session, 10)
        session.journal.flush()
        fill(session, 10, start=10)
        session.journal.flush()
        path, other = place.named("1-11.parquet"), place.named("12-21.parquet")
        whole = place.read(path)
        if how == "missing":
            place.remove(path)
        else:
            place.write(
                path,
                {
                    "edited": lambda: edited(whole), "truncated": lambda: whole[:-100],
                    "swapped": lambda: place.read(other), "empty": lambda: b"",
                }[how](),
            )  # fmt: skip
        for found in (session.ledger.verify(progress=False), verdict(lake)):
            assert not found
            assert found.seq == (4 if how == "edited" else 1)
            assert how == "edited" or "1-11.parquet" in str(found)
        if how in {"missing", "truncated", "empty"}:
            with pytest.raises(errors.LedgerCorruptError, match=r"1-11\.parquet"):
                seqs(session)
            with pytest.raises(errors.LedgerCorruptError, match=r"1-11\.parquet"):
                session.journal.history(3)
        with pytest.raises(errors.LedgerCorruptError, match=r"1-11\.parquet"):
            session.journal.erase("3", "why not")
        place.write(path, whole)
        assert session.ledger.verify(progress=False)


def recoded(place: Place, store: Any, data: bytes) -> None:
    """Put other bytes in the place of a segment, and write down their hash."""
    place.write(place.named("1-11.parquet"), data)
    store.execute(
        "UPDATE journal_segments SET sha256 = ?, bytes = ? WHERE first_seq = 1",
        (hashlib.sha256(data).digest(), len(data)),
    )


def statistics_of_others(place: Place, store: Any) -> None:
    data = place.read(place.named("1-11.parquet"))
    at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    recoded(place, store, data[:at] + data[at:].replace(b"insert", b"update"))


def rows_in_another_order(place: Place, store: Any) -> None:
    table = pq.read_table(pa.BufferReader(place.read(place.named("1-11.parquet"))))
    sink = pa.BufferOutputStream()
    pq.write_table(table.take([0, 2, 1, *range(3, 11)]), sink)
    recoded(place, store, sink.getvalue().to_pybytes())


def a_block_that_nothing_counts(place: Place, store: Any) -> None:
    (data, leaves) = store.execute("SELECT data, leaves FROM journal_tail").fetchone()
    rows = json.loads(data)
    rows[0][0] = 1000
    store.execute(
        "INSERT INTO journal_tail (_tenant, first_seq, last_seq, events, data, leaves)"
        " VALUES ('default', 1000, 1000, 0, ?, ?)",
        (json.dumps(rows).encode(), leaves),
    )


@pytest.mark.parametrize(
    ("forge", "seq"),
    [
        (index_of_nobody, 1),
        (statistics_of_others, 1),
        (rows_in_another_order, 1),
        (a_block_that_nothing_counts, 1000),
        ("UPDATE journal_segments SET dropped = 1 WHERE first_seq = 1", 1),
        ("UPDATE journal_segments SET last_at = 0 WHERE first_seq = 12", 12),
        ("UPDATE journal_segments SET root = sha256 WHERE first_seq = 12", 12),
        ("UPDATE journal_segments SET sha256 = root WHERE first_seq = 12", 12),
        pytest.param(
            "UPDATE journal_segments SET events = '11' WHERE first_seq = 1", 1, marks=ANY_TYPE
        ),
        ("UPDATE journal_segments SET file = '../default/' || file WHERE first_seq = 1", 1),
        ("UPDATE journal_segments SET file = NULL WHERE first_seq = 1", 1),
        ("UPDATE journal_leaves SET data = zeroblob(length(data))", 0),
        ("UPDATE journal_leaves SET end_seq = 1000", 0),
        ("UPDATE journal_tail SET last_seq = 1000", 22),
        pytest.param("UPDATE journal_tail SET events = 'x'", 22, marks=ANY_TYPE),
        ("UPDATE journal_tail SET data = NULL", 22),
        ("UPDATE journal_tail SET data = x'00'", 22),
    ],
)
def test_p4_whatever_readers_find_events_by_is_verified(lake, place, forge, seq) -> None:
    """An index of nobody hid an entity's events from ``history``: the leaves were right.

    So did a flag, or a row group's statistics; and a block that nothing counted was shown.
    """
    with suppress(errors.LedgerCorruptError), connect(lake, place) as session:
        session.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        fill(session, 10)
        session.journal.flush()
        fill(session, 10, start=10)
        session.journal.flush()
        fill(session, 1, start=20)
        with beside(lake) as store:
            if isinstance(forge, str):
                store.execute(forge)
            else:
                forge(place, store)
        for found in (session.ledger.verify(progress=False), verdict(lake)):
            assert (found.ok, found.seq) == (False, seq)


def test_p4_events_without_their_ledger_are_found(session, lake) -> None:
    fill(session, 3)
    session._instance.statements.flush()  # what waits could not be put under a ledger that is gone
    with beside(lake) as store:
        for table in ("ledger", "ledger_heads", "ledger_nodes", "checkpoints"):
            store.execute(f"DELETE FROM {table}")
    assert "signed head is missing" in str(verdict(lake))


def test_an_erasure_does_not_rely_on_the_index(session, place) -> None:
    """An index that did not name the entity kept its values, and the erasure was refused."""
    fill(session, 10)
    session.journal.flush()
    index_of_nobody(place, None)
    assert session.journal.erase("3", "asked") == 1
    assert session.ledger.verify(progress=False)


@pytest.mark.parametrize("what", ["missing", "cut short"])
def test_without_an_index_the_segment_is_read(session, place, lake, what) -> None:
    fill(session, 10)
    session.journal.flush()
    path = place.named("1-11.parquet.entities")
    if what == "missing":
        place.remove(path)
    else:
        place.write(path, place.read(path)[:-9])
    with connect(lake, read_only=True) as reader:
        assert reader.journal.history(3).num_rows == 1


@pytest.mark.parametrize("what", ["changed", "cut short"])
def test_p4_kept_leaves_that_are_not_the_events_are_found(session, lake, what) -> None:
    fill(session, 10)
    session.journal.flush()
    with beside(lake) as store:
        (data,) = store.execute("SELECT data FROM journal_leaves").fetchone()
        wrong = data[:-1] if what == "cut short" else data[:48] + bytes(32) + data[80:]
        store.execute("UPDATE journal_leaves SET data = ?", (wrong,))
        found = session.ledger.verify(progress=False)
        assert not found
        assert "kept" in str(found)
        assert what == "cut short" or found.seq == 2
        store.execute("UPDATE journal_leaves SET data = ?", (data,))
    assert session.ledger.verify(progress=False)


def test_a_folder_that_is_missing_is_named(lake) -> None:
    with connect(lake) as session:
        session.journal.record("thing", "1", "*", "seen")
    shutil.rmtree(lake / "journal" / "default")
    with connect(lake) as session:
        with pytest.raises(errors.LedgerCorruptError, match="journal/default"):
            session.journal.history("1")
        assert "journal/default" in str(session.ledger.verify(progress=False))
