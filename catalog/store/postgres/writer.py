"""Writing PostgreSQL: a transaction of one tenant.

Rules:
    - A statement that fails ends a transaction of PostgreSQL's: each that may fail is in a
      savepoint of its own, in one round trip with it. What is written at the end is in none, since
      nothing is committed where one of it fails; answers to rows are awaited together.
    - What is held back, and what was put off, is in no savepoint until it is written: one that is
      undone brings back what there was when it began.
    - A table is forgotten, and dropped later: who reads the state of before reads it to the end.
      What else changes a table waits for its readers in short steps, so that others may read.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from psycopg import Cursor, Error
from psycopg.errors import LockNotAvailable

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.postgres.committing import XID
from affidavit.catalog.store.postgres.connections import copied, wait_ms
from affidavit.catalog.store.postgres.failures import translated
from affidavit.catalog.store.postgres.keys import short_name
from affidavit.catalog.store.postgres.reader import PostgresReader
from affidavit.catalog.store.postgres.rendering import (
    beyond_text,
    column_kinds,
    column_text,
    copy_text,
    increment_text,
    index_text,
    insert_text,
    last_text,
    sets_text,
    table_texts,
    update_text,
    where_of,
)
from affidavit.catalog.store.postgres.schema import DROPPED_TABLE
from affidavit.catalog.store.protocol import ROWID, TENANT, StoreTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from psycopg import Connection

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import (
        Move,
        PutOff,
        StoreColumn,
        StoreIndex,
    )
    from affidavit.catalog.values.types import StoreValue

APPENDED_MAX: Final = 512
"""How many rows of a table are held back at most, to be inserted together."""

COPIED_MIN: Final = 64
"""From so many rows on they are copied, and not inserted one by one."""

DELETED_MAX: Final = 4096
"""How many rows are deleted by their identities with one statement."""

DDL_STEP_S: Final = 0.05
"""How long a change of a table's shape keeps new readers waiting, each time that it is tried."""

_Held: TypeAlias = "tuple[StoreTable, tuple[str, ...], list[Sequence[StoreValue]]]"
"""A table, columns of it, and the rows that are held back."""


