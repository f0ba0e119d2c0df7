"""Arrow values as JSON text that a person can read and that reads back to the exact value.

Numbers are numbers, texts texts, dates and times what Arrow prints of them (in UTC), bytes base64.
What JSON has no number for is a text: ``NaN``, ``Infinity``, ``-Infinity``, ``-0`` and decimals.
Intervals are lists of months, days and nanoseconds.
NULL is ``null``. The column's type, which the reader knows, tells these apart from texts.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
import pyarrow.types as pt

from affidavit.catalog.values.canonical import from_float, to_float
from affidavit.catalog.values.codecs import codec_for
from affidavit.catalog.values.types import FEW_ROWS_MAX, count_type, is_bytes, is_moment, is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NULL: Final = "null"
_ESCAPED: Final = r'["\\\x00-\x1f]'
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - Arrow's own have no zone either
_BLOCK_BYTES: Final = 1 << 30
"""Arrow reads so much JSON at a time; no row may be longer."""

_STEPS: Final = {
    "D": (timedelta(days=1), ""),
    "s": (timedelta(seconds=1), "seconds"),
    "ms": (timedelta(milliseconds=1), "milliseconds"),
    "us": (timedelta(microseconds=1), "microseconds"),
}
"""The units that Python's moments have, and how many digits Arrow prints in each."""

quoted_json: Final = json.encoder.encode_basestring
"""Returns a text as JSON."""


def json_texts(array: pa.Array | pa.ChunkedArray) -> list[str]:
    """Return each value as JSON text."""
    if isinstance(array, pa.ChunkedArray):
        return [text for chunk in array.chunks for text in json_texts(chunk)]
    return _texts(array) if len(array) <= FEW_ROWS_MAX else json_array(array).to_pylist()


def json_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return what :func:`json_texts` does as an array, mostly without Python's help."""
    if isinstance(array, pa.ChunkedArray):
        return pa.concat_arrays([pa.array([], pa.string()), *map(json_array, array.chunks)])
    found = _written(array)
    return pa.array(_texts(array), pa.string()) if found is None else pc.fill_null(found, NULL)


# --- value by value -------------------------------------------------------------------------------


def _texts(array: pa.Array) -> list[str]:
    kind = array.type
    if pt.is_dictionary(kind):
        return _texts(array.dictionary_decode())
    if pt.is_integer(kind):
        return [NULL if value is None else str(value) for value in array.to_pylist()]
    if pt.is_boolean(kind):
        return [_BOOLEANS[value] for value in array.to_pylist()]
    if pt.is_floating(kind):
        return [NULL if value is None else float_text(value) for value in array.to_pylist()]
    if is_text(kind):
        return [NULL if value is None else quoted_json(value) for value in array.to_pylist()]
    if is_moment(kind):
        return _moments(array)
    if pt.is_decimal(kind):
        return [NULL if value is None else f'"{value}"' for value in array.to_pylist()]
    if is_bytes(kind):
        return [NULL if value is None else f'"{_b64(value)}"' for value in array.to_pylist()]
    if pt.is_interval(kind):
        return [json.dumps(value) for value in array.to_pylist()]
    if pt.is_null(kind):
        return [NULL] * len(array)
    return _stored_texts(array)


_BOOLEANS: Final = {None: NULL, True: "true", False: "false"}


