"""Attached databases as DataFusion's catalogs: ``<source>.<schema>.<table>``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from datafusion.catalog import CatalogProvider, SchemaProvider, Table

from affidavit.catalog.sources.database import SourceDataset
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from affidavit.catalog.providers import LakeCatalog
    from affidavit.catalog.sources.database import Database

_log = logging.getLogger("affidavit")


class SourceCatalog(CatalogProvider):  # type: ignore[misc]  # DataFusion's classes are untyped
    """One attached database; without one, nothing: DataFusion forgets no catalog."""

    def __init__(self, database: Database | None, lake: LakeCatalog) -> None:
        self.database = database
        self._lake = lake

    def names(self) -> list[tuple[str, str]]:
        """Return the schema and name of each table; of a source that is away, none."""
        if self.database is None:
            return []
        try:
            return sorted(self.database.tables())
        except SourceError as error:
            _log.warning("%s", error)
            return []

    def schema_names(self) -> set[str]:
        """Return the schemas' names."""
        return {schema for schema, _ in self.names()}

    def schema(self, name: str) -> SourceSchema | None:
        """Return a schema; whether it is there is found out with its tables."""
        return (
            None if self.database is None else SourceSchema(self, self.database, self._lake, name)
        )


class SourceSchema(SchemaProvider):  # type: ignore[misc]  # as above
    """One schema of an attached database."""

    def __init__(
        self, catalog: SourceCatalog, database: Database, lake: LakeCatalog, name: str
    ) -> None:
        self._catalog = catalog
        self._database = database
        self._lake = lake
        self._name = name

    @property
    def table_names(self) -> list[str]:
        """The tables' names."""
        return [table for schema, table in self._catalog.names() if schema == self._name]

    def table(self, name: str) -> Any:  # noqa: ANN401 - DataFusion's
        """Return what DataFusion reads a table through, or ``None``."""
        snapshot = self._lake.snapshot
        try:
            found = self._database.tables().get((self._name, name))
            if found is None:
                found = self._database.tables(refresh=True).get((self._name, name))
        except Exception as error:
            if snapshot is not None:
                snapshot.fail(error)
            raise
        if found is None or snapshot is None:
            return None
        key = (f"{self._database.name}.{self._name}", name)
        if key in snapshot.prepared:
            return snapshot.prepared[key]
        refused = {each.name: each.declared for each in found.columns if each.type is None}
        snapshot.refused.update(refused)
        dataset = SourceDataset(self._database, found, snapshot.fail, snapshot.note_sent)
        snapshot.scans[key] = dataset
        return Table(dataset)

    def table_exist(self, name: str) -> bool:
        """Return whether there is such a table."""
        return name in self.table_names
