"""DuckDB files: read through the ADBC driver inside the duckdb wheel, written through the wheel.

A file is opened for one scan or one INSERT, and closed. Two writers of one process would lose each
other's rows, so each connection holds the file's gate. The wheel's own connections share one
database with those that a program has open already; ADBC's do not.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from affidavit.catalog.sources.databases.adbc import batches_of, rows_of
from affidavit.catalog.sources.databases.dialect import Dialect
from affidavit.catalog.sources.databases.driver import Driver, Insertion
from affidavit.catalog.sources.databases.table import SourceTable
from affidavit.catalog.sources.drivers.duckdb_types import STEPS_US, column_of
from affidavit.catalog.sources.drivers.finer import refuse_cut
from affidavit.catalog.sources.drivers.gate import GatedConnection
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import pyarrow as pa

    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.table import Select, SourceColumn

_NEEDED: Final = "DuckDB needs a driver: pip install 'affidavit[duckdb]'"
_COLUMNS: Final = """
SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns
WHERE table_catalog = current_database()
  AND table_schema NOT IN ('information_schema', 'pg_catalog')
ORDER BY table_schema, table_name, ordinal_position
"""
_SIZES: Final = """
SELECT schema_name, table_name, estimated_size FROM duckdb_tables()
WHERE database_name = current_database()
"""
_COLLATED: Final = """
SELECT schema_name, table_name FROM duckdb_tables() WHERE sql ILIKE '%collate%'
UNION SELECT schema_name, view_name FROM duckdb_views()
WHERE EXISTS (SELECT 1 FROM duckdb_tables() WHERE sql ILIKE '%collate%') OR sql ILIKE '%collate%'
"""
"""Tables and views that may have texts which are equal though their bytes are not."""

_KEYS: Final = """
SELECT schema_name, table_name, constraint_column_names FROM duckdb_constraints()
WHERE database_name = current_database() AND constraint_type = 'PRIMARY KEY'
"""


class DuckDb(Driver):
    """A DuckDB file."""

    dialect = Dialect(
        "DuckDB", floats="'{}'::double precision",
        listed="{} IN (SELECT unnest(CAST('[{}]' AS BIGINT[])))",
    )  # fmt: skip
    excludes_readers = True
    idle_max = 0  # an open file keeps out whoever wants to write it, and is read as it was

    def __init__(self, path: str) -> None:
        self._path = path

    def connect(self, *, writing: bool = False) -> GatedConnection:
        """Open a connection."""
        connect = self._connect_to_write if writing else self._connect_to_read
        return GatedConnection(self._path, connect, writing=writing)

    def _connect_to_read(self) -> Any:  # noqa: ANN401 - an ADBC connection
        try:
            import adbc_driver_duckdb as library  # noqa: PLC0415 - an optional library
            from adbc_driver_manager import dbapi  # noqa: PLC0415 - as above
        except ImportError as error:
            raise SourceError(_NEEDED) from error
        options = {
            "path": self._path,
            "access_mode": "READ_ONLY",
            "enable_external_access": "false",  # or its views could read any file
        }
        connection = dbapi.connect(
            driver=library.driver_path(), entrypoint="duckdb_adbc_init", db_kwargs=options,
            autocommit=True,
        )  # fmt: skip
        rows_of(connection, "SET TimeZone = 'UTC'")
        return connection

    def _connect_to_write(self) -> Any:  # noqa: ANN401 - a DuckDB connection
        try:
            import duckdb  # noqa: PLC0415 - an optional library
        except ImportError as error:
            raise SourceError(_NEEDED) from error
        return duckdb.connect(self._path)

    def tables(self, connection: Any) -> list[SourceTable]:  # noqa: ANN401 - as above
        """Return every table and view."""
        found: dict[tuple[str, str], list[SourceColumn]] = {}
        collated = {(schema, table) for schema, table in rows_of(connection, _COLLATED)}
        for schema, table, name, declared in rows_of(connection, _COLUMNS):
            column = column_of(name, declared, self.dialect)
            if (schema, table) in collated:
                column = replace(column, orders=False)
            found.setdefault((schema, table), []).append(column)
        keys = {
            (schema, table): tuple(names) for schema, table, names in rows_of(connection, _KEYS)
        }
        sizes = {(schema, table): rows for schema, table, rows in rows_of(connection, _SIZES)}
        return [
            SourceTable(*name, tuple(columns), rows=sizes.get(name), identity=keys.get(name, ()))
            for name, columns in found.items()
        ]

    def query_columns(self, connection: Any, sql: str) -> tuple[SourceColumn, ...]:  # noqa: ANN401 - as above
        """Return the columns that a query gives."""
        rows = rows_of(connection, f"DESCRIBE SELECT * FROM (\n{sql}\n) AS query")
        return tuple(column_of(name, declared, self.dialect) for name, declared, *_ in rows)

    def batches(
        self,
        connection: Any,  # noqa: ANN401 - an ADBC DB-API connection
        select: Select,
        running: Running,
    ) -> Generator[pa.RecordBatch]:
        """Yield the rows of a query."""
        return batches_of(connection, select.text(), select, running)

    def expected(self, connection: Any, sql: str, running: Running) -> int | None:  # noqa: ANN401 - as above
        """Return how many rows DuckDB expects a query to give, as the first node says that does."""
        ((_, told),) = rows_of(connection, f"EXPLAIN (FORMAT JSON) {sql}", running)
        (node,) = json.loads(told)
        while "Estimated Cardinality" not in node["extra_info"]:
            if len(node["children"]) != 1:
                return None
            (node,) = node["children"]
        return int(node["extra_info"]["Estimated Cardinality"])

    def check(self, columns: Sequence[SourceColumn], batch: pa.RecordBatch) -> None:
        """Raise SourceError if a moment is finer than its column keeps, which would be cut."""
        for column, array in zip(columns, batch.columns, strict=True):
            if column.declared in STEPS_US:
                refuse_cut(column, array, STEPS_US[column.declared])

    def insert(self, connection: Any, insertion: Insertion) -> None:  # noqa: ANN401 - as above
        """Insert rows in one transaction."""
        library, rows = connection.library, f"rows_{uuid4().hex}"
        library.register(rows, insertion.reader)
        names = [self.dialect.quoted(each.name) for each in insertion.columns]
        library.execute("BEGIN")
        with insertion.running.until_done(library.interrupt):
            values = f"SELECT {insertion.values(names)} FROM {rows}"
            library.execute(insertion.statement(self.dialect, values))
            ((kept,),) = library.fetchall()
        insertion.ready(kept)
        library.execute("COMMIT")
