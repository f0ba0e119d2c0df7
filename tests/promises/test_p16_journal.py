"""P16: who reads rows out of the journal reads them, and their keys are on record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import affidavit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from affidavit import Session


@pytest.fixture
def audited(lake: Path) -> Iterator[Session]:
    """A lake with a table whose rows are on record, one whose reads are, and one of vectors."""
    with affidavit.connect(lake, audit="statements") as session:
        session.create_table("secret", [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}], primary_key="id")
        session.create_table("plain", [{"id": 3, "x": "c"}], primary_key="id")
        session.create_vector_table("docs", [{"id": "v", "vector": [0.0, 1.0]}])
        session.sql("UPDATE secret SET x = 'z' WHERE id = 2")
        session.sql("DELETE FROM docs WHERE id = 'v'")
        session.journal.record("visit", "9", "*", "note", None, "x")
        session.table("secret").audit = "rows"
        session.table("plain").audit = "reads"
        session.table("docs").audit = "rows"
        yield session


def given(session: Session) -> list[tuple[str, str, str]]:
    """Return the rows that were read, as the record has them: table, key and how."""
    rows = session.sql("SELECT table_name, row_id, how FROM audit.read_rows").to_pylist()
    return sorted((row["table_name"], row["row_id"], row["how"]) for row in rows)


def reads(session: Session) -> int:
    return int(session.sql("SELECT count(*) AS n FROM audit.reads").to_pylist()[0]["n"])


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT * FROM journal", {"1", "2"}),
        ("SELECT new_value FROM journal", {"1", "2"}),
        ("SELECT old_value AS o FROM system.journal WHERE seq > 0", {"1", "2"}),
        ("SELECT seq FROM journal WHERE entity_id = '2'", {"2"}),
        # the scan hands on what the condition is then asked of
        ("SELECT count(*) FROM journal WHERE new_value LIKE '%\"a\"%'", {"1", "2"}),
        ("SELECT * FROM history('secret')", {"1", "2"}),
        ("SELECT entity_id FROM journal WHERE field = 'x'", {"2"}),
        ("SELECT seq, actor FROM journal", set()),
        ("SELECT entity_id FROM journal WHERE entity_type = 'plain'", set()),
        ("SELECT entity_id FROM journal WHERE entity_type = 'docs'", set()),
        ("SELECT entity_id FROM journal WHERE entity_type = 'visit'", set()),
        ("SELECT entity_id FROM journal WHERE action = 'create'", set()),
    ],
)
def test_p16_the_rows_that_a_statement_reads_out_of_the_journal_are_told(
    audited: Session, text: str, rows: set[str], *, is_sealed: bool
) -> None:
    if is_sealed:
        audited.journal.flush()
    audited.sql(text).to_arrow()
    assert reads(audited) >= 1
    assert given(audited) == [("secret", row, "scanned") for row in sorted(rows)]
    assert audited.ledger.verify(progress=False)


@pytest.mark.parametrize(
    ("read", "rows"),
    [
        (lambda session: session.journal.history(2), {"2"}),
        (lambda session: session.journal.history("3"), set()),
        (lambda session: session.journal.recent(100), {"1", "2"}),
        (lambda session: session.journal.recent(0), set()),
    ],
)
def test_p16_the_rows_that_handles_of_the_journal_give_are_told(
    audited: Session, read: Callable[[Session], affidavit.Result], rows: set[str]
) -> None:
    read(audited).to_arrow()
    assert given(audited) == [("secret", row, "returned") for row in sorted(rows)]


def test_p16_whoever_asks_who_received_a_row_finds_who_read_it_in_the_journal(
    audited: Session,
) -> None:
    with audited.scope(actor="reader") as reader:
        reader.sql("SELECT new_value FROM journal WHERE entity_id = '1'").to_arrow()
    [found] = audited.audit.received("1", table="secret", reads=True)
    assert found.actor == "reader"
    assert [each["name"] for each in found.tables] == ["system.journal", "main.secret"]
    assert audited.audit.received("1", table="plain", reads=True) == []
    assert str(audited.audit.replay(found.read_id, text=(
        "SELECT new_value FROM journal WHERE entity_id = '1'"), params={}).outcome) in {
        "REPRODUCED", "EVIDENCE_GONE"}  # fmt: skip


def test_p16_a_floor_of_rows_holds_for_what_the_journal_tells_of_any_table(lake: Path) -> None:
    with affidavit.connect(lake, audit="statements") as session:
        session.create_table("gone", [{"id": 7, "x": "a"}], primary_key="id")
        session.sql("DROP TABLE gone")
        session.create_table("here", [{"id": 8, "x": "a"}], primary_key="id")
    with affidavit.connect(lake, audit="rows") as session:
        session.sql("SELECT new_value FROM journal").to_arrow()
        assert given(session) == [("gone", "7", "scanned"), ("here", "8", "scanned")]


def test_p16_a_dropped_tables_rows_are_told_as_its_policy_was(audited: Session) -> None:
    audited.sql("DROP TABLE secret")
    audited.sql("SELECT old_value FROM journal WHERE action = 'update'").to_arrow()
    assert given(audited) == [("secret", "2", "scanned")]
