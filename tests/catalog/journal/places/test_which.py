"""P12: which place a lake's segments are at, how it is spelled, and which are refused."""

from __future__ import annotations

import pytest
from tests.support.places import ACCESS_KEY, SECRET_KEY, Bucket, connect, told

from affidavit import errors
from affidavit.catalog.journal.segments.places import parse_place


def test_p12_another_place_than_the_lakes_is_refused(lake, elsewhere, tmp_path) -> None:
    other = (tmp_path / "other").as_uri()
    connect(lake, elsewhere).close()
    with pytest.raises(errors.LakeError) as raised:
        connect(lake, journal_url=other)
    assert parse_place(elsewhere.url).url in str(raised.value)
    assert other in str(raised.value)
    assert not (tmp_path / "other").exists()


def test_p12_a_lake_with_segments_of_its_own_keeps_them_there(lake, elsewhere) -> None:
    with connect(lake) as session:
        session.journal.record("thing", "1", "*", "seen")
    with pytest.raises(errors.LakeError, match="journal_url") as raised:
        connect(lake, elsewhere)
    assert str(lake / "journal") in str(raised.value)
    with connect(lake) as session:
        assert session.journal.history("1").num_rows == 1


def test_p12_a_session_that_began_before_the_place_was_taken_does_not_seal(
    lake, elsewhere, caplog
) -> None:
    first = connect(lake)
    first.journal.record("thing", "1", "*", "seen")
    with connect(lake, elsewhere) as second:
        with pytest.raises(errors.StoreError, match="reopen"):
            first.journal.flush()
        with told(caplog, "reopen"):
            first.close()
        assert second.journal.flush() == 1
        assert second.journal.history("1").num_rows == 1
    assert elsewhere.files()


def test_two_lakes_at_one_place_leave_each_other_alone(tmp_path, elsewhere) -> None:
    with connect(tmp_path / "a", elsewhere) as one, connect(tmp_path / "b", elsewhere) as two:
        for session in (one, two):
            session.journal.record("thing", "1", "*", "seen")
            session.journal.flush()
        one._catalog().journal.erasing.remove_orphans(age_s=0)
        assert one.journal.history("1").num_rows == two.journal.history("1").num_rows == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (7, "text"),
        ("", "must be such as"),
        ("/plain/path", "must be such as"),
        ("file://host/path", "must be such as"),
        ("file:///", "must be such as"),
        ("file:///path?region=x", "option 'region'"),
        ("s3://", "must be such as"),
        ("s3://bucket:80/x", "must be such as"),
        ("s3://bucket/x//y", "must be such as"),
        ("s3://bucket/x#here", "fragment"),
        ("s3://bucket/x?access_key=SECRET", "option 'access_key'"),
        ("gs://bucket/x", "must be such as"),
        ("file:///folder/%00", "NUL"),
        ("s3://bucket/x?scheme=gopher", "gopher"),
        ("s3://KEY:SECRET@bucket/x", "credentials"),
        ("s3://KEY:SEC/RET@bucket/x", "credentials"),
        ("s3://KEY:SECRET%40bucket/x", "credentials"),
        ("s3://bucket/x?endpoint_override=http://me:SECRET@host", "credentials"),
    ],
)
def test_p12_a_url_that_names_no_place_is_refused(lake, url, told) -> None:
    with pytest.raises(errors.LakeError, match=told) as raised:
        connect(lake, journal_url=url)
    assert "SECRET" not in str(raised.value)
    assert "SEC/RET" not in str(raised.value)


def test_a_place_has_one_spelling() -> None:
    assert parse_place("s3://b/x/?scheme=http&region=r") == parse_place(
        "s3://b/x?region=r&scheme=http"
    )
    assert parse_place("file://localhost/x/").url == "file:///x"


def test_no_credentials_are_kept_or_shown(lake, server) -> None:
    with connect(lake, Bucket(server)) as session:
        session.journal.record("thing", "1", "*", "seen")
        session.journal.flush()
        shown = repr(session) + repr(session.journal) + str(session._instance.lake.places.place)
    kept = b"".join(path.read_bytes() for path in lake.rglob("*") if path.is_file())
    for secret in (ACCESS_KEY, SECRET_KEY):
        assert secret not in shown
        assert secret.encode() not in kept
