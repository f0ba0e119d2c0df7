"""Whether what a statement read with no lock held is still so when it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.scans.mutable import TargetDataset
    from affidavit.engine.scans.snapshot import Snapshot


class MovedError(Exception):
    """What a statement read has changed since: it is to be run again. No caller ever sees it."""


@dataclass(frozen=True, slots=True)
class Still:
    """What must be as a statement read it.

    A table's version says whether its rows changed: every commit that changes them gives it the
    next one. Files, other databases and the logs (journal, audit, topics) are read as they were and
    are not asked again.

    Attributes:
        snapshot: What the statement read.
        target: The table that it writes, as that says.
        every: Whether every table that was read counts. Else it is the target's rows alone, if
            they were read: what an INSERT adds may be of the moment at which it was read.
        scanned: The target as DML reads it, if it is a mutable table.
    """

    snapshot: Snapshot
    target: TableInfo
    every: bool
    scanned: TargetDataset | None = None

    def check(self, reader: Reader) -> TableInfo:
        """Return the target, a mutable table, as it is now.

        Raises:
            MovedError: It is another table or has other columns, or what was read is no longer so.
            TableNotFoundError: It was dropped.
            StatementTimeoutError: The statement waited for the writer until its time was up.
        """
        self.snapshot.query.check()
        now = self.snapshot.catalog.get(reader, self.target.name, self.target.schema)
        if now.definition != self.target.definition:
            raise MovedError
        if now.version != self.target.version and not self._rows_are_same(reader, now):
            raise MovedError
        self.check_others(reader)
        return now

    def _rows_are_same(self, reader: Reader, now: TableInfo) -> bool:
        """Return whether what was read of the target is the same in its newer version."""
        if self._is_read_by_name:
            return False
        scanned = self.scanned
        return scanned is None or not scanned.is_read or scanned.reads_same(reader, now)

    @property
    def _is_read_by_name(self) -> bool:
        ids = {info.table_id for info in self.snapshot.reads.values()}
        return self.target.table_id in ids

    def check_others(self, reader: Reader) -> None:
        """Raise MovedError unless the other tables that count are what they were."""
        catalog: Catalog = self.snapshot.catalog
        for (schema, name), then in self.snapshot.reads.items() if self.every else ():
            if then.table_id == self.target.table_id:
                continue
            now = catalog.find(reader, name, schema)
            if now is None or (now.table_id, now.version) != (then.table_id, then.version):
                raise MovedError

    def check_dataset(
        self, now: TableInfo, dataset: lance.LanceDataset, then: lance.LanceDataset
    ) -> None:
        """Raise MovedError unless the target, a vector table, is what was read."""
        same = now.definition == self.target.definition and dataset.schema == then.schema
        counts = self.every or self._is_read_by_name
        if not same or (counts and dataset.version != then.version):
            raise MovedError
