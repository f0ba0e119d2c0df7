"""The connections to one SQLite file."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Final

from affidavit.errors import ClosedError

if TYPE_CHECKING:
    from pathlib import Path

    from affidavit.catalog.store.sqlite.media import ClosedMedia, State

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
        media: How the file is read where nothing can be written; ``None`` elsewhere.
    """

    def __init__(
        self, path: Path, durability: str, mode: str, media: ClosedMedia | None = None
    ) -> None:
        self._path = path
        self._media = media
        self._states: dict[sqlite3.Connection, State] = {}
        self._synchronous = SYNCHRONOUS[durability]
        self._mode = mode
        self._idle: list[sqlite3.Connection] = []
        self._changing = threading.Lock()
        self._closed = False

    def open(self, timeout_s: float, mode: str | None = None) -> sqlite3.Connection:
        """Open a connection that waits up to ``timeout_s`` for others."""
        media = self._media
        state = None if media is None else media.state()
        if media is None or state is None:
            address = f"{self._path.resolve().as_uri()}?mode={mode or self._mode}"
        else:
            address = media.address(state)
        connection = sqlite3.connect(
            address,
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
        if state is not None:
            self._states[connection] = state
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
            while self._idle:
                connection = self._idle.pop()
                try:
                    is_of_now = self._is_of_now(connection)
                except BaseException:
                    self.let_go(connection)
                    raise
                if is_of_now:
                    return connection
                self.let_go(connection)
        return None

    def _is_of_now(self, connection: sqlite3.Connection) -> bool:
        """Return whether a connection reads what lies there now, and not what did before."""
        if self._media is None:
            return True
        before = self._states[connection].is_same_while_read
        return before == self._media.state().is_same_while_read

    def check(self, connection: sqlite3.Connection) -> None:
        """Raise StoreError if what a connection reads was written where it cannot see it."""
        if self._media is not None:
            self._media.check(self._states[connection])

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Keep a connection for the next reader, or close it."""
        connection.rollback()
        with self._changing:
            if not self._closed and len(self._idle) < IDLE_READERS_MAX:
                self._idle.append(connection)
                return
        self.let_go(connection)

    def let_go(self, connection: sqlite3.Connection) -> None:
        """Close a connection that nobody uses."""
        self._states.pop(connection, None)
        connection.close()

    def close(self) -> None:
        """Open and keep none from now on; those that are read with are closed by their readers."""
        with self._changing:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            self.let_go(connection)
        if self._media is not None:
            self._media.close()


def wait_up_to(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Let ``connection`` wait up to ``timeout_s`` for others."""
    connection.execute(f"PRAGMA busy_timeout = {int(min(timeout_s, WAIT_MAX_S) * 1000)}")
