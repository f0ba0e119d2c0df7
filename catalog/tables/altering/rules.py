"""What a table asks of its rows, changed: the rows that are there meet it, or nothing is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.altering.redefine import current, mutable_definition, redefine
from affidavit.catalog.tables.constraints.keys import check_not_null
from affidavit.catalog.tables.constraints.links import link, links_to
from affidavit.catalog.tables.constraints.names import (
    CHECK,
    FOREIGN_KEY,
    PRIMARY_KEY,
    UNIQUE,
    constraints_of,
)
from affidavit.catalog.tables.constraints.references import check_references
from affidavit.catalog.tables.constraints.rows import ready
from affidavit.catalog.tables.row_writing import every_row, update_rows
from affidavit.errors import ColumnNotFoundError, ConstraintError, NameNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.store.protocol import Writer


def change_rules(
    catalog: Catalog,
    info: TableInfo,
    make: Callable[[TableInfo], MutableDefinition],
    detail: str,
) -> None:
    """Give a mutable table another definition, of the same columns, that its rows are to meet.

    What the rules give rows, as a generated column's values, they get: that is an update of them.

    Args:
        catalog: Who alters it.
        info: The table.
        make: Returns what it is to be, of what it is in the transaction.
        detail: What the journal says of it.

    Raises:
        ConstraintError: A row does not meet it.
    """
    with catalog.write() as writer:
        _change(catalog, writer, current(catalog, writer, info), make, detail)


def _change(
    catalog: Catalog,
    writer: Writer,
    now: TableInfo,
    make: Callable[[TableInfo], MutableDefinition],
    detail: str,
) -> None:
    was, changed = mutable_definition(now), make(now)
    if changed == was:
        return
    if _asks_no_more(was, changed):
        redefine(catalog, writer, now, changed, detail)
        return
    found = every_row(writer, now)
    rowids, before = found[ROWID].to_pylist(), found.drop_columns([ROWID])
    after = ready(catalog, now.name, changed, before)
    known = {index.name for index in was.indexes}
    for index in changed.indexes:
        if index.name not in known:
            _create_index(writer, now, changed, index.name)
    redefine(catalog, writer, now, changed, detail)
    link(writer, now.table_id, changed)
    new = catalog.by_id(writer, now.table_id)
    assert new is not None
    check_not_null(new.name, changed, after)
    check_references(catalog, writer, new, after)
    if after is not before:
        update_rows(
            catalog, writer, new, rowids, _loose(before), _loose(after), are_ready=True
        )  # fmt: skip


def _asks_no_more(was: MutableDefinition, changed: MutableDefinition) -> bool:
    """Return whether no row has to be looked at: defaults, comments and what may be NULL differ."""
    rules = replace(changed.rules, comments=was.rules.comments)
    same = replace(changed, schema=was.schema, defaults=was.defaults, rules=rules)
    return same == was and changed.types == was.types and {*changed.not_null} <= {*was.not_null}


def _create_index(
    writer: Writer, info: TableInfo, definition: MutableDefinition, name: str
) -> None:
    [index] = [each for each in definition.indexes if each.name == name]
    try:
        writer.create_index(definition.store_table, definition.store_index(index))
    except ConstraintError as error:
        msg = f"{list(index.columns)} cannot be unique: rows of {info.name!r} share values"
        raise ConstraintError(msg) from error


def _loose(rows: pa.Table) -> pa.Table:
    schema = pa.schema([field.with_nullable(nullable=True) for field in rows.schema])
    return pa.Table.from_arrays(rows.columns, schema=schema)


# --- constraints by their names ------------------------------------------------------------------


def drop_constraint(
    catalog: Catalog, info: TableInfo, name: str, *, if_exists: bool = False, cascade: bool = False
) -> None:
    """Drop a constraint.

    Raises:
        NameNotFoundError: The table has none of that name.
        ConstraintError: It is the primary key, or other tables' keys refer to it.
    """
    with catalog.write() as writer:
        now = current(catalog, writer, info)
        definition = mutable_definition(now)
        named = {each[0]: each[1:] for each in constraints_of(now.name, definition)}
        if name not in named:
            if if_exists:
                return
            msg = f"table {now.name!r} has no constraint {name!r}; it has {sorted(named)}"
            raise NameNotFoundError(msg, name=name)
        kind, columns = named[name]
        if kind == PRIMARY_KEY:
            msg = (
                f"the primary key of table {now.name!r} is what its rows are called in the "
                "journal: create a table without it, and INSERT ... SELECT"
            )
            raise ConstraintError(msg)
        changed = _DROPS[kind](definition, name)
        if kind == UNIQUE:
            _refuse_referred(catalog, writer, now, columns, cascade=cascade)
            [index] = [each for each in definition.indexes if each.name == name]
            writer.drop_index(definition.store_index(index))
        redefine(catalog, writer, now, changed, f"drop constraint {name}")
        link(writer, now.table_id, changed)


def _refuse_referred(
    catalog: Catalog, writer: Writer, info: TableInfo, columns: tuple[str, ...], *, cascade: bool
) -> None:
    for child, key in links_to(catalog, writer, info.table_id):
        if set(key.key) != set(columns):
            continue
        if not cascade:
            msg = (
                f"foreign key {key.name!r} of table {child.name!r} refers to {list(columns)}: drop "
                "that first, or write CASCADE"
            )
            raise ConstraintError(msg)
        drop_constraint(catalog, child, key.name, if_exists=True)


def _without_index(definition: MutableDefinition, name: str) -> MutableDefinition:
    kept = tuple(each for each in definition.indexes if each.name != name)
    return replace(definition, indexes=kept)


def _without_check(definition: MutableDefinition, name: str) -> MutableDefinition:
    kept = tuple(each for each in definition.rules.checks if each.name != name)
    return replace(definition, rules=replace(definition.rules, checks=kept))


def without_reference(definition: MutableDefinition, name: str) -> MutableDefinition:
    """Return a definition without one of its foreign keys."""
    kept = tuple(each for each in definition.rules.foreign_keys if each.name != name)
    return replace(definition, rules=replace(definition.rules, foreign_keys=kept))


_DROPS = {UNIQUE: _without_index, CHECK: _without_check, FOREIGN_KEY: without_reference}
"""How a constraint of each kind leaves a definition."""


# --- columns -------------------------------------------------------------------------------------


def set_nullable(catalog: Catalog, info: TableInfo, column: str, *, nullable: bool) -> None:
    """Let a column have NULL from now on, or no longer.

    Raises:
        ConstraintError: A row has NULL; or it is of the primary key, or its rows are numbered.
    """

    def made(now: TableInfo) -> MutableDefinition:
        definition = mutable_definition(now)
        field = _field(now, column)
        if nullable and (column in definition.primary_key or column in definition.rules.identities):
            msg = f"column {column!r} of table {now.name!r} is a key, or numbered: it has no NULL"
            raise ConstraintError(msg)
        at = definition.schema.get_field_index(column)
        schema = definition.schema.set(at, field.with_nullable(nullable=nullable))
        return replace(definition, schema=schema)

    told = "drop" if nullable else "set"
    change_rules(catalog, info, made, f"alter column {column} {told} not null")


def set_default(catalog: Catalog, info: TableInfo, column: str, default: str | None) -> None:
    """Let a column have another default from now on; ``None`` takes it away."""

    def made(now: TableInfo) -> MutableDefinition:
        definition, _ = mutable_definition(now), _field(now, column)
        rules = definition.rules
        if column in rules.generated or column in rules.identities:
            msg = (
                f"column {column!r} of table {now.name!r} is generated, or numbered: it has no "
                "DEFAULT"
            )
            raise ConstraintError(msg)
        kept = {name: sql for name, sql in definition.defaults.items() if name != column}
        new = {} if default is None else {column: default}
        return replace(definition, defaults={**kept, **new})

    told = "drop default" if default is None else f"set default {default}"
    change_rules(catalog, info, made, f"alter column {column} {told}")


def _field(info: TableInfo, column: str) -> pa.Field:
    schema = mutable_definition(info).schema
    if column not in schema.names:
        raise ColumnNotFoundError(column, table=info.name, known=schema.names)
    return schema.field(column)
