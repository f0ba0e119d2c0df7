"""SQLite files, through the interpreter's own sqlite3, as the lake's store is (see docs/adr/0002).

A column has the type that it was declared with; a value of another type is an error that names it.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.sources.databases.dialect import Dialect
from affidavit.catalog.sources.databases.driver import Driver, Insertion
from affidavit.catalog.sources.databases.table import SourceColumn, SourceTable, check_types
from affidavit.catalog.store.sqlite.migrations import APPLICATION_ID
from affidavit.errors import PathNotAllowedError, SourceError

if TYPE_CHECKING:
    from collections.abc import Generator

    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.table import Select

ROWS_MAX: Final = 16_384
_TABLES: Final = """
SELECT name FROM sqlite_schema
WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name
"""
_COLUMNS_OF: Final = "SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid"
_DECIMAL: Final = re.compile(r"(?:DECIMAL|NUMERIC) ?\((\d+), ?(\d+)\)")
_DIGITS_MAX: Final = 15
"""Numbers of so many digits come back from SQLite's binary ones as they were."""

_PYTHON: Final = {pa.int64(): int, pa.string(): str, pa.binary(): bytes}


class Sqlite(Driver):
    """A SQLite file."""

    # SQLite compares text by bytes unless a column says otherwise: equal bytes are equal anyway.
    # A name between double quotes that no column has would be a text
    dialect = Dialect(
        "SQLite", booleans=False, dates=False, decimals=False, text_order="{} COLLATE BINARY",
        quote="`",
    )  # fmt: skip
    excludes_readers = True

    def __init__(self, path: str) -> None:
        self._path = path
        self._version = 0

    def connect(self, *, writing: bool = False) -> sqlite3.Connection:
        """Open a connection."""
        where = f"{Path(self._path).resolve().as_uri()}?mode={'rw' if writing else 'ro'}"
        connection = sqlite3.connect(where, uri=True, check_same_thread=False, isolation_level=None)
        if connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,):
            connection.close()
            raise PathNotAllowedError(self._path, reason="it has become the store of a lake")
        connection.execute(f"PRAGMA query_only = {'OFF' if writing else 'ON'}")
        if connection.execute("PRAGMA encoding").fetchone() != ("UTF-8",):
            self.dialect = replace(self.dialect, text_order="")
        return connection

    def tables(self, connection: sqlite3.Connection) -> list[SourceTable]:
        """Return every table and view but those that SQLite itself cannot read."""
        self._version = _version(connection)
        found = []
        for (table,) in connection.execute(_TABLES).fetchall():
            with suppress(sqlite3.OperationalError):  # such as a view of a table that was dropped
                found.append(SourceTable("main", table, _columns(connection, table)))
        return found

    def batches(
        self, connection: sqlite3.Connection, select: Select, running: Running
    ) -> Generator[pa.RecordBatch]:
        """Yield the rows of a query."""
        schema = select.schema
        if _version(connection) != self._version:
            now = {each.name: each.type for each in _columns(connection, select.table.name)}
            check_types(pa.schema([(n, now.get(n) or pa.null()) for n in schema.names]), schema)
        with running.until_done(connection.interrupt):
            cursor = connection.execute(select.text())
            try:
                while rows := cursor.fetchmany(ROWS_MAX):
                    yield _batch(rows, schema)
            finally:
                cursor.close()

    def insert(self, connection: sqlite3.Connection, insertion: Insertion) -> None:
        """Insert rows in one transaction."""
        text, kept = insertion.statement(self.dialect), 0
        connection.execute("BEGIN IMMEDIATE")
        with insertion.running.until_done(connection.interrupt):
            for batch in insertion.reader:
                columns = [_values(batch[name], name) for name in batch.schema.names]
                kept += connection.executemany(text, zip(*columns, strict=True)).rowcount
        insertion.ready(kept)
        connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    """Return the number that grows with each change of the file's tables."""
    return int(connection.execute("PRAGMA schema_version").fetchone()[0])


def _columns(connection: sqlite3.Connection, table: str) -> tuple[SourceColumn, ...]:
    rows = connection.execute(_COLUMNS_OF, (table,)).fetchall()
    return tuple(SourceColumn(name, _type(type_), type_) for name, type_ in rows)


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))[: len(schema)]
    if not columns:
        return pa.RecordBatch.from_arrays([pa.nulls(len(rows))], names=["_"]).select([])
    arrays = [_array(list(each), field) for each, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _values(array: pa.Array, name: str) -> list[Any]:
    """Return what SQLite is given: decimals as texts, which the column makes numbers of."""
    values: list[Any] = array.to_pylist()
    if pa.types.is_decimal(array.type):
        return [None if each is None else str(each) for each in values]
    if pa.types.is_floating(array.type) and any(each != each for each in values):  # noqa: PLR0124
        raise SourceError(f"column {name!r} is given NaN, which SQLite would keep as NULL")
    return values


def _array(values: list[Any], field: pa.Field) -> pa.Array:
    if pa.types.is_decimal(field.type):
        return pa.array([_decimal(each, field) for each in values], field.type)
    if pa.types.is_float64(field.type):
        values = [float(each) if isinstance(each, int) else each for each in values]
        expected: type = float
    else:
        expected = _PYTHON[field.type]
    for each in values:
        if each is not None and not isinstance(each, expected):
            msg = (
                f"column {field.name!r} was declared for {field.type} and holds {each!r:.40}, a "
                f"{type(each).__name__}"
            )
            raise SourceError(msg)
    return pa.array(values, field.type)


def _decimal(value: object, field: pa.Field) -> Decimal | None:
    """Return a number as the decimal that it was before SQLite made it binary."""
    if value is None:
        return None
    if isinstance(value, int | float):
        found = Decimal(repr(value))
        scaled = found.quantize(Decimal(1).scaleb(-field.type.scale)) if found.is_finite() else None
        if scaled == found and len(found.as_tuple().digits) <= field.type.precision:
            return scaled
    msg = f"column {field.name!r} was declared for {field.type} and holds {value!r:.40}"
    raise SourceError(msg)


def _type(declared: str) -> pa.DataType | None:
    """Return the type of a column by its affinity (SQLite, "Datatypes", section 3.1)."""
    word = declared.upper()
    if "INT" in word:
        return pa.int64()
    if any(part in word for part in ("CHAR", "CLOB", "TEXT")):
        return pa.string()
    if "BLOB" in word:
        return pa.binary()
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return pa.float64()
    decimal = _DECIMAL.fullmatch(word)
    if (
        decimal is not None
        and int(decimal[1]) <= _DIGITS_MAX
        and int(decimal[2]) <= int(decimal[1])
    ):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return None  # NUMERIC, dates and what was not declared: any type may stand there
