"""Arrow values to store values and back, without loss (P10).

A store keeps three kinds of value: 64-bit signed integers, text and bytes. SQLite writes NaN as
NULL and -0.0 as 0, so floats are kept as integers whose order is the IEEE 754 totalOrder, which is
also how DataFusion compares them. Each codec says whether it keeps order, so that comparisons may
run in the store on the encoded values and mean the same there.

=====================================  =======  =========================================
Arrow                                  kept as  how
=====================================  =======  =========================================
bool, int8..int64, uint8..uint32       INTEGER  the value
uint64                                 INTEGER  value - 2**63
float16, float32, float64              INTEGER  the bits, negative values mirrored
date, time, timestamp, duration        INTEGER  the count since the epoch, in the type's unit
string, large_string, string_view      TEXT     UTF-8
binary, fixed_size_binary, ..._view    BLOB     the bytes
decimal32..decimal256                  BLOB     big-endian two's complement, sign bit flipped
interval                               BLOB     months, days, nanoseconds, sign bits flipped
list, struct, map                      TEXT     JSON by position; not ordered
dictionary                             as its values
=====================================  =======  =========================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.nested import NestedCodec
from affidavit.catalog.values.types import (
    FEW_ROWS_MAX,
    STORAGE_TYPES,
    Kind,
    count_type,
    is_supported,
    is_text,
)
from affidavit.errors import UnsupportedTypeError

if TYPE_CHECKING:
    from affidavit.catalog.values.types import StoreValue


_DOUBLE: Final = Struct("<d")
_LONG: Final = Struct("<q")
_LOW: Final = 2**63 - 1


class Codec(Protocol):
    """How one Arrow type is kept in the store."""

    @property
    def kind(self) -> Kind:
        """The store column's kind."""

    @property
    def ordered(self) -> bool:
        """Whether comparing encoded values means comparing the values."""

    def encode(self, array: pa.Array) -> pa.Array:
        """Return ``array`` as the kind's Arrow type: int64, string or binary."""

    def decode(self, array: pa.Array) -> pa.Array:
        """Return the inverse of :meth:`encode`, bit for bit."""

    def values(self, array: pa.Array) -> list[StoreValue]:
        """Return what :meth:`encode` does as Python values, quickly for few rows and for many."""


class _Encoded(ABC):
    """What codecs share."""

    @abstractmethod
    def encode(self, array: pa.Array) -> pa.Array: ...

    def values(self, array: pa.Array) -> list[StoreValue]:
        return _as_list(self.encode(array))


def _as_list(array: pa.Array) -> list[StoreValue]:
    if array.null_count or not pt.is_integer(array.type):
        return array.to_pylist()
    return array.to_numpy().tolist()


def _validity(array: pa.Array) -> pa.Buffer | None:
    """Return which values are there, as a buffer from bit 0 on; ``None`` if all are."""
    return array.is_valid().buffers()[1] if array.null_count else None


class _Cast(_Encoded):
    """Types whose Arrow cast to the storage type and back is exact."""

    ordered = True

    def __init__(self, arrow_type: pa.DataType, kind: Kind) -> None:
        self.kind = kind
        self._type = arrow_type

    def encode(self, array: pa.Array) -> pa.Array:
        storage = STORAGE_TYPES[self.kind]
        return array if array.type == storage else array.cast(storage)

    def decode(self, array: pa.Array) -> pa.Array:
        return array if array.type == self._type else array.cast(self._type)

    def values(self, array: pa.Array) -> list[StoreValue]:
        if pt.is_boolean(array.type):
            return [None if value is None else int(value) for value in array.to_pylist()]
        return _as_list(array)


class _Temporal(_Encoded):
    """Counts since an epoch: reinterpreted, never converted, so that no unit overflows."""

    kind = Kind.INTEGER
    ordered = True

    def __init__(self, arrow_type: pa.DataType) -> None:
        self._type = arrow_type
        self._count = count_type(arrow_type)

    def encode(self, array: pa.Array) -> pa.Array:
        return array.view(self._count).cast(pa.int64())

    def values(self, array: pa.Array) -> list[StoreValue]:
        return _as_list(array.view(self._count))

    def decode(self, array: pa.Array) -> pa.Array:
        return array.cast(self._count).view(self._type)


