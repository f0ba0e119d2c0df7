"""Where sealed segments lie: a lake's own folder, another one, a bucket of a real object store."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

import affidavit
from tests.support.marks import may_start_server

ACCESS_KEY, SECRET_KEY = "AKIDOFTHETESTS", "the-secret-of-the-tests"


class Server:
    """An object store of this machine, which can be stopped and started again as it was."""

    def __init__(self) -> None:
        may_start_server()
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


def place_of(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return a place of the kind that a fixture's parameter names."""
    kind = request.param
    if kind == "s3":
        return Bucket(request.getfixturevalue("server"))
    if kind == "file":
        return Place(
            (tmp_path / "else where").as_uri().replace("%20", " "),
            str(tmp_path / "else where"),
            fs.LocalFileSystem(),
        )
    return Place(None, str(tmp_path / "lake" / "journal"), fs.LocalFileSystem())


def connect(lake: Path, place: Place | None = None, **options) -> affidavit.Session:
    if place is not None and place.url is not None:
        options["journal_url"] = place.url
    return affidavit.connect(lake, durability="normal", **options)


def fill(session: affidavit.Session, count: int, *, start: int = 0) -> None:
    session.table("notes").insert([{"id": start + at, "body": f"b{at}"} for at in range(count)])


def seqs(session: affidavit.Session) -> list[int]:
    return session.sql("SELECT seq FROM journal").to_arrow()["seq"].to_pylist()


def index_of_nobody(place: Place, _store: sqlite3.Connection | None) -> None:
    path = place.named("1-11.parquet.entities")
    place.write(path, bytes(len(place.read(path))))


def verdict(lake: Path) -> affidavit.Verification:
    with connect(lake, read_only=True) as session:
        return session.ledger.verify(progress=False)
