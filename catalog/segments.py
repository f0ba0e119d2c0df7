"""Sealed segments of the journal: immutable Parquet files with an index on the entity.

A segment's file is sorted by ``seq`` and any Parquet reader reads it. Beside it lies an index: the
sorted 32-bit hashes of its entities' ids, and the row of each, so that an entity's few events are
read without the others.

Rules:
    - A file is written aside, synced and renamed, then named by the store; what no store row names
      is a crash's and is ignored.
    - A file that was replaced stays for a while: a snapshot may still read it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from affidavit.catalog.disk import sync
from affidavit.catalog.events import EVENTS_SCHEMA
from affidavit.catalog.merkle import Frontier
from affidavit.catalog.store.protocol import StoreColumn, StoreTable
from affidavit.catalog.types import Kind
from affidavit.errors import LedgerCorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROW_GROUP_EVENTS: Final = 4096
_INT, _TEXT, _BLOB = Kind.INTEGER, Kind.TEXT, Kind.BLOB

SEGMENTS: Final = StoreTable(
    "journal_segments",
    (
        StoreColumn("first_seq", _INT),
        StoreColumn("last_seq", _INT),
        StoreColumn("events", _INT),
        StoreColumn("first_at", _INT),
        StoreColumn("last_at", _INT),
        StoreColumn("sha256", _BLOB),
        StoreColumn("root", _BLOB),
        StoreColumn("file", _TEXT),
        StoreColumn("bytes", _INT),
        StoreColumn("dropped", _INT),
    ),
)
_INDEX: Final = np.dtype([("hash", "<u4"), ("row", "<u4")])


@dataclass(frozen=True, slots=True)
class Segment:
    """One sealed segment, as the store names it.

    Attributes:
        first_seq: Its first event.
        last_seq: Its last; entries in between that are no events stand in the ledger itself.
        events: How many it has.
        first_at: The time of the earliest, in microseconds since the epoch.
        last_at: And of the latest.
        sha256: Of the file.
        root: The Merkle root over its events' leaves.
        file: Its name in the tenant's journal folder.
        bytes: The file's size.
        dropped: Whether its events were let go, and only their leaves kept.
    """

    first_seq: int
    last_seq: int
    events: int
    first_at: int
    last_at: int
    sha256: bytes
    root: bytes
    file: str
    bytes: int
    dropped: int = 0


def write_segment(folder: Path, events: pa.Table) -> Segment:
    """Write ``events``, sorted by ``seq``, as a segment in ``folder``; nothing names it yet.

    Raises:
        StoreError: The folder cannot be written.
    """
    seqs, times = events["seq"], pc.min_max(events["timestamp"].cast(pa.int64())).as_py()
    first, last = seqs[0].as_py(), seqs[-1].as_py()
    name = f"{first}-{last}.parquet"
    if (folder / name).exists():  # the same events, written anew after an erasure
        name = f"{first}-{last}.{uuid4().hex[:8]}.parquet"
    aside = folder / f".{uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            events, aside, compression="zstd", row_group_size=ROW_GROUP_EVENTS,
            use_dictionary=_DICTIONARIES, write_statistics=_STATISTICS,
            sorting_columns=[pq.SortingColumn(0)],
        )  # fmt: skip
        _write_index(index_path(folder / name), events["entity_id"])
        digest, size = _digest(aside)
        sync(aside)
        aside.rename(folder / name)
        sync(folder)
    except OSError as error:
        msg = f"a segment of the journal cannot be written in {str(folder)!r}: {error}"
        raise StoreError(msg) from error
    finally:
        aside.unlink(missing_ok=True)
    root = Frontier().extended(events["leaf_hash"].to_pylist())[0].root
    return Segment(
        first, last, events.num_rows, times["min"], times["max"], digest, root, name, size
    )


_DICTIONARIES: Final = [
    "entity_type", "field", "action", "actor", "source", "workspace_id", "tx_id", "reason",
    "table_id",
]  # fmt: skip
_STATISTICS: Final = ["seq", "timestamp", "entity_type", "field", "action", "actor", "source"]


def _digest(path: Path) -> tuple[bytes, int]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.digest(), path.stat().st_size


def write_husk(folder: Path, segment: Segment) -> Segment:
    """Write a segment's numbers, times and leaves without its events: proofs need no more."""
    events = open_segment(folder, segment).read()
    kept = {"seq", "timestamp", "leaf_hash"}
    arrays = [
        events[field.name] if field.name in kept else pa.nulls(events.num_rows, field.type)
        for field in EVENTS_SCHEMA
    ]
    husk = write_segment(folder, pa.Table.from_arrays(arrays, schema=EVENTS_SCHEMA))
    return replace(husk, dropped=1)


