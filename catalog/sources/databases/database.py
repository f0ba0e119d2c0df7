"""An attached database: its tables found, its rows streamed and written, its connections kept.

Rules:
    - A connection is used by one scan at a time and goes back when all rows were read. One whose
      scan was given up is told to cancel, and closed. When one fails all idle ones are closed, and
      the tables are looked for anew: the server may have gone, or a table have changed.
    - A scan that fails on a connection that was kept, before it has given a row, is done again.
    - What a driver raises is told as a SourceError that names the source, without a secret.
"""

from __future__ import annotations

from collections import deque
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyarrow as pa

from affidavit.catalog.sources.databases.driver import Insertion
from affidavit.catalog.sources.databases.interruptible import Interruptible, call
from affidavit.catalog.sources.databases.pool import Pool, close
from affidavit.catalog.sources.databases.running import Running
from affidavit.catalog.sources.databases.table import Select, SourceColumn, SourceTable
from affidavit.catalog.sources.databases.values import BadValueError
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import columns_of as columns_in
from affidavit.errors import AffidavitError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.sources.databases.driver import Driver
    from affidavit.catalog.sources.databases.tops import Top
    from affidavit.catalog.sql.predicate import Predicate

    Lend = Callable[[], AbstractContextManager[Any]]

T = TypeVar("T")

SHORT_ROWS_MAX: Final = 1_000
"""So many first rows of a table are read before any is given."""

AT_ONCE_BYTES: Final = 1 << 20
AT_ONCE_S: Final = 0.02
"""So much, or what came in this time, is handed on at once."""


def _nothing() -> None:
    """Check nothing."""


