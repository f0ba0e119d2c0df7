"""Changing what a table is: its columns, its indexes, its name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pyarrow as pa
from lance.udf import batch_udf

from affidavit.catalog.lake.datasets import lance_errors
from affidavit.catalog.model.definition import (
    EXTERNAL,
    MUTABLE,
    VECTOR,
    VIEW,
    Index,
    MutableDefinition,
    VectorDefinition,
)
from affidavit.catalog.sql.names import check_column_name, check_name, check_table_name
from affidavit.catalog.store.protocol import ROWID, StoreColumn
from affidavit.catalog.tables.intents import intended
from affidavit.catalog.tables.rows import definition_of, read_table
from affidavit.catalog.tables.vector_rows import locked
from affidavit.catalog.values.codecs import codec_for, encode_scalar
from affidavit.errors import (
    ColumnNotFoundError,
    ConstraintError,
    InvalidNameError,
    ReadOnlyError,
    TableExistsError,
    TableNotFoundError,
    UnsupportedTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import Definition, TableInfo
    from affidavit.catalog.store.protocol import Writer


def _mutable(info: TableInfo) -> MutableDefinition:
    if not isinstance(info.definition, MutableDefinition):
        msg = f"{info.name!r} is a {info.kind}: drop it and create it anew"
        raise ReadOnlyError(msg)
    return info.definition


def _redefine(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    definition: Definition,
    detail: str,
    *,
    action: str = "alter",
    name: str | None = None,
    loses: tuple[str, ...] = (),
    version_before: int | None = None,
) -> None:
    catalog.redefine(writer, info, definition, name=name)
    change = catalog.change(
        info, action, detail=detail, definition=definition.to_json(), loses=loses,
        version_before=version_before,
        version_after=None if version_before is None else version_before + 1,
    )  # fmt: skip
    catalog.announce(writer, change)


def _now(catalog: Catalog, writer: Writer, info: TableInfo) -> TableInfo:
    """Return ``info`` as this transaction sees it.

    Raises:
        TableNotFoundError: It was dropped meanwhile.
    """
    catalog.refuse_shared(info)
    now = catalog.by_id(writer, info.table_id)
    if now is None:
        raise TableNotFoundError(info.name)
    return now


def _known(catalog: Catalog, info: TableInfo) -> list[str]:
    if isinstance(info.definition, VectorDefinition):
        return list(catalog.lake.datasets.latest(info).schema.names)
    return list(_mutable(info).schema.names)


def _alter_dataset(
    catalog: Catalog,
    info: TableInfo,
    definition: VectorDefinition,
    detail: str,
    change: Callable[[lance.LanceDataset], None],
    *,
    loses: tuple[str, ...] = (),
) -> None:
    with locked(catalog, info, "altering a vector table") as (now, shared):
        if now.definition != info.definition:
            msg = f"vector table {info.name!r} was altered meanwhile: look again, then try again"
            raise ConstraintError(msg)
        dataset = shared.checkout_version(shared.version)
        told = catalog.change(now, "alter", detail=detail, definition=definition.to_json())
        with intended(catalog, now, shared, [told]) as intent, catalog.write() as writer:
            before = int(shared.version)
            _redefine(
                catalog, writer, now, definition, detail, loses=loses, version_before=before
            )  # fmt: skip
            intent.finish(writer)
            with lance_errors(f"altering vector table {info.name!r}"):
                change(dataset)
            assert dataset.version == before + 1  # one commit of Lance's, as was announced


# --- columns -------------------------------------------------------------------------------------


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
        now = _now(catalog, writer, info)
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
    definition = _mutable(info)
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
    _redefine(catalog, writer, info, changed, detail)
    if value is not None and value.is_valid:
        now = replace(info, definition=changed)
        _journal_column(catalog, now, writer, field.name, gained=True)


def _rows(catalog: Catalog, info: TableInfo) -> int:
    if isinstance(info.definition, VectorDefinition):
        return int(catalog.lake.datasets.latest(info).count_rows())
    return info.row_count


def _add_to_dataset(
    catalog: Catalog,
    info: TableInfo,
    definition: VectorDefinition,
    field: pa.Field,
    value: pa.Scalar | None,
    detail: str,
) -> None:
    def add(dataset: lance.LanceDataset) -> None:
        if value is None:
            dataset.add_columns(field)
            return

        def filled(batch: pa.RecordBatch) -> pa.RecordBatch:
            column = pa.array([value.as_py()] * batch.num_rows, field.type)
            return pa.RecordBatch.from_arrays([column], schema=pa.schema([field]))

        compute = batch_udf(output_schema=pa.schema([field]))(filled)
        dataset.add_columns(compute, read_columns=[definition.key])

    _alter_dataset(catalog, info, definition, detail, add)


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
        now = _now(catalog, writer, info)
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
        if column in {info.definition.key, info.definition.vector}:
            msg = f"vector table {info.name!r} needs column {column!r}"
            raise ConstraintError(msg)
        _alter_dataset(
            catalog, info, info.definition, detail,
            lambda dataset: dataset.drop_columns([column]), loses=(column,),
        )  # fmt: skip
        return
    definition = _mutable(info)
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
    )
    assert writer is not None
    _journal_column(catalog, info, writer, column, gained=False)
    writer.drop_column(definition.store_table, definition.stored[column])
    _redefine(catalog, writer, info, changed, detail, loses=(column,))


def _journal_column(
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
        _rename_column(catalog, _now(catalog, writer, info), writer, old, new)


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
        called = info.definition
        changed_vector = replace(called, key=renamed(called.key), vector=renamed(called.vector))
        _alter_dataset(
            catalog, info, changed_vector, detail,
            lambda dataset: dataset.alter_columns({"path": old, "name": new}), loses=(old,),
        )  # fmt: skip
        return
    definition = _mutable(info)
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
    )
    assert writer is not None
    _redefine(catalog, writer, info, changed, detail, loses=(old,))


# --- names ---------------------------------------------------------------------------------------


def rename_table(catalog: Catalog, info: TableInfo, new: str) -> None:
    """Give a table another name.

    Raises:
        TableExistsError: The name is taken.
        InvalidNameError: It cannot name a table.
    """
    check_table_name(new, schema=info.schema)
    RENAMES[info.kind](catalog, info, new, f"rename to {new}")


def _rename(catalog: Catalog, info: TableInfo, new: str, detail: str) -> None:
    with catalog.write() as writer:
        now = _now(catalog, writer, info)
        _redefine(catalog, writer, now, now.definition, detail, name=new)


def _rename_dataset(catalog: Catalog, info: TableInfo, new: str, detail: str) -> None:
    with locked(catalog, info, "renaming a vector table") as (now, _):
        old_home = catalog.lake.datasets.path(now)
        new_home = catalog.lake.folders.vector_table(now.tenant, new)
        moved = False
        try:
            with catalog.write() as writer:
                _redefine(catalog, writer, now, now.definition, detail, name=new)
                _refuse_folder(new_home)
                old_home.rename(new_home)
                moved = True
        except BaseException:
            if moved:
                new_home.rename(old_home)
            raise
        finally:
            catalog.lake.datasets.forget(now)


RENAMES: Final[Mapping[str, Callable[[Catalog, TableInfo, str, str], None]]] = {
    MUTABLE.name: _rename,
    VECTOR.name: _rename_dataset,
    VIEW.name: _rename,
    EXTERNAL.name: _rename,
}
"""How a table of each kind gets another name."""


def _refuse_folder(home: Path) -> None:
    if home.exists():
        raise TableExistsError(home.stem, kind="folder named")


# --- indexes -------------------------------------------------------------------------------------


def add_index(
    catalog: Catalog, info: TableInfo, index: Index, *, if_not_exists: bool = False
) -> None:
    """Index a mutable table.

    Raises:
        ColumnNotFoundError: The index names no column.
        ConstraintError: It is unique and the rows are not.
        TableExistsError: The table has an index of that name.
    """
    catalog.refuse_shared(info)
    check_name("index", index.name)
    with catalog.write() as writer:
        definition = _mutable(_now(catalog, writer, info))
        for column in index.columns:
            if column not in definition.schema.names:
                raise ColumnNotFoundError(column, table=info.name, known=definition.schema.names)
        if any(each.name == index.name for each in definition.indexes):
            if if_not_exists:
                return
            raise TableExistsError(index.name, kind="index")
        changed = replace(definition, indexes=(*definition.indexes, index))
        try:
            writer.create_index(definition.store_table, definition.store_index(index))
        except ConstraintError as error:
            msg = f"{list(index.columns)} cannot be unique: rows of {info.name!r} share values"
            raise ConstraintError(msg) from error
        _redefine(
            catalog,
            writer,
            info,
            changed,
            f"{index.name} on {', '.join(index.columns)}",
            action="index",
        )


def drop_index(
    catalog: Catalog, name: str, info: TableInfo | None, *, if_exists: bool = False
) -> None:
    """Drop an index by name, of one table or of whichever has it.

    Raises:
        InvalidNameError: No table has an index of that name.
    """
    with catalog.read() as reader:
        tables = [info] if info is not None else catalog.tables(reader)
    for table in tables:
        if table.tenant != catalog.tenant:
            continue
        if isinstance(table.definition, MutableDefinition):
            if any(index.name == name for index in table.definition.indexes):
                _drop_mutable_index(catalog, table, name)
                return
        elif isinstance(table.definition, VectorDefinition):
            indexes = catalog.lake.datasets.latest(table).list_indices()
            if any(index["name"] == name for index in indexes):
                _alter_dataset(
                    catalog, table, table.definition, f"drop index {name}",
                    lambda dataset: dataset.drop_index(name),
                )  # fmt: skip
                return
    if not if_exists:
        raise InvalidNameError("index", name, "no table of this tenant has it")


def _drop_mutable_index(catalog: Catalog, info: TableInfo, name: str) -> None:
    with catalog.write() as writer:
        definition = _mutable(_now(catalog, writer, info))
        [index] = [each for each in definition.indexes if each.name == name]
        kept = tuple(each for each in definition.indexes if each.name != name)
        writer.drop_index(definition.store_index(index))
        _redefine(catalog, writer, info, replace(definition, indexes=kept), f"drop index {name}")
