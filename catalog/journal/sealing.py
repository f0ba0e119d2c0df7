"""Sealing: the events that the store keeps become a segment, and so do a ledger's other entries.

Rules:
    - A change that is committed stays so, whatever becomes of sealing after it; and committing
      reads no segment, which may lie far away: the leaves that a checkpoint needs are kept here.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from affidavit.catalog.journal.segments.writing import write_segment
from affidavit.errors import LedgerCorruptError, StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.journal.evidence import SealedEntries
    from affidavit.catalog.journal.segments.keeping import Keeping, Waiting
    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.ledger.ledger import Ledger

RETRY_AFTER_S: Final = 60.0
"""How long commits do not try to seal after sealing failed: each try may wait for a time-out."""

_log: Final = logging.getLogger("affidavit")


class Sealing:
    """Seals the events of one tenant, or its records.

    Args:
        kept: Where they are kept.
        entries: Their leaves.
        ledger: The ledger that they are entries of.
        flush_threshold: How many the store keeps before they are sealed.
        on_sealed: Called when there is one segment more.
    """

    def __init__(
        self,
        kept: Keeping,
        entries: SealedEntries,
        ledger: Ledger,
        *,
        flush_threshold: int,
        on_sealed: Callable[[], None],
    ) -> None:
        self.flush_threshold = flush_threshold
        self._kept = kept
        self._entries = entries
        self._ledger = ledger
        self._on_sealed = on_sealed
        self._waiting: int | None = None
        self._counting = threading.Lock()
        self._retry_at: float | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the last try failed."""
        return self._retry_at is not None

    def flush(self, *, at_most: int | None = None) -> int:
        """Seal every row that the store keeps, and return how many there were.

        Args:
            at_most: Begin no other segment once there are so many.

        Raises:
            StoreError: The segment cannot be written; no row is lost.
        """
        sealed = 0
        while at_most is None or sealed < at_most:
            with self._kept.sealing():
                count = self._flush_some()
                with self._counting:
                    self._waiting = None
                    self._retry_at = None
            if not count:
                break
            sealed += count
            self._on_sealed()
        return sealed

    def _flush_some(self) -> int:
        """Seal what goes in one segment, and return how many rows that were."""
        kept = self._kept
        with kept.store.read(kept.tenant) as reader:
            waiting = kept.waiting(reader)
            kept.check_place(reader)
            if waiting is None:
                return 0
            segment = write_segment(kept.folder, kept.form, waiting.tables)
        # the snapshot has ended: who empties the store's log waits for that
        self._seal(waiting, segment)
        return segment.events

    def _seal(self, waiting: Waiting, segment: Segment) -> None:
        kept = self._kept
        with kept.store.write(kept.tenant, record=True) as writer:
            kept.check_place(writer)
            sealed, head = segment.last_seq + 1, self._ledger.head(writer)
            checkpoint_size = sealed if head is None else head.checkpoint_size
            kept.keep_leaves(writer, self._entries.leaves_to_keep(writer, sealed, checkpoint_size))
            kept.leave(writer, waiting, segment)
            kept.add_segment(writer, segment)

    def flush_if_possible(self, *, at_most: int | None = None) -> None:
        """Seal what the store keeps; what fails is told once, and is done by a later try."""
        try:
            self.flush(at_most=at_most)
        except StoreBusyError:
            return  # somebody else is at it
        except (StoreError, LedgerCorruptError) as error:
            told, self._retry_at = self.has_failed, monotonic() + RETRY_AFTER_S
            if not told:
                rows = self._kept.form.rows
                _log.warning("%s are kept in the store until they can be sealed: %s", rows, error)

    def noted(self, rows: int) -> bool:
        """Count rows that are committed, and return whether it may be due to seal some."""
        with self._counting:
            if self._waiting is None:
                return True
            self._waiting += rows
            return self._waiting >= self.flush_threshold

    def added(self, rows: int) -> None:
        """Seal what the store keeps if that is due, now that so many more are committed."""
        if self.noted(rows):
            self.seal_if_due()

    def seal_if_due(self) -> None:
        """Seal what the store keeps if it is as much as is to be sealed, until it is less.

        Others go on writing: whoever sealed to the end would seal a few at a time for ever.
        """
        waiting = self._counted()
        is_time = self._retry_at is None or monotonic() >= self._retry_at
        if waiting >= self.flush_threshold and is_time:
            self.flush_if_possible(at_most=waiting - self.flush_threshold + 1)

    def waits_for(self, rows: int) -> bool:
        """Return whether the store keeps so many rows; not, where it cannot say now."""
        return self._counted() >= rows

    def _counted(self) -> int:
        """Return how many rows the store keeps; none, where it cannot say now."""
        with self._counting:
            if self._waiting is None:
                # the change is committed: what cannot be counted now is counted next time
                with (
                    suppress(StoreError, LedgerCorruptError),
                    self._kept.store.read(self._kept.tenant) as reader,
                ):
                    self._waiting = self._kept.tail_events(reader)
            return self._waiting or 0
