"""The catalog as DataFusion sees it: a catalog of schemas of tables.

Rules:
    - DataFusion is answered from the snapshot of the statement that the asking thread plans, so
      that many threads plan at once: its Python binding asks on the thread that asked it to plan.
    - A tenant's provider holds a :class:`~affidavit.catalog.lake.catalog.Catalog` of that tenant,
      and so cannot name another's tables, whatever the SQL text says.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from datafusion.catalog import CatalogProvider, SchemaProvider

from affidavit.catalog.sql.names import MAIN_SCHEMA, TEMP_SCHEMA
from affidavit.catalog.topics.topic import TOPICS_SCHEMA, topics
from affidavit.engine.scans.resolve import resolve
from affidavit.engine.scans.snapshot import Snapshot
from affidavit.engine.scans.system import SYSTEM_TABLES
from affidavit.engine.statement.statement import DML_SCHEMA
from affidavit.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from affidavit.catalog.lake.catalog import Catalog


class _Asked(threading.local):
    """What one thread asks DataFusion for, the innermost last: planning may nest."""

    def __init__(self) -> None:
        self.planned: list[Snapshot] = []
        self.captured: list[list[Any]] = []


class Planning:
    """What DataFusion was asked for, and so what its callbacks are about."""

    def __init__(self) -> None:
        self._asked = _Asked()
        self._listing = threading.Lock()
        self._listed: Snapshot | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot of the statement that this thread plans, or of the listing that runs."""
        return self._asked.planned[-1] if self._asked.planned else self._listed

    @property
    def is_listing(self) -> bool:
        """Whether this thread asks for a listing that runs."""
        return not self._asked.planned and self._listed is not None

    @property
    def captured(self) -> list[Any] | None:
        """Where this thread puts the tables that DataFusion makes, if it is to."""
        return self._asked.captured[-1] if self._asked.captured else None

    @contextmanager
    def of(self, snapshot: Snapshot) -> Iterator[None]:
        """Plan a statement on this thread."""
        self._asked.planned.append(snapshot)
        try:
            yield
        finally:
            self._asked.planned.pop()

    @contextmanager
    def listing(self, snapshot: Snapshot) -> Iterator[None]:
        """Run a plan that lists the catalog, one at a time: it asks from threads of DataFusion's.

        Whatever runs meanwhile without a snapshot and lists the catalog is answered from this one.
        """
        with self._listing:
            self._listed = snapshot
            try:
                yield
            finally:
                self._listed = None

    @contextmanager
    def capturing(self) -> Iterator[list[Any]]:
        """Take the tables that DataFusion makes on this thread, and yield where they are put."""
        made: list[Any] = []
        self._asked.captured.append(made)
        try:
            yield made
        finally:
            self._asked.captured.pop()


class LakeCatalog(CatalogProvider):  # type: ignore[misc]  # DataFusion's classes are untyped
    """The catalog ``lake``, as one tenant sees it.

    Attributes:
        planning: What DataFusion is asked for.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.planning = Planning()
        self._catalog = catalog
        self._schemas: dict[str, LakeSchema] = {}

    def look(self, read: Callable[[Snapshot], Any]) -> Any:  # noqa: ANN401 - what ``read`` returns
        """Return ``read`` of the statement being planned, or of a snapshot of its own."""
        snapshot = self.planning.snapshot
        if snapshot is not None:
            try:
                return read(snapshot)
            except ClosedError:
                pass  # a plan that runs asked while a listing ran, whose transaction has ended
            except BaseException as error:  # an interrupt too: DataFusion makes a text of it
                snapshot.fail(error)
                raise
        with (
            self._catalog.lake.store.read(self._catalog.tenant) as reader,
            Snapshot(self._catalog, reader, committed=True) as own,
        ):
            return read(own)

    def schema_names(self) -> set[str]:
        """Return the schemas' names; the one for DML is not shown."""
        found = self.look(_schemas)
        return {*found, *SYSTEM_TABLES, TOPICS_SCHEMA}

    def schema(self, name: str) -> LakeSchema | None:
        """Return a schema, if the tenant has it."""
        if name not in self._schemas:
            if (
                name not in {MAIN_SCHEMA, DML_SCHEMA, TEMP_SCHEMA}
                and name not in self.schema_names()
            ):
                return None
            self._schemas[name] = LakeSchema(self, name)
        return self._schemas[name]


def _schemas(snapshot: Snapshot) -> set[str]:
    held = {each.info.schema for each in snapshot.temporaries}
    return snapshot.catalog.schemas(snapshot.reader) | held


class LakeSchema(SchemaProvider):  # type: ignore[misc]  # as above
    """One schema of the catalog ``lake``."""

    @property
    def owner_name(self) -> str | None:
        """Nobody: what the Rust side reads here becomes text, unless there is nothing."""
        raise AttributeError

    def __init__(self, catalog: LakeCatalog, name: str) -> None:
        self._catalog = catalog
        self._name = name

    @property
    def table_names(self) -> list[str]:
        """The tables' names; DataFusion reads this as an attribute, and takes a sequence only."""
        if self._name in SYSTEM_TABLES:
            return sorted(SYSTEM_TABLES[self._name])
        names: list[str] = self._catalog.look(self._names)
        return names

    def _names(self, snapshot: Snapshot) -> list[str]:
        catalog, reader = snapshot.catalog, snapshot.reader
        if self._name == TOPICS_SCHEMA:
            return [topic.name for topic in topics(reader, catalog.tenant)]
        known = snapshot.listed.values() or catalog.tables(reader)
        every = [*known, *(each.info for each in snapshot.temporaries)]
        return [info.name for info in every if info.schema == self._name]

    def table(self, name: str) -> Any:  # noqa: ANN401 - DataFusion takes several
        """Return what DataFusion reads the table through, or ``None``."""
        listed = self._catalog.planning.is_listing
        find = partial(resolve, schema=self._name, name=name, is_listed=listed)
        return self._catalog.look(find)

    def table_exist(self, name: str) -> bool:
        """Return whether there is such a table; one that is captured takes no name."""
        return self._catalog.planning.captured is None and name in self.table_names

    def register_table(self, _name: str, table: Any) -> None:  # noqa: ANN401 - DataFusion's
        """Take a table that DataFusion made, where a statement asked it to."""
        captured = self._catalog.planning.captured
        if captured is None:
            msg = "tables are created through the session"
            raise NotImplementedError(msg)
        captured.append(table)
