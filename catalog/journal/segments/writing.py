"""Writing segments: Parquet files sorted by ``seq`` that any reader reads.

Rules:
    - A file is written a few row groups at a time, never as a whole.
    - A file has its name when it is whole, and is then named by the store; what no store row
      names is a crash's and is ignored.
    - A file that was replaced stays for a while: a snapshot may still read it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from affidavit.catalog.journal.segments.index import END
from affidavit.catalog.journal.segments.places import INDEX_SUFFIX
from affidavit.catalog.journal.segments.segment import Segment
from affidavit.catalog.ledger.merkle import Frontier
from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from affidavit.catalog.journal.segments.form import Form, Postings
    from affidavit.catalog.journal.segments.places import SegmentFolder

GROUPS_AT_ONCE: Final = 16
"""How many row groups are written, or read of a whole file, at a time."""


@dataclass(slots=True)
class Written:
    """What is known of a segment's rows while they are written, or read again to be checked."""

    form: Form
    seqs: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    events: int = 0
    frontier: Frontier = field(default_factory=Frontier)
    index: list[Postings] = field(default_factory=list)

    def sorted_index(self) -> Postings:
        """Return the index, once all rows are noted."""
        end = [] if self.form.one_posting else [np.array([END], dtype="<u8")]
        parts, at = deque([*self.index, *end]), 0
        self.index.clear()
        whole: Postings = np.empty(sum(map(len, parts)), parts[0].dtype)
        while parts:  # each goes once it is taken: together they are as large as the whole
            part = parts.popleft()
            whole[at : at + len(part)] = part
            at += len(part)
        whole.sort()
        return whole

    def add(self, events: pa.Table) -> None:
        """Note some more rows."""
        times = pc.min_max(events[self.form.time].cast(pa.int64())).as_py()
        self.seqs += [events["seq"][0].as_py(), events["seq"][-1].as_py()]
        self.times += [times["min"], times["max"]]
        self.index.append(self.form.postings(events, self.events))
        self.frontier = self.frontier.extended(events["leaf_hash"].to_pylist())[0]
        self.events += events.num_rows

    def follows(self, events: pa.Table) -> bool:
        """Return whether ``events`` are in order, and after those that were noted."""
        before = [*self.seqs[-1:], *events["seq"].to_pylist()]
        return all(one < other for one, other in pairwise(before))

    def segment(self, sha256: bytes, file: str, size: int) -> Segment:
        """Return what the store says of a segment of the rows that were noted."""
        return Segment(
            self.seqs[0], self.seqs[-1], self.events, min(self.times), max(self.times), sha256,
            self.frontier.root, file, size,
        )  # fmt: skip


class _OptionalFoundError(Exception):
    """A row has a value of an optional column, and its file is written without those."""


def write_segment(
    folder: SegmentFolder, form: Form, rows: Callable[[], Iterable[pa.Table]]
) -> Segment:
    """Write rows, in the order of ``seq``, as a segment in ``folder``; nothing names it yet.

    ``rows`` reads them: again from the first on if one is found to have a value of an optional
    column, since files in which none has one are without.

    Raises:
        StoreError: The folder cannot be written.
    """
    asides: list[Path] = []
    try:
        asides += [folder.aside(), folder.aside()]
        data, index = asides
        try:
            told = _write_rows(data, form, rows(), form.least)
        except _OptionalFoundError:
            told = _write_rows(data, form, rows(), form.schema)
        told.sorted_index().tofile(index)
        digest, size = digest_of(data)
        name = f"{told.seqs[0]}-{told.seqs[-1]}.parquet"
        if folder.has(name):  # the same rows, written anew after an erasure
            name = f"{told.seqs[0]}-{told.seqs[-1]}.{digest.hex()[:8]}.parquet"
        folder.put(index, f"{name}{INDEX_SUFFIX}")
        folder.put(data, name)
    except OSError as error:
        msg = f"a segment of {form.whose} cannot be written in {folder}: {error}"
        raise StoreError(msg) from error
    finally:
        for each in asides:
            each.unlink(missing_ok=True)
    return told.segment(digest, name, size)


def _write_rows(path: Path, form: Form, rows: Iterable[pa.Table], schema: pa.Schema) -> Written:
    told = Written(form)
    names = schema.names
    level = {} if form.level is None else {"compression_level": _each(names, form, form.level)}
    with pq.ParquetWriter(
        path, schema, compression=_each(names, form, "zstd", "none"),
        use_dictionary=[each for each in form.dictionaries if each in names],
        write_statistics=list(form.statistics),
        column_encoding=form.encodings or None, sorting_columns=[pq.SortingColumn(0)], **level,
    ) as writer:  # fmt: skip
        for part in _regrouped(rows, GROUPS_AT_ONCE * form.group_rows):
            if schema is not form.schema and form.has_optional(part):
                raise _OptionalFoundError
            writer.write_table(part.select(names), row_group_size=form.group_rows)
            told.add(part)
    return told


def _each(names: list[str], form: Form, value: object, plain: object = None) -> dict[str, object]:
    """Return what is said of each column: ``value``, and ``plain`` of those left as they are."""
    said = {name: plain if name in form.plain else value for name in names}
    return {name: each for name, each in said.items() if each is not None}


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


def remove_segment(folder: SegmentFolder, form: Form, segment: Segment) -> None:
    """Remove a segment's files.

    Raises:
        StoreError: They cannot be removed.
    """
    try:
        for name in (segment.file, f"{segment.file}{INDEX_SUFFIX}"):
            folder.remove(name)
    except OSError as error:
        msg = f"segment {segment.file} of {form.whose} cannot be removed from {folder}: {error}"
        raise StoreError(msg) from error
