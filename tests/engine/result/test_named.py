"""Rows by the names of their columns: no column takes another's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from affidavit.errors import MissingLibraryError, SqlError

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


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_library_that_is_missing_is_named(
    session: Session, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = session.sql("SELECT 1 AS a")
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(MissingLibraryError, match=rf"affidavit\[{library}\]"):
        getattr(result, f"to_{library}")()
