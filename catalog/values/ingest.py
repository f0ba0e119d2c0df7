"""Whatever callers hold, as record batches of one schema, lazily and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.values.fit import conform
from affidavit.catalog.values.types import check_nesting
from affidavit.errors import SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS_MAX: Final = 65_536
"""How many rows of a table are handed on as one batch."""


def to_reader(data: object, schema: pa.Schema | None = None) -> pa.RecordBatchReader:
    """Return ``data`` as a stream of record batches, never reading more than it must.

    Accepts Arrow tables, batches and readers, pandas and polars frames, anything with
    ``__arrow_c_stream__`` (another query's result, a DuckDB relation), a list of dicts, a dict of
    columns, and an iterable of record batches. ``schema`` guides dicts and is otherwise ignored.

    Raises:
        SchemaMismatchError: ``data`` is none of these, or its dicts do not fit ``schema``.
    """
    if isinstance(data, pa.RecordBatchReader):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(data.schema, [data])
    if isinstance(data, pa.Table):
        return data.to_reader(max_chunksize=ROWS_MAX)
    if type(data).__module__.split(".")[0] == "pandas":
        return _from_pandas(data).to_reader(max_chunksize=ROWS_MAX)
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data)
    if hasattr(data, "collect") and hasattr(data, "collect_schema"):  # a polars LazyFrame
        return pa.RecordBatchReader.from_stream(data.collect())
    if isinstance(data, Mapping):
        return _from_columns(data, schema).to_reader(max_chunksize=ROWS_MAX)
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        if data and isinstance(data[0], pa.RecordBatch):
            return pa.RecordBatchReader.from_batches(data[0].schema, data)
        batch = rows_to_batch(data, schema)
        return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    if isinstance(data, Iterable):
        return _from_iterator(iter(data), schema)
    msg = (
        "expected an Arrow, pandas or polars table, a record batch reader, or a list of dicts; "
        f"got {type(data).__name__}"
    )
    raise SchemaMismatchError(msg)


def _from_pandas(frame: object) -> pa.Table:
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, AttributeError, TypeError, ValueError) as error:
        reason = ": ".join(map(str, error.args))
        msg = f"the pandas frame cannot be read as columns of one type each: {reason}"
        raise SchemaMismatchError(msg) from error


def is_rows(data: object) -> bool:
    """Return whether ``data`` is a dict of one row, or a list of such dicts."""
    if isinstance(data, Mapping):
        return any(not _is_column(value) for value in data.values())
    return isinstance(data, list | tuple) and bool(data) and isinstance(data[0], Mapping)


def _is_column(value: object) -> bool:
    many = isinstance(value, Sequence | pa.Array | pa.ChunkedArray) or hasattr(value, "__array__")
    return many and not isinstance(value, str | bytes)


def _from_columns(data: Mapping[str, Any], schema: pa.Schema | None) -> pa.Table:
    if is_rows(data):
        return pa.Table.from_batches([rows_to_batch([data], schema)])
    try:
        known = {f.name: f.type for f in schema} if schema is not None else {}
        return pa.table({name: pa.array(v, known.get(name)) for name, v in data.items()})
    except (pa.ArrowException, TypeError, ValueError) as error:
        msg = f"the columns do not form a table: {error}"
        raise SchemaMismatchError(msg) from error


def _from_iterator(items: Iterator[Any], schema: pa.Schema | None) -> pa.RecordBatchReader:
    first = next(items, None)
    if isinstance(first, pa.RecordBatch):

        def batches() -> Iterator[pa.RecordBatch]:
            yield first
            yield from items

        return pa.RecordBatchReader.from_batches(first.schema, batches())
    rows = [] if first is None else [first, *items]
    batch = rows_to_batch(rows, schema)
    return pa.RecordBatchReader.from_batches(batch.schema, [batch])


def rows_to_batch(rows: Sequence[Any], schema: pa.Schema | None = None) -> pa.RecordBatch:
    """Return a list of dicts as one batch with the columns of every dict, missing ones NULL."""
    names: dict[str, None] = {}
    for row in rows:
        if not isinstance(row, Mapping):
            msg = f"expected rows as dicts, got {type(row).__name__}"
            raise SchemaMismatchError(msg)
        names.update(dict.fromkeys(row))
    if not rows and schema is not None:
        names = dict.fromkeys(schema.names)
    known = dict(zip(schema.names, schema.types, strict=True)) if schema is not None else {}
    columns = []
    for name in names:
        try:
            values = [row.get(name) for row in rows]
            check_nesting([each for each in values if isinstance(each, list | tuple | dict)])
            columns.append(_column(values, known.get(name)))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            wanted = f" of type {known[name]}" if name in known else ""
            msg = f"column {name!r}{wanted} cannot take these values: {error}"
            raise SchemaMismatchError(msg) from error
    return pa.RecordBatch.from_arrays(columns, names=[str(name) for name in names])


def schema_rows(
    rows: Sequence[Mapping[str, Any]],
    schema: pa.Schema,
    *,
    table: str,
    optional: Iterable[str],
    kind: str = "table",
) -> pa.RecordBatch:
    """Return a list of dicts as one batch of ``schema``; see :func:`conform`."""
    left_out = set(optional)
    names = set(schema.names)
    fields, arrays = [], []
    for row in rows:
        if not (isinstance(row, Mapping) and row.keys() <= names):
            batch = rows_to_batch(rows, schema)
            return conform(batch, schema, table=table, optional=optional, kind=kind)
    whole = _at_once(rows, schema, left_out)
    if whole is not None:
        return whole
    for field in schema:
        name = field.name
        if left_out or not field.nullable:
            given = sum(name in row for row in rows)
            if not given and name in left_out:
                continue
            if given < len(rows) and not field.nullable:
                msg = f"{kind} {table!r} needs column {name!r} ({field.type}), which is missing"
                raise SchemaMismatchError(msg)
        try:
            arrays.append(_column([row.get(name) for row in rows], field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            msg = f"column {name!r} of type {field.type} cannot take these values: {error}"
            raise SchemaMismatchError(msg) from error
        fields.append(field)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _at_once(
    rows: Sequence[Mapping[str, Any]], schema: pa.Schema, left_out: set[str]
) -> pa.RecordBatch | None:
    """Return dicts as one batch by one conversion; ``None`` if their columns need a look each."""
    for field in schema:
        name = field.name
        needed = not field.nullable or name in left_out
        if needed and not all(name in row for row in rows):
            return None
        if pt.is_integer(field.type) and float in {type(row.get(name)) for row in rows}:
            return None
    try:
        return pa.RecordBatch.from_struct_array(pa.array(rows, pa.struct(schema)))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None  # column by column, the error names the one


def _column(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    if kind is not None and pt.is_integer(kind) and float in map(type, values):
        return pa.array(values).cast(kind)  # pyarrow would cut the fractions off without a word
    return pa.array(values, kind)


class Watched:
    """An iterator that remembers what it raised, for a library that would turn it into text."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self.error: BaseException | None = None

    def __iter__(self) -> Watched:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - whatever the items are
        try:
            return next(self._items)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
