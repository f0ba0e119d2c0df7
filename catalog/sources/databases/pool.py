"""Connections to a database, kept while they are idle."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Pool:
    """Connections that are lent to one user at a time.

    Args:
        connect: Opens one.
        idle_max: How many idle ones are kept.
    """

    def __init__(self, connect: Callable[[], Any], idle_max: int) -> None:
        self._connect = connect
        self._idle_max = idle_max
        self._lock = threading.Lock()
        self._idle: list[Any] = []

    @property
    def has_idle(self) -> bool:
        """Whether the next one lent would be one that was kept."""
        return bool(self._idle)

    def take(self) -> Any:  # noqa: ANN401 - a driver's connection
        """Return a connection, which is the caller's until it is given back or closed."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def give(self, connection: Any) -> None:  # noqa: ANN401 - as above
        """Take a connection back that can be used again."""
        with self._lock:
            if len(self._idle) < self._idle_max:
                self._idle.append(connection)
                return
        close(connection)

    @contextmanager
    def lend(self) -> Iterator[Any]:
        """Lend a connection; one whose use fails, or is given up, is closed."""
        connection = self.take()
        try:
            yield connection
        except BaseException:
            close(connection)
            raise
        self.give(connection)

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            close(each)


def close(connection: Any) -> None:  # noqa: ANN401 - a driver's connection
    """Close a connection, whatever state it is in."""
    with suppress(Exception):
        connection.close()
