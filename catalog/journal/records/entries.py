"""Sealed records as the ledger finds them: by number, id, kind, and by the rows that they gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.journal.evidence import SealedEntries
from affidavit.catalog.journal.records.form import entries_of, hashes_of_ids, hashes_of_rows
from affidavit.catalog.journal.records.kept import MAY_BE_SEALED
from affidavit.catalog.journal.records.wanted import wanted
from affidavit.catalog.ledger.entry import rows_given
from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import LEDGER
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from affidavit.catalog.journal.records.wanted import Wanted
    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.journal.span import Span
    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader

_NAMES: Final = ["seq", "entry_id"]

FEW: Final = 1024
"""Up to so many entries are read a row group at a time."""


class RecordEntries(SealedEntries):
    """What a tenant's ledger finds of its entries in segments of records.

    It is a :class:`~affidavit.catalog.ledger.entry.RecordKeeper`. What is not sealed stands in the
    ledger's own table, which the ledger reads itself.
    """

    def count(self, reader: Reader) -> int:
        """Return how many are sealed."""
        return sum(each.events for each in self._kept.all_segments(reader))

    def leaves(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of those ``[first, end)``."""
        return self.sealed_leaves(reader, first, end)

    def entries(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return those ``[first, end)``."""
        return self.sealed_entries(reader, first, end)

    def faults(self, reader: Reader) -> Iterator[tuple[int, int, str]]:
        """Yield what is wrong with how records are sealed."""
        return self.sealed_faults(reader)

    def entries_of(self, rows: pa.Table) -> Iterable[StoredEntry]:
        """Return records as entries."""
        return entries_of(rows)

    def unsealed(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of those that stand in the ledger's own table."""
        where = own(
            self._kept.tenant, *MAY_BE_SEALED, Compare(">=", "seq", first), Compare("<", "seq", end)
        )
        rows = reader.select(LEDGER, ("seq", "leaf_hash"), where, order_by=("seq",))
        found = [
            (seq, leaf) for seq, leaf in rows if isinstance(seq, int) and isinstance(leaf, bytes)
        ]
        if len(found) != len(rows):
            raise LedgerCorruptError(f"one of the entries {first} to {end - 1} is unreadable")
        return found

    # --- finding ---------------------------------------------------------------------------------

    def matching(
        self,
        reader: Reader,
        *conditions: Predicate,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[StoredEntry]:
        """Return those that match, in order, and that were not let go."""
        asked = wanted(conditions)
        if asked.is_none:
            return []
        segments = [each for each in self._kept.segments(reader) if asked.may_be_in(each)]
        found: list[StoredEntry] = []
        for segment in reversed(segments) if descending else segments:
            is_few = limit is not None and limit <= FEW
            for part in self._found(segment, asked, descending=descending, is_few=is_few):
                left = part.num_rows if limit is None else limit - len(found)
                if descending:
                    found += reversed(list(entries_of(part[max(part.num_rows - left, 0) :])))
                else:
                    found += entries_of(part[:left])
                if limit is not None and len(found) >= limit:
                    return found
        return found

    def count_of(self, reader: Reader, *conditions: Predicate) -> int:
        """Return how many entries :meth:`matching` returns."""
        asked = wanted(conditions)
        if asked.is_none:
            return 0
        segments = [each for each in self._kept.segments(reader) if asked.may_be_in(each)]
        count = 0

        def read(each: Segment, within: Span) -> Iterator[pa.Table]:
            nonlocal count
            count += self._kept.files.count(each, within.narrowed(each, asked.filters))
            yield from ()

        for segment in segments:
            list(self._kept.read(segment, asked.span, read))
        return count

    def seqs(self, reader: Reader, *conditions: Predicate) -> list[int]:
        """Return the numbers of those that match, also of those that were let go."""
        asked = wanted(conditions)
        if asked.is_none:
            return []

        def read(each: Segment, within: Span) -> Iterator[pa.Table]:
            return self._kept.files.scan(each, ["seq"], within.narrowed(each, asked.filters))

        segments = [each for each in self._kept.all_segments(reader) if asked.may_be_in(each)]
        parts = (part for each in segments for part in self._kept.read(each, asked.span, read))
        return [seq for part in parts for seq in part["seq"].to_pylist()]

    def _found(
        self, segment: Segment, asked: Wanted, *, descending: bool = False, is_few: bool = False
    ) -> Iterator[pa.Table]:
        files, names = self._kept.files, self._kept.form.schema.names

        def read(each: Segment, within: Span) -> Iterator[pa.Table]:
            rows = None if asked.hashes is None else files.rows_of(each, asked.hashes)
            if rows is not None:
                parts = files.at(each, rows, names)
            elif asked.seqs is not None:
                parts = files.numbered(each, asked.seqs, names)
            elif descending or is_few:
                parts = files.scan_few(each, names, asked.filters, descending=descending)
            else:
                parts = files.scan(each, names, asked.filters)
            for part in parts:
                kept = part if asked.filters is None else part.filter(asked.filters)
                kept = within.kept(kept)
                if kept.num_rows:
                    yield kept

        return self._kept.read(segment, asked.span, read, descending=descending)

    def giving(
        self, reader: Reader, rows: Sequence[str] | None, *conditions: Predicate
    ) -> Iterator[list[StoredEntry]]:
        """Yield those that gave one of ``rows``, or whichever, in order, some at a time."""
        asked = wanted(conditions)
        if asked.is_none:
            return
        files, names = self._kept.files, self._kept.form.schema.names
        hashes = None if rows is None else hashes_of_rows(rows)
        given = None if rows is None else frozenset(rows)

        def read(each: Segment, within: Span) -> Iterator[pa.Table]:
            places = None if hashes is None else files.rows_of(each, hashes)
            if places is None:
                yield from map(within.kept, files.scan(each, names, asked.filters))
                return
            for part in files.at(each, places, names):
                kept = part if asked.filters is None else part.filter(asked.filters)
                yield within.kept(kept)

        for segment in self._kept.segments(reader):
            if asked.may_be_in(segment):
                for part in self._kept.read(segment, asked.span, read):
                    found = [each for each in entries_of(part) if _gave(each, given)]
                    if found:
                        yield found

    def numbers(self, reader: Reader, entry_ids: Iterable[str]) -> dict[str, int]:
        """Return the number of each that has one of these ids."""
        listed = list(entry_ids)
        asked = wanted([In("entry_id", tuple(listed))])
        files, hashes = self._kept.files, hashes_of_ids(listed)

        def read(each: Segment, within: Span) -> Iterator[pa.Table]:
            rows = files.rows_of(each, hashes)
            parts = (
                files.scan(each, _NAMES, asked.filters)
                if rows is None
                else files.at(each, rows, _NAMES)
            )
            for part in parts:
                yield within.kept(part.filter(asked.filters))

        found: dict[str, int] = {}
        for segment in self._kept.segments(reader):
            for part in self._kept.read(segment, asked.span, read):
                ids = part["entry_id"].cast(pa.binary()).to_pylist()
                names = [each.decode(errors="replace") for each in ids]
                found |= zip(names, part["seq"].to_pylist(), strict=True)
        return found


def _gave(entry: StoredEntry, rows: frozenset[str] | None) -> bool:
    """Return whether a record says that it gave one of ``rows``; true where none are named."""
    if rows is None:
        return True
    try:
        return any(row in rows for row, _ in rows_given(entry, entry.fields()))
    except (LedgerProblem, TypeError):  # which verifying tells
        return False
