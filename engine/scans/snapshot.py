"""The catalog as DataFusion sees it: a catalog of schemas of tables, each at one snapshot.

Rules:
    - Planning and running a statement have no effect on the lake.
    - Every table of a statement is read at the statement's one snapshot.
    - A tenant's provider holds a :class:`~affidavit.catalog.lake.catalog.Catalog` of that tenant,
      and so cannot name another's tables, whatever the SQL text says.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Self

import lance
import pyarrow as pa
import pyarrow.types as pt
from datafusion import SessionContext
from datafusion.catalog import CatalogProvider, SchemaProvider, Table

from affidavit.catalog.past.past import Past, PastTable, change_rows, change_schema
from affidavit.catalog.sources.databases.running import Running
from affidavit.catalog.sql.expression import quoted
from affidavit.catalog.sql.names import JOURNAL, MAIN_SCHEMA
from affidavit.catalog.sql.predicate import And, Compare, In, Or, columns_of, keep
from affidavit.catalog.sql.scan import ArrowDataset, ScanDataset, project, rows_without_columns
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.rows import ROWID_FIELD, definition_of, read_rows, read_table
from affidavit.catalog.topics.topic import TOPICS_SCHEMA, find_topic, topics
from affidavit.engine.scans.failures import Failures
from affidavit.engine.scans.system import SYSTEM_SCHEMA, SYSTEM_TABLES
from affidavit.engine.scans.topics import TopicDataset
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET
from affidavit.errors import ClosedError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from affidavit.catalog.lake.cache import CachedTable
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.past.past import Moment
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader
    from affidavit.errors import AffidavitError

EAGER_ROWS_MAX: Final = 1024
"""A table of up to so many rows is read whole when it is planned: that is cheaper than asking."""


class Snapshot:
    """What one statement reads, and what its planning found out.

    Attributes:
        reader: The store's snapshot, or the open transaction.
        virtual: Tables that exist for this statement alone, under :data:`DML_SCHEMA`.
        prepared: Views and external tables that the statement names, planned beforehand.
        external: What the log of statements calls the external ones.
        parameters: The statement's parameters, for table functions.
        missing: Names that planning looked up in vain.
        refused: Columns of sources that cannot be read, and their types there.
        sent: The SQL that scans of sources send, with the source's name.
        running: What runs in sources, to be cancelled when the statement is given up.
        scans: The tables that running the plan will read from ``reader``.
        others: What is read of attached lakes.
        opened: What to close when the statement is done: the snapshot is a context manager.
        hide: Takes secrets out of what is told.
    """

    def __init__(
        self,
        catalog: Catalog,
        reader: Reader,
        *,
        committed: bool,
        hide: Callable[[str], str] = str,
    ) -> None:
        self.catalog = catalog
        self.reader = reader
        self.committed = committed
        self.hide = hide
        self._transaction = None if committed else catalog.transactions.current()
        self.virtual: dict[str, Any] = {}
        self.scans: dict[tuple[str, str], ScanDataset] = {}
        self.prepared: dict[tuple[str, str], Any] = {}
        self.external: dict[tuple[str, str], str] = {}
        self.parameters: Mapping[str, Any] = {}
        self.missing: list[str] = []
        self.refused: dict[str, str] = {}
        self.sent: list[tuple[str, str]] = []
        self.running = Running()
        self._failures = Failures()
        self.others: dict[str, Snapshot] = {}
        self.opened = ExitStack()
        self._known: dict[tuple[str, str], TableInfo] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def bind(self, parameters: Mapping[str, Any]) -> None:
        """Take the statement's parameters."""
        self.parameters = parameters

    def note_read(self, info: TableInfo, version: int) -> None:
        """Note that planning looked a table up, and the version that it will read."""
        if self.catalog.trace is not None:
            self.catalog.trace.read[f"{info.schema}.{info.name}@{version}"] = None

    def note_name(self, name: str) -> None:
        """Note that planning looked up what is not the lake's own."""
        if self.catalog.trace is not None:
            self.catalog.trace.read[name] = None

    def run_here(self) -> None:
        """Note that the plan runs now: what it searches belongs to the transaction that is open."""
        self._transaction = self._transaction or self.catalog.transactions.current()

    def joined(self) -> AbstractContextManager[None]:
        """Act within the statement's transaction, whichever thread this is."""
        return self.catalog.transactions.joined(self._transaction)

    def fail(self, error: BaseException) -> None:
        """Keep the first error that a provider raised."""
        self._failures.add(error)

    @property
    def failure(self) -> BaseException | None:
        """What a provider raised, here or in an attached lake, before it was turned into text."""
        others = (other.failure for other in self.others.values())
        return self._failures.first or next(filter(None, others), None)

    def keep_unplanned(self, key: tuple[str, str], error: AffidavitError) -> None:
        """Keep why a table could not be planned, until it is read."""
        self._failures.keep_unplanned(key, error)

    def provider(self, schema: str, name: str) -> Any:  # noqa: ANN401 - DataFusion takes several
        """Return what DataFusion reads ``schema.name`` through, or ``None``."""
        self._failures.refuse_unplanned((schema, name))
        if (schema, name) in self.prepared:
            if (schema, name) in self.external:
                self.note_name(self.external[schema, name])
            return self.prepared[schema, name]
        if schema == DML_SCHEMA:
            return self.virtual.get(name)
        if schema == MAIN_SCHEMA and name == JOURNAL:
            return self._system_table(SYSTEM_SCHEMA, name)
        if schema in SYSTEM_TABLES:
            return self._system_table(schema, name)
        if schema == TOPICS_SCHEMA:
            return self._topic_table(name)
        if self.catalog.at is not None:
            return self._past_table(schema, name)
        info = self._known.get((schema, name)) or self.catalog.find(self.reader, name, schema)
        if info is None:
            self.missing.append(name if schema == MAIN_SCHEMA else f"{schema}.{name}")
            return None
        if info.kind == "vector":
            dataset = self.catalog.lake.datasets.latest(info)
            self.note_read(info, dataset.version)
            return Table(
                lance.FFILanceTableProvider(dataset, with_row_id=False, with_row_addr=False)
            )
        if info.kind == "mutable":
            self.note_read(info, info.version)
            cached = self._in_cache(info)
            if cached is None:
                return self.scan((schema, name), MutableDataset(self, info))
            return cached.provider or Table(ArrowDataset(cached.data, self.fail))
        self.missing.append(name)
        return None

    def note_sent(self, source: str, sql: str) -> None:
        """Note what is sent to a source."""
        if (source, sql) not in self.sent:
            self.sent.append((source, sql))

    def begin_running(self) -> Running:
        """Return what runs in sources for the plan that begins now, and for no plan before it."""
        if self.running.is_over:
            self.running = Running()
        return self.running

    def cancel(self) -> None:
        """Stop what runs in sources for the plan that runs."""
        self.running.cancel()

    def past(self, moment: Moment) -> Past:
        """Return what the tenant's lake held at ``moment``."""
        return Past(self.catalog, self.reader, moment, committed=self.committed)

    def past_table(self, table: PastTable, key: tuple[str, str]) -> Table:
        """Return what DataFusion reads a table of the past through."""
        if table.is_vector:
            assert table.info is not None
            dataset = table.dataset(self.catalog.lake.datasets)
            self.note_read(table.info, dataset.version)
            return Table(
                lance.FFILanceTableProvider(dataset, with_row_id=False, with_row_addr=False)
            )
        return self.scan(key, PastDataset(self, table))

    def _past_table(self, schema: str, name: str) -> Table | None:
        assert self.catalog.at is not None
        try:
            return self.past_table(self.past(self.catalog.at).table(name, schema), (schema, name))
        except TableNotFoundError:
            self.missing.append(name if schema == MAIN_SCHEMA else f"{schema}.{name}")
            return None

    def _system_table(self, schema: str, name: str) -> Table | None:
        make = SYSTEM_TABLES[schema].get(name)
        if make is None:
            self.missing.append(f"{schema}.{name}")
            return None
        return self.scan((schema, name), make(self))

    def _topic_table(self, name: str) -> Table | None:
        topic = find_topic(self.reader, name, self.catalog.tenant)
        if topic is None:
            self.missing.append(f"{TOPICS_SCHEMA}.{name}")
            return None
        return self.scan((TOPICS_SCHEMA, name), TopicDataset(self, topic))

    def prepare(self, names: Collection[str]) -> list[TableInfo]:
        """Look up the tables that a statement may name, and return those that are SQL texts.

        What takes a DataFusion context of its own to build is built here: a provider that is asked
        while DataFusion plans cannot plan.
        """
        texts = []
        for info in self.catalog.tables(self.reader, names):
            self._known[info.schema, info.name] = info
            if info.kind == "mutable":
                cached = self._in_cache(info)
                if cached is not None and cached.provider is None:
                    cached.provider = memory_table(cached.data, definition_of(info).primary_key)
            elif info.kind != "vector":
                texts.append(info)
        return texts

    def _in_cache(self, info: TableInfo) -> CachedTable | None:
        if not self.committed:
            return None
        cache = self.catalog.lake.cache
        cached = cache.get(info.table_id, info.version)
        if cached is None and info.row_count <= EAGER_ROWS_MAX:
            cached = cache.put(info.table_id, info.version, read_table(self.reader, info))
        return cached

    def scan(self, key: tuple[str, str], dataset: ScanDataset) -> Table:
        """Return a table that is scanned when the plan runs, or was read whole before."""
        held = self.prepared.get(key)
        if held is not None:
            return held
        self.scans[key] = dataset
        return Table(dataset)

    def set_target(self, info: TableInfo) -> None:
        """Offer a mutable table with its ``_rowid`` column as DML's target."""
        dataset = MutableDataset(self, info, rowid=True)
        self.prepared[DML_SCHEMA, DML_TARGET] = self.scan((DML_SCHEMA, DML_TARGET), dataset)

    @property
    def is_scanned(self) -> bool:
        """Whether running the plan will read from ``reader``, or an attached lake's."""
        return bool(self.scans) or any(other.is_scanned for other in self.others.values())

    def read_whole(self) -> None:
        """Read every table that a plan would scan into memory, where DataFusion filters it.

        Views are forgotten, and so planned anew over what is in memory.
        """
        self._failures.forget()
        self.prepared = {
            key: memory_table(
                pa.Table.from_batches(dataset.scan(dataset.schema.names, None), dataset.schema)
            )
            for key, dataset in self.scans.items()
        }
        for other in self.others.values():
            other.read_whole()


