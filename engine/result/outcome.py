"""What a statement gives back that is no query: how many rows it touched, or nothing."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import pyarrow as pa

from affidavit.engine.result.result import Result

COUNT_SCHEMA: Final = pa.schema([pa.field("count", pa.uint64(), nullable=False)])


def counted(rows: int, returned: pa.Table | None = None) -> Result:
    """Return how many rows were touched; what RETURNING asked for, if it did."""
    if returned is not None:
        return Result.of(returned, rows_affected=rows)
    return Result.of(_count(rows), rows_affected=rows)


@lru_cache(maxsize=64)
def _count(rows: int) -> pa.Table:
    return pa.table([pa.array([rows], pa.uint64())], schema=COUNT_SCHEMA)


def nothing(rows_affected: int | None = None) -> Result:
    """Return no rows and no columns."""
    return Result.of(pa.table({}), rows_affected=rows_affected)
