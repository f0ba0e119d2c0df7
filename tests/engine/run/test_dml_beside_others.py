"""P15: no plan runs under the lock of the lake's writers, and what is written is right all the same."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.beside import BUSY, beside
from tests.support.lakes import vectors

import affidavit
from affidavit import errors
from affidavit.engine.plan.planner import Planner
from affidavit.engine.run.writing.attempts import ATTEMPTS_MAX
from affidavit.engine.run.writing.writes import RowWrites, VectorWrites


def _is_free(lake: Path) -> bool:
    """Return whether anybody may write."""
    with beside(lake, timeout_s=0) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except BUSY:
            return False
        other.execute("ROLLBACK")
        return True


@pytest.fixture
def plans(lake, monkeypatch) -> list[bool]:
    """Return whether the lock was free, each time that a plan ran."""
    free: list[bool] = []

    def watched(run: Callable[..., Any]) -> Callable[..., Any]:
        def first(self: Planner, *given: Any, **named: Any) -> Any:
            free.append(_is_free(lake))
            return run(self, *given, **named)

        return first

    for name in ("stream", "streamed", "collect", "plan"):
        monkeypatch.setattr(Planner, name, watched(getattr(Planner, name)))
    return free


@pytest.fixture
def t(session):
    """Make a mutable table ``t``, a table ``other`` and a vector table ``docs``."""
    session.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT DEFAULT 7)")
    session.sql("INSERT INTO t SELECT value, 0 FROM range(0, 10)")
    session.sql("CREATE TABLE other (id BIGINT PRIMARY KEY, n BIGINT)")
    session.sql("INSERT INTO other SELECT value, 1 FROM range(0, 10)")
    session.create_vector_table("docs", vectors(20))
    return session.table("t")


DML = [
    "INSERT INTO t VALUES (100, 1)",
    "INSERT INTO t VALUES (100, 1 + 1)",
    "INSERT INTO t SELECT id + 100, n FROM other",
    "INSERT INTO t (id) SELECT id + 100 FROM t RETURNING id, (SELECT max(n) FROM other)",
    "INSERT INTO t SELECT id, n FROM other ON CONFLICT (id) DO UPDATE SET n = excluded.n",
    "INSERT INTO t SELECT id, n FROM other ON CONFLICT DO NOTHING",
    "UPDATE t SET n = n + 1",
    "UPDATE t SET n = (SELECT max(n) FROM other) WHERE id = 3 RETURNING *",
    "UPDATE t SET n = other.n FROM other WHERE other.id = t.id",
    "DELETE FROM t WHERE id IN (SELECT id FROM other WHERE id > 3) RETURNING id",
    "MERGE INTO t USING other ON t.id = other.id WHEN MATCHED THEN UPDATE SET n = other.n",
    "TRUNCATE t",
    "INSERT INTO docs SELECT id + 1000, text, bucket, vector FROM docs",
    "UPDATE docs SET text = 'x' WHERE id = 3",
    "DELETE FROM docs WHERE id IN (SELECT id FROM other)",
    "MERGE INTO docs USING other ON docs.id = other.id WHEN MATCHED THEN DELETE",
    "TRUNCATE docs",
]
DDL = [
    "CREATE TABLE made AS SELECT * FROM t",
    "CREATE TABLE made (id BIGINT PRIMARY KEY, n BIGINT)",
    "CREATE TABLE IF NOT EXISTS t AS SELECT * FROM other",
    "CREATE OR REPLACE TABLE t AS SELECT id, n + 1 AS n FROM t",
    "SELECT id INTO made FROM t",
    "CREATE VIEW v AS SELECT * FROM t",
    "CREATE OR REPLACE VIEW v AS SELECT * FROM other",
    "ALTER TABLE t ADD COLUMN more BIGINT DEFAULT 3",
    "CREATE INDEX ON t (n)",
]


@pytest.mark.parametrize("statement", [*DML, *DDL])
def test_p15_no_plan_of_a_statement_that_changes_rows_runs_under_the_lock(
    session, t, plans, statement
) -> None:
    plans.clear()
    session.sql(statement)
    assert plans.count(False) == 0
    unplanned = ("INDEX", "TRUNCATE", "IF NOT", "VALUES (100, 1)")  # literals are rows already
    assert plans or any(word in statement for word in unplanned)
    assert session.ledger.verify()


def test_p15_what_leaves_the_lake_is_computed_with_no_lock_held(
    session, t, plans, tmp_path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE u (id INTEGER, n INTEGER)")
    session.attach("shop", f"sqlite:///{tmp_path / 'other.db'}")
    plans.clear()
    session.sql(f"COPY (SELECT * FROM t) TO '{tmp_path / 'out.parquet'}'")
    session.sql("INSERT INTO shop.main.u SELECT id, n FROM t")
    assert len(plans) > 2
    assert plans.count(False) == 0
    assert session.sql("SELECT count(*) AS n FROM shop.main.u").to_pylist() == [{"n": 10}]


def test_p15_a_transaction_that_changed_something_goes_on_under_its_lock(session, t, plans) -> None:
    """It sees its own changes: that is the one exception."""
    plans.clear()
    with session.transaction():
        session.sql("INSERT INTO t VALUES (100, 1)")
        session.sql("UPDATE t SET n = n + 1 WHERE id = 100")
    assert plans[-1] is False
    assert session.sql("SELECT n FROM t WHERE id = 100").to_pylist() == [{"n": 2}]


# --- others change what was read ------------------------------------------------------------------


@contextmanager
def _interfering(
    monkeypatch: pytest.MonkeyPatch, writes: type, others: list[Callable[[], object]]
) -> Iterator[None]:
    """Have one of ``others`` happen each time that a statement has planned and is about to write."""
    opened = writes._opened
    waiting, busy = list(others), [False]

    def first(self):  # the others' own statements are let through
        if waiting and not busy[0]:
            busy[0] = True
            waiting.pop(0)()
            busy[0] = False
        return opened(self)

    monkeypatch.setattr(writes, "_opened", first)
    yield
    monkeypatch.undo()
    assert not waiting


def _n(session: affidavit.Session) -> dict[int, int]:
    return {row["id"]: row["n"] for row in session.sql("SELECT id, n FROM t").to_pylist()}


def test_p15_an_update_by_key_keeps_what_another_did_to_that_row(session, t, monkeypatch) -> None:
    change = lambda: session.sql("UPDATE t SET n = n + 10 WHERE id = 3")  # noqa: E731
    with _interfering(monkeypatch, RowWrites, [change]):
        session.sql("UPDATE t SET n = n + 1 WHERE id = 3")
    assert _n(session)[3] == 11


def test_p15_a_change_of_other_rows_does_not_have_a_keyed_update_planned_again(
    session, t, plans, monkeypatch
) -> None:
    change = lambda: session.sql("UPDATE t SET n = n + 10 WHERE id = 4")  # noqa: E731
    plans.clear()
    with _interfering(monkeypatch, RowWrites, [change]):
        session.sql("UPDATE t SET n = n + 1 WHERE id = 3")
    assert len(plans) == 4  # each is planned once, and runs once
    assert (_n(session)[3], _n(session)[4]) == (1, 10)


@pytest.mark.parametrize(
    ("statement", "other", "expected"),
    [
        # a phantom: a row that came, and would have matched
        ("UPDATE t SET n = n + 1 WHERE id > 8", "INSERT INTO t VALUES (50, 5)", {9: 1, 50: 6}),
        ("DELETE FROM t WHERE id > 8", "INSERT INTO t VALUES (50, 5)", {}),
        # a row that went
        ("UPDATE t SET n = n + 1 WHERE id > 8", "DELETE FROM t WHERE id = 9", {}),
        # a row that was put in another's place
        ("UPDATE t SET n = n + 1 WHERE id > 8", "UPDATE t SET id = 8 + id WHERE id = 9", {17: 1}),
        # what a sub-query read
        (
            "UPDATE t SET n = (SELECT max(n) FROM other) WHERE id > 8",
            "UPDATE other SET n = 77", {9: 77},
        ),
        (
            "MERGE INTO t USING other ON t.id = other.id AND t.id > 8 "
            "WHEN MATCHED THEN UPDATE SET n = other.n",
            "UPDATE other SET n = 77", {9: 77},
        ),
        (
            "INSERT INTO t VALUES (50, 5) ON CONFLICT (id) DO UPDATE SET n = t.n + excluded.n",
            "INSERT INTO t VALUES (50, 1)", {9: 0, 50: 6},
        ),
        ("INSERT INTO t SELECT 50, count(*) FROM t", "DELETE FROM t WHERE id < 5", {9: 0, 50: 5}),
        ("TRUNCATE t", "INSERT INTO t VALUES (50, 1)", {}),
        # the table's definition
        ("INSERT INTO t VALUES (50, 5)", "ALTER TABLE t ADD COLUMN more BIGINT", None),
        (
            "UPDATE t SET n = n + 1 WHERE id > 8",
            "ALTER TABLE t RENAME COLUMN id TO x", "no column",
        ),
    ],
)  # fmt: skip
def test_p15_what_was_read_counts_as_it_is_when_it_is_written(
    session, t, monkeypatch, statement, other, expected
) -> None:
    with _interfering(monkeypatch, RowWrites, [lambda: session.sql(other)]):
        if isinstance(expected, dict):
            session.sql(statement)
        else:
            with pytest.raises((errors.SqlError, errors.ColumnNotFoundError)):
                session.sql(statement)
    if isinstance(expected, dict):
        assert {k: n for k, n in _n(session).items() if k > 8} == expected
    assert session.ledger.verify()


@pytest.mark.parametrize("key", ["id", "k", "a, k"])
def test_p15_an_on_conflict_looks_few_rows_up_and_is_not_planned_again_for_others(
    session, t, plans, monkeypatch, key
) -> None:
    """It read the whole table, each time, and every other writer of that was in its way."""
    session.sql(f"CREATE TABLE u (id BIGINT, k VARCHAR, a INT, n BIGINT, UNIQUE ({key}))")
    session.sql(
        "INSERT INTO u SELECT value, CAST(value AS VARCHAR) AS k, value % 3 AS a, 0 AS n "
        "FROM range(0, 3000)"
    )
    insert = "INSERT INTO u VALUES ({0}, '{0}', {0} % 3, 1) ON CONFLICT ({1}) "
    update = insert + "DO UPDATE SET n = u.n + excluded.n"
    plans.clear()
    session.sql(update.format(5000, key))
    alone = len(plans)
    other = lambda: session.sql(update.format(2000, key))  # noqa: E731
    plans.clear()
    with _interfering(monkeypatch, RowWrites, [other]):
        session.sql(update.format(1000, key))
    assert len(plans) == 2 * alone
    assert session.sql((insert + "DO NOTHING").format(1000, key)).rows_affected == 0
    found = session.sql("SELECT id, n FROM u WHERE n > 0 ORDER BY id").to_pylist()
    assert found == [{"id": each, "n": 1} for each in (1000, 2000, 5000)]


def test_p15_an_on_conflict_finds_keys_that_are_null_odd_or_many(session, t) -> None:
    session.sql("CREATE TABLE u (k VARCHAR UNIQUE, n BIGINT)")
    session.sql("INSERT INTO u VALUES (NULL, 1), ('it''s', 1), ('', 1), ('\u00e9', 1)")
    again = "ON CONFLICT (k) DO UPDATE SET n = excluded.n"
    session.sql(f"INSERT INTO u VALUES (NULL, 2) {again}")
    session.sql(f"INSERT INTO u VALUES (NULL, 3), ('it''s', 3), ('', 3), ('\u00e9', 3) {again}")
    session.sql(
        f"INSERT INTO u SELECT CAST(value AS VARCHAR) AS k, 4 AS n FROM range(0, 300) {again}"
    )
    session.sql(
        f"INSERT INTO u SELECT CAST(value AS VARCHAR) AS k, 5 AS n FROM range(0, 300) {again}"
    )
    found = session.sql("SELECT n, count(*) AS c FROM u GROUP BY n ORDER BY n").to_pylist()
    assert [(row["n"], row["c"]) for row in found] == [(1, 1), (2, 1), (3, 4), (5, 300)]


def test_p15_an_insert_takes_what_it_selects_as_of_one_moment(session, t, monkeypatch) -> None:
    """Only the target counts: it may take long, and what it reads may change all the time."""
    change = lambda: session.sql("UPDATE other SET n = 77")  # noqa: E731
    with _interfering(monkeypatch, RowWrites, [change]):
        session.sql("INSERT INTO t SELECT id + 100, n FROM other")
    assert _n(session)[100] == 1


def test_p15_a_table_that_was_dropped_meanwhile_is_named(session, t, monkeypatch) -> None:
    with (
        _interfering(monkeypatch, RowWrites, [lambda: session.drop_table("t")]),
        pytest.raises(errors.TableNotFoundError, match="'t'"),
    ):
        session.sql("UPDATE t SET n = n + 1")


def test_p15_a_statement_that_others_always_forestall_runs_under_the_lock(
    session, t, plans, monkeypatch
) -> None:
    """It is tried a few times, and then once where nobody can come before it; that is counted."""
    holds = session._instance.lake.store.holds
    change = lambda: session.sql("UPDATE t SET n = n + 10")  # noqa: E731
    plans.clear()
    with _interfering(monkeypatch, RowWrites, [change] * ATTEMPTS_MAX):
        session.sql("UPDATE t SET n = n + 1")
    assert set(_n(session).values()) == {10 * ATTEMPTS_MAX + 1}
    assert (holds.planned, plans.count(False)) == (1, 2)  # it is planned, and runs
    (told,) = session.sql("SELECT * FROM system.locks").to_pylist()
    assert (told["planned_under_lock"], told["held_s"]) == (1, 0)


def test_p15_a_long_hold_of_the_write_lock_is_counted(session, t) -> None:
    class Slow:
        def on_change(self, change, writer) -> None:
            time.sleep(0.1)

    before = session.sql("SELECT * FROM system.locks").to_pylist()[0]["long_holds"]
    session.add_change_listener(Slow())
    session.sql("UPDATE t SET n = n + 1")
    (told,) = session.sql("SELECT * FROM system.locks").to_pylist()
    assert told["long_holds"] > before
    assert told["longest_s"] >= 0.1


def test_p15_what_runs_again_is_logged_and_read_once(session, t, monkeypatch) -> None:
    change = lambda: session.sql("UPDATE other SET n = 77")  # noqa: E731
    with _interfering(monkeypatch, RowWrites, [change]):
        session.sql("UPDATE t SET n = (SELECT max(n) FROM other)")
    logged = session.sql(
        "SELECT tables_read FROM audit.statements WHERE text LIKE 'UPDATE t SET%'"
    ).to_pylist()
    assert [row["tables_read"] for row in logged] == [["main.other@3"]]


# --- tables that are made, and handles -------------------------------------------------------------


def _when_made(
    monkeypatch: pytest.MonkeyPatch, others: list[Callable[[], object]]
) -> AbstractContextManager[None]:
    """Have one of ``others`` happen each time that a query's rows are there and are to be written."""
    from affidavit.engine.run.defining import tables as create

    kept, waiting = create.spilled, list(others)

    @contextmanager
    def first(*given):
        with kept(*given) as rows:
            if waiting:
                waiting.pop(0)()
            yield rows

    monkeypatch.setattr(create, "spilled", first)
    return contextlib.nullcontext()


