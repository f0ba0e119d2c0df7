"""The digest of rows: one text for a result, whatever its layout.

Rules:
    - Equal rows of equal logical types, in the same order, give the same digest, however they are
      cut into batches. docs/ledger.md says it byte by byte.
    - Of what is hashed at most one chunk is held.
"""

from __future__ import annotations

import hashlib
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.values.canonical import canonical
from affidavit.catalog.values.columns import column_parts, few_values, row_parts
from affidavit.catalog.values.ingest import to_reader
from affidavit.catalog.values.logical import logical_columns
from affidavit.errors import SchemaMismatchError, UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.values.layout import Integers
    from affidavit.catalog.values.logical import Logical

CHUNK_ROWS: Final = 65_536
"""Into chunks of so many rows is cut what is hashed."""

CHUNKS_MAX: Final = 1024
CHUNK_DIGITS: Final = 16
"""Of so many chunks so many hexadecimal digits are kept, to say which of them differ."""

SET_ROWS_MAX: Final = 100_000
"""Up to so many rows are compared as a set."""

DIGEST_BYTES: Final = 32

HELD_MAX: Final = 256
"""Of how many batches a chunk is put together before they are copied into one."""

SET_ROWS_AT_ONCE: Final = 16_384
"""How many rows are written out at once to be hashed one by one."""

_ROWS: Final = b"affidavit rows 1\n"
_CHUNK: Final = b"affidavit chunk 1\n"
_NOTHING: Final = pa.scalar(b"", pa.large_binary())
_SET: Final = b"affidavit rows set 1\n"


def digest(data: object, salt: bytes = b"") -> str:
    """Return the SHA-256 of rows, in lower-case hexadecimal.

    It depends on the columns' names and logical types, on the values and on the order of the rows,
    and on nothing else: not on batches, dictionaries, views, metadata or nullability. ``data`` is
    an Arrow table, batch or reader, a pandas or polars frame, a result, or a list of dicts. A
    stream is read to its end.

    >>> digest(pa.table({"a": [1, 2]})) == digest(pa.table({"a": [1, 2]}).slice(0))
    True

    Raises:
        UnsupportedTypeError: A column's type has no canonical form: extension types, unions.
        SchemaMismatchError: ``data`` is no such thing.
        TypeError: ``salt`` is not bytes.
    """
    with to_reader(data) as reader:
        rows = RowsDigest(reader.schema, salt)
        for batch in reader:
            rows.add(batch)
    return rows.finish().hex()


def rows_set_digest(data: object) -> str | None:
    """Return a digest of rows in no order, in hexadecimal; ``None`` of more than 100,000.

    A row that is there twice counts twice. ``data`` is what :func:`digest` takes.

    Raises:
        UnsupportedTypeError: A column's type has no canonical form.
        SchemaMismatchError: ``data`` is no such thing.
    """
    with to_reader(data) as reader:
        rows = RowsSetDigest(reader.schema)
        for batch in reader:
            rows.add(batch)
    found = rows.finish()
    return None if found is None else found.hex()


def schema_json(schema: pa.Schema) -> bytes:
    """Return the columns' names and logical types as canonical JSON.

    Raises:
        UnsupportedTypeError: A column's type has no canonical form.
    """
    return _schema_json(schema, logical_columns(schema))


def _schema_json(schema: pa.Schema, columns: tuple[Logical, ...]) -> bytes:
    pairs = [[name, each.name] for name, each in zip(schema.names, columns, strict=True)]
    return canonical(pairs, "the names of the columns")


