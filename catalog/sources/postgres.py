"""PostgreSQL, through adbc-driver-postgresql."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.sources.database import SourceColumn, SourceTable, adbc_batches
from affidavit.catalog.sources.dialect import Dialect
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

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
_AS_TEXT: Final = frozenset(
    {"uuid", "json", "jsonb", "xml", "inet", "cidr", "macaddr", "bpchar", "name"}
)
_MODIFIER_OFFSET: Final = 4
_EPOCH_DAYS: Final = 10_957  # from 1970 to 2000
_EPOCH_US: Final = _EPOCH_DAYS * 86_400_000_000
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


# a server that is away or dumb is an error soon, unless the URL says otherwise
_PATIENCE: Final = {
    "connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10",
    "keepalives_count": "3",
}  # fmt: skip


class Postgres:
    """A PostgreSQL server."""

    # text is ordered by bytes in the collation "C", and in UTF-8 these are in code point order
    dialect = Dialect("PostgreSQL", floats=True, text_order=' COLLATE "C"')
    idle_max = 8

    def __init__(self, url: str) -> None:
        self._url = _patient(url)

    def connect(self) -> Any:  # noqa: ANN401 - an ADBC connection
        """Open a connection that only reads."""
        try:
            import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415 - an optional library
        except ImportError as error:
            msg = "reading PostgreSQL needs a driver: pip install 'affidavit[postgres]'"
            raise SourceError(msg) from error

        connection = driver.connect(self._url, autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = on")
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.execute("SET client_encoding = 'UTF8'")
            cursor.execute("SELECT current_setting('server_encoding')")
            if cursor.fetchall() != [("UTF8",)]:
                self.dialect = replace(self.dialect, text_order=None)
        return connection

    def tables(self, connection: Any) -> list[SourceTable]:  # noqa: ANN401 - as above
        """Return every table and view that may be read."""
        with connection.cursor() as cursor:
            cursor.execute(_COLUMNS)
            rows = cursor.fetchall()
        found: dict[tuple[str, str], list[SourceColumn]] = {}
        for schema, table, *column in rows:
            found.setdefault((schema, table), []).append(_column(column))
        return [SourceTable(*name, tuple(columns)) for name, columns in found.items()]

    def batches(
        self,
        connection: Any,  # noqa: ANN401 - an ADBC DB-API connection
        sql: str,
        schema: pa.Schema,
    ) -> Generator[pa.RecordBatch]:
        """Yield the rows of a query."""
        with closing(adbc_batches(connection, sql, schema)) as batches:
            for batch in batches:
                arrays = [
                    _bounded(array, field.name)
                    if pt.is_date32(field.type) or pt.is_timestamp(field.type)
                    else array
                    for array, field in zip(batch.columns, schema, strict=True)
                ]
                yield batch if not arrays else pa.RecordBatch.from_arrays(arrays, schema=schema)


def _patient(url: str) -> str:
    parts = urlsplit(url)
    options = [each for each in parts.query.split("&") if each]
    given = {each.partition("=")[0] for each in options}
    options += [f"{key}={value}" for key, value in _PATIENCE.items() if key not in given]
    return urlunsplit((*parts[:3], "&".join(options), ""))


def _bounded(array: pa.Array, name: str) -> pa.Array:
    """Return moments with PostgreSQL's infinities as their type's least and greatest count.

    The driver moves these from PostgreSQL's epoch to Arrow's as if they were numbers, and what is
    then too great comes out as less than all others.
    """
    count, shift = (
        (pa.int32(), _EPOCH_DAYS) if pt.is_date32(array.type) else (pa.int64(), _EPOCH_US)
    )
    least = -(1 << (count.bit_width - 1))
    below, above = pa.scalar(least + shift, count), pa.scalar(least + shift - 1, count)
    counts = array.view(count)
    low = pc.min(counts)
    if not low.is_valid or low.as_py() > below.as_py():
        return array
    if low.as_py() < above.as_py():
        msg = f"column {name!r} holds a moment that {array.type} does not reach"
        raise SourceError(msg)
    counts = pc.if_else(pc.equal(counts, below), pa.scalar(least, count), counts)
    counts = pc.if_else(pc.equal(counts, above), pa.scalar(-least - 1, count), counts)
    return counts.view(array.type)


def _column(row: Sequence[Any]) -> SourceColumn:
    name, kind, class_, modifier, declared = row
    quoted = Postgres.dialect.quoted(name)
    if kind in _AS_TEXT or class_ == "e":
        return SourceColumn(name, pa.string(), declared, f"{quoted}::text")
    if kind == "numeric" and modifier >= _MODIFIER_OFFSET:
        digits, scale = (modifier - _MODIFIER_OFFSET) >> 16, (modifier - 4) & _SCALE_BITS
        if digits <= _DIGITS_MAX and scale <= digits:
            return SourceColumn(name, pa.decimal128(digits, scale), declared)
    return SourceColumn(name, _TYPES.get(kind), declared)
