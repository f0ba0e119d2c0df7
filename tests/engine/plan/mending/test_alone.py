"""What a query gives that stands alone, and what it means that nothing can be said of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from datafusion import SessionContext, udtf

from affidavit.engine.plan.mending.alone import Alone, answered
from affidavit.engine.statement.mended.mended import mended
from affidavit.errors import InvalidQueryError, SourceError

if TYPE_CHECKING:
    from affidavit.engine.scans.snapshot import Snapshot


@pytest.mark.parametrize("error", [SourceError("away"), InvalidQueryError("no such column")])
def test_a_table_that_fails_leaves_nothing_unchecked(error: Exception) -> None:
    """Where a source was away for a moment, a sum of its numbers was not checked."""
    context, snapshot = SessionContext(), SimpleNamespace(failure=None)

    def table() -> object:
        snapshot.failure = error
        raise error

    context.register_udtf(udtf(table, "away"))
    text, given = "SELECT n + 1 AS m FROM away()", cast("Snapshot", snapshot)
    if isinstance(error, SourceError):
        with pytest.raises(Exception, match="away"):
            mended(text, Alone(context, {}, given))
    else:
        assert mended(text, Alone(context, {}, given)) == text


def test_only_what_the_planner_says_is_an_answer() -> None:
    """A fault of ours was taken for a query that cannot be planned, and nobody heard of it."""
    context, snapshot = SessionContext(), cast("Snapshot", SimpleNamespace(failure=None))
    said = answered(snapshot, lambda: context.sql("SELECT nothing"))
    assert isinstance(said, Exception)
    assert "nothing" in str(said)
    with pytest.raises(AttributeError):
        answered(snapshot, lambda: context.no_such_thing)
    with pytest.raises(InvalidQueryError):
        answered(snapshot, lambda: (_ for _ in ()).throw(InvalidQueryError("no such column")))
