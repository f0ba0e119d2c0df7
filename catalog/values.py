"""Arrow values as JSON text that a person can read and that reads back to the exact value.

Numbers are numbers, texts texts, dates and times what Arrow prints of them (in UTC), bytes base64.
What JSON has no number for is a text: ``NaN``, ``Infinity``, ``-Infinity``, ``-0`` and decimals.
NULL is ``null``. The column's type, which the reader knows, tells these apart from texts.
"""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.canonical import from_float, to_float
from affidavit.catalog.types import codec_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NULL: Final = "null"
_quote: Final = json.encoder.encode_basestring


def json_texts(array: pa.Array | pa.ChunkedArray) -> list[str]:
    """Return each value as JSON text."""
    if isinstance(array, pa.ChunkedArray):
        return [text for chunk in array.chunks for text in json_texts(chunk)]
    kind = array.type
    if pt.is_dictionary(kind):
        return json_texts(array.dictionary_decode())
    if pt.is_integer(kind):
        return [NULL if value is None else str(value) for value in array.to_pylist()]
    if pt.is_boolean(kind):
        return [_BOOLEANS[value] for value in array.to_pylist()]
    if pt.is_floating(kind):
        return [NULL if value is None else _float_text(value) for value in array.to_pylist()]
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return [NULL if value is None else _quote(value) for value in array.to_pylist()]
    if _is_moment(kind):
        return _moments(array)
    if pt.is_decimal(kind):
        return [NULL if value is None else f'"{value}"' for value in array.to_pylist()]
    if _is_bytes(kind):
        return [NULL if value is None else f'"{_b64(value)}"' for value in array.to_pylist()]
    if pt.is_null(kind):
        return [NULL] * len(array)
    return _stored_texts(array)


_BOOLEANS: Final = {None: NULL, True: "true", False: "false"}


def _float_text(value: float) -> str:
    written = from_float(value)
    return f'"{written}"' if isinstance(written, str) else repr(written)


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _is_moment(kind: pa.DataType) -> bool:
    return pt.is_date(kind) or pt.is_time(kind) or pt.is_timestamp(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return (
        pt.is_binary(kind)
        or pt.is_large_binary(kind)
        or pt.is_binary_view(kind)
        or pt.is_fixed_size_binary(kind)
    )


def _plain_moment(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp(kind.unit) if pt.is_timestamp(kind) else kind


def _whole(kind: pa.DataType) -> pa.DataType:
    return pa.int32() if kind.bit_width == 32 else pa.int64()  # noqa: PLR2004 - Arrow's widths


def _moments(array: pa.Array) -> list[str]:
    """Return dates and times as texts, or as numbers where Arrow does not read its own text."""
    plain = array.cast(_plain_moment(array.type))
    try:
        texts = plain.cast(pa.string())
        if _parsed(texts, plain.type).equals(plain):
            return [NULL if text is None else f'"{text}"' for text in texts.to_pylist()]
    except pa.ArrowInvalid:
        pass
    return json_texts(plain.cast(_whole(plain.type)))


def _parsed(texts: pa.Array, plain: pa.DataType) -> pa.Array:
    """Return dates and times from Arrow's own text of them."""
    if not pt.is_time(plain):
        return texts.cast(plain)
    moments = pc.binary_join_element_wise("1970-01-01", texts, " ")
    return moments.cast(pa.timestamp(plain.unit)).cast(plain)


def _stored_texts(array: pa.Array) -> list[str]:
    """Return values as the store keeps them: JSON already, or numbers."""
    return [
        NULL if value is None else value if isinstance(value, str) else json.dumps(value)
        for value in codec_for(array.type).values(array)
    ]


def from_json(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return parsed JSON values as an array of ``kind``: the inverse of :func:`json_texts`."""
    if pt.is_dictionary(kind):
        return from_json(values, kind.value_type).dictionary_encode().cast(kind)
    if pt.is_floating(kind):
        return pa.array(_each(values, to_float), pa.float64()).cast(kind)
    if _is_moment(kind):
        return _from_moments(values, kind)
    if pt.is_decimal(kind):
        return pa.array(_each(values, Decimal), kind)
    if _is_bytes(kind):
        return pa.array(_each(values, base64.b64decode), kind)
    if (
        pt.is_integer(kind)
        or pt.is_boolean(kind)
        or pt.is_null(kind)
        or pt.is_string(kind)
        or pt.is_large_string(kind)
        or pt.is_string_view(kind)
    ):
        return pa.array(values, kind)
    codec = codec_for(kind)
    if pt.is_nested(kind):
        stored = [None if value is None else json.dumps(value) for value in values]
        return codec.decode(pa.array(stored, pa.string()))
    return codec.decode(pa.array(values))


def _each(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in values]


def _from_moments(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    plain = _plain_moment(kind)
    texts = [value if isinstance(value, str) else None for value in values]
    numbers = [value if isinstance(value, int) else None for value in values]
    if any(value is not None for value in numbers):
        whole = pa.array(numbers, _whole(plain)).cast(plain)
        read = _parsed(pa.array(texts, pa.string()), plain)
        return pc.coalesce(read, whole).cast(kind)
    return _parsed(pa.array(texts, pa.string()), plain).cast(kind)
