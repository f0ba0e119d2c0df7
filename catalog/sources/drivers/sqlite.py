"""SQLite files, through the interpreter's own sqlite3, as the lake's store is (see docs/adr/0002).

Rules:
    - A column has the type that it was declared with; a value of another type is an error that
      names it.
    - Where any type may stand, as in a column of dates or in what a view computes, what stands
      there is given as text: numbers as SQL writes them.
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
from affidavit.catalog.sources.databases.table import SourceColumn, SourceTable
from affidavit.catalog.sources.databases.values import SHOWN_MAX, check_types, refuse
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.sqlite.migrations import APPLICATION_ID
from affidavit.errors import PathNotAllowedError, SourceError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.table import Select

ROWS_MAX: Final = 16_384
_TABLES: Final = """
SELECT name FROM sqlite_schema
WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name
"""
_COLUMNS_OF: Final = (
    "SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid"
)
_DECIMAL: Final = re.compile(r"(?:DECIMAL|NUMERIC) ?\((\d+), ?(\d+)\)")
_DIGITS_MAX: Final = 15
"""Numbers of so many digits come back from SQLite's binary ones as they were."""

_FOUND: Final = {
    "integer": pa.int64(), "real": pa.float64(), "text": pa.string(), "blob": pa.binary(),
}  # fmt: skip
_PYTHON: Final[dict[pa.DataType, type]] = {
    pa.int64(): int, pa.string(): str, pa.binary(): bytes, pa.float64(): float,
}  # fmt: skip
_IS_NUMBERED: Final = """
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? AND rootpage > 0
AND NOT EXISTS (SELECT 1 FROM pragma_table_info(?) WHERE lower(name) = 'rowid')
"""


class Sqlite(Driver):
    """A SQLite file."""

    # SQLite compares text by bytes unless a column says otherwise: equal bytes are equal anyway.
    # A name between double quotes that no column has would be a text
    dialect = Dialect(
        "SQLite", booleans=False, dates=False, decimals=False, text_order="{} COLLATE BINARY",
        quote="`", typed=False, listed="{} IN (SELECT value FROM json_each('[{}]'))",
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
                found.append(_table(connection, table))
        return found

    def query_columns(self, connection: sqlite3.Connection, sql: str) -> tuple[SourceColumn, ...]:
        """Return the columns that a query gives: SQLite's have no types but those of its values."""
        whole = f"SELECT {{}} FROM (\n{sql}\n)"
        names = [each[0] for each in connection.execute(whole.format("*") + " LIMIT 0").description]
        if not names:
            return ()
        each = [f"group_concat(DISTINCT typeof({self.dialect.quoted(name)}))" for name in names]
        ((*found,),) = connection.execute(whole.format(", ".join(each))).fetchall()
        return tuple(_found_column(*pair) for pair in zip(names, found, strict=True))

    def batches(
        self, connection: sqlite3.Connection, select: Select, running: Running
    ) -> Generator[pa.RecordBatch]:
        """Yield the rows of a query."""
        schema = select.schema
        is_listed = _version(connection) == self._version
        if select.table.is_written and not is_listed:  # each table of it then says if it was
            raise SourceError("its tables may have changed since they were listed")
        if not select.table.query and not is_listed:
            now = {each.name: each.type for each in _table(connection, select.table.name).columns}
            check_types(pa.schema([(n, now.get(n) or pa.null()) for n in schema.names]), schema)
        with running.until_done(connection.interrupt):
            cursor = connection.execute(select.text())
            try:
                while rows := cursor.fetchmany(ROWS_MAX):
                    yield _batch(rows, select)
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


def _table(connection: sqlite3.Connection, table: str) -> SourceTable:
    rows = connection.execute(_COLUMNS_OF, (table,)).fetchall()
    columns = tuple(_column(name, declared) for name, declared, _ in rows)
    key = sorted((place, name) for name, _, place in rows if place)
    identity = tuple(name for _, name in key)
    return SourceTable("main", table, columns, rows=_rows(connection, table), identity=identity)


def _rows(connection: sqlite3.Connection, table: str) -> int | None:
    """Return about how many rows a table has, if its rows are numbered.

    A view would be computed, and what is called as the number is may be a column.
    """
    if connection.execute(_IS_NUMBERED, (table, table)).fetchone() is None:
        return None
    try:
        found = connection.execute(f"SELECT max(rowid) FROM {quoted(table)}").fetchone()[0]
    except sqlite3.OperationalError:  # a table WITHOUT ROWID, or of another module
        return None
    return found if isinstance(found, int) else 0


def _column(name: str, declared: str) -> SourceColumn:
    kind = _type(declared)
    if kind is None:
        return SourceColumn(name, pa.string(), declared, compares=False)
    return SourceColumn(name, kind, declared)


def _found_column(name: str, types: str | None) -> SourceColumn:
    """Return a column by the types of the values that it has."""
    [*only] = {*(types or "").split(",")} - {"null"}
    kind = _FOUND.get(only[0]) if len(only) == 1 else None
    return SourceColumn(name, kind or pa.string(), types or "null", compares=kind is not None)


def _batch(rows: list[tuple[Any, ...]], select: Select) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))[: len(select.columns)]
    if not select.columns:
        return pa.RecordBatch.from_arrays([pa.nulls(len(rows))], names=["_"]).select([])
    arrays = [_array(at, columns, select) for at in range(len(columns))]
    return pa.RecordBatch.from_arrays(arrays, schema=select.schema)


