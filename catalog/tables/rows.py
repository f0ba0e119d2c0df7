"""Rows of mutable tables: read from a snapshot, and written in a transaction.

Every write of rows goes through :func:`insert_rows`, :func:`update_rows` and :func:`delete_rows`,
where the images before and after are known, constraints are checked and the change is announced.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from affidavit.catalog.model.definition import MutableDefinition
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import And, Compare, In, Or
from affidavit.catalog.sql.pushdown import split
from affidavit.catalog.store.protocol import BATCH_ROWS, ROWID
from affidavit.catalog.values.arrays import take_rows
from affidavit.catalog.values.codecs import codec_for
from affidavit.catalog.values.fit import fit
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.values.types import StoreValue

KEYS_MAX: Final = 500
"""How many keys one look-up asks the store for."""

ROWID_FIELD: Final = pa.field(ROWID, pa.int64(), nullable=False)


def definition_of(info: TableInfo) -> MutableDefinition:
    """Return the definition of a table that is known to be mutable."""
    assert isinstance(info.definition, MutableDefinition)
    return info.definition


# --- reading -------------------------------------------------------------------------------------


def read_rows(
    reader: Reader,
    info: TableInfo,
    columns: Sequence[str],
    predicate: Predicate | None = None,
    *,
    order_by: Sequence[str] = (ROWID,),
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Yield the matching rows of ``info``, oldest first; ``columns`` may include ``_rowid``."""
    definition = definition_of(info)
    types = {**definition.types, ROWID: pa.int64()}
    stored = {**definition.stored, ROWID: ROWID}
    pushed, left = split(predicate, types)
    needed = list(columns)
    if left is not None:
        needed += [n for n in definition.schema.names if n not in needed]
    schema = pa.schema(
        [ROWID_FIELD if name == ROWID else definition.schema.field(name) for name in needed]
    )
    where = None if pushed is None else rename_columns(pushed, stored)
    source = reader.scan(
        definition.store_table,
        [stored[name] for name in needed],
        where,
        order_by=[stored[name] for name in order_by],
        batch_rows=batch_rows,
    )
    for raw in source:
        if not needed:
            yield raw
            continue
        arrays = [
            codec_for(field.type).decode(column)
            for field, column in zip(schema, raw.columns, strict=True)
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        kept = keep(left, batch)
        yield kept if len(needed) == len(columns) else kept.select(list(columns))


def rename_columns(predicate: Predicate, names: dict[str, str]) -> Predicate:
    """Return ``predicate`` with every column called by its other name."""
    changed: dict[str, Any] = {}
    for field in fields(predicate):
        value = getattr(predicate, field.name)
        if field.name in {"column", "left", "right"}:
            changed[field.name] = names[value]
        elif field.name == "operand":
            changed[field.name] = rename_columns(value, names)
        elif field.name == "operands":
            changed[field.name] = tuple(rename_columns(each, names) for each in value)
    return replace(predicate, **changed)


def read_table(
    reader: Reader,
    info: TableInfo,
    columns: Sequence[str] | None = None,
    predicate: Predicate | None = None,
    *,
    order_by: Sequence[str] = (ROWID,),
) -> pa.Table:
    """Return the matching rows of ``info`` as one table."""
    schema = definition_of(info).schema
    names = schema.names if columns is None else columns
    wanted = pa.schema([ROWID_FIELD if name == ROWID else schema.field(name) for name in names])
    batches = read_rows(reader, info, names, predicate, order_by=order_by)
    return pa.Table.from_batches(batches, wanted)


def find_rows(
    reader: Reader, info: TableInfo, key: Sequence[str], rows: pa.Table
) -> dict[tuple[StoreValue, ...], int]:
    """Return the ``_rowid`` of every stored row whose ``key`` columns equal some row's.

    Keys are as the store keeps them; a key with a NULL equals nothing.
    """
    definition = definition_of(info)
    stored = [definition.stored[column] for column in key]
    wanted = [k for k in key_values(definition, key, rows) if None not in k]
    found: dict[tuple[StoreValue, ...], int] = {}
    for start in range(0, len(wanted), KEYS_MAX):
        part = wanted[start : start + KEYS_MAX]
        where: Predicate
        if len(stored) == 1:
            where = In(stored[0], tuple(values[0] for values in part))
        else:
            where = Or(
                tuple(
                    And(tuple(Compare("=", c, v) for c, v in zip(stored, values, strict=True)))
                    for values in part
                )
            )
        for rowid, *values in reader.select(definition.store_table, [ROWID, *stored], where):
            found[tuple(values)] = int(rowid)  # type: ignore[arg-type]
    return found


def key_values(
    definition: MutableDefinition, key: Sequence[str], rows: pa.Table | pa.RecordBatch
) -> list[tuple[StoreValue, ...]]:
    """Return each row's ``key`` columns as the store keeps them."""
    return list(zip(*(_values(definition, column, rows) for column in key), strict=True))


# --- writing -------------------------------------------------------------------------------------


def _values(
    definition: MutableDefinition, column: str, rows: pa.Table | pa.RecordBatch
) -> list[StoreValue]:
    array = rows[column]
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = definition.types[column]
    if array.type != kind:
        array = fit(array, kind, column=column, table=definition.table_id)
    return definition.codecs[column].values(array)


def check_not_null(info: TableInfo, rows: pa.Table | pa.RecordBatch) -> None:
    """Raise ConstraintError if a NOT NULL column of ``rows`` has a NULL."""
    for column in definition_of(info).not_null:
        if column in rows.schema.names and rows[column].null_count:
            array = rows[column]
            at = array.is_null().index(value=True).as_py()
            msg = f"column {column!r} of table {info.name!r} is NOT NULL, and row {at} has NULL"
            raise ConstraintError(msg)


def duplicate_within(
    definition: MutableDefinition, key: Sequence[str], rows: pa.Table | pa.RecordBatch
) -> int | None:
    """Return the first row whose ``key`` an earlier one has, or ``None``; NULLs are never equal."""
    seen = set()
    for at, values in enumerate(key_values(definition, key, rows)):
        if None in values:
            continue
        if values in seen:
            return at
        seen.add(values)
    return None


def shown_key(key: Sequence[str], rows: pa.Table | pa.RecordBatch, at: int) -> str:
    """Return one row's key for a message."""
    return ", ".join(f"{column} = {rows[column][at].as_py()!r}" for column in key)


def _refuse_duplicates(
    reader: Reader, info: TableInfo, rows: pa.Table | pa.RecordBatch, cause: Exception
) -> None:
    definition = definition_of(info)
    for key in definition.unique_keys:
        at = duplicate_within(definition, key, rows)
        if at is not None:
            msg = (
                f"table {info.name!r} needs a unique key; two rows have {shown_key(key, rows, at)}"
            )
            raise ConstraintError(msg) from cause
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        stored = find_rows(reader, info, key, table)
        for at, values in enumerate(key_values(definition, key, rows)):
            if values in stored:
                msg = f"table {info.name!r} has a row with {shown_key(key, rows, at)} already"
                raise ConstraintError(msg) from cause


def _insert(
    writer: Writer,
    info: TableInfo,
    rows: pa.Table | pa.RecordBatch,
    rowids: Sequence[int] | None = None,
) -> None:
    definition = definition_of(info)
    check_not_null(info, rows)
    names = [definition.stored[column] for column in rows.schema.names]
    columns: list[Sequence[StoreValue]] = [
        _values(definition, column, rows) for column in rows.schema.names
    ]
    if rowids is not None:
        names.insert(0, ROWID)
        columns.insert(0, rowids)
    table = definition.store_table
    values = zip(*columns, strict=True)
    if rows.num_rows == 1 or not definition.unique_keys:
        try:
            writer.insert(table, names, values)
        except ConstraintError as error:
            _refuse_duplicates(writer, info, rows, error)
            raise
        return
    try:
        with writer.savepoint():
            writer.insert(table, names, values)
    except ConstraintError as error:
        _refuse_duplicates(writer, info, rows, error)
        raise


def _as_table(rows: pa.Table | pa.RecordBatch) -> pa.Table:
    return rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])


