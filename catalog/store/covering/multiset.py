"""Sums of elements, for saying in 512 bytes which elements there are, in whatever order.

Each element is hashed to a number of 4,096 bits, and the numbers are added modulo 2^4096: one is
added or taken away in a step, and nobody finds other elements of the same sum. Sums of plain
256-bit hashes could be forged by generalised birthdays (Wagner, CRYPTO 2002), which this width
puts out of reach (Bellare and Micciancio, EUROCRYPT 1997; Lewi et al., 2019, with LtHash).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

SUM_BYTES: Final = 512
MARK: Final = b"affidavit element 1\n"
LANE_BYTES: Final = 4
LANE_BITS: Final = 8 * LANE_BYTES
MASK: Final = (1 << 8 * SUM_BYTES) - 1


def element(marked: bytes) -> int:
    """Return the number of an element, given after :data:`MARK`: SHAKE128 of it, little-endian."""
    return int.from_bytes(hashlib.shake_128(marked).digest(SUM_BYTES), "little")


def elements_sum(marked: Iterable[bytes]) -> int:
    """Return the sum of many elements, which :func:`element` gives one by one.

    They are added up four bytes of each at a time, which carry at the end.
    """
    hashed = b"".join([hashlib.shake_128(each).digest(SUM_BYTES) for each in marked])
    lanes = np.frombuffer(hashed, "<u4").reshape(-1, SUM_BYTES // LANE_BYTES)
    added = lanes.sum(axis=0, dtype="<u8")
    low, carried = added.astype("<u4").tobytes(), (added >> LANE_BITS).astype("<u4").tobytes()
    return int.from_bytes(low, "little") + (int.from_bytes(carried, "little") << LANE_BITS)


def as_bytes(total: int) -> bytes:
    """Return a sum as it is kept, modulo 2^4096."""
    return (total & MASK).to_bytes(SUM_BYTES, "little")


def of_bytes(kept: bytes) -> int:
    """Return what :func:`as_bytes` wrote."""
    return int.from_bytes(kept, "little")


def digest(total: int) -> bytes:
    """Return the SHA-256 of a sum."""
    return hashlib.sha256(as_bytes(total)).digest()
