"""Vector tables: Lance datasets with a unique key, versions and indexes.

Rules:
    - A writer holds the table's lock. Rows are written aside, every listener is told inside a store
      transaction, then Lance commits, then the store: an error before that leaves nothing visible.
    - A dataset reaches its place by a rename inside the transaction that defines it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import lance
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.catalog import new_table_id
from affidavit.catalog.dataset import (
    TABLE_ID,
    Staged,
    check_columns,
    check_unique,
    lance_errors,
    rows_with_keys,
    stage_append,
    stage_merge,
)
from affidavit.catalog.definition import VectorDefinition
from affidavit.catalog.expression import delete_text, update_text
from affidavit.catalog.indexing import (
    TEXT_INDEXES,
    VECTOR_INDEXES,
    Progress,
    build_index,
    checked_kind,
)
from affidavit.catalog.ingest import Watched, to_reader
from affidavit.catalog.mutable import checked_where
from affidavit.catalog.names import MAIN_SCHEMA, check_column_name, check_table_name
from affidavit.catalog.vectors import METRICS, fitted, vector_type
from affidavit.errors import (
    AffidavitError,
    ColumnNotFoundError,
    ConstraintError,
    InvalidQueryError,
    SchemaMismatchError,
    TableExistsError,
    TableNotFoundError,
    UnsupportedTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from affidavit.catalog.catalog import Catalog
    from affidavit.catalog.change import Change
    from affidavit.catalog.definition import TableInfo
    from affidavit.catalog.expression import Statements
    from affidavit.catalog.store.protocol import Reader


def vector_definition(info: TableInfo) -> VectorDefinition:
    """Return the definition of a table that is known to be a vector table."""
    assert isinstance(info.definition, VectorDefinition)
    return info.definition


# --- creating and dropping -----------------------------------------------------------------------


def create_vector(
    catalog: Catalog,
    name: str,
    data: object = None,
    *,
    schema: pa.Schema | None = None,
    key: str = "id",
    vector: str = "vector",
    metric: str = "cosine",
    model: str | None = None,
    dimension: int | None = None,
) -> TableInfo:
    """Create a vector table from ``data``, streamed, or empty from ``schema``.

    Raises:
        TableExistsError: The name is taken.
        SchemaMismatchError: The data or schema has no usable key or vector column.
        ConstraintError: A key is NULL or duplicate, or a vector cannot be searched.
    """
    check_table_name(name)
    catalog.refuse_transaction("creating a vector table")
    if metric not in METRICS:
        msg = f"no metric {metric!r}; there are {list(METRICS)}"
        raise InvalidQueryError(msg)
    with catalog.read() as reader:
        _refuse_taken(catalog, reader, name)
    source, first = _peeked(data, schema, name)
    shape = _table_schema(source.schema, name, key, vector, dimension, first)
    size = shape.field(vector).type.list_size
    definition = VectorDefinition(new_table_id(), key, vector, metric, size, model)
    incoming = Incoming(
        chain([first] if first is not None else [], source), shape, name, definition
    )
    with catalog.lake.staging() as staged:
        with incoming.errors(f"writing vector table {name!r}"):
            properties = {TABLE_ID: definition.table_id}
            lance.write_dataset(incoming.reader, str(staged), transaction_properties=properties)
        incoming.unique_keys()
        return _install(catalog, name, definition, staged, incoming.rows)


def _refuse_taken(catalog: Catalog, reader: Reader, name: str) -> None:
    existing = catalog.find(reader, name)
    if existing is not None and existing.tenant == catalog.tenant:
        raise TableExistsError(name)


def _peeked(
    data: object, schema: pa.Schema | None, name: str
) -> tuple[pa.RecordBatchReader, pa.RecordBatch | None]:
    if data is None:
        if schema is None:
            msg = f"vector table {name!r} needs data or schema="
            raise SchemaMismatchError(msg)
        return pa.RecordBatchReader.from_batches(schema, []), None
    source = to_reader(data, schema)
    first = next((batch for batch in source if batch.num_rows), None)
    return source, first


def _table_schema(
    found: pa.Schema,
    name: str,
    key: str,
    vector: str,
    dimension: int | None,
    first: pa.RecordBatch | None,
) -> pa.Schema:
    for field in found:
        check_column_name(field.name, search=True)
        if "." in field.name or "`" in field.name:
            msg = f"column {field.name!r} of vector table {name!r}: dots and backticks are refused"
            raise SchemaMismatchError(msg)
        if pt.is_null(field.type):
            raise UnsupportedTypeError(field.name, field.type, table=name)
    if key not in found.names:
        raise ColumnNotFoundError(key, table=name, known=found.names)
    key_type = found.field(key).type
    is_key = (pt.is_integer, pt.is_string, pt.is_large_string, pt.is_string_view)
    if not any(fits(key_type) for fits in is_key):
        msg = f"key {key!r} of vector table {name!r} must be integers or text, not {key_type}"
        raise SchemaMismatchError(msg)
    kind = vector_type(found, vector, table=name, dimension=dimension, first=first)
    fields = []
    for field in found:
        if field.name == vector:
            fields.append(pa.field(vector, kind, nullable=field.nullable))
        elif field.name == key:
            fields.append(pa.field(key, _without_view(key_type), nullable=False))
        else:
            fields.append(field.with_type(_without_view(field.type)))
    return pa.schema(fields)


def _without_view(kind: pa.DataType) -> pa.DataType:
    # Lance keeps no view types; the values are the same
    if pt.is_string_view(kind):
        return pa.string()
    return pa.binary() if pt.is_binary_view(kind) else kind


class Incoming:
    """Rows on their way into a dataset: fitted and checked as they stream, their keys noted."""

    def __init__(
        self,
        batches: Iterator[pa.RecordBatch],
        schema: pa.Schema,
        table: str,
        definition: VectorDefinition,
    ) -> None:
        self._definition = definition
        self._table = table
        self._keys: list[pa.Array] = []
        self._key_type = schema.field(definition.key).type
        checked = fitted(
            batches, schema, table=table, vector=definition.vector, metric=definition.metric
        )
        self._watched = Watched(self._noting(checked))
        self.reader = pa.RecordBatchReader.from_batches(schema, self._watched)

    def _noting(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for field in batch.schema:
                if not field.nullable and batch[field.name].null_count:
                    at = self.rows + batch[field.name].is_null().index(value=True).as_py()
                    msg = f"column {field.name!r} of {self._table!r} is NOT NULL: row {at} has NULL"
                    raise ConstraintError(msg)
            self._keys.append(batch[self._definition.key])
            yield batch

    @property
    def rows(self) -> int:
        """How many rows came so far."""
        return sum(map(len, self._keys))

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Raise what the rows raised, where Lance would say it in its own words."""
        try:
            with lance_errors(what):
                yield
        except AffidavitError:
            if isinstance(self._watched.error, AffidavitError):
                raise self._watched.error from None
            raise

    def unique_keys(self) -> pa.Array:
        """Return the keys of every row; ConstraintError if one is NULL or stands twice."""
        keys = pa.chunked_array(self._keys, self._key_type)
        return check_unique(keys, key=self._definition.key, table=self._table)


