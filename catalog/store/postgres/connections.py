"""The connections to one schema: opened as the store needs them, and kept while nobody uses them.

Rules:
    - One that is kept is looked at before it is used: what the server said of its end is read.
    - What is idle or half open is found by the system: keepalives, and a limit for what is not
      acknowledged.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import RawCursor
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ConnStatus, Format, PipelineStatus, TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import BytesBinaryDumper

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.postgres.address import secrets_of
from affidavit.catalog.store.postgres.failures import ours
from affidavit.errors import ClosedError, LakeError
from affidavit.screen import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from affidavit.catalog.store.postgres.address import Address
    from affidavit.errors import AffidavitError

IDLE_MAX: Final = 16
"""How many idle connections are kept open."""

CONNECT_S: Final = 10
SERVER_MIN: Final = 140000
"""PostgreSQL 14, as the server says it."""

_REACH: Final = {
    "connect_timeout": CONNECT_S,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""How soon a host that is gone is missed: after half a minute, where the URL does not say it."""

_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') = 'off'"
)
_LIFE: Final = """
    SELECT backend_start::text, (SELECT stats_reset::text FROM pg_stat_bgwriter)
      FROM pg_stat_activity WHERE pid = pg_backend_pid()"""
_SYNCHRONOUS: Final = {"full": _DURABLE, "normal": "SET synchronous_commit = off"}


class _Utf8Dumper(Dumper):  # type: ignore[misc]  # the driver is typed where it is installed
    """Text, as the bytes that it is kept as."""

    format = Format.BINARY
    oid = 17  # bytea

    def dump(self, obj: object) -> bytes:
        return str(obj).encode()


class _Int8Dumper(Int8BinaryDumper):  # type: ignore[misc]  # as above
    """A number of whatever size: so a statement is prepared once, and not once a size."""

    def get_key(self, _obj: object, _format: object) -> object:
        return self.cls

    def upgrade(self, _obj: object, _format: object) -> _Int8Dumper:
        return self


def _adapters() -> AdaptersMap:
    """Return how values reach PostgreSQL: numbers as bigint, text and bytes as bytea."""
    made = AdaptersMap(psycopg.adapters)
    for kind in (int, bool):
        made.register_dumper(kind, _Int8Dumper)
    made.register_dumper(str, _Utf8Dumper)
    made.register_dumper(bytes, BytesBinaryDumper)
    return made


_ADAPTERS: Final = _adapters()


class StoreConnection(psycopg.Connection[Any]):  # type: ignore[misc]  # as above
    """A connection to a schema.

    Attributes:
        since: When its backend began, as the server writes it.
        life: Which life of the server's it is of: since when it counts, which a crash ends.
    """

    since = ""
    life = ""

    def begin(self, statements: str) -> None:
        """Run what sets a connection up, of which the last says since when it is, and its life."""
        begun = self.execute(statements)
        while begun.nextset():
            pass
        self.since, self.life = begun.fetchone()


