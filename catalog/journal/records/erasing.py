"""Letting go of what records say: what their commitments are of, or all but their leaves.

Whatever a body says stays signed and provable: what is destroyed stands beside it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow as pa

from affidavit.catalog.journal.erasing import LettingGo
from affidavit.catalog.journal.records.form import entries_of
from affidavit.catalog.journal.segments.writing import write_segment
from affidavit.catalog.ledger.entry import StoredEntry, rows_given
from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.sql.predicate import And, Compare
from affidavit.catalog.store.protocol import ROWID, own
from affidavit.catalog.store.tables import LEDGER, RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.store.protocol import Reader, Writer

    Change: TypeAlias = Callable[[StoredEntry], bytes | None]

_COLUMNS: Final = (
    ROWID, "seq", "body", "signature", "kind", "entry_id", "created_at", "leaf_hash", "opened",
)  # fmt: skip


@dataclass(slots=True)
class Rewriting:
    """Records that are to say other things beside their bodies; nothing names them yet.

    Attributes:
        seqs: The numbers of those that change, ascending.
    """

    tenant: str
    seqs: list[int] = field(default_factory=list)
    _rows: list[tuple[bytes | None, int]] = field(default_factory=list)
    _given: list[tuple[str, int]] = field(default_factory=list)
    _segments: list[tuple[Segment, Segment]] = field(default_factory=list)
    _replace: Callable[[Writer, Segment, Segment], None] = lambda *_: None

    def apply(self, writer: Writer) -> None:
        """Let them say so, in the transaction that notes why."""
        writer.update(LEDGER, ("opened",), self._rows)
        for row_id, seq in self._given:
            where = And((Compare("=", "row_id", row_id), Compare("=", "seq", seq)))
            writer.delete_where(RESULTS, own(self.tenant, where))
        for old, new in self._segments:
            self._replace(writer, old, new)


class RecordErasing(LettingGo):
    """Lets go of what one tenant's records say."""

    def rewrite(self, change: Change, note: Callable[[Writer, Sequence[int]], None]) -> int:
        """Replace what stands beside the bodies of some records, wherever they are kept.

        Segments that have some are written anew, the files are there before the transaction that
        names them, and the old ones go after it: whoever is interrupted does it again.

        Args:
            change: Given each record, returns what is to stand beside its body instead of
                ``entry.opened``, as :func:`affidavit.catalog.ledger.commitments.without` gives it.
            note: Given the transaction and the numbers of those that changed; says why in the
                ledger. Not called where none does.

        Returns:
            How many changed.

        Raises:
            StoreError: A segment cannot be written or removed, or somebody reads the state of
                before: do it again.
        """
        with self.rewriting(change) as found:
            if found.seqs:
                with self._kept.store.write(self._kept.tenant) as writer:
                    found.apply(writer)
                    note(writer, found.seqs)
        self.scrub()
        return len(found.seqs)

    @contextmanager
    def rewriting(self, change: Change) -> Iterator[Rewriting]:
        """Do what :meth:`rewrite` does in a transaction of the caller's.

        Yields what changes, for the caller to :meth:`~Rewriting.apply`; the records are held until
        then against whoever else seals, merges or lets go. :meth:`scrub` is left to the caller.
        """
        with self._kept.alone():
            try:
                with self._kept.store.read(self._kept.tenant) as reader:
                    found = self._rewritten(reader, change)
                yield found
            finally:
                self.remove_replaced()

    def _rewritten(self, reader: Reader, change: Change) -> Rewriting:
        found = Rewriting(self._kept.tenant, _replace=self._kept.replace_segment)
        for segment in self._kept.segments(reader):
            self._rewrite_segment(segment, change, found)
        for rowid, entry in self._tail(reader):
            opened = change(entry)
            if opened != entry.opened:
                found.seqs.append(entry.seq)
                found._rows.append((opened, rowid))  # noqa: SLF001 - it is made here
                found._given += [(row, entry.seq) for row in _rows_gone(entry, opened)]  # noqa: SLF001 - as above
        return found

    def _rewrite_segment(self, segment: Segment, change: Change, found: Rewriting) -> None:
        files = self._kept.files
        opened: dict[int, bytes | None] = {}
        for part in files.scan(segment, self._kept.form.schema.names, None):
            for entry in entries_of(part):
                told = change(entry)
                if told != entry.opened:
                    opened[entry.seq] = told
        if not opened:
            return

        def whole() -> Iterator[pa.Table]:
            return (_with_opened(part, opened) for part in files.whole(segment))

        new = write_segment(self._kept.folder, self._kept.form, whole)
        found.seqs += sorted(opened)
        found._segments.append((segment, new))  # noqa: SLF001 - it is made here

    def _tail(self, reader: Reader) -> Iterator[tuple[int, StoredEntry]]:
        for rows in reader.rows(LEDGER, _COLUMNS, own(self._kept.tenant)):
            for rowid, *columns, opened in rows:
                yield int(rowid or 0), StoredEntry(*columns, opened=opened)  # type: ignore[arg-type,misc]  # as the store has them


def _with_opened(records: pa.Table, opened: dict[int, bytes | None]) -> pa.Table:
    """Return records with other things beside the bodies of some."""
    seqs = records["seq"].to_pylist()
    if opened.keys().isdisjoint(seqs):
        return records
    old = records["opened"].cast(pa.binary()).to_pylist()
    told = [opened.get(seq, each) for seq, each in zip(seqs, old, strict=True)]
    column = pa.array(told, pa.binary()).cast(pa.string())
    return records.set_column(records.schema.get_field_index("opened"), "opened", column)


def _rows_gone(entry: StoredEntry, opened: bytes | None) -> list[str]:
    """Return the rows that a record says no more that it gave, with other things beside it."""
    try:
        fields = entry.fields()
    except LedgerProblem:
        return []
    left = StoredEntry(entry.seq, entry.body, None, entry.kind, opened=opened)
    still = {row for row, _ in rows_given(left, fields)}
    return [row for row, _ in rows_given(entry, fields) if row not in still]
