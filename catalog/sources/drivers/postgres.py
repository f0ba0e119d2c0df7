"""PostgreSQL, through adbc-driver-postgresql."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.sources.databases.adbc import batches_of, rows_of
from affidavit.catalog.sources.databases.dialect import Dialect
from affidavit.catalog.sources.databases.driver import Driver, Insertion
from affidavit.catalog.sources.databases.table import SourceColumn, SourceTable
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.table import Select

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
_PART_ROWS: Final = 250_000
_PARTS_MAX: Final = 4


# a server that is away or dumb is an error soon, unless the URL says otherwise
_PATIENCE: Final = {
    "connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10",
    "keepalives_count": "3",
}  # fmt: skip


class Postgres(Driver):
    """A PostgreSQL server."""

    # text is ordered by bytes in the collation "C", and in UTF-8 these are in code point order
    dialect = Dialect(
        "PostgreSQL", floats="'{}'::double precision", text_order='{} COLLATE "C"'
    )  # fmt: skip

    def __init__(self, url: str) -> None:
        self._url = _patient(url)

    def connect(self, *, writing: bool = False) -> Any:  # noqa: ANN401 - an ADBC connection
        """Open a connection."""
        try:
            import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415 - an optional library
        except ImportError as error:
            msg = "PostgreSQL needs a driver: pip install 'affidavit[postgres]'"
            raise SourceError(msg) from error

        connection = driver.connect(self._url, autocommit=True)
        rows_of(connection, f"SET default_transaction_read_only = {'off' if writing else 'on'}")
        rows_of(connection, "SET TIME ZONE 'UTC'")
        rows_of(connection, "SET client_encoding = 'UTF8'")
        if rows_of(connection, "SELECT current_setting('server_encoding')") != [("UTF8",)]:
            self.dialect = replace(self.dialect, text_order="")
        return connection

    def tables(self, connection: Any) -> list[SourceTable]:  # noqa: ANN401 - as above
        """Return every table and view that may be read."""
        found: dict[tuple[str, str], list[SourceColumn]] = {}
        for schema, table, *column in rows_of(connection, _COLUMNS):
            found.setdefault((schema, table), []).append(_column(column))
        sizes = {(row[0], row[1]): row[2:] for row in rows_of(connection, _SIZES)}
        tables = []
        for name, columns in found.items():
            rows, key = sizes.get(name, (None, None))
            known = rows if rows is not None and rows >= 0 else None
            tables.append(SourceTable(*name, tuple(columns), tuple(key or ()), known))
        return tables

    def batches(
        self,
        connection: Any,  # noqa: ANN401 - an ADBC DB-API connection
        select: Select,
        running: Running,
    ) -> Generator[pa.RecordBatch]:
        """Yield the rows of a query."""
        schema = select.schema
        with closing(batches_of(connection, select.text(), schema, running)) as batches:
            for batch in batches:
                arrays = [
                    _bounded(array, field.name)
                    if pt.is_date32(field.type) or pt.is_timestamp(field.type)
                    else array
                    for array, field in zip(batch.columns, schema, strict=True)
                ]
                yield batch if not arrays else pa.RecordBatch.from_arrays(arrays, schema=schema)

    def insert(self, connection: Any, insertion: Insertion) -> None:  # noqa: ANN401 - as above
        """Insert rows by way of a temporary table: the server makes its own types of them."""
        reader, staging = insertion.reader, f"staging_{uuid4().hex}"
        names = [f"c{at}" for at in range(len(reader.schema))]
        schema = pa.schema([f.with_name(c) for f, c in zip(reader.schema, names, strict=True)])
        batches = (_finite(batch).rename_columns(names) for batch in reader)
        rows_of(connection, "BEGIN")
        with connection.cursor() as cursor, insertion.running.until_done(cursor.adbc_cancel):
            staged = pa.RecordBatchReader.from_batches(schema, batches)
            cursor.adbc_ingest(staging, staged, mode="create", temporary=True)
            values = f"SELECT {insertion.values(names)} FROM pg_temp.{staging}"
            kept = cursor.execute(insertion.statement(self.dialect, values)).rowcount
        rows_of(connection, f"DROP TABLE pg_temp.{staging}")
        insertion.ready(kept)
        rows_of(connection, "COMMIT")

    def ranges(
        self,
        connection: Any,  # noqa: ANN401 - as above
        select: Select,
        running: Running,
    ) -> list[str]:
        """Return ranges of the key's first column, as even as its least and greatest allow."""
        expected = _expected(connection, select, running)
        count = min(_PARTS_MAX, os.cpu_count() or 1, expected // _PART_ROWS)
        if count <= 1:
            return []
        key = self.dialect.quoted(select.table.key[0])
        whole = replace(select, conditions=())
        low, high = rows_of(connection, whole.text(f"min({key}), max({key})"), running)[0]
        if low is None or high - low < count:
            return []
        bounds = [low + (high - low) * at // count for at in range(1, count)]
        return [
            f"{key} < {bounds[0]}",
            *(f"{key} >= {a} AND {key} < {b}" for a, b in pairwise(bounds)),
            f"{key} >= {bounds[-1]}",
        ]

    def share_snapshot(self, connections: Sequence[Any]) -> None:
        """Have connections read at one moment: PostgreSQL's "snapshot synchronization"."""
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        for each in connections:
            rows_of(each, begin)
        ((snapshot,),) = rows_of(connections[0], "SELECT pg_export_snapshot()")
        for each in connections[1:]:
            rows_of(each, f"SET TRANSACTION SNAPSHOT '{snapshot}'")

    def end_snapshot(self, connection: Any) -> None:  # noqa: ANN401 - as above
        """Have a connection read what there is now, again."""
        rows_of(connection, "COMMIT")


def _finite(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch, if none of its moments is what stands for PostgreSQL's infinities here.

    Raises:
        SourceError: One is; the driver cannot write it.
    """
    for field, array in zip(batch.schema, batch.columns, strict=True):
        if pt.is_date32(field.type) or pt.is_timestamp(field.type):
            ends = pc.min_max(array.view(pa.int32() if pt.is_date32(field.type) else pa.int64()))
            greatest = (1 << (array.type.bit_width - 1)) - 1
            if ends["max"].as_py() == greatest or ends["min"].as_py() == -greatest - 1:
                msg = f"column {field.name!r} has a moment at infinity, which cannot be written"
                raise SourceError(msg)
    return batch


def _expected(connection: Any, select: Select, running: Running) -> int:  # noqa: ANN401 - an ADBC connection
    """Return how many rows PostgreSQL expects a query to give."""
    with connection.cursor() as cursor, running.until_done(cursor.adbc_cancel):
        cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})  # no query
        cursor.execute(f"EXPLAIN (FORMAT JSON) {select.text()}")
        ((plan,),) = cursor.fetchall()
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"])


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
    if kind in _AS_TEXT or kind in _CHARACTERS or class_ == "e":
        shown = f"{Postgres.dialect.quoted(name)}::text"
        cast = "" if kind in _CHARACTERS else declared
        return SourceColumn(name, pa.string(), declared, shown, compares=False, cast=cast)
    if kind == "numeric" and modifier >= _MODIFIER_OFFSET:
        digits, scale = (modifier - _MODIFIER_OFFSET) >> 16, (modifier - 4) & _SCALE_BITS
        if digits <= _DIGITS_MAX and scale <= digits:
            return SourceColumn(name, pa.decimal128(digits, scale), declared)
    return SourceColumn(name, _TYPES.get(kind), declared)
