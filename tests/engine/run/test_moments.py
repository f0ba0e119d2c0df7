"""Moments as columns and literals: in microseconds, where no precision is said."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

import affidavit
from affidavit import errors


def values(session: affidavit.Session, text: str) -> list[object]:
    return [value for row in session.sql(text).to_pylist() for value in row.values()]


def test_far_years_fit_as_columns_and_as_literals(session) -> None:
    session.sql("CREATE TABLE t (a TIMESTAMP, b TIMESTAMPTZ, c TIMESTAMP(9), d TIMESTAMP[])")
    kinds = [str(field.type) for field in session.table("t").schema]
    assert kinds[:3] == ["timestamp[us]", "timestamp[us, tz=UTC]", "timestamp[ns]"]
    assert "timestamp[us]" in kinds[3]
    session.sql(
        "INSERT INTO t VALUES ('9999-12-31', '1600-01-01T00:00:00Z', NULL, ['1600-01-01']), "
        "(TIMESTAMP '1600-01-01', TIMESTAMPTZ '9999-12-31T00:00:00Z', TIMESTAMP '2024-01-01', NULL)"
    )
    last, first = dt.datetime(9999, 12, 31), dt.datetime(1600, 1, 1)
    assert values(session, "SELECT a FROM t WHERE a = TIMESTAMP '9999-12-31'") == [last]
    assert values(session, "SELECT a FROM t WHERE a < '9999-12-30'::TIMESTAMP") == [first]
    assert values(session, "SELECT a FROM t WHERE a <= CAST('1600-01-01' AS TIMESTAMP)") == [first]
    assert values(session, "SELECT TIMESTAMP '9999-12-31' AS x") == [last]
    told = session.sql("SHOW CREATE TABLE t").to_pylist()[0]["definition"]
    assert '"a" TIMESTAMP,' in told
    assert '"b" TIMESTAMP WITH TIME ZONE,' in told
    assert '"c" TIMESTAMP(9),' in told
    session.sql(told.replace('"t"', '"again"'))
    assert session.table("again").schema == session.table("t").schema
    assert session.ledger.verify(data=True)


def test_a_column_of_nanoseconds_says_what_it_has_no_room_for(session) -> None:
    session.sql("CREATE TABLE t (a TIMESTAMP(9))")
    with pytest.raises(errors.AffidavitError, match="9999-12-31"):
        session.sql("INSERT INTO t VALUES ('9999-12-31')")
    assert session.table("t").count() == 0


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_a_time_compares_with_a_literal_in_whatever_unit(session, unit: str) -> None:
    times = pa.array([dt.time(8), dt.time(12, 30), None], pa.time64(unit))
    session.create_table("t", pa.table({"id": [1, 2, 3], "at": times}))
    for where, expected in {
        "at > TIME '08:00:00'": [2], "at = TIME '12:30:00'": [2], "at <> TIME '12:30'": [1],
        "at BETWEEN TIME '07:00' AND TIME '09:00'": [1], "NOT (at >= TIME '08:00:01')": [1],
        "TIME '09:00' < at AND id > 0": [2],
    }.items():  # fmt: skip
        assert values(session, f"SELECT id FROM t WHERE {where} ORDER BY id") == expected, where
    assert values(session, "SELECT TIME '10:00' > TIME '9:00' AS x") == [True]


def test_p10_a_literal_of_nanoseconds_keeps_them(session) -> None:
    """They were cut off: a TIMESTAMP(9) was given .145224."""
    session.sql("CREATE TABLE t (id INT PRIMARY KEY, a TIMESTAMP(9))")
    least, most = "1677-09-21 00:12:43.145224193", "2262-04-11 23:47:16.854775806"
    session.sql(f"INSERT INTO t VALUES (1, TIMESTAMP '{least}'), (2, TIMESTAMP '{most}')")
    counts = session.sql("SELECT a FROM t ORDER BY id").to_arrow()["a"].cast(pa.int64())
    assert counts.to_pylist() == [-(2**63) + 1, 2**63 - 2]
    asked = "SELECT TIMESTAMPTZ '2020-01-01 00:00:00.000000001+01:00' AS z, TIMESTAMP '2020-01-01 00:00:00.1234560' AS u"
    found = session.sql(asked).to_arrow()
    assert found["z"].cast(pa.int64()).to_pylist() == [1_577_833_200_000_000_001]
    assert found.schema.field("u").type == pa.timestamp("us")


def test_p10_a_literal_finer_than_microseconds_has_any_year(session) -> None:
    """The greatest moment of other databases is written with seven digits."""
    asked = "SELECT TIMESTAMP '9999-12-31 23:59:59.9999999' AS t, TIMESTAMPTZ '1600-01-01 00:00:00.0000019' AS z"
    found = session.sql(asked).to_pylist()[0]
    assert found["t"] == dt.datetime(9999, 12, 31, 23, 59, 59, 999999)
    assert found["z"] == dt.datetime(1600, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)
