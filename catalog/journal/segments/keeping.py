"""What one tenant keeps in sealed segments of one form, and how these may be changed.

Rules:
    - Sealing moves whole rows: the segment's file is there before the transaction that names it
      and takes them out of the store, so that every snapshot has each of them exactly once.
    - Who seals, erases or lets go holds the tenant's lock. Merging holds another, for long, and
      who removes files or values holds both: nothing waits for a merge but an erasure, a
      retention and the next merge.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from affidavit.catalog.journal.segments.places import place_of
from affidavit.catalog.journal.segments.reading import SegmentReader
from affidavit.catalog.journal.segments.segment import Segment, segment_of
from affidavit.catalog.journal.span import Span
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.errors import LedgerCorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.journal.segments.form import Form
    from affidavit.catalog.journal.segments.places import SegmentFolder, SegmentStore
    from affidavit.catalog.journal.segments.remembered import SegmentCache
    from affidavit.catalog.store.protocol import Reader, Store, Writer

Read: TypeAlias = Callable[[Segment, Span], Iterator[pa.Table]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows that the store keeps and that may be sealed.

    Attributes:
        tables: Reads them, through the snapshot that they were found in.
        places: What takes them out of the store, in stretches, once they were read.
    """

    tables: Callable[[], Iterable[pa.Table]]
    places: Sequence[Sequence[int]]


class Keeping:
    """The segments of one tenant and form, and the leaves of theirs that are kept apart.

    Which rows the store itself keeps, and how, is a subclass's to say.

    Args:
        form: What the segments hold.
        store: The lake's store.
        tenant: Whose they are, as the store writes it.
        places: Where the lake's segments lie.
        cache: What is remembered of segments that were read.
    """

    def __init__(
        self, form: Form, store: Store, tenant: str, places: SegmentStore, cache: SegmentCache
    ) -> None:
        self.form = form
        self.store = store
        self.tenant = tenant
        self._places = places
        self._cache = cache
        self._wanted_alone = threading.Event()

    # --- what the store itself keeps -------------------------------------------------------------

    def tail_events(self, reader: Reader) -> int:
        """Return how many rows the store keeps that may be sealed."""
        raise NotImplementedError

    def waiting(self, reader: Reader) -> Waiting | None:
        """Return the oldest rows that may be sealed, in one segment; ``None`` if there are none."""
        raise NotImplementedError

    def leave(self, writer: Writer, waiting: Waiting, segment: Segment) -> None:
        """Take rows out of the store that are in ``segment`` from now on."""
        raise NotImplementedError

    # --- where segments lie ----------------------------------------------------------------------

    @property
    def folder(self) -> SegmentFolder:
        """Where the tenant's segments lie."""
        return self._places.folder(self.tenant)

    @property
    def files(self) -> SegmentReader:
        """What reads the segments."""
        return SegmentReader(self.folder, self.form, self._cache)

    def check_place(self, reader: Reader) -> None:
        """Raise StoreError if the lake keeps its segments elsewhere since it was opened here."""
        if place_of(reader) != self._places.place:
            msg = f"{self.form.whose}'s segments lie elsewhere since this session began: reopen"
            raise StoreError(msg)

    # --- who may change what is kept -------------------------------------------------------------

    def sealing(self) -> AbstractContextManager[None]:
        """Hold them against whoever else seals, erases or lets go, in any process."""
        name = f"{self.form.lock} {self.tenant}"
        return self.store.lock(name, record=self.form.is_of_reads)

    def merging(self, *, timeout_s: float | None = None) -> AbstractContextManager[None]:
        """Hold them against other merges."""
        return self.store.lock(f"{self.form.lock} {self.tenant} merging", timeout_s=timeout_s)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold them against sealing and merging; a merge of this process gives way."""
        self._wanted_alone.set()
        try:
            with self.merging(), self.sealing():
                yield
        finally:
            self._wanted_alone.clear()

    @property
    def is_wanted_alone(self) -> bool:
        """Whether a merge should give way."""
        return self._wanted_alone.is_set()

    # --- segments --------------------------------------------------------------------------------

    def segments(self, reader: Reader) -> list[Segment]:
        """Return the sealed segments that have their rows, oldest first."""
        return [each for each in self.all_segments(reader) if not each.dropped]

    def all_segments(self, reader: Reader, *conditions: Compare) -> list[Segment]:
        """Return the sealed segments, oldest first, also those whose rows were let go."""
        table = self.form.segments
        rows = reader.select(
            table, columns_of(table), own(self.tenant, *conditions), order_by=("first_seq",)
        )
        return [segment_of(row, self.form.whose) for row in rows]

    def add_segment(self, writer: Writer, segment: Segment) -> None:
        """Name a segment whose file is there."""
        table = self.form.segments
        writer.insert(table, columns_of(table), [astuple(segment)])

    def replace_segment(self, writer: Writer, old: Segment, new: Segment) -> None:
        """Let a segment's rows be those of another file from now on."""
        writer.delete_where(self.form.segments, Compare("=", "first_seq", old.first_seq))
        self.add_segment(writer, new)

    def sealed(self, reader: Reader) -> Sequence[tuple[object, ...]]:
        """Return which files the segments are in; another answer later says that some went."""
        return reader.select(self.form.segments, ("file", "sha256"), own(self.tenant))

    def look(self, segments: Iterable[Segment]) -> None:
        """Make sure that the files of segments are there, and as long as they should be."""

        def look(segment: Segment, _: Span) -> Iterator[pa.Table]:
            self.files.look(segment)
            yield from ()

        for segment in segments:
            list(self.read(segment, Span(), look))

    def read(
        self, segment: Segment, within: Span, read: Read, *, descending: bool = False
    ) -> Iterator[pa.Table]:
        """Yield what ``read`` finds in a segment, or in what took its place since the snapshot.

        Where that is several, the last one comes first if what is read is ``descending``.

        Raises:
            LedgerCorruptError: The segment, which is still named, is missing or unreadable.
            StoreError: Its rows were let go, or its file went, while they were read.
        """
        begun = False
        try:
            for part in read(segment, within):
                begun = True
                yield part
            return
        except LedgerCorruptError as error:
            inside = within.within(segment)
            with self.store.read(self.tenant) as now:
                heirs = self.all_segments(now, *inside.bounds())
            if segment in heirs:
                raise
            if begun or any(each.dropped for each in heirs):
                name = f"segment {segment.file} of {self.form.whose}"
                msg = f"{name} was replaced while it was read: again"
                raise StoreError(msg) from error
        for heir in reversed(heirs) if descending else heirs:
            yield from self.read(heir, inside, read, descending=descending)

    # --- leaves that are kept apart --------------------------------------------------------------

    def keep_leaves(self, writer: Writer, kept: list[tuple[int, int, bytes]]) -> None:
        """Keep these leaves, and no others: the first number, the one after the last, and bytes."""
        table = self.form.leaves
        writer.delete_where(table, own(self.tenant))
        writer.insert(table, columns_of(table), kept)

    def kept_leaves(self, reader: Reader, *conditions: Compare) -> list[tuple[Any, ...]]:
        """Return what :meth:`keep_leaves` kept, as the store has it: nothing is checked yet."""
        table = self.form.leaves
        return list(reader.select(table, columns_of(table), own(self.tenant, *conditions)))
