"""Which tables a PostgreSQL server has, and what Arrow makes of their columns.

Rules:
    - Every type is given. What Arrow lacks is text, as PostgreSQL writes it; an array of it is a
      list of texts.
    - An array has the dimensions that its column was declared with, and begins at 1. One that has
      others is marked, since a list would lose that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa

from affidavit.catalog.sources.databases.adbc import rows_of
from affidavit.catalog.sources.databases.dialect import PADDED
from affidavit.catalog.sources.databases.table import SourceColumn, SourceTable
from affidavit.catalog.sql.quoting import quoted_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.sources.databases.dialect import Dialect

_TYPES: Final = {
    "bool": pa.bool_(), "int2": pa.int16(), "int4": pa.int32(), "int8": pa.int64(),
    "float4": pa.float32(), "float8": pa.float64(), "text": pa.string(), "varchar": pa.string(),
    "bytea": pa.binary(), "date": pa.date32(),
    "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"),
}  # fmt: skip
_ITEMS: Final = frozenset({"bool", "int2", "int4", "int8", "float4", "float8", "text"})
"""The types of which the driver gives arrays."""

# char(n) too: PostgreSQL compares it without its trailing spaces, and so it is given without them
_CHARACTERS: Final = frozenset({"bpchar", "name"})
_FROM_ZERO: Final = frozenset({"int2vector", "oidvector"})
_MODIFIER_OFFSET: Final = 4
_DIGITS_MAX: Final = 38
_SCALE_BITS: Final = 0x7FF
_SCALE_SIGN: Final = 0x400

_COLUMNS: Final = """
WITH RECURSIVE steps AS (
  SELECT oid AS of, typbasetype AS base, typtypmod AS modifier, typndims AS dimensions
  FROM pg_catalog.pg_type WHERE typtype = 'd'
  UNION ALL
  SELECT s.of, d.typbasetype, d.typtypmod, greatest(s.dimensions, d.typndims)
  FROM steps s JOIN pg_catalog.pg_type d ON d.oid = s.base AND d.typtype = 'd'
)
SELECT n.nspname, c.relname, a.attname, t.typname, t.typtype, e.typname,
       coalesce(s.modifier, a.atttypmod),
       greatest(s.dimensions, a.attndims, 1), format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN steps s ON s.of = a.atttypid
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_type d WHERE d.oid = s.base AND d.typtype = 'd')
JOIN pg_catalog.pg_type t ON t.oid = coalesce(s.base, a.atttypid)
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname, c.relname, a.attnum
"""
_SIZES: Final = """
SELECT n.nspname, c.relname, c.reltuples::bigint, k.names, k.whole
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (
  SELECT i.indrelid,
         array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum)) AS names,
         bool_and(a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)) AS whole
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
  WHERE i.indisprimary GROUP BY i.indrelid
) k ON k.indrelid = c.oid
WHERE c.relkind IN ('r', 'p')
"""


class Declared(NamedTuple):
    """A column, as the server's catalog has it.

    Attributes:
        name: Its name.
        kind: The name of its type, of a domain the one under it.
        category: Whether that is an enum, say; PostgreSQL's ``typtype``.
        item: Of an array, the name of its items' type.
        modifier: What the type was declared with.
        dimensions: Of an array, how many.
        shown: The type as it was declared.
    """

    name: str
    kind: str
    category: str
    item: str | None
    modifier: int
    dimensions: int
    shown: str


def find_tables(
    connection: Any,  # noqa: ANN401 - an ADBC connection
    dialect: Dialect,
    numeric: pa.DataType | None,
) -> list[SourceTable]:
    """Return every table and view that may be read.

    Args:
        connection: Where they are asked for.
        dialect: The server's SQL.
        numeric: What a numeric of any precision is given as; ``None`` for text.
    """
    found: dict[tuple[str, str], list[SourceColumn]] = {}
    for schema, table, *column in rows_of(connection, _COLUMNS):
        made = column_of(Declared(*column), dialect, numeric)
        found.setdefault((schema, table), []).append(made)
    sizes = {(row[0], row[1]): row[2:] for row in rows_of(connection, _SIZES)}
    tables = []
    for name, columns in found.items():
        rows, names, whole = sizes.get(name, (None, None, False))
        known = rows if rows is not None and rows >= 0 else None
        identity = tuple(names or ())
        key = identity if whole else ()
        tables.append(SourceTable(*name, tuple(columns), key, known, identity))
    return tables


def columns_of(
    connection: Any,  # noqa: ANN401 - an ADBC connection
    given: pa.Schema,
    dialect: Dialect,
    numeric: pa.DataType | None,
) -> tuple[SourceColumn, ...]:
    """Return the columns of a query whose schema the driver gives, with PostgreSQL's types."""
    told = [
        {key.decode(): value.decode() for key, value in (f.metadata or {}).items()} for f in given
    ]
    kinds = [each.get("POSTGRESQL:type", "") for each in told]
    known = {row[0]: row[1:] for row in rows_of(connection, _kinds(kinds))}
    found = []
    for field, each, kind in zip(given, told, kinds, strict=True):
        category, item = known.get(kind, ("", None))
        modifier = int(each.get("POSTGRESQL:typmod", -1))
        column = Declared(field.name, kind, category, item, modifier, 1, kind or "unknown")
        found.append(column_of(column, dialect, numeric))
    return tuple(found)


