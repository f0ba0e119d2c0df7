"""P18: what is kept for a time is let go of when that is over, and what is held stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.beside import beside

import affidavit
from affidavit import errors
from affidavit.catalog.erasure.kinds import Due
from affidavit.catalog.model import clock
from affidavit.engine.reads import recording

DAY_US = 86_400_000_000


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the clock of records be so many days ahead."""
    ahead, now_us = [0], clock.now_us
    monkeypatch.setattr(clock, "now_us", lambda: now_us() + ahead[0] * DAY_US)
    return ahead


def connect(lake: Path, **options: object) -> affidavit.Session:
    given = {"actor": "owner", "durability": "normal", "store_queries": True, "audit": "rows"}
    return affidavit.connect(lake, **{**given, **options})  # type: ignore[arg-type]  # as given


def fill(session: affidavit.Session, at: int) -> None:
    """Leave something of every kind."""
    if at == 0:
        session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, v VARCHAR)")
        session.create_vector_table("docs", [{"id": 0, "vector": [1.0, 0.0]}])
        session.triggers.on("t", "insert", publish="told")
        session.topics.register("own", {"n": "int64"})
    session.sql(f"INSERT INTO t VALUES ({at}, 'value {at}')")
    session.sql("SELECT * FROM t").to_arrow()
    session.search("docs", [1.0, 0.0])
    session.table("docs").upsert([{"id": 0, "vector": [1.0, float(at)]}])
    session.topics.publish("own", [{"n": at}])
    session.journal.flush()


KINDS = (
    "journal", "searches", "reads", "records", "statements", "topics", "dead_letters", "versions",
)  # fmt: skip

APART = {"versions", "records"}
"""Lance's own clock says how old versions are; records go with all that searches and reads have."""


@pytest.fixture
def session(tmp_path: Path, days: list[int]) -> Iterator[affidavit.Session]:
    with connect(tmp_path / "lake") as session:
        for at in range(4):
            days[0] = at * 10
            fill(session, at)
        yield session


def test_p18_a_run_lets_go_of_what_is_older_and_reports(session: affidavit.Session) -> None:
    for what in KINDS:
        if what not in APART:
            session.retention.set(what, keep="15d", reason="policy 7")
    before = {
        "journal": session.journal.stats()["total_events_created"],
        "statements": session.sql("SELECT count(*) AS n FROM audit.statements").to_pylist()[0]["n"],
    }
    told = {each.what: each for each in session.retention.run()}
    assert {name for name, each in told.items() if each.let_go} == {
        "journal", "searches", "reads", "statements", "topics",
    }  # fmt: skip
    assert session.journal.stats()["total_events_created"] >= before["journal"]
    left = session.sql("SELECT count(*) AS n FROM audit.statements").to_pylist()[0]["n"]
    assert 0 < left < before["statements"] + 3
    seen = [row for d in session.topics.replay("own") for row in d.data.to_pylist()]
    assert seen == [{"n": 2}, {"n": 3}]
    searches = session.sql(
        "SELECT query_vector IS NULL AS gone FROM audit.searches ORDER BY seq"
    ).to_pylist()
    assert [row["gone"] for row in searches] == [True, True, False, False]
    assert session.ledger.verify(data=True)
    shown = session.sql("SELECT what, keep, ran_at IS NULL AS never FROM system.retention")
    assert {row["what"] for row in shown.to_pylist() if not row["never"]} == {*KINDS} - APART
    again = session.retention.run()
    assert [each.let_go for each in again] == [0] * len(again)


def test_p18_what_is_left_verifies_and_can_be_written_on(
    session: affidavit.Session, tmp_path: Path, days: list[int]
) -> None:
    for what in KINDS:
        session.retention.set(what, keep="1d")
    session.retention.run()
    days[0] += 20
    fill(session, 9)
    session.retention.run("statements")
    assert session.ledger.verify(data=True)
    session.close()
    with connect(tmp_path / "lake") as opened:
        assert opened.ledger.verify(data=True)
        assert {each.what for each in opened.retention} == set(KINDS)


def test_p18_whole_segments_of_records_go(session: affidavit.Session) -> None:
    count = "SELECT count(*) AS n FROM audit.searches"
    [before] = session.sql(count).to_pylist()
    for keep, is_left in (("15d", True), ("0s", False)):
        session.retention.set("records", keep=keep, reason="policy 7")
        [told] = session.retention.run("records")
        assert told.let_go > 0
        [after] = session.sql(count).to_pylist()
        assert bool(after["n"]) == is_left
        assert after["n"] < before["n"]
        assert session.ledger.verify(data=True)
        assert session.ledger.prove(1)


def test_p18_old_versions_of_vector_tables_are_deleted(session: affidavit.Session) -> None:
    session.audit.release(dt.datetime.now(dt.UTC) + dt.timedelta(days=300), reason="policy 7")
    session.retention.set("table versions", keep="0s")
    [told] = session.retention.run()
    assert (told.what, told.let_go > 0) == ("versions", True)
    assert len(session.table("docs").versions()) == 1
    assert session.ledger.verify(data=True)


