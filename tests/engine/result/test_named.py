"""Rows by the names of their columns: no column takes another's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from affidavit.errors import (
    ExecutionError,
    MissingLibraryError,
    SqlError,
    UnsupportedTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit import Result, Session

TWICE = "SELECT x.a, y.a FROM (VALUES (1)) AS x(a), (VALUES (2)) AS y(a)"


@pytest.mark.parametrize(
    "ask",
    [lambda r: r.to_pylist(), list, lambda r: r.to_polars()],
    ids=["pylist", "iter", "polars"],
)
def test_a_row_that_would_lose_a_column_is_refused(
    session: Session, ask: Callable[[Result], Any]
) -> None:
    """A dict keeps the last of two values: who joins two tables is told to name them apart."""
    with pytest.raises(SqlError, match="'a' stands twice.* AS"):
        ask(session.sql(TWICE))


def test_arrow_and_pandas_have_both_columns(session: Session) -> None:
    table = session.sql(TWICE).to_arrow()
    assert [column.to_pylist() for column in table.columns] == [[1], [2]]
    assert list(session.sql(TWICE).to_pandas().columns) == ["a", "a"]


WHOLE = "INTERVAL '1 month 3 days'"
HALF = "arrow_cast('2 days', 'Interval(DayTime)')"
WIDE = "CAST(1 AS DECIMAL(50, 2))"


@pytest.mark.parametrize(
    "value", [WHOLE, WIDE, HALF, f"[{WHOLE}]", f"{{'a': {WIDE}}}", f"[{HALF}]"]
)
def test_a_type_that_a_library_lacks_is_refused_by_its_name(session: Session, value: str) -> None:
    """What polars raised was a panic, which is no Exception, and pyarrow raised a KeyError."""
    result = session.sql(f"SELECT 1 AS a, {value} AS c")
    with pytest.raises(ExecutionError, match=r"column 'c' \(.*\) .*polars.*CAST the column"):
        result.to_polars()
    assert len(result.to_arrow()) == 1
    assert "c" in repr(result)
    others = (result.to_pandas, result.to_pylist, lambda: list(result))
    for read in others:
        if HALF in value:
            with pytest.raises(ExecutionError, match="column 'c'"):
                read()
        else:
            assert len(read()) == 1


def test_a_type_without_values_is_refused_where_a_table_is_made(session: Session) -> None:
    for made in ("TABLE", "TEMP TABLE"):
        with pytest.raises(UnsupportedTypeError, match="column 'c' has type .*day_time_interval"):
            session.sql(f"CREATE {made} halves AS SELECT 1 AS a, [{HALF}] AS c")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_library_that_is_missing_is_named(
    session: Session, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = session.sql("SELECT 1 AS a")
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(MissingLibraryError, match=rf"affidavit\[{library}\]"):
        getattr(result, f"to_{library}")()
