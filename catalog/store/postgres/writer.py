"""Writing PostgreSQL: a transaction of one tenant.

Rules:
    - A statement that fails ends a transaction of PostgreSQL's: each that may fail is in a
      savepoint of its own, in one round trip with it.
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
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from psycopg import Error
from psycopg.errors import LockNotAvailable

from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.store.postgres.failures import translated
from affidavit.catalog.store.postgres.keys import short_name
from affidavit.catalog.store.postgres.reader import PostgresReader
from affidavit.catalog.store.postgres.rendering import (
    beyond_text,
    column_kinds,
    column_text,
    copy_text,
    ids_of,
    increment_text,
    index_text,
    insert_text,
    sets_text,
    table_texts,
    update_text,
    where_of,
)
from affidavit.catalog.store.postgres.schema import DROPPED_TABLE
from affidavit.catalog.store.protocol import ROWID, TENANT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from psycopg import Connection, Cursor

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import (
        Move,
        PutOff,
        StoreColumn,
        StoreIndex,
        StoreTable,
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
    """

    def __init__(self, connection: Connection[Any], tenant: str, timeout_s: float) -> None:
        super().__init__(connection, tenant, timeout_s)
        self._tenant = tenant
        self._savepoints = 0
        self.memo: dict[object, object] = {}
        self._committed: dict[str, Callable[[], object]] = {}
        self._held: dict[str, _Held] = {}
        self._put_off: dict[str, PutOff] = {}
        self._last: int | StoreTable | None = None
        self.has_forgotten = False

    def close(self) -> None:
        super().close()
        self._put_off.clear()
        self._held.clear()

    # --- what is held back, and put off --------------------------------------------------------

    def finish(self) -> None:
        for key in list(self._put_off):
            self._settle(key)
        for table in list(self._held):
            self._write_held(table)

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
        with self._lock, translated("writing the store", self._timeout_s), self._point():
            with self._opened().pipeline():
                self._opened().execute("SAVEPOINT here")
                done = self._opened().execute(text, values or None, binary=True)
                self._opened().execute("RELEASE here")
            return done

    @contextmanager
    def _point(self) -> Iterator[None]:
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
                    with self._point():
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
        if isinstance(self._last, int):
            return self._last
        if self._last is None:
            return 0
        name = quoted_text(quoted(ids_of(self._last)))
        return int(self._execute(f"SELECT currval({name})").fetchone()[0])

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
        with self._lock, translated("writing the store", self._timeout_s), self._point():
            if len(begun) < COPIED_MIN:
                self._insert_each(table, columns, begun)
            else:
                self._copy(table, columns, chain(begun, given))

    def _noted(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> Iterator[Sequence[StoreValue]]:
        """Yield rows with their tenant in front, and note which identity the last one has."""
        at = list(columns).index(ROWID) if ROWID in columns else None
        for row in rows:
            self._last = table if at is None else row[at]  # type: ignore[assignment]  # a number
            yield (self._tenant, *row)

    def _insert_each(
        self, table: StoreTable, columns: Sequence[str], rows: Sequence[Sequence[StoreValue]]
    ) -> None:
        text, connection = insert_text(table, columns), self._opened()
        with connection.pipeline():
            connection.execute("SAVEPOINT here")
            for row in rows:
                connection.execute(text, row)
            self._go_beyond(table, columns, rows)
            connection.execute("RELEASE here")

    def _go_beyond(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        """Have the next identities be beyond those that were given."""
        if ROWID in columns:
            at = list(columns).index(ROWID) + 1
            highest = max((int(row[at] or 0) for row in rows), default=0)
            if highest > 0:
                self._opened().execute(beyond_text(table), [highest])

    def _copy(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        connection = self._opened()
        connection.execute("SAVEPOINT here")
        at = list(columns).index(ROWID) + 1 if ROWID in columns else None
        highest = 0
        with connection.cursor().copy(copy_text(table, columns)) as copied:
            for row in rows:
                if at is not None:
                    highest = max(highest, int(row[at] or 0))
                copied.write_row(row)
        if highest > 0:
            connection.execute(beyond_text(table), [highest])
        connection.execute("RELEASE here")

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
        with self._lock, translated("writing the store", self._timeout_s), self._point():
            connection = self._opened()
            with connection.pipeline():
                connection.execute("SAVEPOINT here")
                connection.cursor().executemany(text, rows)
                connection.execute("RELEASE here")

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


def wait_ms(timeout_s: float) -> int:
    """Return a time to wait as PostgreSQL has it, for which 0 is for ever."""
    return min(max(int(timeout_s * 1000), 1), 2**31 - 1)


def _raise(error: BaseException) -> None:
    raise error