def test_p15_a_table_that_is_replaced_by_what_it_holds_loses_no_row(
    session, t, monkeypatch
) -> None:
    change = lambda: session.sql("INSERT INTO t VALUES (50, 5)")  # noqa: E731
    with _when_made(monkeypatch, [change]):
        made = session.sql("CREATE OR REPLACE TABLE t AS SELECT id, n + 1 AS n FROM t")
    assert made.rows_affected == 11
    assert _n(session)[50] == 6


def test_p15_a_table_that_another_made_meanwhile_is_there(session, t, monkeypatch) -> None:
    change = lambda: session.sql("CREATE TABLE made AS SELECT 1 AS one")  # noqa: E731
    with _when_made(monkeypatch, [change]), pytest.raises(errors.TableExistsError, match="made"):
        session.sql("CREATE TABLE made AS SELECT * FROM t")
    session.drop_table("made")
    with _when_made(monkeypatch, [change]):
        found = session.sql("CREATE TABLE IF NOT EXISTS made AS SELECT * FROM t")
    assert found.rows_affected == 0
    assert session.sql("SELECT * FROM made").to_pylist() == [{"one": 1}]


def _streamed(lake: Path, free: list[bool], rows: int = 3) -> pa.RecordBatchReader:
    """Return rows that note whether the lock is free when they are asked for."""
    schema = pa.schema([("id", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        for at in range(rows):
            free.append(_is_free(lake))
            yield pa.RecordBatch.from_pylist([{"id": 1000 + at}], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def test_p15_what_a_handle_is_given_is_read_and_fitted_with_no_lock_held(
    session, t, plans, lake
) -> None:
    plans.clear()
    free: list[bool] = []
    assert t.insert(_streamed(lake, free)) == 3
    assert t.upsert(_streamed(lake, free)) == 3
    assert t.insert([{"id": 50}]) == 1  # whose default a query finds out
    assert session.create_table("made", _streamed(lake, free)).count() == 3
    assert [_n(session)[at] for at in (50, 1000, 1002)] == [7, 7, 7]
    assert (free, plans.count(False)) == ([True] * 9, 0)


def test_p15_a_stream_fits_a_table_whose_columns_were_changed_while_it_was_read(
    session, t, lake
) -> None:
    """It does not come a second time: what came is fitted to the columns as they are now."""

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([{"id": 1000, "n": 1}])
        session.sql("ALTER TABLE t ADD COLUMN more VARCHAR DEFAULT 'm'")
        yield pa.RecordBatch.from_pylist([{"id": 1001, "n": 2}])

    first = pa.schema([("id", pa.int64()), ("n", pa.int64())])
    assert t.insert(pa.RecordBatchReader.from_batches(first, batches())) == 2
    found = session.sql("SELECT * FROM t WHERE id >= 1000 ORDER BY id").to_pylist()
    assert found == [{"id": 1000 + at, "n": 1 + at, "more": "m"} for at in (0, 1)]


def test_p15_a_name_that_is_taken_is_told_before_the_data_is_read(session, t, lake) -> None:
    free: list[bool] = []
    with pytest.raises(errors.TableExistsError, match="'t'"):
        session.create_table("t", _streamed(lake, free))
    assert free == []


def test_p15_rows_that_are_many_are_kept_in_a_file_until_they_are_written(
    session, t, lake, monkeypatch
) -> None:
    from affidavit.catalog.lake import spill

    monkeypatch.setattr(spill, "MEMORY_BYTES_MAX", 10_000)
    seen: list[bool] = []
    grouped = spill.Spilled.grouped

    def watched(self):
        seen.append(self.is_in_file)
        return grouped(self)

    monkeypatch.setattr(spill.Spilled, "grouped", watched)
    session.sql("INSERT INTO t SELECT value + 1000, 1 FROM range(0, 30000)")
    session.sql("CREATE TABLE made AS SELECT id, n, 'x' AS x FROM t WHERE id >= 1000")
    session.create_table("from_data", session.sql("SELECT * FROM made"), primary_key="id")
    for name in ("t", "made", "from_data"):
        total = session.sql(f"SELECT count(*) AS n, sum(id) AS s FROM {name} WHERE id >= 1000")
        assert total.to_pylist() == [{"n": 30_000, "s": sum(range(1000, 31_000))}]
    with pytest.raises(errors.ConstraintError):
        session.sql("INSERT INTO t SELECT value + 1000, 1 FROM range(0, 30000)")
    with pytest.raises(errors.ExecutionError):
        session.sql("INSERT INTO made SELECT value, 1 / (29999 - value), '' FROM range(0, 30000)")
    assert set(seen) == {True}
    assert list((lake / "vectors" / ".staging").iterdir()) == []
    assert session.ledger.verify()


# --- vector tables --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "other", "rows", "changed"),
    [
        ("UPDATE docs SET text = 'x' WHERE id > 17", "DELETE FROM docs WHERE id = 19", 19, 1),
        (
            "DELETE FROM docs WHERE text = 'y' OR id = 9",
            "UPDATE docs SET text = 'y' WHERE id < 5", 14, 0,
        ),
        (
            "UPDATE docs SET text = 'x' WHERE id = (SELECT max(n) FROM other)",
            "UPDATE other SET n = 5", 20, 1,
        ),
    ],
)  # fmt: skip
def test_p15_a_vector_table_is_planned_before_its_lock_and_checked_under_it(
    session, t, monkeypatch, statement, other, rows, changed
) -> None:
    with _interfering(monkeypatch, VectorWrites, [lambda: session.sql(other)]):
        session.sql(statement)
    assert session.table("docs").count() == rows
    found = session.sql("SELECT id FROM docs WHERE text = 'x' ORDER BY id").to_pylist()
    assert len(found) == changed
    if "other" in statement:
        assert found == [{"id": 5}]
    assert session.ledger.verify()


def test_p15_what_always_changes_beside_a_vector_table_is_a_conflict(
    session, t, monkeypatch
) -> None:
    """The store's lock is never held while it is planned, so that the last try may fail too."""
    change = lambda: session.sql("UPDATE other SET n = n + 1")  # noqa: E731
    version = session.table("docs").version
    with (
        _interfering(monkeypatch, VectorWrites, [change] * (ATTEMPTS_MAX + 1)),
        pytest.raises(errors.ConflictError, match="'docs'"),
    ):
        session.sql("UPDATE docs SET text = 'x' WHERE id = (SELECT max(n) FROM other)")
    assert session.table("docs").version == version
    assert session.sql("SELECT count(*) AS n FROM docs WHERE text = 'x'").to_pylist()[0]["n"] == 0


# --- threads ----------------------------------------------------------------------------------------


def _together(*runs: Callable[[], object]) -> None:
    """Run all at once, and raise what one of them raised."""
    failed: list[BaseException] = []
    ready = threading.Barrier(len(runs))

    def begin(run: Callable[[], object]) -> None:
        ready.wait()
        try:
            run()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=begin, args=(run,)) for run in runs]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if failed:
        raise failed[0]


@pytest.mark.parametrize("where", ["", " WHERE id = 1", " WHERE n >= 0", " WHERE id < 5"])
def test_p15_no_update_of_several_threads_is_lost(session, t, where) -> None:
    def count() -> None:
        for _ in range(15):
            session.sql(f"UPDATE t SET n = n + 1{where}")

    _together(*[count] * 4)
    assert _n(session)[1] == 60


def test_p15_several_threads_that_insert_what_is_not_there_insert_it_once(session, t) -> None:
    missing = "SELECT {0} AS n, 1 AS one WHERE NOT EXISTS (SELECT 1 FROM u WHERE n = {0})"
    session.sql("CREATE TABLE u (n BIGINT, one BIGINT)")

    def insert() -> None:
        for n in range(8):
            session.sql(f"INSERT INTO u {missing.format(n)}")

    _together(*[insert] * 4)
    assert session.sql("SELECT n FROM u ORDER BY n").to_pylist() == [{"n": n} for n in range(8)]


def test_p15_two_statements_that_each_read_what_the_other_writes_are_one_after_the_other(
    session,
) -> None:
    """Write skew: one of two may be off, and each sees that the other is on."""
    for name in ("a", "b"):
        session.sql(f"CREATE TABLE {name} (id BIGINT PRIMARY KEY, is_on BOOLEAN)")
        session.sql(f"INSERT INTO {name} VALUES (1, true)")

    def off(one: str, other: str) -> None:
        session.sql(
            f"UPDATE {one} SET is_on = false WHERE id = 1 "
            f"AND (SELECT count(*) FROM {other} WHERE is_on) > 0"
        )

    for _ in range(8):
        session.sql("UPDATE a SET is_on = true")
        session.sql("UPDATE b SET is_on = true")
        _together(lambda: off("a", "b"), lambda: off("b", "a"))
        on = session.sql("SELECT a.is_on OR b.is_on AS one FROM a, b").to_pylist()
        assert on == [{"one": True}]


def test_p15_a_merge_beside_deletes_and_inserts_ends_in_one_of_their_orders(session, t) -> None:
    merge = (
        "MERGE INTO t USING other ON t.id = other.id WHEN MATCHED THEN UPDATE SET n = t.n + other.n "
        "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (other.id, other.n)"
    )

    def merging() -> None:
        for _ in range(10):
            session.sql(merge)

    def deleting() -> None:
        for _ in range(10):
            session.sql("DELETE FROM t WHERE id % 2 = 0")

    _together(merging, deleting)
    session.sql(merge)
    found = _n(session)
    assert sorted(found) == list(range(10))
    assert {n for key, n in found.items() if key % 2} == {11}
    assert session.ledger.verify()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.integers(1, 9)),
            min_size=1,
            max_size=4,
        ),
        min_size=2,
        max_size=4,
    )
)
def test_p15_money_that_threads_move_about_is_neither_made_nor_lost(
    tmp_path_factory, moves
) -> None:
    """Each statement takes from one account and gives to another, where there is enough."""
    with affidavit.connect(
        tmp_path_factory.mktemp("money") / "lake", durability="normal", journal=False
    ) as session:
        session.sql("CREATE TABLE accounts (name VARCHAR, owned BIGINT)")
        session.sql("INSERT INTO accounts VALUES ('a', 10), ('b', 10), ('c', 10), ('d', 10)")

        def run(thread: list[tuple[str, str, int]]) -> None:
            for source, to, much in thread:
                session.sql(
                    "UPDATE accounts SET owned = owned + CASE WHEN name = $to THEN $much ELSE 0 END"
                    " - CASE WHEN name = $source THEN $much ELSE 0 END WHERE name IN ($to, $source)"
                    " AND (SELECT owned FROM accounts WHERE name = $source) >= $much",
                    source=source,
                    to=to,
                    much=much,
                )

        _together(*[lambda each=each: run(each) for each in moves])
        owned = session.sql("SELECT owned FROM accounts").to_arrow()["owned"].to_pylist()
        assert sum(owned) == 40
        assert min(owned) >= 0


