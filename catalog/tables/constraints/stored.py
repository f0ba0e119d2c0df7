"""New rows as the store keeps them, which asks NOT NULL and keys of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.constraints.keys import check_not_null, refuse_duplicates
from affidavit.catalog.tables.rows import definition_of, stored_values
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Writer
    from affidavit.catalog.values.types import StoreValue


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
    check_not_null(info.name, definition, rows)
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
            refuse_duplicates(writer, info, rows, error)
            raise
        return
    try:
        with writer.savepoint():
            writer.insert(table, stored.names, values)
    except ConstraintError as error:
        refuse_duplicates(writer, info, rows, error)
        raise
