"""What a record says of how tables are read: the same, whoever tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import affidavit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 1_500
"""More than are read whole while a statement is planned, so that they are scanned."""

STATEMENTS = [
    "SELECT * FROM t WHERE id = 7",
    "SELECT name FROM t WHERE id = 7",
    "SELECT name FROM t WHERE value > 3 AND id < 9",
    "SELECT id + 1 AS more FROM t WHERE name LIKE '%7' LIMIT 5",
    "SELECT u.value FROM main.t AS u WHERE u.id IN (1, 2)",
    "SELECT 1 AS one FROM t WHERE id < 3",
    "SELECT count(*) FROM t",
    "SELECT name FROM t ORDER BY id LIMIT 3",
    "SELECT a.name FROM t AS a JOIN t AS b ON a.id = b.value WHERE b.id < 5",
    "SELECT name FROM t WHERE id = (SELECT max(id) FROM other)",
    "SELECT t.name, other.value FROM t, other WHERE t.id = other.id AND t.id < 4",
    "SELECT * FROM seen",
    "SELECT * FROM seen_in_order",
    "SELECT DISTINCT value FROM t WHERE id < 3",
    "SELECT id FROM t WHERE id < 3 UNION ALL SELECT id FROM other WHERE id < 3",
]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[affidavit.Session]:
    rows = [{"id": at, "name": f"name {at}", "value": at % 7} for at in range(ROWS)]
    with affidavit.connect(tmp_path / "lake", audit="reads") as session:
        session.create_table("t", rows, primary_key="id")
        session.create_table("other", rows, primary_key="id")
        session.sql("CREATE VIEW seen AS SELECT name FROM t WHERE id < 2")
        session.sql("CREATE VIEW seen_in_order AS SELECT name FROM t WHERE id < 2 ORDER BY name")
        yield session


def told(session: affidavit.Session, text: str) -> list[Any]:
    """Return what the record of a read says of its tables."""
    receipt = session.sql(text)
    receipt.to_arrow()
    assert receipt.receipt is not None
    record = session.audit.get_read(receipt.receipt.read_id)
    tables = [{**each, "columns": sorted(each["columns"])} for each in record.tables]
    return [record.is_ordered, record.rows_returned, tables]


@pytest.mark.parametrize("policy", ["reads", "rows"])
@pytest.mark.parametrize("text", STATEMENTS)
def test_a_record_says_the_same_whether_its_tables_are_asked_or_its_plan(
    session, monkeypatch, text: str, policy: str
) -> None:
    """Plans that need not be optimised to be told were told by an optimised one at first."""
    session.table("t").audit = policy
    found = told(session, text)
    monkeypatch.setattr("affidavit.engine.plan.scanned.tells_itself", lambda *_: False)
    assert told(session, text) == found


@pytest.mark.parametrize("text", STATEMENTS[:6])
def test_a_plain_plan_is_not_optimised_to_be_told(session, monkeypatch, text: str) -> None:
    def optimized(*_: object) -> None:
        raise AssertionError(text)

    monkeypatch.setattr("affidavit.engine.plan.planner.Planner.optimized", optimized)
    assert told(session, text)[2][0]["columns"] is not None


def test_records_with_queries_have_the_conditions(tmp_path) -> None:
    rows = [{"id": at} for at in range(ROWS)]
    with affidavit.connect(tmp_path / "lake", audit="reads", store_queries=True) as session:
        session.create_table("t", rows, primary_key="id")
        [table] = told(session, "SELECT * FROM t WHERE id = 7")[2]
    assert table["filter"] == "t.id = Int64(7)"


@pytest.mark.sqlite("its log is measured")
def test_the_stores_log_does_not_grow_with_reads_on_record(session, tmp_path) -> None:
    """A record waited for the writer while its statement still read: the log never began anew."""
    log = tmp_path / "lake" / "catalog.db-wal"
    for at in range(100):
        session.sql("SELECT * FROM t WHERE id = $id", id=at).to_arrow()
    before = log.stat().st_size
    for at in range(250):
        session.sql("SELECT * FROM t WHERE id = $id", id=at).to_arrow()
    assert log.stat().st_size < before + 2_000_000