class Connections:
    """Opens connections, and keeps some that nobody uses; safe to share between threads.

    Args:
        address: The schema.
        durability: ``"full"`` or ``"normal"``.
        timeout_s: What is said of how long it took.
    """

    def __init__(self, address: Address, durability: str, timeout_s: float) -> None:
        self._address = address
        self._begin = (
            f"SET search_path = {quoted(address.schema)}; "
            f"SET idle_in_transaction_session_timeout = 0; {_SYNCHRONOUS[durability]}"
        )
        self._timeout_s = timeout_s
        self._idle: list[StoreConnection] = []
        self._changing = threading.Lock()
        self._closed = False

    def open(self) -> StoreConnection:
        """Open a connection.

        Raises:
            LakeError: The URL is not one of PostgreSQL's, or the server is older than 14.
            StoreError: It cannot be reached, or refuses.
        """
        try:
            made = StoreConnection.connect(
                self._address.conninfo,
                autocommit=True,
                cursor_factory=RawCursor,
                context=_ADAPTERS,
                **self._defaults(),
            )
        except psycopg.ProgrammingError as error:
            told: AffidavitError = LakeError(f"store= is no URL of PostgreSQL's: {error}")
            self._hide_in(told)
            raise told from None
        except psycopg.Error as error:
            told = ours(error, f"connecting to {self._address.shown}", self._timeout_s)
            self._hide_in(told)
            raise told from None
        try:
            if made.info.server_version < SERVER_MIN:
                msg = (
                    f"{self._address.shown} is PostgreSQL {made.info.server_version // 10_000}: a "
                    "lake needs 14 or later"
                )
                raise LakeError(msg)
            made.begin(f"{self._begin}; {_LIFE}")
        except BaseException:
            made.close()
            raise
        return made

    def _defaults(self) -> dict[str, Any]:
        """Return what the URL does not say itself."""
        given = conninfo_to_dict(self._address.conninfo)
        reach = {name: value for name, value in _REACH.items() if name not in given}
        named = {} if "application_name" in given else {"application_name": "affidavit"}
        return {**reach, **named, "client_encoding": "UTF8"}

    def _hide_in(self, error: AffidavitError) -> None:
        """Take the passwords out of an error: the driver quotes of a URL what it cannot read."""
        secrets = secrets_of(self._address.conninfo)

        def hide(text: str) -> str:
            for each in secrets:
                text = text.replace(each, MASK)
            return text

        error.hide(hide)

    def refuse_closed(self) -> None:
        """Raise ClosedError if these were closed."""
        if self._closed:
            msg = "the session is closed: connect again"
            raise ClosedError(msg)

    def take(self) -> StoreConnection | None:
        """Return a connection that nobody uses and that is open, if there is one."""
        while True:
            with self._changing:
                self.refuse_closed()
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if is_open(connection):
                return connection
            connection.close()

    def begun(self, *texts: str) -> StoreConnection:
        """Return a connection on which ``texts`` were said, which begin a transaction.

        One that was kept may have ended without a word: then another is taken, since nothing was
        done on it.
        """
        while True:
            kept = self.take()
            connection = kept or self.open()
            try:
                for text in texts:
                    connection.execute(text)
            except BaseException as error:
                was_lost = kept is not None and not is_open(connection)
                self.give_back(connection)
                if was_lost and isinstance(error, psycopg.Error):
                    continue
                raise
            return connection

    def give_back(self, connection: StoreConnection) -> None:
        """Keep a connection for whoever is next, or close it; what is open on it is undone."""
        with suppress(psycopg.Error):
            if connection.info.transaction_status != TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
            with self._changing:
                if not self._closed and is_open(connection) and len(self._idle) < IDLE_MAX:
                    self._idle.append(connection)
                    return
        connection.close()

    def close(self) -> None:
        """Open and keep none from now on; those in use are closed by their users."""
        with self._changing:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def is_open(connection: StoreConnection) -> bool:
    """Return whether a connection is open, as far as the server has said, and of further use.

    One that an interrupt left in the midst of a pipeline is of none.
    """
    if connection.closed or connection.pgconn.pipeline_status != PipelineStatus.OFF:
        return False
    with suppress(psycopg.Error):
        connection.pgconn.consume_input()
        return bool(connection.pgconn.status == ConnStatus.OK)
    return False


def wait_ms(timeout_s: float) -> int:
    """Return a time to wait as PostgreSQL has it, for which 0 is for ever."""
    return min(max(int(timeout_s * 1000), 1), 2**31 - 1)


def copied(
    connection: psycopg.Connection[Any],
    text: str,
    rows: Iterable[Sequence[object]],
    at: int | None,
) -> int:
    """Copy rows, and return the highest number that they have ``at`` a place; 0 if nowhere."""
    highest = 0
    with connection.cursor().copy(text) as copying:
        for row in rows:
            if at is not None:
                highest = max(highest, int(row[at] or 0))  # type: ignore[call-overload]
            copying.write_row(row)
    return highest
