"""Columns as the bytes that a digest is of, whatever their layout.

Rules:
    - Two arrays that hold the same values of the same logical type give the same bytes. Offsets,
      slices, chunks, dictionaries, run ends, views, the widths of offsets and whatever lies under
      a NULL have no part in it.
    - Nothing loops over rows: what is read is Arrow's buffers, and what is written numpy's.

The bytes are those of docs/ledger.md, "The digest of a result".
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.layout import (
    Text,
    fixed_values,
    list_items,
    list_stretches,
    plain_pieces,
    unpacked_bits,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from affidavit.catalog.values.layout import Bools, Bytes, Integers, Piece
    from affidavit.catalog.values.logical import Logical

    Groups = Integers | int | None
    Part = tuple[Groups, Iterable[Bytes]]

LENGTH_MAX: Final = 2**32 - 1
"""How many bytes or items one value may have: its length is written in four bytes."""

FEW_VALUES: Final = 32
"""Of up to so many values a column is written by Python itself."""

_STRING: Final = pa.string()
_NUMBERS: Final = frozenset({"fixed", "float"})
_NUMBER_WIDTHS: Final = frozenset({4, 8})

_QUIET: Final = {2: 0x7E00, 4: 0x7FC0_0000, 8: 0x7FF8_0000_0000_0000}
"""By width, the NaN that every NaN is written as."""

_INFINITE: Final = {2: 0x7C00, 4: 0x7F80_0000, 8: 0x7FF0_0000_0000_0000}
"""By width, the bits above which, without the sign, a float is a NaN."""


def few_values(logical: Logical, pieces: Sequence[pa.Array]) -> tuple[Bytes, ...] | None:
    """Return the bytes of a column of few values, without what only pays for many.

    ``None`` if it has many, comes in pieces, has a NULL, or is no number, time or plain text.
    """
    array, kind = pieces[0], pieces[0].type
    count = len(array)
    if len(pieces) > 1 or count > FEW_VALUES or array.null_count:
        return None
    bits = ((1 << count) - 1).to_bytes((count + 7) // 8, "little")
    width = logical.width
    if kind == _STRING:
        _, places, texts = array.buffers()
        offsets = memoryview(places).cast("i")[array.offset : array.offset + count + 1].tolist()
        if offsets[-1] - offsets[0] > LENGTH_MAX:
            return None
        sizes = [end - start for start, end in pairwise(offsets)]
        data = memoryview(texts or b"")[offsets[0] : offsets[-1]]
        return bits, struct.pack(f"<{count}I", *sizes), data
    if logical.kind not in _NUMBERS or width not in _NUMBER_WIDTHS or not pt.is_primitive(kind):
        return None
    values = memoryview(array.buffers()[1])[array.offset * width : (array.offset + count) * width]
    if logical.kind == "float":
        numbers = values.cast("d") if width == 8 else values.cast("f")  # noqa: PLR2004 - bytes
        if any(each != each for each in numbers):  # noqa: PLR0124 - only NaN differs from itself
            return None
    return bits, values


def column_parts(logical: Logical, pieces: Sequence[pa.Array]) -> Iterator[Bytes]:
    """Yield the bytes of a column that comes in ``pieces``, in order."""
    for _, buffers in _parts(logical, [(piece, None) for piece in pieces], None):
        yield from buffers


def row_parts(logical: Logical, array: pa.Array) -> Iterator[tuple[Integers | int, bytes]]:
    """Yield the bytes of a column's values, each by itself, as parts that are to be interleaved.

    A part is how many of its bytes belong to each row, one number if it is the same for all, and
    the bytes of all rows.
    """
    for sizes, buffers in _parts(logical, [(array, None)], 1):
        assert sizes is not None  # there are groups
        yield sizes, b"".join(buffers)


def _parts(logical: Logical, pieces: Sequence[Piece], groups: Groups) -> Iterator[Part]:
    """Yield the parts of a column.

    A piece is an array, and which of its values the structs and lists around it leave: all if
    that is ``None``. ``groups`` are how many values in a row are written as a column of their own:
    ``None`` if all of them are one column, and nobody asks for the sizes; 1 if each is its own.
    """
    if logical.kind == "text":
        yield from _text_parts(pieces, groups)
        return
    plain = [each for piece in pieces for each in plain_pieces(*piece)]
    yield _bits([_or_true(array, valid) for array, valid in plain], groups)
    if logical.kind == "bool":
        yield _bits([_truths(array, valid) for array, valid in plain], groups)
    elif logical.kind in {"fixed", "float"}:
        yield (
            _times(groups, logical.width),
            (_fixed(array, valid, logical) for array, valid in plain),
        )
    elif logical.kind in {"list", "map"}:
        yield from _list_parts(logical, plain, groups)
    elif logical.kind == "struct":
        for at, inner in enumerate(logical.inner):
            yield from _parts(inner, [(array.field(at), valid) for array, valid in plain], groups)


def _fixed(array: pa.Array, valid: Bools | None, logical: Logical) -> Bytes:
    """Return values of one width, 0 where NULL, every NaN the quiet one."""
    width = logical.width
    if width in {1, 2, 4, 8}:
        values = fixed_values(array, width)
    else:  # wider ones, and fixed-size bytes: a row of bytes each
        buffer = array.buffers()[1]
        empty = buffer is None or not len(array) or not width
        data = b"" if empty else buffer
        start, count = array.offset * width, 0 if empty else len(array) * width
        values = np.frombuffer(data, np.uint8, count, start).reshape(-1, max(width, 1))
    if logical.kind == "float":
        values = _quiet(values, width)
    if valid is None or not len(values):
        return values.data
    if values.ndim == 1:
        return np.multiply(values, valid.view(np.uint8), dtype=values.dtype).data
    return np.where(valid[:, None], values, np.uint8(0)).data


def _quiet(bits: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """Return floats, given as their bits, with every NaN the quiet one."""
    if width > 2:  # noqa: PLR2004 - numpy has no fast way for half floats
        nan = np.isnan(bits.view(f"f{width}"))
    else:
        nan = (bits & np.uint16(0x7FFF)) > np.uint16(_INFINITE[width])
    if not nan.any():
        return bits
    quiet = bits.copy()
    quiet[nan] = _QUIET[width]
    return quiet


def _or_true(array: pa.Array, valid: Bools | None) -> Bools | int:
    """Return which values there are; how many, if all of them are."""
    return len(array) if valid is None else valid


def _truths(array: pa.Array, valid: Bools | None) -> Bools:
    if not len(array):
        return np.zeros(0, np.bool_)
    truths = unpacked_bits(array.buffers()[1], array.offset, len(array))
    return truths if valid is None else truths & valid


def _bits(pieces: Sequence[Bools | int], groups: Groups) -> Part:
    """Return bits, least significant first and padded with 0; a number is so many ones."""
    counts = [piece for piece in pieces if isinstance(piece, int)]
    if groups is None and len(counts) == len(pieces):
        whole, rest = divmod(sum(counts), 8)
        return None, (b"\xff" * whole, bytes([(1 << rest) - 1]) if rest else b"")
    parts = [np.ones(each, np.bool_) if isinstance(each, int) else each for each in pieces]
    bits = np.concatenate(parts) if parts else np.zeros(0, np.bool_)
    if groups is None:
        return None, (np.packbits(bits, bitorder="little").data,)
    if isinstance(groups, int):
        return 1, (bits.view(np.uint8).data,)
    sizes = (groups + 7) // 8
    padded = np.zeros(int(sizes.sum()) * 8, np.bool_)
    moved = 8 * (np.cumsum(sizes) - sizes) - (np.cumsum(groups) - groups)
    padded[np.repeat(moved, groups) + np.arange(len(bits))] = bits
    return sizes, (np.packbits(padded, bitorder="little").data,)


def _sums(lengths: Sequence[npt.NDArray[Any]], groups: Groups) -> Groups:
    """Return the sum of the lengths in each group."""
    if groups is None:
        return None
    if isinstance(groups, int):
        return np.concatenate(lengths).astype(np.int64, copy=False)
    zero = np.zeros(1, np.int64)
    running = np.cumsum(np.concatenate([zero, *lengths]), dtype=np.int64)
    ends = np.cumsum(groups)
    sums: Integers = running[ends] - running[ends - groups]
    return sums


def _times(groups: Groups, width: int) -> Groups:
    return None if groups is None else groups * width


def _list_parts(logical: Logical, plain: Sequence[Piece], groups: Groups) -> Iterator[Part]:
    stretches = [list_stretches(array, valid) for array, valid in plain]
    lengths = [each for _, each in stretches]
    yield _times(groups, 4), [_lengths(each) for each in lengths]
    inner = _sums(lengths, groups)
    items = [
        item
        for (array, _), stretch in zip(plain, stretches, strict=True)
        for item in list_items(array.values, *stretch)
    ]
    if logical.kind == "list":
        yield from _parts(logical.inner[0], [(item, None) for item in items], inner)
        return
    for at, each in enumerate(logical.inner):  # the entries of maps: none is NULL
        yield from _parts(each, [(entry.field(at), None) for entry in items], inner)


def _lengths(counts: npt.NDArray[Any]) -> Bytes:
    if len(counts) and int(counts.max()) > LENGTH_MAX:
        raise OverflowError(LENGTH_MAX)
    return counts.astype("<u4").data


def _text_parts(pieces: Sequence[Piece], groups: Groups) -> Iterator[Part]:
    texts = [Text(*piece) for piece in pieces]
    yield _bits([each.count if each.valid is None else each.valid for each in texts], groups)
    yield _times(groups, 4), [_lengths(each.lengths) for each in texts]
    sizes = _sums([each.lengths for each in texts], groups)
    yield sizes, (buffer for each in texts for buffer in each.data())
