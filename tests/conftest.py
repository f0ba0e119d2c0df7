"""What the tests share: a lake in a temporary folder and sessions on it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

import affidavit
from tests.support.lakes import Recorder, vectors
from tests.support.mariadb_server import MariaDbServer
from tests.support.pg_server import PgServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

settings.register_profile(
    "default",
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("default")


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


@pytest.fixture
def recorder(session: affidavit.Session) -> Recorder:
    listener = Recorder()
    session.add_change_listener(listener)
    return listener
