"""P3, P7: a statement reads every table at one moment, and a search's record names that moment."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import lance
import pytest
from tests.support.beside import beside
from tests.support.lakes import vectors
from tests.support.processes import run_python
from tests.support.records import Q8, SEARCH, everything
from tests.support.waiting import eventually

import affidavit
from affidavit import errors
from affidavit.catalog.lake.staged import Staged

COUNTS = (
    "SELECT (SELECT count(*) FROM docs) AS d, (SELECT count(*) FROM notes) AS n, "
    "(SELECT count(*) FROM journal WHERE entity_type = 'docs' AND action = 'ingest') AS j"
)


@pytest.fixture
def pair(session: affidavit.Session) -> affidavit.Session:
    """A vector table of ten rows that came in one event, and a table of notes."""
    session.create_vector_table("docs", vectors(10))
    session.create_table("notes", [{"id": 0}], primary_key="id")
    return session


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What to do, in another thread, when Lance has committed and the store has not yet."""
    asked: list[Callable[[], object]] = []
    commit = Staged.commit

    def committed(self: Staged, properties: dict[str, str]) -> lance.LanceDataset:
        made = commit(self, properties)
        with ThreadPoolExecutor(1) as pool:
            while asked:
                pool.submit(asked.pop()).result(60)
        return made

    monkeypatch.setattr(Staged, "commit", committed)
    yield asked
    assert not asked, "it was done"


def version_known_at(session: affidavit.Session, seq: int) -> int:
    """Return the version of ``docs`` that the journal's entries up to one tell of."""
    told = session.sql(
        "SELECT new_value FROM journal WHERE entity_type = 'docs' AND seq <= $seq ORDER BY seq",
        seq=seq,
    ).to_pylist()
    versions = [json.loads(each["new_value"] or "{}").get("version_after") for each in told]
    return [each for each in versions if each is not None][-1]


def test_p7_what_lance_has_and_the_store_not_yet_is_seen_by_nobody(pair, between) -> None:
    seen: list[object] = []
    between.append(lambda: seen.append(pair.sql(COUNTS).to_pylist()))
    between.append(lambda: seen.append(pair.table("docs").count()))
    between.append(lambda: seen.append(pair.table("docs").version))
    rows = "SELECT rows, version FROM system.tables WHERE name = 'docs'"
    between.append(lambda: seen.append(pair.sql(rows).to_pylist()))
    pair.table("docs").insert(vectors(5, start=10))
    assert seen == [[{"rows": 10, "version": 1}], 1, 10, [{"d": 10, "n": 1, "j": 1}]]
    assert pair.sql(COUNTS).to_pylist() == [{"d": 15, "n": 1, "j": 2}]


@pytest.mark.parametrize("how", ["search", "sql"])
def test_p3_a_record_names_a_version_that_its_journal_seq_knows(pair, between, how) -> None:
    """It named the newest version, of which the journal did not tell yet."""
    if how == "search":
        between.append(lambda: pair.search("docs", Q8, k=20))
    else:
        between.append(lambda: pair.sql(f"SELECT * FROM {SEARCH}", q=Q8).to_arrow())
    pair.table("docs").insert(vectors(5, start=10))
    eventually(lambda: len(everything(pair)) == 1)
    [record] = everything(pair)
    assert record.table_version == version_known_at(pair, record.journal_seq) == 1
    assert record.k_returned == (10 if how == "search" else 3)
    assert pair.audit.replay(record.query_id, Q8).outcome == "REPRODUCED"


@pytest.mark.slow
def test_p3_p7_statements_beside_a_writer_are_never_torn(pair) -> None:
    stop = threading.Event()

    def write() -> None:
        at = 0
        while not stop.is_set():
            at += 1
            pair.table("docs").insert(vectors(1, start=100 + at))
            pair.sql("INSERT INTO notes VALUES ($at)", at=at)
            if at % 10 == 0:
                pair.table("docs").optimize()

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            for _ in range(60):
                found = pair.sql(COUNTS).to_pylist()[0]
                assert found["d"] == 10 + found["j"] - 1
                assert found["n"] - 1 in {found["j"] - 1, found["j"] - 2}
                pair.search("docs", Q8, k=1)
                pair.sql(f"SELECT * FROM {SEARCH}", q=Q8).to_arrow()
        finally:
            stop.set()
        writer.result(60)
    eventually(lambda: len(everything(pair)) == 120)
    for record in everything(pair)[::10]:
        assert record.table_version == version_known_at(pair, record.journal_seq)


