"""Reads on record as tables: ``audit.reads`` and ``audit.read_rows``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.sql.pushdown import narrowing
from affidavit.engine.reads.record import CLOSED, KIND, OPEN, READS_SCHEMA, read_of, reads_batch
from affidavit.engine.reads.records import given_rows
from affidavit.engine.scans.entries import EntriesDataset, from_end, pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.sql.scan import End
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.scans.snapshot import Snapshot

KINDS: Final = (KIND, CLOSED)


def read_pages(
    reader: Reader, ledger: Ledger, *where: Predicate, end: End | None = None
) -> Iterator[Sequence[StoredEntry]]:
    """Yield the entries of reads in pages: of one that has an end, the end alone."""
    for page in pages(reader, ledger, In("kind", KINDS), *where, end=end):
        yield _without_beginnings(reader, ledger, page)


def _without_beginnings(
    reader: Reader, ledger: Ledger, page: Sequence[StoredEntry]
) -> list[StoredEntry]:
    """Leave out the entries that said that rows leave, where another says what became of it."""
    opened = [
        each.entry_id for each in page if each.kind == KIND and each.fields().get("status") == OPEN
    ]
    if not opened:
        return list(page)
    ended = ledger.numbers(reader, [f"{read_id}-closed" for read_id in opened])
    return [each for each in page if f"{each.entry_id}-closed" not in ended]


class ReadsDataset(EntriesDataset):
    """``audit.reads``: one row a statement or handle that was given rows, or was refused."""

    stored = {"seq": "seq", "executed_at": "created_at"}  # noqa: RUF012 - read, as the others'

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot, READS_SCHEMA)

    def entries(self, predicate: Predicate | None) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries that may match, in pages."""
        where = narrowing(predicate, self.stored)
        yield from read_pages(self._reader, self._ledger, *where, end=self.end)

    def count(self, where: Sequence[Predicate]) -> int | None:
        """Return how many there are, unless one has a beginning and an end."""
        told = [
            self._ledger.count_of(self._reader, Compare("=", "kind", kind), *where)
            for kind in KINDS
        ]
        return None if told[1] else told[0]

    def batch(self, entries: Sequence[StoredEntry], columns: Sequence[str]) -> pa.RecordBatch:
        """Return the records."""
        return reads_batch([read_of(each) for each in entries], columns)


READ_ROWS_SCHEMA: Final = pa.schema(
    [
        pa.field("read_id", pa.string()),
        pa.field("seq", pa.int64()),
        pa.field("table_id", pa.string()),
        pa.field("table_name", pa.string()),
        pa.field("row_id", pa.string()),
        pa.field("how", pa.string()),
        pa.field("actor", pa.string()),
        pa.field("executed_at", pa.timestamp("us", "UTC")),
    ]
)


class ReadRowsDataset(ReadsDataset):
    """``audit.read_rows``: one row a row that a read gave, found by ``row_id`` through an index.

    Of a read that gave more than 10,000 rows of a table their number stands in ``audit.reads``.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        EntriesDataset.__init__(self, snapshot, READ_ROWS_SCHEMA)

    def entries(self, predicate: Predicate | None) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries that may match: those that gave the wanted rows."""
        found = self.giving(predicate, KINDS)
        yield from super().entries(predicate) if found is None else from_end(found, self.end)

    def count(self, where: Sequence[Predicate]) -> int | None:  # noqa: ARG002 - as others take it
        """Return nothing: each read tells for itself how many rows it gave."""
        return None

    def batch(self, entries: Sequence[StoredEntry], columns: Sequence[str]) -> pa.RecordBatch:
        """Return the rows that reads gave."""
        rows = [row for entry in entries for row in given_rows(entry)]
        return pa.RecordBatch.from_pylist(rows, schema=READ_ROWS_SCHEMA).select(list(columns))
