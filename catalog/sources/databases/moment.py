"""One moment of a database, at which everything is read that one statement reads of it."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from affidavit.catalog.sources.databases.interruptible import call
from affidavit.catalog.sources.databases.pool import close

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from affidavit.catalog.sources.databases.database import Database
    from affidavit.catalog.sources.databases.running import Running


class Moment:
    """A moment that one connection keeps while a plan runs, for others to read at.

    Where a statement reads a database in one place, no connection keeps anything.

    Args:
        database: The database.
        running: Returns what the plan that runs has under way.

    """

    def __init__(self, database: Database, running: Callable[[], Running]) -> None:
        self._database = database
        self._running = running
        self._lock = threading.Lock()
        self._kept: tuple[Running, str] | None = None
        self._known = self._asked = 0

    @property
    def is_shared(self) -> bool:
        """Whether several places are to read the database, which can have them do so."""
        return max(self._known, self._asked) > 1 and self._database.driver.keeps_moments

    def reach(self, places: int) -> None:
        """Note that the statement reads the database in so many places at least."""
        self._known = max(self._known, places)

    def ask(self) -> None:
        """Note that one place is about to read the database."""
        self._asked += 1

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Lend a connection that reads at the moment."""
        connection = self._database.attempt(partial(self._joined, self._name()))
        with lent(self._database, connection):
            yield connection

    def join(self, connections: list[Any]) -> None:
        """Have connections read at the moment."""
        name = self._name()
        for each in connections:
            call(partial(self._database.driver.join_snapshot, each, name))

    def _name(self) -> str:
        """Return what the moment is called, which begins with the first to ask."""
        with self._lock:
            running = self._running()
            if self._kept is None or self._kept[0] is not running:
                running.refuse_over()
                connection, name = self._database.attempt(self._begun)
                self._kept = running, name
                running.hold(partial(self._let_go, connection, running))
            return self._kept[1]

    def _let_go(self, connection: Any, running: Running) -> None:  # noqa: ANN401 - a driver's
        """Give back the connection that keeps the moment; it runs nothing."""
        if not running.is_cancelled:
            with suppress(Exception):  # such as that of a server which has gone
                self._database.driver.end_snapshot(connection)
                self._database.pool.give(connection)
                return
        close(connection)

    def _begun(self) -> tuple[Any, str]:
        return self._with(self._database.driver.export_snapshot)

    def _joined(self, name: str) -> Any:  # noqa: ANN401 - a driver's connection
        join = self._database.driver.join_snapshot
        return self._with(lambda connection: join(connection, name))[0]

    def _with(self, do: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Return a connection with which something was done, and what that gave."""
        connection = self._database.pool.take()
        try:
            with self._database.errors("reading at one moment"):
                return connection, call(partial(do, connection))
        except BaseException:
            close(connection)
            raise


@contextmanager
def lent(database: Database, connection: Any) -> Iterator[None]:  # noqa: ANN401 - a driver's
    """Give a connection that reads at a moment back to its pool; close it if its use fails."""
    try:
        yield
        call(partial(database.driver.end_snapshot, connection))
    except BaseException:
        close(connection)
        raise
    database.pool.give(connection)
