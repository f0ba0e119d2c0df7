"""A database that is read through ADBC: its tables found, its rows streamed, its connections kept.

Rules:
    - A connection is used by one scan at a time and goes back when all rows were read. One whose
      scan was given up is told to cancel, and closed. When one fails all idle ones are closed, and
      the tables are looked for anew: the server may have gone, or a table have changed.
    - A scan that fails on a connection that was kept, before it has given a row, is done again.
    - What a driver raises is told as a SourceError that names the source, without a secret.
"""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.predicate import columns_of as columns_in
from affidavit.catalog.predicate import keep, read_expression
from affidavit.catalog.scan import ScanDataset
from affidavit.errors import AffidavitError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    import pyarrow.compute as pc

    from affidavit.catalog.predicate import Predicate
    from affidavit.catalog.sources.dialect import Dialect


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column of a source's table.

    Attributes:
        name: Its name.
        type: The Arrow type that its values are given as; ``None`` if it cannot be given.
        declared: The type in the database's words.
        expression: How it is selected, where not by its name; filters on it are not sent.
    """

    name: str
    type: pa.DataType | None
    declared: str
    expression: str = ""


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table or view of a source."""

    schema: str
    name: str
    columns: tuple[SourceColumn, ...]

    @property
    def arrow_schema(self) -> pa.Schema:
        """The columns that can be given."""
        return pa.schema(
            [pa.field(each.name, each.type) for each in self.columns if each.type is not None]
        )


class Driver(Protocol):
    """What is particular to one kind of database.

    Attributes:
        dialect: Its SQL, known for certain once there was a connection.
        idle_max: How many idle connections are kept.
    """

    dialect: Dialect
    idle_max: int

    def connect(self) -> Any:  # noqa: ANN401 - an ADBC DB-API connection
        """Open a connection."""

    def tables(self, connection: Any) -> list[SourceTable]:  # noqa: ANN401 - as above
        """Return every table and view."""

    def batches(
        self,
        connection: Any,  # noqa: ANN401 - an ADBC DB-API connection
        sql: str,
        schema: pa.Schema,
    ) -> Generator[pa.RecordBatch]:
        """Yield the rows of a query with exactly ``schema``, as they come."""


