"""Rows of mutable tables, written in a transaction.

Every write of rows goes through :func:`insert_rows`, :func:`update_rows` and :func:`delete_rows`,
where the images before and after are known, constraints are checked and the change is announced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.store.tables import TABLES
from affidavit.catalog.tables.rows import (
    definition_of,
    find_rows,
    key_values,
    read_table,
    rows_by_id,
    stored_values,
)
from affidavit.catalog.values.arrays import take_rows
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.values.types import StoreValue

KEYS_MAX: Final = 500
"""How many keys one look-up asks the store for."""

ROWID_FIELD: Final = pa.field(ROWID, pa.int64(), nullable=False)


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


@dataclass(frozen=True, slots=True)
class Stored:
    """New rows of a table as the store keeps them, NULLs in their places.

    Attributes:
        rows: The rows.
        names: The store's columns.
        columns: The values of each.
    """

    rows: pa.Table | pa.RecordBatch
    names: Sequence[str]
    columns: Sequence[Sequence[StoreValue]]


def as_stored(
    info: TableInfo, rows: pa.Table | pa.RecordBatch, rowids: Sequence[int] | None = None
) -> Stored:
    """Return new rows, perhaps with identities, as the store keeps them.

    Raises:
        ConstraintError: A NOT NULL column has a NULL.
    """
    definition = definition_of(info)
    check_not_null(info, rows)
    names = [definition.stored[column] for column in rows.schema.names]
    columns: list[Sequence[StoreValue]] = [
        stored_values(definition, column, rows) for column in rows.schema.names
    ]
    if rowids is not None:
        names.insert(0, ROWID)
        columns.insert(0, rowids)
    return Stored(rows, names, columns)


def insert_stored(writer: Writer, info: TableInfo, stored: Stored) -> None:
    """Put rows into the store's table; nobody is told.

    Raises:
        ConstraintError: A key is there already, or twice in the data.
    """
    definition, rows = definition_of(info), stored.rows
    table, values = definition.store_table, zip(*stored.columns, strict=True)
    if rows.num_rows == 1 or not definition.unique_keys:
        try:
            writer.insert(table, stored.names, values)
        except ConstraintError as error:
            _refuse_duplicates(writer, info, rows, error)
            raise
        return
    try:
        with writer.savepoint():
            writer.insert(table, stored.names, values)
    except ConstraintError as error:
        _refuse_duplicates(writer, info, rows, error)
        raise


def as_table(rows: pa.Table | pa.RecordBatch) -> pa.Table:
    """Return ``rows`` as a table."""
    return rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])


def _next_rowid(writer: Writer, info: TableInfo) -> int:
    """Return the identity of the next row of a table without a key, which no row ever had."""
    newest = writer.select(
        definition_of(info).store_table, (ROWID,), order_by=(ROWID,), descending=True, limit=1
    )
    return max(1 + (int(newest[0][0] or 0) if newest else 0), info.next_rowid or 1)


def keep_next_rowid(writer: Writer, info: TableInfo, next_rowid: int) -> None:
    """Let identities go on from ``next_rowid``: one that was a row's is given to no other."""
    values = {"next_rowid": next_rowid}
    writer.update_where(TABLES, values, Compare("=", "table_id", info.table_id))


def insert_rows(
    catalog: Catalog, writer: Writer, info: TableInfo, batches: Iterable[pa.RecordBatch]
) -> int:
    """Insert ``batches``, which have the table's schema, and return how many rows they had.

    Raises:
        ConstraintError: A key is there already, or twice in the data, or a NOT NULL column is NULL.
    """
    catalog.refuse_shared(info)
    inserted, is_keyed = 0, bool(definition_of(info).primary_key)
    first = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        rowids = None
        if not is_keyed:
            first = first or _next_rowid(writer, info)
            rowids = range(first, first + batch.num_rows)
            first = rowids.stop
        insert_stored(writer, info, as_stored(info, batch, rowids))
        inserted += batch.num_rows
        change = catalog.change(
            info, "insert", rows=batch.num_rows, after=as_table(batch), rowids=rowids or ()
        )
        catalog.announce(writer, change)
    if inserted:
        catalog.touch(writer, info, rows=inserted)
    if first:
        keep_next_rowid(writer, info, first)
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
        column: stored_values(definition, column, after)
        for column in (definition.schema.names if columns is None else columns)
    }
    changed = [c for c, values in new.items() if stored_values(definition, c, before) != values]
    moved = any(set(changed) & set(key) for key in definition.unique_keys)
    table = definition.store_table
    if moved:
        # one row's new key may be another's old one: take all away before any comes back
        writer.delete(table, rowids)
        insert_stored(writer, info, as_stored(info, after, rowids))
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


def every_row(reader: Reader, info: TableInfo) -> pa.Table:
    """Return every row with its ``_rowid``."""
    return read_table(reader, info, [ROWID, *definition_of(info).schema.names])


def truncate(
    catalog: Catalog, writer: Writer, info: TableInfo, found: pa.Table | None = None
) -> int:
    """Delete every row and return how many there were.

    ``found`` is what :func:`every_row` returned, if the table is known to be the same since.
    """
    catalog.refuse_shared(info)
    found = every_row(writer, info) if found is None else found
    rowids, before = found[ROWID].to_pylist(), found.drop_columns([ROWID])
    deleted = writer.delete_where(definition_of(info).store_table, None)
    catalog.touch(writer, info, rows=-deleted)
    change = catalog.change(info, "truncate", rows=deleted, before=before, rowids=rowids)
    catalog.announce(writer, change)
    return deleted
