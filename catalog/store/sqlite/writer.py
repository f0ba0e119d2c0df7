"""Writing SQLite: a transaction of one tenant."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, TypeAlias

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.sqlite.failures import translated
from affidavit.catalog.store.sqlite.reader import SqliteReader
from affidavit.catalog.store.sqlite.rendering import (
    delete_range_text,
    delete_text,
    increment_text,
    index_text,
    insert_text,
    sets_text,
    table_texts,
    update_text,
    where_of,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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

_Held: TypeAlias = "tuple[str, list[Sequence[StoreValue]]]"
"""The statement that inserts a table's rows, and those that are held back."""


class SqliteWriter(SqliteReader):
    """A transaction on the store's one write connection.

    What is held back, and what was put off, is in no savepoint until it is written: one that is
    undone brings back what there was when it began.
    """

    def __init__(self, connection: sqlite3.Connection, tenant: str, timeout_s: float) -> None:
        super().__init__(connection, tenant, timeout_s)
        self._tenant = tenant
        self._savepoints = 0
        self.memo: dict[object, object] = {}
        self._committed: dict[str, Callable[[], object]] = {}
        self._held: dict[str, _Held] = {}
        self._put_off: dict[str, PutOff] = {}
        self._last_rowid = 0

    def close(self) -> None:
        super().close()
        self._put_off.clear()
        self._held.clear()

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

    def _write_held(self, table: str) -> None:
        with self._lock:
            text, rows = self._held.get(table, ("", ()))
            if rows:
                with translated("writing the store", self._timeout_s):
                    self._opened().executemany(text, rows)
                del self._held[table]  # only now: what cannot be written keeps all from committing

    def _write(self, sql: str, values: Sequence[StoreValue] = ()) -> sqlite3.Cursor:
        with self._lock, translated("writing the store", self._timeout_s):
            return self._opened().execute(sql, values)

    def _write_many(self, sql: str, rows: Iterable[Sequence[StoreValue]]) -> None:
        with self._lock, translated("writing the store", self._timeout_s):
            self._opened().executemany(sql, rows)

    def moves(self) -> dict[str, Move]:
        return {}  # who covers rows knows of them

    def last_rowid(self) -> int:
        return self._last_rowid

    def create_table(self, table: StoreTable) -> None:
        for text in table_texts(table):
            self._write(text)

    def drop_table(self, table: StoreTable) -> None:
        self._reach(table.name)
        self._write(f"DROP TABLE {quoted(table.name)}")

    def add_column(self, table: StoreTable, column: StoreColumn) -> None:
        self._reach(table.name)
        self._write(f"ALTER TABLE {quoted(table.name)} ADD COLUMN {quoted(column.name)}")

    def drop_column(self, table: StoreTable, column: str) -> None:
        self._reach(table.name)
        self._write(f"ALTER TABLE {quoted(table.name)} DROP COLUMN {quoted(column)}")

    def create_index(self, table: StoreTable, index: StoreIndex) -> None:
        self._reach(table.name)
        self._write(index_text(table, index))

    def drop_index(self, index: StoreIndex) -> None:
        self._write(f"DROP INDEX {quoted(index.name)}")

    def insert(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        self._reach(table.name)
        text, given = insert_text(table, columns, self._tenant), iter(rows)
        begun = list(islice(given, 2))
        with self._lock, translated("writing the store", self._timeout_s):
            connection = self._opened()
            if len(begun) == 1:
                self._last_rowid = int(connection.execute(text, begun[0]).lastrowid or 0)
            elif begun:
                connection.executemany(text, chain(begun, given))
                found = connection.execute("SELECT last_insert_rowid()").fetchone()
                self._last_rowid = int(found[0])

    def append(self, table: StoreTable, columns: Sequence[str], row: Sequence[StoreValue]) -> None:
        text = insert_text(table, columns, self._tenant)
        with self._lock:
            held = self._held.get(table.name)
            if held is None or held[0] != text or len(held[1]) >= APPENDED_MAX or not self._open:
                self._reach(table.name)
                self._opened()
                held = self._held[table.name] = (text, [])
            held[1].append(row)

    def update(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        self._reach(table.name)
        self._write_many(update_text(table, columns, self._tenant), rows)

    def delete(self, table: StoreTable, rowids: Iterable[int]) -> None:
        self._reach(table.name)
        if isinstance(rowids, range) and rowids.step == 1:
            text = delete_range_text(table, self._tenant)
            self._write(text, [rowids.start, rowids.stop])
            return
        self._write_many(delete_text(table, self._tenant), ((rowid,) for rowid in rowids))

    def update_where(
        self, table: StoreTable, values: Mapping[str, StoreValue], where: Predicate | None
    ) -> int:
        self._reach(table.name)
        clause, bound = where_of((self._tenant,), where)
        sql = sets_text(table.name, tuple(values)) + clause
        return self._write(sql, [*values.values(), *bound]).rowcount

    def increment(
        self, table: StoreTable, by: Mapping[str, int], where: Predicate | None
    ) -> list[tuple[int, ...]]:
        self._reach(table.name)
        clause, bound = where_of((self._tenant,), where)
        text = increment_text(table.name, tuple(by)) % clause
        with self._lock, translated("writing the store", self._timeout_s):
            return self._opened().execute(text, [*by.values(), *bound]).fetchall()

    def delete_where(self, table: StoreTable, where: Predicate | None) -> int:
        self._reach(table.name)
        clause, bound = where_of((self._tenant,), where)
        return self._write(f"DELETE FROM {quoted(table.name)}{clause}", bound).rowcount

    def leave_to_parent(self) -> None:
        """Refuse whatever is asked in a fork: what is written is the parent's."""
        self._open = False  # the lock may be held by a thread that is not here

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self._savepoints += 1
        name = f"s{self._savepoints}"
        committed, put_off = dict(self._committed), dict(self._put_off)
        held = [(table, *each, len(each[1])) for table, each in self._held.items()]
        self._write(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            self.memo.clear()
            self._committed, self._put_off = committed, put_off
            self._held = {table: (text, rows[:count]) for table, text, rows, count in held}
            if self._open:
                self._write(f"ROLLBACK TO {name}")
                self._write(f"RELEASE {name}")
            raise
        self._write(f"RELEASE {name}")

    def on_commit(self, key: str, call: Callable[[], object]) -> None:
        self._committed.setdefault(key, call)

    def committed(self) -> None:
        """Make the calls that were asked for."""
        for call in self._committed.values():
            call()


def _raise(error: BaseException) -> None:
    raise error
