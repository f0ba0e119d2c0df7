"""Columns of tables: added, dropped and renamed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
from lance.udf import batch_udf

from affidavit.catalog.model.definition import VectorDefinition
from affidavit.catalog.sql.names import check_column_name
from affidavit.catalog.store.protocol import ROWID, StoreColumn
from affidavit.catalog.tables.altering.redefine import (
    alter_dataset,
    current,
    mutable_definition,
    redefine,
)
from affidavit.catalog.tables.altering.users import refuse_used
from affidavit.catalog.tables.rows import definition_of, read_table
from affidavit.catalog.values.codecs import codec_for, encode_scalar
from affidavit.catalog.values.vectors import faults_of, is_vector_type
from affidavit.errors import (
    ColumnNotFoundError,
    ConstraintError,
    InvalidNameError,
    TableExistsError,
    UnsupportedTypeError,
)

if TYPE_CHECKING:
    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Writer


def _known(catalog: Catalog, info: TableInfo) -> list[str]:
    if isinstance(info.definition, VectorDefinition):
        return list(catalog.lake.datasets.visible(info).schema.names)
    return list(mutable_definition(info).schema.names)


def add_column(
    catalog: Catalog,
    info: TableInfo,
    field: pa.Field,
    *,
    default: str | None = None,
    value: pa.Scalar | None = None,
    if_not_exists: bool = False,
) -> None:
    """Add a column, ``value`` in every row that is there; ``default`` is SQL for those to come.

    Raises:
        TableExistsError: The column is there already.
        ConstraintError: It is NOT NULL without a default, and there are rows.
        UnsupportedTypeError: Its values could not be kept exactly.
    """
    is_vector = isinstance(info.definition, VectorDefinition)
    check_column_name(field.name, search=is_vector)
    if is_vector:
        _add_column(catalog, info, None, field, default, value, if_not_exists=if_not_exists)
        return
    with catalog.write() as writer:
        now = current(catalog, writer, info)
        _add_column(catalog, now, writer, field, default, value, if_not_exists=if_not_exists)


def _add_column(
    catalog: Catalog,
    info: TableInfo,
    writer: Writer | None,
    field: pa.Field,
    default: str | None,
    value: pa.Scalar | None,
    *,
    if_not_exists: bool,
) -> None:
    if field.name in _known(catalog, info):
        if if_not_exists:
            return
        raise TableExistsError(field.name, kind="column")
    if not field.nullable and (value is None or not value.is_valid) and _rows(catalog, info):
        msg = (
            f"column {field.name!r} is NOT NULL: table {info.name!r} has rows, so give it a DEFAULT"
        )
        raise ConstraintError(msg)
    detail = f"add column {field.name} {field.type}"
    if isinstance(info.definition, VectorDefinition):
        _add_to_dataset(catalog, info, info.definition, field, value, detail)
        return
    definition = mutable_definition(info)
    try:
        kind = codec_for(field.type).kind
    except UnsupportedTypeError as error:
        raise UnsupportedTypeError(field.name, field.type, table=info.name) from error
    stored = f"c{uuid4().hex[:12]}"  # never a dropped column's: the journal tells them apart by it
    defaults = {**definition.defaults, **({field.name: default} if default is not None else {})}
    changed = replace(
        definition,
        schema=definition.schema.append(field),
        stored={**definition.stored, field.name: stored},
        defaults=defaults,
    )
    assert writer is not None
    writer.add_column(definition.store_table, StoreColumn(stored, kind))
    if value is not None:
        held = encode_scalar(field.type, value)
        writer.update_where(changed.store_table, {stored: held}, None)
    redefine(catalog, writer, info, changed, detail)
    if value is not None and value.is_valid:
        now = replace(info, definition=changed)
        journal_column(catalog, now, writer, field.name, gained=True)


def _rows(catalog: Catalog, info: TableInfo) -> int:
    if isinstance(info.definition, VectorDefinition):
        return int(catalog.lake.datasets.visible(info).count_rows())
    return info.row_count


def _add_to_dataset(
    catalog: Catalog,
    info: TableInfo,
    definition: VectorDefinition,
    field: pa.Field,
    value: pa.Scalar | None,
    detail: str,
) -> None:
    if value is not None and value.is_valid and is_vector_type(field.type):
        given = pa.array([value.as_py()], field.type)
        if (fault := faults_of(given, definition.metric)) is not None:
            msg = f"column {field.name!r} of table {info.name!r}: its value {fault[1](0)}"
            raise ConstraintError(msg)

    def add(dataset: lance.LanceDataset) -> None:
        if value is None:
            dataset.add_columns(field)
            return

        def filled(batch: pa.RecordBatch) -> pa.RecordBatch:
            column = pa.array([value.as_py()] * batch.num_rows, field.type)
            return pa.RecordBatch.from_arrays([column], schema=pa.schema([field]))

        compute = batch_udf(output_schema=pa.schema([field]))(filled)
        dataset.add_columns(compute, read_columns=[definition.key])

    alter_dataset(catalog, info, definition, detail, add)


def drop_column(catalog: Catalog, info: TableInfo, column: str, *, if_exists: bool = False) -> None:
    """Drop a column.

    Raises:
        ColumnNotFoundError: There is none.
        ConstraintError: A key, an index or a search needs it.
    """
    if isinstance(info.definition, VectorDefinition):
        _drop_column(catalog, info, None, column, if_exists=if_exists)
        return
    with catalog.write() as writer:
        now = current(catalog, writer, info)
        _drop_column(catalog, now, writer, column, if_exists=if_exists)


def _drop_column(
    catalog: Catalog, info: TableInfo, writer: Writer | None, column: str, *, if_exists: bool
) -> None:
    known = _known(catalog, info)
    if column not in known:
        if if_exists:
            return
        raise ColumnNotFoundError(column, table=info.name, known=known)
    detail = f"drop column {column}"
    if isinstance(info.definition, VectorDefinition):
        with catalog.read() as reader:
            refuse_used(catalog, reader, info, column, "dropped")
        if column in {info.definition.key, info.definition.vector, info.definition.source}:
            msg = f"vector table {info.name!r} needs column {column!r}"
            raise ConstraintError(msg)
        alter_dataset(
            catalog, info, info.definition, detail,
            lambda dataset: dataset.drop_columns([column]), loses=(column,),
        )  # fmt: skip
        return
    definition = mutable_definition(info)
    assert writer is not None
    refuse_used(catalog, writer, info, column, "dropped")
    users = [index.name for index in definition.indexes if column in index.columns]
    if column in definition.primary_key:
        users.append("the primary key")
    if column == definition.order_column:
        users.append("order_column")
    if users or len(known) == 1:
        msg = f"column {column!r} of table {info.name!r} is needed by {users or 'the table'}"
        raise ConstraintError(msg)
    at = definition.schema.get_field_index(column)
    changed = replace(
        definition,
        schema=definition.schema.remove(at),
        stored={name: kept for name, kept in definition.stored.items() if name != column},
        defaults={name: sql for name, sql in definition.defaults.items() if name != column},
        rules=definition.rules.without_column(column),
    )
    journal_column(catalog, info, writer, column, gained=False)
    writer.drop_column(definition.store_table, definition.stored[column])
    redefine(catalog, writer, info, changed, detail, loses=(column,))


def journal_column(
    catalog: Catalog, info: TableInfo, writer: Writer, column: str, *, gained: bool
) -> None:
    """Write down the values that a column begins with or is about to lose: the past has them."""
    transaction = catalog.transactions.current()
    if transaction is None or not catalog.journal.is_kept(writer):
        return
    found = read_table(writer, info, [ROWID, *definition_of(info).schema.names])
    rowids, full = found[ROWID].to_pylist(), found.drop_columns([ROWID])
    at = full.schema.get_field_index(column)
    field = full.schema.field(at).with_nullable(nullable=True)
    empty = full.set_column(at, field, pa.nulls(full.num_rows, field.type))
    before, after = (empty, full) if gained else (full, empty)
    change = catalog.change(
        info, "update", rows=full.num_rows, before=before, after=after, rowids=rowids
    )
    catalog.journal.note(writer, change, transaction)


def rename_column(catalog: Catalog, info: TableInfo, old: str, new: str) -> None:
    """Give a column another name.

    Raises:
        ColumnNotFoundError: There is no column ``old``.
        TableExistsError: There is a column ``new``.
    """
    if isinstance(info.definition, VectorDefinition):
        _rename_column(catalog, info, None, old, new)
        return
    with catalog.write() as writer:
        _rename_column(catalog, current(catalog, writer, info), writer, old, new)


def _rename_column(
    catalog: Catalog, info: TableInfo, writer: Writer | None, old: str, new: str
) -> None:
    known = _known(catalog, info)
    if old not in known:
        raise ColumnNotFoundError(old, table=info.name, known=known)
    check_column_name(new, search=isinstance(info.definition, VectorDefinition))
    if new in known:
        raise TableExistsError(new, kind="column")
    detail = f"rename column {old} to {new}"

    def renamed(name: str) -> str:
        return new if name == old else name

    if isinstance(info.definition, VectorDefinition):
        if "." in new or "`" in new:
            raise InvalidNameError("column", new, "dots and backticks are refused")
        if '"' in new and old == info.definition.key:
            raise InvalidNameError("column", new, "double quotes are refused in a key's name")
        with catalog.read() as reader:
            refuse_used(catalog, reader, info, old, "renamed")
        called = info.definition
        changed_vector = replace(
            called, key=renamed(called.key), vector=renamed(called.vector),
            source=None if called.source is None else renamed(called.source),
        )  # fmt: skip
        alter_dataset(
            catalog, info, changed_vector, detail,
            lambda dataset: dataset.alter_columns({"path": old, "name": new}), loses=(old,),
        )  # fmt: skip
        return
    definition = mutable_definition(info)
    assert writer is not None
    refuse_used(catalog, writer, info, old, "renamed")
    order = definition.order_column
    changed = replace(
        definition,
        schema=pa.schema([field.with_name(renamed(field.name)) for field in definition.schema]),
        stored={renamed(name): kept for name, kept in definition.stored.items()},
        defaults={renamed(name): sql for name, sql in definition.defaults.items()},
        primary_key=tuple(map(renamed, definition.primary_key)),
        indexes=tuple(
            replace(index, columns=tuple(map(renamed, index.columns)))
            for index in definition.indexes
        ),
        order_column=None if order is None else renamed(order),
        rules=definition.rules.with_column_renamed(old, new),
    )
    redefine(catalog, writer, info, changed, detail, loses=(old,))