# --- the catalog ---------------------------------------------------------------------------------


class LakeCatalog(CatalogProvider):  # type: ignore[misc]  # DataFusion's classes are untyped
    """The catalog ``lake``, as one tenant sees it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.snapshot: Snapshot | None = None
        self._schemas: dict[str, LakeSchema] = {}
        self.on_register: Callable[[str, Any], None] | None = None

    def look(self, read: Callable[[Snapshot], Any]) -> Any:  # noqa: ANN401 - what ``read`` returns
        """Return ``read`` of the statement being planned, or of a snapshot of its own."""
        snapshot = self.snapshot
        if snapshot is not None:
            try:
                return read(snapshot)
            except ClosedError:
                pass  # a plan that runs asked while another was being planned, and was done
            except Exception as error:
                snapshot.fail(error)
                raise
        with (
            self._catalog.lake.store.read(self._catalog.tenant) as reader,
            Snapshot(self._catalog, reader, committed=True) as own,
        ):
            return read(own)

    def schema_names(self) -> set[str]:
        """Return the schemas' names; the one for DML is not shown."""
        found = self.look(lambda snapshot: snapshot.catalog.schemas(snapshot.reader))
        return {*found, *SYSTEM_TABLES, TOPICS_SCHEMA}

    def schema(self, name: str) -> LakeSchema | None:
        """Return a schema, if the tenant has it."""
        if name not in self._schemas:
            if name not in {MAIN_SCHEMA, DML_SCHEMA} and name not in self.schema_names():
                return None
            self._schemas[name] = LakeSchema(self, name)
        return self._schemas[name]


