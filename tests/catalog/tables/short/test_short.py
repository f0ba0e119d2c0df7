"""What is written as it stands is what the long way writes: rows, errors, events and versions."""

from __future__ import annotations

import contextlib
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import affidavit
from affidavit import errors
from affidavit.catalog.model.definition import MutableDefinition

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = pa.schema(
    {
        "id": pa.int64(), "n": pa.int8(), "x": pa.float64(), "s": pa.string(), "ok": pa.bool_(),
        "at": pa.timestamp("us"), "other": pa.decimal128(9, 2),
    }
)  # fmt: skip
NAMES = [name for name in SCHEMA.names if name != "id"]
NUMBERS = count()

VALUES = {
    "n": st.integers(-2, 2) | st.sampled_from([None, 200, "x"]),
    "x": st.sampled_from([None, 0.0, -0.0, 1.5, 3, float("inf"), float("nan")]),
    "s": st.sampled_from([None, "", "a", 'q"\\\n', "ü%s", "\ud800", 5]),
    "ok": st.sampled_from([None, True, False, 1]),
    "at": st.sampled_from([None, datetime(2020, 1, 2, 3, 4, 5, 6), datetime(1, 1, 1), "x"]),
    "other": st.sampled_from([None, None, None, 2]),
}
KEYS = st.integers(0, 4)
ROWS = st.fixed_dictionaries({"id": KEYS}, optional=VALUES)
SETS = st.fixed_dictionaries({}, optional=VALUES).filter(bool)
STEPS = st.one_of(
    st.tuples(st.just("insert"), st.lists(ROWS, min_size=1, max_size=3)),
    st.tuples(st.just("values"), ROWS),
    st.tuples(st.just("update"), SETS, KEYS),
    st.tuples(st.just("set"), SETS, KEYS),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("savepoint")),
    st.tuples(st.just("back")),
)


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Iterator[affidavit.Session]:
    with affidavit.connect(tmp_path_factory.mktemp("short"), durability="normal") as opened:
        yield opened


@contextlib.contextmanager
def the_long_way() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MutableDefinition, "plain", None)
        yield


def take(session: affidavit.Session, name: str, step: tuple[Any, ...]) -> object:
    kind, *rest = step
    table = session.table(name)
    if kind == "insert":
        return table.insert(rest[0])
    if kind == "values":
        names, values = list(rest[0]), list(rest[0].values())
        marks = ", ".join("?" * len(names))
        text = f"INSERT INTO {name} ({', '.join(names)}) VALUES ({marks})"
        return session.sql(text, values).rows_affected
    if kind == "update":
        sets = ", ".join(f"{column} = ${column}" for column in rest[0])
        text = f"UPDATE {name} SET {sets} WHERE id = $key"
        return session.sql(text, {**rest[0], "key": rest[1]}).rows_affected
    if kind == "set":
        return table.update(rest[0], f"id = {rest[1]}")
    if kind == "delete":
        return session.sql(f"DELETE FROM {name} WHERE id = {rest[0]}").rows_affected
    return session.sql("SAVEPOINT here" if kind == "savepoint" else "ROLLBACK TO here").schema


def told(session: affidavit.Session, name: str, step: tuple[Any, ...]) -> object:
    """Return what a step gives, or its error, which calls the table ``t``."""
    try:
        return take(session, name, step)
    except errors.AffidavitError as error:
        return type(error), str(error).replace(name, "t")


def state(session: affidavit.Session, name: str) -> list[object]:
    events = session.sql(
        "SELECT entity_id, field, action, old_value, new_value, context FROM journal "
        f"WHERE entity_type = '{name}' AND action <> 'create' ORDER BY seq"
    ).to_pylist()
    rows = session.table(name).to_arrow()
    with session._catalog().read() as reader:
        info = session._catalog().get(reader, name)
    return [str(rows.to_pylist()), rows.schema, info.version, info.row_count, events]


def run(session: affidavit.Session, steps: list[Any], *, inside: bool, ends: str) -> list[object]:
    """Return what steps give in a table of their own, and what it is then."""
    name = f"t{next(NUMBERS)}"
    session.create_table(name, schema=SCHEMA, primary_key="id")
    session.table(name).insert([{"id": 0, "s": "zero", "x": 0.5}, {"id": 1}])
    if inside:
        session.sql("BEGIN")
    found = [told(session, name, step) for step in steps]
    if inside:
        found.append(state(session, name))
        session.sql(ends)
    return [*found, *state(session, name)]


@settings(max_examples=40)
@given(
    st.lists(STEPS, min_size=1, max_size=6), st.booleans(), st.sampled_from(["COMMIT", "ROLLBACK"])
)
def test_the_short_way_is_the_long_way(session, steps, inside, ends) -> None:
    short = run(session, steps, inside=inside, ends=ends)
    with the_long_way():
        long = run(session, steps, inside=inside, ends=ends)
    assert short == long


