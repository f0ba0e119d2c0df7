"""An object store, the places of segments, and a session whose segments lie there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.places import ACCESS_KEY, SECRET_KEY, Place, Server, connect, place_of

import affidavit


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


S3 = pytest.param("s3", marks=pytest.mark.server)


@pytest.fixture(params=["local", "file", S3])
def place(request, tmp_path) -> Place:
    return place_of(request, tmp_path)


@pytest.fixture(params=["file", S3])
def elsewhere(request, tmp_path) -> Place:
    return place_of(request, tmp_path)


@pytest.fixture
def session(lake, place) -> Iterator[affidavit.Session]:
    with connect(lake, place) as opened:
        opened.sql("CREATE TABLE notes (id BIGINT PRIMARY KEY, body VARCHAR)")
        yield opened