def _install(
    catalog: Catalog, name: str, definition: VectorDefinition, staged: Path, rows: int
) -> TableInfo:
    with catalog.lake.store.lock(f"name {catalog.tenant}/{name}"):
        home = catalog.lake.vector_path(catalog.tenant, name)
        moved = False
        try:
            with catalog.write() as writer:
                info = catalog.define(writer, name, "vector", definition, row_count=rows)
                catalog.announce(writer, catalog.change(info, "create", version_after=1))
                if rows:
                    loaded = catalog.change(info, "insert", rows=rows, version_after=1)
                    catalog.announce(writer, loaded)
                _clear_orphan(catalog, home)
                home.parent.mkdir(parents=True, exist_ok=True)
                staged.rename(home)
                moved = True
        except BaseException:
            if moved:
                catalog.lake.discard(home)
            raise
    return info


def _clear_orphan(catalog: Catalog, home: Path) -> None:
    """Remove a dataset that a crash left where no definition names it; refuse a stranger's."""
    if not home.exists():
        return
    try:
        oldest = lance.dataset(str(home))
        properties = oldest.read_transaction(1).transaction_properties
    except (OSError, ValueError, RuntimeError):
        properties = {}
    if TABLE_ID not in properties:
        raise TableExistsError(home.stem, kind="folder that affidavit did not write named")
    catalog.lake.discard(home)


