"""Columns as tables keep them: dictionaries of frames and runs as values, UUIDs as text.

Views of lists become lists: pyarrow 26.0.1 casts one with a NULL to an array that is not valid.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from affidavit.catalog.values.arrays import take
from affidavit.catalog.values.types import rebuilt

if TYPE_CHECKING:
    from collections.abc import Iterator


def kept_reader(source: pa.RecordBatchReader, *, decodes: bool) -> pa.RecordBatchReader:
    """Return a stream with the types that a table keeps.

    A dictionary of views, and with ``decodes`` each one, becomes its values, and so do runs; views
    of lists become lists, and a column of Arrow's UUIDs text.
    """
    found = source.schema
    fields = [field.with_type(_kept(field.type, decodes=decodes)) for field in found]
    if [field.type for field in fields] == found.types:
        return source
    schema = pa.schema(fields, metadata=found.metadata)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in source:
            columns = zip(batch.columns, schema.types, strict=True)
            arrays = [_converted(column, to) for column, to in columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _kept(kind: pa.DataType, *, decodes: bool) -> pa.DataType:
    if isinstance(kind, pa.UuidType):
        return pa.string()
    if pt.is_dictionary(kind):
        values = kind.value_type
        is_view = pt.is_string_view(values) or pt.is_binary_view(values)
        return _without_view(values) if is_view or decodes else kind
    if pt.is_run_end_encoded(kind):
        return _kept(kind.value_type, decodes=decodes)
    if pt.is_list_view(kind):
        return pa.list_(kind.value_field.with_type(_kept(kind.value_type, decodes=decodes)))
    if pt.is_large_list_view(kind):
        return pa.large_list(kind.value_field.with_type(_kept(kind.value_type, decodes=decodes)))
    return rebuilt(kind, partial(_kept, decodes=decodes))


def _without_view(kind: pa.DataType) -> pa.DataType:
    if pt.is_string_view(kind) or pt.is_large_string(kind):
        return pa.string()
    return pa.binary() if pt.is_binary_view(kind) else kind


def _converted(array: pa.Array, to: pa.DataType) -> pa.Array:
    """Return an array in the type that :func:`_kept` gives for its own."""
    if array.type == to:
        return array
    if isinstance(array.type, pa.UuidType):
        return _texts(array.storage)
    if pt.is_dictionary(array.type):
        values = array.dictionary
        return (values if values.type == to else values.cast(to)).take(array.indices)
    if pt.is_run_end_encoded(array.type):
        return _converted(pc.run_end_decode(array), to)
    if pt.is_list_view(array.type) or pt.is_large_list_view(array.type):
        return _listed(array, to)
    if array.offset:  # what lies inside of a slice is not sliced
        array = pa.concat_arrays([array])
    mask = array.is_null()
    if pt.is_struct(to):
        children = [_converted(array.field(at), each.type) for at, each in enumerate(to)]
        return pa.StructArray.from_arrays(children, fields=list(to), mask=mask)
    if pt.is_map(to):
        keys, items = _converted(array.keys, to.key_type), _converted(array.items, to.item_type)
        return pa.MapArray.from_arrays(array.offsets, keys, items, to, mask=mask)
    items = _converted(array.values, to.value_type)
    if pt.is_fixed_size_list(to):
        return pa.FixedSizeListArray.from_arrays(items, type=to, mask=mask)
    kind = pa.ListArray if pt.is_list(to) else pa.LargeListArray
    return kind.from_arrays(array.offsets, items, type=to, mask=mask)


def _listed(array: pa.Array, to: pa.DataType) -> pa.Array:
    """Return a view of lists as lists, each value in the place of its list."""
    mask = array.is_null()
    there = ~mask.to_numpy(zero_copy_only=False)
    sizes = np.where(there, array.sizes.to_numpy(zero_copy_only=False), 0).astype(np.int64)
    firsts = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(sizes)
    at = np.repeat(firsts - (ends - sizes), sizes) + np.arange(int(sizes.sum()))
    values = pa.RecordBatch.from_arrays([_converted(array.values, to.value_type)], ["_"])
    items = take(values, pa.array(at, pa.int64())).column(0)
    kind, width = (pa.ListArray, pa.int32()) if pt.is_list(to) else (pa.LargeListArray, pa.int64())
    offsets = pa.array(np.concatenate([[0], ends]), width)
    return kind.from_arrays(offsets, items, type=to, mask=mask)


def _texts(storage: pa.Array) -> pa.Array:
    texts = [None if each is None else str(UUID(bytes=each)) for each in storage.to_pylist()]
    return pa.array(texts, pa.string())
