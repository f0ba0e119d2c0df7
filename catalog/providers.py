"""The catalog as DataFusion sees it: a catalog of schemas of tables, each at one snapshot.

Rules:
    - Planning and running a statement have no effect on the lake.
    - Every table of a statement is read at the statement's one snapshot.
    - A tenant's provider holds a :class:`~affidavit.catalog.catalog.Catalog` of that tenant, and so
      cannot name another's tables, whatever the SQL text says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import lance
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.types as pt
from datafusion import SessionContext
from datafusion.catalog import CatalogProvider, SchemaProvider, Table

from affidavit.catalog.names import MAIN_SCHEMA
from affidavit.catalog.predicate import And, Compare, In, Or, keep, read_expression
from affidavit.catalog.rows import ROWID_FIELD, definition_of, read_rows, read_table
from affidavit.catalog.store.protocol import ROWID
from affidavit.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    import pyarrow.compute as pc

    from affidavit.catalog.cache import CachedTable
    from affidavit.catalog.catalog import Catalog
    from affidavit.catalog.definition import MutableDefinition, TableInfo
    from affidavit.catalog.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader

EAGER_ROWS_MAX: Final = 1024
"""A table of up to so many rows is read whole when it is planned: that is cheaper than asking."""

DML_TARGET: Final = "target"
DML_SCHEMA: Final = "_dml"
"""Where a statement finds the tables that exist for it alone."""

SYSTEM_SCHEMA: Final = "system"


class Snapshot:
    """What one statement reads, and what its planning found out.

    Attributes:
        reader: The store's snapshot, or the open transaction.
        virtual: Tables that exist for this statement alone, under :data:`DML_SCHEMA`.
        prepared: Views and external tables that the statement names, planned beforehand.
        parameters: The statement's parameters, for table functions.
        reads: Every table that planning looked up, with the version it will read.
        missing: Names that planning looked up in vain.
        scans: The tables that running the plan will read from ``reader``.
        failure: What a provider raised, before DataFusion turned it into text.
    """

    def __init__(self, catalog: Catalog, reader: Reader, *, committed: bool) -> None:
        self.catalog = catalog
        self.reader = reader
        self.committed = committed
        self.virtual: dict[str, Any] = {}
        self.scans: dict[tuple[str, str], ScanDataset] = {}
        self.prepared: dict[tuple[str, str], Any] = {}
        self.parameters: dict[str, Any] = {}
        self.reads: list[tuple[TableInfo, int]] = []
        self.missing: list[str] = []
        self.failure: BaseException | None = None
        self._known: dict[tuple[str, str], TableInfo] = {}

    def fail(self, error: BaseException) -> None:
        """Keep the first error that a provider raised."""
        self.failure = self.failure or error

    def provider(self, schema: str, name: str) -> Any:  # noqa: ANN401 - DataFusion takes several
        """Return what DataFusion reads ``schema.name`` through, or ``None``."""
        if (schema, name) in self.prepared:
            return self.prepared[schema, name]
        if schema == DML_SCHEMA:
            return self.virtual.get(name)
        if schema == SYSTEM_SCHEMA:
            return _system_table(self, name)
        info = self._known.get((schema, name)) or self.catalog.find(self.reader, name, schema)
        if info is None:
            self.missing.append(name if schema == MAIN_SCHEMA else f"{schema}.{name}")
            return None
        if info.kind == "vector":
            dataset = self.catalog.lake.datasets.latest(info)
            self.reads.append((info, dataset.version))
            return Table(
                lance.FFILanceTableProvider(dataset, with_row_id=False, with_row_addr=False)
            )
        if info.kind == "mutable":
            self.reads.append((info, info.version))
            cached = self._in_cache(info)
            if cached is None:
                return self._scan((schema, name), MutableDataset(self, info))
            return cached.provider or Table(ArrowDataset(cached.data, self.fail))
        self.missing.append(name)
        return None

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

    def _scan(self, key: tuple[str, str], dataset: ScanDataset) -> Table:
        self.scans[key] = dataset
        return Table(dataset)

    def set_target(self, info: TableInfo) -> None:
        """Offer a mutable table with its ``_rowid`` column as DML's target."""
        dataset = MutableDataset(self, info, rowid=True)
        self.prepared[DML_SCHEMA, DML_TARGET] = self._scan((DML_SCHEMA, DML_TARGET), dataset)

    def read_whole(self) -> None:
        """Read every table that a plan would scan into memory, where DataFusion filters it."""
        for key, dataset in self.scans.items():
            batches = dataset.scan(dataset.schema.names, None)
            self.prepared[key] = memory_table(pa.Table.from_batches(batches, dataset.schema))


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
        with self._catalog.lake.store.read(self._catalog.tenant) as reader:
            return read(Snapshot(self._catalog, reader, committed=True))

    def schema_names(self) -> set[str]:
        """Return the schemas' names; the one for DML is not shown."""
        found = self.look(lambda snapshot: snapshot.catalog.schemas(snapshot.reader))
        return {*found, SYSTEM_SCHEMA}

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
        if self._name == SYSTEM_SCHEMA:
            return sorted(SYSTEM_TABLES)
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


