"""The index of a segment: 32-bit hashes of what rows are found by, sorted, each with a row.

So the few events of an entity, or the records that gave a row, are read without the others.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, overload
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NOBODY: Final = "\x00"
"""What an event is indexed by whose entity was erased: no entity is called so."""

if TYPE_CHECKING:
    from affidavit.catalog.journal.segments.form import Postings

POSTING_BYTES: Final = 8
END: Final = 2**64 - 1
"""What stands last in an index that says itself where it ends: one that was cut short does not."""


def entity_hash(entity_id: str) -> int:
    """Return the 32-bit hash that the index sorts by."""
    return crc32(entity_id.encode())


def postings_of(hashes: Postings, rows: Postings) -> Postings:
    """Return hashes with the rows that they stand for, as an index has them."""
    found: Postings = (hashes << np.uint64(32)) | rows
    return found


def index_of(entities: pa.ChunkedArray, first_row: int) -> Postings:
    """Return the postings of events that begin at ``first_row``, unsorted: hash, then row."""
    if entities.null_count == len(entities):  # husks, which are about nobody
        return np.zeros(0, dtype="<u8")
    coded = pc.fill_null(entities, NOBODY).combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    hashes = np.fromiter(map(entity_hash, coded.dictionary.to_pylist()), dtype="<u8")
    rows = np.arange(first_row, first_row + len(entities), dtype="<u8")
    return postings_of(hashes[coded.indices.to_numpy(zero_copy_only=False)], rows)


class Index:
    """An index as a sequence that is read where it is asked.

    It is not mapped into memory: whoever cuts a mapped file short ends the process.
    """

    def __init__(self, file: pa.NativeFile, size: int) -> None:
        self._file = file
        self._bytes = size
        self._size = size // POSTING_BYTES

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

    def is_whole(self, rows: int | None) -> bool:
        """Return whether it has one posting for each of ``rows``, or else says that it ends."""
        if rows is not None:
            return self._bytes == rows * POSTING_BYTES
        return self._size > 0 and self._bytes % POSTING_BYTES == 0 and self[self._size - 1] == END

    def _read(self, first: int, count: int) -> bytes:
        read: bytes = self._file.read_at(POSTING_BYTES * count, POSTING_BYTES * first)
        return read


def rows_in(index: Index, wanted: int) -> list[int]:
    """Return the rows that an index has for a hash, ascending."""
    low = bisect_left(index, wanted << 32)
    high = bisect_left(index, (wanted + 1) << 32, lo=low)
    return [entry & 0xFFFFFFFF for entry in index[low:high]]
