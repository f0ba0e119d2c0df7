"""What the log of statements says of transactions: what was undone, and how each ended."""

from __future__ import annotations

import gc
import time

import pytest
from tests.engine.run.test_log import Failing, log, session

import affidavit
from affidavit import errors
from affidavit.catalog.ledger.statements import STATEMENT_COLUMNS
from affidavit.catalog.model.identity import Identity
from affidavit.catalog.store.transaction import Transaction
from affidavit.engine.run.transacted import HELD_MAX, Transacted
from affidavit.engine.session.housekeeping import Housekeeper
from affidavit.engine.statement.statement import Kind

__all__ = ["session"]  # a fixture


@pytest.fixture
def table(session: affidavit.Session) -> affidavit.Session:
    session.sql("CREATE TABLE t (a BIGINT PRIMARY KEY)")
    return session


def told(session: affidavit.Session) -> list[tuple[str, str]]:
    """Return the text and status of each row after the first, which made the table."""
    return [(row["text"], row["status"]) for row in log(session)][1:]


def test_a_transaction_that_was_rolled_back_says_so_of_each_statement(table) -> None:
    """Each was logged as 'ok' when it had run, and nothing said that it came to nothing."""
    for text in ("BEGIN", "INSERT INTO t VALUES (1)", "SELECT a FROM t"):
        table.sql(text).to_arrow()
    with pytest.raises(errors.ConstraintError):
        table.sql("INSERT INTO t VALUES (1)")
    table.sql("ROLLBACK")
    assert told(table) == [
        ("BEGIN", "ok"),
        ("INSERT INTO t VALUES (1)", "rolled back"),
        ("SELECT a FROM t", "rolled back"),
        ("INSERT INTO t VALUES (1)", "error"),
        ("ROLLBACK", "ok"),
    ]
    assert log(table)[2]["tables_written"] == ["main.t"], "as long as it lasted"


def test_a_transaction_that_was_committed_says_ok(table) -> None:
    for text in ("BEGIN", "INSERT INTO t VALUES (1)", "COMMIT", "INSERT INTO t VALUES (2)"):
        table.sql(text)
    assert told(table) == [
        ("BEGIN", "ok"), ("INSERT INTO t VALUES (1)", "ok"), ("COMMIT", "ok"),
        ("INSERT INTO t VALUES (2)", "ok"),
    ]  # fmt: skip


def test_nothing_is_told_before_the_transaction_is_over(table) -> None:
    with table.scope() as other:
        with table.transaction():
            table.sql("INSERT INTO t VALUES (1)")
            assert told(other) == []
        assert told(other) == [("INSERT INTO t VALUES (1)", "ok"), ("COMMIT", "ok")]


def test_the_end_of_a_block_is_a_row_whoever_brings_it(table) -> None:
    with table.scope(actor="ann") as ann:
        with ann.transaction():
            pass
        with pytest.raises(ZeroDivisionError), ann.transaction():
            raise ZeroDivisionError
        ann.begin()
        ann.commit()
        ann.begin()
        ann.rollback()
        with ann.transaction() as tx:
            tx.rollback()
        with ann.transaction():
            ann.sql("COMMIT")
    rows = log(table)[1:]
    ends = ["COMMIT", "ROLLBACK", "COMMIT", "ROLLBACK", "ROLLBACK", "COMMIT"]
    assert [row["text"] for row in rows] == ends
    assert [row["kind"] for row in rows] == [end.lower() for end in ends]
    assert {(row["actor"], row["status"], row["rows"]) for row in rows} == {("ann", "ok", 0)}


def test_who_closes_a_session_rolls_back_and_that_is_a_row(lake) -> None:
    with affidavit.connect(lake, durability="normal", store_queries=True) as session:
        session.sql("CREATE TABLE t (a BIGINT PRIMARY KEY)")
        closed, dropped = session.scope(actor="closed"), session.scope(actor="dropped")
        for each in (closed, dropped, session):
            each.begin()
            each.sql("SELECT 1").to_arrow()
        closed.close()
        del dropped, each
        gc.collect()
    with affidavit.connect(lake, durability="normal", store_queries=True) as session:
        rows = [(row["actor"], row["text"], row["status"]) for row in log(session)][1:]
    assert rows == [
        (actor, *row)
        for actor in ("closed", "dropped", "")
        for row in (("SELECT 1", "rolled back"), ("ROLLBACK", "ok"))
    ]


def test_a_transaction_that_did_nothing_for_too_long_has_its_row(lake) -> None:
    with affidavit.connect(
        lake, durability="normal", transaction_idle_s=0.1, store_queries=True
    ) as session:
        session.sql("CREATE TABLE t (a BIGINT PRIMARY KEY)")
        session.begin()
        session.sql("INSERT INTO t VALUES (1)")
        with session.scope() as other:
            until = time.monotonic() + 20
            while len(told(other)) < 2 and time.monotonic() < until:
                time.sleep(0.02)
        with pytest.raises(errors.TransactionError, match="did nothing for"):
            session.sql("COMMIT")
        assert told(session) == [
            ("INSERT INTO t VALUES (1)", "rolled back"), ("ROLLBACK", "ok"),
        ]  # fmt: skip


