"""What the rows of a read hash to while they pass: in their order, and in none where it is open."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import pyarrow as pa
from datafusion import SessionContext, col
from datafusion.functions import sha256

from affidavit.catalog.store.interrupts import held
from affidavit.catalog.values.digest import (
    SET_ROWS_AT_ONCE,
    RowsDigest,
    RowsSetDigest,
    compacted,
    hash_each,
)

MANY_ROWS: Final = 512
"""From so many rows on DataFusion hashes them: it needs a third of a millisecond to begin."""


def hash_rows(rows: pa.LargeBinaryArray) -> bytes:
    """Return the SHA-256 of each of some byte strings; many of them without the interpreter."""
    if len(rows) < MANY_ROWS:
        return hash_each(rows)
    batch = pa.record_batch([rows], names=["row"])
    with held():
        found = _context().from_arrow(batch).select(sha256(col("row"))).collect()
    return b"".join([each for part in found for each in part.column(0).to_pylist()])


@lru_cache(maxsize=1)
def _context() -> SessionContext:
    return SessionContext()


class Hashed(NamedTuple):
    """What rows hash to.

    Attributes:
        sha256: The digest of the rows.
        set_sha256: That of the same in no order, where it is to be had.
        chunks: The beginnings of the digests of chunks, where there are several.
    """

    sha256: str
    set_sha256: str | None
    chunks: tuple[str, ...]


class Hashes:
    """The digests of one read's rows.

    Args:
        schema: Their columns.
        salt: What is hashed before them.
        is_ordered: Whether they would come in the same order again.
    """

    def __init__(self, schema: pa.Schema, salt: bytes, *, is_ordered: bool) -> None:
        self._digest = RowsDigest(schema, salt)
        self._schema = schema
        self._is_ordered = is_ordered
        self._rows = 0
        self._set: RowsSetDigest | None = None
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0

    @property
    def schema_json(self) -> bytes:
        """The columns' names and logical types as canonical JSON."""
        return self._digest.schema_json

    def add(self, batch: pa.RecordBatch) -> None:
        """Hash a batch."""
        self._digest.add(batch)
        self._rows += batch.num_rows
        if self._is_ordered:
            return
        self._held.append(batch)
        self._held_rows += batch.num_rows
        if self._held_rows >= SET_ROWS_AT_ONCE:
            self._hash_held()

    def _hash_held(self) -> None:
        """Hash the rows that are held one by one: many at once, since each time takes its time."""
        if self._set is None:
            self._set = RowsSetDigest(self._schema, hash_rows)
        for each in compacted(self._held):
            self._set.add(each)
        self._held, self._held_rows = [], 0

    def finish(self) -> Hashed:
        """Return what the rows hash to."""
        if self._held and self._rows > 1:  # one row has but one order
            self._hash_held()
        found = None if self._set is None else self._set.finish()
        whole = self._digest.finish().hex()
        return Hashed(whole, None if found is None else found.hex(), tuple(self._digest.chunks))
