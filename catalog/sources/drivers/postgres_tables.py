"""Which tables a PostgreSQL server has, and what Arrow makes of their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.sources.databases.adbc import rows_of
from affidavit.catalog.sources.databases.table import SourceColumn, SourceTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.sources.databases.dialect import Dialect

_TYPES: Final = {
    "bool": pa.bool_(), "int2": pa.int16(), "int4": pa.int32(), "int8": pa.int64(),
    "float4": pa.float32(), "float8": pa.float64(), "text": pa.string(), "varchar": pa.string(),
    "bytea": pa.binary(), "date": pa.date32(),
    "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"), "_int2": pa.list_(pa.int16()), "_int4": pa.list_(pa.int32()),
    "_int8": pa.list_(pa.int64()), "_float4": pa.list_(pa.float32()),
    "_float8": pa.list_(pa.float64()), "_text": pa.list_(pa.string()),
    "_bool": pa.list_(pa.bool_()),
}  # fmt: skip
# char(n) too: PostgreSQL compares it without its trailing spaces, and so it is given without them
_AS_TEXT: Final = frozenset({"uuid", "json", "jsonb", "xml", "inet", "cidr", "macaddr"})
_CHARACTERS: Final = frozenset({"bpchar", "name"})
_MODIFIER_OFFSET: Final = 4
_DIGITS_MAX: Final = 38
_SCALE_BITS: Final = 0x7FF

_COLUMNS: Final = """
SELECT n.nspname, c.relname, a.attname, t.typname, t.typtype,
       CASE d.typtype WHEN 'd' THEN d.typtypmod ELSE a.atttypmod END,
       format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type d ON d.oid = a.atttypid
JOIN pg_catalog.pg_type t ON t.oid = CASE d.typtype WHEN 'd' THEN d.typbasetype ELSE d.oid END
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname, c.relname, a.attnum
"""
_SIZES: Final = """
SELECT n.nspname, c.relname, c.reltuples::bigint,
       (SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = c.oid AND i.indisprimary
        HAVING bool_and(a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
"""


def find_tables(
    connection: Any,  # noqa: ANN401 - an ADBC connection
    dialect: Dialect,
) -> list[SourceTable]:
    """Return every table and view that may be read."""
    found: dict[tuple[str, str], list[SourceColumn]] = {}
    for schema, table, *column in rows_of(connection, _COLUMNS):
        found.setdefault((schema, table), []).append(_column(column, dialect))
    sizes = {(row[0], row[1]): row[2:] for row in rows_of(connection, _SIZES)}
    tables = []
    for name, columns in found.items():
        rows, key = sizes.get(name, (None, None))
        known = rows if rows is not None and rows >= 0 else None
        tables.append(SourceTable(*name, tuple(columns), tuple(key or ()), known))
    return tables


def _column(row: Sequence[Any], dialect: Dialect) -> SourceColumn:
    name, kind, class_, modifier, declared = row
    if kind in _AS_TEXT or kind in _CHARACTERS or class_ == "e":
        shown = f"{dialect.quoted(name)}::text"
        cast = "" if kind in _CHARACTERS else declared
        return SourceColumn(name, pa.string(), declared, shown, compares=False, cast=cast)
    if kind == "numeric" and modifier >= _MODIFIER_OFFSET:
        digits, scale = (modifier - _MODIFIER_OFFSET) >> 16, (modifier - 4) & _SCALE_BITS
        if digits <= _DIGITS_MAX and scale <= digits:
            return SourceColumn(name, pa.decimal128(digits, scale), declared)
    return SourceColumn(name, _TYPES.get(kind), declared)
