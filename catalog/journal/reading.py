"""Reading the journal: events by what they are, the newest, and those of some entities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.blocks import table_of_blocks
from affidavit.catalog.journal.segments.index import entity_hash
from affidavit.catalog.journal.span import Span
from affidavit.catalog.values.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.journal.kept import Kept
    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.store.protocol import Reader


EVERYTHING: Final = Span()


class EventReader:
    """Reads the events of one tenant, wherever they are kept.

    Its methods raise LedgerCorruptError where a segment is missing or unreadable, and StoreError
    where its events were let go, or its file went, while they were read.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._once: dict[tuple[bytes, str], list[pa.Table]] = {}

    def scan(
        self,
        reader: Reader,
        columns: Sequence[str],
        filters: pc.Expression | None,
        span: Span = EVERYTHING,
    ) -> Iterator[pa.Table]:
        """Yield ``columns`` of every event of a stretch that ``filters`` keeps, oldest first."""
        names = list(columns)

        def read(segment: Segment, within: Span) -> Iterator[pa.Table]:
            return self._kept.files.scan(segment, names, within.narrowed(segment, filters))

        for segment in self._segments(reader, span):
            yield from self._kept.read(segment, span, read)
        tail = table_of_blocks(self._blocks(reader, span))
        if span is not EVERYTHING:
            tail = span.kept(tail)
        if tail.num_rows:
            yield (tail if filters is None else tail.filter(filters)).select(names)

    def _segments(self, reader: Reader, span: Span) -> list[Segment]:
        """Return the segments that may have events of a stretch, oldest first."""
        return [each for each in self._kept.segments(reader) if span.has(each)]

    def _blocks(self, reader: Reader, span: Span) -> list[tuple[Any, ...]]:
        """Return the blocks that may have events of a stretch; of all, also one with no place."""
        return self._kept.blocks(reader, *(() if span is EVERYTHING else span.bounds()))

    def scan_back(
        self, reader: Reader, columns: Sequence[str], filters: pc.Expression | None
    ) -> Iterator[pa.Table]:
        """Do what :meth:`scan` does from the newest event on; in each table they are in order."""
        names = list(columns)

        def read(segment: Segment, within: Span) -> Iterator[pa.Table]:
            narrowed = within.narrowed(segment, filters)
            return self._kept.files.scan_few(segment, names, narrowed, descending=True)

        for blocks in self._kept.blocks_back(reader):
            tail = table_of_blocks(blocks)
            yield (tail if filters is None else tail.filter(filters)).select(names)
        for segment in reversed(self._kept.segments(reader)):
            yield from self._kept.read(segment, Span(), read, descending=True)

    def count(self, reader: Reader) -> int:
        """Return how many events :meth:`scan` yields without a filter.

        Raises:
            LedgerCorruptError: A segment is missing, or not as long as it should be.
        """
        segments = self._kept.segments(reader)
        self._kept.look(segments)
        return self._kept.tail_events(reader) + sum(each.events for each in segments)

    def scan_again(
        self, reader: Reader, columns: Sequence[str], filters: pc.Expression
    ) -> Iterator[pa.Table]:
        """Do what :meth:`scan` does, for what is asked again and again and finds little.

        What a sealed segment gives is remembered: such a file never changes.
        """

        def read(segment: Segment, within: Span) -> Iterator[pa.Table]:
            return self._kept.files.scan(segment, names, within.narrowed(segment, filters))

        names, asked = list(columns), str(filters)
        for segment in self._kept.segments(reader):
            key = (segment.sha256, asked)
            found = self._once.get(key)
            if found is None:
                found = self._once[key] = list(self._kept.read(segment, Span(), read))
            yield from found
        tail = self._kept.tail(reader)
        if tail.num_rows:
            yield tail.filter(filters).select(names)

    def of_entities(
        self,
        reader: Reader,
        entities: Sequence[str],
        columns: Sequence[str],
        span: Span = EVERYTHING,
    ) -> Iterator[pa.Table]:
        """Yield the events of some entities in a stretch, without reading those of others.

        They come oldest first.
        """
        names = list(dict.fromkeys([*columns, "entity_id", "seq"]))
        wanted = pa.array(entities, pa.string())
        about = pc.field("entity_id").isin(wanted)

        def read(segment: Segment, within: Span) -> Iterator[pa.Table]:
            files = self._kept.files
            rows = files.rows_of(segment, map(entity_hash, entities))
            if rows is None:
                yield from files.scan(segment, names, within.narrowed(segment, about))
                return
            for part in files.at(segment, rows, names):
                yield within.kept(part.filter(about))

        for segment in self._segments(reader, span):
            for part in self._kept.read(segment, span, read):
                yield part.select(list(columns))
        written = [canonical(each) for each in entities]
        blocks = [
            block
            for block in self._blocks(reader, span)
            if not block[4].startswith(b"[")
            or b"\\u" in block[4]
            or any(each in block[4] for each in written)
        ]
        tail = span.kept(table_of_blocks(blocks))
        yield tail.filter(pc.is_in(tail["entity_id"], wanted)).select(list(columns))

    def newest(self, reader: Reader, limit: int, columns: Sequence[str]) -> pa.Table:
        """Return the newest ``limit`` events, newest first; ``columns`` have their ``seq``."""
        names = list(columns)
        tail = table_of_blocks(self._kept.newest_blocks(reader, max(limit, 1))).select(names)
        parts = [tail.slice(max(0, tail.num_rows - limit))]
        missing = limit - parts[0].num_rows

        def read(segment: Segment, within: Span) -> Iterator[pa.Table]:
            for part in self._kept.files.last(segment, missing, within.end, names):
                yield within.kept(part)

        for segment in reversed(self._kept.segments(reader)):
            if missing <= 0:
                break
            found = list(self._kept.read(segment, Span(), read))
            parts += found
            missing -= sum(part.num_rows for part in found)
        newest: pa.Table = pa.concat_tables(parts).sort_by([("seq", "descending")])
        return newest.slice(0, limit)

    def last_by(self, reader: Reader, at_us: int) -> int | None:
        """Return the newest event that says that it is of a time, or of before; ``None`` if none.

        Events before it may say that they are of later: a clock was ahead, and was set right.
        """
        found = _newest(self._kept.tail(reader).filter(_by(at_us)))
        if found is not None:
            return found

        def read(segment: Segment, within: Span) -> Iterator[pa.Table]:
            return self._kept.files.scan(segment, ["seq"], within.narrowed(segment, _by(at_us)))

        for segment in reversed(self._kept.all_segments(reader)):
            if segment.last_at <= at_us:
                return segment.last_seq
            if segment.first_at <= at_us and segment.dropped:
                return segment.first_seq  # which of them is not known any more
            if segment.first_at <= at_us:
                parts = [_newest(part) for part in self._kept.read(segment, Span(), read)]
                return max(each for each in parts if each is not None)
        return None

    def first_after(self, reader: Reader, seq: int) -> tuple[int, int] | None:
        """Return the number and time of the event that follows entry ``seq``."""
        for part in self.scan(reader, ["seq", "timestamp"], pc.field("seq") > seq):
            if part.num_rows:
                return part["seq"][0].as_py(), part["timestamp"].cast(pa.int64())[0].as_py()
        return None

    def is_ahead(self, reader: Reader, now_us: int) -> bool:
        """Return whether some event says that it is of later than now."""
        later = any(each.last_at > now_us for each in self._kept.all_segments(reader))
        return later or bool(self._kept.tail(reader).filter(~_by(now_us)).num_rows)


def _by(at_us: int) -> pc.Expression:
    """Return the filter for events that say that they are of a time, or of before."""
    return pc.field("timestamp") <= pa.scalar(at_us, pa.timestamp("us", "UTC"))


def _newest(events: pa.Table) -> int | None:
    return pc.max(events["seq"]).as_py() if events.num_rows else None
