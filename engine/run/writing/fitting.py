"""What a plan gives, in the columns and types of the table that it is for."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
from datafusion import col

from affidavit.catalog.model.definition import MutableDefinition, VectorDefinition
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.tables.constraints.rows import ready, refuse_given
from affidavit.catalog.tables.embedding.filling import filled
from affidavit.catalog.values.arrays import nullable
from affidavit.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from datafusion import DataFrame

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.tables.constraints.rows import Rows


@lru_cache(maxsize=1024)
def no_rows(schema: pa.Schema) -> pa.Table:
    """Return no rows of such columns, which may be NULL; an INSERT asks for them each time."""
    return nullable(schema).empty_table()


Column = TypeVar("Column", pa.Array, pa.ChunkedArray)


def as_column(column: Column, field: pa.Field) -> Column:
    """Return a column as the type of a field.

    Raises:
        ExecutionError: It cannot be.
    """
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except (pa.ArrowException, TypeError) as error:
        msg = (
            f"column {field.name!r} is {field.type}, and the statement gives {column.type}: {error}"
        )
        raise ExecutionError(msg) from error


def cast_columns(frame: DataFrame, kinds: Mapping[str, pa.DataType]) -> DataFrame:
    """Return a plan with some of its columns cast, if they are not of these types already."""
    found = frame.schema()
    if all(found.field(name).type == kind for name, kind in kinds.items()):
        return frame
    return frame.select(
        *[
            col(quoted(name)).cast(kinds[name]).alias(name) if name in kinds else col(quoted(name))
            for name in found.names
        ]
    )


def rows_ready(catalog: Catalog, info: TableInfo, rows: Rows, given: Iterable[str]) -> Rows:
    """Return new rows for a table complete and checked; ``given`` columns are written to.

    A column that the table itself fills takes no value.
    """
    definition = info.definition
    if isinstance(definition, VectorDefinition):
        return filled(catalog, info.name, definition, rows)
    if not isinstance(definition, MutableDefinition):
        return rows
    refuse_given(info.name, definition, {name: rows[name] for name in given})
    return ready(catalog, info.name, definition, rows)


def changed_ready(
    catalog: Catalog, info: TableInfo, rows: Rows, given: Iterable[str], defaults: Collection[str]
) -> Rows:
    """Return rows that are changed complete and checked; ``given`` columns are written to.

    A column that the table itself fills takes nothing but its own value: ``defaults`` are set to
    that.
    """
    definition = info.definition
    if isinstance(definition, VectorDefinition):
        return filled(catalog, info.name, definition, rows)
    if not isinstance(definition, MutableDefinition):
        return rows
    refuse_given(info.name, definition, {name: None for name in given if name not in defaults})
    return ready(catalog, info.name, definition, rows, numbered=defaults)
