"""What a database has: its tables, their columns, and the queries that read them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from affidavit.catalog.sources.databases.dialect import Dialect


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column of a source's table.

    Attributes:
        name: Its name.
        type: The Arrow type that its values are given as; ``None`` if it cannot be given.
        declared: The type in the database's words.
        expression: How it is selected, where not by its name.
        compares: Whether the database compares it as its Arrow type, so that filters may be sent.
        cast: The database's type that what is written to it is cast to, where it takes no less.
    """

    name: str
    type: pa.DataType | None
    declared: str
    expression: str = ""
    compares: bool = True
    cast: str = ""


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table or view of a source.

    Attributes:
        schema: The schema that it is in.
        name: Its name.
        columns: Its columns, in order.
        key: The columns of its primary key, if all of them are integers.
        rows: About how many rows it has; ``None`` if the database has not said.
    """

    schema: str
    name: str
    columns: tuple[SourceColumn, ...]
    key: tuple[str, ...] = ()
    rows: int | None = None

    @property
    def arrow_schema(self) -> pa.Schema:
        """The columns that can be given."""
        return pa.schema(
            [pa.field(each.name, each.type) for each in self.columns if each.type is not None]
        )

    @property
    def compared(self) -> dict[str, pa.DataType]:
        """The types of the columns that filters may be sent for."""
        return {
            each.name: each.type for each in self.columns if each.type is not None and each.compares
        }

    def quoted(self, dialect: Dialect) -> str:
        """Return its name as SQL."""
        return f"{dialect.quoted(self.schema)}.{dialect.quoted(self.name)}"

    def chosen(self, names: Iterable[str]) -> list[SourceColumn]:
        """Return columns by their names."""
        known = {each.name: each for each in self.columns}
        return [known[name] for name in names]


@dataclass(frozen=True, slots=True)
class Select:
    """A query for rows of one table.

    Attributes:
        dialect: The SQL that it is written in.
        table: The table.
        columns: The columns that are asked for.
        conditions: What the rows must meet, each as SQL.
    """

    dialect: Dialect
    table: SourceTable
    columns: tuple[str, ...]
    conditions: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The columns as they are to be given."""
        return pa.schema([self.table.arrow_schema.field(name) for name in self.columns])

    def where(self, condition: str) -> Select:
        """Return the query for those of its rows that meet ``condition`` too."""
        return replace(self, conditions=(*self.conditions, condition)) if condition else self

    def text(self, what: str = "", also: str = "") -> str:
        """Return it as SQL; ``what`` is selected instead of the columns, ``also`` follows."""
        quoted = self.dialect.quoted
        columns = [each.expression or quoted(each.name) for each in self.table.chosen(self.columns)]
        text = f"SELECT {what or ', '.join(columns) or '1'} FROM {self.table.quoted(self.dialect)}"
        if self.conditions:
            text += f" WHERE {' AND '.join(f'({each})' for each in self.conditions)}"
        return f"{text} {also}".rstrip()


def check_types(given: pa.Schema, wanted: pa.Schema) -> None:
    """Raise SourceError if a driver gives columns of another kind than they were declared.

    A column whose type was changed at the source since was filtered there as what it is now, and
    asked for as what it was.
    """
    for told, field in zip(given, wanted, strict=False):
        if _kind(told.type) not in _READ_FROM.get(_kind(field.type), {_kind(field.type)}):
            msg = (
                f"column {field.name!r} is {told.type} there, and was {field.type}: it was changed"
            )
            raise SourceError(msg)


def _kind(given: pa.DataType) -> str:
    plain = given.storage_type if isinstance(given, pa.BaseExtensionType) else given
    kinds: dict[str, Callable[[pa.DataType], bool]] = {
        "integer": pa.types.is_integer, "float": pa.types.is_floating,
        "decimal": pa.types.is_decimal, "moment": pa.types.is_timestamp,
        "date": pa.types.is_date, "list": pa.types.is_list, "binary": _is_binary,
        "text": _is_text,
    }  # fmt: skip
    return next((name for name, holds in kinds.items() if holds(plain)), str(plain))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_READ_FROM: Final = {
    "decimal": {"decimal", "text"}, "date": {"date", "text"}, "moment": {"moment", "text"},
}  # fmt: skip
"""The kinds that a driver may give for a column of a kind, where not its own alone."""


def fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch that a driver gave as its columns were declared.

    Raises:
        SourceError: A value is not of its column's type; the column is named.
    """
    if not len(schema):
        return pa.RecordBatch.from_arrays([pa.nulls(batch.num_rows)], names=["_"]).select([])
    arrays = [_as(array, field) for array, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as(array: pa.Array, field: pa.Field) -> pa.Array:
    plain = array.storage if isinstance(array, pa.ExtensionArray) else array
    if plain.type == field.type:
        return plain
    try:
        if pa.types.is_string(plain.type):
            if pa.types.is_decimal(field.type):
                plain = plain.cast(pa.decimal128(38, field.type.scale))
            if pa.types.is_timestamp(field.type):
                plain = plain.cast(pa.timestamp(field.type.unit))  # what has a zone is in UTC
        return plain.cast(field.type)
    except pa.ArrowException as error:
        raise SourceError(
            f"column {field.name!r} cannot be read as {field.type}: {error}"
        ) from error
