"""Which Arrow types there are: what a store keeps them as, and which it can give back."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.types as pt

if TYPE_CHECKING:
    from collections.abc import Callable

StoreValue = int | str | bytes | None


class Kind(StrEnum):
    """What a store column holds."""

    INTEGER = "INTEGER"
    TEXT = "TEXT"
    BLOB = "BLOB"


FEW_ROWS_MAX: Final = 16
"""Up to so many values are converted one by one: Arrow's and numpy's own calls cost more."""

STORAGE_TYPES: Final = {Kind.INTEGER: pa.int64(), Kind.TEXT: pa.string(), Kind.BLOB: pa.binary()}


_WITHOUT_VALUES: Final = frozenset({"day_time_interval", "month_interval"})
"""Intervals of days and milliseconds, and of months: pyarrow 26.0 raises a KeyError at a column."""

NESTING_MAX: Final = 100
"""How deep a type may be nested: whatever reads one, here and in Arrow, goes down as deep."""


def check_nesting(value: object) -> None:
    """Raise ValueError if lists, tuples and dicts are nested deeper than :data:`NESTING_MAX`.

    pyarrow goes down into them on the stack, and ends the process where that does.
    """
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, list | tuple | dict)]:
        depth += 1
        if depth > NESTING_MAX:
            msg = f"it is nested more than {NESTING_MAX} deep"
            raise ValueError(msg)
        inside = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for part in inside for each in part if isinstance(each, list | tuple | dict)]


def is_supported(arrow_type: pa.DataType, depth: int = 0) -> bool:
    """Return whether values of ``arrow_type`` can be kept and given back exactly."""
    if depth > NESTING_MAX:
        return False
    if pt.is_struct(arrow_type):
        names = [field.name for field in arrow_type]
        inner = [field.type for field in arrow_type]
        return len(set(names)) == len(names) and all(is_supported(t, depth + 1) for t in inner)
    if pt.is_map(arrow_type):
        inner = [arrow_type.key_type, arrow_type.item_type]
        return all(is_supported(t, depth + 1) for t in inner)
    if pt.is_list(arrow_type) or pt.is_large_list(arrow_type) or pt.is_fixed_size_list(arrow_type):
        return is_supported(arrow_type.value_type, depth + 1)
    if pt.is_dictionary(arrow_type):
        values = arrow_type.value_type
        return is_supported(values) and not (pt.is_nested(values) or pt.is_dictionary(values))
    if pt.is_nested(arrow_type) or isinstance(arrow_type, pa.BaseExtensionType):
        return False
    return not (pt.is_run_end_encoded(arrow_type) or lacks_values(arrow_type))


def any_within(kind: pa.DataType, is_one: Callable[[pa.DataType], bool]) -> bool:
    """Return whether ``is_one`` holds for a type, or for one that it is nested of."""
    fields = (kind.field(at).type for at in range(kind.num_fields))
    inside = (kind.value_type,) if pt.is_dictionary(kind) else fields
    return is_one(kind) or any(any_within(each, is_one) for each in inside)


def lacks_values(kind: pa.DataType) -> bool:
    """Return whether pyarrow has no values of a type, which it names all the same."""
    return str(kind) in _WITHOUT_VALUES


def is_text(arrow_type: pa.DataType) -> bool:
    """Return whether it is text, however it is laid out."""
    return bool(
        pt.is_string(arrow_type) or pt.is_large_string(arrow_type) or pt.is_string_view(arrow_type)
    )


def is_bytes(arrow_type: pa.DataType) -> bool:
    """Return whether it is bytes, however they are laid out."""
    return bool(
        pt.is_binary(arrow_type)
        or pt.is_large_binary(arrow_type)
        or pt.is_binary_view(arrow_type)
        or pt.is_fixed_size_binary(arrow_type)
    )


def is_moment(arrow_type: pa.DataType) -> bool:
    """Return whether it is dates, times, or both."""
    return bool(pt.is_date(arrow_type) or pt.is_time(arrow_type) or pt.is_timestamp(arrow_type))


def count_type(arrow_type: pa.DataType) -> pa.DataType:
    """Return the integers in which a date, time, timestamp or duration counts its units."""
    return pa.int32() if arrow_type.bit_width == 32 else pa.int64()  # noqa: PLR2004 - Arrow's widths


def rebuilt(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Return a type with what ``change`` gives for each type inside; a flat one has none."""
    if pt.is_struct(kind):
        return pa.struct([each.with_type(change(each.type)) for each in kind])
    if pt.is_map(kind):
        key, item = kind.key_field, kind.item_field
        changed = key.with_type(change(key.type)), item.with_type(change(item.type))
        return pa.map_(*changed, keys_sorted=kind.keys_sorted)
    if not (pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)):
        return kind
    field = kind.value_field.with_type(change(kind.value_type))
    if pt.is_fixed_size_list(kind):
        return pa.list_(field, kind.list_size)
    return pa.list_(field) if pt.is_list(kind) else pa.large_list(field)
