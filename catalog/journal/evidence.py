"""What is sealed, as entries of the ledger: their leaves, their bodies, and what is wrong."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from affidavit.catalog.journal.blocks import HASH_BYTES, table_of_blocks
from affidavit.catalog.journal.entries import entries_of, leaves_of
from affidavit.catalog.journal.segments.checking import fault
from affidavit.catalog.journal.span import Span
from affidavit.catalog.ledger.merkle import TILE_LEAVES
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.predicate import Compare
from affidavit.errors import InvalidQueryError, LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from affidavit.catalog.journal.kept import Kept
    from affidavit.catalog.journal.segments.keeping import Keeping
    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.store.protocol import Reader

LEAF: Final = struct.Struct("<q32s")
"""A leaf that is kept apart: its entry's number, and the hash."""

_LEAF_COLUMNS: Final = ["seq", "leaf_hash"]


class SealedEntries:
    """What a tenant's ledger finds of its entries in segments of one form.

    It is, with what a subclass says of the rows that are not sealed yet, an
    :class:`~affidavit.catalog.ledger.entry.EntryKeeper`.
    """

    def __init__(self, kept: Keeping) -> None:
        self._kept = kept

    # --- what a subclass says --------------------------------------------------------------------

    def entries_of(self, rows: pa.Table) -> Iterable[StoredEntry]:
        """Return rows as entries."""
        raise NotImplementedError

    def unsealed(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of those ``[first, end)`` that are not sealed yet."""
        raise NotImplementedError

    def look(self, reader: Reader) -> None:
        """Make sure that the files are there in which entries are sealed.

        Raises:
            LedgerCorruptError: One is missing, or is not as long as it should be.
        """
        self._kept.look(self._kept.all_segments(reader))

    # --- leaves ----------------------------------------------------------------------------------

    def sealed_leaves(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of the sealed entries ``[first, end)``."""
        span = Span(first, end)
        stretches, found = self._kept_leaves(reader, span)
        for segment in self._kept.all_segments(reader, *span.bounds()):
            part = span.within(segment)
            if any(low <= part.first and part.end <= high for low, high in stretches):
                continue
            found = [each for each in found if not part.first <= each[0] < part.end]
            for table in self._between(segment, part, _LEAF_COLUMNS):
                found += zip(table["seq"].to_pylist(), table["leaf_hash"].to_pylist(), strict=True)
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
            msg = f"{self._kept.form.whose}'s kept leaves cannot be read: {error}"
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
                leaves = self.sealed_leaves(reader, first, end) + self.unsealed(reader, first, end)
                found.append((first, end, b"".join(LEAF.pack(*each) for each in leaves)))
        return found

    # --- entries ---------------------------------------------------------------------------------

    def sealed_entries(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return the sealed entries ``[first, end)``.

        Raises:
            LedgerCorruptError: A segment is missing or unreadable, or a leaf is kept otherwise.
        """
        span, names = Span(first, end), self._kept.form.schema.names
        found = [
            entry
            for segment in self._kept.all_segments(reader, *span.bounds())
            for part in self._between(segment, span, names)
            for entry in self.entries_of(part)
        ]
        self._check_kept(reader, span, found)
        return found

    def rebuilt_leaves(self, reader: Reader, first: int, end: int) -> list[bytes] | None:  # noqa: ARG002 - for who overrides it
        """Return nothing: what is kept is checked as entries."""
        return None

    def _check_kept(self, reader: Reader, span: Span, found: Iterable[StoredEntry]) -> None:
        kept = dict(self._kept_leaves(reader, span)[1])
        for entry in found:
            if kept.get(entry.seq, entry.leaf_hash) != entry.leaf_hash:
                raise LedgerCorruptError("the leaf that is kept of it is another", seq=entry.seq)

    def _between(self, segment: Segment, span: Span, columns: list[str]) -> Iterator[pa.Table]:
        def read(each: Segment, within: Span) -> Iterator[pa.Table]:
            return self._kept.files.between(each, within.first, within.end, columns)

        return self._kept.read(segment, span.within(segment), read)

    # --- what is wrong ---------------------------------------------------------------------------

    def sealed_faults(self, reader: Reader) -> Iterator[tuple[int, int, str]]:
        """Yield what is wrong with how entries are sealed: the first and last that it is about.

        Their leaves tell what they are. This is about what readers find them by: their order,
        the segments' rows, statistics, indexes, and the leaves that are kept apart.
        """
        newest = -1
        for segment in self._kept.all_segments(reader):
            try:
                problem = fault(self._kept.files, segment)
            except LedgerCorruptError as error:
                problem = error.problem
            if problem is None and segment.first_seq <= newest:
                whose = self._kept.form.whose
                problem = f"segment {segment.file} of {whose} overlaps the one before it"
            if problem is not None:
                yield segment.first_seq, segment.last_seq, problem
            newest = max(newest, segment.last_seq)
        yield from self._leaf_faults(reader, newest + 1)

    def _leaf_faults(self, reader: Reader, sealed: int) -> Iterator[tuple[int, int, str]]:
        for first, end, data in self._kept.kept_leaves(reader):
            if type(first) is not int or type(end) is not int:
                raise LedgerCorruptError(f"{self._kept.form.whose}'s kept leaves have no place")
            span = Span(first, end)
            try:
                parts = [
                    part
                    for segment in self._kept.all_segments(reader, *span.bounds())
                    for part in self._between(segment, span, _LEAF_COLUMNS)
                ]
            except LedgerCorruptError:
                continue  # which was yielded
            seqs = [seq for part in parts for seq in part["seq"].to_pylist()]
            leaves = [leaf for part in parts for leaf in part["leaf_hash"].to_pylist()]
            if end > sealed or data != b"".join(map(LEAF.pack, seqs, leaves)):
                yield first, max(first, end - 1), "the leaves that are kept of them are others"


class EventEntries(SealedEntries):
    """What a tenant's ledger finds of its entries in the journal."""

    _kept: Kept

    def count(self, reader: Reader) -> int:
        """Return how many events there are."""
        return self._kept.count(reader)

    def leaves(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of the events ``[first, end)``."""
        return self.sealed_leaves(reader, first, end) + self.unsealed(reader, first, end)

    def unsealed(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of those in the tail's blocks."""
        return [
            (low + at, leaves[at * HASH_BYTES : (at + 1) * HASH_BYTES])
            for _, low, _, count, _, leaves in self._kept.blocks(reader, *Span(first, end).bounds())
            for at in range(max(0, first - low), min(count, end - low))
        ]

    def entries(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return the events ``[first, end)`` as entries, their bodies put together anew.

        Raises:
            LedgerCorruptError: A segment is missing or unreadable, or a leaf is kept otherwise.
        """
        span = Span(first, end)
        tail = list(self.entries_of(span.kept(self._kept.tail(reader, *span.bounds()))))
        self._check_kept(reader, span, tail)
        return self.sealed_entries(reader, first, end) + tail

    def entries_of(self, rows: pa.Table) -> Iterable[StoredEntry]:
        """Return events as entries."""
        return entries_of(rows, self._shown_tenant)

    @property
    def _shown_tenant(self) -> str | None:
        return None if self._kept.tenant == SHARED else self._kept.tenant

    def rebuilt_leaves(self, reader: Reader, first: int, end: int) -> list[bytes] | None:
        """Return the leaves of ``[first, end)`` if these are all events, as they must be."""
        found: list[bytes] = []
        try:
            for part in self._parts(reader, Span(first, end)):
                leaves, low = leaves_of(part, self._shown_tenant), first + len(found)
                if leaves is None or part["leaf_hash"].to_pylist() != leaves:
                    return None
                if part["seq"].to_pylist() != list(range(low, low + len(leaves))):
                    return None
                found += leaves
            kept = self._kept_leaves(reader, Span(first, end))[1]
        except (LedgerCorruptError, InvalidQueryError, ValueError, TypeError, OverflowError):
            return None  # which entries() tells
        is_whole = len(found) == end - first
        return found if is_whole and all(found[seq - first] == leaf for seq, leaf in kept) else None

    def _parts(self, reader: Reader, span: Span) -> Iterator[pa.Table]:
        """Yield the events of a stretch as they are kept, oldest first."""
        for segment in self._kept.all_segments(reader, *span.bounds()):
            yield from self._between(segment, span, self._kept.form.schema.names)
        yield span.kept(self._kept.tail(reader, *span.bounds()))

    def faults(self, reader: Reader) -> Iterator[tuple[int, int, str]]:
        """Yield what is wrong with how events are kept, in segments and in the tail's blocks."""
        yield from self.sealed_faults(reader)
        newest = max((each.last_seq for each in self._kept.all_segments(reader)), default=-1)
        for block in self._kept.blocks(reader):
            _, first, last, count, *_ = block
            seqs = table_of_blocks([block])["seq"].to_pylist()
            if first <= newest or len(seqs) != count or seqs != list(range(first, last + 1)):
                yield first, max(first, last), "its block in the journal's tail has other events"
            newest = max(newest, last)
