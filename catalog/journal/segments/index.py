"""The index of a segment: its entities' 32-bit hashes, sorted, each with the row of an event.

So an entity's few events are read without the others.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, overload
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NOBODY: Final = "\x00"
"""What an event is indexed by whose entity was erased: no entity is called so."""


def entity_hash(entity_id: str) -> int:
    """Return the 32-bit hash that the index sorts by."""
    return crc32(entity_id.encode())


def index_of(
    entities: pa.ChunkedArray, first_row: int
) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return the entries for events that begin at ``first_row``, unsorted: hash, then row."""
    if entities.null_count == len(entities):  # husks, which are about nobody
        return np.zeros(0, dtype="<u8")
    coded = pc.fill_null(entities, NOBODY).combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    hashes = np.fromiter(map(entity_hash, coded.dictionary.to_pylist()), dtype="<u8")
    rows = np.arange(first_row, first_row + len(entities), dtype="<u8")
    found: np.ndarray[tuple[int], np.dtype[np.uint64]]
    found = (hashes[coded.indices.to_numpy(zero_copy_only=False)] << np.uint64(32)) | rows
    return found


class Index:
    """An index as a sequence that is read where it is asked.

    It is not mapped into memory: whoever cuts a mapped file short ends the process.
    """

    def __init__(self, file: pa.NativeFile, size: int) -> None:
        self._file = file
        self._size = size // 8

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> list[int]: ...
    def __getitem__(self, at: int | slice) -> int | list[int]:
        if isinstance(at, slice):
            first, end, _ = at.indices(self._size)
            found: list[int] = np.frombuffer(self._read(first, end - first), dtype="<u8").tolist()
            return found
        return int.from_bytes(self._read(at, 1), "little")

    def _read(self, first: int, count: int) -> bytes:
        read: bytes = self._file.read_at(8 * count, 8 * first)
        return read


def rows_in(index: Index, entity_id: str) -> list[int]:
    """Return the rows that an index has for an entity, ascending."""
    wanted = entity_hash(entity_id)
    low = bisect_left(index, wanted << 32)
    high = bisect_left(index, (wanted + 1) << 32, lo=low)
    return [entry & 0xFFFFFFFF for entry in index[low:high]]
