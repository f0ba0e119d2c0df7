"""Letting go: values that are destroyed, segments that are dropped, files that nobody names.

The ledger's proofs go on holding: what leaves say of the values stays, and so do the leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.blocks import event_columns, pack, table_of_blocks
from affidavit.catalog.journal.kept import EVENTS
from affidavit.catalog.journal.segments.writing import remove_segment, write_segment
from affidavit.catalog.journal.signing import without_values
from affidavit.catalog.store.tables import TAIL
from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from affidavit.catalog.journal.kept import Kept
    from affidavit.catalog.journal.segments.keeping import Keeping
    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.store.protocol import Reader, Writer

ORPHAN_AGE_S: Final = 3600
"""How long a file that no store row names stays: a snapshot may have named it."""

_CHOSEN_BY: Final = ["seq", "timestamp", "entity_id", "entity_type", "table_id", "salt"]
"""What tells whether an event is meant."""


@dataclass(frozen=True)  # without slots: the array of its names is kept
class Wanted:
    """The events to erase: those of some entities of one table, or of one kind of a caller's own.

    Attributes:
        entity_ids: The entities.
        table_id: Their table; ``None`` for events that callers made.
        entity_type: What callers call them; ``None`` for whatever they do.
        keys_too: Whether nothing is left but an event's number, time and leaf.
        until: The newest that may be meant.
    """

    entity_ids: frozenset[str]
    table_id: str | None = None
    entity_type: str | None = None
    keys_too: bool = False
    until: int = 2**63 - 1

    @cached_property
    def value_set(self) -> pa.Array:
        """The entities, as Arrow looks them up."""
        return pa.array(self.entity_ids, pa.string())

    def mask(self, events: pa.Table) -> pa.Array:
        """Return for each event whether it is meant, and has not been erased."""
        mask = pc.is_in(events["entity_id"], value_set=self.value_set)
        if not self.keys_too:
            mask = pc.and_(mask, pc.is_valid(events["salt"]))
        if self.table_id is None:
            mask = pc.and_(mask, pc.is_null(events["table_id"]))
        else:
            mask = pc.and_(mask, pc.equal(events["table_id"], self.table_id))
        if self.entity_type is not None:
            mask = pc.and_(mask, pc.equal(events["entity_type"], self.entity_type))
        mask = pc.and_(mask, pc.less_equal(events["seq"], self.until))
        mask = pc.fill_null(mask, fill_value=False)
        return mask.combine_chunks() if isinstance(mask, pa.ChunkedArray) else mask

    def erased(self, events: pa.Table, mask: pa.Array) -> pa.Table:
        """Return events without what is to be erased of those that ``mask`` names."""
        if not self.keys_too:
            return without_values(events, mask)
        events = EVENTS.completed(events, EVENTS.schema.names)
        husks = EVENTS.husk_of(events)
        columns = [
            pc.if_else(mask, husk, kept)
            for husk, kept in zip(husks.columns, events.columns, strict=True)
        ]
        return pa.Table.from_arrays(columns, schema=events.schema)


@dataclass(slots=True)
class Replaced:
    """What takes the place of blocks and segments with events that are to be erased.

    Attributes:
        blocks: The rowid of each block, and its events anew.
        segments: Each segment, and the one that takes its place.
        seqs: The events that are erased.
        times: When each was, in microseconds since the epoch.
        kinds: What their tables were called then, or callers their things.
    """

    blocks: list[tuple[int, bytes]] = field(default_factory=list)
    segments: list[tuple[Segment, Segment]] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)

    def add(self, events: pa.Table) -> None:
        """Note events that are erased."""
        self.seqs += events["seq"].to_pylist()
        self.times += events["timestamp"].cast(pa.int64()).to_pylist()
        self.kinds |= set(events["entity_type"].unique().to_pylist())

    def ranges(self) -> list[list[int]]:
        """Return the events, as the first and last number of each run of them."""
        return ranges_of(self.seqs)


def ranges_of(numbers: Iterable[int]) -> list[list[int]]:
    """Return numbers as the first and last of each run of them, in order."""
    found = np.unique(np.fromiter(numbers, dtype=np.int64))
    if not len(found):
        return []
    breaks = np.flatnonzero(np.diff(found) > 1)
    firsts, lasts = np.r_[found[:1], found[breaks + 1]], np.r_[found[breaks], found[-1:]]
    pairs: list[list[int]] = np.stack([firsts, lasts], axis=1).tolist()
    return pairs


class LettingGo:
    """Lets go of what one tenant keeps in segments of one form."""

    def __init__(self, kept: Keeping) -> None:
        self._kept = kept

    def retain(
        self,
        before_us: int | None,
        keep: int,
        note: Callable[[Writer, Sequence[Segment]], None],
        *,
        is_held: Callable[[Segment], bool] = lambda _: False,
    ) -> list[Segment]:
        """Let go of whole sealed segments; their leaves stay, so that the rest still verifies.

        Args:
            before_us: Only of those whose rows are all older; ``None`` for any age.
            keep: The newest so many rows stay in any case.
            note: Given the transaction and the segments; says in the ledger that they were dropped.
            is_held: Whether a segment stays, however old it is.

        Returns:
            The segments that were dropped.
        """
        with self._kept.alone():
            with self._kept.store.read(self._kept.tenant) as reader:
                newer = self._kept.tail_events(reader)
                chosen = []
                for segment in reversed(self._kept.segments(reader)):
                    old = before_us is None or segment.last_at < before_us
                    if old and newer >= keep and not is_held(segment):
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

        def husks() -> Iterator[pa.Table]:
            return map(form.husk_of, self._kept.files.whole(segment))

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

    def erase(self, wanted: Wanted, note: Callable[[Writer, Replaced], None]) -> int:
        """Destroy what is wanted of events, for good; every proof goes on holding.

        Args:
            wanted: The events.
            note: Given the transaction and what was replaced, also where nothing was; says in the
                ledger that they were erased.

        Returns:
            How many events were erased.

        Raises:
            StoreError: A file that was replaced cannot be removed: it has the values still.
        """
        with self._kept.alone():
            found = Replaced()
            with self._kept.store.read(self._kept.tenant) as reader:
                self._replace_blocks(reader, wanted, found)
                self._replace_segments(reader, wanted, found)
            with self._kept.store.write(self._kept.tenant) as writer:
                writer.update(TAIL, ("data",), [(data, rowid) for rowid, data in found.blocks])
                for old, new in found.segments:
                    self._kept.replace_segment(writer, old, new)
                note(writer, found)
            self.remove_replaced()
        return len(found.seqs)

    def _replace_blocks(self, reader: Reader, wanted: Wanted, found: Replaced) -> None:
        for block in self._kept.blocks(reader):
            events = table_of_blocks([block])
            mask = wanted.mask(events)
            if pc.any(mask).as_py():
                found.add(events.filter(mask))
                erased = wanted.erased(events, mask)
                found.blocks.append((int(block[0]), pack(event_columns(erased))))

    def _replace_segments(self, reader: Reader, wanted: Wanted, found: Replaced) -> None:
        for segment in self._kept.segments(reader):
            scanned = self._kept.files.scan(segment, _CHOSEN_BY, None)
            chosen = [part.filter(wanted.mask(part)) for part in scanned]
            if any(part.num_rows for part in chosen):
                for part in chosen:
                    found.add(part)
                erased = partial(self._erased, segment, wanted)
                anew = write_segment(self._kept.folder, self._kept.form, erased)
                found.segments.append((segment, anew))

    def _erased(self, segment: Segment, wanted: Wanted) -> Iterator[pa.Table]:
        for part in self._kept.files.whole(segment):
            yield wanted.erased(part, wanted.mask(part))
