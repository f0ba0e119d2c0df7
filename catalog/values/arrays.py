"""Arrow data by position and in one piece, whatever its types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.values.codecs import codec_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


def take(batch: pa.RecordBatch, indices: pa.Array) -> pa.RecordBatch:
    """Return the rows of ``batch`` at ``indices``, whatever the columns' types.

    pyarrow has no ``take`` or ``filter`` kernel for view types: those go through their codec.
    """
    return pa.RecordBatch.from_arrays(
        [_take(column, indices) for column in batch.columns], schema=batch.schema
    )


def _take(array: pa.Array, indices: pa.Array) -> pa.Array:
    try:
        return array.take(indices)
    except pa.ArrowNotImplementedError:
        codec = codec_for(array.type)
        return codec.decode(codec.encode(array).take(indices))


def take_rows(
    table: pa.Table, positions: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]]
) -> pa.Table:
    """Return the rows of ``table`` at ``positions``."""
    batches = table.combine_chunks().to_batches()
    indices = pa.array(positions, pa.int64())
    if not batches:
        return table
    return pa.Table.from_batches([take(batches[0], indices)], table.schema)


def nullable(schema: pa.Schema) -> pa.Schema:
    """Return columns that may all be NULL: who checks that, or says what is gone, comes later."""
    return pa.schema([field.with_nullable(nullable=True) for field in schema])


def whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
