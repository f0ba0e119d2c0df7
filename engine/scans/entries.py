"""The ledger's entries as tables: ``system.ledger``, and what other tables of entries rest on.

Rules:
    - A tenant reads its own ledger's entries and no others, not the shared scope's either: every
      ledger is one tenant's.
    - A filter on a column that the store has by itself narrows what is read; all of a filter is
      then applied to the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.journal.events import KIND as KIND_OF_EVENTS
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.sql.predicate import columns_of as columns_in
from affidavit.catalog.sql.pushdown import narrowing
from affidavit.catalog.sql.scan import ScanDataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.snapshot import Snapshot

PAGE_ENTRIES: Final = 4096

_TIME: Final = pa.timestamp("us", "UTC")


class EntriesDataset(ScanDataset):
    """A table whose rows come from the ledger's entries."""

    stored: Mapping[str, str] = {"seq": "seq"}
    kind: str | None = None

    def __init__(self, snapshot: Snapshot, schema: pa.Schema) -> None:
        super().__init__(schema, snapshot.fail)
        self._reader = snapshot.reader
        self._ledger = snapshot.catalog.ledger

    def batch(self, entries: Sequence[StoredEntry], columns: Sequence[str]) -> pa.RecordBatch:
        """Return ``columns`` of ``entries``."""
        raise NotImplementedError

    def entries(self, predicate: Predicate | None) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries that may match, in pages."""
        where = narrowing(predicate, self.stored)
        if self.kind is not None:
            where = (Compare("=", "kind", self.kind), *where)
        after = -1
        while True:
            page = self._ledger.entries(
                self._reader, Compare(">", "seq", after), *where, limit=PAGE_ENTRIES
            )
            if page:
                yield page
            if len(page) < PAGE_ENTRIES:
                return
            after = page[-1].seq

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
        """Yield the matching rows, oldest first."""
        needed = [*columns]
        if predicate is not None:
            needed += [name for name in sorted(columns_in(predicate)) if name not in columns]
        for page in self.entries(predicate):
            yield keep(predicate, self.batch(page, needed)).select(columns)


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
        where = narrowing(predicate, {"seq": "seq", "kind": "kind"})
        if _leaves_out_events(where):
            yield from super().entries(predicate)
            return
        last = self._ledger.last_seq(self._reader)
        first, end = 0, 0 if last is None else last + 1
        for part in where:
            if isinstance(part, Compare) and part.column == "seq" and isinstance(part.value, int):
                first = max(first, part.value) if part.op in {"=", ">", ">="} else first
                end = min(end, part.value + 1) if part.op in {"=", "<", "<="} else end
        for low in range(first, end, PAGE_ENTRIES):
            yield self._ledger.page(self._reader, low, min(low + PAGE_ENTRIES, end))

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


def _entry_value(entry: StoredEntry, name: str) -> Any:  # noqa: ANN401 - any column's
    return entry.body.decode() if name == "body" else getattr(entry, name)
