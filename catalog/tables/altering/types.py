"""A column that gets another type: its values are computed, and written down in the journal.

Rules:
    - The store has the values under another name from then on, as it has those of a new column: the
      past is read as it was.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.protocol import ROWID, StoreColumn
from affidavit.catalog.tables.altering.columns import journal_column
from affidavit.catalog.tables.altering.redefine import current, mutable_definition, redefine
from affidavit.catalog.tables.altering.users import refuse_used
from affidavit.catalog.tables.constraints.keys import check_not_null
from affidavit.catalog.tables.constraints.rows import expressions_of, ready
from affidavit.catalog.tables.row_writing import every_row
from affidavit.catalog.tables.rows import stored_values
from affidavit.catalog.values.codecs import codec_for
from affidavit.errors import (
    ColumnNotFoundError,
    ConstraintError,
    ExecutionError,
    UnsupportedTypeError,
)

if TYPE_CHECKING:
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.store.protocol import Writer


def retype_column(
    catalog: Catalog,
    info: TableInfo,
    column: str,
    to: pa.DataType,
    *,
    length: int | None = None,
    kind: str | tuple[str, ...] | None = None,
    using: str | None = None,
) -> None:
    """Give a column another type.

    Args:
        catalog: Who alters it.
        info: The table.
        column: The column.
        to: Its type from now on.
        length: How many characters its texts may have.
        kind: What its texts are.
        using: What its values are computed of; by default of what they were.

    Raises:
        ColumnNotFoundError: There is none.
        ConstraintError: A key or something else needs it as it is, or a row does not meet the new
            type.
        ExecutionError: A value cannot be had as the new type.
    """
    with catalog.write() as writer:
        now = current(catalog, writer, info)
        definition = mutable_definition(now)
        if column not in definition.schema.names:
            raise ColumnNotFoundError(column, table=info.name, known=definition.schema.names)
        _refuse_needed(catalog, writer, now, definition, column)
        try:
            codec_for(to)
        except UnsupportedTypeError as error:
            raise UnsupportedTypeError(column, to, table=now.name) from error
        changed = _retyped(definition, column, to, length, kind)
        _rewrite(catalog, writer, now, changed, column, using)


def _refuse_needed(
    catalog: Catalog, writer: Writer, info: TableInfo, definition: MutableDefinition, column: str
) -> None:
    refuse_used(catalog, writer, info, column, "given another type")
    rules = definition.rules
    needed = {
        "the primary key": column in definition.primary_key,
        "order_column": column == definition.order_column,
        "its own expression": column in rules.generated,
        "its numbers": column in rules.identities,
    }
    needed |= {f"index {i.name!r}": column in i.columns for i in definition.indexes}
    users = [what for what, is_so in needed.items() if is_so]
    if users:
        msg = (
            f"column {column!r} of table {info.name!r} cannot be given another type: "
            f"{', '.join(users)} needs it as it is"
        )
        raise ConstraintError(msg)


def _retyped(
    definition: MutableDefinition,
    column: str,
    to: pa.DataType,
    length: int | None,
    kind: str | tuple[str, ...] | None,
) -> MutableDefinition:
    schema, rules = definition.schema, definition.rules
    at = schema.get_field_index(column)
    lengths = {name: each for name, each in rules.lengths.items() if name != column}
    kinds = {name: each for name, each in rules.kinds.items() if name != column}
    if length is not None:
        lengths[column] = length
    if kind is not None:
        kinds[column] = kind
    return replace(
        definition,
        schema=schema.set(at, schema.field(at).with_type(to)),
        stored={**definition.stored, column: f"c{uuid4().hex[:12]}"},
        rules=replace(rules, lengths=lengths, kinds=kinds),
    )


def _rewrite(
    catalog: Catalog,
    writer: Writer,
    now: TableInfo,
    changed: MutableDefinition,
    column: str,
    using: str | None,
) -> None:
    was = mutable_definition(now)
    found = every_row(writer, now)
    rowids, before = found[ROWID].to_pylist(), found.drop_columns([ROWID])
    expressions, kind = expressions_of(catalog), changed.types[column]
    sql = quoted(column) if using is None else expressions.expression(using, was.schema)[0]
    try:
        values = expressions.values(sql, was.schema, kind, before)
    except ExecutionError as error:
        msg = f"column {column!r} of table {now.name!r} cannot be {kind}: {error}"
        raise ExecutionError(msg) from error
    at = before.schema.get_field_index(column)
    after = before.set_column(at, pa.field(column, kind), values)
    after = ready(catalog, now.name, changed, after, numbered=())
    new = replace(now, definition=changed)
    check_not_null(new.name, changed, after)
    journal_column(catalog, now, writer, column, gained=False)
    writer.drop_column(was.store_table, was.stored[column])
    stored = changed.stored[column]
    writer.add_column(was.store_table, StoreColumn(stored, codec_for(kind).kind))
    kept = zip(stored_values(changed, column, after), rowids, strict=True)
    writer.update(changed.store_table, [stored], kept)
    told = f"alter column {column} type {kind}"
    redefine(catalog, writer, now, changed, told, loses=(column,))  # as it was
    journal_column(catalog, new, writer, column, gained=True)
