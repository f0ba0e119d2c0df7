"""DataFusion's bytes of expressions, as Protocol Buffers write them.

datafusion-python's frames cannot say all that an expression is, nor its classes tell all of it: the
bytes do (``datafusion.proto``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_DELIMITED: Final = 2
_SEVEN_BITS: Final = 0x7F


def field(number: int, body: bytes) -> bytes:
    """Return a field whose length is told."""
    return _integer(number << 3 | _DELIMITED) + _integer(len(body)) + body


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the numbers and the bodies of a message's fields, whose lengths are told.

    Raises:
        ValueError: It has a field of another kind than those and integers.
    """
    at = 0
    while at < len(message):
        key, at = _read(message, at)
        value, at = _read(message, at)
        if key & 7 == _DELIMITED:
            yield key >> 3, message[at : at + value]
            at += value
        elif key & 7:
            raise ValueError(f"expected a length or an integer, got a field of kind {key & 7}")


def body(message: bytes) -> bytes:
    """Return what is in the one field of a message."""
    ((_, found),) = fields(message)
    return found


def _integer(value: int) -> bytes:
    written = bytearray()
    while value > _SEVEN_BITS:
        written.append(value & _SEVEN_BITS | 0x80)
        value >>= 7
    return bytes([*written, value])


def _read(message: bytes, at: int) -> tuple[int, int]:
    """Return the integer that begins at a place, and where it ends."""
    value = shift = 0
    while message[at] > _SEVEN_BITS:
        value |= (message[at] & _SEVEN_BITS) << shift
        at, shift = at + 1, shift + 7
    return value | message[at] << shift, at + 1
