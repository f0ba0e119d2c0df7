"""One head is signed for all that a transaction does, and nobody in it finds an older one."""

from __future__ import annotations

import pytest

import affidavit
from affidavit import errors
from affidavit.catalog.ledger.signing.heads import SigningLedger
from affidavit.catalog.store.sqlite.writer import SqliteWriter
from affidavit.catalog.store.tables import HEADS


@pytest.fixture
def signed(monkeypatch) -> list[int]:
    """The sizes of heads that were signed."""
    sizes: list[int] = []
    sign = SigningLedger._sign

    def noting(self, writer, due) -> None:
        sizes.append(due.frontier.size)
        sign(self, writer, due)

    monkeypatch.setattr(SigningLedger, "_sign", noting)
    return sizes


@pytest.fixture
def table(session):
    found = session.create_table("t", [{"id": 0, "s": "a"}], primary_key="id")
    session.triggers.on("t", "insert", "new.id >= 1000", publish="told")
    return found


def events(session) -> list[str]:
    found = session.sql("SELECT entity_id FROM journal WHERE action = 'insert' ORDER BY seq")
    return [row["entity_id"] for row in found.to_pylist()]


def test_a_transaction_signs_once_for_all_of_its_statements(session, table, signed) -> None:
    with session.transaction():
        for at in range(1, 20):
            table.insert({"id": at, "s": "x"})
        session.sql("UPDATE t SET s = 'y' WHERE id = 3")
        assert signed == []
    assert len(signed) == 1
    signed.clear()
    table.insert({"id": 1000, "s": "told"})  # with the event of its trigger
    assert len(signed) == 1
    assert session.sql('SELECT count(*) AS n FROM topics."told"').to_pylist() == [{"n": 1}]
    assert session.ledger.verify(data=True)


def test_what_is_read_in_a_transaction_is_what_was_written(session, table, signed) -> None:
    with session.transaction():
        table.insert({"id": 1, "s": "x"})
        session.sql("SAVEPOINT here")
        table.insert({"id": 2, "s": "x"})
        assert events(session) == ["0", "1", "2"]
        last = session.sql("SELECT max(seq) AS n FROM journal").to_pylist()[0]["n"]
        session.sql("ROLLBACK TO here")
        assert events(session) == ["0", "1"]
        table.insert({"id": 3, "s": "x"})
        assert events(session) == ["0", "1", "3"]
        assert session.sql("SELECT max(seq) AS n FROM journal").to_pylist() == [{"n": last}]
        with pytest.raises(errors.ConstraintError):
            table.insert([{"id": 4, "s": "x"}, {"id": 3, "s": "x"}])
        catalog = session._catalog()
        with catalog.read() as reader:
            assert catalog.ledger.last_seq(reader) == last
            assert catalog.ledger.head(reader).size == last + 1
            assert len(reader.select(HEADS, ("size",))) == 1
    assert events(session) == ["0", "1", "3"]
    assert session.ledger.verify(data=True)


def test_a_transaction_that_is_rolled_back_signs_nothing(session, table, signed) -> None:
    size = session.ledger.verify().entries
    with pytest.raises(ZeroDivisionError), session.transaction():
        table.insert({"id": 1, "s": "x"})
        raise ZeroDivisionError
    assert signed == []
    assert session.ledger.verify(data=True).entries == size


def test_a_head_that_cannot_be_signed_keeps_the_transaction_from_committing(
    session, table, monkeypatch
) -> None:
    """It was found as a statement was run, and is now as the transaction ends."""
    before = session.ledger.verify().entries

    def fails(*_: object) -> None:
        raise errors.LedgerCorruptError("nothing is signed")

    with monkeypatch.context() as patch:
        patch.setattr(SigningLedger, "_summed_up", fails)
        with pytest.raises(errors.LedgerCorruptError), session.transaction():
            table.insert({"id": 1, "s": "x"})
            with pytest.raises(errors.LedgerCorruptError):
                session.sql("SELECT * FROM audit.checkpoints").to_arrow()
    assert table.count() == 1
    assert session.ledger.verify(data=True).entries == before


def test_a_statement_interrupted_once_it_was_done_is_covered(lake, monkeypatch) -> None:
    written = SqliteWriter._write

    def interrupted(self: SqliteWriter, sql: str, *values: object) -> object:
        if sql.startswith("RELEASE"):
            raise KeyboardInterrupt
        return written(self, sql, *values)

    with affidavit.connect(lake, durability="normal") as session:
        table = session.create_table("t", [{"id": 1}], primary_key="id")
        with session.transaction():
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(SqliteWriter, "_write", interrupted)
                table.insert({"id": 2})
            table.insert({"id": 3})
        assert session.ledger.verify(data=True)
        assert session.sql("SELECT id FROM t").num_rows == 3