class PostgresWriter(PostgresReader):
    """A transaction on a connection of its own, which holds the lock of its tenant.

    Attributes:
        has_forgotten: Whether a table is to be dropped once nobody reads it.
        xid: The number of the transaction, once all is written; ``None`` if nothing was.
    """

    def __init__(self, connection: Connection[Any], tenant: str, timeout_s: float) -> None:
        super().__init__(connection, tenant, timeout_s)
        self._tenant = tenant
        self._savepoints = 0
        self.memo: dict[object, object] = {}
        self._committed: dict[str, Callable[[], object]] = {}
        self._held: dict[str, _Held] = {}
        self._put_off: dict[str, PutOff] = {}
        self._last: int | StoreTable | Cursor[Any] | None = None
        self._is_ending = False
        self.has_forgotten = False
        self.xid: str | None = None

    def close(self) -> None:
        super().close()
        self._put_off.clear()
        self._held.clear()

    # --- what is held back, and put off --------------------------------------------------------

    def finish(self) -> None:
        with self._lock, translated("writing the store", self._timeout_s):
            self._is_ending = True
            try:
                with self._opened().pipeline():
                    for key in list(self._put_off):
                        self._settle(key)
                    for name in [
                        at for at, each in self._held.items() if len(each[2]) < COPIED_MIN
                    ]:
                        self._write_held(name)
                    asked = self._opened().execute(XID)
            finally:
                self._is_ending = False
            for name in list(self._held):
                self._write_held(name)
                asked = self._opened().execute(XID)
            self.xid = asked.fetchone()[0]

    def pending(self, key: str) -> object | None:
        with self._lock:  # what another thread is writing is written once this looks
            found = self._put_off.get(key)
        return None if found is None else found.value

    def put_off(self, key: str, what: PutOff) -> None:
        with self._lock:
            self._put_off[key] = what

    def _reach(self, table: str) -> None:
        """Write what a statement about ``table`` has to find there."""
        if self._put_off:
            with self._lock:  # threads of a plan read too
                wrong = [key for key, each in self._put_off.items() if table in each.tables]
            for key in wrong:
                self._settle(key)
        if table in self._held:
            self._write_held(table)

    def _settle(self, key: str) -> None:
        """Write what was put off; where that fails, it fails whenever it is tried again."""
        with self._lock:
            each = self._put_off.pop(key, None)
            if each is None:  # another thread was here first
                return
            try:
                each.write()
            except BaseException as error:
                self._put_off[key] = replace(each, write=partial(_raise, error))
                raise

    def _write_held(self, name: str) -> None:
        with self._lock:
            held = self._held.get(name)
            if held is not None:
                self._insert(*held)
                del self._held[name]  # only now: what cannot be written keeps all from committing

    # --- one statement -------------------------------------------------------------------------

    def _write(self, text: str, values: Sequence[object] = ()) -> Cursor[Any]:
        with self._lock, translated("writing the store", self._timeout_s):
            with self._point() as point:
                done = point.execute(text, values or None, binary=True)
                if self._is_ending:
                    with point.pipeline():  # the end of it awaits how many rows there were
                        pass
            return done

    @contextmanager
    def _point(self) -> Iterator[Connection[Any]]:
        """Yield the connection, to which the block sends what is written or fails together."""
        connection = self._opened()
        if self._is_ending:
            yield connection
            return
        with self._undoing(), connection.pipeline():
            connection.execute("SAVEPOINT here")
            yield connection
            connection.execute("RELEASE here")

    @contextmanager
    def _undoing(self) -> Iterator[None]:
        """Undo what a statement did that failed, so that the transaction goes on."""
        try:
            yield
        except Error:
            with suppress(Error):  # the connection is gone, or nothing was begun
                self._connection.execute("ROLLBACK TO here; RELEASE here")
            raise

    def _reshape(self, text: str) -> None:
        """Change the shape of a table, which waits for its readers, and they for it, in steps."""
        until = monotonic() + self._timeout_s
        step = f"SET LOCAL lock_timeout = {int(DDL_STEP_S * 1000)}"
        with self._lock, translated("changing a table", self._timeout_s):
            while True:
                try:
                    with self._undoing():
                        self._opened().execute(f"SAVEPOINT here; {step}; {text}; RELEASE here")
                except LockNotAvailable:
                    if monotonic() >= until:
                        raise
                    continue
                self._opened().execute(f"SET LOCAL lock_timeout = {wait_ms(self._timeout_s)}")
                return

    # --- tables --------------------------------------------------------------------------------

    def moves(self) -> dict[str, Move]:
        return {}  # who covers rows knows of them

    def create_table(self, table: StoreTable) -> None:
        forgotten = f"DELETE FROM {DROPPED_TABLE} WHERE name = convert_from($1, 'UTF8')"
        if self._write(forgotten, [table.name]).rowcount:
            self._reshape(f"DROP TABLE {quoted(table.name)}")
        for text in table_texts(table):
            self._write(text)

    def drop_table(self, table: StoreTable) -> None:
        self._reach(table.name)
        self.has_forgotten = True
        self._write(
            f"INSERT INTO {DROPPED_TABLE} VALUES (convert_from($1, 'UTF8'), pg_current_xact_id())",
            [table.name],
        )

    def add_column(self, table: StoreTable, column: StoreColumn) -> None:
        self._reach(table.name)
        self._reshape(f"ALTER TABLE {quoted(table.name)} ADD COLUMN {column_text(column)}")

    def drop_column(self, table: StoreTable, column: str) -> None:
        self._reach(table.name)
        self._reshape(f"ALTER TABLE {quoted(table.name)} DROP COLUMN {quoted(column)}")

    def create_index(self, table: StoreTable, index: StoreIndex) -> None:
        self._reach(table.name)
        self._write(index_text(table, index))

    def drop_index(self, index: StoreIndex) -> None:
        self._reshape(f"DROP INDEX {quoted(short_name(index.name))}")

    # --- rows ----------------------------------------------------------------------------------

    def last_rowid(self) -> int:
        with self._lock:
            if isinstance(self._last, StoreTable):  # many rows were copied
                self._last = self._execute(last_text(self._last))
            if isinstance(self._last, Cursor):
                self._last = int(self._last.fetchone()[0])
            return cast("int", self._last or 0)

    def insert(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        self._reach(table.name)
        self._insert(table, columns, rows)

    def _insert(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        given = self._noted(table, columns, rows)
        begun = list(islice(given, COPIED_MIN))
        if not begun:
            return
        with self._lock, translated("writing the store", self._timeout_s):
            if len(begun) >= COPIED_MIN and not self._is_ending:
                self._copy(table, columns, chain(begun, given))
            else:
                self._insert_each(table, columns, [*begun, *given])

    def _noted(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> Iterator[Sequence[StoreValue]]:
        """Yield rows with their tenant in front, and note which identity the last one has."""
        at = list(columns).index(ROWID) if ROWID in columns else None
        for row in rows:
            self._last = table if at is None else row[at]
            yield (self._tenant, *row)

    def _insert_each(
        self, table: StoreTable, columns: Sequence[str], rows: Sequence[Sequence[StoreValue]]
    ) -> None:
        text = insert_text(table, columns)
        with self._point() as point:
            for row in rows:
                done = point.execute(text, row)
            if ROWID in columns:
                at = list(columns).index(ROWID) + 1
                point.execute(beyond_text(table), [max(int(row[at] or 0) for row in rows)])
            else:
                self._last = done

    def _copy(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        with self._undoing():
            self._opened().execute("SAVEPOINT here")
            at = list(columns).index(ROWID) + 1 if ROWID in columns else None
            highest = copied(self._opened(), copy_text(table, columns), rows, at)
            self._opened().execute(beyond_text(table), [highest])
            self._opened().execute("RELEASE here")

    def append(self, table: StoreTable, columns: Sequence[str], row: Sequence[StoreValue]) -> None:
        names = tuple(columns)
        with self._lock:
            held = self._held.get(table.name)
            if held is None or held[1] != names or len(held[2]) >= APPENDED_MAX or not self._open:
                self._reach(table.name)
                self._opened()
                held = self._held[table.name] = (table, names, [])
            held[2].append(row)

    def update(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        self._reach(table.name)
        text = update_text(table, columns, self._tenant)
        with self._lock, translated("writing the store", self._timeout_s), self._point() as point:
            point.cursor().executemany(text, rows)

    def delete(self, table: StoreTable, rowids: Iterable[int]) -> None:
        self._reach(table.name)
        own = f" WHERE {TENANT} = $1 AND {ROWID}"
        text = f"DELETE FROM {quoted(table.name)}{own}"
        if isinstance(rowids, range) and rowids.step == 1:
            self._write(f"{text} >= $2 AND {ROWID} < $3", [self._tenant, rowids.start, rowids.stop])
            return
        given = iter(rowids)
        while part := list(islice(given, DELETED_MAX)):
            self._write(f"{text} = ANY($2::bigint[])", [self._tenant, part])

    def _clause(self, table: StoreTable, where: Predicate | None, bound: list[object]) -> str:
        return where_of((self._tenant,), where, column_kinds(table), bound)

    def update_where(
        self, table: StoreTable, values: Mapping[str, StoreValue], where: Predicate | None
    ) -> int:
        self._reach(table.name)
        bound: list[object] = []
        text = sets_text(table, values, bound) + self._clause(table, where, bound)
        return self._write(text, bound).rowcount

    def increment(
        self, table: StoreTable, by: Mapping[str, int], where: Predicate | None
    ) -> list[tuple[int, ...]]:
        self._reach(table.name)
        bound: list[object] = []
        text = increment_text(table, by, bound) + self._clause(table, where, bound)
        return self._write(f"{text} RETURNING {', '.join(map(quoted, by))}", bound).fetchall()

    def delete_where(self, table: StoreTable, where: Predicate | None) -> int:
        self._reach(table.name)
        bound: list[object] = []
        clause = self._clause(table, where, bound)
        return self._write(f"DELETE FROM {quoted(table.name)}{clause}", bound).rowcount

    # --- savepoints, and the end ---------------------------------------------------------------

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self._savepoints += 1
        name = f"s{self._savepoints}"
        committed, put_off = dict(self._committed), dict(self._put_off)
        held = [(name, *each, len(each[2])) for name, each in self._held.items()]
        self._say(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            self.memo.clear()
            self._committed, self._put_off = committed, put_off
            self._held = {at: (table, names, rows[:n]) for at, table, names, rows, n in held}
            if self._open:
                self._say(f"ROLLBACK TO {name}; RELEASE {name}")
            raise
        self._say(f"RELEASE {name}")

    def _say(self, text: str) -> None:
        with self._lock, translated("writing the store", self._timeout_s):
            self._opened().execute(text)

    def leave_to_parent(self) -> None:
        """Refuse whatever is asked in a fork: what is written is the parent's."""
        self._open = False  # the lock may be held by a thread that is not here

    def on_commit(self, key: str, call: Callable[[], object]) -> None:
        self._committed.setdefault(key, call)

    def committed(self) -> None:
        """Make the calls that were asked for."""
        for call in self._committed.values():
            call()


def _raise(error: BaseException) -> None:
    raise error
