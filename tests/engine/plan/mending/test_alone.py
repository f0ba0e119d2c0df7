"""What a query gives that stands alone, and what it means that nothing can be said of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from datafusion import SessionContext, udtf

from affidavit.engine.plan.mending.alone import mended_in
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
            mended_in(context, text, {}, given)
    else:
        assert mended_in(context, text, {}, given) == text
