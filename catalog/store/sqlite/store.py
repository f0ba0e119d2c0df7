"""The store on SQLite: one file, WAL, any number of processes.

Everything goes through the interpreter's own ``sqlite3``. Reading through a second SQLite library
in one process (such as the one inside ``adbc-driver-sqlite``) would be faster and is not safe:
POSIX locks belong to the process, so neither library sees the other's, and a checkpoint overwrites
pages that the other is reading. See docs/adr/0002.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.store.forks import Process, keep_for_ever, left_to_parent
from affidavit.catalog.store.holds import Holds
from affidavit.catalog.store.loops import refuse_own_writer
from affidavit.catalog.store.protocol import CLOSED_TO_WRITERS, check_durability
from affidavit.catalog.store.settled import Held, Lines, line_at, settled
from affidavit.catalog.store.sqlite.connections import Connections, wait_up_to
from affidavit.catalog.store.sqlite.failures import translated
from affidavit.catalog.store.sqlite.gaps import may_have
from affidavit.catalog.store.sqlite.locks import held
from affidavit.catalog.store.sqlite.media import closed_media
from affidavit.catalog.store.sqlite.places import SqlitePlaces
from affidavit.catalog.store.sqlite.reader import SqliteReader
from affidavit.catalog.store.sqlite.schema import close_moved, is_moved, migrate
from affidavit.catalog.store.sqlite.watch import SqliteWatch
from affidavit.catalog.store.sqlite.writer import SqliteWriter
from affidavit.errors import ReadOnlyError, StoreBusyError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from affidavit.catalog.store.protocol import StoreTable

SCRUB_STEP_S: Final = 0.2
"""How long writers wait, and for how long not, while an older state is read: at first."""


class SqliteStore:
    """A :class:`~affidavit.catalog.store.protocol.Store` in one SQLite file.

    Args:
        path: The database file; created with its schema unless ``read_only``.
        locks: The folder for lock files.
        durability: ``"full"`` survives power loss; ``"normal"`` survives a crash of the process
            and may lose the last commits when the power goes.
        busy_timeout_s: How long a writer waits for other writers.
        read_only: Refuse to write, and never create.

    Attributes:
        holds: How long its writers held the write lock.
        is_closed_to_writers: Whether it lies where nothing can be written, records neither.
    """

    def __init__(
        self,
        path: Path,
        *,
        locks: Path,
        durability: str = "full",
        busy_timeout_s: float = 30.0,
        read_only: bool = False,
    ) -> None:
        check_durability(durability)
        self.holds = Holds()
        self._process = Process(f"the store {str(path)!r}")
        self._locks = locks
        self._timeout_s = busy_timeout_s
        self._read_only = read_only
        media = closed_media(path) if read_only else None
        self.is_closed_to_writers = media is not None
        self._connections = Connections(path, durability, "ro" if read_only else "rwc", media)
        self._places = SqlitePlaces(path, durability)
        self._path = path
        self._writing = Lines()
        self._beside = line_at(path)
        self._writer: sqlite3.Connection | None = None
        self._transaction_open: SqliteWriter | None = None
        self._writer_waits_s = busy_timeout_s
        with translated(f"opening {str(path)!r}", busy_timeout_s):
            connection = self._connections.open(busy_timeout_s)
            try:
                migrate(connection, str(path), read_only=read_only)
                self.is_closed_to_writers |= read_only and is_moved(connection)
            except BaseException:
                self._connections.let_go(connection)
                self._connections.close()
                raise
            self._connections.give_back(connection)
        left_to_parent(self)

    # --- reading and writing -------------------------------------------------------------------

    @contextmanager
    def read(self, tenant: str) -> Iterator[SqliteReader]:
        self._process.refuse_forked()
        connection = self._connections.take()
        with translated("opening a snapshot", self._timeout_s):
            connection = connection or self._connections.open(self._timeout_s)
            try:
                connection.execute("BEGIN")
            except BaseException:
                self._connections.let_go(connection)
                raise
        reader = SqliteReader(connection, tenant, self._timeout_s)
        try:
            yield reader
            self._connections.check(connection)
        finally:
            reader.close()
            self._connections.give_back(connection)

    @settled
    def write(
        self, tenant: str, *, record: bool = False, timeout_s: float | None = None
    ) -> Iterator[SqliteWriter]:
        self._process.refuse_forked()
        if not record or self.is_closed_to_writers:
            self._refuse_read_only()
        if timeout_s is None:
            refuse_own_writer(self.holds)
        waits_s = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        held, beside = self._take(tenant, waits_s), Held()
        try:
            self.holds.begin()
            self._connections.refuse_closed()
            beside = _taken(self._beside, "", waits_s)
            yield from self._transaction(tenant, "rw" if record else None, waits_s)
        finally:
            try:
                self.holds.end()
                beside.give_back()
                held.give_back()
            except BaseException:
                beside.give_back()
                held.give_back()
                raise

    def _take(self, tenant: str, timeout_s: float) -> Held:
        """Return what stands for being the one who writes; nobody else of this store does."""
        return _taken(self._writing, tenant, timeout_s)

    def _write_connection(self, mode: str | None = None) -> sqlite3.Connection:
        """Return the one connection that writes; the lock of those who write is held."""
        if self._writer is None:
            self._writer = self._connections.open(self._timeout_s, mode)
            self._writer_waits_s = self._timeout_s
        return self._writer

    def _let_writer_wait(self, connection: sqlite3.Connection, timeout_s: float) -> None:
        """Let the one connection that writes wait so long for other processes."""
        if self._writer_waits_s != timeout_s:
            wait_up_to(connection, timeout_s)
            self._writer_waits_s = timeout_s

    def _transaction(self, tenant: str, mode: str | None, waits_s: float) -> Iterator[SqliteWriter]:
        """Begin, and commit or roll back; an interrupt between any two calls finds its way out."""
        with translated("opening a transaction", waits_s):
            connection = self._write_connection(mode)
            self._let_writer_wait(connection, waits_s)
        writer = self._transaction_open = SqliteWriter(connection, tenant, self._timeout_s)
        has_begun = asked = False
        begun_s = monotonic()
        try:
            with translated("opening a transaction", waits_s):
                connection.execute("BEGIN IMMEDIATE")
            has_begun, begun_s = True, monotonic()
            yield writer
            self._process.refuse_forked()
            writer.finish()
            asked = True
            with translated("committing", self._timeout_s):
                connection.execute("COMMIT")
        except BaseException as error:
            if not self._process.is_here:  # what is open is the other's
                raise
            writer.close()  # from now on no other thread writes through it
            if asked and not isinstance(error, Exception) and not connection.in_transaction:
                writer.committed()  # it was told to stop when it had committed
            else:
                self._undo(connection)
                if not has_begun:
                    self._let_go(connection)
            raise
        finally:
            if has_begun:
                self.holds.note(monotonic() - begun_s)
        writer.close()
        writer.committed()

    def leave_to_parent(self) -> None:
        """Let a fork neither commit nor roll back what its parent has open, nor close it.

        SQLite would take it for this process' own, and change the log that both have in memory.
        """
        connection, self._writer = self._writer, None
        if connection is not None:
            keep_for_ever(connection)
        if self._transaction_open is not None:
            self._transaction_open.leave_to_parent()

    def _undo(self, connection: sqlite3.Connection) -> None:
        try:
            connection.rollback()
        except BaseException:
            self._let_go(connection)
            raise

    def _let_go(self, connection: sqlite3.Connection) -> None:
        """Close the connection that writes; the next writer opens another.

        One that is in a transaction is rolled back before: closing gives SQLite's lock back only
        once nobody holds a cursor any more.
        """
        self._writer = None
        connection.close()

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
        with held(self._locks, name, self._timeout_s if timeout_s is None else timeout_s):
            yield

    def take_places(self, counter: str, count: int, least: int = 0) -> int:
        self._process.refuse_forked()
        self._refuse_read_only()
        self._connections.refuse_closed()
        return self._places.take(counter, count, least, self._timeout_s)

    def give_places_back(self, counter: str, first: int, end: int) -> None:
        self._process.refuse_forked()
        self._refuse_read_only()
        self._places.give_back(counter, first, end, self._timeout_s)

    def watch(self) -> SqliteWatch:
        self._process.refuse_forked()
        self._connections.refuse_closed()
        with translated("watching the store", self._timeout_s):
            return SqliteWatch(self._connections.open(self._timeout_s, "ro"))

    def hurry(self, timeout_s: float) -> None:
        self._timeout_s = min(timeout_s, self._timeout_s)
        if self._writer is not None:
            self._let_writer_wait(self._writer, self._timeout_s)

    # --- being moved ---------------------------------------------------------------------------

    def places(self) -> dict[str, int]:
        """Return the next place of each counter."""
        return self._places.taken(self._timeout_s)

    @contextmanager
    def moving(self) -> Iterator[tuple[SqliteWriter, Callable[[], None]]]:
        """Keep everybody from writing; what is called in the block keeps them from it for good."""
        with self.write(SHARED) as writer:
            connection = self._write_connection()
            yield writer, partial(close_moved, connection)

    # --- erasing -------------------------------------------------------------------------------

    def scrub(self, gone: Collection[str] | None = ()) -> bool:
        if not self._empty_log():
            return False
        if not may_have(self._path, gone):
            return True
        held = self._take("", self._timeout_s)
        try:
            with translated("scrubbing the store", self._timeout_s):
                connection = self._write_connection()
                self._let_writer_wait(connection, self._timeout_s)
                connection.execute("VACUUM")
        finally:
            held.give_back()
        return self._empty_log()

    def _empty_log(self) -> bool:
        deadline, step_s = monotonic() + self._timeout_s, SCRUB_STEP_S
        while not (done := self._truncate_log(step_s)) and monotonic() < deadline:
            sleep(SCRUB_STEP_S)
            step_s = min(2 * step_s, max(deadline - monotonic(), SCRUB_STEP_S))
        return done

    def _truncate_log(self, timeout_s: float) -> bool:
        """Try to move the log into the file and to empty it; every writer waits for it."""
        held = self._writing.take("", self._timeout_s)
        if held is None:
            return False
        try:
            with translated("scrubbing the store", self._timeout_s):
                connection = self._write_connection()
                self._let_writer_wait(connection, min(timeout_s, self._timeout_s))
                found = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                return found[0] == 0
        finally:
            held.give_back()

    # --- its end -------------------------------------------------------------------------------

    def close(self) -> None:
        self._connections.close()
        held = self._take("", self._timeout_s)
        try:
            if self._writer is not None:
                self._let_go(self._writer)
        finally:
            held.give_back()


def _taken(line: Lines, name: str, timeout_s: float) -> Held:
    held = line.take(name, timeout_s)
    if held is None:
        raise StoreBusyError("the store", timeout_s=timeout_s)
    return held
