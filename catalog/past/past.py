"""The past: what a tenant's lake held at a moment.

A mutable table's past is its present with every later event undone. Only the first event after the
moment counts for each field of each row: it holds the value that the moment saw. A table that was
dropped since has no present: its past is its events from the beginning. A vector table's past is
one of Lance's versions.

Rule:
    - Columns are told apart by what the store calls them, which renaming does not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from affidavit.catalog.model.definition import KINDS
from affidavit.catalog.past.table import PastTable
from affidavit.catalog.past.vantage import Vantage
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.sql.predicate import Compare
from affidavit.errors import InvalidQueryError, TableNotFoundError

if TYPE_CHECKING:
    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.moment import Moment
    from affidavit.catalog.store.protocol import Reader


class Past:
    """What one tenant's lake held at a moment; the arguments are those of its :class:`Vantage`.

    Raises:
        InvalidQueryError: The moment has not happened, or is before the lake's ledger.
    """

    def __init__(
        self, catalog: Catalog, reader: Reader, moment: Moment, *, committed: bool = False
    ) -> None:
        _check(catalog, reader, moment)
        self.vantage = Vantage(catalog, reader, moment, committed=committed)
        self._catalog = catalog

    def table(self, name: str, schema: str = MAIN_SCHEMA) -> PastTable:
        """Return a table as it was then.

        Raises:
            TableNotFoundError: There was none of that name.
        """
        info = self._catalog.find(self.vantage.reader, name, schema)
        if info is not None and KINDS[info.kind].has_rows:
            journal = self._catalog.lake.journals.of(info.tenant)
            found = PastTable(self.vantage, journal, info.table_id, name, info)
            if found.existed():
                return found
        dropped = self._dropped(name)
        if dropped is None:
            raise TableNotFoundError(name)
        found = PastTable(self.vantage, self._catalog.journal, dropped, name, None)
        if not found.existed():
            raise TableNotFoundError(name)
        return found

    def _dropped(self, name: str) -> str | None:
        """Return the identity of a table of this name that was dropped after the moment."""
        journal = self._catalog.journal
        filters = (pc.field("entity_type") == name) & (pc.field("action") == "drop")
        after = self.vantage.after(journal)
        for part in journal.events.scan(self.vantage.reader, ["table_id"], filters, after):
            for table_id in part["table_id"].to_pylist():
                return str(table_id)
        return None


def _check(catalog: Catalog, reader: Reader, moment: Moment) -> None:
    """Raise InvalidQueryError if ``moment`` has not happened, or was before the ledger."""
    last = catalog.ledger.last_seq(reader)
    if moment.seq is not None and moment.seq > (-1 if last is None else last):
        msg = f"entry {moment.seq} has not happened: the newest is {last}"
        raise InvalidQueryError(msg)
    if moment.at_us is not None:
        first = catalog.ledger.entries(reader, Compare("=", "seq", 0))
        if not first or moment.at_us < first[0].created_at:
            msg = "the lake's ledger did not exist at that time"
            raise InvalidQueryError(msg)


def dataset_of(
    catalog: Catalog, reader: Reader, info: TableInfo, version: int | str | None
) -> tuple[TableInfo, lance.LanceDataset]:
    """Return a vector table as it was at a version, or at the moment that the catalog is at."""
    if version is None and catalog.at is not None:
        version = Past(catalog, reader, catalog.at).table(info.name, info.schema).version()
    return catalog.lake.datasets.as_of(info, version)
