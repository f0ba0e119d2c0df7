"""Where the entries of one tenant's ledger are kept that are no events.

The newest stand in the ledger's own table, the others in segments; those of some kinds stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from affidavit.catalog.journal.records.form import RECORDS, given_rows, table_of
from affidavit.catalog.journal.segments.keeping import Keeping, Waiting
from affidavit.catalog.ledger.entry import STAYING
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import ROWID, own
from affidavit.catalog.store.tables import HEADS, LEDGER, RESULTS
from affidavit.errors import LedgerCorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from affidavit.catalog.journal.segments.places import SegmentStore
    from affidavit.catalog.journal.segments.remembered import SegmentCache
    from affidavit.catalog.journal.segments.segment import Segment
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader, Store, Writer

SEALED_AT_ONCE: Final = 10_000
"""How many records are sealed in one transaction: others wait for it."""

READ_AT_ONCE: Final = 2048
_Given: TypeAlias = tuple[str, int]
MAY_BE_SEALED: Final = tuple(Compare("!=", "kind", kind) for kind in STAYING)
_COLUMNS: Final = (
    "seq", "kind", "entry_id", "created_at", "body", "signature", "leaf_hash", "opened",
)  # fmt: skip


class KeptRecords(Keeping):
    """The records of one tenant.

    Args:
        store: The lake's store.
        tenant: Whose they are, as the store writes it.
        places: Where the lake's segments of records lie.
        cache: What is remembered of segments that were read.
    """

    def __init__(
        self, store: Store, tenant: str, places: SegmentStore, cache: SegmentCache
    ) -> None:
        super().__init__(RECORDS, store, tenant, places, cache)

    def tail_events(self, reader: Reader) -> int:
        """Return how many records stand in the ledger's own table."""
        return reader.count(LEDGER, own(self.tenant, *MAY_BE_SEALED))

    def waiting(self, reader: Reader) -> Waiting | None:
        """Return the oldest of them."""
        sizes = reader.select(HEADS, ("size",), own(self.tenant))
        where = own(self.tenant, *MAY_BE_SEALED, Compare("<", "seq", sizes[0][0] if sizes else 0))
        if not reader.select(LEDGER, ("seq",), where, order_by=("seq",), limit=1):
            return None
        places: list[Sequence[int]] = []
        return Waiting(lambda: self._tables(reader, where, places), places)

    def _tables(
        self, reader: Reader, where: Predicate | None, places: list[Sequence[int]]
    ) -> Iterator[pa.Table]:
        """Yield the oldest records, and then note where the rows stand that are indexed of them."""
        sealed, first, last = 0, None, None
        for rows in reader.rows(
            LEDGER, _COLUMNS, where, order_by=("seq",), batch_rows=READ_AT_ONCE
        ):
            table = _table(rows)
            yield table
            first = first or next(filter(None, map(_first_given, rows)), None)
            last = next(filter(None, map(_last_given, reversed(rows))), None) or last
            sealed += len(rows)
            if sealed >= SEALED_AT_ONCE:
                break
        if first is not None and last is not None:
            places.append(self._places_from(reader, first, last))

    def _places_from(self, reader: Reader, first: _Given, last: _Given) -> Sequence[int]:
        """Return the places of all that is indexed from one row on that was given, to another.

        They stand in the order in which they were given; between them there may be other tenants'.
        """
        ends = []
        for row_id, seq in (first, last):
            where = own(self.tenant, Compare("=", "row_id", row_id), Compare("=", "seq", seq))
            rows = reader.select(RESULTS, (ROWID,), where, order_by=(ROWID,))
            ends.append([int(rowid or 0) for (rowid,) in rows])
        return range(ends[0][0], ends[1][-1] + 1) if all(ends) else ()

    def leave(self, writer: Writer, waiting: Waiting, segment: Segment) -> None:
        """Take records out of the ledger's own table, and out of the index of returned rows.

        Raises:
            StoreError: Somebody else has taken some.
        """
        last = Compare("<=", "seq", segment.last_seq)
        where = own(self.tenant, *MAY_BE_SEALED, Compare(">=", "seq", segment.first_seq), last)
        if writer.delete_where(LEDGER, where) != segment.events:
            raise StoreError("records were changed while they were sealed: again")
        for rowids in waiting.places:
            writer.delete(RESULTS, rowids)


def _first_given(row: Sequence[Any]) -> _Given | None:
    """Return the first row that a record gave, and its number."""
    _, kind, _, _, body, _, _, opened = row
    given = given_rows(kind, body, opened)
    return (given[0], row[0]) if given else None


def _last_given(row: Sequence[Any]) -> _Given | None:
    """Return the last one."""
    _, kind, _, _, body, _, _, opened = row
    given = given_rows(kind, body, opened)
    return (given[-1], row[0]) if given else None


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Return rows of the ledger's own table as they are sealed.

    Raises:
        LedgerCorruptError: One of them is none that was appended.
    """
    try:
        return table_of(rows)
    except (ValueError, TypeError, OverflowError):
        for row in rows:
            try:
                table_of([row])
            except (ValueError, TypeError, OverflowError) as error:
                seq = row[0] if type(row[0]) is int else None
                raise LedgerCorruptError(f"it cannot be sealed: {error}", seq=seq) from error
        raise