def _next_rowids(writer: Writer, info: TableInfo, rows: int) -> Sequence[int] | None:
    """Return identities for new rows of a table without a key; ``None`` where a key names them."""
    definition = definition_of(info)
    if definition.primary_key:
        return None
    newest = writer.select(
        definition.store_table, (ROWID,), order_by=(ROWID,), descending=True, limit=1
    )
    first = 1 + (int(newest[0][0] or 0) if newest else 0)
    return range(first, first + rows)


def insert_rows(
    catalog: Catalog, writer: Writer, info: TableInfo, batches: Iterable[pa.RecordBatch]
) -> int:
    """Insert ``batches``, which have the table's schema, and return how many rows they had.

    Raises:
        ConstraintError: A key is there already, or twice in the data, or a NOT NULL column is NULL.
    """
    catalog.refuse_shared(info)
    inserted = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        rowids = _next_rowids(writer, info, batch.num_rows)
        _insert(writer, info, batch, rowids)
        inserted += batch.num_rows
        change = catalog.change(
            info, "insert", rows=batch.num_rows, after=_as_table(batch), rowids=rowids or ()
        )
        catalog.announce(writer, change)
    if inserted:
        catalog.touch(writer, info, rows=inserted)
        if catalog.trace is not None:  # which announcing does too, where there is a listener
            catalog.trace.note_written(info.schema, info.name)
    return inserted


