"""How often a statement is planned, and what is kept of how it was written for the planner."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import SessionContext

from affidavit import errors
from affidavit.engine.plan.mending.points import NARROWED_MAX, PLANNED_MAX
from affidavit.engine.plan.mending.remembered import KEPT_MAX, LENGTH_MAX, Remembered, Written

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit import Session

LARGE = "1234567890123456.78"


@pytest.fixture
def asked(session: Session, monkeypatch) -> Callable[..., tuple[list[object], int]]:
    """Return what runs a query, and returns its first column and how often it was planned."""
    session.sql("CREATE TABLE t (i BIGINT, x DOUBLE, m DECIMAL(18, 2), l DOUBLE[])")
    session.sql(
        f"INSERT INTO t VALUES (1, 1e-20, {LARGE}, [0.5]), (2, 0.15, 0.1, [1.5]), (3, 1e300, 2, [])"
    )
    plans: list[str] = []
    plan = SessionContext.sql

    def counted(context: SessionContext, text: str, *given: object, **named: object) -> object:
        plans.append(text)
        return plan(context, text, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(SessionContext, "sql", counted)

    def ask(text: str, **params: object) -> tuple[list[object], int]:
        plans.clear()
        found = session.sql(text, params).to_arrow()
        return found.column(0).to_pylist(), len(plans)

    return ask


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT i FROM t WHERE x < 0.5 AND x BETWEEN 0.1 AND 0.2 ORDER BY i", [2]),
        ("SELECT i FROM t WHERE x IN (0.15, 0.25) OR x > 0.75 ORDER BY i", [2, 3]),
        (f"SELECT i FROM t WHERE m = {LARGE} AND x > -0.5", [1]),
        ("SELECT i + 1 AS n FROM t WHERE i IN (SELECT i * 2 FROM t) ORDER BY ALL", [3]),
        ("UPDATE t SET x = x * 1.5 WHERE x > 1.75 AND i < 0", [0]),
        ("EXPLAIN SELECT i FROM t WHERE x > 0.25", ["logical_plan", "physical_plan"]),
    ],
)
def test_what_was_asked_once_is_not_asked_again(asked, text: str, rows: list[object]) -> None:
    found, first = asked(text)
    assert found == rows
    assert 1 < first <= 5
    assert asked(text) == (rows, 1)


def test_a_statement_is_planned_a_few_times_at_most(asked) -> None:
    """It was planned up to 67 times: with each number as a float, and with each few of them."""
    floats = " OR ".join(f"x = {number}.5" for number in range(100))
    assert asked(f"SELECT i FROM t WHERE m = {LARGE} AND (x < 0.5 OR {floats})") == ([1], 3)
    hidden = " AND ".join(f"abs(-{number}.5) > x" for number in range(1, NARROWED_MAX))
    found, times = asked(f"SELECT i FROM t WHERE {hidden} AND array_has(l, 0.5) AND m > i")
    assert found == [1]
    assert times <= PLANNED_MAX
    assert asked(f"SELECT i FROM t WHERE -abs(0.5) < x AND m = {LARGE}")[0] == [1]


def test_tables_with_other_columns_are_asked_anew(asked, session: Session) -> None:
    text = f"SELECT v FROM u WHERE v = {LARGE}"
    session.sql("CREATE TABLE u AS SELECT CAST(1.5 AS DOUBLE) AS v")
    assert asked(text)[0] == []
    session.sql("DROP TABLE u")
    session.sql(f"CREATE TABLE u AS SELECT {LARGE} AS v")
    assert asked(text)[0] == [Decimal(LARGE)]
    session.sql("ALTER TABLE u ADD COLUMN w DOUBLE")
    assert asked(text)[0] == [Decimal(LARGE)]
    assert asked(text) == ([Decimal(LARGE)], 1)
    session.sql("DROP TABLE u")
    with pytest.raises(errors.TableNotFoundError):
        asked(text)


def test_what_a_parameter_hid_is_found(asked) -> None:
    """Of a condition that is false as it is called the planner says nothing."""
    text = "SELECT i FROM t WHERE i = 2 OR ($all AND x > 0.0) ORDER BY i"
    assert asked(text, all=False)[0] == [2]
    assert asked(text, all=True)[0] == [1, 2, 3]
    assert asked(text, all=False) == ([2], 1)


def test_whoever_changes_how_statements_are_read_asks_anew(asked, session: Session) -> None:
    text = "SELECT half(i) = 0.5 AS is_half FROM t WHERE i = 1"

    def half(values: pa.Array) -> pa.Array:
        return pc.divide(values.cast(pa.float64()), 2)

    session.functions.register("half", half, [pa.int64()], pa.float64())
    assert asked(text)[0] == [True]
    assert asked(text) == ([True], 1)
    session.functions.register(
        "half", lambda values: half(values).cast(pa.decimal128(3, 1)), [pa.int64()],
        pa.decimal128(3, 1),
    )  # fmt: skip
    assert asked(text)[0] == [True]


def test_what_is_kept_is_bounded() -> None:
    kept = Remembered()
    for number in range(KEPT_MAX + 5):
        kept.keep((f"SELECT {number}", ()), Written("SELECT 1"), b"", kept.age)
    assert kept.get(("SELECT 4", ())) is None
    assert kept.get(("SELECT 5", ())) == (Written("SELECT 1"), b"")
    kept.keep(("SELECT 'long'", ()), Written(" " * LENGTH_MAX + "1"), b"", kept.age)
    assert len(kept) == KEPT_MAX
    begun = kept.age
    kept.forget()
    kept.keep(("SELECT 1", ()), Written("SELECT 1"), b"", begun)
    assert len(kept) == 0