class _Columns:
    """The columns of a schema, and whether a batch has the same."""

    def __init__(self, schema: pa.Schema) -> None:
        self.types = logical_columns(schema)
        self.json = _schema_json(schema, self.types)
        self._names = schema.names
        self._seen = schema

    def check(self, batch: pa.RecordBatch) -> None:
        if batch.schema is self._seen or batch.schema.equals(self._seen):
            return
        found = schema_json(batch.schema)
        if found != self.json:
            msg = f"expected a batch of columns {self.json.decode()}, got {found.decode()}"
            raise SchemaMismatchError(msg)
        self._seen = batch.schema

    def too_long(self, at: int) -> UnsupportedTypeError:
        kind = f"{self.types[at].kind} with a value of over 2**32 - 1 bytes or items"
        return UnsupportedTypeError(self._names[at], kind)


class RowsDigest:
    """The digest of rows that come in batches.

    Attributes:
        schema_json: The columns' names and logical types as canonical JSON.
        rows: How many rows were added.
        chunks: The beginning of a digest of each chunk after the salt, in hexadecimal, once it is
            finished; of the first :data:`CHUNKS_MAX`, and none where there is but one.

    Raises:
        UnsupportedTypeError: A column's type has no canonical form.
        TypeError: ``salt`` is not bytes.
    """

    def __init__(self, schema: pa.Schema, salt: bytes = b"") -> None:
        if not isinstance(salt, bytes | bytearray | memoryview):
            msg = f"salt must be bytes, got {type(salt).__name__}"
            raise TypeError(msg)
        self._columns = _Columns(schema)
        self.schema_json = self._columns.json
        self.rows = 0
        self._salt = bytes(salt)
        self.chunks: list[str] = []
        self._hash = hashlib.sha256(salt)
        self._hash.update(_ROWS + self.schema_json + b"\n")
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self._finished: bytes | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a batch of rows; of its last ones, fewer than a chunk, are held and not copied.

        Raises:
            SchemaMismatchError: Its columns are of other names or logical types.
            UnsupportedTypeError: One value has more than 2**32 - 1 bytes or items.
            ValueError: The digest is finished.
        """
        if self._finished is not None:
            msg = "rows can be added only before finish()"
            raise ValueError(msg)
        self._columns.check(batch)
        at = 0
        while at < batch.num_rows:
            part = batch.slice(at, CHUNK_ROWS - self._held_rows)
            self._held.append(part)
            self._held_rows += part.num_rows
            at += part.num_rows
            if self._held_rows == CHUNK_ROWS:
                self._hash_chunk()
        self.rows += batch.num_rows
        if len(self._held) > HELD_MAX:
            self._held = compacted(self._held)

    def _hash_chunk(self) -> None:
        chunk = hashlib.sha256(self._salt + _CHUNK)
        for at, logical in enumerate(self._columns.types):
            column = hashlib.sha256()
            try:
                pieces = [held.column(at) for held in self._held]
                for part in few_values(logical, pieces) or column_parts(logical, pieces):
                    column.update(part)
            except OverflowError as error:
                raise self._columns.too_long(at) from error
            self._hash.update(column.digest())
            chunk.update(column.digest())
        if len(self.chunks) < CHUNKS_MAX:
            self.chunks.append(chunk.hexdigest()[:CHUNK_DIGITS])
        self._held, self._held_rows = [], 0

    def finish(self) -> bytes:
        """Return the digest, 32 bytes, again if it was asked for."""
        if self._finished is None:
            if self._held_rows:
                self._hash_chunk()
            self._hash.update(self.rows.to_bytes(8, "little"))
            self._finished = self._hash.digest()
            if len(self.chunks) == 1:
                self.chunks.clear()
        return self._finished


def compacted(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Return many small batches as one, if they can be."""
    if any(not batch.schema.equals(batches[0].schema) for batch in batches):
        return batches
    try:
        return [pa.concat_batches(batches)]
    except pa.ArrowException:
        return batches  # too much text for 32-bit offsets, or no kernel for the type


def hash_each(rows: pa.LargeBinaryArray) -> bytes:
    """Return the SHA-256 of each of some byte strings, none of them NULL, one after the other."""
    offsets = np.frombuffer(rows.buffers()[1], np.int64, len(rows) + 1, rows.offset * 8).tolist()
    data = memoryview(rows.buffers()[2] or b"")
    parts = [hashlib.sha256(data[first:last]).digest() for first, last in pairwise(offsets)]
    return b"".join(parts)