class LakeSchema(SchemaProvider):  # type: ignore[misc]  # as above
    """One schema of the catalog ``lake``."""

    def __init__(self, catalog: LakeCatalog, name: str) -> None:
        self._catalog = catalog
        self._name = name

    @property
    def table_names(self) -> list[str]:
        """The tables' names; DataFusion reads this as an attribute, and takes a sequence only."""
        if self._name in SYSTEM_TABLES:
            return sorted(SYSTEM_TABLES[self._name])
        if self._name == TOPICS_SCHEMA:
            found: list[str] = self._catalog.look(
                lambda snapshot: [
                    topic.name for topic in topics(snapshot.reader, snapshot.catalog.tenant)
                ]
            )
            return found
        names: list[str] = self._catalog.look(
            lambda snapshot: [
                info.name
                for info in snapshot.catalog.tables(snapshot.reader)
                if info.schema == self._name
            ]
        )
        return names

    def table(self, name: str) -> Any:  # noqa: ANN401 - DataFusion takes several
        """Return what DataFusion reads the table through, or ``None``."""
        return self._catalog.look(lambda snapshot: snapshot.provider(self._name, name))

    def table_exist(self, name: str) -> bool:
        """Return whether there is such a table."""
        if self._catalog.on_register is not None:
            return False
        return name in self.table_names

    def register_table(self, name: str, table: Any) -> None:  # noqa: ANN401 - DataFusion's
        """Take a table that DataFusion made, where a statement asked it to."""
        if self._catalog.on_register is None:
            msg = "tables are created through the session"
            raise NotImplementedError(msg)
        self._catalog.on_register(name, table)


