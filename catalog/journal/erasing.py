"""Letting go: values that are destroyed, segments that are dropped, files that nobody names.

The ledger's proofs go on holding: what leaves say of the values stays, and so do the leaves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from affidavit.catalog.journal.blocks import event_columns, pack, table_of_blocks
from affidavit.catalog.journal.segments.writing import remove_segment, write_segment
from affidavit.catalog.journal.signing import without_values
from affidavit.catalog.store.tables import TAIL
from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.journal.kept import Kept
    from affidavit.catalog.journal.segments.keeping import Keeping
    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.store.protocol import Reader, Writer

ORPHAN_AGE_S: Final = 3600
"""How long a file that no store row names stays: a snapshot may have named it."""


class LettingGo:
    """Lets go of what one tenant keeps in segments of one form."""

    def __init__(self, kept: Keeping) -> None:
        self._kept = kept

    def retain(
        self, before_us: int | None, keep: int, note: Callable[[Writer, Sequence[Segment]], None]
    ) -> list[Segment]:
        """Let go of whole sealed segments; their leaves stay, so that the rest still verifies.

        Args:
            before_us: Only of those whose rows are all older; ``None`` for any age.
            keep: The newest so many rows stay in any case.
            note: Given the transaction and the segments; says in the ledger that they were dropped.

        Returns:
            The segments that were dropped.
        """
        with self._kept.alone():
            with self._kept.store.read(self._kept.tenant) as reader:
                newer = self._kept.tail_events(reader)
                chosen = []
                for segment in reversed(self._kept.segments(reader)):
                    old = before_us is None or segment.last_at < before_us
                    if old and newer >= keep:
                        chosen.append(segment)
                    newer += segment.events
            if not chosen:
                return []
            husks = [(each, self._husk(each)) for each in reversed(chosen)]
            with self._kept.store.write(self._kept.tenant) as writer:
                for segment, husk in husks:
                    self._kept.replace_segment(writer, segment, husk)
                note(writer, [segment for segment, _ in husks])
            for segment, _ in husks:
                remove_segment(self._kept.folder, self._kept.form, segment)
        return [segment for segment, _ in husks]

    def _husk(self, segment: Segment) -> Segment:
        form = self._kept.form
        husks = map(form.husk_of, self._kept.files.whole(segment))
        return replace(write_segment(self._kept.folder, form, husks), dropped=1)

    def remove_orphans(self, *, age_s: float = ORPHAN_AGE_S) -> None:
        """Remove files that the store does not name, and no snapshot of the last hour can.

        Raises:
            StoreError: The folder cannot be read.
        """
        with self._kept.merging(), self._kept.sealing():
            self._remove_others(age_s=age_s)

    def _remove_others(self, *, age_s: float) -> None:
        with self._kept.store.read(self._kept.tenant) as reader:
            named = {each.file for each in self._kept.all_segments(reader)}
        try:
            self._kept.folder.remove_others(named, age_s=age_s)
        except OSError as error:
            whose = self._kept.form.whose
            msg = f"{whose}'s segments at {self._kept.folder} cannot be read: {error}"
            raise StoreError(msg) from error

    # --- after something was replaced ------------------------------------------------------------

    def remove_replaced(self) -> None:
        """Remove every file that the store does not name: what was replaced has the values still.

        Whoever calls it holds what is kept alone.

        Raises:
            StoreError: The folder cannot be read, or a file not be removed.
        """
        try:
            self._remove_others(age_s=0)
        except StoreError as error:
            msg = f"{error}; what was replaced is still there with its values: erase again"
            raise StoreError(msg) from error

    def scrub(self) -> None:
        """Overwrite what the store replaced.

        Raises:
            StoreError: Somebody reads the state of before.
        """
        if not self._kept.store.scrub():
            msg = (
                "the store's log still has what was erased, since somebody reads the state of "
                "before: erase again when that has ended"
            )
            raise StoreError(msg)


class Erasing(LettingGo):
    """Lets go of what one tenant's journal keeps."""

    _kept: Kept

    def erase(self, entity_id: str, note: Callable[[Writer, int], None]) -> int:
        """Destroy the values of every event of an entity, for good; every proof goes on holding.

        Args:
            entity_id: The entity.
            note: Given the transaction and the number of events; says in the ledger that they were
                erased.

        Returns:
            How many events were erased.
        """
        with self._kept.alone():
            with self._kept.store.read(self._kept.tenant) as reader:
                blocks = self._erased_blocks(reader, entity_id)
                segments = self._erased_segments(reader, entity_id)
            count = sum(each[-1] for each in (*blocks, *segments))
            if count:
                with self._kept.store.write(self._kept.tenant) as writer:
                    writer.update(TAIL, ("data",), [(data, rowid) for rowid, data, _ in blocks])
                    for old, new, _ in segments:
                        self._kept.replace_segment(writer, old, new)
                    note(writer, count)
            # also if there was nothing: the last erasure may have failed here
            self.remove_replaced()
        self.scrub()
        return count

    def _erased_blocks(self, reader: Reader, entity_id: str) -> list[tuple[int, bytes, int]]:
        found = []
        for block in self._kept.blocks(reader):
            events, count = without_values(table_of_blocks([block]), entity_id)
            if count:
                found.append((int(block[0]), pack(event_columns(events)), count))
        return found

    def _erased_segments(
        self, reader: Reader, entity_id: str
    ) -> list[tuple[Segment, Segment, int]]:
        found = []
        for segment in self._kept.segments(reader):
            # not by the index: whoever changed that would keep the values
            wanted = pc.field("entity_id") == entity_id
            events = self._kept.files.scan(segment, ["entity_id", "salt"], wanted)
            count = sum(len(part) - part["salt"].null_count for part in events)
            if count:
                parts = self._kept.files.whole(segment)
                erased = (without_values(part, entity_id)[0] for part in parts)
                found.append(
                    (segment, write_segment(self._kept.folder, self._kept.form, erased), count)
                )
        return found