class _Scanner:
    def __init__(self, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        self.projected_schema = schema
        self.to_batches = batches


class _Fragment:
    def __init__(self, dataset: ScanDataset) -> None:
        self._dataset = dataset

    def scanner(
        self,
        schema: pa.Schema | None = None,  # noqa: ARG002 - DataFusion passes the whole schema
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,  # noqa: A002 - pyarrow's name
        batch_size: int | None = None,  # noqa: ARG002 - batches come as the store hands them over
    ) -> _Scanner:
        return self._dataset.scanner(columns, filter)


class ScanDataset(pads.Dataset):  # type: ignore[misc]  # pyarrow's classes are untyped
    """A table that DataFusion scans by calling :meth:`scan` once an execution.

    DataFusion's planning asks for the projected schema only; its execution iterates the one
    fragment. A filter that it hands over is trusted to have been applied.
    """

    def __init__(self, schema: pa.Schema, fail: Callable[[BaseException], None]) -> None:
        self._schema_ = schema
        self._fail = fail

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._schema_

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows with exactly ``columns``."""
        raise NotImplementedError

    def scanner(
        self,
        columns: Sequence[str] | None = None,
        filter: pc.Expression | None = None,  # noqa: A002 - pyarrow's name
        **_: object,
    ) -> _Scanner:
        """Return what reads ``columns`` of the rows that match ``filter``."""
        names = self._schema_.names if columns is None else list(columns)
        schema = pa.schema([self._schema_.field(name) for name in names])

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                predicate = None if filter is None else read_expression(filter)
                yield from self.scan(names, predicate)
            except Exception as error:
                self._fail(error)
                raise

        return _Scanner(schema, batches)

    def get_fragments(self, filter: pc.Expression | None = None) -> Iterator[_Fragment]:  # noqa: A002, ARG002 - pyarrow's signature
        """Yield the one fragment."""
        yield _Fragment(self)


class ArrowDataset(ScanDataset):
    """A table in memory."""

    def __init__(self, data: pa.Table, fail: Callable[[BaseException], None]) -> None:
        super().__init__(data.schema, fail)
        self._data = data

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows."""
        return _project(iter(self._data.to_batches()), columns, predicate)


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
            return _without_columns(info.row_count)
        if not snapshot.committed or ROWID in columns or _uses_index(self._definition, predicate):
            return read_rows(snapshot.reader, info, columns, predicate)
        cache = snapshot.catalog.lake.cache
        cached = cache.get(info.table_id, info.version)
        if cached is not None:
            return _project(iter(cached.data.to_batches()), columns, predicate)
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
            yield from _project(iter([batch]), columns, predicate)
        cache.put(info.table_id, info.version, pa.Table.from_batches(batches, schema))


def _without_columns(rows: int) -> Iterator[pa.RecordBatch]:
    yield pa.RecordBatch.from_arrays([pa.nulls(rows)], names=["_"]).select([])


def _project(
    batches: Iterator[pa.RecordBatch], columns: list[str], predicate: Predicate | None
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
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
        quoted = ['"' + name.replace('"', '""') + '"' for name in data.schema.names]
        columns = [
            f"{name} {kind}" + ("" if field.nullable else " NOT NULL")
            for name, kind, field in zip(quoted, types, data.schema, strict=True)
        ]
        keys = ", ".join('"' + name.replace('"', '""') + '"' for name in primary_key)
        text = f"CREATE TABLE k ({', '.join(columns)}, PRIMARY KEY ({keys})) AS SELECT * FROM t"
        context.sql(text)
        return context.table_provider("k")
    return context.table_provider("t")


def _sql_type(kind: pa.DataType) -> str | None:
    if pt.is_decimal128(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return _SQL_TYPES.get(kind)


# --- the system schema ---------------------------------------------------------------------------


def _system_table(snapshot: Snapshot, name: str) -> Table | None:
    make = SYSTEM_TABLES.get(name)
    return None if make is None else Table(ArrowDataset(make(snapshot), snapshot.fail))


def tables_table(snapshot: Snapshot) -> pa.Table:
    """Return ``system.tables``: every table that the tenant sees."""
    rows = []
    for info in snapshot.catalog.tables(snapshot.reader):
        count, version = info.row_count if info.kind == "mutable" else None, info.version
        if info.kind == "vector":  # what Lance says, which a crash cannot make untrue
            dataset = snapshot.catalog.lake.datasets.latest(info)
            count, version = dataset.count_rows(), dataset.version
        rows.append(
            {
                "schema_name": info.schema,
                "name": info.name,
                "kind": info.kind,
                "rows": count,
                "version": version,
                "tenant": info.tenant or None,
            }
        )
    return pa.Table.from_pylist(rows, schema=_TABLES_SCHEMA)


_TABLES_SCHEMA: Final = pa.schema(
    [
        pa.field("schema_name", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("rows", pa.int64()),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("tenant", pa.string()),
    ]
)

SYSTEM_TABLES: Final[dict[str, Callable[[Snapshot], pa.Table]]] = {"tables": tables_table}
