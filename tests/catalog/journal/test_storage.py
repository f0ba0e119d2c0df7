"""P4: sealed segments in the lake, in a folder elsewhere and in an object store, the same tests."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from pyarrow import fs

import affidavit
from affidavit import errors
from affidavit.catalog.journal.erasing import Erasing
from affidavit.catalog.journal.evidence import EventEntries
from affidavit.catalog.journal.journal import Journal
from affidavit.catalog.journal.merging import mergeable
from affidavit.catalog.journal.sealing import Sealing
from affidavit.catalog.journal.segments.places import parse_place
from affidavit.catalog.journal.segments.reading import SegmentReader
from affidavit.catalog.journal.segments.remembered import Recent
from affidavit.catalog.journal.segments.segment import Segment

ACCESS_KEY, SECRET_KEY = "AKIDOFTHETESTS", "the-secret-of-the-tests"


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Server:
    """An object store of this machine, which can be stopped and started again as it was."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0)
        self.start()

    def start(self) -> None:
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()
        self._server = ThreadedMotoServer("127.0.0.1", self.port)

    @property
    def options(self) -> str:
        return f"endpoint_override=127.0.0.1%3A{self.port}&region=eu-central-1&scheme=http"

    def filesystem(self) -> fs.FileSystem:
        return fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{self.port}", region="eu-central-1", scheme="http",
            allow_bucket_creation=True, allow_bucket_deletion=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


class Place:
    """Where segments lie: what a test does to the files there."""

    def __init__(self, url: str | None, root: str, filesystem: fs.FileSystem) -> None:
        self.url = url
        self.root = root
        self.filesystem = filesystem

    def files(self) -> list[str]:
        found = self.filesystem.get_file_info(
            fs.FileSelector(self.root, recursive=True, allow_not_found=True)
        )
        return sorted(each.path for each in found if each.type == fs.FileType.File)

    def named(self, name: str) -> str:
        (found,) = [path for path in self.files() if path.endswith(f"/{name}")]
        return found

    def read(self, path: str) -> bytes:
        with self.filesystem.open_input_file(path) as file:
            return bytes(file.read())

    def write(self, path: str, data: bytes) -> None:
        with self.filesystem.open_output_stream(path) as file:
            file.write(data)

    def remove(self, path: str) -> None:
        self.filesystem.delete_file(path)

    def go_away(self) -> None:
        away = Path(f"{self.root}.away")
        if Path(self.root).exists():
            Path(self.root).rename(away)
        Path(self.root).touch()

    def come_back(self) -> None:
        Path(self.root).unlink()
        if Path(f"{self.root}.away").exists():
            Path(f"{self.root}.away").rename(self.root)


class Bucket(Place):
    def __init__(self, server: Server) -> None:
        bucket = f"bucket-{uuid4().hex[:12]}"
        super().__init__(f"s3://{bucket}/some prefix?{server.options}", bucket, server.filesystem())
        self.filesystem.create_dir(bucket)
        self._server = server

    def go_away(self) -> None:
        self._server.stop()

    def come_back(self) -> None:
        self._server.start()