def _kinds(names: Sequence[str]) -> str:
    listed = ", ".join(map(quoted_text, names)) or "NULL"
    return (
        "SELECT t.typname, t.typtype, e.typname FROM pg_catalog.pg_type t "
        "LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' "
        f"WHERE t.typname IN ({listed})"
    )


def column_of(column: Declared, dialect: Dialect, numeric: pa.DataType | None) -> SourceColumn:
    """Return a column of a type."""
    name, declared = column.name, column.shown
    text = f"{dialect.quoted(name)}::text"
    if column.kind in _CHARACTERS:
        return SourceColumn(name, pa.string(), declared, text, compared=PADDED)
    if column.kind == "uuid":
        return SourceColumn(name, pa.string(), declared, text, compared=pa.uuid(), cast=declared)
    if column.category == "e":
        words = pa.dictionary(pa.int32(), pa.string())
        return SourceColumn(name, pa.string(), declared, text, compared=words, cast=declared)
    if column.kind == "numeric":
        kind = _numeric(column.modifier) or numeric
        if kind is not None:
            return SourceColumn(name, kind, declared)
    if column.item is not None and column.kind not in _FROM_ZERO:
        return _array(column, column.item, dialect)
    if column.kind in _TYPES:
        return SourceColumn(name, _TYPES[column.kind], declared)
    return SourceColumn(name, pa.string(), declared, text, compares=False, cast=declared)


def _numeric(modifier: int) -> pa.DataType | None:
    """Return the decimal of a numeric that has a precision, if there is one of so many digits."""
    if modifier < _MODIFIER_OFFSET:
        return None
    bits = (modifier - _MODIFIER_OFFSET) & _SCALE_BITS
    digits, scale = (modifier - _MODIFIER_OFFSET) >> 16, (bits ^ _SCALE_SIGN) - _SCALE_SIGN
    digits = max(digits - min(scale, 0), scale)  # either may be more than the other
    return pa.decimal128(digits, max(scale, 0)) if digits <= _DIGITS_MAX else None


def _array(column: Declared, item: str, dialect: Dialect) -> SourceColumn:
    quoted, dimensions = dialect.quoted(column.name), column.dimensions
    is_plain = item in _ITEMS
    kind = _TYPES[item] if is_plain else pa.string()
    for _ in range(dimensions):
        kind = pa.list_(kind)
    mark = f"array_ndims({quoted}) <> {dimensions}"
    for at in range(1, dimensions + 1):
        mark += f" OR array_lower({quoted}, {at}) <> 1"
    given = quoted if is_plain else f"{quoted}::text[]"
    given = given if dimensions == 1 else f"to_json({given})::text"
    shown = f"CASE WHEN ({mark}) IS NOT TRUE THEN {given} END"
    cast = "" if is_plain else column.shown
    return SourceColumn(
        column.name, kind, column.shown, shown, compares=False, cast=cast, mark=mark
    )