def test_what_a_savepoint_undid_says_so(table) -> None:
    for text in (
        "BEGIN", "INSERT INTO t VALUES (1)",
        "SAVEPOINT a", "INSERT INTO t VALUES (2)",
        "SAVEPOINT b", "INSERT INTO t VALUES (3)", "RELEASE b", "INSERT INTO t VALUES (4)",
        "ROLLBACK TO a", "INSERT INTO t VALUES (5)",
        "SAVEPOINT c", "INSERT INTO t VALUES (6)", "RELEASE c", "COMMIT",
    ):  # fmt: skip
        table.sql(text)
    with table.transaction():
        with pytest.raises(ZeroDivisionError), table.savepoint():
            table.sql("INSERT INTO t VALUES (7)")
            raise ZeroDivisionError
        with table.savepoint():
            table.sql("INSERT INTO t VALUES (8)")
    said = {text[-2]: status for text, status in told(table) if text.startswith("INSERT")}
    assert said == dict.fromkeys("1568", "ok") | dict.fromkeys("2347", "rolled back")
    assert [row["a"] for row in table.sql("SELECT a FROM t ORDER BY a")] == [1, 5, 6, 8]


def test_what_no_rollback_undoes_says_so(table) -> None:
    """A setting is as it was set, and what was prepared can be executed."""
    texts = (
        "SAVEPOINT a", "SET datafusion.execution.batch_size = 4096", "PREPARE p AS SELECT 1", "ROLLBACK TO a", "ROLLBACK TO a", "RELEASE a",
        "DEALLOCATE p",
    )  # fmt: skip
    for text in ("BEGIN", *texts, "ROLLBACK"):
        table.sql(text)
    assert told(table) == [(text, "ok") for text in ("BEGIN", *texts, "ROLLBACK")]


def test_a_commit_that_fails_is_followed_by_what_became_of_it(table, monkeypatch) -> None:
    table.sql("BEGIN")
    table.sql("INSERT INTO t VALUES (1)")
    finish = Transaction._finish

    def fail(self: Transaction, *, undo: bool) -> None:
        finish(self, undo=True)
        if not undo:
            raise errors.StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Transaction, "_finish", fail)
        with pytest.raises(errors.StoreError):
            table.sql("COMMIT")
    assert told(table) == [
        ("BEGIN", "ok"), ("INSERT INTO t VALUES (1)", "rolled back"), ("ROLLBACK", "ok"),
        ("COMMIT", "error"),
    ]  # fmt: skip
    assert table.table("t").count() == 0


@pytest.mark.parametrize("committed", [True, False])
def test_rows_that_are_read_after_the_end_say_how_it_ended(committed: bool) -> None:
    """A result may outlive its transaction; what is known by then is said."""
    held = Transacted(Identity("default"), Transaction(None, "default", releases=True))  # type: ignore[arg-type]  # it reads nothing
    [ended] = held.end(committed=committed)

    def row(kind: str, status: str) -> tuple[str, ...]:
        values = {"kind": kind, "status": status}
        return tuple(values.get(name, "") for name in STATEMENT_COLUMNS)

    assert dict(zip(STATEMENT_COLUMNS, ended, strict=True))["text"] == (
        "COMMIT" if committed else "ROLLBACK"
    )
    for kind, status, told_ in (
        ("query", "ok", "ok" if committed else "rolled back"),
        ("query", "error", "error"), ("rollback", "ok", "ok"), ("commit", "error", "error"),
    ):  # fmt: skip
        assert held.add(row(kind, status)) == [row(kind, told_)]


def test_a_transaction_of_many_statements_holds_the_newest() -> None:
    held = Transacted(Identity("default"), Transaction(None, "default", releases=True))  # type: ignore[arg-type]  # it reads nothing
    held.says(Kind.COMMIT)
    for at in range(HELD_MAX + 5):
        assert held.add((at,)) == []
    rows = held.end(committed=True)
    assert (len(rows), rows[0], rows[-1]) == (HELD_MAX, (5,), (HELD_MAX + 4,))


def test_a_log_that_cannot_be_written_ends_no_transaction(table, monkeypatch) -> None:
    monkeypatch.setattr(Housekeeper, "wake", lambda _: None)
    statements = table._instance.statements
    statements._store = Failing(statements._store, errors.StoreError("the disk is full"))
    with table.transaction():
        table.sql("INSERT INTO t VALUES (1)")
    assert table.table("t").count() == 1
    statements._store.error = None
    assert told(table) == [("INSERT INTO t VALUES (1)", "ok"), ("COMMIT", "ok")]
