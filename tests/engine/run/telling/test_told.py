"""What a session tells of its tables and of itself: SHOW, SUMMARIZE, PRAGMA, USE, current_actor()."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

import affidavit
from affidavit import errors
from affidavit.engine.statement.reading.functions import OF_CALLER, OF_CALLER_WORDS

ENGINES = {"audit", "system", "topics", "information_schema"}


@pytest.fixture
def filled(session: affidavit.Session) -> affidavit.Session:
    session.sql("CREATE SCHEMA other")
    session.sql("CREATE TABLE other.t (a INT)")
    session.sql(
        "CREATE TABLE zoo (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL DEFAULT 'x', f DOUBLE, "
        "d DATE, flag BOOLEAN, list BIGINT[])"
    )
    session.sql("INSERT INTO zoo VALUES (1, 'a', 1.5, '2026-01-01', true, [1]), "
                "(2, 'b', NULL, '2026-01-03', NULL, NULL), (3, 'b', 4.5, NULL, false, [2])")  # fmt: skip
    session.sql("CREATE VIEW seen AS SELECT id FROM zoo")
    return session


def test_own_tables_are_shown_before_the_engines(filled) -> None:
    rows = filled.sql("SHOW TABLES").to_pylist()
    named = [(row["table_schema"], row["table_name"]) for row in rows]
    assert named[:3] == [("main", "seen"), ("main", "zoo"), ("other", "t")]
    assert {schema for schema, _ in named[3:]} <= ENGINES
    for text in ("SHOW TABLES FROM other", "SHOW TABLES IN 'other'"):
        assert [row["table_name"] for row in filled.sql(text).to_pylist()] == ["t"]
    assert [row["table_name"] for row in filled.sql("SHOW VIEWS").to_pylist()] == ["seen"]
    assert {"main", "other"} <= {
        row["schema_name"] for row in filled.sql("SHOW SCHEMAS").to_pylist()
    }
    assert filled.sql("SHOW DATABASES").to_pylist() == [{"database_name": "lake"}]
    with pytest.raises(errors.SqlError, match="SHOW TABLES takes FROM a schema"):
        filled.sql("SHOW TABLES LIKE 'z%'")


def test_a_summary_has_a_row_a_column(filled) -> None:
    rows = {row["column_name"]: row for row in filled.sql("SUMMARIZE zoo").to_pylist()}
    assert list(rows) == ["id", "name", "f", "d", "flag", "list"]
    assert rows["f"] == {
        "column_name": "f", "column_type": "DOUBLE", "min": "1.5", "max": "4.5",
        "approx_unique": 2, "avg": 3.0, "std": pytest.approx(2.1213, abs=1e-4), "q25": 1.5,
        "q50": pytest.approx(3.0, abs=1.6), "q75": 4.5, "count": 3, "null_percentage": 33.33,
    }  # fmt: skip
    assert (rows["name"]["min"], rows["name"]["max"], rows["name"]["approx_unique"]) == (
        "a",
        "b",
        2,
    )
    assert (rows["d"]["min"], rows["d"]["avg"]) == (str(dt.date(2026, 1, 1)), None)
    assert (rows["list"]["min"], rows["list"]["count"], rows["list"]["null_percentage"]) == (
        None, 3, 33.33,
    )  # fmt: skip


def test_a_summary_of_a_query_a_frame_and_of_nothing(filled) -> None:
    asked = filled.sql("SUMMARIZE SELECT f AS half FROM zoo WHERE id > $id", id=1).to_pylist()
    assert [(row["column_name"], row["count"], row["min"]) for row in asked] == [("half", 2, "4.5")]
    filled.attach("frame", pa.table({"n": pa.array([], pa.int64()), "none": pa.nulls(0)}))
    assert [row["null_percentage"] for row in filled.sql("SUMMARIZE frame").to_pylist()] == [
        None
    ] * 2
    with pytest.raises(errors.TableNotFoundError):
        filled.sql("SUMMARIZE nowhere")


def test_a_summary_is_a_read_on_record(filled, lake) -> None:
    with affidavit.connect(lake, audit="reads", actor="reader") as reading:
        reading.sql("SUMMARIZE zoo").to_arrow()
        [read] = reading.sql("SELECT actor, tables FROM audit.reads WHERE actor = 'reader' "
                             "ORDER BY seq LIMIT 1").to_pylist()  # fmt: skip
    assert "main.zoo" in str(read["tables"])


@pytest.mark.parametrize("name", ["'zoo'", "zoo", "main.zoo", "'main.zoo'", '"zoo"'])
def test_pragma_tells_the_columns_of_a_table(filled, name: str) -> None:
    rows = filled.sql(f"PRAGMA table_info({name})").to_pylist()
    assert rows[:2] == [
        {"cid": 0, "name": "id", "type": "BIGINT", "notnull": True, "dflt_value": None, "pk": True},
        {"cid": 1, "name": "name", "type": "VARCHAR", "notnull": True, "dflt_value": "'x'",
         "pk": False},
    ]  # fmt: skip
    assert [row["name"] for row in rows[2:]] == ["f", "d", "flag", "list"]


def test_pragma_tells_of_the_temporary_table_of_a_name(filled) -> None:
    filled.sql("CREATE TEMP TABLE zoo (id BIGINT, y INT DEFAULT 3)")
    found = filled.sql("PRAGMA table_info(zoo)").to_pylist()
    assert [(row["name"], row["dflt_value"], row["pk"]) for row in found] == [
        ("id", None, False), ("y", "3", False),
    ]  # fmt: skip


def test_what_pragma_and_use_do_not_know_is_told(filled) -> None:
    with pytest.raises(errors.TableNotFoundError, match="zoo"):
        filled.sql("PRAGMA table_info('nowhere')")
    with pytest.raises(errors.SqlError, match=r"table_info\('t'\) is, and SET"):
        filled.sql("PRAGMA foreign_keys = ON")
    for text in ("USE main", "USE lake", "USE lake.main"):
        assert filled.sql(text).to_pylist() == []
    with pytest.raises(errors.SqlError, match=r"USE other is not supported: .* write schema.table"):
        filled.sql("USE other")


# --- who asks -------------------------------------------------------------------------------------


def test_a_statement_knows_its_caller(lake) -> None:
    with affidavit.connect(lake, tenant="acme", actor="ann", durability="normal") as session:
        [told] = session.sql(
            "SELECT current_tenant(), current_actor(), current_user, current_schema(), version(), "
            "upper(current_actor()) AS loud, 'current_user' AS quoted"
        ).to_pylist()
        assert told["version()"].startswith("affidavit ")
        del told["version()"]
        assert told == {
            "current_tenant()": "acme", "current_actor()": "ann", "current_user": "ann",
            "current_schema()": "main", "loud": "ANN", "quoted": "current_user",
        }  # fmt: skip
        session.sql("CREATE TABLE notes (n INT, by_whom VARCHAR DEFAULT current_actor())")
        session.sql("INSERT INTO notes (n) VALUES (1)")
        session.sql("CREATE VIEW mine AS SELECT n FROM notes WHERE by_whom = current_user")
        with session.scope(actor="o'hara") as other:
            other.sql("INSERT INTO notes (n) VALUES (2)")
            assert other.sql("SELECT n FROM mine").to_pylist() == [{"n": 2}]
        assert session.sql("SELECT n FROM mine").to_pylist() == [{"n": 1}]
        assert session.sql("DELETE FROM notes WHERE by_whom = current_actor()").rows_affected == 1


def test_all_of_them_are_answered(session) -> None:
    asked = [*(f"{name}()" for name in sorted(OF_CALLER)), *map(str.lower, OF_CALLER_WORDS)]
    [told] = session.sql(f"SELECT {', '.join(asked)}").to_pylist()
    assert [*told] == asked


def test_the_shared_scope_has_no_tenant(lake) -> None:
    with affidavit.connect(lake, tenant=None) as shared:
        assert shared.sql("SELECT current_tenant() AS t").to_pylist() == [{"t": None}]


def test_a_constraint_is_about_a_row_and_not_about_who_asks(session) -> None:
    for said in ("CHECK (a = current_actor())", "GENERATED ALWAYS AS (current_actor()) STORED"):
        with pytest.raises(errors.SqlError):
            session.sql(f"CREATE TABLE t (a VARCHAR {said})")