def _values(array: pa.Array, name: str) -> list[Any]:
    """Return what SQLite is given: decimals as texts, which the column makes numbers of."""
    values: list[Any] = array.to_pylist()
    if pa.types.is_decimal(array.type):
        return [None if each is None else str(each) for each in values]
    if pa.types.is_floating(array.type) and any(each != each for each in values):  # noqa: PLR0124
        raise SourceError(f"column {name!r} is given NaN, which SQLite would keep as NULL")
    return values


def _array(place: int, columns: Sequence[Sequence[Any]], select: Select) -> pa.Array:
    """Return a column of rows, of which each value is as it was declared."""
    values, field = columns[place], select.schema.field(place)
    [column] = select.table.chosen(select.columns[place : place + 1])
    if {*map(type, values)} <= {_PYTHON.get(field.type), type(None)}:
        return pa.array(values, field.type)
    read = _read_any if field.type == pa.string() and not column.compares else _READS[field.type.id]
    found: list[Any] = []
    for at, each in enumerate(values):
        try:
            found.append(None if each is None else read(each, field.type))
        except (TypeError, ValueError, ArithmeticError):
            if not select.bad_is_null:
                shown = f"{each!r:.{SHOWN_MAX}}, a {type(each).__name__}"
                refuse(
                    select,
                    field,
                    shown,
                    at,
                    lambda name, at: columns[select.columns.index(name)][at],
                )
            found.append(None)
    return pa.array(found, field.type)


def _read_any(value: object, _: pa.DataType) -> str:
    if isinstance(value, bytes):
        msg = "bytes are no text"
        raise TypeError(msg)
    return value if isinstance(value, str) else repr(value)


def _read_same(value: object, kind: pa.DataType) -> object:
    if not isinstance(value, _PYTHON[kind]):
        raise TypeError
    return value


def _read_float(value: object, _: pa.DataType) -> float:
    if not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _read_bool(value: object, _: pa.DataType) -> bool:
    if value not in (0, 1):
        raise TypeError
    return bool(value)


def _read_decimal(value: object, kind: pa.DataType) -> Decimal:
    """Return a number as the decimal that it was before SQLite made it binary."""
    found = Decimal(repr(value)) if isinstance(value, int | float) else Decimal("NaN")
    scaled = found.quantize(Decimal(1).scaleb(-kind.scale)) if found.is_finite() else None
    if scaled is None or scaled != found or len(found.as_tuple().digits) > kind.precision:
        raise TypeError
    return scaled


_READS: Final = {
    pa.int64().id: _read_same, pa.string().id: _read_same, pa.binary().id: _read_same,
    pa.float64().id: _read_float, pa.bool_().id: _read_bool,
    pa.decimal128(1).id: _read_decimal,
}  # fmt: skip


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
    if word in {"BOOLEAN", "BOOL"}:
        return pa.bool_()
    decimal = _DECIMAL.fullmatch(word)
    if (
        decimal is not None
        and int(decimal[1]) <= _DIGITS_MAX
        and int(decimal[2]) <= int(decimal[1])
    ):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return None  # NUMERIC, dates and what was not declared: any type may stand there
