"""The catalog as DataFusion sees it: a catalog of schemas of tables.

Rules:
    - What a callback of DataFusion asks is answered from the snapshot of the statement that the
      calling thread plans: DataFusion plans on the thread that asks it to.
    - A tenant's provider holds a :class:`~affidavit.catalog.lake.catalog.Catalog` of that tenant,
      and so cannot name another's tables, whatever the SQL text says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datafusion.catalog import CatalogProvider, SchemaProvider

from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.topics.topic import TOPICS_SCHEMA, topics
from affidavit.engine.scans.resolve import resolve
from affidavit.engine.scans.snapshot import DML_SCHEMA, Snapshot
from affidavit.engine.scans.system import SYSTEM_TABLES
from affidavit.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.lake.catalog import Catalog


class LakeCatalog(CatalogProvider):  # type: ignore[misc]  # DataFusion's classes are untyped
    """The catalog ``lake``, as one tenant sees it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.snapshot: Snapshot | None = None
        self._schemas: dict[str, LakeSchema] = {}
        self.on_register: Callable[[str, Any], None] | None = None

    def look(self, read: Callable[[Snapshot], Any]) -> Any:  # noqa: ANN401 - what ``read`` returns
        """Return ``read`` of the statement being planned, or of a snapshot of its own."""
        snapshot = self.snapshot
        if snapshot is not None:
            try:
                return read(snapshot)
            except ClosedError:
                pass  # a plan that runs asked while another was being planned, and was done
            except Exception as error:
                snapshot.fail(error)
                raise
        with (
            self._catalog.lake.store.read(self._catalog.tenant) as reader,
            Snapshot(self._catalog, reader, committed=True) as own,
        ):
            return read(own)

    def schema_names(self) -> set[str]:
        """Return the schemas' names; the one for DML is not shown."""
        found = self.look(lambda snapshot: snapshot.catalog.schemas(snapshot.reader))
        return {*found, *SYSTEM_TABLES, TOPICS_SCHEMA}

    def schema(self, name: str) -> LakeSchema | None:
        """Return a schema, if the tenant has it."""
        if name not in self._schemas:
            if name not in {MAIN_SCHEMA, DML_SCHEMA} and name not in self.schema_names():
                return None
            self._schemas[name] = LakeSchema(self, name)
        return self._schemas[name]


class LakeSchema(SchemaProvider):  # type: ignore[misc]  # as above
    """One schema of the catalog ``lake``."""

    def __init__(self, catalog: LakeCatalog, name: str) -> None:
        self._catalog = catalog
        self._name = name

    @property
    def table_names(self) -> list[str]:
        """The tables' names; DataFusion reads this as an attribute, and takes a sequence only."""
        if self._name in SYSTEM_TABLES:
            return sorted(SYSTEM_TABLES[self._name])
        if self._name == TOPICS_SCHEMA:
            found: list[str] = self._catalog.look(
                lambda snapshot: [
                    topic.name for topic in topics(snapshot.reader, snapshot.catalog.tenant)
                ]
            )
            return found
        names: list[str] = self._catalog.look(
            lambda snapshot: [
                info.name
                for info in snapshot.catalog.tables(snapshot.reader)
                if info.schema == self._name
            ]
        )
        return names

    def table(self, name: str) -> Any:  # noqa: ANN401 - DataFusion takes several
        """Return what DataFusion reads the table through, or ``None``."""
        return self._catalog.look(lambda snapshot: resolve(snapshot, self._name, name))

    def table_exist(self, name: str) -> bool:
        """Return whether there is such a table."""
        if self._catalog.on_register is not None:
            return False
        return name in self.table_names

    def register_table(self, name: str, table: Any) -> None:  # noqa: ANN401 - DataFusion's
        """Take a table that DataFusion made, where a statement asked it to."""
        if self._catalog.on_register is None:
            msg = "tables are created through the session"
            raise NotImplementedError(msg)
        self._catalog.on_register(name, table)