@contextmanager
def told(caplog: pytest.LogCaptureFixture, words: str) -> Iterator[None]:
    """Expect one line with ``words`` in the log; none if there are no words."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "affidavit"):
        yield
    lines = [record.getMessage() for record in caplog.records if record.name == "affidavit"]
    assert len(lines) == bool(words)
    assert all(words in line for line in lines)


def place_of(kind: str, tmp_path: Path, server: Server) -> Place:
    if kind == "s3":
        return Bucket(server)
    if kind == "file":
        return Place(
            (tmp_path / "else where").as_uri().replace("%20", " "),
            str(tmp_path / "else where"),
            fs.LocalFileSystem(),
        )
    return Place(None, str(tmp_path / "lake" / "journal"), fs.LocalFileSystem())


@pytest.fixture(params=["local", "file", "s3"])
def place(request, tmp_path, server) -> Place:
    return place_of(request.param, tmp_path, server)


@pytest.fixture(params=["file", "s3"])
def elsewhere(request, tmp_path, server) -> Place:
    return place_of(request.param, tmp_path, server)


def connect(lake: Path, place: Place | None = None, **options) -> affidavit.Session:
    if place is not None and place.url is not None:
        options["journal_url"] = place.url
    return affidavit.connect(lake, durability="normal", **options)


@pytest.fixture
def session(lake, place) -> Iterator[affidavit.Session]:
    with connect(lake, place) as opened:
        opened.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        yield opened


def fill(session: affidavit.Session, count: int, *, start: int = 0) -> None:
    session.table("notes").insert([{"id": start + at, "body": f"b{at}"} for at in range(count)])


def seqs(session: affidavit.Session) -> list[int]:
    return session.sql("SELECT seq FROM journal").to_arrow()["seq"].to_pylist()


# --- everything works everywhere ------------------------------------------------------------------


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


def index_of_nobody(place: Place, _store: sqlite3.Connection | None) -> None:
    path = place.named("1-11.parquet.entities")
    place.write(path, bytes(len(place.read(path))))


def recoded(place: Place, store: sqlite3.Connection, data: bytes) -> None:
    """Put other bytes in the place of a segment, and write down their hash."""
    place.write(place.named("1-11.parquet"), data)
    store.execute(
        "UPDATE journal_segments SET sha256 = ?, bytes = ? WHERE first_seq = 1",
        (hashlib.sha256(data).digest(), len(data)),
    )


def statistics_of_others(place: Place, store: sqlite3.Connection) -> None:
    data = place.read(place.named("1-11.parquet"))
    at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    recoded(place, store, data[:at] + data[at:].replace(b"insert", b"update"))


def rows_in_another_order(place: Place, store: sqlite3.Connection) -> None:
    table = pq.read_table(pa.BufferReader(place.read(place.named("1-11.parquet"))))
    sink = pa.BufferOutputStream()
    pq.write_table(table.take([0, 2, 1, *range(3, 11)]), sink)
    recoded(place, store, sink.getvalue().to_pybytes())


def a_block_that_nothing_counts(place: Place, store: sqlite3.Connection) -> None:
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
        ("UPDATE journal_segments SET events = '11' WHERE first_seq = 1", 1),
        ("UPDATE journal_segments SET file = '../default/' || file WHERE first_seq = 1", 1),
        ("UPDATE journal_segments SET file = NULL WHERE first_seq = 1", 1),
        ("UPDATE journal_leaves SET data = zeroblob(length(data))", 0),
        ("UPDATE journal_leaves SET end_seq = 1000", 0),
        ("UPDATE journal_tail SET last_seq = 1000", 22),
        ("UPDATE journal_tail SET events = 'x'", 22),
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
        with closing(sqlite3.connect(lake / "catalog.db", isolation_level=None)) as store:
            if isinstance(forge, str):
                store.execute(forge)
            else:
                forge(place, store)
        for found in (session.ledger.verify(progress=False), verdict(lake)):
            assert (found.ok, found.seq) == (False, seq)


def test_p4_events_without_their_ledger_are_found(session, lake) -> None:
    fill(session, 3)
    with closing(sqlite3.connect(lake / "catalog.db", isolation_level=None)) as store:
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


def verdict(lake: Path) -> affidavit.Verification:
    with connect(lake, read_only=True) as session:
        return session.ledger.verify(progress=False)


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


# --- places that are away -------------------------------------------------------------------------


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


@pytest.mark.parametrize("what", ["changed", "cut short"])
def test_p4_kept_leaves_that_are_not_the_events_are_found(session, lake, what) -> None:
    fill(session, 10)
    session.journal.flush()
    with sqlite3.connect(lake / "catalog.db") as store:
        (data,) = store.execute("SELECT data FROM journal_leaves").fetchone()
        wrong = data[:-1] if what == "cut short" else data[:48] + bytes(32) + data[80:]
        store.execute("UPDATE journal_leaves SET data = ?", (wrong,))
        store.commit()
        found = session.ledger.verify(progress=False)
        assert not found
        assert "kept" in str(found)
        assert what == "cut short" or found.seq == 2
        store.execute("UPDATE journal_leaves SET data = ?", (data,))
    store.close()
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


# --- which place it is ----------------------------------------------------------------------------


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


# --- at the same time -----------------------------------------------------------------------------


def scan(session: affidavit.Session) -> Iterator[pa.Table]:
    """Read the journal as a statement does: one snapshot, its segments opened one by one."""
    catalog = session._catalog()
    with catalog.read() as reader:
        yield from catalog.journal.events.scan(reader, ["seq", "new_value"], None)


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
        with pytest.raises(errors.RecordNotFoundError):
            session.journal.erase("40", "asked")
        assert not (lake / "catalog.db-wal").stat().st_size
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
    session._instance._merger.poke()
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
        with pytest.raises(errors.RecordNotFoundError):
            session.journal.erase("1", "asked")


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
    with pytest.raises(errors.RecordNotFoundError):
        session.journal.erase("1", "asked")
    assert len(place.files()) == 2
    assert session.ledger.verify(progress=False)


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


def segments_of(*counts: int) -> list[Segment]:
    return [Segment(at, at, count, 0, 0, b"", b"", "", 0) for at, count in enumerate(counts)]


@pytest.mark.parametrize(
    ("counts", "merged"),
    [
        ([1] * 7, 0),
        ([1] * 8, 8),
        ([20, *[1] * 7], 0),
        ([20, *[1] * 8], 8),
        ([7, *[1] * 7], 14),
        ([1] * 4 + [1000] + [1] * 7, 0),
        ([300] * 8, 0),
    ],
)
def test_neighbours_are_merged_that_are_small_and_about_as_large_as_each_other(
    counts, merged
) -> None:
    found = mergeable(segments_of(*counts), large=1000, events_max=2000)
    assert sum(each.events for each in found) == merged


@given(st.lists(st.integers(1, 300), max_size=400))
def test_merging_leaves_few_segments_and_writes_an_event_few_times(counts) -> None:
    """However much each flush has: below 64 flushes' events there are few, and each merge doubles."""
    segments: list[Segment] = []
    written = 0
    for count in counts:
        segments += segments_of(count)
        while group := mergeable(segments, large=64 * 300):
            at = next(at for at, each in enumerate(segments) if each is group[0])
            whole = sum(each.events for each in group)
            written += whole
            segments[at : at + len(group)] = segments_of(whole)
    assert sum(each.events for each in segments) == sum(counts)
    assert written <= 15 * sum(counts)
    assert len([each for each in segments if each.events < 64 * 300]) <= 8 * 15


def test_a_folder_that_is_missing_is_named(lake) -> None:
    with connect(lake) as session:
        session.journal.record("thing", "1", "*", "seen")
    shutil.rmtree(lake / "journal" / "default")
    with connect(lake) as session:
        with pytest.raises(errors.LedgerCorruptError, match="journal/default"):
            session.journal.history("1")
        assert "journal/default" in str(session.ledger.verify(progress=False))


def test_what_was_used_last_is_kept_within_its_budget() -> None:
    recent: Recent[str] = Recent(100)
    for name in "abc":
        recent.put(name, name, 40)
    assert [recent.get(name) for name in "abc"] == [None, "b", "c"]
    assert recent.get("b") == "b"
    recent.put("d", "d", 40)
    assert [recent.get(name) for name in "bcd"] == ["b", None, "d"]
    recent.put("large", "large", 1000)
    assert recent.get("large") == "large"
    assert recent.get("d") is None