def test_p18_what_is_held_stays(session: affidavit.Session) -> None:
    session.hold("t", 0, case="court 4/26")
    session.hold("docs", case="court 5/26")
    for what in KINDS:
        session.retention.set(what, keep="1d")
    told = {each.what: each for each in session.retention.run()}
    for what in ("journal", "reads", "statements", "topics", "versions"):
        assert told[what].held, what
    assert session.journal.history(0).to_pylist()
    assert session.ledger.verify(data=True)
    session.release_hold("t", 0, case="court 4/26")
    session.release_hold("docs", case="court 5/26")
    assert {each.what: bool(each.held) for each in session.retention.run()} == dict.fromkeys(
        sorted(KINDS), False
    )
    assert session.ledger.verify(data=True)


def test_p18_one_topic_has_a_retention_of_its_own(session: affidavit.Session) -> None:
    session.retention.set("topics.own", keep=dt.timedelta(days=5))
    [told] = session.retention.run("topics.own")
    assert (told.what, told.let_go) == ("topics.own", 3)
    assert len(list(session.topics.replay("told"))) == 4


def test_p18_what_one_topic_keeps_goes_before_what_topics_keep(
    session: affidavit.Session, days: list[int]
) -> None:
    days[0] = 31
    session.retention.set("topics", "1d")
    session.retention.set("topics.own", "6y")
    runs = {run.what: run.let_go for run in session.retention.run()}
    assert (runs["topics"] > 0, runs["topics.own"]) == (True, 0)
    assert len(list(session.topics.replay("own"))) == 4


def test_p18_a_hold_that_comes_meanwhile_keeps_all(
    session: affidavit.Session, days: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    days[0] = 365
    held = Due.held

    def hold_next(due: Due) -> object:
        found = held(due)
        session.hold("t", 1, case="court 4/26")
        return found

    for what in ("journal", "reads", "records"):
        session.retention.set(what, "1d")
        with monkeypatch.context() as patched:
            patched.setattr(Due, "held", hold_next)
            with pytest.raises(errors.HoldError, match="run it again"):
                session.retention.run(what)
        session.release_hold("t", 1, case="court 4/26")
        assert session.retention.run(what)[0].let_go > 0


def test_p18_a_record_that_names_no_rows_stays_where_every_row_is_held(
    session: affidavit.Session, days: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more keys than it names a record has the root alone, of ``reads`` not even that."""
    monkeypatch.setattr(recording, "IDS_MAX", 2)
    session.sql("SELECT * FROM t").to_arrow()
    read = session.sql("SELECT count(*) FROM t")
    read.to_arrow()
    days[0] = 365
    session.retention.set("reads", "1d")
    for key in (1, None):
        session.hold("t", key, case="court 4/26")
    held = session.retention.run("reads")[0].held
    assert f"record {read.receipt.seq}" in held
    session.release_hold("t", None, case="court 4/26")
    held = session.retention.run("reads")[0].held
    assert len(held) >= 2


def test_p18_rows_of_the_log_that_are_taken_away_are_missed(
    session: affidavit.Session, tmp_path: Path
) -> None:

    session.retention.set("statements", keep="15d")
    session.retention.run()
    session.close()
    with beside(tmp_path / "lake") as store:
        store.execute("DELETE FROM statements WHERE _rowid = (SELECT min(_rowid) FROM statements)")
    with connect(tmp_path / "lake") as opened:
        assert "of the log of statements" in str(opened.ledger.verify())


@pytest.mark.parametrize(
    ("what", "keep"),
    [
        ("nothing", "6y"), ("journal.x", "6y"), ("topics.", "6y"), (None, "6y"), ("journal", "6"),
        ("journal", "-1d"), ("journal", "1001y"), ("journal", 6), ("journal", "six years"),
        ("journal", dt.timedelta(days=-1)),
    ],
)  # fmt: skip
def test_p18_what_is_no_kind_or_no_duration_is_refused(tmp_path: Path, what, keep) -> None:
    with connect(tmp_path / "lake") as session:
        with pytest.raises(errors.InvalidQueryError):
            session.retention.set(what, keep=keep)
        assert session.retention.list() == []
        with pytest.raises(errors.RecordNotFoundError, match="kept for ever"):
            session.retention.run("journal")
        session.retention.set("journal", keep="6y")
        session.retention.set("journal", keep=None)
        assert session.retention.list() == []


def test_p18_each_tenant_has_its_own(tmp_path: Path) -> None:
    with connect(tmp_path / "lake") as session, session.scope(tenant="red") as red:
        red.retention.set("journal", keep="6y")
        assert session.retention.list() == []
        assert session.sql("SELECT * FROM system.retention").to_pylist() == []
        assert [str(each.keep) for each in red.retention] == ["6y"]
