"""What the tests share: a lake in a temporary folder and sessions on it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

import affidavit
from affidavit.catalog.topics import log as topic_log
from tests.support import budget, disks, marks, stores
from tests.support.lakes import Recorder, vectors
from tests.support.mariadb_server import MariaDbServer
from tests.support.pg_server import PgServer
from tests.support.records import encode
from tests.support.topics import SCHEMA, Clock
from tests.support.web_files import WebFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

settings.register_profile(
    "default",
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    budget.pytest_addoption(parser)


def pytest_configure(config: pytest.Config) -> None:
    budget.pytest_configure(config)
    disks.wait_for_none()
    config.pluginmanager.register(marks)
    config.pluginmanager.register(stores)
    stores.start()


def pytest_collection_finish() -> None:
    """Keep what is imported by now out of every collection of garbage.

    Many tests collect, to see what they left open: with all libraries in view that took most of
    their time.
    """
    assert affidavit.connect  # which imports the engine
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Likewise what is left when a module's tests are done: libraries that they were first to import."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def session(lake: Path) -> Iterator[affidavit.Session]:
    with affidavit.connect(lake, actor="tester", durability="normal") as opened:
        yield opened
    gc.collect()


@pytest.fixture
def docs(session: affidavit.Session) -> affidavit.VectorTable:
    """A vector table of 300 rows in 8 dimensions."""
    return session.create_vector_table("docs", vectors(300))


@pytest.fixture(scope="session")
def pg_server() -> Iterator[PgServer]:
    """The one PostgreSQL server of a test session."""
    server = PgServer()
    yield server
    server.cleanup()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDbServer]:
    """The one MariaDB server of a test session."""
    server = MariaDbServer()
    yield server
    server.cleanup()


@pytest.fixture(scope="session")
def web_server() -> Iterator[WebFiles]:
    """The one server of files of a test session."""
    server = WebFiles()
    yield server
    server.stop()


@pytest.fixture
def web(web_server: WebFiles) -> Iterator[WebFiles]:
    """The server of files, which has none yet."""
    web_server.clear()
    yield web_server
    web_server.clear()


@pytest.fixture
def recorder(session: affidavit.Session) -> Recorder:
    listener = Recorder()
    session.add_change_listener(listener)
    return listener


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[affidavit.Session]:
    """A session on ``docs``: 600 rows in 16 dimensions with a model, a vector and a text index."""
    lake = tmp_path_factory.mktemp("indexed")
    with affidavit.connect(
        lake, actor="ann", source="test", workspace="lab", durability="normal"
    ) as session:
        session.models.register("lengths", encode, version="3", dim=16)
        table = session.create_vector_table("docs", vectors(600, 16), model="lengths")
        table.create_index("vector", num_partitions=4, num_sub_vectors=8)
        table.create_index("text", "FTS")
        session.create_table("t", [{"id": i, "v": i} for i in range(600)], primary_key="id")
        yield session


@pytest.fixture
def topics(session):
    session.topics.register("t", SCHEMA)
    return session.topics


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(topic_log, "clock", made)
    return made
