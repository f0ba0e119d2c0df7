"""FOREIGN KEY and REFERENCES, as a table's definition has them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow.types as pt

from affidavit.catalog.model.definition import Index, MutableDefinition, VectorDefinition
from affidavit.catalog.model.rules import SET_NULL, ForeignKey
from affidavit.catalog.sql.names import check_name
from affidavit.catalog.tables.constraints.names import constraint_names, new_name
from affidavit.catalog.values.types import is_text
from affidavit.errors import (
    ColumnNotFoundError,
    ConstraintError,
    ReadOnlyError,
    SchemaMismatchError,
    TableExistsError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.statement.assignments import Name
    from affidavit.engine.statement.defining.columns import Reference


def with_references(
    catalog: Catalog,
    reader: Reader,
    name: Name,
    definition: MutableDefinition,
    asked: Iterable[Reference],
) -> MutableDefinition:
    """Return the definition of the table ``name`` with foreign keys more.

    Each gets an index of its columns, unless there is one: rows that refer to one that goes are
    found by it.

    Raises:
        TableNotFoundError: What one refers to is not there.
        ConstraintError: That has no such key.
        SchemaMismatchError: The columns are not of the key's types.
    """
    for reference in asked:
        definition = _with_reference(catalog, reader, name, definition, reference)
    return definition


def _with_reference(
    catalog: Catalog,
    reader: Reader,
    name: Name,
    definition: MutableDefinition,
    asked: Reference,
) -> MutableDefinition:
    for column in asked.columns:
        if column not in definition.schema.names:
            raise ColumnNotFoundError(column, table=name.table, known=definition.schema.names)
    if (asked.table.schema, asked.table.table) == (name.schema, name.table):
        table_id, keys, kinds = definition.table_id, _keys(definition), definition.schema
    else:
        parent = catalog.get(reader, asked.table.table, asked.table.schema)
        table_id, keys, kinds = _referred(catalog, parent)
    key = _key(asked, keys)
    for mine, its in zip(asked.columns, key, strict=True):
        _check_types(asked, definition.schema.field(mine), kinds.field(its))
    _check_actions(name.table, definition, asked)
    told = asked.name or new_name(name.table, definition, asked.columns, "fkey")
    check_name("constraint", told)
    if told in constraint_names(name.table, definition):
        raise TableExistsError(told, kind="constraint")
    made = ForeignKey(told, asked.columns, table_id, key, asked.on_delete, asked.on_update)
    rules = replace(definition.rules, foreign_keys=(*definition.rules.foreign_keys, made))
    return replace(definition, rules=rules, indexes=_indexes(name.table, definition, asked.columns))


def _keys(definition: MutableDefinition) -> list[tuple[str, ...]]:
    """Return a table's keys; the primary one, if there is one, is the first."""
    return [() if not definition.primary_key else definition.primary_key, *definition.unique_keys]


def _referred(catalog: Catalog, parent: TableInfo) -> tuple[str, list[tuple[str, ...]], pa.Schema]:
    """Return what a table is that a foreign key refers to: its identity, keys and columns."""
    if parent.tenant != catalog.tenant:
        msg = (
            f"table {parent.name!r} is shared, and who writes it knows nothing of your tables: no "
            "foreign key can refer to it"
        )
        raise ReadOnlyError(msg)
    if isinstance(parent.definition, MutableDefinition):
        return parent.table_id, _keys(parent.definition), parent.definition.schema
    if isinstance(parent.definition, VectorDefinition):
        key = (parent.definition.key,)
        schema = catalog.lake.datasets.visible(parent).schema
        return parent.table_id, [key, key], schema
    msg = f"{parent.name!r} is a {parent.kind}, and has no key that could be referred to"
    raise ConstraintError(msg)


def _key(asked: Reference, keys: list[tuple[str, ...]]) -> tuple[str, ...]:
    wanted = asked.key or keys[0]
    if not wanted:
        msg = f"table {asked.table.table!r} has no primary key: name the columns of a unique one"
        raise ConstraintError(msg)
    if not any(set(wanted) == set(key) and len(wanted) == len(key) for key in keys):
        msg = (
            f"columns {list(wanted)} are no key of table {asked.table.table!r}; its keys are "
            f"{[list(key) for key in dict.fromkeys(keys) if key]}"
        )
        raise ConstraintError(msg)
    if len(wanted) != len(asked.columns):
        msg = f"{list(asked.columns)} cannot refer to the key {list(wanted)}: it has another length"
        raise ConstraintError(msg)
    return wanted


def _check_types(asked: Reference, mine: pa.Field, its: pa.Field) -> None:
    kinds = (mine.type, its.type)
    if kinds[0] == kinds[1] or any(all(map(is_one, kinds)) for is_one in (pt.is_integer, is_text)):
        return
    msg = (
        f"column {mine.name!r} is {mine.type}, and {its.name!r} of table {asked.table.table!r} is "
        f"{its.type}: a foreign key has the type of what it refers to"
    )
    raise SchemaMismatchError(msg)


def _check_actions(table: str, definition: MutableDefinition, asked: Reference) -> None:
    if SET_NULL in {asked.on_delete, asked.on_update}:
        never = [c for c in asked.columns if c in definition.not_null]
        if never:
            msg = f"SET NULL cannot be: column {never[0]!r} of table {table!r} is NOT NULL"
            raise ConstraintError(msg)
    generated = [c for c in asked.columns if c in definition.rules.generated]
    if generated:
        msg = f"generated column {generated[0]!r} of table {table!r} cannot be a foreign key"
        raise ConstraintError(msg)


def _indexes(
    table: str, definition: MutableDefinition, columns: tuple[str, ...]
) -> tuple[Index, ...]:
    begins = [definition.primary_key, *(index.columns for index in definition.indexes)]
    if any(each[: len(columns)] == columns for each in begins):
        return definition.indexes
    name = new_name(table, definition, columns, "idx")
    return (*definition.indexes, Index(name, columns))
