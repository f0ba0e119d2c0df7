"""Rows of literals and parameters are read as DataFusion reads them, without a plan."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.arrow_values import bits

import affidavit
from affidavit import errors
from affidavit.engine.run import insert

TYPES = ["INT", "BIGINT", "TINYINT UNSIGNED", "BIGINT UNSIGNED", "DOUBLE", "REAL", "VARCHAR", "BOOLEAN", "DECIMAL(12, 3)", "DECIMAL(38, 10)",
         "DATE", "TIMESTAMP", "BYTEA", "VARCHAR(3)", "INT NOT NULL", "DOUBLE DEFAULT 0.5", "INT CHECK (c > 0)", "INTEGER[]"]  # fmt: skip
LITERALS = ["0", "-0", "1", "-1", "007", "300", "2147483648", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "99999999999999999999",
            "0.1", "-0.0", "1.5", "-2.5", ".5", "5.", "0.3333333333333333", "123456789012.345", "1234567890123456.7", "9007199254740993", "1e3", "-1e-3", "1_000", "0x1f",
            "'a'", "''", "'it''s'", "'ß'", "'abcd'", "'1'", "'2020-01-01'", "E'a\\n'", "TRUE", "false", "NULL", "DEFAULT", "DATE '2020-01-01'", "X'ff'", "1 + 1", "(1)",
            "TIMESTAMP '2020-01-01 01:02:03.5'", "TIMESTAMP '2020-01-01 01:02:03'", "DATE '2020-02-30'", "'2020-01-01 01:02:03.123456'", "'2020-01-01T01:02:03Z'", "TIMESTAMP '1500-01-01'",
            "33.7254040739013123", "0.12345678901234567890123456789012345678", "12345678901234567890.5", "- 1", "+1", "[1]", "$p", "current_date", "-NULL", "-'a'"]  # fmt: skip
VALUES = [0, 1, -1, 300, 2**31, 2**63, 2**53 + 1, 0.1, -0.0, float("nan"), "a", "abcd", "\ud800", "", True, None, Decimal("1.5"), Decimal("0.3333"),
          dt.date(2020, 1, 1), dt.datetime(2020, 1, 1, 1, 2, 3, 4), b"x", pa.scalar(1, pa.int8()), [1]]  # fmt: skip


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    with affidavit.connect(
        tmp_path_factory.mktemp("literals") / "lake", durability="normal"
    ) as opened:
        yield opened


def outcome(session: affidavit.Session, made: str, text: str, params: Any) -> object:
    session.sql(f"CREATE OR REPLACE TABLE t ({made})")
    try:
        session.sql(text, params)
    except errors.AffidavitError as error:
        return type(error), str(error) if isinstance(error, errors.ConstraintError) else ""
    asked = "SELECT new_value FROM journal WHERE action = 'insert' AND seq > $seq"
    rows = session.table("t").to_arrow()
    events = session.sql(asked, seq=session.ledger.size - len(rows) - 1).to_pylist()
    return rows.schema, [bits(each.combine_chunks()) for each in rows.columns], events


@pytest.mark.fuzz
@given(st.data())
@settings(max_examples=33, deadline=None)
def test_p10_rows_of_literals_are_what_a_plan_makes_of_them(
    session: affidavit.Session, data: st.DataObject
) -> None:
    kinds = data.draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=2))
    made = ", ".join(f"c{at} {kind}".replace("(c >", f"(c{at} >") for at, kind in enumerate(kinds))
    likely = st.sampled_from(LITERALS)
    rows = data.draw(
        st.lists(st.lists(likely, min_size=len(kinds), max_size=len(kinds)), min_size=1, max_size=3)
    )
    text = "INSERT INTO t VALUES " + ", ".join(f"({', '.join(row)})" for row in rows)
    params = {"p": data.draw(st.sampled_from(VALUES))} if "$p" in text else None
    read = outcome(session, made, text, params)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(insert, "literal_rows", lambda *_: None)
        assert outcome(session, made, text, params) == read, (made, text, params)


def test_what_is_read_without_a_plan(session, monkeypatch) -> None:
    session.sql(
        "CREATE OR REPLACE TABLE t (i INT PRIMARY KEY, d DOUBLE, n DECIMAL(12, 3), s VARCHAR, b BOOLEAN, at TIMESTAMP)"
    )
    monkeypatch.setattr("affidavit.engine.run.insert.plan_insert", None)
    session.sql(
        "INSERT INTO t VALUES (1, 0.1, -1.250, 'it''s', TRUE, NULL), (-2, 2, 3, '', false, $at)",
        at=dt.datetime(2020, 1, 1),
    )
    session.sql("INSERT INTO t (s, i) VALUES (?, ?)", ["x", 3])
    monkeypatch.undo()
    rows = [tuple(row.values()) for row in session.sql("SELECT * FROM t ORDER BY i").to_pylist()]
    assert rows == [
        (-2, 2.0, Decimal("3.000"), "", False, dt.datetime(2020, 1, 1)),
        (1, 0.1, Decimal("-1.250"), "it's", True, None),
        (3, None, None, "x", None, None),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("INSERT INTO t VALUES (1), (2, 3)", "SqlError"),
        ("INSERT INTO t VALUES (1, 2)", "SqlError"),
        ("INSERT INTO t VALUES (1),", "SqlError"),
        ("INSERT INTO t VALUES ()", "SqlError"),
        ("INSERT INTO t VALUES", "SqlError"),
        ("INSERT INTO t (nope) VALUES (1)", "ColumnNotFoundError"),
        ("INSERT INTO t VALUES (99999999999)", ""),
    ],
)
def test_p21_what_is_wrong_is_told_as_before(session, text: str, told: str) -> None:
    session.sql("CREATE OR REPLACE TABLE t (i INT)")
    with pytest.raises(errors.AffidavitError) as raised:
        session.sql(text)
    assert told in type(raised.value).__name__
    assert session.table("t").count() == 0


@pytest.mark.fuzz
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@settings(max_examples=25, deadline=None)
def test_p10_a_float_is_stored_as_the_nearest_one_to_what_is_written(
    session: affidavit.Session, floats: list[float]
) -> None:
    texts = [f"{each:.17f}" for each in floats if abs(each) < 1e20] + ["1.5061642402352393"]
    wanted = [float(each) for each in texts]
    session.sql("CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, f DOUBLE, m DECIMAL(38, 17))")
    rows = ", ".join(f"({at}, {each}, 1)" for at, each in enumerate(texts))
    session.sql(f"INSERT INTO t VALUES {rows}")
    assert session.table("t").to_arrow()["f"].to_pylist() == wanted
    session.sql(f"UPDATE t SET f = {texts[0]}, m = 1.50616424023523931")
    found = session.sql("SELECT f, m FROM t").to_arrow()
    assert found["f"].to_pylist() == [wanted[0]] * len(wanted)
    assert set(found["m"].to_pylist()) == {Decimal("1.50616424023523931")}
    cast = session.sql(f"SELECT CAST(-{texts[-1]} AS DOUBLE) AS a, {texts[-1]}::DOUBLE AS b")
    assert cast.to_pylist() == [{"a": -wanted[-1], "b": wanted[-1]}]


def test_p10_a_default_is_the_nearest_float(session: affidavit.Session) -> None:
    wanted = 1.5061642402352393
    session.sql(f"CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, f DOUBLE DEFAULT {wanted})")
    session.sql("INSERT INTO t (id) VALUES (1)")
    session.sql("INSERT INTO t VALUES (2, DEFAULT), (3, (-(1.5061642402352393)))")
    session.table("t").insert([{"id": 4}])
    session.sql("INSERT INTO t VALUES (5, 0)")
    session.sql("UPDATE t SET f = DEFAULT WHERE id = 5")
    session.sql(f"ALTER TABLE t ADD COLUMN g DOUBLE DEFAULT {wanted}")
    found = session.sql("SELECT f, g FROM t ORDER BY id").to_arrow()
    assert found["f"].to_pylist() == [wanted, wanted, -wanted, wanted, wanted]
    assert found["g"].to_pylist() == [wanted] * 5