# --- tables --------------------------------------------------------------------------------------


class MutableDataset(ScanDataset):
    """A mutable table: from the cache, by an index of the store, or read whole and then cached."""

    def __init__(self, snapshot: Snapshot, info: TableInfo, *, rowid: bool = False) -> None:
        self._definition = definition_of(info)
        schema = self._definition.schema
        super().__init__(schema.append(ROWID_FIELD) if rowid else schema, snapshot.fail)
        self._snapshot = snapshot
        self._info = info

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows, oldest first."""
        info, snapshot = self._info, self._snapshot
        if not columns and predicate is None:
            return rows_without_columns(info.row_count)
        if not snapshot.committed or ROWID in columns or _uses_index(self._definition, predicate):
            return read_rows(snapshot.reader, info, columns, predicate)
        cache = snapshot.catalog.lake.cache
        cached = cache.get(info.table_id, info.version)
        if cached is not None:
            return project(iter(cached.data.to_batches()), columns, predicate)
        if cache.may_fit(info.table_id, info.version):
            return self._read_and_keep(columns, predicate)
        return read_rows(snapshot.reader, info, columns, predicate)

    def _read_and_keep(
        self, columns: list[str], predicate: Predicate | None
    ) -> Iterator[pa.RecordBatch]:
        info, snapshot, schema = self._info, self._snapshot, self._definition.schema
        cache = snapshot.catalog.lake.cache
        source = read_rows(snapshot.reader, info, schema.names)
        batches = []
        for batch in source:
            batches.append(batch)
            if (
                len(batches) == 1
                and batch.nbytes / batch.num_rows * info.row_count > cache.budget_bytes
            ):
                cache.refuse(info.table_id, info.version)
                source.close()  # type: ignore[attr-defined]  # it is a generator
                yield from read_rows(snapshot.reader, info, columns, predicate)
                return
            yield from project(iter([batch]), columns, predicate)
        cache.put(info.table_id, info.version, pa.Table.from_batches(batches, schema))


class PastDataset(ScanDataset):
    """A mutable table at a moment, put together when the plan that reads it runs."""

    def __init__(self, snapshot: Snapshot, table: PastTable) -> None:
        schema = table.definition().schema
        nullable = [field.with_nullable(nullable=True) for field in schema]
        super().__init__(pa.schema(nullable), snapshot.fail)
        self._table = table

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        needed = [*columns, *sorted((columns_of(predicate) if predicate else set()) - {*columns})]
        names, rows = self._table.state(needed)
        if not columns and predicate is None:
            return rows_without_columns(len(names))
        return project(iter(rows.combine_chunks().to_batches()), columns, predicate)


class ChangesDataset(ScanDataset):
    """What happened to a table between two entries of the ledger."""

    def __init__(self, snapshot: Snapshot, table: PastTable, first: int, last: int) -> None:
        if table.is_vector:
            columns = table.dataset(snapshot.catalog.lake.datasets).schema
        else:
            columns = table.definition().schema
        super().__init__(change_schema(columns), snapshot.fail)
        self._snapshot = snapshot
        self._name = table.name
        self._span = (first, last)

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        catalog, reader = self._snapshot.catalog, self._snapshot.reader
        for table in change_rows(catalog, reader, self._name, *self._span):
            whole = table.select(self.schema.names).cast(self.schema).combine_chunks()
            for batch in whole.to_batches():
                yield keep(predicate, batch).select(columns)


def _uses_index(definition: MutableDefinition, predicate: Predicate | None) -> bool:
    """Return whether ``predicate`` can only hold where the first column of an index is bounded."""
    first = {key[0] for key in definition.unique_keys}
    first |= {index.columns[0] for index in definition.indexes}
    first |= {definition.order_column} if definition.order_column is not None else set()
    return predicate is not None and _bounds(predicate, first)


def _bounds(predicate: Predicate, columns: set[str]) -> bool:
    match predicate:
        case And(operands):
            return any(_bounds(each, columns) for each in operands)
        case Or(operands):
            return all(_bounds(each, columns) for each in operands)
        case Compare(op, column, _):
            return op != "!=" and column in columns
        case In(column):
            return column in columns
    return False


# --- tables in memory ----------------------------------------------------------------------------

_SQL_TYPES: Final = {
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.uint8(): "TINYINT UNSIGNED",
    pa.uint16(): "SMALLINT UNSIGNED",
    pa.uint32(): "INT UNSIGNED",
    pa.uint64(): "BIGINT UNSIGNED",
    pa.float32(): "REAL",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.string_view(): "VARCHAR",
    pa.date32(): "DATE",
    pa.timestamp("ns"): "TIMESTAMP",
    pa.time64("ns"): "TIME",
}


def memory_table(data: pa.Table, primary_key: Sequence[str] = ()) -> Table:
    """Return DataFusion's own in-memory table over ``data``.

    A primary key lets a query group by it and select the other columns. DataFusion takes
    constraints only from DDL, so it is declared wherever each type has a name in SQL.
    """
    context = SessionContext()
    batches = data.to_batches() or [pa.RecordBatch.from_pylist([], schema=data.schema)]
    context.register_record_batches("t", [batches])
    types = [_sql_type(kind) for kind in data.schema.types]
    if primary_key and all(types):
        columns = [
            f"{quoted(field.name)} {kind}" + ("" if field.nullable else " NOT NULL")
            for kind, field in zip(types, data.schema, strict=True)
        ]
        keys = ", ".join(map(quoted, primary_key))
        text = f"CREATE TABLE k ({', '.join(columns)}, PRIMARY KEY ({keys})) AS SELECT * FROM t"
        context.sql(text)
        return context.table_provider("k")
    return context.table_provider("t")


def _sql_type(kind: pa.DataType) -> str | None:
    if pt.is_decimal128(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return _SQL_TYPES.get(kind)