def drop_vector(catalog: Catalog, info: TableInfo) -> None:
    """Drop a vector table, every version of it."""
    catalog.refuse_transaction("dropping a vector table")
    catalog.refuse_shared(info)
    with catalog.lake.store.lock(info.table_id):
        with catalog.write() as writer:
            catalog.forget(writer, info)
            catalog.announce(writer, catalog.change(info, "drop", rows=info.row_count))
        catalog.lake.datasets.forget(info)
        catalog.lake.discard(catalog.lake.datasets.path(info))


# --- changing rows -------------------------------------------------------------------------------


@contextmanager
def locked(catalog: Catalog, info: TableInfo, what: str) -> Iterator[lance.LanceDataset]:
    """Hold the table's lock against every other writer, and yield its newest version."""
    catalog.refuse_transaction(what)
    catalog.refuse_shared(info)
    with catalog.lake.store.lock(info.table_id):
        yield catalog.lake.datasets.latest(info)


def _commit(
    catalog: Catalog, info: TableInfo, staged: Staged, changes: Sequence[Change], *, added: int
) -> None:
    """Announce, commit in Lance, then in the store; on an error before that, discard."""
    try:
        with catalog.write() as writer:
            for change in changes:
                numbered = replace(
                    change,
                    version_before=int(staged.dataset.version),
                    version_after=staged.version_after,
                )
                catalog.announce(writer, numbered)
            catalog.touch(writer, info, rows=added)
            staged.commit({TABLE_ID: info.table_id})
    except BaseException:
        staged.discard()
        raise


def insert_vectors(
    catalog: Catalog, info: TableInfo, dataset: lance.LanceDataset, data: object
) -> int:
    """Append rows, streamed, under the table's lock; return how many there were.

    Raises:
        ConstraintError: A key is there already, or twice in the data; nothing is kept.
    """
    definition = vector_definition(info)
    source = to_reader(data, dataset.schema)
    incoming = Incoming(iter(source), dataset.schema, info.name, definition)
    with incoming.errors(f"writing vector table {info.name!r}"):
        staged = stage_append(dataset, incoming.reader)
    if not incoming.rows:
        return 0
    try:
        keys = incoming.unique_keys()
        _refuse_present(dataset, info, keys)
    except BaseException:
        staged.discard()
        raise
    change = catalog.change(info, "insert", rows=len(keys))
    _commit(catalog, info, staged, [change], added=len(keys))
    return len(keys)


def _refuse_present(dataset: lance.LanceDataset, info: TableInfo, keys: pa.Array) -> None:
    key = vector_definition(info).key
    present = rows_with_keys(dataset, key, keys, [key])
    if present.num_rows:
        value = present[key][0].as_py()
        msg = f"vector table {info.name!r} has a row with {key} = {value!r} already"
        raise ConstraintError(msg)


def upsert_vectors(
    catalog: Catalog,
    info: TableInfo,
    dataset: lance.LanceDataset,
    data: object,
    *,
    insert: bool = True,
) -> int:
    """Replace rows of equal key, under the table's lock; insert the others unless told not to."""
    return merge_vectors(catalog, info, dataset, data, insert=insert)


