"""A store that fails where a test says so."""

from __future__ import annotations

import sqlite3


class Faulty(sqlite3.Connection):
    """SQLite that fails at one call: every statement of every connection is counted."""

    left: int | None = None
    lasting = False
    commits = 0

    def _step(self, sql: str) -> None:
        cls = type(self)
        if cls.left is not None:
            cls.left -= 1
            if cls.left == 0 or (cls.lasting and cls.left < 0):
                msg = "disk I/O error"
                raise sqlite3.OperationalError(msg)
        cls.commits += sql == "COMMIT"

    def execute(self, sql, *values):
        self._step(sql)
        return super().execute(sql, *values)

    def executemany(self, sql, rows):
        self._step(sql)
        return super().executemany(sql, rows)