def test_triggers_are_told_the_same(session) -> None:
    steps = [
        ("insert", [{"id": 2, "x": 3, "at": datetime(2020, 1, 1)}, {"id": 3, "x": 0.5}]),
        ("insert", [{"id": 4, "x": 2.5}]), ("values", {"id": 5, "x": 7.5, "ok": True}),
        ("update", {"x": 9.5}, 3), ("update", {"s": "x"}, 3), ("delete", 2), ("delete", 3),
    ]  # fmt: skip
    found = []
    for way in (contextlib.nullcontext, the_long_way):
        name = f"t{next(NUMBERS)}"
        session.create_table(name, schema=SCHEMA, primary_key="id")
        for action in ("insert", "update", "delete"):
            which = "old" if action == "delete" else "new"
            session.triggers.on(name, action, f"{which}.x > 1", publish=f"{name}-{action}")
        with way():
            given = [told(session, name, step) for step in steps]
        for action in ("insert", "update", "delete"):
            events = session.sql(f'SELECT old, new, action FROM topics."{name}-{action}"')
            given.append(events.to_arrow().to_pylist())
        found.append([*given, *state(session, name)])
    assert found[0] == found[1]
    assert [len(each) for each in found[0][7:10]] == [3, 2, 2]


def test_a_plain_statement_takes_the_short_way(session, monkeypatch) -> None:
    table = session.create_table("quick", schema=SCHEMA, primary_key="id")
    for module in ("insert", "update"):
        monkeypatch.delattr(f"affidavit.engine.run.{module}.changed")
    monkeypatch.delattr("affidavit.catalog.tables.mutable.schema_rows")
    assert table.insert({"id": 1, "s": "a"}) == 1
    for text in ("INSERT INTO quick (id) VALUES (2)", "UPDATE quick SET s = 'b' WHERE id = 1"):
        assert session.sql(text).rows_affected == 1
    assert table.update({"x": 2.5}, "id = 2") == 1
    assert session.sql("DELETE FROM quick WHERE id = $id", id=1).rows_affected == 1
    assert table.to_arrow()["x"].to_pylist() == [2.5]


def test_all_that_was_written_so_is_proved(session) -> None:
    """What the test before left, and a table with every short statement in it."""
    session.sql("CREATE TABLE proved (id INT PRIMARY KEY, s VARCHAR)")
    with session.transaction():
        session.table("proved").insert([{"id": at, "s": "x"} for at in range(5)])
        session.sql("UPDATE proved SET s = 'y' WHERE id = 1")
        session.sql("DELETE FROM proved WHERE id = 2")
    assert session.ledger.verify(data=True)
    assert [row["s"] for row in session.table("proved").to_arrow().to_pylist()] == [
        "x", "y", "x", "x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE {} SET s = 'b' WHERE id = 1 RETURNING id", "UPDATE {} SET s = s WHERE id = 1",
        "UPDATE {} SET id = 7 WHERE id = 1", "UPDATE {} SET s = 'c' WHERE s = 'zero'",
        "DELETE FROM {} WHERE id = 1 OR id = 0", "UPDATE {} SET nothing = 1 WHERE id = 1",
        "UPDATE {} SET s = 'd' WHERE nothing = 1", "INSERT INTO {} (id, id) VALUES (3, 4)",
        "INSERT INTO {} (id, x) VALUES (3, 1.25), (4, -7), (5, NULL)",
        "INSERT INTO {} (id, x) VALUES (3, 1 + 1)", "INSERT INTO {} (id) VALUES (0)",
        "INSERT INTO {} (id) VALUES (8), (8)", "INSERT INTO {} VALUES (9)",
        "UPDATE {} SET s = NULL, x = -1.5 WHERE id = 0", "DELETE FROM {} WHERE id = 12",
        "UPDATE {} SET n = 5 WHERE id = 12", "UPDATE {} SET n = DEFAULT WHERE id = 1",
        "INSERT INTO {} (id, at) VALUES (3, '2020-01-01'), (4, TIMESTAMP '2020-01-01 00:00:00')",
    ],
)  # fmt: skip
def test_statements_are_read_alike_whichever_way_they_take(session, text) -> None:
    found = []
    for way in (contextlib.nullcontext, the_long_way):
        name = f"t{next(NUMBERS)}"
        session.create_table(name, schema=SCHEMA, primary_key="id")
        session.table(name).insert([{"id": 0, "s": "zero", "x": 0.5}, {"id": 1}])
        with way():
            try:
                given = session.sql(text.format(name)).to_pylist()
            except errors.AffidavitError as error:
                given = type(error), str(error).replace(name, "t")
        found.append([given, *state(session, name)])
    assert found[0] == found[1]