def merge_vectors(
    catalog: Catalog,
    info: TableInfo,
    dataset: lance.LanceDataset,
    data: object,
    *,
    insert: bool = True,
    fresh: pa.Table | None = None,
    deleted: pa.Table | None = None,
) -> int:
    """Replace, insert and delete rows in one version, under the table's lock.

    Args:
        catalog: Who does it.
        info: The table.
        dataset: Its newest version.
        data: Rows that replace those of equal key.
        insert: Whether rows of ``data`` with a new key are inserted, or left out.
        fresh: Rows whose keys must be new.
        deleted: The images of rows to delete.

    Returns:
        How many rows were replaced, inserted and deleted.

    Raises:
        ConstraintError: Two rows have one key, or a row of ``fresh`` is there already.
    """
    definition = vector_definition(info)
    key = definition.key
    source = to_reader(data, dataset.schema)
    more = fresh.to_batches() if fresh is not None else []
    incoming = Incoming(iter(chain(source, more)), dataset.schema, info.name, definition)
    with incoming.errors(f"reading the rows for vector table {info.name!r}"):
        after = incoming.reader.read_all()
    keys = incoming.unique_keys()
    gone = deleted if deleted is not None else dataset.schema.empty_table()
    if not len(keys) and not gone.num_rows:
        return 0
    with lance_errors(f"writing vector table {info.name!r}"):
        before = rows_with_keys(dataset, key, keys)
        if fresh is not None:
            _refuse_fresh(info, key, fresh, before, gone)
        staged = stage_merge(dataset, key, after, insert=insert, delete=gone[key])
    changes, added = _merge_changes(catalog, info, before, after, gone, insert=insert)
    _commit(catalog, info, staged, changes, added=added)
    return sum(change.rows for change in changes)


def _refuse_fresh(
    info: TableInfo, key: str, fresh: pa.Table, before: pa.Table, gone: pa.Table
) -> None:
    present = pc.is_in(fresh[key], pa.array(before[key].to_pylist(), fresh[key].type))
    leaving = pc.is_in(fresh[key], pa.array(gone[key].to_pylist(), fresh[key].type))
    clash = fresh.filter(pc.and_not(present, leaving))
    if clash.num_rows:
        value = clash[key][0].as_py()
        msg = f"vector table {info.name!r} has a row with {key} = {value!r} already"
        raise ConstraintError(msg)


def _merge_changes(
    catalog: Catalog,
    info: TableInfo,
    before: pa.Table,
    after: pa.Table,
    gone: pa.Table,
    *,
    insert: bool,
) -> tuple[list[Change], int]:
    """Return what a merge does as changes, images aligned, and by how many rows the table grows."""
    key = vector_definition(info).key
    at = pc.index_in(after[key], before[key].combine_chunks())
    replaced = after.filter(at.is_valid())
    new = after.filter(at.is_null())
    changes, added = [], -gone.num_rows
    if gone.num_rows:
        changes.append(catalog.change(info, "delete", rows=gone.num_rows, before=gone))
    if replaced.num_rows:
        old = before.take(at.drop_null())
        changes.append(
            catalog.change(info, "update", rows=len(replaced), before=old, after=replaced)
        )
    if new.num_rows and insert:
        changes.append(catalog.change(info, "insert", rows=new.num_rows, after=new))
        added += new.num_rows
    return changes, added


def delete_vectors(
    catalog: Catalog, info: TableInfo, dataset: lance.LanceDataset, before: pa.Table
) -> int:
    """Delete the rows whose images are ``before``, under the table's lock."""
    if not before.num_rows:
        return 0
    return merge_vectors(catalog, info, dataset, dataset.schema.empty_table(), deleted=before)


