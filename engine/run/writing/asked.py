"""A statement that changes rows, and for whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.statement import Statement


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement that changes rows, and for whom.

    Attributes:
        scope: For whom.
        statement: What was asked.
        params: Its parameters.
        every: Whether what it writes depends on every table that it reads; see
            :class:`~affidavit.engine.run.writing.still.Still`.
        unchanged: The rows that it matched, if it left all of them as they were.
    """

    scope: Scope
    statement: Statement
    params: Params
    every: bool = True
    unchanged: list[pa.Table] = field(default_factory=list)