@dataclass(slots=True)
class Database:
    """An attached database.

    Attributes:
        name: What it was attached as.
        shown: Where it is, without secrets.
        driver: What is particular to it.
        hide: Takes secrets out of a text.
    """

    name: str
    shown: str
    driver: Driver
    hide: Callable[[str], str] = str
    _idle: list[Any] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _tables: dict[tuple[str, str], SourceTable] | None = None

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Tell what the driver raises as a SourceError."""
        try:
            yield
        except AffidavitError:
            raise
        except Exception as error:  # noqa: BLE001 - told as a SourceError, whatever it is
            reason = self.hide(" ".join(str(error).split()))
            msg = f"source {self.name!r} ({self.shown}): {what}: {reason}"
            raise SourceError(msg) from None

    # --- connections ---------------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Lend a connection; one whose use fails, or is given up, is closed."""
        with self._lock:
            taken = self._idle.pop() if self._idle else None
        if taken is None:
            with self.errors("connecting"):
                taken = self.driver.connect()
        whole = False
        try:
            yield taken
            whole = True
        finally:
            with self._lock:
                is_kept = whole and len(self._idle) < self.driver.idle_max
                if is_kept:
                    self._idle.append(taken)
            if not is_kept:
                with suppress(Exception):
                    taken.close()

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            with suppress(Exception):
                each.close()

    # --- what there is -------------------------------------------------------------------------

    def tables(self, *, refresh: bool = False) -> Mapping[tuple[str, str], SourceTable]:
        """Return the tables and views, as they were when they were last looked for."""
        if self._tables is None or refresh:
            with self.connection() as connection, self.errors("reading the catalog"):
                found = self.driver.tables(connection)
            self._tables = {(each.schema, each.name): each for each in found}
        return self._tables

    # --- reading -------------------------------------------------------------------------------

    def query(self, table: SourceTable, columns: Sequence[str], predicate: Predicate | None) -> str:
        """Return the SQL that is sent for a scan."""
        dialect = self.driver.dialect
        known = {each.name: each for each in table.columns}
        types = {
            each.name: each.type
            for each in table.columns
            if each.type is not None and not each.expression
        }
        names = ", ".join(known[name].expression or dialect.quoted(name) for name in columns) or "1"
        text = f"SELECT {names} FROM {dialect.quoted(table.schema)}.{dialect.quoted(table.name)}"
        where = dialect.where(predicate, types)
        return f"{text} WHERE {where}" if where else text

    def scan(
        self, table: SourceTable, columns: Sequence[str], predicate: Predicate | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows, a batch at a time as they come."""
        needed = list(columns)
        if predicate is not None:
            needed += [name for name in sorted(columns_in(predicate)) if name not in columns]
        text, schema = self.query(table, needed, predicate), table.arrow_schema
        wanted = pa.schema([schema.field(name) for name in needed])
        what = f"reading {table.schema}.{table.name}"
        is_new = False
        while True:
            had_idle, is_begun = bool(self._idle), False
            try:
                for batch in self._batches(what, text, wanted):
                    is_begun = True
                    yield keep(predicate, batch).select(list(columns))
            except SourceError:
                self._tables = None
                self.close()
                if is_begun or is_new or not had_idle:
                    raise
                is_new = True
            else:
                return

    def _batches(self, what: str, sql: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with (
            self.connection() as connection,
            closing(self.driver.batches(connection, sql, schema)) as batches,
        ):
            while True:
                with self.errors(what):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch


def adbc_batches(
    connection: Any,  # noqa: ANN401 - an ADBC DB-API connection
    sql: str,
    schema: pa.Schema,
) -> Generator[pa.RecordBatch]:
    """Yield the rows of a query through ADBC; the query is cancelled if they are not all read."""
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
        for batch in cursor.fetch_record_batch():
            yield _fitted(batch, schema)
    except GeneratorExit:
        with suppress(Exception):
            cursor.adbc_cancel()
        raise
    finally:
        with suppress(Exception):
            cursor.close()


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch as the columns were declared."""
    if not len(schema):
        return pa.RecordBatch.from_arrays([pa.nulls(batch.num_rows)], names=["_"]).select([])
    arrays = []
    for array, column in zip(batch.columns, schema, strict=True):
        plain = array.storage if isinstance(array, pa.ExtensionArray) else array
        if plain.type != column.type and pt.is_decimal(column.type) and pt.is_string(plain.type):
            plain = plain.cast(pa.decimal128(38, column.type.scale))
        arrays.append(plain.cast(column.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class SourceDataset(ScanDataset):
    """A table of a source, as DataFusion scans it.

    Args:
        database: The source.
        table: Its table.
        fail: Told what a scan raises.
        note: Told the source's name and the SQL that is sent there.
    """

    def __init__(
        self,
        database: Database,
        table: SourceTable,
        fail: Callable[[BaseException], None],
        note: Callable[[str, str], None],
    ) -> None:
        super().__init__(table.arrow_schema, fail)
        self._note = note
        self._database = database
        self._table = table

    def scanner(
        self,
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,  # noqa: A002 - pyarrow's name
        **rest: object,
    ) -> Any:  # noqa: ANN401 - what pyarrow's scanners have
        """Return what reads, and note what would be sent: planning asks too."""
        predicate = None if filter is None else read_expression(filter)
        names = self.schema.names if columns is None else list(columns)
        self._note(self._database.name, self._database.query(self._table, names, predicate))
        return super().scanner(columns, filter, **rest)

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        return self._database.scan(self._table, columns, predicate)
