"""The store on SQLite: one file, WAL, any number of processes.

Everything goes through the interpreter's own ``sqlite3``. Reading through a second SQLite library
in one process (such as the one inside ``adbc-driver-sqlite``) would be faster and is not safe:
POSIX locks belong to the process, so neither library sees the other's, and a checkpoint overwrites
pages that the other is reading. See docs/adr/0002.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from filelock import FileLock, Timeout

from affidavit.catalog.sql import predicate as p
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.pushdown import bound_values
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.store.migrations import migrate
from affidavit.catalog.store.protocol import BATCH_ROWS, ROWID, TENANT
from affidavit.catalog.values.types import STORAGE_TYPES, Kind
from affidavit.errors import (
    ClosedError,
    ConstraintError,
    LakeError,
    ReadOnlyError,
    StoreBusyError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import StoreColumn, StoreIndex, StoreTable
    from affidavit.catalog.values.types import StoreValue

IDLE_READERS_MAX: Final = 16
"""How many idle read connections are kept open."""

SCRUB_STEP_S: Final = 0.2
"""How long writers wait, and for how long not, while an older state is read: at first."""

SYNCHRONOUS: Final = {"full": "FULL", "normal": "NORMAL"}

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CODE_MASK: Final = 0xFF


def check_durability(durability: object) -> None:
    """Raise LakeError unless ``durability`` is ``"full"`` or ``"normal"``."""
    if durability not in SYNCHRONOUS:
        msg = f"durability must be 'full' or 'normal', got {durability!r}"
        raise LakeError(msg)


# --- rendering: pure -----------------------------------------------------------------------------


def render(predicate: Predicate) -> str:
    """Return an encoded predicate as SQL with ``?`` for each of its bound values."""
    match predicate:
        case p.And(operands) | p.Or(operands):
            word = " AND " if isinstance(predicate, p.And) else " OR "
            return "(" + word.join(map(render, operands)) + ")"
        case p.Not(operand):
            return f"(NOT {render(operand)})"
        case p.Compare(op, column, _):
            return f"{quoted(column)} {op} ?"
        case p.CompareColumns(op, left, right):
            return f"{quoted(left)} {op} {quoted(right)}"
        case p.IsNull(column):
            return f"{quoted(column)} IS NULL"
        case p.IsTrue(column):
            return quoted(column)
        case p.Constant(value):
            return "NULL" if value is None else str(int(value))
        case p.In(column, values, has_null):
            places = ["?"] * len(values) + ["NULL"] * has_null
            return f"{quoted(column)} IN ({', '.join(places)})"


def _where(tenants: Sequence[str], where: Predicate | None) -> tuple[str, list[StoreValue]]:
    own = ", ".join(map(quoted_text, tenants))
    clause = f" WHERE {TENANT} IN ({own})"
    if where is None:
        return clause, []
    return f"{clause} AND {render(where)}", list(bound_values(where))


# --- errors --------------------------------------------------------------------------------------


@contextmanager
def _translated(what: str, timeout_s: float) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        msg = f"{what}: {error}"
        raise ConstraintError(msg) from error
    except sqlite3.ProgrammingError as error:
        msg = f"{what}: the store was closed"
        raise ClosedError(msg) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & _CODE_MASK
        if code in _BUSY:
            raise StoreBusyError("the store", timeout_s=timeout_s) from error
        if code == sqlite3.SQLITE_READONLY:
            msg = f"{what}: the lake cannot be written: {error}"
            raise ReadOnlyError(msg) from error
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}:
            msg = f"{what}: {error}"
            raise LakeError(msg) from error
        msg = f"{what}: {error}"
        raise StoreError(msg) from error


# --- readers and writers -------------------------------------------------------------------------


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

    def _execute(self, sql: str, values: Sequence[StoreValue] = ()) -> sqlite3.Cursor:
        with self._lock, _translated("reading the store", self._timeout_s):
            if not self._open:
                msg = "the snapshot that this result reads was closed: run the statement again"
                raise ClosedError(msg)
            return self._connection.execute(sql, values)

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
        with self._lock, _translated("reading the store", self._timeout_s):
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
        clause, values = _where(self._sees, where)
        names = ", ".join(map(quoted, columns)) or "1"
        sql = f"SELECT {names} FROM {quoted(table.name)}{clause}"
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
        with self._lock, _translated("reading the store", self._timeout_s):
            if not self._open:
                msg = "the snapshot that this result reads was closed: run the statement again"
                raise ClosedError(msg)
            return cursor.fetchmany(rows)

    def count(self, table: StoreTable, where: Predicate | None = None) -> int:
        clause, values = _where(self._sees, where)
        cursor = self._execute(f"SELECT count(*) FROM {quoted(table.name)}{clause}", values)
        return int(cursor.fetchone()[0])


def _rows_without_columns(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(rows)], names=["_"]).select([])


class SqliteWriter(SqliteReader):
    """A transaction on the store's one write connection."""

    def __init__(self, connection: sqlite3.Connection, tenant: str, timeout_s: float) -> None:
        super().__init__(connection, tenant, timeout_s)
        self._tenant = tenant
        self._savepoints = 0
        self.memo: dict[object, object] = {}
        self._committed: dict[str, Callable[[], None]] = {}

    def _write(self, sql: str, values: Sequence[StoreValue] = ()) -> sqlite3.Cursor:
        with self._lock, _translated("writing the store", self._timeout_s):
            return self._connection.execute(sql, values)

    def _write_many(self, sql: str, rows: Iterable[Sequence[StoreValue]]) -> None:
        with self._lock, _translated("writing the store", self._timeout_s):
            self._connection.executemany(sql, rows)

    def create_table(self, table: StoreTable) -> None:
        columns = [f"{ROWID} INTEGER PRIMARY KEY", f"{TENANT} TEXT NOT NULL"]
        # no declared type: SQLite would convert on write what looks like another type
        columns += [quoted(column.name) for column in table.columns]
        self._write(f"CREATE TABLE {quoted(table.name)} ({', '.join(columns)})")
        for index in table.indexes:
            self.create_index(table, index)

    def drop_table(self, table: StoreTable) -> None:
        self._write(f"DROP TABLE {quoted(table.name)}")

    def add_column(self, table: StoreTable, column: StoreColumn) -> None:
        self._write(f"ALTER TABLE {quoted(table.name)} ADD COLUMN {quoted(column.name)}")

    def drop_column(self, table: StoreTable, column: str) -> None:
        self._write(f"ALTER TABLE {quoted(table.name)} DROP COLUMN {quoted(column)}")

    def create_index(self, table: StoreTable, index: StoreIndex) -> None:
        unique = "UNIQUE " if index.unique else ""
        columns = ", ".join(map(quoted, index.columns))
        name, on = quoted(index.name), quoted(table.name)
        self._write(f"CREATE {unique}INDEX {name} ON {on} ({columns})")

    def drop_index(self, index: StoreIndex) -> None:
        self._write(f"DROP INDEX {quoted(index.name)}")

    def insert(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        names = ", ".join([TENANT, *map(quoted, columns)])
        places = ", ".join([quoted_text(self._tenant), *["?"] * len(columns)])
        self._write_many(f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({places})", rows)

    def update(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        sets = ", ".join(f"{quoted(name)} = ?" for name in columns)
        own = f"{TENANT} = {quoted_text(self._tenant)}"
        self._write_many(
            f"UPDATE {quoted(table.name)} SET {sets} WHERE {ROWID} = ? AND {own}", rows
        )

    def delete(self, table: StoreTable, rowids: Iterable[int]) -> None:
        own = f"{TENANT} = {quoted_text(self._tenant)}"
        sql = f"DELETE FROM {quoted(table.name)} WHERE {ROWID} = ? AND {own}"
        self._write_many(sql, ((rowid,) for rowid in rowids))

    def update_where(
        self, table: StoreTable, values: Mapping[str, StoreValue], where: Predicate | None
    ) -> int:
        sets = ", ".join(f"{quoted(name)} = ?" for name in values)
        clause, bound = _where((self._tenant,), where)
        sql = f"UPDATE {quoted(table.name)} SET {sets}{clause}"
        return self._write(sql, [*values.values(), *bound]).rowcount

    def increment(self, table: StoreTable, by: Mapping[str, int], where: Predicate | None) -> None:
        sets = ", ".join(f"{quoted(name)} = {quoted(name)} + ?" for name in by)
        clause, bound = _where((self._tenant,), where)
        self._write(f"UPDATE {quoted(table.name)} SET {sets}{clause}", [*by.values(), *bound])

    def delete_where(self, table: StoreTable, where: Predicate | None) -> int:
        clause, bound = _where((self._tenant,), where)
        return self._write(f"DELETE FROM {quoted(table.name)}{clause}", bound).rowcount

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self._savepoints += 1
        name = f"s{self._savepoints}"
        committed = dict(self._committed)
        self._write(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            self.memo.clear()
            self._committed = committed
            self._write(f"ROLLBACK TO {name}")
            self._write(f"RELEASE {name}")
            raise
        self._write(f"RELEASE {name}")

    def on_commit(self, key: str, call: Callable[[], None]) -> None:
        self._committed.setdefault(key, call)

    def committed(self) -> None:
        """Make the calls that were asked for."""
        for call in self._committed.values():
            call()


class SqliteWatch:
    """A connection that sees others' commits by SQLite's own ``data_version``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen = self._version()

    def _version(self) -> int:
        with _translated("watching the store", 0):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def changed(self) -> bool:
        before, self._seen = self._seen, self._version()
        return before != self._seen

    def close(self) -> None:
        self._connection.close()


# --- the store -----------------------------------------------------------------------------------


class SqliteStore:
    """A :class:`~affidavit.catalog.store.protocol.Store` in one SQLite file.

    Args:
        path: The database file; created with its schema unless ``read_only``.
        locks: The folder for lock files.
        durability: ``"full"`` survives power loss; ``"normal"`` survives a crash of the process
            and may lose the last commits when the power goes.
        busy_timeout_s: How long a writer waits for other writers.
        read_only: Refuse to write, and never create.
    """

    def __init__(
        self,
        path: Path,
        *,
        locks: Path,
        durability: str = "full",
        busy_timeout_s: float = 30.0,
        read_only: bool = False,
    ) -> None:
        check_durability(durability)
        self._path = path
        self._locks = locks
        self._synchronous = SYNCHRONOUS[durability]
        self._timeout_s = busy_timeout_s
        self._read_only = read_only
        self._idle: list[sqlite3.Connection] = []
        self._pool = threading.Lock()
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._closed = False
        with _translated(f"opening {str(path)!r}", busy_timeout_s):
            connection = self._connect()
            try:
                migrate(connection, str(path), read_only=read_only)
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)

    def _connect(self, mode: str | None = None) -> sqlite3.Connection:
        mode = mode or ("ro" if self._read_only else "rwc")
        connection = sqlite3.connect(
            f"{self._path.resolve().as_uri()}?mode={mode}",
            uri=True,
            timeout=self._timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute(
            "PRAGMA secure_delete = ON"
        )  # what is erased leaves no trace in the file
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -16384")
        return connection

    def _refuse_closed(self) -> None:
        if self._closed:
            msg = "the session is closed: connect again"
            raise ClosedError(msg)

    @contextmanager
    def read(self, tenant: str) -> Iterator[SqliteReader]:
        with self._pool:
            self._refuse_closed()
            connection = self._idle.pop() if self._idle else None
        with _translated("opening a snapshot", self._timeout_s):
            connection = connection or self._connect()
            connection.execute("BEGIN")
        reader = SqliteReader(connection, tenant, self._timeout_s)
        try:
            yield reader
        finally:
            reader.close()
            self._give_back(connection)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        connection.rollback()
        with self._pool:
            if not self._closed and len(self._idle) < IDLE_READERS_MAX:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def write(self, tenant: str, *, record: bool = False) -> Iterator[SqliteWriter]:
        if self._read_only and not record:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)
        if not self._writing.acquire(timeout=self._timeout_s):
            raise StoreBusyError("the store", timeout_s=self._timeout_s)
        try:
            self._refuse_closed()
            with _translated("opening a transaction", self._timeout_s):
                self._writer = self._writer or self._connect("rw" if record else None)
                self._writer.execute("BEGIN IMMEDIATE")
            yield from self._transaction(self._writer, tenant)
        finally:
            self._writing.release()

    def _transaction(self, connection: sqlite3.Connection, tenant: str) -> Iterator[SqliteWriter]:
        writer = SqliteWriter(connection, tenant, self._timeout_s)
        try:
            yield writer
            with _translated("committing", self._timeout_s):
                connection.execute("COMMIT")
            writer.committed()
        except BaseException:
            connection.rollback()
            raise
        finally:
            writer.close()

    @contextmanager
    def lock(self, name: str, *, timeout_s: float | None = None) -> Iterator[None]:
        if self._read_only:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)
        self._refuse_closed()
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        lock = FileLock(self._locks / f"{digest}.lock", timeout=timeout_s, thread_local=False)
        try:
            lock.acquire(poll_interval=0.01)
        except Timeout as error:
            raise StoreBusyError("a table's lock", timeout_s=timeout_s) from error
        except OSError as error:
            msg = f"cannot lock in {str(self._locks)!r}: {error}"
            raise LakeError(msg) from error
        try:
            yield
        finally:
            lock.release()

    def hurry(self, timeout_s: float) -> None:
        self._timeout_s = min(timeout_s, self._timeout_s)
        with self._pool:
            if self._writer is not None:
                self._wait(self._writer, self._timeout_s)

    def scrub(self) -> bool:
        deadline, step_s = monotonic() + self._timeout_s, SCRUB_STEP_S
        while not (done := self._truncate_log(step_s)) and monotonic() < deadline:
            sleep(SCRUB_STEP_S)
            step_s = min(2 * step_s, max(deadline - monotonic(), SCRUB_STEP_S))
        return done

    def _truncate_log(self, timeout_s: float) -> bool:
        """Try to move the log into the file and to empty it; every writer waits for it."""
        if not self._writing.acquire(timeout=self._timeout_s):
            return False
        try:
            with _translated("scrubbing the store", self._timeout_s):
                if self._writer is None:
                    self._writer = self._connect()
                self._wait(self._writer, min(timeout_s, self._timeout_s))
                try:
                    found = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    self._wait(self._writer, self._timeout_s)
                return found[0] == 0
        finally:
            self._writing.release()

    def _wait(self, connection: sqlite3.Connection, timeout_s: float) -> None:
        connection.execute(f"PRAGMA busy_timeout = {int(timeout_s * 1000)}")

    def tenants(self, table: StoreTable) -> list[str]:
        sql = f"SELECT DISTINCT {TENANT} FROM {quoted(table.name)} ORDER BY 1"
        with self.read("") as reader, _translated("reading the store", self._timeout_s):
            return [str(row[0]) for row in reader._execute(sql)]  # noqa: SLF001 - its own reader

    def watch(self) -> SqliteWatch:
        self._refuse_closed()
        with _translated("watching the store", self._timeout_s):
            return SqliteWatch(self._connect("ro"))

    def close(self) -> None:
        with self._pool:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if not self._writing.acquire(timeout=self._timeout_s):
            raise StoreBusyError("the store", timeout_s=self._timeout_s)
        try:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        finally:
            self._writing.release()
