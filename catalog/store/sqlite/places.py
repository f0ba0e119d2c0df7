"""Places that are given once: a small SQLite file beside the store's, written on its own.

Rules:
    - A place is taken durably before anybody has it, whatever transaction is open and however that
      ends: no rollback and no crash gives it back.
    - The file is open for one call alone: nobody inherits it, and nothing is left open.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.store.sqlite.failures import translated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENDING: Final = ".places"
"""What the file's name adds to the store's."""

_MAKE: Final = "CREATE TABLE IF NOT EXISTS places (counter TEXT PRIMARY KEY, next INTEGER NOT NULL)"
_TAKE: Final = (
    "INSERT INTO places VALUES (:counter, :least + :count)"
    " ON CONFLICT (counter) DO UPDATE SET next = max(next, :least) + :count RETURNING next"
)
_GIVE_BACK: Final = "UPDATE places SET next = :first WHERE counter = :counter AND next = :end"


class SqlitePlaces:
    """The places that are taken of each counter of a store.

    Args:
        store: The store's file.
        durability: The store's.
    """

    def __init__(self, store: Path, durability: str) -> None:
        self._path = store.with_name(store.name + ENDING)
        self._synchronous = "FULL" if durability == "full" else "OFF"

    def take(self, counter: str, count: int, least: int, timeout_s: float) -> int:
        """Take ``count`` places from ``least`` on, and return the first."""
        given: dict[str, str | int] = {"counter": counter, "count": count, "least": least}
        ((after,),) = self._run(_TAKE, given, timeout_s)
        return int(after) - count

    def taken(self, timeout_s: float) -> dict[str, int]:
        """Return the next place of each counter."""
        found = self._run("SELECT counter, next FROM places", {}, timeout_s)
        return {str(counter): int(following) for counter, following in found}

    def give_back(self, counter: str, first: int, end: int, timeout_s: float) -> None:
        """Let the places from ``first`` on be taken again, if ``end`` is the next one still."""
        self._run(_GIVE_BACK, {"counter": counter, "first": first, "end": end}, timeout_s)

    def _run(self, text: str, given: Mapping[str, str | int], timeout_s: float) -> list[Any]:
        with (
            translated("numbering rows", timeout_s),
            closing(sqlite3.connect(self._path, timeout=timeout_s, isolation_level=None)) as made,
        ):
            made.execute(f"PRAGMA synchronous = {self._synchronous}")
            made.execute("BEGIN IMMEDIATE")
            try:
                made.execute(_MAKE)
                found = made.execute(text, given).fetchall()
                made.execute("COMMIT")
            except BaseException:
                if made.in_transaction:
                    made.rollback()
                raise
        return found
