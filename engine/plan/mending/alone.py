"""What a query would give that stands alone, asked while the statement around it is planned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from affidavit.engine.plan.mending.parameters import asked
from affidavit.engine.plan.settings import QUERIES_ONLY
from affidavit.errors import (
    LakeError,
    MemoryLimitError,
    SourceError,
    StatementCancelledError,
    StatementTimeoutError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    from datafusion import SessionContext

    from affidavit.engine.scans.snapshot import Snapshot

_FAILED: Final = (
    LakeError, StoreError, SourceError, MemoryLimitError, StatementTimeoutError,
    StatementCancelledError, OSError, KeyboardInterrupt,
)  # fmt: skip
"""What a table may raise that is no fault of the query's."""

_SAID: Final = frozenset({Exception, ValueError})
"""What datafusion-python 54.1 raises, and nothing derived from it, for what cannot be planned."""

Found = TypeVar("Found")


def answered(snapshot: Snapshot, ask: Callable[[], Found]) -> Found | Exception:
    """Return what the planner answers, or what it says of a query that it cannot plan.

    Any other error is raised, and so is what it says if a table failed meanwhile for no fault of
    the query's: then nothing is known, and nothing may be left unchecked.
    """
    before = snapshot.failure
    try:
        return ask()
    except Exception as error:
        failure = snapshot.failure
        if type(error) not in _SAID or (failure is not before and isinstance(failure, _FAILED)):
            raise
        return error


class Alone:
    """What gives the columns of queries that stand alone.

    Args:
        context: What plans them.
        values: The statement's parameters.
        snapshot: The statement's.

    Attributes:
        asked: Whether it was asked for any.
    """

    def __init__(
        self, context: SessionContext, values: Mapping[str, Any], snapshot: Snapshot
    ) -> None:
        self._context = context
        self._values = values
        self._snapshot = snapshot
        self.asked = False

    def __call__(self, query: str) -> pa.Schema | None:
        """Return the columns of a query; ``None`` if it names what is only around it."""
        self.asked = True
        found = answered(
            self._snapshot, lambda: asked(self._context, query, self._values, QUERIES_ONLY)
        )
        return None if isinstance(found, Exception) else found.schema()
