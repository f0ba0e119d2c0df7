"""Mutable tables made of what callers hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.tables.loading import load_mutable
from affidavit.catalog.tables.mutable import define_mutable
from affidavit.catalog.values.ingest import new_rows
from affidavit.catalog.values.python.schemas import schema_of
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import Index
    from affidavit.catalog.values.python.schemas import Columns


def create_filled(
    catalog: Catalog,
    name: str,
    data: object,
    schema: Columns | None,
    *,
    primary_key: Sequence[str],
    indexes: Sequence[Index],
    order_column: str | None,
) -> None:
    """Create a mutable table, from data or empty from a schema.

    Raises:
        InvalidQueryError: There is neither data nor a schema.
        SchemaMismatchError: The data or the schema is of no kind that can be read.
    """
    if data is None and schema is None:
        msg = f"table {name!r} needs data or schema="
        raise InvalidQueryError(msg)
    columns = None if schema is None else schema_of(schema)
    source = None if data is None else new_rows(data, columns)
    found = columns if source is None or columns is not None else source.schema
    definition = define_mutable(
        name, found, primary_key=primary_key, indexes=indexes, order_column=order_column
    )
    load_mutable(catalog, name, definition, source or ())
