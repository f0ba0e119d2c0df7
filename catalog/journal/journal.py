"""The journal: every mutation as an immutable event, committed with it.

Rules:
    - Events are entries of the tenant's ledger, numbered, hashed and proved there; they are kept
      here: the newest in the store, a block for each change, the others in sealed segments.
    - A block is written in the transaction of the change that it records.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from affidavit.catalog.journal.blocks import in_blocks, pack
from affidavit.catalog.journal.erasing import Erasing
from affidavit.catalog.journal.events import Batch, events_of
from affidavit.catalog.journal.evidence import EventEntries
from affidavit.catalog.journal.kept import TAIL_COLUMNS
from affidavit.catalog.journal.merging import SEGMENTS_MERGED, Merging
from affidavit.catalog.journal.reading import EventReader
from affidavit.catalog.journal.records.records import Records
from affidavit.catalog.journal.sealing import Sealing
from affidavit.catalog.journal.signing import Hashed, hashed
from affidavit.catalog.model import clock
from affidavit.catalog.store.tables import TAIL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.journal.kept import Archive, Kept
    from affidavit.catalog.journal.records.kept import KeptRecords
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.model.change import Change
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.store.transaction import Transaction

FLUSH_THRESHOLD: Final = 10_000
APPENDED_BYTES_MAX: Final = 64 * 1024
"""A block up to this size is written together with those that follow it in its transaction."""

LARGE_FLUSHES: Final = 64
"""A segment with the events of so many flushes is large, and not merged again: a merge costs by the
event, and retention lets go of whole segments."""


class Journal:
    """The journal of one tenant.

    Attributes:
        kept: Where its events are kept.
        events: Reads them.
        entries: Reads them as entries of the ledger.
        sealing: Seals them.
        merging: Merges segments of them.
        erasing: Lets go of them.
        records: The other entries of the ledger, which are sealed in the same way.
    """

    def __init__(
        self,
        kept: Kept,
        records: KeptRecords,
        ledger: Ledger,
        *,
        begins: bool,
        flush_threshold: int,
        on_sealed: Callable[[], None],
    ) -> None:
        self.kept = kept
        self.events = EventReader(kept)
        self.entries = EventEntries(kept)
        self.sealing = Sealing(
            kept, self.entries, ledger, flush_threshold=flush_threshold, on_sealed=on_sealed
        )
        large = flush_threshold * LARGE_FLUSHES
        self.merging = Merging(kept, large=large)
        self.erasing = Erasing(kept)
        self.records = Records(
            records, ledger, flush_threshold=flush_threshold, large=large, on_sealed=on_sealed
        )
        self._ledger = ledger
        self._is_kept = begins

    def is_kept(self, reader: Reader) -> bool:
        """Return whether the tenant's changes are written down: once begun, for good."""
        return self._is_kept or self.kept.first_seq(reader) is not None

    def sealed(self, reader: Reader) -> list[Sequence[tuple[object, ...]]]:
        """Return which files segments are in; another answer later says that some went."""
        return [each.sealed(reader) for each in (self.kept, self.records.kept)]

    def note(self, writer: Writer, change: Change, transaction: Transaction) -> int | None:
        """Write ``change`` down, in the transaction that makes it; return its first event's seq."""
        batch = Batch(
            change.table, change.table_id, change.identity, clock.now_us(), transaction.tx_id,
            events_of(change),
        )  # fmt: skip
        return self.append(writer, batch, transaction)

    def append(self, writer: Writer, batch: Batch, transaction: Transaction) -> int | None:
        """Write ``batch`` down in an open transaction; sealed, if that is due, after its commit.

        Returns:
            The number of its first event; ``None`` if it has none.
        """
        return self.append_hashed(writer, self.hashed(batch), transaction)

    def hashed(self, batch: Batch) -> list[Hashed]:
        """Return ``batch`` in parts that are hashed as far as they are without a number."""
        if not batch.events:
            return []
        return [hashed(replace(batch, events=part)) for part in in_blocks(batch.events)]

    def append_hashed(
        self, writer: Writer, parts: Sequence[Hashed], transaction: Transaction
    ) -> int | None:
        """Do what :meth:`append` does with the parts of one batch."""
        if not parts:
            return None
        begun = -1

        def keep(first: int) -> list[bytes]:
            nonlocal begun
            begun, leaves = first, list[bytes]()
            for part in parts:
                at = first + len(leaves)
                columns, found = part.numbered(at)
                kept = pack(columns)
                block = (at, at + len(found) - 1, len(found), kept, b"".join(found))
                if len(kept) <= APPENDED_BYTES_MAX:
                    writer.append(TAIL, TAIL_COLUMNS, block)
                else:
                    writer.insert(TAIL, TAIL_COLUMNS, [block])
                leaves += found
            return leaves

        self._ledger.append_leaves(writer, keep, now_us=parts[0].batch.at_us)
        added = sum(len(part.salts) for part in parts)
        transaction.on_end(lambda committed: self._committed(added) if committed else None)
        return begun

    def _committed(self, added: int) -> None:
        self._is_kept = True
        self.sealing.added(added)

    def tidy(self) -> None:
        """Seal what the store keeps and remove what nobody needs, before a session ends."""
        self.sealing.flush_if_possible()
        if not self.sealing.has_failed:
            events_max = self.sealing.flush_threshold * SEGMENTS_MERGED
            self.merging.compact_if_possible(events_max=events_max)
            self.erasing.remove_orphans()
        self.records.tidy(at_most=self.sealing.flush_threshold * SEGMENTS_MERGED)


class Journals:
    """The journals of one lake, by tenant.

    Args:
        archive: Where their events are kept.
        ledger_of: Returns a tenant's ledger.
        begins: Whether the journal of a tenant that has none yet is begun.
        flush_threshold: How many events the store keeps before they are sealed.
        on_sealed: Called when there may be something to merge, or records to seal.
    """

    def __init__(
        self,
        archive: Archive,
        ledger_of: Callable[[str], Ledger],
        *,
        begins: bool = False,
        flush_threshold: int = FLUSH_THRESHOLD,
        on_sealed: Callable[[], None] = lambda: None,
    ) -> None:
        self._archive = archive
        self._ledger_of = ledger_of
        self._begins = begins
        self._flush_threshold = flush_threshold
        self._on_sealed = on_sealed
        self._stopping = threading.Event()
        self._journals: dict[str, Journal] = {}

    def of(self, tenant: str) -> Journal:
        """Return a tenant's journal."""
        journal = self._journals.get(tenant)
        if journal is None:
            made = Journal(
                self._archive.of(tenant), self._archive.records_of(tenant),
                self._ledger_of(tenant), begins=self._begins, flush_threshold=self._flush_threshold,
                on_sealed=self._on_sealed,
            )  # fmt: skip
            journal = self._journals.setdefault(tenant, made)
        return journal

    def opened(self) -> list[Journal]:
        """Return the journals that were asked for."""
        return list(self._journals.values())

    def compact(self) -> bool:
        """Merge what is due in the journals that were asked for, and return False.

        It need not be asked again before something is sealed: what failed fails until then.
        """
        for journal in self.opened():
            for merging in (journal.merging, journal.records.merging):
                merging.compact_if_possible(stopping=self._stopping.is_set)
        return False

    def seal_records(self) -> bool:
        """Seal the records that are due, of the journals that were asked for, and return False.

        It need not be asked again before more of them are there.
        """
        for journal in self.opened():
            if not self._stopping.is_set():
                journal.records.sealing.seal_if_due()
        return False

    def stop(self) -> None:
        """End merges that run, and let none begin."""
        self._stopping.set()
