"""Reading PostgreSQL: a snapshot of what a tenant may see."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.postgres.failures import translated
from affidavit.catalog.store.postgres.faults import faults
from affidavit.catalog.store.postgres.rendering import column_kinds, listed, ordered, where_of
from affidavit.catalog.store.protocol import BATCH_ROWS, ROWID, TENANT
from affidavit.catalog.values.types import STORAGE_TYPES, Kind
from affidavit.errors import ClosedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg import Connection, Cursor

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import StoreTable
    from affidavit.catalog.values.types import StoreValue

    Row = tuple[StoreValue, ...]


class PostgresReader:
    """A snapshot: one connection inside one read transaction."""

    def __init__(self, connection: Connection[Any], tenant: str, timeout_s: float) -> None:
        self._connection = connection
        self._sees = (tenant,) if tenant == SHARED else (tenant, SHARED)
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._open = True
        self._cursors = 0

    def close(self) -> None:
        """Refuse every further read: the connection goes back to its pool."""
        with self._lock:
            self._open = False

    def _opened(self) -> Connection[Any]:
        if not self._open:
            msg = "the snapshot that this result reads was closed: run the statement again"
            raise ClosedError(msg)
        return self._connection

    def _reach(self, table: str) -> None:
        """Write what a statement about ``table`` has to find there: nothing, but in a writer."""

    def pending(self, key: str) -> object | None:  # noqa: ARG002 - as writers take it
        return None

    def _execute(self, text: str, values: Sequence[object] = ()) -> Cursor[Any]:
        with self._lock, translated("reading the store", self._timeout_s):
            return self._opened().execute(text, values or None, binary=True)

    def _query(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None,
        order_by: Sequence[str],
        *,
        limit: int | None = None,
        descending: bool = False,
    ) -> tuple[str, list[object]]:
        self._reach(table.name)
        bound: list[object] = []
        clause = where_of(self._sees, where, column_kinds(table), bound)
        text = f"SELECT {listed(columns)} FROM {quoted(table.name)}{clause}"
        text += ordered(order_by, descending=descending)
        return text if limit is None else f"{text} LIMIT {limit:d}", bound

    def select(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None = None,
        *,
        order_by: Sequence[str] = (),
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Row]:
        with self._lock, translated("reading the store", self._timeout_s):
            text, bound = self._query(
                table, columns, where, order_by, limit=limit, descending=descending
            )
            return _decoded(self._execute(text, bound).fetchall(), _texts(table, columns))

    def scan(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None = None,
        *,
        order_by: Sequence[str] = (ROWID,),
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        kinds = column_kinds(table)
        types = [STORAGE_TYPES[kinds[name]] for name in columns]
        schema = pa.schema(list(zip(columns, types, strict=True)))
        for rows in self.rows(table, columns, where, order_by=order_by, batch_rows=batch_rows):
            if not columns:
                yield pa.RecordBatch.from_arrays([pa.nulls(len(rows))], names=["_"]).select([])
                continue
            parts = zip(zip(*rows, strict=True), types, strict=False)
            arrays = [pa.array(list(values), column_type) for values, column_type in parts]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def rows(
        self,
        table: StoreTable,
        columns: Sequence[str],
        where: Predicate | None = None,
        *,
        order_by: Sequence[str] = (ROWID,),
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[list[Row]]:
        text, bound = self._query(table, columns, where, order_by)
        texts = _texts(table, columns)
        with self._lock:
            self._cursors += 1
            name = f"rows_{self._cursors}"
        self._execute(f"DECLARE {name} NO SCROLL CURSOR FOR {text}", bound)
        is_more = True
        try:
            while is_more and (rows := self._fetch(name, batch_rows)):
                is_more = len(rows) == batch_rows
                yield _decoded(rows, texts)
        finally:
            with suppress(ClosedError, StoreError):  # the snapshot was closed before the result
                self._execute(f"CLOSE {name}")

    def _fetch(self, name: str, rows: int) -> list[Row]:
        with self._lock, translated("reading the store", self._timeout_s):
            return self._execute(f"FETCH {rows:d} FROM {name}").fetchall()

    def count(self, table: StoreTable, where: Predicate | None = None) -> int:
        self._reach(table.name)
        bound: list[object] = []
        clause = where_of(self._sees, where, column_kinds(table), bound)
        with self._lock, translated("reading the store", self._timeout_s):
            found = self._execute(f"SELECT count(*) FROM {quoted(table.name)}{clause}", bound)
            return int(found.fetchone()[0])

    def faults(self, tables: Iterable[StoreTable], *, reads: bool = True) -> list[str]:
        tables = list(tables)
        for table in tables:
            self._reach(table.name)
        with self._lock, translated("checking the store", self._timeout_s):
            return list(faults(self._execute, tables, reads=reads))

    def tenants(self, table: StoreTable) -> list[str]:
        """Return every tenant that has rows in ``table``, whoever reads."""
        with self._lock, translated("reading the store", self._timeout_s):
            text = f"SELECT DISTINCT {TENANT} FROM {quoted(table.name)} ORDER BY 1"
            return [bytes(row[0]).decode() for row in self._execute(text).fetchall()]


def _texts(table: StoreTable, columns: Sequence[str]) -> list[int]:
    """Return which of ``columns`` are text."""
    kinds = column_kinds(table)
    return [at for at, name in enumerate(columns) if kinds[name] is Kind.TEXT]


def _decoded(rows: list[Row], texts: Sequence[int]) -> list[Row]:
    """Return rows whose texts came as bytes."""
    if not texts:
        return rows
    found = []
    for row in rows:
        values: list[Any] = list(row)
        for at in texts:
            if values[at] is not None:
                values[at] = values[at].decode()
        found.append(tuple(values))
    return found
