"""Reading SQLite: a snapshot of what a tenant may see."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.protocol import BATCH_ROWS, ROWID, TENANT
from affidavit.catalog.store.sqlite.failures import translated
from affidavit.catalog.store.sqlite.faults import faults
from affidavit.catalog.store.sqlite.rendering import listed, where_of
from affidavit.catalog.values.types import STORAGE_TYPES, Kind
from affidavit.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import StoreTable
    from affidavit.catalog.values.types import StoreValue


class SqliteReader:
    """A snapshot: one connection inside one read transaction."""

    def __init__(self, connection: sqlite3.Connection, tenant: str, timeout_s: float) -> None:
        self._connection = connection
        self._sees = (tenant,) if tenant == SHARED else (tenant, SHARED)
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._open = True

    def close(self) -> None:
        """Refuse every further read: the connection goes back to its pool."""
        with self._lock:
            self._open = False

    def _opened(self) -> sqlite3.Connection:
        if not self._open:
            msg = "the snapshot that this result reads was closed: run the statement again"
            raise ClosedError(msg)
        return self._connection

    def _reach(self, table: str) -> None:
        """Write what a statement about ``table`` has to find there: nothing, but in a writer."""

    def pending(self, key: str) -> object | None:  # noqa: ARG002 - as writers take it
        return None

    def _execute(self, sql: str, values: Sequence[StoreValue] = ()) -> sqlite3.Cursor:
        with self._lock, translated("reading the store", self._timeout_s):
            return self._opened().execute(sql, values)

    def select(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None = None,
        *,
        order_by: Sequence[str] = (),
        descending: bool = False,
        limit: int | None = None,
    ) -> list[tuple[StoreValue, ...]]:
        with self._lock, translated("reading the store", self._timeout_s):
            cursor = self._query(
                table, columns, where, order_by, limit=limit, descending=descending
            )
            return cursor.fetchall()

    def _query(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None,
        order_by: Sequence[str],
        *,
        limit: int | None = None,
        descending: bool = False,
    ) -> sqlite3.Cursor:
        self._reach(table.name)
        clause, values = where_of(self._sees, where)
        sql = f"SELECT {listed(tuple(columns))} FROM {quoted(table.name)}{clause}"
        if order_by:
            way = " DESC" if descending else ""
            sql += " ORDER BY " + ", ".join(quoted(name) + way for name in order_by)
        if limit is not None:
            sql += f" LIMIT {limit:d}"
        return self._execute(sql, values)

    def scan(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None = None,
        *,
        order_by: Sequence[str] = (ROWID,),
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        kinds = {column.name: column.kind for column in table.columns}
        types = [STORAGE_TYPES[kinds.get(name, Kind.INTEGER)] for name in columns]
        schema = pa.schema(list(zip(columns, types, strict=True)))
        for rows in self.rows(table, columns, where, order_by=order_by, batch_rows=batch_rows):
            arrays = [
                pa.array(list(values), column_type)
                for values, column_type in zip(zip(*rows, strict=True), types, strict=False)
            ]
            if columns:
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            else:
                yield _rows_without_columns(len(rows))

    def rows(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None = None,
        *,
        order_by: Sequence[str] = (ROWID,),
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[list[tuple[StoreValue, ...]]]:
        cursor = self._query(table, columns, where, order_by)
        try:
            while rows := self._fetch(cursor, batch_rows):
                yield rows
        finally:
            with suppress(sqlite3.ProgrammingError):  # the store was closed before the result
                cursor.close()

    def _fetch(self, cursor: sqlite3.Cursor, rows: int) -> list[tuple[StoreValue, ...]]:
        with self._lock, translated("reading the store", self._timeout_s):
            self._opened()
            return cursor.fetchmany(rows)

    def count(self, table: StoreTable, where: Predicate | None = None) -> int:
        self._reach(table.name)
        clause, values = where_of(self._sees, where)
        cursor = self._execute(f"SELECT count(*) FROM {quoted(table.name)}{clause}", values)
        return int(cursor.fetchone()[0])

    def faults(self, tables: Iterable[StoreTable], *, reads: bool = True) -> list[str]:
        tables = list(tables)
        for table in tables:
            self._reach(table.name)
        with self._lock, translated("checking the store", self._timeout_s):
            return list(faults(self._execute, tables, reads=reads))

    def tenants(self, table: StoreTable) -> list[str]:
        """Return every tenant that has rows in ``table``, whoever reads."""
        with self._lock, translated("reading the store", self._timeout_s):
            found = self._execute(f"SELECT DISTINCT {TENANT} FROM {quoted(table.name)} ORDER BY 1")
            return [str(row[0]) for row in found]


def _rows_without_columns(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(rows)], names=["_"]).select([])
