"""What the promises' tests share: a session whose store can fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.faults import Faulty
from tests.support.lakes import vectors
from tests.support.records import Q8

import affidavit
from affidavit.engine.session.housekeeping import Housekeeper


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, lake: Path) -> Iterator[affidavit.Session]:
    """A session whose store can be made to fail, and nothing but the test calls it."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **kw: connect(*a, factory=Faulty, **kw))
    monkeypatch.setattr(Housekeeper, "wake", lambda _: None)
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
        session.create_table("t", [{"id": i, "v": i} for i in range(50)], primary_key="id")
        session.search("docs", Q8)
        yield session
        Faulty.left, Faulty.lasting = None, False
