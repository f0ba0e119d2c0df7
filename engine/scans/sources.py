"""What is attached by a URL, as DataFusion's catalogs: ``<source>.<schema>.<table>``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from datafusion.catalog import CatalogProvider, SchemaProvider

from affidavit.catalog.sources.databases.dataset import SourceDataset
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from affidavit.catalog.sources.databases.database import Database
    from affidavit.engine.scans.lake import LakeCatalog
    from affidavit.engine.scans.snapshot import Snapshot

_log = logging.getLogger("affidavit")


class Source(Protocol):
    """A database or lake that is attached.

    Attributes:
        name: What it was attached as.
    """

    @property
    def name(self) -> str:
        """What it was attached as."""

    def tables(self) -> Iterable[tuple[str, str]]:
        """Return the schema and name of each table.

        Raises:
            SourceError: It cannot be asked.
        """

    def refresh(self) -> None:
        """Look for the tables anew, where they are not looked for each time.

        Raises:
            SourceError: It cannot be asked.
        """

    def provider(self, snapshot: Snapshot, schema: str, name: str) -> Any:  # noqa: ANN401 - DataFusion's
        """Return what DataFusion reads a table through in one statement, or ``None``."""

    def close(self) -> None:
        """Let go of what is open, until it is asked again."""


class DatabaseSource:
    """An attached database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.name = database.name

    def tables(self) -> Iterable[tuple[str, str]]:
        """Return the schema and name of each table."""
        return self.database.tables()

    def refresh(self) -> None:
        """Look for the tables anew."""
        self.database.tables(refresh=True)

    def provider(self, snapshot: Snapshot, schema: str, name: str) -> Any:  # noqa: ANN401 - DataFusion's
        """Return what DataFusion reads a table through, or ``None``."""
        found = self.database.tables().get((schema, name))
        if found is None:
            found = self.database.tables(refresh=True).get((schema, name))
        if found is None:
            return None
        told = snapshot.note_name(f"{self.name}.{schema}.{name}", look=dict)
        dataset = SourceDataset(
            self.database,
            found,
            lambda: snapshot.running,
            snapshot.fail,
            snapshot.sent,
            snapshot.moment(self.database),
            told=told.moment_teller,
            enough=lambda: snapshot.enough.get((self.name, schema, name)),
            sends_filters=snapshot.sends_filters,
        )
        snapshot.note_database((self.name, schema, name), dataset)
        return snapshot.scan((f"{self.name}.{schema}", name), dataset)

    def close(self) -> None:
        """Close its idle connections."""
        self.database.close()


class SourceCatalog(CatalogProvider):  # type: ignore[misc]  # DataFusion's classes are untyped
    """One source; without one, nothing: DataFusion forgets no catalog."""

    def __init__(self, source: Source | None, lake: LakeCatalog) -> None:
        self._source = source
        self._lake = lake

    def names(self) -> list[tuple[str, str]]:
        """Return the schema and name of each table; of a source that is away, none."""
        if self._source is None:
            return []
        try:
            return sorted(self._source.tables())
        except SourceError as error:
            _log.warning("%s", error)
            return []

    def schema_names(self) -> set[str]:
        """Return the schemas' names."""
        return {schema for schema, _ in self.names()}

    def schema(self, name: str) -> SourceSchema | None:
        """Return a schema; whether it is there is found out with its tables."""
        return None if self._source is None else SourceSchema(self, self._source, self._lake, name)


class SourceSchema(SchemaProvider):  # type: ignore[misc]  # as above
    """One schema of a source."""

    def __init__(
        self, catalog: SourceCatalog, source: Source, lake: LakeCatalog, name: str
    ) -> None:
        self._catalog = catalog
        self._source = source
        self._lake = lake
        self._name = name

    @property
    def table_names(self) -> list[str]:
        """The tables' names."""
        return [table for schema, table in self._catalog.names() if schema == self._name]

    def table(self, name: str) -> Any:  # noqa: ANN401 - DataFusion's
        """Return what DataFusion reads a table through, or ``None``."""
        return self._lake.look(lambda snapshot: self._source.provider(snapshot, self._name, name))

    def table_exist(self, name: str) -> bool:
        """Return whether there is such a table."""
        return name in self.table_names
