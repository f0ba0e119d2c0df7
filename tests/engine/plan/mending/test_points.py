"""A number with a point is a decimal, unless it meets a float."""

from __future__ import annotations

from decimal import Decimal

import pytest

LARGE = "1234567890123456.78"


@pytest.fixture
def rows(session):
    session.sql("CREATE TABLE t (x DOUBLE, r REAL, m DECIMAL(18, 2), i BIGINT, l DOUBLE[])")
    session.sql(
        f"INSERT INTO t VALUES (1e-20, 1e-10, {LARGE}, 9007199254740993, [1.5]), "
        "(1.5, 1.5, 0.1, 1, [0.5]), (1e300, 1e30, 2, 2, NULL), ('NaN', 'NaN', 3, 3, NULL)"
    )

    def ask(text: str) -> list[object]:
        found = session.sql(text).to_pylist()
        return [tuple(row.values()) if len(row) > 1 else next(iter(row.values())) for row in found]

    return ask


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("x > 0.0", [1, 2, 3, 9007199254740993]),
        ("x <> 1.5 AND x < 0.1", [9007199254740993]),
        ("r > 0.0", [1, 2, 3, 9007199254740993]),
        ("r BETWEEN 0.05 AND 1.75", [1]),
        ("x IN (0.1, 0.2, 1.5)", [1]),
        ("x IN (SELECT 1.5)", [1]),
        ("x IN (0.25, 3, 1.5) OR r IN (7, 0.5)", [1]),
        ("CASE WHEN i > 2 THEN 7 WHEN i = 2 THEN 0.5 ELSE x END > 1", [1, 3, 9007199254740993]),
        ("i > 9007199254740992.000000000000001", [9007199254740993]),
        ("coalesce(x, 0.5) > 1", [1, 2, 3]),
        ("CASE WHEN i > 2.5 THEN 0.5 ELSE x END > 1e200", [2]),
        ("array_has(l, 1.5)", [9007199254740993]),
        (f"x < 0.1 AND m = {LARGE} AND i > 9007199254740992.5", [9007199254740993]),
        (f"m = {LARGE} AND x IN (0.1, 0.2, 1e-20)", [9007199254740993]),
        (f"x > {LARGE}", [2, 3]),
    ],
)
def test_a_float_that_meets_a_number_stays_one(rows, condition: str, found: list[int]) -> None:
    """It was brought to DECIMAL(30, 15): 1e-20 was 0 then, and 1e300 and NaN were errors."""
    assert rows(f"SELECT i FROM t WHERE {condition} ORDER BY i") == found


def test_what_makes_one_column_with_floats_is_one(rows, session) -> None:
    assert rows("SELECT * FROM (VALUES (1.5), (1e-20), (0.5))") == [1.5, 1e-20, 0.5]
    assert sorted(rows("SELECT x FROM t WHERE i = 1 UNION ALL SELECT 0.25")) == [0.25, 1.5]
    [(wide, exact)] = rows("SELECT coalesce(x, 0.5), m + 0.1 FROM t WHERE i = 1")
    assert (wide, exact) == (1.5, Decimal("0.20"))
    session.sql("CREATE TABLE u AS SELECT least(x, 0.5) AS x, 0.5 AS y FROM t WHERE i < 3.5")
    assert [str(field.type) for field in session.table("u").schema] == [
        "double",
        "decimal128(1, 1)",
    ]
    session.sql("UPDATE t SET r = 0.5 WHERE x > 1.25")
    session.sql("DELETE FROM t WHERE r = 0.5")
    assert rows("SELECT i FROM t") == [9007199254740993]


def test_columns_are_called_as_they_are_written(rows, session) -> None:
    """Some of the numbers become floats, and are written otherwise, before they are planned."""
    text = "SELECT x > 0.5, 0.5, x * 0.25, abs(-0.5) < x, i > 0.5 FROM t"
    called = ["x > 0.5", "0.5", "x * 0.25", "abs(-0.5) < x", "i > 0.5"]
    for _ in range(2):  # the second time it is planned as it was written the first
        assert session.sql(text).schema.names == called
    assert session.describe(text).columns.names == called
    session.sql(f"CREATE VIEW v AS {text}")
    session.sql(f"CREATE TABLE made AS {text}")
    assert session.sql("SELECT * FROM v").schema.names == called
    assert session.table("made").schema.names == called
    given = session.sql("SELECT x > $p, $p FROM t", {"p": Decimal("0.5")})
    assert given.schema.names == ["x > $p", "$p"]
    many = ", ".join(f"{number}.5" for number in range(300))
    assert rows(f"SELECT i FROM t WHERE x IN ({many}) OR x IN ({many})") == [1]


def test_a_parameter_that_is_a_decimal_is_as_a_number(rows, session) -> None:
    def asked(text: str, **given: Decimal) -> list[object]:
        return [row["i"] for row in session.sql(text, given).to_pylist()]

    large = Decimal(LARGE)
    text = "SELECT i FROM t WHERE x < $p AND m = $m AND 0.0 < x"
    assert asked(text, p=Decimal("0.5"), m=large) == [9007199254740993]
    text = "SELECT i FROM t WHERE x IN ($p, $q, 0.75) OR r > 1e31 + $p"
    assert asked(text, p=Decimal("1.5"), q=Decimal("0.5")) == [1, 3]
    assert asked("SELECT i FROM t WHERE m = $m", m=large) == [9007199254740993]


def test_zeros_before_a_number_are_no_digits_of_it(session) -> None:
    [row] = session.sql(f"SELECT 0000{'9' * 34}.9999 AS n").to_pylist()
    assert row == {"n": Decimal(f"{'9' * 34}.9999")}