def test_p7_every_change_of_a_vector_table_shows_its_version(pair) -> None:
    docs = pair.table("docs")

    def newest() -> int:
        return lance.dataset(docs.to_lance().uri).version

    for change in (
        lambda: docs.insert(vectors(300, start=10)),
        lambda: docs.upsert(vectors(2, start=5)),
        lambda: docs.update({"bucket": 1}, where="id = 3"),
        lambda: docs.delete("id = 3"),
        lambda: docs.create_index("vector", "IVF_FLAT", num_partitions=1),
        lambda: docs.create_index("bucket", "BTREE"),
        lambda: pair.sql("ALTER TABLE docs ADD COLUMN more INT"),
        lambda: pair.sql("ALTER TABLE docs RENAME COLUMN more TO less"),
        lambda: pair.sql("ALTER TABLE docs DROP COLUMN less"),
        lambda: pair.sql("INSERT INTO docs SELECT id + 1000, text, bucket, vector FROM docs"),
        lambda: docs.restore(2),
        lambda: docs.optimize(cleanup_older_than=timedelta(0)),
        lambda: pair.sql("TRUNCATE docs"),
    ):
        change()
        assert docs.version == newest()
    pair.sql("ALTER TABLE docs RENAME TO papers")
    assert pair.table("papers").version == newest_of(pair, "papers")


def newest_of(session: affidavit.Session, name: str) -> int:
    return int(lance.dataset(session.table(name).to_lance().uri).version)


def test_p7_a_listener_that_refuses_an_index_leaves_the_rows_seen(pair) -> None:
    class Refuse:
        def on_change(self, change: affidavit.Change, _writer: object) -> None:
            if change.action == "index":
                raise ValueError("not today")

    pair.add_change_listener(Refuse())
    with pytest.raises(ValueError, match="not today"):
        pair.table("docs").create_index("bucket", "BTREE")
    assert pair.table("docs").indexes() == []
    assert pair.table("docs").version == newest_of(pair, "docs")
    assert pair.table("docs").count() == 10


KILLED = """
import os, signal, sys
import affidavit, pyarrow as pa
from affidavit.catalog.lake.staged import Staged

commit = Staged.commit

def killed(self, properties):
    commit(self, properties)
    os.kill(os.getpid(), signal.SIGKILL)

with affidavit.connect(sys.argv[1], durability="normal", journal=sys.argv[2] == "True") as session:
    docs = session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
    Staged.commit = killed
    docs.insert([{"id": 2, "vector": [3.0, 4.0]}])
"""


@pytest.mark.parametrize("journal", [True, False])
def test_p7_a_change_that_lance_has_when_the_process_dies_is_seen_by_the_next(
    lake, journal
) -> None:
    run_python(KILLED, lake, journal, status=-9)
    with affidavit.connect(lake, read_only=True, durability="normal") as reader:
        assert reader.table("docs").count() == 1, "nobody settled it yet"
    with affidavit.connect(lake, durability="normal", journal=False) as session:
        assert session.table("docs").count() == 2
        assert session.sql("SELECT rows FROM system.tables").to_pylist() == [{"rows": 2}]
        assert session.table("docs").version == newest_of(session, "docs") == 2


def test_a_table_of_an_older_lake_is_seen_as_it_is_newest_until_it_is_written(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(10))
        session.table("docs").insert(vectors(5, start=10))
    with beside(lake) as store:
        assert store.execute("UPDATE tables SET data_version = NULL").rowcount == 1
        store.execute("DELETE FROM files")  # nor were files listed then
    with affidavit.connect(lake, durability="normal") as session:
        assert session.sql("SELECT count(*) AS n FROM docs").to_pylist() == [{"n": 15}]
        session.table("docs").delete("id = 0")
        assert session.table("docs").version == 3
    with beside(lake) as store:
        assert store.execute("SELECT data_version FROM tables").fetchall() == [(3,)]


def test_a_version_that_the_catalog_names_and_lance_has_not_is_no_other(lake) -> None:
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("docs", vectors(10))
    with beside(lake) as store:
        store.execute("UPDATE tables SET data_version = 7")
    with affidavit.connect(lake, durability="normal") as session:
        for read in (
            lambda: session.sql("SELECT count(*) FROM docs").to_arrow(),
            lambda: session.search("docs", Q8),
            lambda: session.table("docs").count(),
        ):
            with pytest.raises(errors.StoreError, match="version 7 of vector table 'docs'.*is 1"):
                read()
