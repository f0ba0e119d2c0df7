"""P4, P12: segments sealed, merged, erased and read at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import pyarrow as pa
import pytest
from tests.support.places import ACCESS_KEY, SECRET_KEY, connect, fill, seqs
from tests.support.stores import is_postgres

import affidavit
from affidavit import errors
from affidavit.catalog.journal.erasing import Erasing
from affidavit.catalog.journal.evidence import EventEntries
from affidavit.catalog.journal.journal import Journal
from affidavit.catalog.journal.sealing import Sealing
from affidavit.catalog.journal.segments.reading import SegmentReader


def scan(session: affidavit.Session) -> Iterator[pa.Table]:
    """Read the journal as a statement does: one snapshot, its segments opened one by one."""
    catalog = session._catalog()
    with catalog.read() as reader:
        yield from catalog.journal.events.scan(reader, ["seq", "new_value"], None)


@pytest.mark.slow
def test_a_result_that_is_read_goes_on_while_its_segments_are_merged_and_erased(
    lake, place
) -> None:
    """The segments that the snapshot names are gone by the time that they are asked for.

    The store's log still had what was erased, for as long as there was a process, and nobody said.
    """
    with connect(lake, place, busy_timeout_s=0.5) as session:  # scrubbing waits for the snapshot
        session.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        for at in range(9):
            fill(session, 5, start=at * 5)
            session.journal.flush()
        reading = scan(session)
        found = [next(reading)]
        session._catalog().journal.merging.compact()
        with pytest.raises(errors.StoreError, match="erase again"):
            session.journal.erase("40", "asked")
        found += reading
        assert session.journal.erase("40", "asked") == 0
        if not is_postgres():  # whose log nobody reaches
            assert b'"b0"' not in (lake / "catalog.db-wal").read_bytes()
    table = pa.concat_tables(found)
    assert table["seq"].to_pylist() == list(range(1, 47))
    assert table["new_value"].null_count == 1


def test_p12_a_result_whose_events_are_let_go_says_so(session) -> None:
    for at in range(3):
        fill(session, 5, start=at * 5)
        session.journal.flush()
    reading = scan(session)
    next(reading)
    session.journal.retain(reason="policy")
    with pytest.raises(errors.StoreError, match="replaced while it was read"):
        list(reading)


@pytest.mark.slow
def test_a_flush_does_not_wait_for_a_merge_and_closing_ends_it(lake, place, monkeypatch) -> None:
    """A merge that is half-way is abandoned by close(), and leaves nothing behind."""
    session = connect(lake, place)
    for at in range(9):
        session.journal.record("thing", str(at), "*", "seen")
        session.journal.flush()
    merging = threading.Event()
    whole = SegmentReader.whole

    def slow(reader, segment):
        merging.set()
        assert session._instance.lake.journals._stopping.wait(60)
        return whole(reader, segment)

    monkeypatch.setattr(SegmentReader, "whole", slow)
    session._instance._merger.wake()
    assert merging.wait(60)
    session.journal.record("thing", "late", "*", "seen")
    assert session.journal.flush() == 1
    assert session.journal.stats()["persisted_files"] == 10
    monkeypatch.setattr(Journal, "tidy", lambda _: None)
    session.close()
    monkeypatch.undo()
    assert len(place.files()) == 20
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, ACCESS_KEY if key.endswith("ID") else SECRET_KEY)
    with connect(lake) as session:
        assert session._catalog().journal.merging.compact() == 8
        assert seqs(session) == list(range(1, 11))
        assert session.ledger.verify(progress=False)


def test_an_erasure_ends_the_merge_that_it_would_wait_for(session, monkeypatch) -> None:
    for at in range(8):
        fill(session, 2, start=at * 2)
        session.journal.flush()
    journal = session._catalog().journal
    merging, whole, merger = threading.Event(), SegmentReader.whole, None

    def slow(reader, segment):
        if threading.current_thread() is merger:
            merging.set()
            assert journal.kept._wanted_alone.wait(60)
        return whole(reader, segment)

    monkeypatch.setattr(SegmentReader, "whole", slow)
    merged: list[int] = []
    merger = threading.Thread(target=lambda: merged.append(journal.merging.compact()))
    merger.start()
    assert merging.wait(60)
    assert session.journal.erase("3", "asked") == 1
    merger.join()
    assert merged == [0]
    assert journal.merging.compact() == 8
    assert session.ledger.verify(progress=False)


def test_closing_merges_what_short_sessions_leave(lake, place) -> None:
    for at in range(9):
        with connect(lake, place) as session:
            session.journal.record("thing", str(at), "*", "seen")
    with connect(lake, read_only=True) as session:
        assert session.journal.stats()["persisted_files"] == 2
        assert len(seqs(session)) == 9


@pytest.mark.slow
def test_writers_do_not_wait_for_an_erasure_that_waits_for_a_reader(lake) -> None:
    """It held the store until the reader had ended: for 30 s no process could write."""
    with connect(lake) as session, connect(lake, busy_timeout_s=2.0) as other:
        session.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        fill(session, 3)
        written, reading = [], scan(session)
        next(reading)

        def write() -> None:
            while not erased.wait(0.01):
                fill(other, 1, start=100 + len(written))
                written.append(1)

        erased, writer = threading.Event(), threading.Thread(target=write)
        session._catalog().lake.store.hurry(3.0)
        writer.start()
        with pytest.raises(errors.StoreError, match="erase again"):
            session.journal.erase("1", "asked")
        erased.set()
        writer.join()
        reading.close()
        assert len(written) > 1
        assert session.journal.erase("1", "asked") == 0


def test_sealing_holds_no_snapshot_while_it_waits_to_write(lake, monkeypatch) -> None:
    """An erasure emptied the store's log and waited for the snapshot of who waited to write."""
    with connect(lake) as session, connect(lake) as other:
        session.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        fill(session, 3)
        seal, scrubbed = Sealing._seal, []

        def later(journal, *what):
            store = other._catalog().lake.store
            store.hurry(0.1)
            scrubbed.append(store.scrub())
            seal(journal, *what)

        monkeypatch.setattr(Sealing, "_seal", later)
        assert session.journal.flush() == 4
        assert scrubbed == [True]


