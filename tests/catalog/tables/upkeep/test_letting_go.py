"""Old versions go once they were replaced long enough ago, and whoever may ask finds the others."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from tests.support.lakes import vectors
from tests.support.processes import run_python

import affidavit
from affidavit.catalog.tables.upkeep.letting_go import ago, let_go_of_versions, replaced_before
from affidavit.catalog.tables.vector_rows import locked

KILLED = """
import os, signal, sys, threading
from pathlib import Path
import affidavit, lance

path, when = sys.argv[1:]
clean = lance.LanceDataset.cleanup_old_versions
def kill(): os.kill(os.getpid(), signal.SIGKILL)
def killed(self, **options):
    if when == "before":
        kill()
    if when == "amid":
        home = Path(path, "vectors", "default", "docs.lance")
        there = sum(1 for _ in home.rglob("*"))
        threading.Thread(target=clean, args=(self,), kwargs={**options, "delete_rate_limit": 20}).start()
        while sum(1 for _ in home.rglob("*")) == there:
            pass
        kill()
    clean(self, **options)
    kill()
lance.LanceDataset.cleanup_old_versions = killed
with affidavit.connect(path) as session:
    session.retention.set("versions", "0s")
    session.retention.run()
"""

NOON = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)


@pytest.fixture
def docs(session: affidavit.Session) -> affidavit.VectorTable:
    """A table with five versions, of one row to five."""
    table = session.create_vector_table("docs", vectors(1))
    for at in range(1, 5):
        table.insert(vectors(1, start=at))
    return table


def _let_go(session: affidavit.Session, moment: dt.datetime) -> list[int]:
    catalog = session._catalog()
    with catalog.read() as reader:
        info = catalog.get(reader, "docs")
    with locked(catalog, info, "deleting old versions") as (now, dataset):
        return let_go_of_versions(catalog, now, dataset, moment)


def _counted(session: affidavit.Session, version: int) -> int:
    text = f"SELECT count(*) AS n FROM as_of('docs', version => {version})"
    return session.sql(text).to_pylist()[0]["n"]


def test_what_was_shown_at_the_moment_stays_however_old_it_is(session, docs) -> None:
    times = {each["version"]: each["timestamp"].astimezone(dt.UTC) for each in docs.versions()}
    first, _, third, *_ = sorted(times)
    between = times[third] + (times[third + 1] - times[third]) / 2
    assert _let_go(session, between) == [first, first + 1]
    assert [_counted(session, version) for version in sorted(times)[2:]] == [3, 4, 5]
    with pytest.raises(affidavit.errors.AffidavitError):
        _counted(session, first)
    assert session.ledger.verify(data=True)


def test_the_newest_version_and_those_with_a_tag_stay(session, docs) -> None:
    found = session.search("docs", [1.0] * 8, k=2)
    kept = docs.version
    docs.insert(vectors(1, start=9))
    assert kept not in _let_go(session, dt.datetime.now(dt.UTC))
    assert [each["version"] for each in docs.versions()] == [kept, kept + 1]
    assert session.audit.replay(found.query_id, [1.0] * 8).outcome == affidavit.Outcome.REPRODUCED
    assert _let_go(session, dt.datetime.now(dt.UTC)) == []


def test_a_version_is_as_old_as_the_next_one() -> None:
    hour = dt.timedelta(hours=1)
    versions = [(7, NOON), (3, NOON - 2 * hour), (4, NOON - hour)]
    assert replaced_before(versions, NOON) == [3, 4]
    assert replaced_before(versions, NOON - hour / 2) == [3]
    assert replaced_before(versions, NOON - 2 * hour) == []
    assert replaced_before([], NOON) == []


def test_nothing_is_older_than_time() -> None:
    assert replaced_before([(1, NOON), (2, NOON)], ago(dt.timedelta.max)) == []


@pytest.mark.crash
@pytest.mark.parametrize("when", ["before", "amid", "after"])
def test_a_kill_leaves_a_table_that_is_read_and_verified(lake: Path, when: str) -> None:
    with affidavit.connect(lake) as session:
        docs = session.create_vector_table("docs", vectors(1))
        for at in range(1, 12):
            docs.insert(vectors(1, start=at))
    run_python(KILLED, lake, when, status=-9)
    with affidavit.connect(lake) as session:
        docs = session.table("docs")
        assert docs.count() == session.search("docs", [1.0] * 8, k=99).num_rows == 12
        docs.insert(vectors(1, start=12))
        assert session.ledger.verify(data=True)
        session.retention.run()
        assert len(docs.versions()) == 2, "the newest, and what the search read"
        assert session.ledger.verify(data=True)
