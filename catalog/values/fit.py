"""Columns brought to the columns and types of a table, without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.types import is_bytes, is_text
from affidavit.errors import SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterable


def conform(
    batch: pa.RecordBatch,
    schema: pa.Schema,
    *,
    table: str,
    optional: Iterable[str] = (),
    kind: str = "table",
) -> pa.RecordBatch:
    """Return ``batch`` with exactly the columns and types of ``schema``.

    Missing columns become NULL where they may be; ``optional`` ones stay missing. Values are
    converted only within a family of types, and only without loss. ``kind`` is what the table is
    called in errors.

    Raises:
        SchemaMismatchError: A column is unknown, missing, or does not fit; it is named.
    """
    if batch.schema.equals(schema):
        return batch
    unknown = [name for name in batch.schema.names if name not in schema.names]
    if unknown:
        msg = f"{kind} {table!r} has no column {unknown[0]!r}; it has {schema.names}"
        raise SchemaMismatchError(msg)
    if len(set(batch.schema.names)) != len(batch.schema.names):
        msg = f"a column stands twice in the data for {kind} {table!r}: {batch.schema.names}"
        raise SchemaMismatchError(msg)
    left_out = set(optional)
    fields, arrays = [], []
    for field in schema:
        at = batch.schema.get_field_index(field.name)
        if at < 0 and field.name in left_out:
            continue
        if at < 0 and not field.nullable:
            msg = f"{kind} {table!r} needs column {field.name!r} ({field.type}), which is missing"
            raise SchemaMismatchError(msg)
        array = pa.nulls(batch.num_rows, field.type) if at < 0 else batch.column(at)
        fields.append(field)
        arrays.append(fit(array, field.type, column=field.name, table=table, kind=kind))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def fit(
    array: pa.Array, to: pa.DataType, *, column: str, table: str, kind: str = "table"
) -> pa.Array:
    """Return ``array`` as type ``to``, without loss.

    Raises:
        SchemaMismatchError: The types are of different families, or a value does not fit.
    """
    if array.type == to:
        return array
    msg = f"column {column!r} of {kind} {table!r} is {to}, and the data has {array.type}"
    if not _one_family(array.type, to):
        raise SchemaMismatchError(msg)
    try:
        return array.cast(to)
    except (pa.ArrowException, TypeError) as error:
        msg = f"{msg}: {error}"
        raise SchemaMismatchError(msg) from error


def _family(arrow_type: pa.DataType) -> str:
    if pt.is_dictionary(arrow_type):
        return _family(arrow_type.value_type)
    if pt.is_null(arrow_type):
        return "null"
    if pt.is_boolean(arrow_type):
        return "boolean"
    if pt.is_integer(arrow_type) or pt.is_floating(arrow_type) or pt.is_decimal(arrow_type):
        return "number"
    if is_text(arrow_type):
        return "text"
    if is_bytes(arrow_type):
        return "bytes"
    if pt.is_date(arrow_type) or pt.is_timestamp(arrow_type):
        return "instant"
    if pt.is_list(arrow_type) or pt.is_large_list(arrow_type) or pt.is_fixed_size_list(arrow_type):
        return "list"
    return str(arrow_type.id)


def _one_family(source: pa.DataType, target: pa.DataType) -> bool:
    if pt.is_null(source):
        return True
    if _family(source) != _family(target):
        return False
    if _family(source) == "list":
        return _one_family(source.value_type, target.value_type)
    if pt.is_timestamp(source) and pt.is_timestamp(target):
        return (source.tz is None) == (target.tz is None)
    return True
