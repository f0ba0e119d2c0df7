"""Merging: small neighbouring segments become one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.journal.segments.writing import write_segment
from affidavit.catalog.sql.predicate import In
from affidavit.errors import AffidavitError, LedgerCorruptError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from affidavit.catalog.journal.segments.keeping import Keeping
    from affidavit.catalog.journal.segments.segment import Segment

SEGMENTS_MERGED: Final = 8
"""So many neighbouring segments are merged into one."""

_log: Final = logging.getLogger("affidavit")


class _AbandonedError(Exception):
    """Thrown into a merge that is not wanted any more."""


class Merging:
    """Merges the segments of one tenant.

    Args:
        kept: Where they are kept.
        large: Segments with so many events stay as they are.
    """

    def __init__(self, kept: Keeping, *, large: int) -> None:
        self._kept = kept
        self._large = large

    def compact(
        self,
        *,
        wait: bool = True,
        events_max: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> int:
        """Merge neighbouring small segments, and return how many were merged away.

        Args:
            wait: Wait for another merge that runs; else leave it to that.
            events_max: Only segments that have no more than so many events together.
            stopping: Whether to stop, asked again and again; half a merge is as none.
        """
        merged = 0
        try:
            with self._kept.merging(timeout_s=None if wait else 0):
                while group := self._mergeable(events_max):
                    if not self._merge(group, lambda: stopping() or self._kept.is_wanted_alone):
                        break
                    merged += len(group)
        except StoreBusyError:
            if wait:
                raise
        finally:
            pa.default_memory_pool().release_unused()
        return merged

    def compact_if_possible(
        self, *, events_max: int | None = None, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """Do the same unless another merge runs; what fails is logged, and is left as it is."""
        try:
            self.compact(wait=False, events_max=events_max, stopping=stopping)
        except AffidavitError:
            _log.exception("segments of %s were not merged", self._kept.form.whose)

    def _mergeable(self, events_max: int | None) -> list[Segment]:
        with self._kept.store.read(self._kept.tenant) as reader:
            segments = self._kept.all_segments(reader)
        return mergeable(segments, self._large, events_max)

    def _merge(self, group: list[Segment], stopping: Callable[[], bool]) -> bool:
        form = self._kept.form

        def events() -> Iterator[pa.Table]:
            for segment in group:
                for part in self._kept.files.whole(segment):
                    if stopping():
                        raise _AbandonedError
                    yield part

        try:
            whole = write_segment(self._kept.folder, form, events)
        except _AbandonedError:
            return False
        if whole.events != sum(each.events for each in group):
            names = f"segments {group[0].file} to {group[-1].file} of {form.whose}"
            msg = f"{names} have other {form.rows} than were sealed"
            raise LedgerCorruptError(msg, seq=group[0].first_seq)
        firsts = tuple(each.first_seq for each in group)
        with self._kept.store.write(self._kept.tenant, record=True) as writer:
            writer.delete_where(form.segments, In("first_seq", firsts))
            self._kept.add_segment(writer, whole)
        return True


def mergeable(
    segments: Iterable[Segment], large: int, events_max: int | None = None
) -> list[Segment]:
    """Return the first neighbours that should be merged; none if there are none.

    None of them has as many events as all others together: so a merge at least doubles the segment
    of each event, and an event is written anew a few times only.

    Args:
        segments: All segments, oldest first.
        large: Those with so many events stay as they are.
        events_max: Only neighbours with no more than so many events together.
    """
    run: list[Segment] = []
    for segment in segments:
        if segment.dropped or segment.events >= large:
            run = []
            continue
        run = [*run, segment][-SEGMENTS_MERGED:]
        counts = [each.events for each in run]
        small = events_max is None or sum(counts) <= events_max
        if len(run) == SEGMENTS_MERGED and 2 * max(counts) <= sum(counts) and small:
            return run
    return []
