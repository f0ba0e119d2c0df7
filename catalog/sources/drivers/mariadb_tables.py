"""Which tables a MariaDB or MySQL server has, and what Arrow makes of their columns."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.sources.databases.adbc import rows_of
from affidavit.catalog.sources.databases.dialect import NARROW
from affidavit.catalog.sources.databases.table import SourceColumn, SourceTable
from affidavit.catalog.sql.quoting import quoted_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.sources.databases.dialect import Dialect

_DIGITS_MAX: Final = 38
_INTEGERS: Final = {
    "tinyint": (pa.int8(), pa.uint8()), "smallint": (pa.int16(), pa.uint16()),
    "mediumint": (pa.int32(), pa.uint32()), "int": (pa.int32(), pa.uint32()),
    "bigint": (pa.int64(), pa.uint64()),
}  # fmt: skip
_TYPES: Final = {
    "double": pa.float64(), "char": pa.string(), "varchar": pa.string(),
    "tinytext": pa.string(), "text": pa.string(), "mediumtext": pa.string(),
    "longtext": pa.string(), "binary": pa.binary(), "varbinary": pa.binary(),
    "tinyblob": pa.binary(), "blob": pa.binary(), "mediumblob": pa.binary(),
    "longblob": pa.binary(),
}  # fmt: skip
_MOMENTS: Final = {
    "date": pa.date32(), "datetime": pa.timestamp("us"), "timestamp": pa.timestamp("us", "UTC"),
}  # fmt: skip
_AS_TEXT: Final = frozenset({"enum", "set", "json", "time", "uuid", "inet4", "inet6"})
_SHAPES: Final = frozenset({
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection",
})  # fmt: skip
_LENGTH: Final = re.compile(r"(?:var)?char\((\d+)\)")
SORTED_BYTES: Final = 1024
"""Rows are ordered by so many bytes of a text, four of which may be a character."""

_UNICODE: Final = frozenset({"utf8mb4", "utf16", "utf16le", "utf32"})
"""The sets of characters that have all of those that a literal may have."""

_DECIMAL: Final = re.compile(r"decimal\((\d+),(\d+)\)")
_HIDDEN: Final = "('information_schema', 'performance_schema', 'mysql', 'sys')"


def find_tables(
    connection: Any,  # noqa: ANN401 - an ADBC connection
    database: str,
    dialect: Dialect,
    numeric: pa.DataType | None,
) -> list[SourceTable]:
    """Return every table and view that may be read; if ``database`` is named, of it alone.

    ``numeric`` is what a decimal of more digits than Arrow's is given as; ``None`` for text.
    """
    # a backslash is itself: NO_BACKSLASH_ESCAPES
    own = f"= {quoted_text(database)}" if database else f"NOT IN {_HIDDEN}"
    columns: dict[tuple[str, str], list[SourceColumn]] = {}
    for schema, table, name, kind, declared, characters in rows_of(connection, _columns(own)):
        column = _column(name, kind.lower(), declared.lower(), dialect, numeric)
        if characters is not None and characters not in _UNICODE:
            column = replace(column, compared=NARROW)
        columns.setdefault((schema, table), []).append(column)
    keys: dict[tuple[str, str], list[str]] = {}
    for schema, table, name in rows_of(connection, _keys(own)):
        keys.setdefault((schema, table), []).append(name)
    sizes = {(row[0], row[1]): row[2] for row in rows_of(connection, _sizes(own))}
    return [
        SourceTable(
            *name, tuple(found), _integers(keys.get(name, ()), found), sizes.get(name),
            tuple(keys.get(name, ())),
        )
        for name, found in columns.items()
    ]  # fmt: skip


def _columns(own: str) -> str:
    return (
        "SELECT table_schema, table_name, column_name, data_type, column_type, "
        "character_set_name "
        f"FROM information_schema.columns WHERE table_schema {own} "
        "ORDER BY table_schema, table_name, ordinal_position"
    )


def _keys(own: str) -> str:
    return (
        "SELECT table_schema, table_name, column_name FROM information_schema.statistics "
        f"WHERE table_schema {own} AND index_name = 'PRIMARY' "
        "ORDER BY table_schema, table_name, seq_in_index"
    )


def _sizes(own: str) -> str:
    return (
        "SELECT table_schema, table_name, table_rows FROM information_schema.tables "
        f"WHERE table_schema {own}"
    )


def _integers(key: Sequence[str], columns: Sequence[SourceColumn]) -> tuple[str, ...]:
    """Return a key, if all of its columns are integers."""
    types = {each.name: each.type for each in columns if each.compares}
    whole = all(name in types and pa.types.is_integer(types[name]) for name in key)
    return tuple(key) if whole else ()


def _column(
    name: str, kind: str, declared: str, dialect: Dialect, numeric: pa.DataType | None
) -> SourceColumn:
    quoted = dialect.quoted(name)
    text = f"CAST({quoted} AS CHAR)"
    if kind in _MOMENTS:
        return SourceColumn(name, _MOMENTS[kind], declared, text)
    if kind in _AS_TEXT:
        return SourceColumn(name, pa.string(), declared, text, compares=False)
    if kind == "float":  # the ODBC driver lays an array of floats out as if they were doubles
        return SourceColumn(name, pa.float32(), declared, f"CAST({quoted} AS DOUBLE)")
    if kind == "year":  # compared with 70 it is as with 1970
        return SourceColumn(name, pa.int16(), declared, compares=False)
    if kind == "bit":
        return SourceColumn(name, pa.uint64(), declared, f"CAST({quoted} AS UNSIGNED)")
    if kind in _INTEGERS:
        return SourceColumn(name, _INTEGERS[kind]["unsigned" in declared], declared)
    decimal = _DECIMAL.match(declared)
    if decimal is not None and int(decimal[1]) <= _DIGITS_MAX:
        return SourceColumn(name, pa.decimal128(int(decimal[1]), int(decimal[2])), declared)
    if kind == "decimal" and numeric is not None:
        return SourceColumn(name, numeric, declared, text)
    if kind in _SHAPES:
        return SourceColumn(name, pa.string(), declared, f"ST_AsText({quoted})", compares=False)
    if kind not in _TYPES:  # a decimal of more digits, or what a newer server has
        return SourceColumn(name, pa.string(), declared, text, compares=False)
    return SourceColumn(name, _TYPES[kind], declared, orders=_orders(declared))


def _orders(declared: str) -> bool:
    """Return whether rows are ordered by all of a text."""
    length = _LENGTH.match(declared)
    return length is not None and int(length[1]) * 4 < SORTED_BYTES


def found_column(field: pa.Field, dialect: Dialect) -> SourceColumn:
    """Return a column of a query, of which the ODBC driver tells the type."""
    name, kind, shown = field.name, field.type, dialect.quoted(field.name)
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_binary(kind):
        return SourceColumn(name, kind, str(kind), compares=False)
    if pa.types.is_floating(kind):
        return SourceColumn(
            name, pa.float64(), str(kind), f"CAST({shown} AS DOUBLE)", compares=False
        )
    text = f"CAST({shown} AS CHAR)"
    if pa.types.is_date(kind):
        return SourceColumn(name, pa.date32(), str(kind), text, compares=False)
    if pa.types.is_timestamp(kind):
        return SourceColumn(name, pa.timestamp("us"), str(kind), text, compares=False)
    return SourceColumn(name, pa.string(), str(kind), text, compares=False)
