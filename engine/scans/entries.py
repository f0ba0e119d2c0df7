"""The ledger's entries as tables: ``system.ledger``, and what other tables of entries rest on.

Rules:
    - A tenant reads its own ledger's entries and no others, not the shared scope's either: every
      ledger is one tenant's.
    - A filter on a column that the store has by itself narrows what is read; all of a filter is
      then applied to the rows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.journal.events import KIND as KIND_OF_EVENTS
from affidavit.catalog.journal.span import made_at
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import Compare, In, conjuncts
from affidavit.catalog.sql.predicate import columns_of as columns_in
from affidavit.catalog.sql.pushdown import narrowing
from affidavit.catalog.sql.scan import ScanDataset, enough, rows_without_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.sql.scan import End
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.scans.snapshot import Snapshot

PAGE_ENTRIES: Final = 4096
PAGE_GROWTH: Final = 4
"""How many times longer a page is than the one before, where few rows are wanted."""

_TIME: Final = pa.timestamp("us", "UTC")

_EVENT_ID: Final = re.compile(r"evt-\d+-(\d{1,18})", re.ASCII)
"""What an event is called: its number comes last."""


def sizes(end: End | None) -> Iterator[int]:
    """Yield how many entries each page has: few at first where few rows are wanted."""
    size = PAGE_ENTRIES if end is None else max(end.rows, 1)
    while size < PAGE_ENTRIES:
        yield size
        size *= PAGE_GROWTH
    while True:
        yield PAGE_ENTRIES


def pages(
    reader: Reader, ledger: Ledger, *where: Predicate, end: End | None
) -> Iterator[list[StoredEntry]]:
    """Yield the matching entries that are no events in pages, from the end that is wanted on."""
    is_last = end is not None and end.is_last
    beyond: Predicate = Compare(">", "seq", -1)
    for size in sizes(end):
        page = ledger.entries(reader, beyond, *where, descending=is_last, limit=size)
        if page:
            yield page
        if len(page) < size:
            return
        beyond = Compare("<" if is_last else ">", "seq", page[-1].seq)


def stretches(first: int, last: int, end: End | None) -> Iterator[tuple[int, int]]:
    """Yield stretches of the numbers ``[first, last)``, from the end that is wanted on."""
    for size in sizes(end):
        if first >= last:
            return
        if end is not None and end.is_last:
            yield max(first, last - size), last
            last -= size
        else:
            yield first, min(first + size, last)
            first += size


def around(numbers: Sequence[int], end: End | None) -> Iterator[tuple[int, int]]:
    """Yield stretches with all of some ascending numbers, from the end that is wanted on."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number < found[-1][0] + PAGE_ENTRIES:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return iter(found[::-1] if end is not None and end.is_last else found)


def from_end(
    found: Iterator[Sequence[StoredEntry]], end: End | None
) -> Iterator[Sequence[StoredEntry]]:
    """Yield entries that come oldest first from the end that is wanted on."""
    return reversed(list(found)) if end is not None and end.is_last else found


class EntriesDataset(ScanDataset):
    """A table whose rows come from the ledger's entries."""

    ordered_by = "seq"
    stored: Mapping[str, str] = {"seq": "seq"}
    kind: str | None = None

    def __init__(self, snapshot: Snapshot, schema: pa.Schema) -> None:
        super().__init__(schema, snapshot.fail)
        self._reader = snapshot.reader
        self._ledger = snapshot.catalog.ledger
        self._journal = snapshot.catalog.journal

    def batch(self, entries: Sequence[StoredEntry], columns: Sequence[str]) -> pa.RecordBatch:
        """Return ``columns`` of ``entries``."""
        raise NotImplementedError

    def entries(self, predicate: Predicate | None) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries that may match, in pages."""
        where = narrowing(predicate, self.stored)
        if self.kind is not None:
            where = (Compare("=", "kind", self.kind), *where)
        yield from pages(self._reader, self._ledger, *where, end=self.end)

    def count(self, where: Sequence[Predicate]) -> int | None:  # noqa: ARG002 - for who overrides it
        """Return how many rows there are by their numbers; ``None`` if that is not told unread."""
        return None

    def giving(
        self, predicate: Predicate | None, kinds: Sequence[str]
    ) -> Iterator[Sequence[StoredEntry]] | None:
        """Return the entries that gave the rows that are asked for; ``None`` if none are.

        What is no list of rows is left to the index of returned rows, and to ``predicate``.
        """
        wanted = narrowing(predicate, {"row_id": "row_id", "seq": "seq"})
        of_rows = [part for part in wanted if getattr(part, "column", None) == "row_id"]
        if not of_rows:
            return None
        rows, rest = None, list(wanted)
        for part in of_rows:
            match part:
                case Compare("=", _, value):
                    rows = [str(value)]
                case In(_, values):
                    rows = [str(each) for each in values]
                case _:
                    continue
            rest.remove(part)
            break
        return self._ledger.giving(self._reader, rows, *rest, kinds=kinds)

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows, oldest first, or from the end that is wanted on."""
        counted = None if columns else self._counted(predicate)
        if counted is not None:
            yield from rows_without_columns(counted)
            return
        needed = [*columns]
        if predicate is not None:
            needed += [name for name in sorted(columns_in(predicate)) if name not in columns]
        kept = (keep(predicate, self.batch(page, needed)) for page in self.entries(predicate))
        yield from (batch.select(columns) for batch in enough(kept, self.end))

    def _counted(self, predicate: Predicate | None) -> int | None:
        """Return how many rows match, where conditions on their numbers alone say which."""
        where = narrowing(predicate, {"seq": "seq"})
        is_told = predicate is None or len(where) == len(conjuncts(predicate))
        return self.count(where) if is_told else None


