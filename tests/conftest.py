"""What the tests share: a lake in a temporary folder and sessions on it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings

import affidavit
from tests.mariadb_server import MariaDbServer
from tests.pg_server import PgServer

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


def vectors(rows: int, dimension: int = 8, *, start: int = 0, seed: int = 7) -> pa.Table:
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, dimension)).astype(np.float32)
    return pa.table(
        {
            "id": pa.array(range(start, start + rows), pa.int64()),
            "text": [f"word{i} of {'even' if i % 2 == 0 else 'odd'} row" for i in range(rows)],
            "bucket": pa.array([i % 10 for i in range(rows)], pa.int32()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), dimension),
        }
    )


def events(session: affidavit.Session) -> int:
    """Return how many of the ledger's entries are events of the journal: every change adds some."""
    return session.journal.stats()["total_events_created"]


class Recorder:
    """A change listener that keeps what it saw, or refuses."""

    def __init__(self) -> None:
        self.changes: list[affidavit.Change] = []
        self.refuse: str | None = None

    def on_change(self, change: affidavit.Change, writer: object) -> None:
        if self.refuse is not None and change.action == self.refuse:
            msg = f"no {change.action} today"
            raise RuntimeError(msg)
        self.changes.append(change)

    @property
    def actions(self) -> list[str]:
        return [change.action for change in self.changes]


@pytest.fixture
def recorder(session: affidavit.Session) -> Recorder:
    listener = Recorder()
    session.add_change_listener(listener)
    return listener
