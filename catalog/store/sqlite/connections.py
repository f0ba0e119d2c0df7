"""The connections to one SQLite file."""

from __future__ import annotations

import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Final

from affidavit.errors import ClosedError

if TYPE_CHECKING:
    from pathlib import Path

IDLE_READERS_MAX: Final = 16
"""How many idle read connections are kept open."""

WAIT_MAX_S: Final = 2_000_000.0
"""The longest that SQLite waits: it counts milliseconds in 32 bits."""

SYNCHRONOUS: Final = {"full": "FULL", "normal": "NORMAL"}


class Connections:
    """Opens connections, and keeps some that nobody reads with; safe to share between threads.

    Args:
        path: The database file.
        durability: ``"full"`` or ``"normal"``.
        mode: ``"rwc"`` to write and create, ``"ro"`` to read; SQLite's own words.
    """

    def __init__(self, path: Path, durability: str, mode: str) -> None:
        self._path = path
        self._synchronous = SYNCHRONOUS[durability]
        self._mode = mode
        self._idle: list[sqlite3.Connection] = []
        self._changing = threading.Lock()
        self._closed = False

    def open(self, timeout_s: float, mode: str | None = None) -> sqlite3.Connection:
        """Open a connection that waits up to ``timeout_s`` for others."""
        path = self._path.resolve()
        how = mode or self._mode
        if how == "ro" and is_immutable(path):
            how = "ro&immutable=1"
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={how}",
            uri=True,
            timeout=min(timeout_s, WAIT_MAX_S),
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        # what is erased leaves no trace in the file
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -16384")
        return connection

    def refuse_closed(self) -> None:
        """Raise ClosedError if these were closed."""
        if self._closed:
            msg = "the session is closed: connect again"
            raise ClosedError(msg)

    def take(self) -> sqlite3.Connection | None:
        """Return a connection that nobody reads with, if there is one."""
        with self._changing:
            self.refuse_closed()
            return self._idle.pop() if self._idle else None

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Keep a connection for the next reader, or close it."""
        connection.rollback()
        with self._changing:
            if not self._closed and len(self._idle) < IDLE_READERS_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Open and keep none from now on; those that are read with are closed by their readers."""
        with self._changing:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def is_immutable(path: Path) -> bool:
    """Return whether nobody can be writing a database file, and nothing waits to be put into it.

    Else SQLite makes files beside one with a log, even to read it: in a folder that cannot be
    written it then reads none.
    """
    log = path.with_name(f"{path.name}-wal")
    is_left = log.exists() and log.stat().st_size > 0
    return path.exists() and not is_left and not os.access(path.parent, os.W_OK)


def wait_up_to(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Let ``connection`` wait up to ``timeout_s`` for others."""
    connection.execute(f"PRAGMA busy_timeout = {int(min(timeout_s, WAIT_MAX_S) * 1000)}")
