"""Watching SQLite: whether anybody has committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.store.sqlite.failures import translated

if TYPE_CHECKING:
    import sqlite3


class SqliteWatch:
    """A connection that sees others' commits by SQLite's own ``data_version``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen = self._version()

    def _version(self) -> int:
        with translated("watching the store", 0):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def changed(self) -> bool:
        before, self._seen = self._seen, self._version()
        return before != self._seen

    def close(self) -> None:
        self._connection.close()