# --- holds ----------------------------------------------------------------------------------------


def test_p15_a_long_hold_of_the_lock_is_counted(session, monkeypatch) -> None:
    from affidavit.catalog.store import holds

    counted = session._instance.lake.store.holds
    before = counted.long
    with session.transaction():
        pass
    assert counted.long == before
    monkeypatch.setattr(holds, "HOLD_MAX_S", 0.0)
    session.sql("CREATE TABLE t (id BIGINT)")
    assert counted.long > before
    assert counted.longest_s > 0


def test_p15_no_snapshot_is_open_while_a_statement_writes(session, t, monkeypatch) -> None:
    """SQLite's log begins anew when nobody reads: a statement's own snapshot made it grow on."""
    from affidavit.catalog.store.sqlite.store import SqliteStore

    reading, most = [0], [0]
    read, write = SqliteStore.read, SqliteStore.write

    @contextmanager
    def counted(self, tenant):
        reading[0] += 1
        try:
            with read(self, tenant) as reader:
                yield reader
        finally:
            reading[0] -= 1

    @contextmanager
    def watched(self, tenant, **how):
        most[0] = max(most[0], reading[0])
        with write(self, tenant, **how) as writer:
            yield writer

    monkeypatch.setattr(SqliteStore, "read", counted)
    monkeypatch.setattr(SqliteStore, "write", watched)
    for statement in DML:
        session.sql("DELETE FROM t WHERE id >= 100")
        session.sql(statement)
    assert most == [0]
