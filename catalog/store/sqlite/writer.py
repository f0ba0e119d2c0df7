"""Writing SQLite: a transaction of one tenant."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.sqlite.failures import translated
from affidavit.catalog.store.sqlite.reader import SqliteReader
from affidavit.catalog.store.sqlite.rendering import (
    delete_range_text,
    delete_text,
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
    from affidavit.catalog.store.protocol import Move, StoreColumn, StoreIndex, StoreTable
    from affidavit.catalog.values.types import StoreValue


APPENDED_MAX: Final = 512
"""How many rows are held back at most, to be inserted together."""


class SqliteWriter(SqliteReader):
    """A transaction on the store's one write connection."""

    def __init__(self, connection: sqlite3.Connection, tenant: str, timeout_s: float) -> None:
        super().__init__(connection, tenant, timeout_s)
        self._tenant = tenant
        self._savepoints = 0
        self.memo: dict[object, object] = {}
        self._committed: dict[str, Callable[[], object]] = {}
        self._appended: list[Sequence[StoreValue]] = []
        self._append_text = ""

    def _opened(self) -> sqlite3.Connection:
        """Return the connection, once what was held back is in it: every statement asks for it."""
        connection = super()._opened()
        if self._appended:
            connection.executemany(self._append_text, self._appended)
            self._appended = []  # only now: where some could not be written nothing is committed
        return connection

    def finish(self) -> None:
        """Write what was held back: it is about to be committed."""
        if self._appended:
            with self._lock, translated("writing the store", self._timeout_s):
                self._opened()

    def _write(self, sql: str, values: Sequence[StoreValue] = ()) -> sqlite3.Cursor:
        with self._lock, translated("writing the store", self._timeout_s):
            return self._opened().execute(sql, values)

    def _write_many(self, sql: str, rows: Iterable[Sequence[StoreValue]]) -> None:
        with self._lock, translated("writing the store", self._timeout_s):
            self._opened().executemany(sql, rows)

    def moves(self) -> dict[str, Move]:
        return {}  # who covers rows knows of them

    def last_rowid(self) -> int:
        found = self._execute("SELECT last_insert_rowid()").fetchone()
        return int(found[0])

    def create_table(self, table: StoreTable) -> None:
        for text in table_texts(table):
            self._write(text)

    def drop_table(self, table: StoreTable) -> None:
        self._write(f"DROP TABLE {quoted(table.name)}")

    def add_column(self, table: StoreTable, column: StoreColumn) -> None:
        self._write(f"ALTER TABLE {quoted(table.name)} ADD COLUMN {quoted(column.name)}")

    def drop_column(self, table: StoreTable, column: str) -> None:
        self._write(f"ALTER TABLE {quoted(table.name)} DROP COLUMN {quoted(column)}")

    def create_index(self, table: StoreTable, index: StoreIndex) -> None:
        self._write(index_text(table, index))

    def drop_index(self, index: StoreIndex) -> None:
        self._write(f"DROP INDEX {quoted(index.name)}")

    def insert(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        self._write_many(insert_text(table, columns, self._tenant), rows)

    def append(self, table: StoreTable, columns: Sequence[str], row: Sequence[StoreValue]) -> None:
        text = insert_text(table, columns, self._tenant)
        if text != self._append_text or len(self._appended) >= APPENDED_MAX or not self._open:
            self.finish()
            with self._lock:
                self._opened()
            self._append_text = text
        self._appended.append(row)

    def update(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        self._write_many(update_text(table, columns, self._tenant), rows)

    def delete(self, table: StoreTable, rowids: Iterable[int]) -> None:
        if isinstance(rowids, range) and rowids.step == 1:
            text = delete_range_text(table, self._tenant)
            self._write(text, [rowids.start, rowids.stop])
            return
        self._write_many(delete_text(table, self._tenant), ((rowid,) for rowid in rowids))

    def update_where(
        self, table: StoreTable, values: Mapping[str, StoreValue], where: Predicate | None
    ) -> int:
        clause, bound = where_of((self._tenant,), where)
        sql = sets_text(table.name, tuple(values)) + clause
        return self._write(sql, [*values.values(), *bound]).rowcount

    def increment(self, table: StoreTable, by: Mapping[str, int], where: Predicate | None) -> None:
        sets = ", ".join(f"{quoted(name)} = {quoted(name)} + ?" for name in by)
        clause, bound = where_of((self._tenant,), where)
        self._write(f"UPDATE {quoted(table.name)} SET {sets}{clause}", [*by.values(), *bound])

    def delete_where(self, table: StoreTable, where: Predicate | None) -> int:
        clause, bound = where_of((self._tenant,), where)
        return self._write(f"DELETE FROM {quoted(table.name)}{clause}", bound).rowcount

    def leave_to_parent(self) -> None:
        """Refuse whatever is asked in a fork: what is written is the parent's."""
        self._open = False  # the lock may be held by a thread that is not here

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
