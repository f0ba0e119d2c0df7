"""P12: while the place of the segments is away nothing is lost, and it is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.places import SECRET_KEY, Bucket, connect, fill, seqs, told

from affidavit import errors


def test_p12_while_the_place_is_away_nothing_is_lost(session, place, caplog) -> None:
    """A flush says where it could not write; a commit says so once, and both are made good."""
    fill(session, 10)
    session.journal.flush()
    session._catalog().journal.sealing.flush_threshold = 5
    place.go_away()
    try:
        named = place.url.partition("?")[0] if place.url else place.root
        fill(session, 1, start=100)
        with pytest.raises(errors.StoreError) as raised:
            session.journal.flush()
        assert Path(named.removeprefix("file://")).name in str(raised.value)
        with told(caplog, "kept in the store"):
            fill(session, 9, start=110)
        with told(caplog, ""):
            fill(session, 9, start=120)
        assert session.journal.stats()["buffer_events"] == 19
        with pytest.raises(errors.StoreError, match="cannot be read"):
            seqs(session)
        with pytest.raises(errors.StoreError):
            session.journal.erase("3", "asked")
    finally:
        place.come_back()
    assert session.journal.flush() == 19
    assert seqs(session) == list(range(1, 31))
    assert session.ledger.verify(progress=False)


def test_p12_checkpoints_are_kept_while_the_place_is_away(lake, place, caplog) -> None:
    """A checkpoint is proved by leaves of entries that may be sealed: committing reads no segment."""
    with connect(lake, place, checkpoint_entries=1) as session:
        session.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        for at in (0, 700):
            fill(session, 700, start=at)
            session.journal.flush()
    place.go_away()
    try:
        with told(caplog, "kept in"), connect(lake, checkpoint_entries=1) as session:
            for at in range(2000, 2300, 100):
                fill(session, 100, start=at)
                session.ledger.checkpoint()
    finally:
        place.come_back()
    with connect(lake, checkpoint_entries=1) as session:
        session.journal.flush()
        fill(session, 300, start=3000)
        session.ledger.rotate_key()
        session.journal.flush()
        fill(session, 3, start=4000)
        assert session.ledger.verify(progress=False)


def test_p12_a_session_closes_while_the_place_is_away(lake, place, caplog) -> None:
    session = connect(lake, place)
    session.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
    place.go_away()
    try:
        with told(caplog, "kept in the store"):
            session.close()
        with connect(lake, read_only=True) as reader:
            assert reader.journal.stats()["buffer_events"] == 1
    finally:
        place.come_back()
    with connect(lake) as session:
        assert session.journal.flush() == 1
        assert session.ledger.verify(progress=False)


def test_p12_a_bucket_that_goes_is_named(lake, server) -> None:
    place = Bucket(server)
    with connect(lake, place) as session:
        session.journal.record("thing", "1", "*", "seen")
        session.journal.flush()
        place.filesystem.delete_dir(place.root)
        with pytest.raises(errors.StoreError, match=place.root):
            session.journal.history("1")
        session.journal.record("thing", "2", "*", "seen")
        with pytest.raises(errors.StoreError, match=place.root):
            session.journal.flush()
        assert session.journal.stats()["buffer_events"] == 1
        place.filesystem.create_dir(place.root)


def test_p12_a_place_that_cannot_be_written_is_not_taken(lake, server, tmp_path) -> None:
    (tmp_path / "file").touch()
    for url in (
        f"s3://there-is-no-such-bucket/x?{server.options}",
        "s3://bucket/x?endpoint_override=127.0.0.1%3A1&region=eu-central-1&scheme=http",
        (tmp_path / "file").as_uri(),
    ):
        with pytest.raises(errors.StoreError) as raised:
            connect(lake, journal_url=url)
        assert url.partition("?")[0].removeprefix("file://") in str(raised.value)
        assert SECRET_KEY not in str(raised.value)
    with connect(lake, Bucket(server)) as session:
        session.journal.record("thing", "1", "*", "seen")
        assert session.journal.flush() == 1
