"""Attached lakes as DataFusion's catalogs: ``<source>.<schema>.<table>``, at one snapshot.

A lake has a planner of its own, in which its views and external tables are planned: they name the
tables of their lake. What is planned there runs where the statement runs.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from affidavit.catalog.model.release import TableRead
from affidavit.catalog.sql.names import JOURNAL, MAIN_SCHEMA, RESERVED_SCHEMAS
from affidavit.engine.scans.resolve import resolve
from affidavit.engine.scans.snapshot import Snapshot
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sources.lake import AttachedLake
    from affidavit.catalog.store.protocol import Reader


class Prepares(Protocol):
    """What plans the views and external tables of a lake: its planner."""

    def prepare(self, names: Collection[str], snapshot: Snapshot) -> None:
        """Plan those among ``names``, for a statement that is planned elsewhere."""


class OtherSnapshot(Snapshot):
    """What one statement reads of an attached lake, as part of what it reads at all."""

    def __init__(self, outer: Snapshot, name: str, catalog: Catalog, reader: Reader) -> None:
        super().__init__(catalog, reader, committed=True, hide=outer.hide)
        self.tellers = outer.tellers
        self.looks = outer.looks
        self.copies = outer.copies
        self.query = outer.query
        self.sizes = outer.sizes
        self.calls = outer.calls
        self._outer = outer
        self._name = name

    @property
    def called(self) -> str:
        """What a statement calls the catalog that is read."""
        return self._name

    def note_read(self, info: TableInfo, version: int, key: str | None = None) -> TableRead:
        """Note that planning looked a table up, and the version that it will read."""
        shown = f"{self._name}.{info.schema}.{info.name}"
        told = TableRead(
            shown, info.table_id, version, lake_id=self.catalog.lake.lake_id, level=info.audit
        )
        return self._outer.note_other(told, key)

    def note_external(self, table: TableRead) -> TableRead:
        """Note that planning looked up a table of files, or of another system, in the lake."""
        lake_id = self.catalog.lake.lake_id
        told = replace(table, name=f"{self._name}.{table.name}", lake_id=lake_id)
        return self._outer.note_external(told)


class LakeSource:
    """An attached lake.

    Args:
        lake: The lake.
        shown: Its URL.
        make: Makes the planner of what is in it.
    """

    def __init__(self, lake: AttachedLake, shown: str, make: Callable[[Catalog], Prepares]) -> None:
        self.name = lake.name
        self.shown = shown
        self._lake = lake
        self._make = make
        self._lock = threading.Lock()
        self._planner: tuple[Catalog, Prepares] | None = None

    def tables(self) -> list[tuple[str, str]]:
        """Return the schema and name of every table that the tenant sees.

        Raises:
            SourceError: The lake cannot be read.
        """
        catalog = self._lake.catalog()
        with self._lake.errors(), catalog.read() as reader:
            return [(info.schema, info.name) for info in catalog.tables(reader)]

    def refresh(self) -> None:
        """Do nothing: a lake's tables are looked for in each statement."""

    def snapshot(self, outer: Snapshot) -> OtherSnapshot:
        """Return the snapshot of the lake that a statement reads."""
        held = outer.others.get(self.name)
        if isinstance(held, OtherSnapshot):
            return held
        catalog = self._lake.catalog()
        with self._lake.errors():
            reader = outer.opened.enter_context(catalog.read())
        made = outer.others[self.name] = OtherSnapshot(outer, self.name, catalog, reader)
        return made

    def prepare(self, names: Collection[str], outer: Snapshot) -> None:
        """Plan the lake's views and external tables among ``names``.

        A lake that cannot be read is told once a table of it is: a column may be of its name.
        """
        with suppress(SourceError), self._lake.errors():
            snapshot = self.snapshot(outer)
            self._planner_of(snapshot.catalog).prepare(names, snapshot)

    def _planner_of(self, catalog: Catalog) -> Prepares:
        with self._lock:  # one for all threads: a planner is costly
            held = self._planner
            if held is None or held[0] is not catalog:
                held = self._planner = catalog, self._make(catalog)
            return held[1]

    def provider(self, outer: Snapshot, schema: str, name: str) -> Any:  # noqa: ANN401 - DataFusion's
        """Return what DataFusion reads a table through, or ``None``."""
        if schema in RESERVED_SCHEMAS or (schema, name) == (MAIN_SCHEMA, JOURNAL):
            return None
        snapshot = self.snapshot(outer)
        with self._lake.errors():
            return resolve(snapshot, schema, name)

    def close(self) -> None:
        """Close the lake until it is asked again."""
        self._planner = None
        self._lake.close()
