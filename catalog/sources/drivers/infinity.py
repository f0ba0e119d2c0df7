"""Moments at infinity: the greatest count of a type, and its negative, wherever they come from.

That is how DuckDB has them. PostgreSQL has the greatest and the least; its driver reads these as
numbers and cannot write them. The least count is a NULL to numpy, and so stands for nothing.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.values.types import count_type
from affidavit.errors import SourceError

_EPOCH_DAYS: Final = 10_957  # from 1970 to 2000
_EPOCH_US: Final = _EPOCH_DAYS * 86_400_000_000


def finite(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch, if none of its moments is what stands for an infinity here.

    Raises:
        SourceError: One is; the driver cannot write it.
    """
    for field, array in zip(batch.schema, batch.columns, strict=True):
        if pt.is_date32(field.type) or pt.is_timestamp(field.type):
            ends = pc.min_max(array.view(count_type(field.type)))
            greatest = (1 << (array.type.bit_width - 1)) - 1
            if array.null_count < len(array) and (
                ends["max"].as_py() == greatest or ends["min"].as_py() <= -greatest
            ):
                msg = f"column {field.name!r} has a moment at infinity, which cannot be written"
                raise SourceError(msg)
    return batch


def bounded(array: pa.Array) -> pa.Array:
    """Return moments with PostgreSQL's infinities as they are here.

    The driver moves these from PostgreSQL's epoch to Arrow's as if they were numbers, and what is
    then too great comes out as less than all others.

    Raises:
        ValueError: The type does not reach a moment.
    """
    count, shift = (
        (pa.int32(), _EPOCH_DAYS) if pt.is_date32(array.type) else (pa.int64(), _EPOCH_US)
    )
    least = -(1 << (count.bit_width - 1))
    below, above = pa.scalar(least + shift, count), pa.scalar(least + shift - 1, count)
    counts = array.view(count)
    low = pc.min(counts)
    if not low.is_valid or low.as_py() > below.as_py():
        return array
    if low.as_py() < above.as_py():
        msg = f"{array.type} does not reach a moment"
        raise ValueError(msg)
    counts = pc.if_else(pc.equal(counts, below), pa.scalar(least + 1, count), counts)
    counts = pc.if_else(pc.equal(counts, above), pa.scalar(-least - 1, count), counts)
    return counts.view(array.type)
