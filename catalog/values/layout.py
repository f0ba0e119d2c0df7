"""Arrow's layouts, read as numpy arrays: which values there are, how long, and where they lie.

Rules:
    - Offsets and slices, dictionaries, run ends, views, and whatever lies under a NULL stop here.
    - Nothing loops over rows but where Arrow has no kernel for a type: views inside of lists.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.types import is_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    Bools = npt.NDArray[np.bool_]
    Integers = npt.NDArray[np.int64]
    Bytes = bytes | memoryview
    Piece = tuple[pa.Array, Bools | None]

PIECES_MAX: Final = 64
"""Up to so many stretches of a list's items are read where they lie; more are put together."""

GATHER_BYTES: Final = 1 << 24
"""How much text that is repeated, or lies apart, is put together at once."""


def plain_pieces(array: pa.Array, above: Bools | None) -> list[Piece]:
    """Return an array without dictionary and run ends, and which of its values are not NULL."""
    base, positions, valid = _looked_up(array, above)
    if positions is None:
        return [(base, valid)]
    try:
        return [(base.take(pa.array(positions)), valid)]
    except pa.ArrowNotImplementedError:  # views inside of something nested
        one = [base.slice(at, 1) for at in positions.tolist()]
        return [(pa.concat_arrays(one) if one else base.slice(0, 0), valid)]


def _looked_up(
    array: pa.Array, above: Bools | None
) -> tuple[pa.Array, Integers | None, Bools | None]:
    """Return what values are looked up in, where each stands in it, and which are not NULL.

    If no dictionary and no run ends are in the way it is the array itself, without positions.
    """
    positions: Integers | None = None
    valid = above
    while True:
        if pt.is_dictionary(array.type):
            valid = _and(valid, _at(_validity(array.indices), positions))
            here = _codes(array)
            array = array.dictionary
        elif pt.is_run_end_encoded(array.type):
            here, array = _runs(array)
        else:
            return array, positions, _and(valid, _at(_validity(array), positions))
        positions = here if positions is None else here[positions]
        if valid is not None:  # what lies under a NULL may point anywhere
            positions = np.where(valid, positions, 0)
        if not len(array):
            array = pa.nulls(1, array.type)


