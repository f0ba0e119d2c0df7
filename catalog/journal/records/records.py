"""The records of one tenant: the entries of its ledger that are no events, sealed and let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.journal.merging import Merging
from affidavit.catalog.journal.records.entries import RecordEntries
from affidavit.catalog.journal.records.erasing import RecordErasing
from affidavit.catalog.journal.sealing import Sealing

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.journal.records.kept import KeptRecords
    from affidavit.catalog.ledger.ledger import Ledger


FEW: Final = 10
"""A session that ends seals records if they are such a part of what is sealed anyway."""


class Records:
    """The records of one tenant.

    Attributes:
        kept: Where they are kept.
        entries: Reads those that are sealed, as entries of the ledger.
        sealing: Seals them.
        merging: Merges segments of them.
        erasing: Lets go of them, and of what they say.
    """

    def __init__(
        self,
        kept: KeptRecords,
        ledger: Ledger,
        *,
        flush_threshold: int,
        large: int,
        on_sealed: Callable[[], None],
    ) -> None:
        self.kept = kept
        self.entries = RecordEntries(kept)
        self.sealing = Sealing(
            kept, self.entries, ledger, flush_threshold=flush_threshold, on_sealed=on_sealed
        )
        self.merging = Merging(kept, large=large)
        self.erasing = RecordErasing(kept)
        self._on_due = on_sealed

    def added(self, records: int) -> None:
        """Count records that are committed; once they are many, they are sealed in the background.

        It returns at once: whoever searches waits for no segment.
        """
        if self.sealing.noted(records):
            self._on_due()

    def tidy(self, *, at_most: int) -> None:
        """Seal what the store keeps and remove what nobody needs, before a session ends.

        Few are left to the next: a program that searches once would leave a file each time.
        """
        if self.sealing.waits_for(self.sealing.flush_threshold // FEW):
            self.sealing.flush_if_possible(at_most=at_most)
            if not self.sealing.has_failed:
                self.merging.compact_if_possible(events_max=at_most)
                self.erasing.remove_orphans()
