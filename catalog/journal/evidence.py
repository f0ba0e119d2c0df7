"""The journal's events as entries of the ledger: their leaves, their bodies, and what is wrong."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from affidavit.catalog.journal.blocks import HASH_BYTES, table_of_blocks
from affidavit.catalog.journal.entries import entries_of
from affidavit.catalog.journal.events import EVENTS_SCHEMA
from affidavit.catalog.journal.kept import LEAF
from affidavit.catalog.journal.segments.checking import fault
from affidavit.catalog.journal.span import Span
from affidavit.catalog.ledger.merkle import TILE_LEAVES
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.predicate import Compare
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from affidavit.catalog.journal.kept import Kept
    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.store.protocol import Reader

_LEAF_COLUMNS: Final = ["seq", "leaf_hash"]


class EventEntries:
    """What a tenant's ledger finds of its entries in the journal.

    It is an :class:`~affidavit.catalog.ledger.entry.EntryKeeper`.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def count(self, reader: Reader) -> int:
        """Return how many events there are."""
        return self._kept.count(reader)

    def leaves(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of the events ``[first, end)``."""
        span = Span(first, end)
        stretches, found = self._kept_leaves(reader, span)
        for segment in self._kept.all_segments(reader, *span.bounds()):
            part = span.within(segment)
            if any(low <= part.first and part.end <= high for low, high in stretches):
                continue
            found = [each for each in found if not part.first <= each[0] < part.end]
            for table in self._kept.files.between(segment, part.first, part.end, _LEAF_COLUMNS):
                found += zip(table["seq"].to_pylist(), table["leaf_hash"].to_pylist(), strict=True)
        for _, low, _, count, _, leaves in self._kept.blocks(reader, *span.bounds()):
            for at in range(max(0, first - low), min(count, end - low)):
                found.append((low + at, leaves[at * HASH_BYTES : (at + 1) * HASH_BYTES]))
        return found

    def _kept_leaves(
        self, reader: Reader, span: Span
    ) -> tuple[list[tuple[int, int]], list[tuple[int, bytes]]]:
        """Return the stretches whose leaves are kept apart, and those of ``span``."""
        rows = self._kept.kept_leaves(reader, Compare("<", "first_seq", span.end))
        try:
            found = [each for *_, data in rows for each in LEAF.iter_unpack(data)]
            stretches = [(int(low), int(high)) for low, high, _ in rows]
        except (struct.error, TypeError, ValueError) as error:
            msg = f"the journal's kept leaves cannot be read: {error}"
            raise LedgerCorruptError(msg) from error
        return stretches, [each for each in found if span.first <= each[0] < span.end]

    def leaves_to_keep(
        self, reader: Reader, sealed: int, checkpoint_size: int
    ) -> list[tuple[int, int, bytes]]:
        """Return those leaves below ``sealed`` that no kept node stands for.

        They are those of the tile that the last checkpoint ends in, and of the last one.
        """
        found = []
        for first in {size - size % TILE_LEAVES for size in (sealed, checkpoint_size)}:
            end = min(first + TILE_LEAVES, sealed)
            if first < end:
                leaves = self.leaves(reader, first, end)
                found.append((first, end, b"".join(LEAF.pack(*each) for each in leaves)))
        return found

    def entries(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return the events ``[first, end)`` as entries, their bodies put together anew.

        Raises:
            LedgerCorruptError: A segment is missing or unreadable, or a leaf is kept otherwise.
        """
        span = Span(first, end)
        parts = list(self._between(reader, span, EVENTS_SCHEMA.names))
        parts.append(span.kept(self._kept.tail(reader, *span.bounds())))
        tenant = self._kept.tenant
        shown = None if tenant == SHARED else tenant
        found = [entry for part in parts for entry in entries_of(part, shown)]
        kept = dict(self._kept_leaves(reader, span)[1])
        for entry in found:
            if kept.get(entry.seq, entry.leaf_hash) != entry.leaf_hash:
                raise LedgerCorruptError("the leaf that is kept of it is another", seq=entry.seq)
        return found

    def _between(self, reader: Reader, span: Span, columns: list[str]) -> Iterator[pa.Table]:
        for segment in self._kept.all_segments(reader, *span.bounds()):
            yield from self._kept.files.between(segment, span.first, span.end, columns)

    def faults(self, reader: Reader) -> Iterator[tuple[int, int, str]]:
        """Yield what is wrong with how events are kept: the first and last that it is about.

        Their leaves tell what they are. This is about what readers find them by: their order,
        the blocks' and segments' rows, statistics, indexes, and the leaves that are kept apart.
        """
        newest = -1
        for segment in self._kept.all_segments(reader):
            try:
                problem = fault(self._kept.files, segment)
            except LedgerCorruptError as error:
                problem = error.problem
            if problem is None and segment.first_seq <= newest:
                problem = f"segment {segment.file} of the journal overlaps the one before it"
            if problem is not None:
                yield segment.first_seq, segment.last_seq, problem
            newest = max(newest, segment.last_seq)
        yield from self._leaf_faults(reader, newest + 1)
        for block in self._kept.blocks(reader):
            _, first, last, count, *_ = block
            seqs = table_of_blocks([block])["seq"].to_pylist()
            if first <= newest or len(seqs) != count or seqs != list(range(first, last + 1)):
                yield first, max(first, last), "its block in the journal's tail has other events"
            newest = max(newest, last)

    def _leaf_faults(self, reader: Reader, sealed: int) -> Iterator[tuple[int, int, str]]:
        for first, end, data in self._kept.kept_leaves(reader):
            if type(first) is not int or type(end) is not int:
                raise LedgerCorruptError("the journal's kept leaves have no place")
            try:
                parts = list(self._between(reader, Span(first, end), _LEAF_COLUMNS))
            except LedgerCorruptError:
                continue  # which was yielded
            seqs = [seq for part in parts for seq in part["seq"].to_pylist()]
            leaves = [leaf for part in parts for leaf in part["leaf_hash"].to_pylist()]
            if end > sealed or data != b"".join(map(LEAF.pack, seqs, leaves)):
                yield first, max(first, end - 1), "the leaves that are kept of them are others"
