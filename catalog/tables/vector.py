"""Vector tables: Lance datasets with a unique key, versions and indexes.

Rules:
    - A dataset reaches its place by a rename inside the transaction that defines it.
"""

from __future__ import annotations

from dataclasses import replace as replaced
from itertools import chain
from typing import TYPE_CHECKING, Any

import lance
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.lake.catalog import new_table_id
from affidavit.catalog.lake.datasets import (
    TABLE_ID,
    check_columns,
    lance_errors,
    made_for,
    own_handle,
)
from affidavit.catalog.model.definition import VECTOR, VectorDefinition
from affidavit.catalog.sql.names import check_column_name, check_table_name
from affidavit.catalog.tables.handle import TableHandle
from affidavit.catalog.tables.indexing import (
    TEXT_INDEXES,
    VECTOR_INDEXES,
    Progress,
    build_index,
    checked_kind,
)
from affidavit.catalog.tables.intents import intended
from affidavit.catalog.tables.vector_rows import (
    Incoming,
    insert_vectors,
    keys_digest,
    locked,
    upsert_vectors,
    vector_definition,
)
from affidavit.catalog.values.ingest import to_reader
from affidavit.catalog.values.vectors import METRICS, vector_type
from affidavit.errors import (
    ColumnNotFoundError,
    InvalidQueryError,
    SchemaMismatchError,
    TableExistsError,
    TableNotFoundError,
    UnsupportedTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from pathlib import Path

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.change import Change
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.tables.intents import Intent


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
    with catalog.lake.folders.staging() as staged:
        with incoming.errors(f"writing vector table {name!r}"):
            properties = {TABLE_ID: definition.table_id}
            lance.write_dataset(incoming.reader, str(staged), transaction_properties=properties)
        keys = incoming.unique_keys()
        digest = keys_digest(keys)
        return _install(catalog, name, definition, staged, incoming.rows, digest)


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
    if '"' in key:  # Lance cannot merge by it
        msg = f"key column {key!r} of vector table {name!r}: double quotes are refused"
        raise SchemaMismatchError(msg)
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


def _install(
    catalog: Catalog, name: str, definition: VectorDefinition, staged: Path, rows: int, digest: str
) -> TableInfo:
    with catalog.lake.store.lock(f"name {catalog.tenant}/{name}"):
        home = catalog.lake.folders.vector_table(catalog.tenant, name)
        moved = False
        try:
            with catalog.write() as writer:
                info = catalog.define(writer, name, VECTOR.name, definition, row_count=rows)
                created = catalog.change(
                    info, "create", version_after=1, definition=definition.to_json()
                )
                catalog.announce(writer, created)
                if rows:
                    loaded = catalog.change(
                        info, "insert", rows=rows, version_after=1, keys_sha256=digest
                    )
                    catalog.announce(writer, loaded)
                _clear_orphan(catalog, writer, home)
                home.parent.mkdir(parents=True, exist_ok=True)
                staged.rename(home)
                moved = True
        except BaseException:
            if moved:
                catalog.lake.folders.discard(home)
            raise
    return info


def _clear_orphan(catalog: Catalog, writer: Writer, home: Path) -> None:
    """Clear the place of a new table of what a crash left there; refuse a stranger's dataset."""
    if not home.exists():
        return
    owner = made_for(home)
    if owner is None:
        raise TableExistsError(home.stem, kind="folder that affidavit did not write named")
    renamed = catalog.by_id(writer, owner)
    if renamed is None:
        catalog.lake.folders.discard(home)
    else:  # its renaming was cut off before the catalog knew of it
        home.rename(catalog.lake.datasets.path(renamed))


def drop_vector(catalog: Catalog, info: TableInfo) -> None:
    """Drop a vector table, every version of it."""
    catalog.refuse_transaction("dropping a vector table")
    catalog.refuse_shared(info)
    with catalog.lake.store.lock(info.table_id):
        with catalog.write() as writer:
            now = catalog.by_id(writer, info.table_id)
            if now is None:
                raise TableNotFoundError(info.name)
            info = now
            catalog.forget(writer, info)
            catalog.announce(writer, catalog.change(info, "drop", rows=info.row_count))
        catalog.lake.datasets.forget(info)
        catalog.lake.folders.discard(catalog.lake.datasets.path(info))


class VectorTable(TableHandle):
    """A handle on a vector table; it always reads and writes the newest version."""

    kind = VECTOR.name

    def __repr__(self) -> str:
        info = self._info()
        definition = vector_definition(info)
        return (
            f"VectorTable({self.name!r}, {self.count()} rows, version {self.version}, "
            f"{definition.vector}: {definition.dimension} dimensions, {definition.metric})"
        )

    def _info(self) -> TableInfo:
        with self._catalog.read() as reader:
            info = self._catalog.get(reader, self.name, self._schema)
        if info.kind != self.kind:
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
        with locked(self._catalog, self._info(), "inserting into a vector table") as (
            info,
            dataset,
        ):
            return insert_vectors(self._catalog, info, dataset, data)

    def upsert(self, data: object) -> int:
        """Insert rows, replacing those with the same key; return how many there were."""
        with locked(self._catalog, self._info(), "writing a vector table") as (info, dataset):
            return upsert_vectors(self._catalog, info, dataset, data)

    def tag(self, name: str, version: int | None = None) -> None:
        """Name a version, so that :meth:`optimize` keeps it; the newest one by default."""
        with (
            locked(self._catalog, self._info(), "tagging a vector table") as (info, dataset),
            self._catalog.write() as writer,
        ):
            at = dataset.version if version is None else version
            change = self._catalog.change(info, "tag", version_after=at, detail=name)
            self._catalog.announce(writer, change)
            with lance_errors(f"tagging version {at} of {self.name!r}"):
                own_handle(dataset).tags.create(name, at)

    def tags(self) -> dict[str, int]:
        """Return each tag's version."""
        return {name: int(tag["version"]) for name, tag in self._dataset().tags.list().items()}

    def restore(self, version: int | str) -> None:
        """Make the rows of a past version the newest version."""
        with locked(self._catalog, self._info(), "restoring a vector table") as (info, dataset):
            old = self._catalog.lake.datasets.at(info, version)
            added = old.count_rows() - dataset.count_rows()
            lost = [name for name in dataset.schema.names if name not in old.schema.names]
            change = self._catalog.change(
                info, "restore", rows=old.count_rows(), detail=str(version), loses=lost,
                version_before=dataset.version, version_after=dataset.version + 1,
            )  # fmt: skip
            with (
                intended(self._catalog, info, dataset, [change], rows_added=added) as intent,
                self._catalog.write() as writer,
            ):
                self._catalog.announce(writer, change)
                self._catalog.touch(writer, info, rows=added)
                intent.finish(writer)
                with lance_errors(f"restoring version {version} of {self.name!r}"):
                    own_handle(old).restore()

    def optimize(self, *, cleanup_older_than: timedelta | None = None) -> None:
        """Merge small fragments and bring the indexes up to date.

        Args:
            cleanup_older_than: Also delete versions older than this. Tagged versions stay; a
                search that read a deleted version cannot be replayed.
        """
        with locked(self._catalog, self._info(), "optimizing a vector table") as (info, shared):
            told = self._catalog.change(info, "optimize", version_before=shared.version)
            with intended(self._catalog, info, shared, [told]) as intent:
                with lance_errors(f"optimizing {self.name!r}"):
                    dataset = shared.checkout_version(shared.version)
                    dataset.optimize.compact_files()
                    dataset.optimize.optimize_indices()
                    dataset.checkout_latest()
                    if cleanup_older_than is not None:
                        dataset.cleanup_old_versions(
                            cleanup_older_than, error_if_tagged_old_versions=False
                        )
                self._note(info, told, shared, dataset.version, intent)

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
        kind = checked_kind(index_type)
        shown = (
            progress
            if callable(progress)
            else Progress(f"index on {self.name}.{column}", show=progress)
        )
        with locked(self._catalog, self._info(), "indexing a vector table") as (info, shared):
            check_columns(shared, [column], table=self.name)
            _check_suits(kind, column, shared.schema.field(column).type, self.name)
            dataset = shared.checkout_version(shared.version)
            given = {"num_partitions": num_partitions, "num_sub_vectors": num_sub_vectors}
            wanted = {**options, **{k: v for k, v in given.items() if v is not None}}
            told = self._catalog.change(
                info, "index", version_before=shared.version, detail=f"{kind} on {column}"
            )
            with intended(self._catalog, info, shared, [told]) as intent:
                try:
                    with lance_errors(f"building {kind} on {self.name}.{column}"):
                        build_index(
                            dataset, column, kind, metric=vector_definition(info).metric,
                            name=name, replace=replace, progress=shown, options=wanted,
                        )  # fmt: skip
                except TypeError as error:
                    msg = f"building {kind} on {self.name}.{column}: {error}"
                    raise InvalidQueryError(msg) from error
                finally:
                    if isinstance(shown, Progress):
                        shown.close()
                after = self._catalog.lake.datasets.latest(info).version
                self._note(info, told, shared, after, intent)

    def indexes(self) -> list[dict[str, Any]]:
        """Return the indexes of the newest version: ``name``, ``type``, ``fields``, ``uuid``."""
        with lance_errors(f"reading the indexes of {self.name!r}"):
            kept = ("name", "type", "fields", "uuid")
            return [{k: index[k] for k in kept} for index in self._dataset().list_indices()]

    def _note(
        self, info: TableInfo, told: Change, was: lance.LanceDataset, after: int, intent: Intent
    ) -> None:
        """Announce what Lance did by itself; take it back if a listener refuses."""
        try:
            with self._catalog.write() as writer:
                self._catalog.announce(writer, replaced(told, version_after=after))
                self._catalog.touch(writer, info)
                intent.finish(writer)
        except BaseException:
            was.checkout_version(was.version).restore()
            with self._catalog.write() as writer:  # the version is a new one, and nothing changed
                intent.finish(writer)
            raise


def _check_suits(kind: str, column: str, found: pa.DataType, table: str) -> None:
    if kind in VECTOR_INDEXES and not pt.is_fixed_size_list(found):
        msg = f"{kind} needs a vector column, and {column!r} of table {table!r} is {found}"
        raise InvalidQueryError(msg)
    if kind in TEXT_INDEXES and not (pt.is_string(found) or pt.is_large_string(found)):
        msg = f"{kind} needs a text column, and {column!r} of table {table!r} is {found}"
        raise InvalidQueryError(msg)
