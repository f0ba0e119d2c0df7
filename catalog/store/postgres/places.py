"""Places that are given once: rows of a table, each changed in a transaction of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg.errors import DeadlockDetected, SerializationFailure

from affidavit.catalog.store.postgres.failures import translated
from affidavit.catalog.store.postgres.schema import PLACES_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Cursor

    from affidavit.catalog.store.postgres.connections import Connections

TRIES_MAX: Final = 5
"""How often a statement is tried that the server ended for another's sake."""

_TAKE: Final = f"""
    INSERT INTO {PLACES_TABLE} AS held VALUES ($1, $2::bigint + $3::bigint)
    ON CONFLICT (counter) DO UPDATE SET next = greatest(held.next, $2::bigint) + $3::bigint
    RETURNING next"""
_GIVE_BACK: Final = f"UPDATE {PLACES_TABLE} SET next = $2 WHERE counter = $1 AND next = $3"


class PostgresPlaces:
    """The places that are taken of each counter of a schema."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def take(self, counter: str, count: int, least: int, timeout_s: float) -> int:
        """Take ``count`` places from ``least`` on, and return the first."""
        (after,) = self._run(_TAKE, [counter, least, count], timeout_s).fetchone()
        return int(after) - count

    def give_back(self, counter: str, first: int, end: int, timeout_s: float) -> None:
        """Let the places from ``first`` on be taken again, if ``end`` is the next one still."""
        self._run(_GIVE_BACK, [counter, first, end], timeout_s)

    def _run(self, text: str, values: Sequence[object], timeout_s: float) -> Cursor[Any]:
        with translated("numbering rows", timeout_s):
            connection = self._connections.begun("SELECT 1")
            try:
                for tried in range(TRIES_MAX):
                    try:
                        return connection.execute(text, values)
                    except (DeadlockDetected, SerializationFailure):
                        if tried + 1 == TRIES_MAX:
                            raise
            finally:
                self._connections.give_back(connection)
        raise AssertionError