def update_rows(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    rowids: Sequence[int],
    before: pa.Table,
    after: pa.Table,
    *,
    columns: Iterable[str] | None = None,
) -> int:
    """Turn ``before`` into ``after``, row by row, and return how many rows there were.

    Both have the table's schema. Columns that are equal in both are not written; ``columns`` are
    those that may differ, all of them by default.

    Raises:
        ConstraintError: The rows would break a key or NOT NULL.
    """
    catalog.refuse_shared(info)
    if not rowids:
        return 0
    definition = definition_of(info)
    check_not_null(info, after)
    new = {
        column: _values(definition, column, after)
        for column in (definition.schema.names if columns is None else columns)
    }
    changed = [c for c, values in new.items() if _values(definition, c, before) != values]
    moved = any(set(changed) & set(key) for key in definition.unique_keys)
    table = definition.store_table
    if moved:
        # one row's new key may be another's old one: take all away before any comes back
        writer.delete(table, rowids)
        _insert(writer, info, after, rowids)
    elif changed:
        names = [definition.stored[column] for column in changed]
        writer.update(table, names, zip(*(new[c] for c in changed), rowids, strict=True))
    if changed:
        catalog.touch(writer, info)
    change = catalog.change(
        info, "update", rows=len(rowids), before=before, after=after, rowids=rowids
    )
    catalog.announce(writer, change)
    return len(rowids)


def delete_rows(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    rowids: Sequence[int],
    before: pa.Table,
    *,
    action: str = "delete",
) -> int:
    """Delete rows, whose images are ``before``, and return how many there were."""
    catalog.refuse_shared(info)
    if not rowids:
        return 0
    writer.delete(definition_of(info).store_table, rowids)
    catalog.touch(writer, info, rows=-len(rowids))
    change = catalog.change(info, action, rows=len(rowids), before=before, rowids=rowids)
    catalog.announce(writer, change)
    return len(rowids)


def upsert_rows(catalog: Catalog, writer: Writer, info: TableInfo, rows: pa.Table) -> int:
    """Insert ``rows``, replacing those with the same primary key, and return how many there were.

    Raises:
        ConstraintError: The table has no primary key, or two rows have the same one.
    """
    definition = definition_of(info)
    key = definition.primary_key
    if not key:
        msg = f"table {info.name!r} has no primary key to upsert by: insert, or declare one"
        raise ConstraintError(msg)
    check_not_null(info, rows)
    at = duplicate_within(definition, key, rows)
    if at is not None:
        msg = f"two rows for table {info.name!r} have {shown_key(key, rows, at)}"
        raise ConstraintError(msg)
    stored = find_rows(writer, info, key, rows)
    keys = key_values(definition, key, rows)
    is_new = np.array([values not in stored for values in keys], dtype=bool)
    old = np.flatnonzero(~is_new)
    if len(old):
        rowids = [stored[keys[position]] for position in old]
        before = rows_by_id(writer, info, rowids)
        update_rows(catalog, writer, info, rowids, before, take_rows(rows, old))
    fresh = take_rows(rows, np.flatnonzero(is_new))
    insert_rows(catalog, writer, info, fresh.to_batches())
    return rows.num_rows


def rows_by_id(reader: Reader, info: TableInfo, rowids: Sequence[int]) -> pa.Table:
    """Return the rows with these identities, in this order."""
    names = [ROWID, *definition_of(info).schema.names]
    parts = [
        read_table(
            reader, info, names, In(ROWID, tuple(map(pa.scalar, rowids[at : at + KEYS_MAX])))
        )
        for at in range(0, len(rowids), KEYS_MAX)
    ]
    found = pa.concat_tables(parts)
    at_rowid = {rowid: at for at, rowid in enumerate(found[ROWID].to_pylist())}
    return take_rows(found.drop_columns([ROWID]), [at_rowid[rowid] for rowid in rowids])


def truncate(catalog: Catalog, writer: Writer, info: TableInfo) -> int:
    """Delete every row and return how many there were."""
    catalog.refuse_shared(info)
    found = read_table(writer, info, [ROWID, *definition_of(info).schema.names])
    rowids, before = found[ROWID].to_pylist(), found.drop_columns([ROWID])
    deleted = writer.delete_where(definition_of(info).store_table, None)
    catalog.touch(writer, info, rows=-deleted)
    change = catalog.change(info, "truncate", rows=deleted, before=before, rowids=rowids)
    catalog.announce(writer, change)
    return deleted
