"""What is no longer wanted: tables that are forgotten, and what deleted rows leave.

Rules:
    - A forgotten table is dropped once nobody reads the state in which it was there.
    - What was deleted is overwritten by writing every table anew. PostgreSQL keeps it in its log,
      in replicas and in backups too, which no client can reach: there it goes as the database's
      own settings say.
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from psycopg import Error
from psycopg.errors import LockNotAvailable

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.postgres.schema import DROPPED_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

DROPPED_MAX: Final = 256
"""How many are dropped at a time."""

STEP_S: Final = 0.05
"""How long a table is waited for each time, and new readers of it with it."""

_OLDER: Final = """
    SELECT 1 FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND age(backend_xmin) >= age({}::text::xid)"""
"""Who reads a state from before a transaction."""

_DUE: Final = f"""
    SELECT name FROM {DROPPED_TABLE}
     WHERE NOT EXISTS ({_OLDER.format("dropped")}) LIMIT {DROPPED_MAX}"""
_TABLES: Final = """
    SELECT relname FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY 1"""


def drop_forgotten(connection: Connection[Any]) -> None:
    """Drop what is forgotten and read by nobody; what cannot be had at once is left for later."""
    for (name,) in connection.execute(_DUE).fetchall():
        try:
            wait = f"SET LOCAL lock_timeout = {int(STEP_S * 1000)}"
            connection.execute(f"BEGIN; {wait}; DROP TABLE IF EXISTS {quoted(name)}")
            forget = f"DELETE FROM {DROPPED_TABLE} WHERE name = convert_from($1, 'UTF8')"
            connection.execute(forget, [name])
            connection.execute("COMMIT")
        except LockNotAvailable:
            connection.execute("ROLLBACK")
        except Error:
            connection.execute("ROLLBACK")
            raise


def scrub(connection: Connection[Any], timeout_s: float) -> bool:
    """Write every table anew without what was deleted, and return whether that could be done."""
    until = monotonic() + timeout_s
    (now,) = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
    older = _OLDER.format(f"'{now}'")
    if not _in_time(lambda: connection.execute(older).fetchone() is None, until):
        return False
    drop_forgotten(connection)
    connection.execute(f"SET lock_timeout = {int(STEP_S * 1000)}")
    try:
        names = [name for (name,) in connection.execute(_TABLES).fetchall()]
        return all(_is_written_anew(connection, name, until) for name in names)
    finally:
        connection.execute("SET lock_timeout = 0")


def _is_written_anew(connection: Connection[Any], table: str, until: float) -> bool:
    def is_done() -> bool:
        try:
            connection.execute(f"VACUUM FULL {quoted(table)}")
        except LockNotAvailable:
            return False
        return True

    return _in_time(is_done, until)


def _in_time(is_done: Callable[[], bool], until: float) -> bool:
    while not is_done():
        if monotonic() >= until:
            return False
        sleep(STEP_S)
    return True