def remove_segment(folder: Path, segment: Segment) -> None:
    """Remove a segment's files."""
    path = folder / segment.file
    for each in (path, index_path(path)):
        each.unlink(missing_ok=True)


# --- the index on entities ------------------------------------------------------------------------


def index_path(path: Path) -> Path:
    """Return where a segment's index lies."""
    return path.with_name(f"{path.name}.entities")


def entity_hash(entity_id: str) -> int:
    """Return the 32-bit hash that the index sorts by."""
    return int.from_bytes(hashlib.blake2b(entity_id.encode(), digest_size=4).digest(), "little")


def index_of(entities: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Return the index of a segment whose events have these entities, in order."""
    coded = entities.combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    hashes = np.array([entity_hash(each) for each in coded.dictionary.to_pylist()], dtype="<u4")
    index = np.zeros(0 if coded.null_count else len(entities), dtype=_INDEX)
    if coded.null_count:  # a husk, which is about nobody
        return index
    index["hash"] = hashes[coded.indices.to_numpy(zero_copy_only=False)]
    index["row"] = np.arange(len(entities))
    index.sort(order=("hash", "row"))
    return index


def _write_index(path: Path, entities: pa.ChunkedArray) -> None:
    aside = path.with_name(f".{uuid4().hex}")
    index_of(entities).tofile(aside)
    aside.rename(path)


def rows_of_entity(path: Path, entity_id: str) -> list[int] | None:
    """Return the rows of a segment that may be about an entity; ``None`` if it has no index."""
    try:
        index = np.memmap(index_path(path), dtype=_INDEX, mode="r")
    except (OSError, ValueError):
        return None
    wanted = entity_hash(entity_id)
    low, high = np.searchsorted(index["hash"], [wanted, wanted + 1])
    rows: list[int] = index["row"][low:high].tolist()
    return rows


# --- reading --------------------------------------------------------------------------------------


def open_segment(folder: Path, segment: Segment) -> pq.ParquetFile:
    """Open a segment's file.

    Raises:
        LedgerCorruptError: It is missing, or is no Parquet file of events.
    """
    path = folder / segment.file
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        msg = f"segment {segment.file} of the journal is missing from {str(folder)!r}"
        raise LedgerCorruptError(msg, seq=segment.first_seq) from None
    except (OSError, pa.ArrowException) as error:
        msg = f"segment {segment.file} of the journal cannot be read: {error}"
        raise LedgerCorruptError(msg, seq=segment.first_seq) from error
    if file.schema_arrow.names != EVENTS_SCHEMA.names:
        msg = f"segment {segment.file} of the journal has other columns"
        raise LedgerCorruptError(msg, seq=segment.first_seq)
    return file


def read_rows_at(
    folder: Path, segment: Segment, rows: Sequence[int], columns: Sequence[str]
) -> pa.Table:
    """Return some rows of a segment, reading only the row groups that they are in."""
    file = open_segment(folder, segment)
    groups = sorted({row // ROW_GROUP_EVENTS for row in rows})
    parts = []
    for group in groups:
        low = group * ROW_GROUP_EVENTS
        inside = [row - low for row in rows if low <= row < low + ROW_GROUP_EVENTS]
        table = file.read_row_group(group, columns=list(columns), use_threads=False)
        parts.append(table.take(pa.array(sorted(inside), pa.int64())))
    return pa.concat_tables(parts)


def verify_file(folder: Path, segment: Segment) -> None:
    """Raise LedgerCorruptError unless a segment's file is the one that was sealed."""
    path = folder / segment.file
    try:
        digest, _ = _digest(path)
    except OSError as error:
        msg = f"segment {segment.file} of the journal is missing: {error}"
        raise LedgerCorruptError(msg, seq=segment.first_seq) from error
    if digest != segment.sha256:
        msg = f"segment {segment.file} of the journal is not the file that was sealed"
        raise LedgerCorruptError(msg, seq=segment.first_seq)
