"""Logical types: what a column is, apart from how it is laid out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.types import NESTING_MAX, is_bytes, is_text
from affidavit.errors import UnsupportedTypeError

_NAMES: Final = {
    pa.float16(): "float16", pa.float32(): "float32", pa.float64(): "float64",
    pa.date32(): "date32", pa.date64(): "date64",
    pa.month_day_nano_interval(): "interval[month_day_nano]",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Logical:
    """What a column is, apart from how it is laid out.

    Attributes:
        name: The type as JSON: a text, or ``["list", item]``, ``["map", key, item]``,
            ``["struct", [[name, type], ...]]``.
        kind: How its values are written: null, bool, fixed, float, text, list, map or struct.
        width: How many bytes a value has, where all have as many.
        inner: The types of a list's items, of a map's keys and items, of a struct's fields.
    """

    name: Any
    kind: str
    width: int = 0
    inner: tuple[Logical, ...] = ()


def logical_columns(schema: pa.Schema) -> tuple[Logical, ...]:
    """Return the logical type of each column.

    Raises:
        UnsupportedTypeError: A column has an extension type, a union, or another without rules.
    """
    return tuple(_logical(field.type, field, 0) for field in schema)


def _logical(arrow_type: pa.DataType, column: pa.Field, depth: int) -> Logical:
    """Return the logical type of what stands ``depth`` levels down in ``column``."""

    def inside(inner: pa.DataType) -> Logical:
        return _logical(inner, column, depth + 1)

    if depth > NESTING_MAX or isinstance(arrow_type, pa.BaseExtensionType):
        raise UnsupportedTypeError(column.name, column.type)
    flat = _flat(arrow_type)
    if flat is not None:
        return flat
    if pt.is_dictionary(arrow_type) or pt.is_run_end_encoded(arrow_type):
        return inside(arrow_type.value_type)
    if pt.is_map(arrow_type):
        key, item = inside(arrow_type.key_type), inside(arrow_type.item_type)
        return Logical(["map", key.name, item.name], "map", inner=(key, item))
    if pt.is_struct(arrow_type):
        fields = tuple(inside(field.type) for field in arrow_type)
        names = [[f.name, each.name] for f, each in zip(arrow_type, fields, strict=True)]
        return Logical(["struct", names], "struct", inner=fields)
    if _is_list(arrow_type):
        item = inside(arrow_type.value_type)
        return Logical(["list", item.name], "list", inner=(item,))
    raise UnsupportedTypeError(column.name, column.type)


def _is_list(arrow_type: pa.DataType) -> bool:
    return bool(
        pt.is_list(arrow_type)
        or pt.is_large_list(arrow_type)
        or pt.is_fixed_size_list(arrow_type)
        or pt.is_list_view(arrow_type)
        or pt.is_large_list_view(arrow_type)
    )


@lru_cache(maxsize=1024)
def _flat(arrow_type: pa.DataType) -> Logical | None:
    """Return the logical type of what is not nested; ``None`` if it has none."""
    if pt.is_null(arrow_type):
        return Logical("null", "null")
    if pt.is_boolean(arrow_type):
        return Logical("bool", "bool")
    if is_text(arrow_type):
        return Logical("string", "text")
    if pt.is_fixed_size_binary(arrow_type) and not pt.is_decimal(arrow_type):
        width = arrow_type.byte_width
        return Logical(f"fixed_size_binary[{width}]", "fixed", width)
    if is_bytes(arrow_type):
        return Logical("binary", "text")
    name = _fixed_name(arrow_type)
    if name is None:
        return None
    kind = "float" if pt.is_floating(arrow_type) else "fixed"
    return Logical(name, kind, arrow_type.bit_width // 8)


def _fixed_name(arrow_type: pa.DataType) -> str | None:
    """Return the name of a number, a time or an interval; ``None`` if it is none."""
    if arrow_type in _NAMES:
        return _NAMES[arrow_type]
    if pt.is_integer(arrow_type):
        sign = "int" if pt.is_signed_integer(arrow_type) else "uint"
        return f"{sign}{arrow_type.bit_width}"
    if pt.is_decimal(arrow_type):
        return f"decimal{arrow_type.bit_width}({arrow_type.precision},{arrow_type.scale})"
    if pt.is_timestamp(arrow_type):
        zone = f",{arrow_type.tz}" if arrow_type.tz is not None else ""
        return f"timestamp[{arrow_type.unit}{zone}]"
    if pt.is_duration(arrow_type):
        return f"duration[{arrow_type.unit}]"
    if pt.is_time(arrow_type):
        return f"time{arrow_type.bit_width}[{arrow_type.unit}]"
    return None