def float_text(value: float) -> str:
    """Return a float as JSON text."""
    written = from_float(value)
    return f'"{written}"' if isinstance(written, str) else repr(written)


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _plain_moment(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp(kind.unit) if pt.is_timestamp(kind) else kind


def _moments(array: pa.Array) -> list[str]:
    """Return dates and times as texts, or as numbers where Arrow does not read its own text."""
    kind, counts = array.type, array.view(count_type(array.type)).to_pylist()
    unit = "D" if pt.is_date32(kind) else "ms" if pt.is_date64(kind) else kind.unit
    return [
        NULL if count is None
        else _python_moment(kind, unit, count) or _arrow_moment(array.slice(at, 1))
        for at, count in enumerate(counts)
    ]  # fmt: skip


def _python_moment(kind: pa.DataType, unit: str, count: int) -> str | None:
    """Return what Arrow prints of a moment; ``None`` if Python's moments do not reach there."""
    step = _STEPS.get(unit)
    if step is None:
        return None
    span, digits = step
    try:
        moment = _EPOCH + count * span
    except OverflowError:
        return None
    if pt.is_date(kind):
        return f'"{moment.date()}"'
    if pt.is_time(kind):
        return f'"{moment.time().isoformat(digits)}"'
    return f'"{moment.isoformat(" ", digits)}"'


def _arrow_moment(one: pa.Array) -> str:
    written = _written_moments(one)
    text: str = (
        one.cast(_plain_moment(one.type)).cast(count_type(one.type)) if written is None else written
    )[0].as_py()
    return str(text)


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


# --- many values at a time ------------------------------------------------------------------------


def _written(array: pa.Array) -> pa.Array | None:
    """Return what Arrow writes by itself, NULL for NULL; ``None`` if it may not be the same."""
    kind = array.type
    if pt.is_dictionary(kind):
        return _written(array.dictionary_decode())
    if pt.is_integer(kind) or pt.is_boolean(kind):
        return array.cast(pa.string())
    if pt.is_floating(kind):
        return _written_floats(array.cast(pa.float64()))
    if is_text(kind):
        texts = array.cast(pa.string())
        escaped = pc.any(pc.match_substring_regex(texts, _ESCAPED)).as_py()
        return None if escaped else _in_quotes(texts)
    return _written_moments(array) if is_moment(kind) else None


def _in_quotes(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise('"', texts, '"', "")


def _written_floats(array: pa.Array) -> pa.Array:
    """Return what Python's ``repr`` does; Arrow's is the same where neither has an exponent."""
    numbers = array.to_numpy(zero_copy_only=False)
    size = np.abs(numbers)
    alike = (size >= 1e-4) & (size < 1e10) | (size == 0) & ~np.signbit(numbers)  # noqa: PLR2004
    texts = array.cast(pa.string())
    whole = pa.array(numbers == np.floor(numbers))
    texts = pc.if_else(whole, pc.binary_join_element_wise(texts, "0", "."), texts)
    other = pc.and_(array.is_valid(), pa.array(~alike))
    written = [float_text(value) for value in array.filter(other).to_pylist()]
    return pc.replace_with_mask(texts, other, pa.array(written, pa.string()))


def _written_moments(array: pa.Array) -> pa.Array | None:
    """Return dates and times as Arrow prints them, if it reads all of them back."""
    plain = array.cast(_plain_moment(array.type))
    try:
        texts = plain.cast(pa.string())
        return _in_quotes(texts) if _parsed(texts, plain.type).equals(plain) else None
    except pa.ArrowInvalid:
        return None


# --- and back -------------------------------------------------------------------------------------


def from_json(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return parsed JSON values as an array of ``kind``: the inverse of :func:`json_texts`."""
    if pt.is_dictionary(kind):
        return from_json(values, kind.value_type).dictionary_encode().cast(kind)
    if pt.is_floating(kind):
        return pa.array(_each(values, to_float), pa.float64()).cast(kind)
    if is_moment(kind):
        return _from_moments(values, kind)
    if pt.is_decimal(kind):
        return pa.array(_each(values, Decimal), kind)
    if is_bytes(kind):
        return pa.array(_each(values, base64.b64decode), kind)
    if pt.is_interval(kind):
        return pa.array(_each(values, pa.MonthDayNano), kind)
    if pt.is_integer(kind) or pt.is_boolean(kind) or pt.is_null(kind) or is_text(kind):
        return pa.array(values, kind)
    codec = codec_for(kind)
    if pt.is_nested(kind):
        stored = [None if value is None else json.dumps(value) for value in values]
        return codec.decode(pa.array(stored, pa.string()))
    return codec.decode(pa.array(values))


def parsed(texts: Sequence[str | None]) -> list[Any]:
    """Return JSON texts as values; ``None`` is NULL. One call is quicker than one for each."""
    values: list[Any] = json.loads(f"[{','.join(text or NULL for text in texts)}]")
    return values


def read_texts(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return what :func:`json_texts` wrote as an array of ``kind``; no text is NULL."""
    try:
        found = _cast_texts(pc.if_else(pc.equal(texts, NULL), None, texts), kind)
    except pa.ArrowInvalid:  # texts among the numbers, or numbers among the texts
        found = None
    return from_json(parsed(texts.to_pylist()), kind) if found is None else found


def _cast_texts(texts: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Return what Arrow reads by itself of JSON texts that are not ``null``."""
    if pt.is_integer(kind) or pt.is_boolean(kind):
        return texts.cast(kind)
    if pt.is_floating(kind):
        return pc.utf8_trim(texts, '"').cast(pa.float64()).cast(kind)
    if is_moment(kind) and pc.all(pc.starts_with(texts, '"')).as_py() is not False:
        return _parsed(pc.utf8_trim(texts, '"'), _plain_moment(kind)).cast(kind)
    return None


def read_objects(texts: pa.Array, kinds: Mapping[str, pa.DataType]) -> list[pa.Array]:
    """Return JSON objects as columns: of each, the members of these names, NULL where missing."""
    written = {name: _json_type(kind) for name, kind in kinds.items()}
    data = "\n".join(texts.to_pylist()).encode()
    if data and None not in written.values():
        try:
            read = pa_json.read_json(
                BytesIO(data),
                pa_json.ReadOptions(use_threads=False, block_size=min(len(data), _BLOCK_BYTES)),
                pa_json.ParseOptions(pa.schema(written), unexpected_field_behavior="ignore"),
            )
            return [_from_plain(read[name], kind) for name, kind in kinds.items()]
        except pa.ArrowInvalid:  # as in read_texts
            pass
    rows = parsed(texts.to_pylist())
    return [from_json([row.get(name) for row in rows], kind) for name, kind in kinds.items()]


def _json_type(kind: pa.DataType) -> pa.DataType | None:
    """Return what Arrow reads from JSON for a value of ``kind``; ``None`` if it does not."""
    if pt.is_integer(kind) or pt.is_boolean(kind) or pt.is_null(kind):
        return kind
    if pt.is_floating(kind):
        return pa.float64()
    is_written = is_text(kind) or is_moment(kind) or pt.is_decimal(kind) or is_bytes(kind)
    return pa.string() if is_written else None


def _from_plain(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    plain = pa.concat_arrays([pa.array([], column.type), *column.chunks])
    if is_moment(kind):
        return _parsed(plain, _plain_moment(kind)).cast(kind)
    if pt.is_decimal(kind) or is_bytes(kind):
        return from_json(plain.to_pylist(), kind)
    return plain.cast(kind)


def _each(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in values]


def _from_moments(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    plain = _plain_moment(kind)
    texts = [value if isinstance(value, str) else None for value in values]
    numbers = [value if isinstance(value, int) else None for value in values]
    if any(value is not None for value in numbers):
        whole = pa.array(numbers, count_type(plain)).cast(plain)
        read = _parsed(pa.array(texts, pa.string()), plain)
        return pc.coalesce(read, whole).cast(kind)
    return _parsed(pa.array(texts, pa.string()), plain).cast(kind)
