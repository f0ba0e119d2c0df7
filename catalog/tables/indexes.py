"""Indexes by their names: added to mutable tables, dropped from both kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from affidavit.catalog.model.definition import MutableDefinition, VectorDefinition
from affidavit.catalog.sql.names import check_name
from affidavit.catalog.tables.altering.redefine import (
    alter_dataset,
    current,
    mutable_definition,
    redefine,
)
from affidavit.catalog.tables.constraints.links import refuse_referred
from affidavit.errors import (
    ColumnNotFoundError,
    ConstraintError,
    InvalidNameError,
    TableExistsError,
)

if TYPE_CHECKING:
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import Index, TableInfo


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
        definition = mutable_definition(current(catalog, writer, info))
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
        redefine(
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
            indexes = catalog.lake.datasets.visible(table).describe_indices()
            if any(index.name == name for index in indexes):
                alter_dataset(
                    catalog, table, table.definition, f"drop index {name}",
                    lambda dataset: dataset.drop_index(name),
                )  # fmt: skip
                return
    if not if_exists:
        raise InvalidNameError("index", name, "no table of this tenant has it")


def _drop_mutable_index(catalog: Catalog, info: TableInfo, name: str) -> None:
    with catalog.write() as writer:
        definition = mutable_definition(current(catalog, writer, info))
        [index] = [each for each in definition.indexes if each.name == name]
        if index.unique:
            refuse_referred(catalog, writer, info, index.columns)
        kept = tuple(each for each in definition.indexes if each.name != name)
        writer.drop_index(definition.store_index(index))
        redefine(catalog, writer, info, replace(definition, indexes=kept), f"drop index {name}")