class VectorTable:
    """A handle on a vector table; it always reads and writes the newest version."""

    kind = "vector"

    def __init__(
        self, catalog: Catalog, statements: Statements, name: str, schema: str = MAIN_SCHEMA
    ) -> None:
        self._catalog = catalog
        self._statements = statements
        self._schema = schema
        self.name = name

    def __repr__(self) -> str:
        info = self._info()
        definition = vector_definition(info)
        return (
            f"VectorTable({self.name!r}, {self.count()} rows, version {self.version}, "
            f"{definition.vector}: {definition.dimension} dimensions, {definition.metric})"
        )

    def __len__(self) -> int:
        return self.count()

    def _info(self) -> TableInfo:
        with self._catalog.read() as reader:
            info = self._catalog.get(reader, self.name, self._schema)
        if info.kind != "vector":
            raise TableNotFoundError(self.name)
        return info

    def _dataset(self) -> lance.LanceDataset:
        return self._catalog.lake.datasets.latest(self._info())

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema; vectors are fixed-size lists."""
        return self._dataset().schema

    @property
    def key(self) -> str:
        """The key column."""
        return vector_definition(self._info()).key

    @property
    def metric(self) -> str:
        """How vectors are compared: ``cosine``, ``l2`` or ``dot``."""
        return vector_definition(self._info()).metric

    @property
    def model(self) -> str | None:
        """The embedding model that queries given as text are encoded with."""
        return vector_definition(self._info()).model

    @property
    def version(self) -> int:
        """The newest version's number."""
        return int(self._dataset().version)

    def versions(self) -> list[dict[str, Any]]:
        """Return every version that is kept: ``version``, ``timestamp``, ``metadata``."""
        with lance_errors(f"reading the versions of {self.name!r}"):
            return list(self._dataset().versions())

    def count(self) -> int:
        """Return how many rows there are."""
        return int(self._dataset().count_rows())

    def to_arrow(self) -> pa.Table:
        """Return every row of the newest version."""
        with lance_errors(f"reading vector table {self.name!r}"):
            return self._dataset().to_table()

    def to_lance(self) -> lance.LanceDataset:
        """Return the newest version as Lance's own dataset, to be read."""
        return self._dataset()

    def insert(self, data: object) -> int:
        """Append rows, streamed, and return how many there were: all of them, or none.

        Raises:
            ConstraintError: A key is NULL, there already, or twice in the data; or a vector has
                NaN or infinity, or is zero where the metric is cosine.
            SchemaMismatchError: A column does not fit, or a vector has another dimension.
        """
        info = self._info()
        with locked(self._catalog, info, "inserting into a vector table") as dataset:
            return insert_vectors(self._catalog, info, dataset, data)

    def upsert(self, data: object) -> int:
        """Insert rows, replacing those with the same key; return how many there were."""
        info = self._info()
        with locked(self._catalog, info, "writing a vector table") as dataset:
            return upsert_vectors(self._catalog, info, dataset, data)

    def update(self, set: Mapping[str, object], where: str) -> int:  # noqa: A002 - SQL's word
        """Set columns of the matching rows, and return how many there were.

        Args:
            set: Column to value; ``affidavit.expr("n + 1")`` for an SQL expression.
            where: An SQL predicate; ``"true"`` for every row.
        """
        if not set:
            msg = "update needs at least one column to set"
            raise InvalidQueryError(msg)
        text, params = update_text(self._schema, self.name, set, checked_where(where))
        return self._statements.run(text, params)

    def delete(self, where: str) -> int:
        """Delete the rows that match an SQL predicate, and return how many there were."""
        return self._statements.run(delete_text(self._schema, self.name, checked_where(where)), {})

    def tag(self, name: str, version: int | None = None) -> None:
        """Name a version, so that :meth:`optimize` keeps it; the newest one by default."""
        info = self._info()
        with (
            locked(self._catalog, info, "tagging a vector table") as dataset,
            self._catalog.write() as writer,
        ):
            at = dataset.version if version is None else version
            change = self._catalog.change(info, "tag", version_after=at, detail=name)
            self._catalog.announce(writer, change)
            with lance_errors(f"tagging version {at} of {self.name!r}"):
                dataset.tags.create(name, at)

    def tags(self) -> dict[str, int]:
        """Return each tag's version."""
        return {name: int(tag["version"]) for name, tag in self._dataset().tags.list().items()}

    def restore(self, version: int | str) -> None:
        """Make the rows of a past version the newest version."""
        info = self._info()
        with locked(self._catalog, info, "restoring a vector table") as dataset:
            old = self._catalog.lake.datasets.at(info, version)
            with self._catalog.write() as writer:
                change = self._catalog.change(
                    info, "restore", rows=old.count_rows(), detail=str(version),
                    version_before=dataset.version, version_after=dataset.version + 1,
                )  # fmt: skip
                self._catalog.announce(writer, change)
                added = old.count_rows() - dataset.count_rows()
                self._catalog.touch(writer, info, rows=added)
                with lance_errors(f"restoring version {version} of {self.name!r}"):
                    old.restore()

    def optimize(self, *, cleanup_older_than: timedelta | None = None) -> None:
        """Merge small fragments and bring the indexes up to date.

        Args:
            cleanup_older_than: Also delete versions older than this. Tagged versions stay; a
                search that read a deleted version cannot be replayed.
        """
        info = self._info()
        with locked(self._catalog, info, "optimizing a vector table") as shared:
            with lance_errors(f"optimizing {self.name!r}"):
                dataset = shared.checkout_version(shared.version)
                dataset.optimize.compact_files()
                dataset.optimize.optimize_indices()
                dataset.checkout_latest()
                if cleanup_older_than is not None:
                    dataset.cleanup_old_versions(
                        cleanup_older_than, error_if_tagged_old_versions=False
                    )
            self._note(info, "optimize", shared.version, dataset.version)

    def create_index(
        self,
        column: str,
        index_type: str = "IVF_PQ",
        num_partitions: int | None = None,
        num_sub_vectors: int | None = None,
        *,
        name: str | None = None,
        replace: bool = True,
        progress: bool | Callable[[Any], None] | None = None,
        **options: Any,  # noqa: ANN401 - what the kind of index takes
    ) -> None:
        """Build an index and commit it as a new version.

        Args:
            column: A vector column for ``IVF_PQ``, ``IVF_FLAT``, ``IVF_HNSW_SQ``; a text column
                for ``FTS``; any other for ``BTREE``, ``BITMAP``, ``LABEL_LIST``.
            index_type: One of those, in any case.
            num_partitions: IVF cells; about one for 4,096 rows by default.
            num_sub_vectors: Bytes a vector is quantized to; a divisor of the dimension by default.
            name: The index's name; Lance's ``<column>_idx`` by default.
            replace: Replace an index of that name.
            progress: Show a bar for long builds; by default if standard error is a terminal. Or a
                callable that is given Lance's progress events.
            options: Handed to Lance, such as ``base_tokenizer="ngram"``.

        Raises:
            ColumnNotFoundError: There is no such column.
            InvalidQueryError: The kind does not suit the column, or an option is wrong.
        """
        info = self._info()
        kind = checked_kind(index_type)
        shown = (
            progress
            if callable(progress)
            else Progress(f"index on {self.name}.{column}", show=progress)
        )
        with locked(self._catalog, info, "indexing a vector table") as shared:
            check_columns(shared, [column], table=self.name)
            _check_suits(kind, column, shared.schema.field(column).type, self.name)
            dataset = shared.checkout_version(shared.version)
            given = {"num_partitions": num_partitions, "num_sub_vectors": num_sub_vectors}
            wanted = {**options, **{k: v for k, v in given.items() if v is not None}}
            try:
                with lance_errors(f"building {kind} on {self.name}.{column}"):
                    build_index(
                        dataset, column, kind, metric=vector_definition(info).metric, name=name,
                        replace=replace, progress=shown, options=wanted,
                    )  # fmt: skip
            except TypeError as error:
                msg = f"building {kind} on {self.name}.{column}: {error}"
                raise InvalidQueryError(msg) from error
            finally:
                if isinstance(shown, Progress):
                    shown.close()
            after = self._catalog.lake.datasets.latest(info).version
            self._note(info, "index", shared.version, after, f"{kind} on {column}")

    def indexes(self) -> list[dict[str, Any]]:
        """Return the indexes of the newest version: ``name``, ``type``, ``fields``, ``uuid``."""
        with lance_errors(f"reading the indexes of {self.name!r}"):
            kept = ("name", "type", "fields", "uuid")
            return [{k: index[k] for k in kept} for index in self._dataset().list_indices()]

    def _note(
        self, info: TableInfo, action: str, before: int, after: int, detail: str = ""
    ) -> None:
        with self._catalog.write() as writer:
            change = self._catalog.change(
                info, action, version_before=before, version_after=after, detail=detail
            )
            self._catalog.announce(writer, change)
            self._catalog.touch(writer, info)


def _check_suits(kind: str, column: str, found: pa.DataType, table: str) -> None:
    if kind in VECTOR_INDEXES and not pt.is_fixed_size_list(found):
        msg = f"{kind} needs a vector column, and {column!r} of table {table!r} is {found}"
        raise InvalidQueryError(msg)
    if kind in TEXT_INDEXES and not (pt.is_string(found) or pt.is_large_string(found)):
        msg = f"{kind} needs a text column, and {column!r} of table {table!r} is {found}"
        raise InvalidQueryError(msg)