LEDGER_SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("kind", pa.string()),
        pa.field("entry_id", pa.string()),
        pa.field("leaf_hash", pa.binary()),
        pa.field("created_at", _TIME),
        pa.field("body", pa.string()),
        pa.field("signature", pa.binary()),
    ]
)


class LedgerDataset(EntriesDataset):
    """``system.ledger``: every entry of the tenant's ledger."""

    stored: Mapping[str, str] = {
        column: column for column in ("seq", "kind", "entry_id", "created_at")
    }

    def entries(self, predicate: Predicate | None) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries that may match, wherever they are kept."""
        where = narrowing(predicate, self.stored)
        if _leaves_out_events(where):
            yield from super().entries(predicate)
            return
        last = self._ledger.last_seq(self._reader)
        first, end = 0, 0 if last is None else last + 1
        for part in where:
            if isinstance(part, Compare) and part.column == "seq" and isinstance(part.value, int):
                first = max(first, part.value) if part.op in {"=", ">", ">="} else first
                end = min(end, part.value + 1) if part.op in {"=", "<", "<="} else end
        told = self._numbers(where)
        parts = stretches(first, end, self.end)
        if told is not None:
            parts = around([each for each in told if first <= each < end], self.end)
        for low, high in parts:
            yield self._ledger.page(self._reader, low, high)

    def _numbers(self, where: Sequence[Predicate]) -> list[int] | None:
        """Return the numbers of the entries that may match, where ids or times tell which.

        An event's id ends in its number. What other entries are called, and when any was made, is
        found by the indexes and statistics of where they are kept.
        """
        ids = _listed(where)
        if ids is not None:
            named = map(_EVENT_ID.fullmatch, ids)
            events = [int(each[1]) for each in named if each is not None]
            return sorted({*self._ledger.numbers(self._reader, ids).values(), *events})
        times = [each for each in where if _is_of_time(each)]
        if not times:
            return None
        parts = self._journal.events.scan(self._reader, ["seq"], made_at(times))
        made = {seq for part in parts for seq in part["seq"].to_pylist()}
        return sorted(made.union(self._ledger.seqs(self._reader, *times)))

    def count(self, where: Sequence[Predicate]) -> int | None:
        """Return how many entries there are, wherever they are kept."""
        if where:
            return None
        for keeper in self._ledger.keepers:
            keeper.look(self._reader)
        return self._ledger.count(self._reader)

    def batch(self, entries: Sequence[StoredEntry], columns: Sequence[str]) -> pa.RecordBatch:
        """Return the entries."""
        schema = pa.schema([LEDGER_SCHEMA.field(name) for name in columns])
        if not columns:
            return pa.RecordBatch.from_arrays([pa.nulls(len(entries))], names=["_"]).select([])
        arrays = [
            pa.array([_entry_value(entry, name) for entry in entries], schema.field(name).type)
            for name in columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _leaves_out_events(where: Sequence[Predicate]) -> bool:
    """Return whether a filter names the kinds of entries that it wants, and events are none."""
    for part in where:
        match part:
            case Compare("=", "kind", kind) if kind != KIND_OF_EVENTS:
                return True
            case In("kind", kinds) if KIND_OF_EVENTS not in kinds:
                return True
    return False


def _listed(where: Sequence[Predicate]) -> list[str] | None:
    """Return the ids that entries may have; ``None`` if they are not told one by one."""
    for part in where:
        match part:
            case Compare("=", "entry_id", str() as value):
                return [value]
            case In("entry_id", values):
                return [str(each) for each in values]
    return None


def _is_of_time(part: Predicate) -> bool:
    match part:
        case Compare(op, "created_at"):
            return op != "!="
        case In("created_at"):
            return True
    return False


def _entry_value(entry: StoredEntry, name: str) -> Any:  # noqa: ANN401 - any column's
    return entry.body.decode() if name == "body" else getattr(entry, name)
