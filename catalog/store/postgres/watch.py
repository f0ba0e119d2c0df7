"""Watching a schema: whether anybody has committed.

Rules:
    - A connection that ended may have missed a commit: it says so once, and another listens.
    - One that has heard nothing for a while is asked for a sign of life, and not waited for.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.pq import ConnStatus

from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.pq.abc import PGconn

HEARTBEAT_S: Final = 5.0
"""After so long without a word a sign of life is asked for, and awaited as long again."""


class PostgresWatch:
    """A connection that is told of commits, by NOTIFY.

    Args:
        connect: Opens a connection.
        channel: Where commits are told.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], channel: str) -> None:
        self._connect = connect
        self._channel = channel
        self._connection: psycopg.Connection[Any] | None = None
        self._heard_s = self._asked_s = 0.0
        self._listen()

    def _listen(self) -> None:
        made = self._connect()
        try:
            made.execute(f"LISTEN {self._channel}")
        except BaseException:
            made.close()
            raise
        self._connection = made
        self._heard_s, self._asked_s = monotonic(), 0.0

    def changed(self) -> bool:
        if self._connection is not None:
            with suppress(psycopg.Error):
                heard = self._heard(self._connection.pgconn)
                if self._lives(self._connection.pgconn):
                    return heard
            self._connection.close()
            self._connection = None
        with suppress(psycopg.Error, StoreError):  # then the next time
            self._listen()
        return True

    def _heard(self, raw: PGconn) -> bool:
        raw.consume_input()
        heard = False
        while raw.notifies() is not None:
            heard = True
        answered = False
        while self._asked_s and not raw.is_busy() and raw.get_result() is not None:
            answered = True
        if heard or answered:
            self._heard_s = monotonic()
        if answered:
            self._asked_s = 0.0
        return heard

    def _lives(self, raw: PGconn) -> bool:
        """Ask for a sign of life if there was none for long; return whether one may come."""
        now_s = monotonic()
        if raw.status != ConnStatus.OK:
            return False
        if self._asked_s:
            return now_s - self._asked_s < HEARTBEAT_S
        if now_s - self._heard_s >= HEARTBEAT_S:
            raw.send_query(b"SELECT 1")
            raw.flush()
            self._asked_s = now_s
        return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
