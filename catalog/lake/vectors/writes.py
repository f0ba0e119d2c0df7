"""Small writes of vector tables, counted: each leaves a fragment that every search opens."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.model.definition import TableInfo

SMALL_ROWS: Final = 1024
"""A fragment of fewer rows is a small one."""

SMALL_MAX: Final = 16
"""So many small writes are put together. A search takes about 0.1 ms more for each before that."""


class WrittenTable(NamedTuple):
    """A table that was written to."""

    tenant: str
    table_id: str


class SmallWrites:
    """How many small writes of this process each table has had since they were put together.

    Args:
        on_due: Called when there is a table to look after; returns at once.
    """

    def __init__(self, on_due: Callable[[], None] = lambda: None) -> None:
        self._on_due = on_due
        self._counts: Counter[WrittenTable] = Counter()
        self._lock = threading.Lock()

    def wrote(self, info: TableInfo, rows: int) -> None:
        """Count a write of so many rows."""
        if rows >= SMALL_ROWS:
            return
        table = WrittenTable(info.tenant, info.table_id)
        with self._lock:
            self._counts[table] += 1
            is_due = self._counts[table] >= SMALL_MAX
        if is_due:
            self._on_due()

    def due(self) -> list[WrittenTable]:
        """Return the tables that are to be looked after."""
        with self._lock:
            return [table for table, count in self._counts.items() if count >= SMALL_MAX]

    def looked_after(self, table: WrittenTable) -> None:
        """Begin to count anew."""
        with self._lock:
            self._counts.pop(table, None)
