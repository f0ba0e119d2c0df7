"""Committing where the answer may be lost: what a broken connection left undecided is asked for.

Rules:
    - Before COMMIT it is known which transaction it is, which backend has it, and in which life.
    - Where the answer is lost, exactly that backend is ended first: a COMMIT that still travels can
      no longer take effect. Then the server says what became of the transaction.
    - A server that crashed gives numbers again that it had not yet written down: that one was
      committed tells nothing then; that it was not is so.
    - Who cannot be told raises OutcomeUnknownError, and nobody takes that for *not written*.
    - Who is told to stop meanwhile learns what became of it too, and is interrupted all the same.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.pq import TransactionStatus

from affidavit.catalog.store.postgres.failures import LOST, ours
from affidavit.errors import OutcomeUnknownError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.store.postgres.connections import StoreConnection

ASKED_MIN_S: Final = 10.0
"""For how long it is asked at least what became of a transaction."""

AGAIN_S: Final = 0.05
END_MS: Final = 2000
"""How long a backend has to end."""

XID: Final = "SELECT pg_current_xact_id_if_assigned()::text"
"""Which transaction it is, if it has written anything."""

_END: Final = f"""
    SELECT pg_terminate_backend(pid, {END_MS}) FROM pg_stat_activity
     WHERE pid = $1 AND backend_start::text = convert_from($2, 'UTF8')"""
_STILL: Final = """
    SELECT count(*) FROM pg_stat_activity
     WHERE pid = $1 AND backend_start::text = convert_from($2, 'UTF8')"""
_STATUS: Final = "SELECT pg_xact_status(convert_from($1, 'UTF8')::xid8)"


@dataclass(frozen=True)
class Doubt:
    """A transaction whose COMMIT was sent.

    Attributes:
        xid: Its number.
        pid: The backend that has it,
        since: and when that began, since numbers of processes come again.
        life: The server's life that they are of, since numbers of transactions come again after a
            crash: those that it had not yet written down.
    """

    xid: str
    pid: int
    since: str
    life: str


def commit(
    connection: StoreConnection,
    xid: str | None,
    channel: str,
    connect: Callable[[], StoreConnection],
    timeout_s: float,
    stopped: Callable[[], object],
) -> None:
    """Commit transaction ``xid``, which is open on a connection, and have others told.

    ``stopped`` is called where the caller was told to stop, as by Ctrl-C, when it was committed.

    Raises:
        StoreError: Nothing was written.
        OutcomeUnknownError: Nobody can tell whether it was.
    """
    if xid is None:  # nothing was written
        connection.execute("COMMIT")
        return
    doubt = Doubt(xid, connection.info.backend_pid, connection.since, connection.life)
    try:
        said = connection.execute(f"NOTIFY {channel}; COMMIT")
        while said.nextset():
            pass
        if said.statusmessage != "COMMIT":
            msg = "committing: an earlier statement failed, so nothing was written"
            raise StoreError(msg)
    except LOST as error:
        if not _is_lost(connection):
            raise
        if not _took_effect(doubt, connect, max(timeout_s, ASKED_MIN_S)):
            said_so = ours(error, "committing: nothing was written", timeout_s)
            raise StoreError(str(said_so)) from error
    except BaseException as error:
        if not isinstance(error, Exception) and _is_asked(connection):
            connection.close()
            with suppress(OutcomeUnknownError):
                if _took_effect(doubt, connect, max(timeout_s, ASKED_MIN_S)):
                    stopped()
        raise


def _is_asked(connection: psycopg.Connection[Any]) -> bool:
    """Return whether COMMIT may have been obeyed: nobody has said that more may come before it."""
    return connection.info.transaction_status not in {
        TransactionStatus.INTRANS,
        TransactionStatus.INERROR,
    }


def _is_lost(connection: psycopg.Connection[Any]) -> bool:
    return bool(connection.closed or connection.broken)


def _took_effect(doubt: Doubt, connect: Callable[[], StoreConnection], timeout_s: float) -> bool:
    """Return whether a transaction was committed; nothing can commit it afterwards."""
    until = monotonic() + timeout_s
    while True:
        with suppress(StoreError, psycopg.Error), closing(connect()) as asked:
            who = [doubt.pid, doubt.since]
            asked.execute(_END, who)
            is_ended = asked.execute(_STILL, who).fetchone() == (0,)
            status = asked.execute(_STATUS, [doubt.xid]).fetchone()[0]
            if is_ended and status == "committed" and asked.life != doubt.life:
                break  # it, or one that has its number now
            if is_ended and status in {"committed", "aborted"}:
                return bool(status == "committed")
        if monotonic() >= until:
            break
        sleep(AGAIN_S)
    msg = (
        f"the connection ended while transaction {doubt.xid} was committed, and the server does "
        "not say whether it was: look whether what you wrote is there before you write it again"
    )
    raise OutcomeUnknownError(msg)
