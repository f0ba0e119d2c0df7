"""Nested values as JSON text, structs by position: how a store keeps lists, structs and maps."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.types import Kind, count_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.values.types import StoreValue


class NestedCodec:
    """A codec of lists, structs and maps."""

    kind = Kind.TEXT
    ordered = False

    def __init__(self, arrow_type: pa.DataType) -> None:
        self._type = arrow_type
        self._plain = _plain_type(arrow_type)
        self._dump = _dumper(self._plain)
        self._load = _loader(self._plain)

    def encode(self, array: pa.Array) -> pa.Array:
        if array.offset:  # pyarrow's casts misread the offsets of some sliced nested arrays
            array = pa.concat_arrays([array])
        plain = array if array.type == self._plain else array.cast(self._plain)
        texts = [
            None if value is None else json.dumps(self._dump(value), separators=(",", ":"))
            for value in plain.to_pylist(maps_as_pydicts=None)
        ]
        return pa.array(texts, pa.string())

    def decode(self, array: pa.Array) -> pa.Array:
        values = [
            None if text is None else self._load(json.loads(text)) for text in array.to_pylist()
        ]
        plain = _built(values, self._plain)
        return plain if self._plain == self._type else plain.cast(self._type)

    def values(self, array: pa.Array) -> list[StoreValue]:
        return self.encode(array).to_pylist()


def _built(values: list[Any], plain: pa.DataType) -> pa.Array:
    """Return ``values`` as an array in which a NULL struct's fields are NULL too.

    pyarrow fills them with zeros, which DataFusion reads without looking at the struct's own NULL.
    """
    if pt.is_struct(plain):
        children = [
            _built([None if value is None else value[field.name] for value in values], field.type)
            for field in plain
        ]
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(children, fields=list(plain), mask=mask)
    if not _has_struct(plain):
        return pa.array(values, plain)
    mask = pa.array([value is None for value in values], pa.bool_())
    if pt.is_fixed_size_list(plain):
        empty = [None] * plain.list_size
        padded = [each for value in values for each in (empty if value is None else value)]
        items = _built(padded, plain.value_type)
        return pa.FixedSizeListArray.from_arrays(items, type=plain, mask=mask)
    lengths = np.cumsum([0, *(0 if value is None else len(value) for value in values)])
    offsets = pa.array(lengths, pa.int32())
    flat: list[Any] = [each for value in values if value is not None for each in value]
    if pt.is_map(plain):
        keys = _built([pair[0] for pair in flat], plain.key_type)
        items = _built([pair[1] for pair in flat], plain.item_type)
        entries = pa.StructArray.from_arrays(
            [keys, items], fields=[plain.key_field, plain.item_field]
        )
        valid = pa.array([value is not None for value in values], pa.bool_())
        buffers = [valid.buffers()[1], offsets.buffers()[1]]
        return pa.Array.from_buffers(plain, len(values), buffers, children=[entries])
    return pa.ListArray.from_arrays(offsets, _built(flat, plain.value_type), type=plain, mask=mask)


def _has_struct(plain: pa.DataType) -> bool:
    if pt.is_map(plain):
        return _has_struct(plain.item_type)
    if pt.is_list(plain) or pt.is_fixed_size_list(plain):
        return _has_struct(plain.value_type)
    return pt.is_struct(plain)


def _plain_type(arrow_type: pa.DataType) -> pa.DataType:
    """Return ``arrow_type`` with its leaves replaced by types that Python holds exactly."""
    if pt.is_temporal(arrow_type) and not pt.is_interval(arrow_type):
        return count_type(arrow_type)
    if pt.is_float16(arrow_type):
        return pa.float32()
    if pt.is_string_view(arrow_type) or pt.is_large_string(arrow_type):
        return pa.string()
    if pt.is_binary_view(arrow_type) or pt.is_large_binary(arrow_type):
        return pa.binary()
    if pt.is_dictionary(arrow_type):
        return _plain_type(arrow_type.value_type)
    if pt.is_fixed_size_list(arrow_type):
        return pa.list_(_plain_field(arrow_type.value_field), arrow_type.list_size)
    if pt.is_list(arrow_type) or pt.is_large_list(arrow_type):
        return pa.list_(_plain_field(arrow_type.value_field))
    if pt.is_struct(arrow_type):
        return pa.struct([_plain_field(field) for field in arrow_type])
    if pt.is_map(arrow_type):
        return pa.map_(_plain_type(arrow_type.key_type), _plain_type(arrow_type.item_type))
    return arrow_type


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(_plain_type(field.type))


def _identity(value: Any) -> Any:  # noqa: ANN401 - JSON's values have no narrower type
    return value


def _dumper(plain: pa.DataType) -> Callable[[Any], Any]:
    """Return a function from ``as_py()`` values of ``plain`` to what :func:`json.dumps` takes."""
    if pt.is_binary(plain) or pt.is_fixed_size_binary(plain):
        return _optional(lambda value: base64.b64encode(value).decode())
    if pt.is_interval(plain):
        return _optional(list)
    if pt.is_decimal(plain):
        return _optional(str)
    if pt.is_struct(plain):
        fields = [(field.name, _dumper(field.type)) for field in plain]
        return _optional(lambda value: [dump(value[name]) for name, dump in fields])
    if pt.is_map(plain):
        key, item = _dumper(plain.key_type), _dumper(plain.item_type)
        return _optional(lambda value: [[key(k), item(v)] for k, v in value])
    if pt.is_list(plain) or pt.is_fixed_size_list(plain):
        inner = _dumper(plain.value_type)
        if inner is _identity:
            return _identity
        return _optional(lambda value: [inner(each) for each in value])
    return _identity


def _loader(plain: pa.DataType) -> Callable[[Any], Any]:
    """Return the inverse of :func:`_dumper`."""
    if pt.is_binary(plain) or pt.is_fixed_size_binary(plain):
        return _optional(base64.b64decode)
    if pt.is_interval(plain):
        return _optional(pa.MonthDayNano)
    if pt.is_decimal(plain):
        return _optional(Decimal)
    if pt.is_struct(plain):
        fields = [(field.name, _loader(field.type)) for field in plain]
        return _optional(
            lambda value: {
                name: load(each) for (name, load), each in zip(fields, value, strict=True)
            }
        )
    if pt.is_map(plain):
        key, item = _loader(plain.key_type), _loader(plain.item_type)
        return _optional(lambda value: [(key(k), item(v)) for k, v in value])
    if pt.is_list(plain) or pt.is_fixed_size_list(plain):
        inner = _loader(plain.value_type)
        if inner is _identity:
            return _identity
        return _optional(lambda value: [inner(each) for each in value])
    return _identity


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)
