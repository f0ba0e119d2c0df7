"""The function that counts are handed through before something is made so large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.sql.sized import BOUNDED, SIZED_BYTES_MAX, too_large
from affidavit.engine.scans.calls.raised import scalar_function
from affidavit.errors import MemoryLimitError

if TYPE_CHECKING:
    from datafusion import SessionContext


def register_bounded(context: SessionContext) -> None:
    """Let a context's statements hand their counts through :func:`_bounded`."""
    types = [pa.int64(), pa.int64()]
    context.register_udf(scalar_function(_bounded, types, pa.int64(), "immutable", BOUNDED))


def _bounded(counts: pa.Array, each: pa.Array) -> pa.Array:
    """Return ``counts`` if what is made of them for all rows of a batch is not too large.

    Raises:
        MemoryLimitError: It is.
    """
    whole = pc.max_element_wise(counts.cast(pa.float64(), safe=False), 0.0)
    sizes = pc.multiply(whole, pc.max_element_wise(each.cast(pa.float64(), safe=False), 1.0))
    size = pc.sum(pc.fill_null(sizes, 0.0)).as_py() or 0.0
    if size > SIZED_BYTES_MAX:
        raise MemoryLimitError(too_large(int(size)))
    return counts
