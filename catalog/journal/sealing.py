"""Sealing: the events that the store keeps become a segment.

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

from affidavit.catalog.journal.blocks import table_of_blocks
from affidavit.catalog.journal.segments.writing import write_segment
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import ROWID, own
from affidavit.catalog.store.tables import TAIL
from affidavit.errors import LedgerCorruptError, StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from affidavit.catalog.journal.evidence import EventEntries
    from affidavit.catalog.journal.kept import Kept
    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.store.protocol import Reader

RETRY_AFTER_S: Final = 60.0
"""How long commits do not try to seal after sealing failed: each try may wait for a time-out."""

_log: Final = logging.getLogger("affidavit")


class Sealing:
    """Seals the events of one tenant.

    Args:
        kept: Where they are kept.
        entries: Their leaves.
        ledger: The ledger that they are entries of.
        flush_threshold: How many events the store keeps before they are sealed.
        on_sealed: Called when there is one segment more.
    """

    def __init__(
        self,
        kept: Kept,
        entries: EventEntries,
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

    def flush(self) -> int:
        """Seal every event that the store keeps, and return how many there were.

        Raises:
            StoreError: The segment cannot be written; no event is lost.
        """
        kept = self._kept
        with kept.sealing():
            with kept.store.read(kept.tenant) as reader:
                waiting = reader.select(
                    TAIL, (ROWID, "events"), own(kept.tenant), order_by=("first_seq",)
                )
                kept.check_place(reader)
                if waiting:
                    rowids = [int(row[0] or 0) for row in waiting]
                    segment = write_segment(kept.folder, lambda: self._tables(reader, rowids))
            if waiting:  # the snapshot has ended: who empties the store's log waits for that
                self._seal(rowids, segment)
            with self._counting:
                self._waiting = None
                self._retry_at = None
        if waiting:
            self._on_sealed()
        return sum(int(row[1] or 0) for row in waiting)

    def _tables(self, reader: Reader, rowids: list[int]) -> Iterator[pa.Table]:
        for rowid in rowids:
            yield table_of_blocks(self._kept.blocks(reader, Compare("=", ROWID, rowid)))

    def _seal(self, rowids: list[int], segment: Segment) -> None:
        kept = self._kept
        with kept.store.write(kept.tenant, record=True) as writer:
            kept.check_place(writer)
            sealed, head = segment.last_seq + 1, self._ledger.head(writer)
            checkpoint_size = sealed if head is None else head.checkpoint_size
            kept.keep_leaves(writer, self._entries.leaves_to_keep(writer, sealed, checkpoint_size))
            writer.delete(TAIL, rowids)
            kept.add_segment(writer, segment)

    def flush_if_possible(self) -> None:
        """Seal what the store keeps; what fails is told once, and is done by a later try."""
        try:
            self.flush()
        except StoreBusyError:
            return  # somebody else is at it
        except (StoreError, LedgerCorruptError) as error:
            told, self._retry_at = self.has_failed, monotonic() + RETRY_AFTER_S
            if not told:
                _log.warning("events are kept in the store until they can be sealed: %s", error)

    def added(self, events: int) -> None:
        """Seal what the store keeps if that is due, now that so many more are committed."""
        with self._counting:
            if self._waiting is not None:
                self._waiting += events
            else:
                # the change is committed: what cannot be counted now is counted next time
                with (
                    suppress(StoreError, LedgerCorruptError),
                    self._kept.store.read(self._kept.tenant) as reader,
                ):
                    self._waiting = self._kept.tail_events(reader)
            due = (self._waiting or 0) >= self.flush_threshold
        if due and (self._retry_at is None or monotonic() >= self._retry_at):
            self.flush_if_possible()
