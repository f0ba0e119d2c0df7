"""Rows that come without a vector get it of their text, where their table says of which.

Rules:
    - A model is a caller's own code, and may take long: it is asked before the table's lock is
      taken. (A statement that others forestalled three times is run again under it, as its plan.)
    - A vector that came with its row stays. One whose text an UPDATE changes is made anew, unless
      the UPDATE sets it too.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.lake.spill import spilled
from affidavit.catalog.model.definition import VectorDefinition
from affidavit.catalog.tables.constraints.leftout import Part, parts_of
from affidavit.catalog.tables.vector_rows import vector_definition
from affidavit.catalog.values.arrays import whole
from affidavit.catalog.values.ingest import new_rows
from affidavit.catalog.values.vectors import VectorRules, check_vectors, fitted
from affidavit.errors import ConflictError, ConstraintError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.embedder import Embedder

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


def models_of(catalog: Catalog) -> Embedder:
    """Return what makes vectors of texts."""
    assert catalog.lake.models is not None, "who writes has what makes vectors"
    return catalog.lake.models


def filled(catalog: Catalog, table: str, definition: VectorDefinition, rows: Rows) -> Rows:
    """Return rows of the table with the vectors that they lack, as far as they have a text.

    Raises:
        ModelNotFoundError: The model is not registered, and a row needs it.
        ExecutionError: It failed, or made vectors of another dimension.
        ConstraintError: It made a vector that cannot be searched.
    """
    if definition.source is None or not rows.num_rows:
        return rows
    given, texts = whole(rows[definition.vector]), whole(rows[definition.source])
    lacking = pc.and_(given.is_null(), texts.is_valid())
    if not pc.any(lacking).as_py():
        return rows
    made = made_of(catalog, table, definition, texts.filter(lacking)).cast(given.type)
    at = np.arange(len(given))
    at[lacking.to_numpy(zero_copy_only=False)] = len(given) + np.arange(len(made))
    column = pa.concat_arrays([given, made]).take(pa.array(at))
    place = rows.schema.get_field_index(definition.vector)
    return rows.set_column(place, rows.schema.field(place), column)


def made_of(
    catalog: Catalog, table: str, definition: VectorDefinition, texts: pa.Array
) -> pa.FixedSizeListArray:
    """Return the vectors that a table's model makes of texts, each checked.

    Raises:
        ModelNotFoundError: It is not registered.
        ExecutionError: It failed, or made vectors of another dimension.
        ConstraintError: It made a vector that cannot be searched.
    """
    model = definition.model
    assert model is not None
    query = None if catalog.trace is None else catalog.trace.query
    waiting = nullcontext() if query is None else query.waiting(f"embedding model {model!r}")
    check = (lambda: None) if query is None else query.check
    with waiting:
        made = models_of(catalog).vectors(model, texts, definition.dimension, check)
    try:
        check_vectors(made, table=table, column=definition.vector, metric=definition.metric)
    except ConstraintError as error:
        msg = f"embedding model {model!r} made what cannot be searched for: {error}"
        raise ConstraintError(msg) from error
    return made


def outdated(
    info: TableInfo, before: pa.Table, after: pa.Table, given: Collection[str]
) -> pa.Table:
    """Return changed rows without the vectors of those whose text is another; ``given`` is set."""
    if not isinstance(info.definition, VectorDefinition):
        return after
    source, vector = info.definition.source, info.definition.vector
    if source not in given or vector in given:
        return after
    was, now = whole(before[source]), whole(after[source])
    same = pc.or_(
        pc.fill_null(pc.equal(was, now), fill_value=False), pc.and_(was.is_null(), now.is_null())
    )
    at = np.arange(len(same))
    kept = pa.array(at, mask=~same.to_numpy(zero_copy_only=False))
    place = after.schema.get_field_index(vector)
    return after.set_column(place, after.schema.field(place), whole(after[vector]).take(kept))


@contextmanager
def embedded(
    catalog: Catalog, info: TableInfo, data: object, on_bad: str = "error"
) -> Iterator[object]:
    """Yield rows for a vector table, with the vectors that they lack: before its lock is taken."""
    definition = vector_definition(info)
    if definition.source is None:
        yield data
        return
    catalog.refuse_transaction("writing a vector table")
    catalog.refuse_shared(info)
    schema = catalog.lake.datasets.visible(info).schema
    rows = filling(catalog, info.name, definition, new_rows(data, schema), schema, on_bad)
    with spilled(catalog.lake, rows, loose(schema)) as ready:
        yield pa.RecordBatchReader.from_batches(ready.schema, iter(ready))


def embedded_parts(
    catalog: Catalog, info: TableInfo, data: object, on_bad: str
) -> list[Part] | None:
    """Return rows to upsert with the vectors of their texts; ``None`` if the table has no source.

    A row that gives no text keeps the vector that is there, unless it gives one.
    """
    definition = vector_definition(info)
    if definition.source is None:
        return None
    catalog.refuse_transaction("writing a vector table")
    catalog.refuse_shared(info)
    schema = catalog.lake.datasets.visible(info).schema
    parts = parts_of(data, schema)
    return [_embedded_part(catalog, info.name, definition, each, schema, on_bad) for each in parts]


def _embedded_part(
    catalog: Catalog,
    table: str,
    definition: VectorDefinition,
    part: Part,
    schema: pa.Schema,
    on_bad: str,
) -> Part:
    if definition.source not in part.names:
        return part
    rows = part.table(schema)
    if definition.vector not in part.names:
        field = schema.field(definition.vector).with_nullable(nullable=True)
        rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    given = pa.schema([field for field in schema if field.name in rows.schema.names])
    batches = [*filling(catalog, table, definition, iter(rows.to_batches()), given, on_bad)]
    kept = pa.Table.from_batches(batches, loose(given))
    places = part.places if kept.num_rows == rows.num_rows else None
    return Part(frozenset(given.names), kept, places)


def filling(
    catalog: Catalog,
    table: str,
    definition: VectorDefinition,
    batches: Iterator[pa.RecordBatch] | pa.RecordBatchReader,
    schema: pa.Schema,
    on_bad: str = "error",
) -> Iterator[pa.RecordBatch]:
    """Yield rows in the columns of the table, with the vectors that they lack."""
    rules = VectorRules(table, definition.key, definition.metric, on_bad)
    for batch in fitted(batches, loose(schema), rules):
        yield filled(catalog, table, definition, batch)


def loose(schema: pa.Schema) -> pa.Schema:
    """Return columns that may be NULL: what is NOT NULL is checked where rows are written."""
    return pa.schema([field.with_nullable(nullable=True) for field in schema])


def refuse_redefined(then: TableInfo, now: TableInfo) -> None:
    """Raise ConflictError if vectors were made for a table that has another model by now."""
    was, is_now = vector_definition(then), vector_definition(now)
    if (was.model, was.source) != (is_now.model, is_now.source):
        msg = (
            f"vector table {now.name!r} got model {is_now.model!r} while rows for it were embedded "
            f"by {was.model!r}: write them again"
        )
        raise ConflictError(msg)