def test_p4_a_ledger_whose_segments_are_erased_meanwhile_verifies(lake, monkeypatch) -> None:
    """The snapshot's files were gone, and the ledger was called corrupt."""
    with connect(lake) as session, connect(lake) as other:
        session.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        fill(session, 3)
        session.journal.flush()
        other._catalog().lake.store.hurry(0.1)
        faults, calls = EventEntries.faults, []

        def late(journal, reader):
            calls.append(1)
            if len(calls) == 1:
                with suppress(errors.StoreError):  # this very snapshot keeps the log
                    other.journal.erase("1", "asked")
            yield from faults(journal, reader)

        monkeypatch.setattr(EventEntries, "faults", late)
        assert session.ledger.verify(progress=False).erased
        assert len(calls) == 2


def test_p12_an_erasure_that_left_files_behind_is_finished_by_the_next(
    session, place, monkeypatch
) -> None:
    """The place goes away between the erasure's commit and the removal of what it replaced."""
    session.table("notes").insert([{"id": 1, "body": "secret"}])
    session.journal.flush()
    remove = Erasing._remove_others

    def fail(journal, *, age_s):
        raise errors.StoreError("away")

    monkeypatch.setattr(Erasing, "_remove_others", fail)
    with pytest.raises(errors.StoreError, match="erase again"):
        session.journal.erase("1", "asked")
    assert len(place.files()) == 4
    monkeypatch.setattr(Erasing, "_remove_others", remove)
    assert session.journal.erase("1", "asked") == 0
    assert len(place.files()) == 2
    assert session.ledger.verify(progress=False)


@pytest.mark.slow
def test_sessions_seal_and_merge_at_once_and_readers_see_every_event_once(lake) -> None:
    """Three sessions, as three processes would: one writes and seals, one merges, one reads."""
    with connect(lake) as writer, connect(lake) as merger, connect(lake, read_only=True) as reader:
        writer.journal.record("thing", "0", "*", "seen")
        stop, wrong = threading.Event(), []

        def merge() -> None:
            while not stop.is_set():
                merger._catalog().journal.merging.compact()

        def read() -> None:
            while not stop.is_set():
                found = seqs(reader)
                if found != list(range(1, len(found) + 1)):
                    wrong.append(found)

        threads = [threading.Thread(target=each) for each in (merge, read)]
        for thread in threads:
            thread.start()
        for at in range(1, 40):
            writer.journal.record("thing", str(at), "*", "seen")
            writer.journal.flush()
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong
        assert seqs(writer) == list(range(1, 41))
        assert writer.ledger.verify(progress=False)
