"""Small writes of vector tables are put together, and nobody finds anything else than before."""

from __future__ import annotations

import pytest
from tests.support.lakes import Recorder as Listener
from tests.support.lakes import events, vectors

import affidavit
from affidavit.catalog.lake.vectors.dataset_files import FIRST, files_of
from affidavit.catalog.lake.vectors.writes import SMALL_MAX, SMALL_ROWS, SmallWrites
from affidavit.catalog.tables.files import listed
from affidavit.catalog.tables.upkeep import gathering
from affidavit.catalog.tables.upkeep.gathering import gather_due, has_small_writes

Q8 = [1.0] * 8


@pytest.fixture
def docs(session: affidavit.Session, monkeypatch: pytest.MonkeyPatch) -> affidavit.VectorTable:
    """A table that has had so many small writes that they are due, and nobody looked after."""
    lake = session._instance.lake
    monkeypatch.setattr(lake.writes, "_on_due", lambda: None)
    table = session.create_vector_table("docs", vectors(SMALL_ROWS))
    table.create_index("vector")
    table.create_index("text", "FTS")
    for at in range(SMALL_MAX):
        table.insert(vectors(1, start=5000 + at, seed=at))
    return table


def _dataset(session: affidavit.Session):
    catalog = session._catalog()
    with catalog.read() as reader:
        info = catalog.get(reader, "docs")
        return info, catalog.lake.datasets.visible(info), listed(reader, info)


def test_small_writes_are_put_together_and_the_rest_stays_as_it_is(session, docs) -> None:
    rows, found = docs.to_arrow(), session.search("docs", Q8, k=40)
    before, noted = _dataset(session)[1], events(session)
    assert has_small_writes(before)
    assert not gather_due(session._instance.lake)
    after = _dataset(session)[1]
    assert not has_small_writes(after)
    assert len(after.get_fragments()) == 2
    assert after.get_fragments()[0].metadata.files == before.get_fragments()[0].metadata.files
    assert docs.to_arrow().sort_by("id") == rows.sort_by("id")
    assert session.search("docs", Q8, k=40).to_arrow() == found.to_arrow()
    assert session.audit.replay(found.query_id, Q8).outcome == affidavit.Outcome.REPRODUCED
    assert events(session) == noted + 1
    [event] = session.sql("SELECT action FROM journal ORDER BY seq DESC LIMIT 1").to_pylist()
    assert event["action"].lower() == "optimize"
    assert session.ledger.verify(data=True)


def test_what_was_written_is_found_at_every_moment(session, docs) -> None:
    version = docs.version
    gather_due(session._instance.lake)
    docs.delete(keys=[5000])
    docs.upsert(vectors(3, start=5001))
    counted = f"SELECT count(*) AS n FROM as_of('docs', version => {version})"
    assert session.sql(counted).to_pylist() == [{"n": SMALL_ROWS + SMALL_MAX}]
    assert docs.count() == SMALL_ROWS + SMALL_MAX - 1
    assert session.ledger.verify(data=True)


def test_the_files_of_a_change_are_those_that_looking_for_them_finds(session, docs) -> None:
    docs.upsert(vectors(2, start=5000))
    docs.delete(keys=[5003])
    docs.delete(keys=[0, 1, 5004])
    gather_due(session._instance.lake)
    docs.insert(vectors(2, start=9000))
    info, _, known = _dataset(session)
    there = files_of(session._instance.lake.datasets.path(info))
    assert {path: size for path, (size, _) in known.items() if path != FIRST} == there


def test_what_was_put_together_is_written_anew_only_with_as_many_rows(session, docs) -> None:
    sizes = []
    for at in range(6000, 6004):
        gather_due(session._instance.lake)
        sizes.append([each.physical_rows for each in _dataset(session)[1].get_fragments()[1:]])
        for row in range(SMALL_MAX):
            docs.insert(vectors(1, start=at * SMALL_MAX + row))
    assert sizes == [[16], [32], [32, 16], [64]]
    assert docs.count() == SMALL_ROWS + 5 * SMALL_MAX


def test_a_listener_may_refuse_it_and_writes_go_on(session, docs) -> None:
    rows, listener = docs.to_arrow(), Listener()
    listener.refuse = "optimize"
    session.add_change_listener(listener)
    assert not gather_due(session._instance.lake)
    assert docs.to_arrow() == rows
    docs.insert(vectors(1, start=9000))
    assert docs.count() == rows.num_rows + 1


def test_who_writes_goes_first(session, docs, monkeypatch) -> None:
    monkeypatch.setattr(gathering, "WAIT_S", 0.0)
    lake = session._instance.lake
    info = _dataset(session)[0]
    with lake.store.lock(info.table_id):
        assert gather_due(lake)
    assert not gather_due(lake)
    assert not has_small_writes(_dataset(session)[1])


def test_a_table_that_was_dropped_is_let_go(session, docs) -> None:
    session.drop_table("docs")
    assert not gather_due(session._instance.lake)


def test_rows_that_no_index_has_are_taken_in_once_they_are_many(session, docs, monkeypatch) -> None:
    monkeypatch.setattr(gathering, "UNINDEXED_MAX", SMALL_MAX)
    gather_due(session._instance.lake)
    told = {each.name: each.num_rows_indexed for each in _dataset(session)[1].describe_indices()}
    assert told["vector_idx"] == SMALL_ROWS + SMALL_MAX
    found = session.search("docs", vectors(1, seed=3)["vector"][0].as_py(), k=1)
    assert found.to_pylist()[0]["id"] == 5003
    assert session.search("docs", "word0", k=99, mode="text").num_rows


def test_large_writes_are_not_counted() -> None:
    asked: list[int] = []
    writes = SmallWrites(lambda: asked.append(1))
    info = type("Info", (), {"tenant": "t", "table_id": "a"})()
    for _ in range(SMALL_MAX):
        writes.wrote(info, SMALL_ROWS)
    assert writes.due() == []
    for _ in range(SMALL_MAX):
        writes.wrote(info, 1)
    assert [each.table_id for each in writes.due()] == ["a"]
    assert asked == [1]
    writes.looked_after(writes.due()[0])
    assert writes.due() == []
