"""Moments that are finer than the column which they are written to: they would be cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.errors import SourceError

if TYPE_CHECKING:
    from affidavit.catalog.sources.databases.table import SourceColumn


def refuse_cut(column: SourceColumn, moments: pa.Array, step_us: int) -> None:
    """Raise SourceError if a moment, in microseconds, is between the steps that a column keeps.

    One at infinity is not: it is the greatest count, or that with a sign.
    """
    counts = moments.view(pa.int64())
    whole = pc.multiply(pc.divide(counts, step_us), step_us)
    finite = pc.less(pc.abs(counts), (1 << 63) - 1)
    if pc.any(pc.and_(pc.not_equal(counts, whole), finite)).as_py():
        msg = f"column {column.name!r} is {column.declared} and is given parts of a second"
        raise SourceError(msg)
