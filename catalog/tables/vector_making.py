"""Vector tables made and dropped.

Rules:
    - A dataset reaches its place by a rename inside the transaction that defines it.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import lance
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.lake.catalog import new_table_id
from affidavit.catalog.lake.vectors.datasets import TABLE_ID, lance_errors, made_for, own_handle
from affidavit.catalog.model.definition import VECTOR, VectorDefinition
from affidavit.catalog.model.holds import refuse_held
from affidavit.catalog.model.making import create_text
from affidavit.catalog.sql.names import check_column_name, check_table_name
from affidavit.catalog.store.tables import FILES
from affidavit.catalog.tables.constraints.links import refuse_referred
from affidavit.catalog.tables.embedding.anew import (
    check_source,
    check_width,
    refuse_other_model,
)
from affidavit.catalog.tables.embedding.filling import filling, models_of
from affidavit.catalog.tables.files import Before, hashed, list_files, of_table
from affidavit.catalog.tables.intents import intended
from affidavit.catalog.tables.vector_rows import Incoming, keys_digest, vector_definition
from affidavit.catalog.values.ingest import new_rows
from affidavit.catalog.values.python.arguments import checked_text_or_none
from affidavit.catalog.values.python.schemas import schema_of
from affidavit.catalog.values.vectors import (
    METRICS,
    checked_on_bad,
    declared,
    of_any_length,
    vector_type,
)
from affidavit.errors import (
    ColumnNotFoundError,
    InvalidQueryError,
    OutcomeUnknownError,
    SchemaMismatchError,
    TableExistsError,
    TableNotFoundError,
    UnsupportedTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.values.python.schemas import Columns


def create_vector(
    catalog: Catalog,
    name: str,
    data: object = None,
    *,
    schema: Columns | None = None,
    key: str = "id",
    vector: str = "vector",
    metric: str = "cosine",
    model: str | None = None,
    source: str | None = None,
    on_bad: str = "error",
) -> TableInfo:
    """Create a vector table from ``data``, streamed, or empty from ``schema``.

    With a ``source`` a row that has no vector gets it of that column's text; where there is no
    column of vectors, it is the last. ``on_bad`` says what becomes of vectors that cannot be
    searched.

    Raises:
        TableExistsError: The name is taken.
        SchemaMismatchError: The data or schema has no usable key or vector column.
        ConstraintError: A key is NULL or duplicate, or a vector cannot be searched.
    """
    check_table_name(name)
    checked_text_or_none(model, "model")
    checked_text_or_none(source, "source")
    catalog.refuse_transaction("creating a vector table")
    if metric not in METRICS:
        msg = f"no metric {metric!r}; there are {list(METRICS)}"
        raise InvalidQueryError(msg)
    with catalog.read() as reader:
        _refuse_taken(catalog, reader, name)
    columns = None if schema is None else schema_of(schema)
    rows, first = _peeked(data, columns, name)
    dimension = None if model is None else models_of(catalog).dimension(model)
    said = rows.schema if columns is None else declared(rows.schema, columns)
    found = _with_vectors(catalog, said, name, vector, model, source)
    shape = _table_schema(found, name, key, vector, dimension, first)
    size = shape.field(vector).type.list_size
    definition = VectorDefinition(new_table_id(), key, vector, metric, size, model, source)
    if source is not None and dimension is not None:
        check_width(catalog, definition, table=name)
    every: Iterator[pa.RecordBatch] = chain([first] if first is not None else [], rows)
    bad: str | None = checked_on_bad(on_bad)
    if source is not None:
        every, bad = filling(catalog, name, definition, every, shape, on_bad), None
    incoming = Incoming(every, shape, name, definition, on_bad=bad)
    with catalog.lake.folders.staging() as staged:
        with incoming.errors(f"writing vector table {name!r}"):
            properties = {TABLE_ID: definition.table_id}
            lance.write_dataset(incoming.reader, str(staged), transaction_properties=properties)
        keys = incoming.unique_keys()
        return _install(catalog, name, definition, shape, staged, keys)


def _with_vectors(
    catalog: Catalog,
    found: pa.Schema,
    name: str,
    vector: str,
    model: str | None,
    source: str | None,
) -> pa.Schema:
    """Return the columns with that of the vectors, which need not come where a model makes them."""
    if source is None:
        return found
    if model is None:
        msg = f"vector table {name!r}: source={source!r} needs model=, which makes vectors of it"
        raise InvalidQueryError(msg)
    if vector not in found.names:
        kind = pa.list_(pa.float32(), models_of(catalog).width(model))
        found = found.append(pa.field(vector, kind))
    plain = [field.with_type(_without_view(field.type)) for field in found]
    check_source(pa.schema(plain), source, table=name)
    return found


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
    source = new_rows(data, None if schema is None else of_any_length(schema))
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
    catalog: Catalog,
    name: str,
    definition: VectorDefinition,
    shape: pa.Schema,
    staged: Path,
    keys: pa.Array,
) -> TableInfo:
    rows, digest, written = len(keys), keys_digest(keys), Before(set(), hashed(staged))
    with catalog.lake.store.lock(f"name {catalog.tenant}/{name}"):
        home = catalog.lake.folders.vector_table(catalog.tenant, name)
        moved = False
        try:
            with catalog.write() as writer:
                info = catalog.define(
                    writer, name, VECTOR.name, definition, row_count=rows, data_version=1
                )
                created = catalog.change(
                    info, "create", version_after=1, definition=definition.to_json(),
                    sql=create_text(writer, info, shape),
                )  # fmt: skip
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
                list_files(catalog, writer, info, range(1, 2), written)
        except OutcomeUnknownError:  # if nothing names it, whoever takes the place clears it
            raise
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


def drop_vector(
    catalog: Catalog, info: TableInfo, before: Callable[[Writer], None] = lambda _: None
) -> None:
    """Drop a vector table, every version of it; ``before`` is called in the same transaction."""
    catalog.refuse_transaction("dropping a vector table")
    catalog.refuse_shared(info)
    with catalog.lake.store.lock(info.table_id):
        with catalog.write() as writer:
            now = catalog.by_id(writer, info.table_id)
            if now is None:
                raise TableNotFoundError(info.name)
            info = now
            before(writer)
            refuse_referred(catalog, writer, info)
            refuse_held(writer, info.table_id)
            catalog.forget(writer, info)
            writer.delete_where(FILES, of_table(info))
            catalog.announce(writer, catalog.change(info, "drop", rows=info.row_count))
        catalog.lake.datasets.forget(info)
        catalog.lake.folders.discard(catalog.lake.datasets.path(info))


# --- made of an old version -----------------------------------------------------------------------


def restore(
    catalog: Catalog, info: TableInfo, dataset: lance.LanceDataset, version: int | str
) -> None:
    """Make the rows of a past version a new one; whoever calls it holds the table."""
    old = catalog.lake.datasets.at(info, version)
    refuse_other_model(info, int(old.version))
    definition = vector_definition(info)
    needed = (definition.key, definition.vector, definition.source)
    lacking = [name for name in needed if name is not None and name not in old.schema.names]
    if lacking:
        msg = (
            f"version {old.version} of {info.name!r} has no columns {lacking}, which the table "
            f"needs: it has {old.schema.names}; rename the column back first"
        )
        raise InvalidQueryError(msg)
    added = old.count_rows() - info.row_count  # the newest may be another program's
    lost = [name for name in dataset.schema.names if name not in old.schema.names]
    made = int(dataset.version) + 1
    change = catalog.change(
        info, "restore", rows=old.count_rows(), detail=str(version), loses=lost,
        version_before=dataset.version, version_after=made,
    )  # fmt: skip
    with (
        intended(catalog, info, dataset, [change], rows_added=added) as intent,
        catalog.write() as writer,
    ):
        refuse_referred(catalog, writer, info)
        catalog.announce(writer, change)
        catalog.touch(writer, info, rows=added)
        catalog.show(writer, info, made)
        intent.finish(writer)
        with lance_errors(f"restoring version {version} of {info.name!r}"):
            own_handle(old).restore()
        list_files(catalog, writer, info, range(made, made + 1))