class Database:
    """An attached database.

    Args:
        name: What it was attached as.
        shown: Where it is, without secrets.
        driver: What is particular to it.
        hide: Takes secrets out of a text.
        check: Raises where it may not be connected to, or not any more.
        bad_is_null: Whether a value that cannot be given is NULL, and no error.
    """

    def __init__(
        self,
        name: str,
        shown: str,
        driver: Driver,
        hide: Callable[[str], str] = str,
        check: Callable[[], None] = _nothing,
        *,
        bad_is_null: bool = False,
    ) -> None:
        self.name = name
        self.shown = shown
        self.driver = driver
        self.pool = Pool(self._connect, driver.idle_max)
        self._hide = hide
        self._check = check
        self.bad_is_null = bad_is_null
        self._tables: Mapping[tuple[str, str], SourceTable] | None = None

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Tell what the driver raises as a SourceError."""
        try:
            yield
        except Exception as error:
            if isinstance(error, AffidavitError) and not isinstance(error, SourceError):
                raise
            reason = self._hide(" ".join(str(error).split()))
            place = f"source {self.name!r} ({self.shown})"
            if reason.startswith(place):
                raise
            told = f"{place}: {what}: {reason}"
            if isinstance(error, BadValueError):
                raise BadValueError(told, is_keyed=error.is_keyed) from None
            raise SourceError(told) from None

    def _connect(self) -> Any:  # noqa: ANN401 - a driver's connection
        self._check()
        with self.errors("connecting"):
            return call(self.driver.connect)

    def close(self) -> None:
        """Close every idle connection."""
        self.pool.close()

    def _forget(self) -> None:
        """Keep nothing that may be stale: the server may have gone, or a table have changed."""
        self._tables = None
        self.pool.close()

    def attempt(self, ask: Callable[[], T]) -> T:
        """Do what asks the database; once more if it fails where a kept connection may be why.

        Raises:
            SourceError: It failed for another reason; nothing that may be stale is kept.
        """
        had_idle = self.pool.has_idle
        try:
            return ask()
        except SourceError:
            self._forget()
            if not had_idle:
                raise
        return ask()

    # --- what there is -------------------------------------------------------------------------

    def tables(self, *, refresh: bool = False) -> Mapping[tuple[str, str], SourceTable]:
        """Return the tables and views, as they were when they were last looked for."""
        found = self._tables
        if found is None or refresh:
            found = self._tables = self.attempt(self._find_tables)
        return found

    def _find_tables(self) -> Mapping[tuple[str, str], SourceTable]:
        with self.pool.lend() as connection, self.errors("reading the catalog"):
            found = call(partial(self.driver.tables, connection))
        return {(each.schema, each.name): each for each in found}

    def query(self, sql: str) -> SourceTable:
        """Return what a query in the database's own SQL gives, as a table that is read."""
        with self._own() as connection, self.errors("preparing the query"):
            columns = call(partial(self.driver.query_columns, connection, sql))
        names = [each.name for each in columns]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            msg = f"two columns of the query are called {twice[0]!r}: name them with AS"
            raise SourceError(msg)
        return SourceTable("", "query", columns, query=sql)

    @contextmanager
    def _own(self) -> Iterator[Any]:
        """Lend a connection that nobody uses again: a query may have changed what it is set to."""
        connection = self._connect()
        try:
            yield connection
        finally:
            close(connection)

    # --- reading -------------------------------------------------------------------------------

    def select(
        self, table: SourceTable, columns: Sequence[str], predicate: Predicate | None
    ) -> Select:
        """Return the query that is sent for a scan, with the columns that its filter needs too."""
        needed = list(columns)
        if predicate is not None:
            needed += [name for name in sorted(columns_in(predicate)) if name not in columns]
        dialect = replace(self.driver.dialect, nulls=not self.bad_is_null)
        conditions = dialect.conditions(predicate, table.compared)
        is_sound = dialect.is_exact(predicate, table.sound(dialect))
        is_exact = is_sound if self.bad_is_null else dialect.is_exact(predicate, table.compared)
        return Select(
            dialect, table, tuple(needed), tuple(conditions), is_exact=is_exact,
            is_counted=is_sound,
            bad_is_null=self.bad_is_null and not table.is_written,
        )  # fmt: skip

    def first(self, select: Select, tops: Sequence[Top]) -> Select | None:
        """Return the query for those of its rows that are enough; ``None`` if all are needed."""
        table, dialect = select.table, select.dialect
        types = table.sound(dialect) if select.bad_is_null else table.ordered
        written = [dialect.top(each, types) for each in tops]
        known = tuple(each for each in written if each is not None)
        if not select.is_exact or len(known) < len(written) or (select.marked and len(known) > 1):
            return None
        is_short = sum(each.rows for each in tops) <= SHORT_ROWS_MAX
        return replace(select, tops=known, is_short=is_short)

    def expected(self, sql: str, running: Running) -> int | None:
        """Return how many rows the database expects a query to give, if it says."""
        with self.pool.lend() as connection, self.errors("explaining the query"):
            return call(partial(self.driver.expected, connection, sql, running), running.cancel)

    def count(
        self,
        select: Select,
        running: Running,
        lend: Lend | None = None,
        told: Callable[[str], None] | None = None,
    ) -> int:
        """Return how many rows a query selects; the arguments are those of :meth:`scan`."""
        column = SourceColumn("rows", pa.int64(), "", expression="count(*)")
        table = replace(select.table, columns=(column,), identity=(), key=())
        counting = replace(select, table=table, columns=(column.name,))
        found = list(self.scan(counting, None, counting.columns, running, lend, told))
        return int(found[0].column(0)[0].as_py())

    def scan(
        self,
        select: Select,
        predicate: Predicate | None,
        columns: Sequence[str],
        running: Running,
        lend: Lend | None = None,
        told: Callable[[str], None] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield ``columns`` of the rows of a query that match, a batch at a time as they come.

        Args:
            select: What is sent.
            predicate: The whole filter, which is asked here.
            columns: Those that are given.
            running: Where what is under way can be cancelled.
            lend: Where the connection comes from, if not from the pool.
            told: Told what the database calls the moment that is read, if it is to be on record
                and the database calls it something.
        """
        is_held = lend is not None
        is_new = bool(select.table.query) and not select.table.is_written  # is not asked twice
        lend = lend or (self._own if is_new else None)
        while True:
            had_idle, is_begun = self.pool.has_idle, False
            try:
                with (
                    (lend or self.pool.lend)() as connection,
                    self._moment(connection, select, told, is_begun=is_held),
                ):
                    for each in select.table.bases:
                        deque(self._batches(connection, each, running), maxlen=0)
                    for batch in self._batches(connection, select, running):
                        is_begun = True
                        yield keep(predicate, batch).select(list(columns))
            except BadValueError as error:
                self._name_row(error, select, running)
                raise
            except SourceError:
                self._forget()
                stays = is_begun or is_new or lend is not None or running.is_over
                if stays or not had_idle:
                    raise
                is_new = True
            else:
                return

    def _name_row(self, error: BadValueError, select: Select, running: Running) -> None:
        """Raise what names the row too that has a bad value: it is read again, with its key."""
        if error.is_keyed or not select.table.identity or running.is_over:
            return
        try:
            with self.pool.lend() as connection:
                for _ in self._batches(connection, select.keyed, running):
                    pass
        except BadValueError:
            raise
        except SourceError:
            return

    @contextmanager
    def _moment(
        self,
        connection: Any,  # noqa: ANN401 - a driver's connection
        select: Select,
        told: Callable[[str], None] | None,
        *,
        is_begun: bool,
    ) -> Iterator[None]:
        """Have a connection read at one moment, of which somebody wants to be told."""
        if told is None:
            yield
            return
        with self.errors(reading(select.table)):
            begun = not is_begun and call(partial(self.driver.begin_snapshot, connection))
            name = call(partial(self.driver.snapshot_name, connection))
        if name is not None:
            told(name)
        yield
        if begun:
            with self.errors(reading(select.table)):
                call(partial(self.driver.end_snapshot, connection))

    def _batches(
        self,
        connection: Any,  # noqa: ANN401 - a driver's connection
        select: Select,
        running: Running,
    ) -> Iterator[pa.RecordBatch]:
        with (
            closing(self.driver.batches(connection, select, running)) as batches,
            Interruptible(running.cancel) as waiting,
        ):
            most = 0  # the first comes alone: somebody may wait for it
            while True:
                with self.errors(reading(select.table)):
                    some = waiting.call(partial(_some, batches, most))
                if not some:
                    return
                yield from some
                most = AT_ONCE_BYTES

    # --- writing -------------------------------------------------------------------------------

    def insert(
        self,
        table: SourceTable,
        schema: pa.Schema,
        batches: Iterator[pa.RecordBatch],
        ready: Callable[[int], None],
        cancel: Callable[[], None],
    ) -> None:
        """Insert rows of some of a table's columns; all of them or none.

        Args:
            table: The table.
            schema: The columns that are given.
            batches: The rows; what raises here is raised as it is.
            ready: Called with how many rows there will be, when only the commit is left to be
                done; nothing is kept if it raises.
            cancel: Ends what ``batches`` waits for.
        """
        failed: list[BaseException] = []
        running, writing = Running(), f"writing {table.schema}.{table.name}"
        columns = table.chosen(schema.names)

        def given() -> Iterator[pa.RecordBatch]:
            try:
                for batch in batches:
                    running.refuse_over()
                    with self.errors(writing):
                        self.driver.check(columns, batch)
                    yield batch
            except BaseException as error:
                failed.append(error)
                raise

        def whole(rows: int) -> None:
            if failed:  # a driver may take rows that end in an error for all there are
                raise failed[0]
            ready(rows)

        def give_up() -> None:
            running.cancel()
            cancel()

        self._check()
        with self.errors("connecting"):
            connection = call(partial(self.driver.connect, writing=True))
        try:
            with self.errors(writing):
                reader = pa.RecordBatchReader.from_batches(schema, given())
                insertion = Insertion(table, reader, whole, running)
                call(partial(self.driver.insert, connection, insertion), give_up)
        except SourceError:
            if failed:
                raise failed[0] from None
            raise
        finally:
            close(connection)


def _some(batches: Iterator[pa.RecordBatch], most: int) -> list[pa.RecordBatch]:
    """Return the next batches, up to ``most`` bytes: to ask another thread for each takes long."""
    found: list[pa.RecordBatch] = []
    until, size = monotonic() + AT_ONCE_S, 0
    for batch in batches:
        found.append(batch)
        size += batch.nbytes
        if size >= most or monotonic() > until:
            break
    return found


def reading(table: SourceTable) -> str:
    """Return what an error says was done, where a table was read."""
    if table.query:
        return "running the query"
    return f"reading {table.schema}.{table.name}"
