"""Writing segments: Parquet files sorted by ``seq`` that any reader reads.

Rules:
    - A file is written a few row groups at a time, never as a whole.
    - A file has its name when it is whole, and is then named by the store; what no store row
      names is a crash's and is ignored.
    - A file that was replaced stays for a while: a snapshot may still read it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from affidavit.catalog.journal.events import EVENTS_SCHEMA, PLAIN_SCHEMA, has_contexts
from affidavit.catalog.journal.segments.index import index_of
from affidavit.catalog.journal.segments.places import INDEX_SUFFIX
from affidavit.catalog.journal.segments.segment import Segment
from affidavit.catalog.ledger.merkle import Frontier
from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from affidavit.catalog.journal.segments.places import SegmentFolder

ROW_GROUP_EVENTS: Final = 2048
"""An entity's event costs reading this many, so they are few; fewer compress badly."""

GROUPS_AT_ONCE: Final = 16
"""How many row groups are written, or read of a whole file, at a time."""

_DICTIONARIES: Final = [
    "entity_type", "field", "action", "actor", "source", "workspace_id", "tx_id", "reason",
    "table_id", "context",
]  # fmt: skip
_STATISTICS: Final = ["seq", "timestamp", "entity_type", "field", "action", "actor", "source"]


@dataclass(slots=True)
class Written:
    """What is known of a segment's events while they are written, or read again to be checked."""

    seqs: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    events: int = 0
    frontier: Frontier = field(default_factory=Frontier)
    index: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = field(default_factory=list)

    def sorted_index(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """Return the index, once all events are noted."""
        whole = np.concatenate(self.index)
        self.index.clear()
        whole.sort()
        return whole

    def add(self, events: pa.Table) -> None:
        """Note some more events."""
        times = pc.min_max(events["timestamp"].cast(pa.int64())).as_py()
        self.seqs += [events["seq"][0].as_py(), events["seq"][-1].as_py()]
        self.times += [times["min"], times["max"]]
        self.index.append(index_of(events["entity_id"], self.events))
        self.frontier = self.frontier.extended(events["leaf_hash"].to_pylist())[0]
        self.events += events.num_rows

    def follows(self, events: pa.Table) -> bool:
        """Return whether ``events`` are in order, and after those that were noted."""
        before = [*self.seqs[-1:], *events["seq"].to_pylist()]
        return all(one < other for one, other in pairwise(before))

    def segment(self, sha256: bytes, file: str, size: int) -> Segment:
        """Return what the store says of a segment of the events that were noted."""
        return Segment(
            self.seqs[0], self.seqs[-1], self.events, min(self.times), max(self.times), sha256,
            self.frontier.root, file, size,
        )  # fmt: skip


class _ContextFoundError(Exception):
    """An event has a context, and the file that it is written to has no columns for one."""


def write_segment(folder: SegmentFolder, events: Callable[[], Iterable[pa.Table]]) -> Segment:
    """Write events, in the order of ``seq``, as a segment in ``folder``; nothing names it yet.

    ``events`` reads them: again from the first on if one is found to have a context, since files
    of events without have no columns for it.

    Raises:
        StoreError: The folder cannot be written.
    """
    asides: list[Path] = []
    try:
        asides += [folder.aside(), folder.aside()]
        data, index = asides
        try:
            told = _write_events(data, events(), PLAIN_SCHEMA)
        except _ContextFoundError:
            told = _write_events(data, events(), EVENTS_SCHEMA)
        told.sorted_index().tofile(index)
        digest, size = digest_of(data)
        name = f"{told.seqs[0]}-{told.seqs[-1]}.parquet"
        if folder.has(name):  # the same events, written anew after an erasure
            name = f"{told.seqs[0]}-{told.seqs[-1]}.{digest.hex()[:8]}.parquet"
        folder.put(index, f"{name}{INDEX_SUFFIX}")
        folder.put(data, name)
    except OSError as error:
        msg = f"a segment of the journal cannot be written in {folder}: {error}"
        raise StoreError(msg) from error
    finally:
        for each in asides:
            each.unlink(missing_ok=True)
    return told.segment(digest, name, size)


def _write_events(path: Path, events: Iterable[pa.Table], schema: pa.Schema) -> Written:
    told = Written()
    dictionaries = [name for name in _DICTIONARIES if name in schema.names]
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=dictionaries,
        write_statistics=_STATISTICS, sorting_columns=[pq.SortingColumn(0)],
    ) as writer:  # fmt: skip
        for part in _regrouped(events, GROUPS_AT_ONCE * ROW_GROUP_EVENTS):
            if schema is PLAIN_SCHEMA and has_contexts(part):
                raise _ContextFoundError
            writer.write_table(part.select(schema.names), row_group_size=ROW_GROUP_EVENTS)
            told.add(part)
    return told


def _regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the same rows in tables of ``rows`` each; the last may have fewer."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        if count >= rows:
            whole = pa.concat_tables(waiting)
            full = count - count % rows
            yield from (whole.slice(at, rows) for at in range(0, full, rows))
            waiting, count = [whole.slice(full)], count - full
    if count:
        yield pa.concat_tables(waiting)


def digest_of(path: Path) -> tuple[bytes, int]:
    """Return the SHA-256 of a file, and its size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest(), path.stat().st_size


_KEPT: Final = {"seq", "timestamp", "leaf_hash"}


def husk_of(events: pa.Table) -> pa.Table:
    """Return the numbers, times and leaves of events without the rest: proofs need no more."""
    arrays = [
        events[each.name] if each.name in _KEPT else pa.nulls(events.num_rows, each.type)
        for each in EVENTS_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=EVENTS_SCHEMA)


def remove_segment(folder: SegmentFolder, segment: Segment) -> None:
    """Remove a segment's files.

    Raises:
        StoreError: They cannot be removed.
    """
    try:
        for name in (segment.file, f"{segment.file}{INDEX_SUFFIX}"):
            folder.remove(name)
    except OSError as error:
        msg = f"segment {segment.file} of the journal cannot be removed from {folder}: {error}"
        raise StoreError(msg) from error
