"""The types of columns that several files have."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt


def common(known: pa.DataType | None, kind: pa.DataType) -> pa.DataType:
    """Return the type of a column of CSV files that was guessed of each: numbers, or text."""
    both = wider(known, kind)
    if both is not None:
        return both
    numbers = {known, kind} <= {pa.int64(), pa.float64()}
    return pa.float64() if numbers else pa.string()


def has_floats(kind: pa.DataType) -> bool:
    """Return whether a type is of floats, or has them inside."""
    inner = [kind.field(at).type for at in range(kind.num_fields)]
    return bool(pt.is_floating(kind)) or any(map(has_floats, inner))


def wider(known: pa.DataType | None, kind: pa.DataType) -> pa.DataType | None:
    """Return the type that holds both; ``None`` if there is none."""
    if known is None or known == kind:
        return kind
    narrow, wide = sorted((known, kind), key=_width)
    if pt.is_integer(narrow) and pt.is_integer(wide):
        holds = pt.is_signed_integer(wide) or pt.is_unsigned_integer(narrow)
        return wide if holds and _width(narrow) < _width(wide) else None
    if pt.is_decimal(narrow) and pt.is_decimal(wide):
        return wide if narrow.scale == wide.scale else None
    return wide if pt.is_floating(narrow) and pt.is_floating(wide) else None


def _width(kind: pa.DataType) -> int:
    """Return what of two types of one family the wider has more of."""
    if pt.is_decimal(kind):
        return int(kind.precision)
    return int(kind.bit_width) if pt.is_primitive(kind) else 0
