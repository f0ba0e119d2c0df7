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
from affidavit.catalog.values.arrays import nullable, whole
from affidavit.catalog.values.ingest import new_rows
from affidavit.catalog.values.vectors import VectorRules, check_vectors, fitted, of_any_length
from affidavit.errors import ConflictError, ConstraintError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

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
    catalog: Catalog,
    table: str,
    definition: VectorDefinition,
    texts: pa.Array,
    told: Callable[[int], object] = lambda _: None,
) -> pa.FixedSizeListArray:
    """Return the vectors that a table's model makes of texts, each checked.

    ``told`` is called meanwhile, with how many different texts it has made some of.

    Raises:
        ModelNotFoundError: It is not registered.
        ExecutionError: It failed, or made vectors of another dimension.
        ConstraintError: It made a vector that cannot be searched.
    """
    model = definition.model
    assert model is not None
    query = None if catalog.trace is None else catalog.trace.query
    waiting = nullcontext() if query is None else query.waiting(f"embedding model {model!r}")

    def check(done: int) -> None:
        if query is not None:
            query.check()
        told(done)

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
    catalog: Catalog, info: TableInfo, data: object, on_bad: str
) -> Iterator[tuple[object, str | None]]:
    """Yield rows for a vector table, with the vectors that they lack: before its lock is taken.

    Beside them stands what is to become of bad vectors yet: nothing, where they were looked at.
    """
    schema = _embedding(catalog, info)
    if schema is None:
        yield data, on_bad
        return
    given = new_rows(data, of_any_length(schema))
    rows = filling(catalog, info.name, vector_definition(info), given, schema, on_bad)
    with spilled(catalog.lake, rows, nullable(schema)) as ready:
        yield pa.RecordBatchReader.from_batches(ready.schema, iter(ready)), None


def embedded_parts(
    catalog: Catalog, info: TableInfo, data: object, on_bad: str
) -> list[Part] | None:
    """Return rows to upsert with the vectors of their texts; ``None`` if the table has no source.

    Their vectors are checked. A row that gives no text keeps the vector that is there, unless it
    gives one.
    """
    schema = _embedding(catalog, info)
    if schema is None:
        return None
    parts, definition = parts_of(data, of_any_length(schema)), vector_definition(info)
    return [_embedded_part(catalog, info.name, definition, each, schema, on_bad) for each in parts]


def _embedding(catalog: Catalog, info: TableInfo) -> pa.Schema | None:
    """Return the columns of a table that makes vectors of texts, and may be written to now."""
    if vector_definition(info).source is None:
        return None
    catalog.refuse_transaction("writing a vector table")
    catalog.refuse_shared(info)
    schema: pa.Schema = catalog.lake.datasets.visible(info).schema
    return schema


def _embedded_part(
    catalog: Catalog,
    table: str,
    definition: VectorDefinition,
    part: Part,
    schema: pa.Schema,
    on_bad: str,
) -> Part:
    rows = part.table(of_any_length(schema))
    if {definition.source, definition.vector} & part.names == {definition.source}:
        field = schema.field(definition.vector).with_nullable(nullable=True)
        rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    given = pa.schema([field for field in schema if field.name in rows.schema.names])
    batches = [*filling(catalog, table, definition, iter(rows.to_batches()), given, on_bad)]
    kept = pa.Table.from_batches(batches, nullable(given))
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
    """Yield rows in the columns of the table, with the vectors that they lack, all checked.

    What is NOT NULL is checked where they are written.
    """
    rules = VectorRules(table, definition.key, definition.metric, on_bad)
    checked = fitted(batches, nullable(schema), rules)
    if definition.source not in schema.names:
        yield from checked
        return
    for batch in checked:
        yield filled(catalog, table, definition, batch)


def refuse_redefined(then: TableInfo, now: TableInfo) -> None:
    """Raise ConflictError if vectors were made for a table that has another model by now."""
    was, is_now = vector_definition(then), vector_definition(now)
    if (was.model, was.source) != (is_now.model, is_now.source):
        msg = (
            f"vector table {now.name!r} got model {is_now.model!r} while rows for it were embedded "
            f"by {was.model!r}: write them again"
        )
        raise ConflictError(msg)
