"""The store on PostgreSQL: a schema a lake, any number of hosts.

Rules:
    - Whoever writes for a tenant shares the lake's lock, and holds the tenant's; who writes to the
      shared scope holds the lake's alone. Both are taken by the first statement of a transaction
      that reads what is committed: what it reads then is as it is until it ends.
    - A reader's snapshot is taken at once, and is one.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from psycopg import Error

from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.store.forks import Process, left_to_parent
from affidavit.catalog.store.holds import Holds
from affidavit.catalog.store.loops import refuse_own_writer
from affidavit.catalog.store.postgres.address import parse_address
from affidavit.catalog.store.postgres.committing import commit
from affidavit.catalog.store.postgres.connections import Connections, wait_ms
from affidavit.catalog.store.postgres.failures import translated
from affidavit.catalog.store.postgres.keys import channel_of, lock_key
from affidavit.catalog.store.postgres.leftovers import drop_forgotten, scrub
from affidavit.catalog.store.postgres.places import PostgresPlaces
from affidavit.catalog.store.postgres.reader import PostgresReader
from affidavit.catalog.store.postgres.schema import is_closed, prepare
from affidavit.catalog.store.postgres.watch import PostgresWatch
from affidavit.catalog.store.postgres.writer import PostgresWriter
from affidavit.catalog.store.protocol import CLOSED_TO_WRITERS, check_durability
from affidavit.catalog.store.settled import Baton, settled
from affidavit.errors import ReadOnlyError, StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from affidavit.catalog.store.postgres.connections import StoreConnection
    from affidavit.catalog.store.protocol import StoreTable
    from affidavit.catalog.store.settled import Held

SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1"
"""The first statement of a transaction is when its snapshot is taken."""


class PostgresStore:
    """A :class:`~affidavit.catalog.store.protocol.Store` in one schema of PostgreSQL's.

    Args:
        url: The database, and the schema as ``?schema=NAME``.
        lake_id: Which lake it is or is to be; ``None`` for whichever it is.
        was_made: Whether it is there: then it is never made.
        durability: ``"full"`` survives power loss; ``"normal"`` may lose the last commits when the
            server ends without warning.
        busy_timeout_s: How long a writer waits for other writers.
        read_only: Refuse to write, and never create.

    Attributes:
        holds: How long its writers held their locks.
        is_closed_to_writers: Whether the server takes no writes, records neither.
    """

    def __init__(
        self,
        url: str,
        *,
        lake_id: str | None = None,
        was_made: bool = False,
        durability: str = "full",
        busy_timeout_s: float = 30.0,
        read_only: bool = False,
    ) -> None:
        check_durability(durability)
        address = parse_address(url)
        self.holds = Holds()
        self._process = Process(f"the store {address.shown!r}")
        self._schema = address.schema
        self._shown = address.shown
        self._timeout_s = busy_timeout_s
        self._read_only = read_only
        self._channel = channel_of(address.schema)
        self._connections = Connections(address, durability, busy_timeout_s)
        self._places = PostgresPlaces(self._connections)
        self._lines: dict[str, Baton] = {}
        self._changing = threading.Lock()
        self._writers: WeakSet[PostgresWriter] = WeakSet()
        with translated(f"opening {address.shown!r}", busy_timeout_s):
            connection = self._connections.open()
            try:
                prepare(connection, address, lake_id, was_made=was_made, read_only=read_only)
                self.is_closed_to_writers = read_only and is_closed(connection)
                if not read_only:
                    drop_forgotten(connection)
            except BaseException:
                connection.close()
                raise
            self._connections.give_back(connection)
        left_to_parent(self)

    def __repr__(self) -> str:
        return f"PostgresStore({self._shown!r})"

    # --- reading and writing -------------------------------------------------------------------

    @contextmanager
    def read(self, tenant: str) -> Iterator[PostgresReader]:
        self._process.refuse_forked()
        with translated("opening a snapshot", self._timeout_s):
            connection = self._connections.begun(SNAPSHOT)
        reader = PostgresReader(connection, tenant, self._timeout_s)
        try:
            yield reader
        finally:
            reader.close()
            self._connections.give_back(connection)

    @settled
    def write(
        self, tenant: str, *, record: bool = False, timeout_s: float | None = None
    ) -> Iterator[PostgresWriter]:
        self._process.refuse_forked()
        if not record or self.is_closed_to_writers:
            self._refuse_read_only()
        waits_s = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        begun_s = monotonic()
        held = self._take(tenant, waits_s, asks=timeout_s is None)
        try:
            self.holds.begin()
            left_s = max(waits_s - (monotonic() - begun_s), 0.0)
            yield from self._transaction(tenant, left_s, waits_s)
        finally:
            try:
                self.holds.end()
                held.give_back()
            except BaseException:
                held.give_back()
                raise

    def _take(self, tenant: str, timeout_s: float, *, asks: bool) -> Held:
        """Return what stands for being the one of this process who writes for a tenant."""
        with self._changing:
            line = self._lines.setdefault(tenant, Baton())
        held = line.take(0)
        if held is None and asks:
            refuse_own_writer(self.holds)
        held = held or line.take(timeout_s)
        if held is None:
            raise StoreBusyError("the store", timeout_s=timeout_s)
        return held

    def _locks(self, tenant: str) -> str:
        lake, own = lock_key(self._schema, "lake"), lock_key(self._schema, "tenant", tenant)
        if tenant == SHARED:
            return f"SELECT pg_advisory_xact_lock({lake})"
        return f"SELECT pg_advisory_xact_lock_shared({lake}); SELECT pg_advisory_xact_lock({own})"

    def _begun(self, tenant: str, left_s: float, waits_s: float) -> StoreConnection:
        """Return a connection in a transaction that holds the locks of a tenant's writer."""
        steps = (
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            f"SET LOCAL lock_timeout = {wait_ms(left_s)}",
            self._locks(tenant),
            f"SET LOCAL lock_timeout = {wait_ms(self._timeout_s)}",
        )
        with translated("opening a transaction", waits_s):
            return self._connections.begun("; ".join(steps))

    def _transaction(self, tenant: str, left_s: float, waits_s: float) -> Iterator[PostgresWriter]:
        connection = self._begun(tenant, left_s, waits_s)
        begun_s = monotonic()
        writer = PostgresWriter(connection, tenant, self._timeout_s)
        self._writers.add(writer)
        try:
            yield writer
            self._process.refuse_forked()
            writer.finish()
            writer.close()  # from now on no other thread writes through it
            with translated("committing", self._timeout_s):
                commit(
                    connection, writer.xid, self._channel, self._connections.open,
                    self._timeout_s, writer.committed,
                )  # fmt: skip
        finally:
            if self._process.is_here:  # what is open is the other's
                writer.close()
                self.holds.note(monotonic() - begun_s)
                self._connections.give_back(connection)
        writer.committed()
        if writer.has_forgotten:
            self._drop_forgotten()

    def _drop_forgotten(self) -> None:
        with suppress(Error, StoreError):  # then whoever opens the lake next does
            connection = self._connections.begun("SELECT 1")
            try:
                drop_forgotten(connection)
            finally:
                self._connections.give_back(connection)

    def leave_to_parent(self) -> None:
        """Let a fork neither commit nor roll back what its parent has open; the driver closes none.

        Its connections know which process they are of.
        """
        for writer in list(self._writers):
            writer.leave_to_parent()

    def _refuse_read_only(self) -> None:
        if self.is_closed_to_writers:
            raise ReadOnlyError(CLOSED_TO_WRITERS)
        if self._read_only:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)

    def tenants(self, table: StoreTable) -> list[str]:
        with self.read(SHARED) as reader:
            return reader.tenants(table)

    # --- others who use it ---------------------------------------------------------------------

    @contextmanager
    def lock(
        self, name: str, *, timeout_s: float | None = None, record: bool = False
    ) -> Iterator[None]:
        self._process.refuse_forked()
        if self.is_closed_to_writers or not record:
            self._refuse_read_only()
        self._connections.refuse_closed()
        waits_s = self._timeout_s if timeout_s is None else timeout_s
        connection = self._locked(lock_key(self._schema, "lock", name), waits_s)
        try:
            yield
        finally:
            self._unlock(connection)

    def _locked(self, key: int, waits_s: float) -> StoreConnection:
        """Return a connection that holds a lock.

        Where it was not granted in time the connection goes: it may have been, just then.
        """
        with translated("locking", waits_s):
            connection = self._connections.begun("SELECT 1")
        try:
            with translated("locking", waits_s):
                connection.execute(f"SET lock_timeout = {wait_ms(waits_s)}")
                connection.execute(f"SELECT pg_advisory_lock({key})")
        except BaseException as error:
            connection.close()
            if isinstance(error, StoreBusyError):
                raise StoreBusyError("a table's lock", timeout_s=waits_s) from error
            raise
        return connection

    def _unlock(self, connection: StoreConnection) -> None:
        try:
            connection.execute("SELECT pg_advisory_unlock_all(); SET lock_timeout = 0")
        except BaseException as error:
            connection.close()  # one that is gone holds nothing
            if not isinstance(error, Error):
                raise
        else:
            self._connections.give_back(connection)

    def take_places(self, counter: str, count: int, least: int = 0) -> int:
        self._process.refuse_forked()
        self._refuse_read_only()
        return self._places.take(counter, count, least, self._timeout_s)

    def give_places_back(self, counter: str, first: int, end: int) -> None:
        self._process.refuse_forked()
        self._refuse_read_only()
        self._places.give_back(counter, first, end, self._timeout_s)

    def watch(self) -> PostgresWatch:
        self._process.refuse_forked()
        self._connections.refuse_closed()
        with translated("watching the store", self._timeout_s):
            return PostgresWatch(self._connections.open, self._channel)

    def hurry(self, timeout_s: float) -> None:
        self._timeout_s = min(timeout_s, self._timeout_s)

    # --- erasing, and the end ------------------------------------------------------------------

    def scrub(self, gone: Collection[str] | None = ()) -> bool:  # noqa: ARG002 - any is rewritten
        with translated("scrubbing the store", self._timeout_s):
            connection = self._connections.begun("SELECT 1")
            try:
                return scrub(connection, self._timeout_s)
            finally:
                self._connections.give_back(connection)

    def close(self) -> None:
        self._connections.close()
