"""An UPDATE or DELETE of a key's row, read without a plan, does what a planned one does."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import affidavit
from affidavit import errors
from affidavit.engine.run import update

MADE = {
    "i": "id INT PRIMARY KEY, n DOUBLE, s VARCHAR NOT NULL DEFAULT 'd', m DECIMAL(12, 3), g INT AS (id + 1) STORED, CHECK (n < 100)",
    "w": "id VARCHAR PRIMARY KEY, n DOUBLE, s VARCHAR NOT NULL, m DECIMAL(12, 3)",
}  # fmt: skip
ROWS = {
    "i": "(1, 0.5, 'a', 1.5), (2, NULL, 'b', NULL)",
    "w": "('1', 0.5, 'a', 1.5), ('', NULL, 'b', NULL)",
}
SETS = ["n = 1", "n = -2.5", "n = NULL", "n = 300", "n = $p", "s = 'x'", "s = NULL", "s = DEFAULT", "s = 1", "m = 0.125", "m = 0.1255", "m = 5", "n = 1, s = 'y'",
        "id = 2", "id = id", "n = n + 1", "n = (1)", "nope = 1", "g = 1", "N = 4", '"n" = 5', "n = 1, n = 2"]  # fmt: skip
KEYS = ["id = 1", "id = '1'", "id = ''", "ID = 2", '"id" = 1', "id = 3", "id = NULL", "id = $k", "id = 1 AND n = 0.5", "n = 0.5", "id = 1.0", "(id = 1)",
        "id = 1 AND id = 1", "t.id = 1", "id = 99999999999"]  # fmt: skip
VALUES = [1, 2, -1, 0.5, "1", "", True, None, 2**40]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    with affidavit.connect(
        tmp_path_factory.mktemp("keyed") / "lake", durability="normal"
    ) as opened:
        yield opened


def outcome(session: affidavit.Session, kind: str, text: str, params: Any) -> object:
    session.sql(f"CREATE OR REPLACE TABLE t ({MADE[kind]})")
    session.sql(f"INSERT INTO t (id, n, s, m) VALUES {ROWS[kind]}")
    before, told = session.ledger.size, None
    try:
        told = session.sql(text, params).rows_affected
    except errors.AffidavitError as error:
        told = type(error), str(error) if isinstance(error, errors.ConstraintError) else ""
    asked = "SELECT action, entity_id, field, old_value, new_value FROM journal WHERE seq > $seq"
    rows = session.table("t").to_arrow()
    return told, str(rows.to_pylist()), session.sql(asked, seq=before - 1).to_pylist()


@pytest.mark.fuzz
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_p19_it_does_what_a_planned_one_does(
    session: affidavit.Session, data: st.DataObject
) -> None:
    kind, where = data.draw(st.sampled_from(["i", "w"])), data.draw(st.sampled_from(KEYS))
    made = data.draw(
        st.sampled_from(
            [f"UPDATE t SET {each} WHERE {where}" for each in SETS]
            + [f"DELETE FROM t WHERE {where}"] * 4
        )
    )
    made += data.draw(st.sampled_from(["", "", "", " RETURNING id"]))
    params = {name: data.draw(st.sampled_from(VALUES)) for name in ("p", "k") if f"${name}" in made}
    read = outcome(session, kind, made, params)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(update, "keyed_row", lambda *_: None)
        assert outcome(session, kind, made, params) == read, (made, params)


def test_what_is_changed_without_a_plan(session, monkeypatch) -> None:
    session.sql(f"CREATE OR REPLACE TABLE t ({MADE['i']})")
    session.sql(f"INSERT INTO t (id, n, s, m) VALUES {ROWS['i']}")
    monkeypatch.setattr("affidavit.engine.plan.planner.Planner.collect", None)
    assert (
        session.sql("UPDATE t SET n = $n, s = 'z' WHERE id = $id", n=7.5, id=1).rows_affected == 1
    )
    assert session.table("t").update({"n": 2.5}, "id = 2") == 1
    assert session.sql("DELETE FROM t WHERE id = 2").rows_affected == 1
    assert session.sql("DELETE FROM t WHERE id = 2").rows_affected == 0
    monkeypatch.undo()
    assert session.sql("SELECT id, n, s FROM t").to_pylist() == [{"id": 1, "n": 7.5, "s": "z"}]


def test_p7_two_who_change_one_row_do_not_lose_a_change(lake) -> None:
    with affidavit.connect(lake) as one, affidavit.connect(lake, busy_timeout_s=0.3) as other:
        one.sql("CREATE TABLE t (id INT PRIMARY KEY, n INT)")
        one.sql("INSERT INTO t VALUES (1, 0)")
        with one.transaction():
            one.sql("UPDATE t SET n = 1 WHERE id = 1")
            with pytest.raises(errors.AffidavitError):
                other.sql("UPDATE t SET n = 2 WHERE id = 1")
        other.sql("UPDATE t SET n = 3 WHERE id = 1")
        assert one.sql("SELECT n FROM t").to_pylist() == [{"n": 3}]
        events = one.sql(
            "SELECT old_value, new_value FROM journal WHERE action = 'update'"
        ).to_pylist()
        assert [(each["old_value"], each["new_value"]) for each in events] == [
            ("0", "1"),
            ("1", "3"),
        ]


@pytest.mark.parametrize(
    "text", ["INSERT INTO t VALUES (2, 0)", "UPDATE t SET n = 9", "DELETE FROM t"]
)
def test_p21_who_waited_for_the_writer_for_too_long_writes_nothing(lake, text: str) -> None:
    with affidavit.connect(lake) as one, affidavit.connect(lake) as other:
        one.sql("CREATE TABLE t (id INT PRIMARY KEY, n INT)")
        one.sql("INSERT INTO t VALUES (1, 0)")
        before = one.ledger.size
        one.begin()
        one.sql("INSERT INTO t VALUES (3, 3)")
        ended = threading.Timer(0.6, one.rollback)
        ended.start()
        with pytest.raises(errors.StatementTimeoutError):
            other.sql(text, timeout=0.3)
        ended.join()
        assert one.sql("SELECT * FROM t").to_pylist() == [{"id": 1, "n": 0}]
        assert one.ledger.size == before


@pytest.mark.parametrize("dialect", ["ansi", "duckdb", "postgresql", "snowflake", "sqlite"])
def test_p19_texts_are_read_in_the_dialect_of_the_session(lake, dialect: str) -> None:
    with affidavit.connect(lake) as session:
        session.sql("CREATE TABLE t (id VARCHAR PRIMARY KEY, s VARCHAR)")
        session.sql(f"SET datafusion.sql_parser.dialect = '{dialect}'")
        meant = session.sql(r"SELECT 'a\nb' AS s").to_pylist()[0]["s"]
        assert meant == ("a\nb" if dialect == "snowflake" else r"a\nb")
        session.sql(r"INSERT INTO t VALUES ('a\nb', 'a\nb')")
        assert session.table("t").to_arrow().to_pylist() == [{"id": meant, "s": meant}]
        session.sql(r"UPDATE t SET s = 'c\nd' WHERE id = 'a\nb'")
        changed = meant.replace("a", "c").replace("b", "d")
        assert session.table("t").to_arrow().to_pylist() == [{"id": meant, "s": changed}]
        assert session.sql(r"DELETE FROM t WHERE id = 'a\nb'").rows_affected == 1
