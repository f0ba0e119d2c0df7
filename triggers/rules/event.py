"""A trigger's event: its columns, and the rows of a change as those columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.types as pt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.model.change import Change

CHANGE: Final = "change"
NEAR: Final = "near"
"""What a trigger is: of a change, or a standing search."""

_TIME: Final = pa.timestamp("us", "UTC")
_HEAD: Final = (
    pa.field("event_id", pa.string()),
    pa.field("seq", pa.int64()),
    pa.field("trigger", pa.string()),
    pa.field("action", pa.string()),
    pa.field("table_name", pa.string()),
    pa.field("changed_at", _TIME),
    pa.field("actor", pa.string()),
)


# --- the columns ----------------------------------------------------------------------------------


def image_type(schema: pa.Schema) -> pa.StructType:
    """Return a row of a table as one value: nothing in it is ever missing or encoded."""
    return pa.struct([pa.field(each.name, _plain(each.type)) for each in schema])


def _plain(kind: pa.DataType) -> pa.DataType:
    if pt.is_dictionary(kind):
        return _plain(kind.value_type)
    if pt.is_string_view(kind):
        return pa.string()
    if pt.is_binary_view(kind):
        return pa.binary()
    if not pt.is_nested(kind):
        return kind
    inside = [each.with_type(_plain(each.type)) for each in map(kind.field, range(kind.num_fields))]
    if pt.is_struct(kind):
        return pa.struct(inside)
    if pt.is_map(kind):
        return pa.map_(*inside[0].type, keys_sorted=kind.keys_sorted)
    if pt.is_fixed_size_list(kind):
        return pa.list_(inside[0], kind.list_size)
    return pa.large_list(inside[0]) if pt.is_large_list(kind) else pa.list_(inside[0])


def event_schema(kind: str, schema: pa.Schema) -> pa.Schema:
    """Return the columns of what a trigger on a table of ``schema`` publishes.

    ``event_id`` is the number of the change in the journal and the trigger's name: a consumer that
    gets an event twice knows it by that.
    """
    row = image_type(schema)
    if kind == NEAR:
        tail = [pa.field("distance", pa.float64()), pa.field("new", row)]
    else:
        tail = [pa.field("old", row), pa.field("new", row)]
    return pa.schema([*_HEAD, *tail])


# --- the rows -------------------------------------------------------------------------------------


def images(
    before: pa.Table | None, after: pa.Table | None, rows: pa.Table, wanted: Sequence[str]
) -> pa.Table:
    """Return the columns ``wanted`` of both images side by side, as predicates read them."""
    names, columns = [], []
    for side, rows_then in (("new", after), ("old", before)):
        for name in wanted:
            names.append(f"{side}.{name}")
            columns.append(
                pa.nulls(rows.num_rows, rows.schema.field(name).type)
                if rows_then is None
                else rows_then[name]
            )
    return pa.table(columns, names=names)


def image(rows: pa.Table | None, count: int, kind: pa.StructType) -> pa.Array:
    """Return rows as one column; the fields of one that is not there are NULL too."""
    if rows is None:
        return pa.nulls(count, kind)
    found = dict(zip(rows.schema.names, rows.columns, strict=True))
    columns = [
        _as_type(whole(found[field.name]), field.type)
        if field.name in found
        else pa.nulls(count, field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(columns, fields=list(kind))


def event_rows(
    change: Change, trigger: str, action: str, tail: list[pa.Array], schema: pa.Schema, at_us: int
) -> pa.Table:
    """Return the rows that a trigger publishes of a change; what sends them numbers them.

    Args:
        change: The change.
        trigger: The trigger's name.
        action: What it saw: an insert, an update or a delete.
        tail: The columns of its own that the event has, such as the images.
        schema: All columns of the event.
        at_us: When, in microseconds since the epoch.
    """
    count = len(tail[-1])
    at = pa.scalar(at_us, schema.field("changed_at").type)
    head = [
        pa.nulls(count, pa.string()),
        pa.nulls(count, pa.int64()),
        *(pa.repeat(pa.scalar(text), count) for text in (trigger, action, change.table)),
        pa.repeat(at, count),
        pa.repeat(pa.scalar(change.identity.actor), count),
    ]
    return pa.Table.from_arrays([*head, *tail], schema=schema)


def _as_type(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column cast only where it must be: Arrow refuses to cast some NULL structs."""
    return column if column.type.equals(kind) else column.cast(kind)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece; copied only if it has several."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
