"""What the promises' tests share: a store that can fail, and ledgers to forge."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.faults import Faulty
from tests.support.forging import Store, attack, make_big, make_small
from tests.support.lakes import vectors
from tests.support.records import Q8
from tests.support.stores import only_sqlite

import affidavit
from affidavit.engine.session.housekeeping import Housekeeper


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, lake: Path) -> Iterator[affidavit.Session]:
    """A session whose store can be made to fail, and nothing but the test calls it."""
    only_sqlite("its calls are made to fail")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **kw: connect(*a, factory=Faulty, **kw))
    monkeypatch.setattr(Housekeeper, "wake", lambda _: None)
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(50))
        session.create_table("t", [{"id": i, "v": i} for i in range(50)], primary_key="id")
        session.search("docs", Q8)
        yield session
        Faulty.left, Faulty.lasting = None, False


@pytest.fixture(scope="session")
def small_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small(tmp_path_factory.mktemp("small") / "lake")


@pytest.fixture(scope="session")
def big_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_big(tmp_path_factory.mktemp("big") / "lake")


@pytest.fixture
def small(small_lake: Path, tmp_path: Path) -> Iterator[Store]:
    with attack(shutil.copytree(small_lake, tmp_path / "small")) as store:
        yield store


@pytest.fixture
def big(big_lake: Path, tmp_path: Path) -> Iterator[Store]:
    with attack(shutil.copytree(big_lake, tmp_path / "big")) as store:
        yield store
