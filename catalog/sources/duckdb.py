"""DuckDB files, through the ADBC driver inside the duckdb wheel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.sources.database import SourceColumn, SourceTable, adbc_batches
from affidavit.catalog.sources.dialect import Dialect
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Generator

_TYPES: Final = {
    "BOOLEAN": pa.bool_(), "TINYINT": pa.int8(), "SMALLINT": pa.int16(), "INTEGER": pa.int32(),
    "BIGINT": pa.int64(), "UTINYINT": pa.uint8(), "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(), "UBIGINT": pa.uint64(), "FLOAT": pa.float32(), "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(), "BLOB": pa.binary(), "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"), "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "TIME": pa.time64("us"),
}  # fmt: skip
_AS_TEXT: Final = frozenset({"UUID", "JSON"})
_ENUM: Final = re.compile(r"ENUM\(.*\)", re.DOTALL)
_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_COLUMNS: Final = """
SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns
WHERE table_catalog = current_database()
  AND table_schema NOT IN ('information_schema', 'pg_catalog')
ORDER BY table_schema, table_name, ordinal_position
"""


class DuckDb:
    """A DuckDB file, which is opened to be read."""

    dialect = Dialect("DuckDB", floats=True)
    idle_max = 0  # an open file keeps out whoever wants to write it, and is read as it was

    def __init__(self, path: str) -> None:
        self._path = path

    def connect(self) -> Any:  # noqa: ANN401 - an ADBC connection
        """Open a connection."""
        try:
            import adbc_driver_duckdb as library  # noqa: PLC0415 - an optional library
            from adbc_driver_manager import dbapi  # noqa: PLC0415 - as above
        except ImportError as error:
            msg = "reading DuckDB needs a driver: pip install 'affidavit[duckdb]'"
            raise SourceError(msg) from error
        options = {
            "path": self._path,
            "access_mode": "READ_ONLY",
            "enable_external_access": "false",  # or its views could read any file
        }
        connection = dbapi.connect(
            driver=library.driver_path(), entrypoint="duckdb_adbc_init", db_kwargs=options,
            autocommit=True,
        )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute("SET TimeZone = 'UTC'")
        return connection

    def tables(self, connection: Any) -> list[SourceTable]:  # noqa: ANN401 - as above
        """Return every table and view."""
        with connection.cursor() as cursor:
            cursor.execute(_COLUMNS)
            rows = cursor.fetchall()
        found: dict[tuple[str, str], list[SourceColumn]] = {}
        for schema, table, name, declared in rows:
            column = _column(name, declared)
            found.setdefault((schema, table), []).append(column)
        return [SourceTable(*name, tuple(columns)) for name, columns in found.items()]

    def batches(
        self,
        connection: Any,  # noqa: ANN401 - an ADBC DB-API connection
        sql: str,
        schema: pa.Schema,
    ) -> Generator[pa.RecordBatch]:
        """Yield the rows of a query."""
        return adbc_batches(connection, sql, schema)


def _column(name: str, declared: str) -> SourceColumn:
    if declared in _AS_TEXT or _ENUM.fullmatch(declared):
        shown = f"{DuckDb.dialect.quoted(name)}::VARCHAR"
        return SourceColumn(name, pa.string(), declared, shown)
    return SourceColumn(name, _type(declared), declared)


def _type(declared: str) -> pa.DataType | None:
    if declared.endswith("[]"):
        inner = _type(declared.removesuffix("[]"))
        return None if inner is None else pa.list_(inner)
    decimal = _DECIMAL.fullmatch(declared)
    if decimal is not None:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return _TYPES.get(declared)
