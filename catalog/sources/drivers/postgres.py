"""PostgreSQL, through adbc-driver-postgresql."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sources.databases.adbc import batches_of, rows_of
from affidavit.catalog.sources.databases.dialect import Dialect
from affidavit.catalog.sources.databases.driver import Driver, Insertion
from affidavit.catalog.sources.databases.values import converted
from affidavit.catalog.sources.drivers.infinity import bounded, finite
from affidavit.catalog.sources.drivers.libpq import alone
from affidavit.catalog.sources.drivers.postgres_tables import columns_of, find_tables
from affidavit.catalog.sources.url import joined, with_password
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.table import Select, SourceColumn, SourceTable

_PART_ROWS: Final = 250_000
_PARTS_MAX: Final = 4


_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_SERVER: Final = "SELECT current_setting('server_encoding'), current_setting('server_version_num')"
_NAMED_SINCE: Final = 130_000
"""The version from which on there is a function that names a snapshot."""

# a server that is away or dumb is an error soon, unless the URL says otherwise
_PATIENCE: Final = {
    "connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10",
    "keepalives_count": "3",
}  # fmt: skip


class Postgres(Driver):
    """A PostgreSQL server.

    Args:
        url: Where it is, as libpq takes it.
        password: The user's.
        is_alone: Whether nothing of the process is used: none of its variables, none of its files.
        numeric: What a numeric of any precision is given as; ``None`` for text.
    """

    # text is ordered by bytes in the collation "C", and in UTF-8 these are in code point order
    keeps_moments = True
    dialect = Dialect(
        "PostgreSQL", floats="'{}'::double precision", text_order='{} COLLATE "C"',
        listed="{} = ANY ('{{{}}}'::bigint[])",
    )  # fmt: skip

    def __init__(
        self,
        url: str,
        password: str | None,
        *,
        is_alone: bool = False,
        numeric: pa.DataType | None = None,
    ) -> None:
        self._numeric = numeric
        self._url = _patient(with_password(alone(url, password) if is_alone else url, password))
        self._names_snapshots = False

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
        ((encoding, version),) = rows_of(connection, _SERVER)
        self._names_snapshots = int(version) >= _NAMED_SINCE
        if encoding != "UTF8":
            self.dialect = replace(self.dialect, text_order="")
        return connection

    def tables(self, connection: Any) -> list[SourceTable]:  # noqa: ANN401 - as above
        """Return every table and view that may be read."""
        return find_tables(connection, self.dialect, self._numeric)

    def query_columns(self, connection: Any, sql: str) -> tuple[SourceColumn, ...]:  # noqa: ANN401 - as above
        """Return the columns that a query gives; it is prepared, and so is one alone."""
        with connection.cursor() as cursor:
            given = cursor.adbc_execute_schema(_whole(sql))
        return columns_of(connection, given, self.dialect, self._numeric)

    def batches(
        self,
        connection: Any,  # noqa: ANN401 - an ADBC DB-API connection
        select: Select,
        running: Running,
    ) -> Generator[pa.RecordBatch]:
        """Yield the rows of a query."""
        return batches_of(connection, select.text(), select, running, _converted)

    def insert(self, connection: Any, insertion: Insertion) -> None:  # noqa: ANN401 - as above
        """Insert rows by way of a temporary table: the server makes its own types of them."""
        reader, staging = insertion.reader, f"staging_{uuid4().hex}"
        names = [f"c{at}" for at in range(len(reader.schema))]
        schema = pa.schema([f.with_name(c) for f, c in zip(reader.schema, names, strict=True)])
        batches = (batch.rename_columns(names) for batch in reader)
        rows_of(connection, "BEGIN")
        with connection.cursor() as cursor, insertion.running.until_done(cursor.adbc_cancel):
            staged = pa.RecordBatchReader.from_batches(schema, batches)
            cursor.adbc_ingest(staging, staged, mode="create", temporary=True)
            values = f"SELECT {insertion.values(names)} FROM pg_temp.{staging}"
            kept = cursor.execute(insertion.statement(self.dialect, values)).rowcount
        rows_of(connection, f"DROP TABLE pg_temp.{staging}")
        insertion.ready(kept)
        rows_of(connection, "COMMIT")

    def check(self, _columns: Sequence[SourceColumn], batch: pa.RecordBatch) -> None:
        """Raise SourceError if a moment is at infinity, which the driver cannot write."""
        finite(batch)

    def ranges(
        self,
        connection: Any,  # noqa: ANN401 - as above
        select: Select,
        running: Running,
    ) -> list[str]:
        """Return ranges of the key's first column, as even as its least and greatest allow."""
        expected = _expected(connection, select.text(), running)
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

    def expected(self, connection: Any, sql: str, running: Running) -> int | None:  # noqa: ANN401 - as above
        """Return how many rows PostgreSQL expects a query to give."""
        return _expected(connection, sql, running)

    def begin_snapshot(self, connection: Any) -> bool:  # noqa: ANN401 - as above
        """Have a connection read at one moment."""
        if self._names_snapshots:
            rows_of(connection, _BEGIN)
        return self._names_snapshots

    def snapshot_name(self, connection: Any) -> str | None:  # noqa: ANN401 - as above
        """Return which transactions a connection sees, as PostgreSQL writes that."""
        if not self._names_snapshots:
            return None
        ((name,),) = rows_of(connection, "SELECT pg_current_snapshot()::text")
        return str(name)

    def export_snapshot(self, connection: Any) -> str:  # noqa: ANN401 - as above
        """Have a connection keep a moment: PostgreSQL's "snapshot synchronization"."""
        rows_of(connection, _BEGIN)
        ((name,),) = rows_of(connection, "SELECT pg_export_snapshot()")
        return str(name)

    def join_snapshot(self, connection: Any, name: str) -> None:  # noqa: ANN401 - as above
        """Have a connection read at a moment that another one keeps."""
        rows_of(connection, _BEGIN)
        rows_of(connection, f"SET TRANSACTION SNAPSHOT '{name}'")

    def end_snapshot(self, connection: Any) -> None:  # noqa: ANN401 - as above
        """Have a connection read what there is now, again."""
        rows_of(connection, "COMMIT")


def _whole(sql: str) -> str:
    return f"SELECT * FROM (\n{sql}\n) AS query"


def _converted(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return what the driver gave as a type, with infinities where PostgreSQL has them."""
    made = converted(array, kind)
    return bounded(made) if pt.is_date32(kind) or pt.is_timestamp(kind) else made


def _expected(connection: Any, sql: str, running: Running) -> int:  # noqa: ANN401 - an ADBC connection
    """Return how many rows PostgreSQL expects a query to give."""
    with connection.cursor() as cursor, running.until_done(cursor.adbc_cancel):
        cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})  # no query
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
        ((plan,),) = cursor.fetchall()
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"])


def _patient(url: str) -> str:
    parts = urlsplit(url)
    options = [each for each in parts.query.split("&") if each]
    given = {each.partition("=")[0] for each in options}
    options += [f"{key}={value}" for key, value in _PATIENCE.items() if key not in given]
    return joined(parts.scheme, parts.netloc, parts.path, "&".join(options))