def _codes(array: pa.DictionaryArray) -> Integers:
    indices = array.indices
    here = fixed_values(indices, indices.type.bit_width // 8, "i" if _is_signed(indices) else "u")
    codes = here.astype(np.int64)
    valid = _validity(indices)
    return codes if valid is None else np.where(valid, codes, 0)


def _is_signed(indices: pa.Array) -> bool:
    return bool(pt.is_signed_integer(indices.type))


def _runs(array: pa.RunEndEncodedArray) -> tuple[Integers, pa.Array]:
    """Return which value each row of a run-end encoded array has, and the values."""
    ends = array.run_ends.to_numpy(zero_copy_only=False).astype(np.int64)
    rows = np.arange(array.offset, array.offset + len(array))
    return np.searchsorted(ends, rows, side="right").astype(np.int64), array.values


def _validity(array: pa.Array) -> Bools | None:
    """Return which values the array itself has; ``None`` if all of them."""
    if pt.is_null(array.type):
        return np.zeros(len(array), np.bool_)
    bitmap = array.buffers()[0]
    if bitmap is None or not array.null_count:
        return None
    return unpacked_bits(bitmap, array.offset, len(array))


def unpacked_bits(bitmap: pa.Buffer, offset: int, length: int) -> Bools:
    """Return ``length`` bits from the one at ``offset`` on."""
    first, skipped = divmod(offset, 8)
    used = np.frombuffer(bitmap, np.uint8)[first : (offset + length + 7) // 8]
    bits = np.unpackbits(used, bitorder="little", count=skipped + length)
    return bits[skipped:].view(np.bool_)


def _at(valid: Bools | None, positions: Integers | None) -> Bools | None:
    return valid if valid is None or positions is None else valid[positions]


def _and(one: Bools | None, other: Bools | None) -> Bools | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def fixed_values(array: pa.Array, width: int, kind: str = "u", at: int = 1) -> npt.NDArray[Any]:
    """Return an array's values of ``width`` bytes as numbers, where they lie."""
    buffer = array.buffers()[at]
    if buffer is None or not len(array):
        return np.zeros(0, f"{kind}{width}")
    return np.frombuffer(buffer, f"{kind}{width}", len(array), array.offset * width)


def _offsets(array: pa.Array, width: int) -> Integers:
    if not len(array):
        return np.zeros(1, np.int64)
    buffer = array.buffers()[1]
    found = np.frombuffer(buffer, f"i{width}", len(array) + 1, array.offset * width)
    return found.astype(np.int64)


# --- lists and maps ------------------------------------------------------------------------------


def list_stretches(array: pa.Array, valid: Bools | None) -> tuple[Integers, Integers]:
    """Return where each list's items begin, and how many they are: none where it is NULL."""
    kind, count = array.type, len(array)
    if pt.is_fixed_size_list(kind):
        starts = (array.offset + np.arange(count, dtype=np.int64)) * kind.list_size
        counts = np.full(count, kind.list_size, np.int64)
    elif pt.is_list_view(kind) or pt.is_large_list_view(kind):
        width = 4 if pt.is_list_view(kind) else 8
        starts = fixed_values(array, width, "i").astype(np.int64)
        counts = fixed_values(array, width, "i", 2).astype(np.int64)
    else:
        offsets = _offsets(array, 8 if pt.is_large_list(kind) else 4)
        starts, counts = offsets[:-1], np.diff(offsets)
    return starts, counts if valid is None else np.where(valid, counts, 0)


def list_items(values: pa.Array, starts: Integers, counts: Integers) -> list[pa.Array]:
    """Return the items of lists, in order, in as few pieces as they lie in."""
    filled = counts > 0
    if not filled.all():
        starts, counts = starts[filled], counts[filled]
    if not len(starts):
        return []
    breaks = np.flatnonzero(starts[1:] != starts[:-1] + counts[:-1]) + 1
    if len(breaks) >= PIECES_MAX:
        before = np.cumsum(counts) - counts
        at = np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
        try:
            return [values.take(pa.array(at))]
        except pa.ArrowNotImplementedError:
            pass  # views have no kernel: as many pieces as there are
    firsts = np.concatenate([[0], breaks])
    sizes = np.add.reduceat(counts, firsts)
    return [
        values.slice(*each) for each in zip(starts[firsts].tolist(), sizes.tolist(), strict=True)
    ]


# --- text and bytes ------------------------------------------------------------------------------


class Text:
    """Text or bytes: which there are, how long each is, and the bytes of all of them.

    What a dictionary or views repeat is never put together as a whole.

    Attributes:
        count: How many values there are, with those that are NULL.
        valid: Which are not NULL; ``None`` if all are not.
        lengths: How many bytes each has, 0 where NULL.
    """

    def __init__(self, array: pa.Array, above: Bools | None) -> None:
        self.count = len(array)
        self._base, self._positions, self.valid = _looked_up(array, above)
        self._is_view = pt.is_string_view(self._base.type) or pt.is_binary_view(self._base.type)
        if self._is_view and self._positions is not None:
            self._base, self._is_view = _large(self._base), False
        lengths = _byte_lengths(self._base)
        lengths = lengths if self._positions is None else lengths[self._positions]
        self.lengths = lengths if self.valid is None else lengths * self.valid
        self._holes = self.valid is not None and bool((lengths != self.lengths).any())

    def data(self) -> Iterator[Bytes]:
        """Yield the bytes of all values, in order."""
        if self._positions is None and not self._holes and not self._is_view:
            yield _bytes(self._base)
            return
        base = self._base if self._is_view else _large(self._base)
        for rows in self._stretches():
            valid = None if self.valid is None else self.valid[rows]
            if self._is_view:
                large = _large(base[rows])
                yield _bytes(large.filter(pa.array(valid)) if self._holes else large)
            elif self._positions is None:
                yield _bytes(base[rows].filter(pa.array(valid)))
            else:
                at = self._positions[rows]
                yield _bytes(base.take(pa.array(at if valid is None else at[valid])))

    def _stretches(self) -> Iterator[slice]:
        """Yield rows that together have few enough bytes."""
        if int(self.lengths.sum()) <= GATHER_BYTES:
            yield slice(0, self.count)
            return
        ends = np.cumsum(self.lengths) // GATHER_BYTES
        cuts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), self.count]
        for first, last in pairwise(cuts):
            yield slice(first, last)


def _large(array: pa.Array) -> pa.Array:
    return array.cast(pa.large_string() if is_text(array.type) else pa.large_binary())


def _offset_width(array: pa.Array) -> int:
    return 8 if pt.is_large_string(array.type) or pt.is_large_binary(array.type) else 4


def _byte_lengths(array: pa.Array) -> Integers:
    if pt.is_string_view(array.type) or pt.is_binary_view(array.type):
        buffer = array.buffers()[1]
        if buffer is None or not len(array):
            return np.zeros(0, np.int64)
        views = np.frombuffer(buffer, "i4", 4 * len(array), 16 * array.offset)
        return views[::4].astype(np.int64)
    return np.diff(_offsets(array, _offset_width(array)))


def _bytes(array: pa.Array) -> Bytes:
    """Return the bytes of all values, which lie one after the other."""
    offsets = _offsets(array, _offset_width(array))
    data = array.buffers()[2]
    return b"" if data is None else memoryview(data)[offsets[0] : offsets[-1]]
