"""The parts of a large scan: ranges of the table's key, read side by side and at one moment."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.sources.databases.database import reading
from affidavit.catalog.sources.databases.interruptible import call
from affidavit.catalog.sources.databases.moment import lent
from affidavit.catalog.sources.databases.pool import close
from affidavit.catalog.sql.predicate import Compare, In, conjuncts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from affidavit.catalog.sources.databases.database import Database
    from affidavit.catalog.sources.databases.moment import Moment
    from affidavit.catalog.sources.databases.running import Running
    from affidavit.catalog.sources.databases.table import SourceTable
    from affidavit.catalog.sql.predicate import Predicate

PARTED_ROWS_MIN: Final = 500_000
"""A table that has fewer rows is read as one."""


def ranges_of(
    database: Database, table: SourceTable, predicate: Predicate | None, running: Running
) -> list[str]:
    """Return conditions that part a large scan by the table's key; none if it is read whole."""
    if not table.key or (table.rows is not None and table.rows < PARTED_ROWS_MIN):
        return []
    if predicate is not None and _is_for_few(predicate, table.key):
        return []
    select = database.select(table, [], predicate)

    def ask() -> list[str]:
        with database.pool.lend() as connection, database.errors(reading(table)):
            ranges = partial(database.driver.ranges, connection, select, running)
            return call(ranges, running.cancel)

    return database.attempt(ask)


def _is_for_few(predicate: Predicate, key: Sequence[str]) -> bool:
    """Return whether the rows are those of one value of a key's first column, or of some keys."""
    return any(
        (isinstance(part, Compare) and part.op == "=" and part.column == key[0])
        or (isinstance(part, In) and (part.column,) == tuple(key))
        for part in conjuncts(predicate)
    )


class Parts:
    """The connections that the parts of one scan are read over, all at the same moment.

    The first part that is read opens the connections of all.

    Args:
        database: The database.
        table: The table that is read.
        count: How many parts there are.
        running: Returns where what the plan that runs has under way can be cancelled.
        moment: The one that the statement reads the database at.
    """

    def __init__(
        self,
        database: Database,
        table: SourceTable,
        count: int,
        running: Callable[[], Running],
        moment: Moment,
    ) -> None:
        self._moment = moment
        self._database = database
        self._table = table
        self._count = count
        self._lock = threading.Lock()
        self._waiting: dict[int, Any] = {}
        self._running = running

    @contextmanager
    def connection(self, number: int) -> Iterator[Any]:
        """Lend a part its connection."""
        with self._lock:
            if number not in self._waiting:  # or the plan runs a second time
                self._close()
                running = self._running()
                running.refuse_over()
                self._waiting = dict(enumerate(self._database.attempt(self._open)))
                running.hold(self._close)
            connection = self._waiting.pop(number)
        with lent(self._database, connection):
            yield connection

    def _open(self) -> list[Any]:
        """Return connections that read what there is at one moment."""
        opened: list[Any] = []
        try:
            while len(opened) < self._count:
                opened.append(self._database.pool.take())
            with self._database.errors(reading(self._table)):
                if self._moment.is_shared:
                    self._moment.join(opened)
                else:
                    self._share(opened)
        except BaseException:
            for each in opened:
                close(each)
            raise
        return opened

    def _share(self, opened: list[Any]) -> None:
        """Have the first keep a moment, and the others read at it."""
        driver = self._database.driver
        name = call(partial(driver.export_snapshot, opened[0]))
        for each in opened[1:]:
            call(partial(driver.join_snapshot, each, name))

    def _close(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            close(each)
