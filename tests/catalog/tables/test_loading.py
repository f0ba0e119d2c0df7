"""P6, P7, P15: a load of many rows is staged; others write meanwhile, and see all of it or none."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.processes import run_python

import affidavit
from affidavit import errors
from affidavit.catalog.tables import loading

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 25_000
EVENTS = "SELECT seq, action, entity_id FROM journal WHERE entity_type = $table ORDER BY seq"
MADE = "CREATE TABLE big AS SELECT * FROM src"


def source(count: int = ROWS) -> pa.Table:
    return pa.table({"id": range(count), "text": [f"row {at}" for at in range(count)]})


def staged(session: affidavit.Session) -> tuple[int, int]:
    """Return how many loads are under way, and how many tables nothing names."""
    with session._catalog().lake.store.read("") as reader:
        made = reader._connection.execute(  # type: ignore[attr-defined]
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'data\\_%' ESCAPE '\\'"
        ).fetchall()
        known = reader._connection.execute("SELECT table_id FROM tables").fetchall()  # type: ignore[attr-defined]
        loads = reader._connection.execute("SELECT count(*) FROM intents").fetchone()[0]  # type: ignore[attr-defined]
    return loads, len({name for (name,) in made} - {f"data_{each}" for (each,) in known})


def test_p15_others_write_between_the_pieces_of_a_load(session, lake: Path) -> None:
    session.sql("CREATE TABLE small (id BIGINT PRIMARY KEY)")
    session.attach("src", source())
    done = threading.Event()

    def write() -> None:
        with affidavit.connect(lake) as other:
            at = 0
            while not done.is_set():
                other.sql("INSERT INTO small VALUES ($at)", {"at": at})
                assert other.sql(
                    "SELECT count(*) AS n FROM information_schema.tables WHERE table_name = 'big'"
                ).to_pylist()[0]["n"] == 0 or session.table("big").count() == ROWS  # fmt: skip
                at += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert session.sql(MADE).rows_affected == ROWS
    finally:
        done.set()
        writer.join()
    loads = session.sql(EVENTS, table="big").to_pylist()
    assert [each["action"] for each in loads] == ["insert"] * ROWS + ["create"]
    others = session.sql(EVENTS, table="small").to_pylist()
    between = [each for each in others if loads[0]["seq"] < each["seq"] < loads[-1]["seq"]]
    assert between
    assert session.ledger.verify().ok
    assert staged(session) == (0, 0)


def test_p7_a_table_that_was_loaded_has_its_past(session) -> None:
    session.create_table("src", source())
    session.sql(MADE)
    made = session.sql("SELECT max(seq) AS seq FROM journal").to_pylist()[0]["seq"]
    session.sql("UPDATE big SET text = 'other' WHERE id < 10")
    session.sql("DELETE FROM big WHERE id >= 20000")
    then = f"SELECT * FROM as_of('big', {made}) ORDER BY id"
    assert session.sql(then).to_pylist() == source().to_pylist()
    with pytest.raises(errors.TableNotFoundError):
        session.sql(f"SELECT * FROM as_of('big', {made - 1})").to_arrow()
    changed = session.sql(f"SELECT * FROM changes('big', {made + 1}, NULL)").to_arrow()
    assert changed.num_rows == 2 * 10 + ROWS - 20_000
    session.sql("DROP TABLE big")
    assert session.sql(then).to_pylist() == source().to_pylist()


def test_p6_a_key_that_stands_twice_leaves_nothing(session) -> None:
    twice = pa.concat_tables([source(), source(1)])
    with pytest.raises(errors.ConstraintError, match="id = 0"):
        session.create_table("big", twice, primary_key="id")
    assert session.sql(EVENTS, table="big").to_pylist() == []
    assert staged(session) == (0, 0)
    assert session.create_table("big", source(), primary_key="id").count() == ROWS


def test_p6_a_null_in_a_key_leaves_nothing(session) -> None:
    nulls = pa.table({"id": [*range(ROWS), None]})
    with pytest.raises(errors.ConstraintError, match="NOT NULL"):
        session.create_table("big", nulls, primary_key="id")
    assert session.sql(EVENTS, table="big").to_pylist() == []
    assert staged(session) == (0, 0)


class Refusing:
    """Listens to changes, and lets so many pass."""

    def __init__(self, passed: int, error: BaseException) -> None:
        self.left = passed
        self.error = error

    def on_change(self, change, writer) -> None:
        if change.table != "big":
            return
        self.left -= 1
        if self.left < 0:
            raise self.error


@pytest.mark.parametrize("passed", [0, 1, 3])
@pytest.mark.parametrize("error", [errors.ConstraintError("no"), KeyboardInterrupt()])
def test_p6_a_load_that_is_stopped_is_abandoned_on_record(session, passed: int, error) -> None:
    session.create_table("src", source())
    session.add_change_listener(Refusing(passed, error))
    with pytest.raises(type(error)):
        session.sql(MADE)
    actions = [each["action"] for each in session.sql(EVENTS, table="big").to_pylist()]
    assert actions == (["insert"] * passed * loading.NOTED_ROWS + ["abandon"] if passed else [])
    assert staged(session) == (0, 0)
    with pytest.raises(errors.TableNotFoundError):
        session.table("big")
    assert session.ledger.verify().ok


def test_p6_a_load_of_a_name_that_is_taken_meanwhile_leaves_nothing_behind(session, lake) -> None:
    session.attach("src", source())
    taken = threading.Event()

    class Takes:
        def on_change(self, change, writer) -> None:
            if change.table == "big" and not taken.is_set():
                taken.set()
                thread.start()

    def take() -> None:
        with affidavit.connect(lake) as other:
            other.sql("CREATE TABLE big (id BIGINT)")

    thread = threading.Thread(target=take)
    session.add_change_listener(Takes())
    with pytest.raises(errors.TableExistsError):
        session.sql(MADE)
    thread.join()
    assert staged(session) == (0, 0)
    assert session.table("big").count() == 0
    assert session.ledger.verify().ok


def test_a_load_in_a_transaction_is_of_the_transaction(session) -> None:
    session.attach("src", source())
    with pytest.raises(ZeroDivisionError), session.transaction():
        session.sql(MADE)
        assert session.table("big").count() == ROWS
        raise ZeroDivisionError
    assert session.sql(EVENTS, table="big").to_pylist() == []
    assert staged(session) == (0, 0)


CHILD = """
import os, signal, sys
import pyarrow as pa
import affidavit
from tests.support.stores import store_class

path, after = sys.argv[1], int(sys.argv[2])
hits = 0
kind = store_class()
original = kind._transaction

def transaction(self, *given):
    global hits
    yield from original(self, *given)
    hits += 1
    if hits > after:
        os.kill(os.getpid(), signal.SIGKILL)

with affidavit.connect(path, durability="normal") as session:
    session.attach("src", pa.table({"id": range(25_000), "text": ["x"] * 25_000}))
    kind._transaction = transaction
    session.sql("CREATE TABLE big AS SELECT * FROM src")
"""


@pytest.mark.parametrize("after", [0, 1, 6, 7, 8, 15, 20])
def test_p6_what_a_killed_load_left_is_removed(lake: Path, after: int) -> None:
    affidavit.connect(lake).close()
    run_python(CHILD, lake, after, status=-signal.SIGKILL)
    with affidavit.connect(lake) as session:
        assert staged(session) == (0, 0)
        actions = {each["action"] for each in session.sql(EVENTS, table="big").to_pylist()}
        assert actions in (set(), {"insert", "abandon"})
        assert session.ledger.verify().ok
        session.attach("src", source())
        assert session.sql(MADE).rows_affected == ROWS
