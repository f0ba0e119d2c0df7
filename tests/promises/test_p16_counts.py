"""P16: whoever may write cannot ask for values by counts that leave no event."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

import affidavit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from affidavit import Session

ROWS = [{"id": 1, "x": "a", "f": math.nan}, {"id": 2, "x": "b", "f": 1.0}]


@pytest.fixture
def audited(lake: Path) -> Iterator[Session]:
    with affidavit.connect(lake, audit="statements", store_queries=True) as session:
        session.create_table("t", ROWS, primary_key="id")
        session.create_vector_table("v", [{"id": "a", "vector": [0.0, 1.0]}])
        session.table("t").audit = "rows"
        session.table("v").audit = "reads"
        yield session


def reads(session: Session) -> list[dict[str, Any]]:
    text = "SELECT kind, status, rows_returned, tables[1]['name'] AS name FROM audit.reads"
    return session.sql(text).to_pylist()


@pytest.mark.parametrize(
    ("text", "kind", "count"),
    [
        ("UPDATE t SET x = x WHERE x = 'b'", "update", 1),
        ("UPDATE t SET x = 'a' WHERE id = 1", "update", 1),
        ("UPDATE t SET f = f", "update", 2),
        ("UPDATE t SET x = 'z' WHERE x = 'nobody'", "update", 0),
        ("DELETE FROM t WHERE x = 'nobody'", "delete", 0),
        ("DELETE FROM v WHERE id = 'nobody'", "delete", 0),
        ("INSERT INTO t VALUES (1, 'q', 0) ON CONFLICT (id) DO NOTHING", "insert", 0),
        (
            "MERGE INTO t USING (SELECT 9 AS id) AS s ON t.id = s.id AND t.x = 'nobody' "
            "WHEN MATCHED THEN DELETE",
            "merge",
            0,
        ),
        (
            "MERGE INTO t USING (SELECT 2 AS id) AS s ON t.id = s.id AND t.x = 'b' "
            "WHEN MATCHED THEN UPDATE SET x = t.x",
            "merge",
            1,
        ),
        (
            "INSERT INTO t VALUES (2, 'q', 0) ON CONFLICT (id) DO UPDATE SET x = t.x "
            "WHERE t.x = 'b'",
            "insert",
            1,
        ),
    ],
)
def test_p16_a_count_that_is_all_that_tells_of_it_is_a_read_of_the_target(
    audited: Session, text: str, kind: str, count: int
) -> None:
    events = audited.sql("SELECT count(*) AS n FROM system.ledger WHERE kind = 'event'").to_pylist()
    assert audited.sql(text).rows_affected == count
    name = "main.v" if " v " in text else "main.t"
    told = [each for each in reads(audited) if each["kind"] == kind]
    assert told == [{"kind": kind, "status": "ok", "rows_returned": count, "name": name}]
    now = audited.sql("SELECT count(*) AS n FROM system.ledger WHERE kind = 'event'").to_pylist()
    assert now == events
    assert audited.ledger.verify(progress=False)


def test_p16_the_keys_of_rows_that_were_only_matched_are_told(audited: Session) -> None:
    audited.sql("UPDATE t SET x = x WHERE x = 'b'")
    rows = audited.sql("SELECT row_id, how, table_name FROM audit.read_rows").to_pylist()
    assert rows == [{"row_id": "2", "how": "returned", "table_name": "t"}]
    [found] = audited.audit.received("2", table="t", reads=True)
    assert found.text == "UPDATE t SET x = x WHERE x = 'b'"


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.sql("UPDATE t SET x = 'z' WHERE x = 'b'"),
        lambda session: session.sql("DELETE FROM t WHERE x = 'b'"),
        lambda session: session.sql("INSERT INTO t VALUES (3, 'c', 0)"),
    ],
)
def test_p16_a_change_is_told_by_its_events(
    audited: Session, change: Callable[[Session], object]
) -> None:
    change(audited)
    assert reads(audited) == []


def test_p16_handles_are_the_same_door(audited: Session) -> None:
    assert audited.table("t").delete("x = 'nobody'") == 0
    assert audited.table("t").update({"x": "a"}, "id = 1") == 1
    assert [each["kind"] for each in reads(audited)] == ["delete", "update"]


def test_p16_what_returning_gives_is_on_record_once(audited: Session) -> None:
    result = audited.sql("UPDATE t SET x = x WHERE x = 'b' RETURNING id")
    assert result.to_pylist() == [{"id": 2}]
    assert len(reads(audited)) == 1


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
def test_p16_a_count_in_a_transaction_stays_on_record_however_it_ends(
    audited: Session, ends: str
) -> None:
    audited.sql("BEGIN")
    audited.sql("INSERT INTO t VALUES (7, 'new', 0)")
    assert audited.sql("UPDATE t SET x = x WHERE x = 'b'").rows_affected == 1
    audited.sql(ends)
    assert [(each["kind"], each["rows_returned"]) for each in reads(audited)] == [("update", 1)]
    assert audited.ledger.verify(progress=False)


def test_p16_without_a_policy_no_count_is_on_record(lake: Path) -> None:
    with affidavit.connect(lake, audit="statements") as session:
        session.create_table("t", ROWS, primary_key="id")
        session.sql("UPDATE t SET x = x")
        assert session.sql("DELETE FROM t WHERE id = 99").rows_affected == 0
        assert reads(session) == []