class _Bits(_Encoded):
    """Floats and uint64: fixed-width values whose bits are mapped to ordered signed integers."""

    kind = Kind.INTEGER
    ordered = True

    def __init__(self, arrow_type: pa.DataType) -> None:
        self._type = arrow_type
        self._unsigned = pt.is_uint64(arrow_type)
        bits = arrow_type.bit_width
        self._signed = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[bits]
        self._low = 2 ** (bits - 1) - 1
        self._struct = Struct({16: "<e", 32: "<f", 64: "<d"}[bits])
        self._signed_struct = Struct({16: "<h", 32: "<i", 64: "<q"}[bits])

    def _mirror(self, bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self._unsigned:
            return bits ^ np.int64(-(2**63))
        low = np.iinfo(bits.dtype).max
        return bits ^ ((bits >> (bits.dtype.itemsize * 8 - 1)) & low)

    def encode(self, array: pa.Array) -> pa.Array:
        return self._swap(array, self._signed).cast(pa.int64())

    def decode(self, array: pa.Array) -> pa.Array:
        return self._swap(array.cast(self._signed), self._type)

    def values(self, array: pa.Array) -> list[StoreValue]:
        if len(array) > FEW_ROWS_MAX:
            return super().values(array)
        return [None if value is None else self._value(value) for value in array.to_pylist()]

    def _value(self, value: float) -> int:
        if self._unsigned:
            return int(value) - 2**63
        bits: int = self._signed_struct.unpack(self._struct.pack(value))[0]
        return bits ^ ((bits >> 63) & self._low)

    def _swap(self, array: pa.Array, to: pa.DataType) -> pa.Array:
        bits = np.frombuffer(
            array.buffers()[1] or b"", dtype=self._signed.to_pandas_dtype(), count=-1
        )[array.offset : array.offset + len(array)]
        mirrored = pa.py_buffer(np.ascontiguousarray(self._mirror(bits)))
        return pa.Array.from_buffers(to, len(array), [_validity(array), mirrored])


class _Decimal(_Encoded):
    """Decimals as bytes whose order is the values' order."""

    kind = Kind.BLOB
    ordered = True

    def __init__(self, arrow_type: pa.DataType) -> None:
        self._type = arrow_type
        self._width = arrow_type.bit_width // 8

    def _flip(self, raw: np.ndarray[Any, Any], *, before: bool) -> np.ndarray[Any, Any]:
        flipped = raw.copy()
        if before:
            flipped[:, 0] ^= 0x80
        flipped = np.ascontiguousarray(flipped[:, ::-1])
        if not before:
            flipped[:, 0] ^= 0x80
        return flipped

    def encode(self, array: pa.Array) -> pa.Array:
        start = array.offset * self._width
        raw = np.frombuffer(array.buffers()[1] or b"", dtype=np.uint8)
        raw = raw[start : start + len(array) * self._width].reshape(-1, self._width)
        flipped = pa.py_buffer(self._flip(raw, before=False))
        fixed = pa.Array.from_buffers(
            pa.binary(self._width), len(array), [_validity(array), flipped]
        )
        return fixed.cast(pa.binary())

    def decode(self, array: pa.Array) -> pa.Array:
        fixed = array.cast(pa.binary(self._width))
        raw = np.frombuffer(fixed.buffers()[1] or b"", dtype=np.uint8)
        start = fixed.offset * self._width
        raw = raw[start : start + len(fixed) * self._width].reshape(-1, self._width)
        swapped = pa.py_buffer(self._flip(raw, before=True))
        return pa.Array.from_buffers(self._type, len(fixed), [_validity(fixed), swapped])


class _Interval(_Encoded):
    """Month-day-nano intervals as bytes: months, then days, then nanoseconds, as they compare."""

    kind = Kind.BLOB
    ordered = True

    def __init__(self) -> None:
        self._type = pa.month_day_nano_interval()
        self._native = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanos", "<i8")])
        self._kept = np.dtype([("months", ">u4"), ("days", ">u4"), ("nanos", ">u8")])
        self._signs = {"months": 2**31, "days": 2**31, "nanos": 2**63}

    def encode(self, array: pa.Array) -> pa.Array:
        raw = np.frombuffer(array.buffers()[1] or b"", dtype=self._native)
        raw = raw[array.offset : array.offset + len(array)]
        kept = np.empty(len(raw), dtype=self._kept)
        for name, sign in self._signs.items():
            unsigned = raw[name].view(f"u{raw[name].dtype.itemsize}")
            kept[name] = unsigned ^ unsigned.dtype.type(sign)
        fixed = pa.Array.from_buffers(
            pa.binary(16), len(array), [_validity(array), pa.py_buffer(kept)]
        )
        return fixed.cast(pa.binary())

    def decode(self, array: pa.Array) -> pa.Array:
        fixed = array.cast(pa.binary(16))
        kept = np.frombuffer(fixed.buffers()[1] or b"", dtype=self._kept)
        kept = kept[fixed.offset : fixed.offset + len(fixed)]
        raw = np.empty(len(kept), dtype=self._native)
        for name, sign in self._signs.items():
            unsigned = kept[name].astype(f"u{kept[name].dtype.itemsize}")
            raw[name] = (unsigned ^ unsigned.dtype.type(sign)).view(raw[name].dtype)
        return pa.Array.from_buffers(self._type, len(fixed), [_validity(fixed), pa.py_buffer(raw)])


class _Dictionary(_Encoded):
    """Dictionary-encoded columns: the store keeps the values."""

    def __init__(self, arrow_type: pa.DictionaryType, values: Codec) -> None:
        self.kind = values.kind
        self.ordered = values.ordered
        self._type = arrow_type
        self._values = values

    def encode(self, array: pa.Array) -> pa.Array:
        if pt.is_dictionary(array.type):
            array = array.dictionary_decode()
        return self._values.encode(array.cast(self._type.value_type))

    def decode(self, array: pa.Array) -> pa.Array:
        encoded = self._values.decode(array).dictionary_encode()
        indices = encoded.indices.cast(self._type.index_type)
        return pa.DictionaryArray.from_arrays(
            indices, encoded.dictionary, ordered=self._type.ordered
        )


class _Null(_Encoded):
    """The type whose only value is NULL."""

    kind = Kind.INTEGER
    ordered = True

    def encode(self, array: pa.Array) -> pa.Array:
        return pa.nulls(len(array), pa.int64())

    def decode(self, array: pa.Array) -> pa.Array:
        return pa.nulls(len(array), pa.null())


def _codec(arrow_type: pa.DataType) -> Codec:
    if pt.is_dictionary(arrow_type):
        return _Dictionary(arrow_type, _codec(arrow_type.value_type))
    if pt.is_null(arrow_type):
        return _Null()
    if pt.is_interval(arrow_type):
        return _Interval()
    if pt.is_nested(arrow_type):
        return NestedCodec(arrow_type)
    if pt.is_floating(arrow_type) or pt.is_uint64(arrow_type):
        return _Bits(arrow_type)
    if pt.is_boolean(arrow_type) or pt.is_integer(arrow_type):
        return _Cast(arrow_type, Kind.INTEGER)
    if pt.is_temporal(arrow_type):
        return _Temporal(arrow_type)
    if pt.is_decimal(arrow_type):
        return _Decimal(arrow_type)
    if is_text(arrow_type):
        return _Cast(arrow_type, Kind.TEXT)
    return _Cast(arrow_type, Kind.BLOB)


def float_bits(value: float) -> int:
    """Return a double as the store keeps it."""
    bits: int = _LONG.unpack(_DOUBLE.pack(value))[0]
    return bits ^ ((bits >> 63) & _LOW)


def float_of_bits(kept: int) -> float:
    """Return the inverse of :func:`float_bits`."""
    value: float = _DOUBLE.unpack(_LONG.pack(kept ^ ((kept >> 63) & _LOW)))[0]
    return value


@lru_cache(maxsize=1024)
def codec_for(arrow_type: pa.DataType, *, column: str = "") -> Codec:
    """Return the codec of ``arrow_type``.

    Raises:
        UnsupportedTypeError: Values of this type could not be given back exactly.
    """
    if not is_supported(arrow_type):
        raise UnsupportedTypeError(column, arrow_type)
    return _codec(arrow_type)


def encode_scalar(arrow_type: pa.DataType, scalar: pa.Scalar) -> StoreValue:
    """Return ``scalar`` as the store keeps a value of ``arrow_type``; NULL is ``None``."""
    if not scalar.is_valid:
        return None
    wanted = arrow_type.value_type if pt.is_dictionary(arrow_type) else arrow_type
    array = pa.array([scalar.as_py()], wanted) if scalar.type == pa.null() else pa.repeat(scalar, 1)
    if array.type != wanted:
        array = array.cast(wanted)
    value: StoreValue = codec_for(wanted).encode(array)[0].as_py()
    return value
