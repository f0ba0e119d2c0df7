"""What a query would give that stands alone, asked while the statement around it is planned."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from affidavit.engine.plan.mending.parameters import asked
from affidavit.engine.plan.settings import QUERIES_ONLY
from affidavit.engine.statement.mended.mended import mended
from affidavit.errors import (
    LakeError,
    MemoryLimitError,
    SourceError,
    StatementCancelledError,
    StatementTimeoutError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from datafusion import SessionContext

    from affidavit.engine.scans.snapshot import Snapshot

_FAILED: Final = (
    LakeError, StoreError, SourceError, MemoryLimitError, StatementTimeoutError,
    StatementCancelledError, OSError, KeyboardInterrupt,
)  # fmt: skip
"""What a table may raise that is no fault of the query's."""


def mended_in(
    context: SessionContext, text: str, values: Mapping[str, Any], snapshot: Snapshot
) -> str:
    """Return a statement that a context answers rightly.

    Raises:
        SqlError: It cannot be written so.
    """
    return mended(text, partial(schema_in, context, values, snapshot))


def schema_in(
    context: SessionContext, values: Mapping[str, Any], snapshot: Snapshot, query: str
) -> pa.Schema | None:
    """Return the columns of a query; ``None`` if it names what is only around it.

    DataFusion raises an ``Exception`` or a ``ValueError`` for all that it cannot plan. If a table
    failed meanwhile, for no fault of the query's, nothing is known of its columns, and nothing may
    be left unchecked.
    """
    before = snapshot.failure
    try:
        frame = asked(context, query, values, QUERIES_ONLY)
    except Exception:
        failure = snapshot.failure
        if failure is not before and isinstance(failure, _FAILED):
            raise
        return None
    return frame.schema()