class RowsSetDigest:
    """The digest of rows in no order, that come in batches; none of too many.

    Args:
        schema: Their columns.
        hash_rows: Returns the SHA-256 of each of some byte strings, one after the other.

    Raises:
        UnsupportedTypeError: A column's type has no canonical form.
    """

    def __init__(
        self,
        schema: pa.Schema,
        hash_rows: Callable[[pa.LargeBinaryArray], bytes] = hash_each,
    ) -> None:
        self._hash_rows = hash_rows
        self._columns = _Columns(schema)
        self._rows = 0
        self._digests: list[bytes] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a batch of rows.

        Raises:
            SchemaMismatchError: Its columns are of other names or logical types.
            UnsupportedTypeError: One value has more than 2**32 - 1 bytes or items.
        """
        self._columns.check(batch)
        self._rows += batch.num_rows
        if self._rows > SET_ROWS_MAX:
            self._digests = []
            return
        for at in range(0, batch.num_rows, SET_ROWS_AT_ONCE):
            self._digests.append(self._hashed(batch.slice(at, SET_ROWS_AT_ONCE)))

    def _hashed(self, batch: pa.RecordBatch) -> bytes:
        """Return the digest of each row, one after the other."""
        parts: list[tuple[Integers | int, bytes]] = []
        for at, logical in enumerate(self._columns.types):
            try:
                parts += row_parts(logical, batch.column(at))
            except OverflowError as error:
                raise self._columns.too_long(at) from error
        return self._hash_rows(_interleaved(parts, batch.num_rows))

    def finish(self) -> bytes | None:
        """Return the digest, 32 bytes; ``None`` of more than 100,000 rows."""
        if self._rows > SET_ROWS_MAX:
            return None
        whole = hashlib.sha256(_SET + self._columns.json + b"\n")
        whole.update(_in_order(b"".join(self._digests)))
        whole.update(self._rows.to_bytes(8, "little"))
        return whole.digest()


def _in_order(digests: bytes) -> bytes:
    """Return digests that stand one after the other in their order."""
    rows = np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES)
    words = rows.view(">u8").astype(np.uint64)
    order = np.argsort(words[:, 0])
    first = words[order, 0]
    if len(first) > 1 and (first[1:] == first[:-1]).any():  # such as of a row that is there twice
        order = np.lexsort(words.T[::-1])
    return rows[order].tobytes()


def _interleaved(parts: Sequence[tuple[Integers | int, bytes]], rows: int) -> pa.LargeBinaryArray:
    """Return the bytes of each row, whose columns are ``parts``."""
    joined: list[tuple[Integers | int, bytes | memoryview]] = []
    for is_fixed, run in groupby(parts, lambda part: isinstance(part[0], int)):
        if is_fixed:
            each = [np.frombuffer(d, np.uint8).reshape(rows, -1) for w, d in run if w]
            matrix = np.concatenate(each, axis=1) if each else np.zeros((rows, 0), np.uint8)
            joined.append((matrix.shape[1], matrix.reshape(-1).data))
        else:
            joined += run
    if not joined:
        return _strings(0, b"", rows)
    if len(joined) == 1:
        return _strings(*joined[0], rows)
    return pc.binary_join_element_wise(*(_strings(*part, rows) for part in joined), _NOTHING)


def _strings(sizes: Integers | int, data: bytes | memoryview, rows: int) -> pa.LargeBinaryArray:
    """Return one byte string a row."""
    offsets = np.zeros(rows + 1, np.int64)
    np.cumsum(sizes if not isinstance(sizes, int) else np.full(rows, sizes), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), rows, buffers)


# --- beside the caller ---------------------------------------------------------------------------
