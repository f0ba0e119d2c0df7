"""Whatever callers hold, as record batches of one schema, lazily and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.dataset
import pyarrow.types as pt

from affidavit.catalog.values.fit import conform
from affidavit.catalog.values.python.column import column_of, refuse_mixed_zones
from affidavit.catalog.values.python.frames import (
    frame_to_reader,
    library_of,
    refuse_polars_type,
)
from affidavit.catalog.values.python.kept import kept_reader
from affidavit.catalog.values.python.rows import required_row, rows_in
from affidavit.errors import SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS_MAX: Final = 65_536
"""How many rows of a table are handed on as one batch."""


def to_reader(data: object, schema: pa.Schema | None = None) -> pa.RecordBatchReader:
    """Return ``data`` as a stream of record batches, never reading more than it must.

    Accepts Arrow tables, batches, readers, datasets and scanners, pandas and polars frames,
    anything with ``__arrow_c_stream__`` (another query's result, a DuckDB relation), a list of
    rows (dicts, dataclasses, named tuples, pydantic models), a dict of columns, and an iterable of
    record batches or rows. ``schema`` guides rows and dicts and is otherwise ignored. An index of
    pandas is left out.

    Raises:
        SchemaMismatchError: ``data`` is none of these, or its rows do not fit ``schema``, or a
            column of polars has no type of Arrow's.
    """
    return _reader(data, schema, keeps_index=False)


def new_rows(data: object, schema: pa.Schema | None = None) -> pa.RecordBatchReader:
    """Return what :func:`to_reader` does, with the types that a table keeps.

    Categoricals of frames and dictionaries of views are their values, and UUIDs are text. A named
    index of pandas is a column.

    Raises:
        SchemaMismatchError: As there; or a column stands twice, or an index would be lost.
    """
    source = _reader(data, schema, keeps_index=True)
    twice = [name for name, count in Counter(source.schema.names).items() if count > 1]
    if twice:
        msg = f"column {twice[0]!r} stands twice in the data: {source.schema.names}"
        raise SchemaMismatchError(msg)
    held = isinstance(data, pa.Table | pa.RecordBatch | pa.RecordBatchReader)
    return kept_reader(source, decodes=not held and library_of(data) is not None)


def _reader(data: Any, schema: pa.Schema | None, *, keeps_index: bool) -> pa.RecordBatchReader:  # noqa: ANN401 - whatever callers hold
    if isinstance(data, pa.RecordBatchReader):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(data.schema, [data])
    if isinstance(data, pa.Table):
        return data.to_reader(max_chunksize=ROWS_MAX)
    if library_of(data) is not None:
        return frame_to_reader(data, keeps_index=keeps_index)
    if hasattr(data, "__arrow_c_stream__"):
        return _stream(data)
    scanner = data.scanner() if isinstance(data, pyarrow.dataset.Dataset) else data
    if isinstance(scanner, pyarrow.dataset.Scanner):
        return scanner.to_reader()
    rows = rows_in(data)
    if rows is not None:
        return _one_batch(rows_to_batch(rows, schema))
    if isinstance(data, Mapping):
        return _from_columns(data, schema).to_reader(max_chunksize=ROWS_MAX)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | type):
        if getattr(data, "ndim", 1) != 1:
            raise SchemaMismatchError(_expected(data, ' without names: call it {"name": array}'))
        return _from_iterator(iter(data), schema)
    raise SchemaMismatchError(_expected(data))


def _expected(data: object, more: str = "") -> str:
    return (
        "expected an Arrow, pandas or polars table, a record batch reader, a dict of columns, or "
        f"a list of rows; got {type(data).__name__}{more}"
    )


def _stream(data: object) -> pa.RecordBatchReader:
    try:
        return pa.RecordBatchReader.from_stream(data)
    except pa.ArrowException as error:
        raise SchemaMismatchError(_expected(data, f": {error}")) from error


def _one_batch(batch: pa.RecordBatch) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(batch.schema, [batch])


def _from_columns(data: Mapping[str, Any], schema: pa.Schema | None) -> pa.Table:
    known = {f.name: f.type for f in schema} if schema is not None else {}
    for name, values in data.items():
        if library_of(values) == "polars":
            refuse_polars_type(name, getattr(values, "dtype", None))
    columns = {name: column_of(name, v, known.get(name)) for name, v in data.items()}
    try:
        return pa.table(columns)
    except (pa.ArrowException, TypeError, ValueError) as error:
        msg = f"the columns do not form a table: {error}"
        raise SchemaMismatchError(msg) from error


def _from_iterator(items: Iterator[Any], schema: pa.Schema | None) -> pa.RecordBatchReader:
    first = next(items, None)
    if isinstance(first, pa.RecordBatch):
        batches = _alike(chain([first], items), first.schema)
        return pa.RecordBatchReader.from_batches(first.schema, batches)
    rows = [] if first is None else [required_row(each) for each in chain([first], items)]
    return _one_batch(rows_to_batch(rows, schema))


def _alike(batches: Iterable[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if not isinstance(batch, pa.RecordBatch) or not batch.schema.equals(schema):
            found = batch.schema if isinstance(batch, pa.RecordBatch) else type(batch).__name__
            msg = f"the batches have other columns than the first: expected {schema}, got {found}"
            raise SchemaMismatchError(msg)
        yield batch


def rows_to_batch(
    rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None
) -> pa.RecordBatch:
    """Return a list of rows as one batch with the columns of every row, missing ones NULL."""
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(required_row(row)))
    if not rows and schema is not None:
        names = dict.fromkeys(schema.names)
    known = dict(zip(schema.names, schema.types, strict=True)) if schema is not None else {}
    columns = [column_of(name, [row.get(name) for row in rows], known.get(name)) for name in names]
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
        arrays.append(column_of(name, [row.get(name) for row in rows], field.type))
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
        batch = pa.RecordBatch.from_struct_array(pa.array(rows, pa.struct(schema)))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None  # column by column, the error names the one
    for field in schema:
        if pt.is_temporal(field.type) or pt.is_nested(field.type):
            refuse_mixed_zones(field.name, [row.get(field.name) for row in rows], field.type)
    return batch


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
