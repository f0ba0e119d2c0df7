"""New vectors for every row of a vector table, by a model that takes the place of its model.

Rules:
    - The vectors are made with no lock held. Where the table was written meanwhile, those of texts
      that came are made as well, until it is what was read.
    - The rows and the definition change in one version and one commit, or neither does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.tables.altering.redefine import redefine
from affidavit.catalog.tables.embedding.filling import made_of, models_of
from affidavit.catalog.tables.reading import given
from affidavit.catalog.tables.vector_rows import locked, merge_vectors, vector_definition
from affidavit.catalog.values.arrays import whole
from affidavit.catalog.values.types import is_text
from affidavit.errors import (
    ColumnNotFoundError,
    ConflictError,
    ConstraintError,
    InvalidQueryError,
    SchemaMismatchError,
    TableNotFoundError,
)

if TYPE_CHECKING:
    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo, VectorDefinition
    from affidavit.catalog.store.protocol import Writer
    from affidavit.catalog.tables.indexing import Progress

ATTEMPTS_MAX: Final = 5
"""How often what others wrote meanwhile is looked at before the last is refused."""

_WHAT: Final = "making new vectors"


@dataclass(frozen=True, slots=True)
class Step:
    """What a bar is told, as Lance tells it of a build."""

    event: str
    completed: int = 0
    total: int | None = None
    unit: str = "rows"
    stage: str = "embedding"


def check_source(schema: pa.Schema, source: str, *, table: str) -> None:
    """Raise unless a column has the text that vectors are made of.

    Raises:
        ColumnNotFoundError: There is no such column.
        SchemaMismatchError: It has no text.
    """
    if source not in schema.names:
        raise ColumnNotFoundError(source, table=table, known=schema.names)
    kind = schema.field(source).type
    if not is_text(kind):
        msg = f"source {source!r} of vector table {table!r} must be a column of text, not {kind}"
        raise SchemaMismatchError(msg)


def check_width(catalog: Catalog, definition: VectorDefinition, *, table: str) -> None:
    """Raise InvalidQueryError if a table's model makes vectors of another dimension."""
    assert definition.model is not None
    width = models_of(catalog).width(definition.model)
    if width != definition.dimension:
        msg = (
            f"embedding model {definition.model!r} makes vectors of dimension {width}, and "
            f"{definition.vector!r} of vector table {table!r} has {definition.dimension}: create "
            f"another table, with FLOAT[{width}] and that model, and INSERT the rows into it "
            "without their vectors"
        )
        raise InvalidQueryError(msg)


def refuse_other_model(info: TableInfo, version: int) -> None:
    """Raise InvalidQueryError if the vectors of a version are not of the table's model."""
    definition = vector_definition(info)
    if definition.model_at(version) != definition.model:
        msg = (
            f"the vectors of version {version} of {info.name!r} are of another model than "
            f"{definition.model!r}: write its rows back without them, as INSERT INTO ... SELECT "
            f"FROM as_of({info.name!r}, 'v{version}') does"
        )
        raise InvalidQueryError(msg)


def reembed(
    catalog: Catalog, info: TableInfo, model: str | None, source: str | None, bar: Progress
) -> int:
    """Give every row the vector that a model makes of its text; return how many there were.

    Raises:
        ModelNotFoundError: The model is not registered.
        InvalidQueryError: It makes vectors of another dimension, or nothing says of which column.
        ConstraintError: A row that has a vector has no text.
        ConflictError: Others changed the table each time that it was tried.
    """
    catalog.refuse_transaction(_WHAT)
    catalog.refuse_shared(info)
    made: pa.Table | None = None
    for _ in range(ATTEMPTS_MAX):
        dataset = catalog.lake.datasets.visible(info)
        definition = _wanted(info, dataset.schema, model, source)
        check_width(catalog, definition, table=info.name)
        rows = dataset.to_table()
        _refuse_wordless(info.name, definition, rows)
        texts = _released(catalog, info, dataset, definition, rows)
        made = _made(catalog, info.name, definition, texts, made, bar)
        with locked(catalog, info, _WHAT) as (now, latest):
            if now.definition == info.definition and latest.version == dataset.version:
                return _write(catalog, now, latest, definition, _with(rows, definition, made))
        with catalog.read() as reader:
            found = catalog.by_id(reader, info.table_id)
        if found is None:
            raise TableNotFoundError(info.name)
        info = found
    msg = f"vector table {info.name!r} was changed each time that its vectors were made: try again"
    raise ConflictError(msg, names=[info.name])


def _wanted(
    info: TableInfo, schema: pa.Schema, model: str | None, source: str | None
) -> VectorDefinition:
    was = vector_definition(info)
    definition = replace(was, model=model or was.model, source=source or was.source)
    if definition.model is None or definition.source is None:
        lacking = "model" if definition.model is None else "source"
        msg = f"vector table {info.name!r} has no {lacking}: say it, {lacking}='name'"
        raise InvalidQueryError(msg)
    check_source(schema, definition.source, table=info.name)
    return definition


def _refuse_wordless(table: str, definition: VectorDefinition, rows: pa.Table) -> None:
    """Raise ConstraintError if a row has a vector and no text."""
    texts, vectors = whole(rows[definition.source]), whole(rows[definition.vector])
    wordless = pc.and_(texts.is_null(), vectors.is_valid())
    if pc.any(wordless).as_py():
        key = rows.filter(wordless)[definition.key][0].as_py()
        msg = (
            f"the row of vector table {table!r} with {definition.key} = {key!r} has a vector, and "
            f"no text in {definition.source!r} to make one of anew: give it one, or delete the row"
        )
        raise ConstraintError(msg)


def _released(
    catalog: Catalog,
    info: TableInfo,
    dataset: lance.LanceDataset,
    definition: VectorDefinition,
    rows: pa.Table,
) -> pa.Array:
    """Return the text of each row, once it is on record that a caller's own code is given it."""
    assert definition.source is not None
    with catalog.read() as reader:
        texts = given(
            catalog, reader, info, "reembed", lambda names: rows.select(list(names)),
            [definition.source], dataset,
        )  # fmt: skip
    return whole(texts[definition.source].cast(pa.large_string()))


def _made(
    catalog: Catalog,
    table: str,
    definition: VectorDefinition,
    texts: pa.Array,
    made: pa.Table | None,
    bar: Progress,
) -> pa.Table:
    """Return each text with its vector; those that were ``made`` before are not made again."""
    distinct = texts.drop_null().unique()
    known = [] if made is None else [made]
    if made is not None:
        distinct = distinct.filter(pc.invert(pc.is_in(distinct, made["text"].combine_chunks())))
    bar(Step("start", total=len(distinct)))
    vectors = made_of(
        catalog, table, definition, distinct,
        lambda done: bar(Step("progress", completed=done)),
    )  # fmt: skip
    bar(Step("complete"))
    known.append(pa.table({"text": distinct, "vector": vectors}))
    return pa.concat_tables(known).combine_chunks()


def _with(rows: pa.Table, definition: VectorDefinition, made: pa.Table) -> pa.Table:
    texts = whole(rows[definition.source].cast(pa.large_string()))
    at = pc.index_in(texts, whole(made["text"]), skip_nulls=True)
    place = rows.schema.get_field_index(definition.vector)
    field = rows.schema.field(place)
    return rows.set_column(place, field, whole(made["vector"]).take(at).cast(field.type))


def _write(
    catalog: Catalog,
    info: TableInfo,
    dataset: lance.LanceDataset,
    definition: VectorDefinition,
    rows: pa.Table,
) -> int:
    if definition.model != vector_definition(info).model:
        definition = replace(definition, since=int(dataset.version) + bool(rows.num_rows))
    detail = f"new vectors of {definition.source} by {definition.model}"
    if not rows.num_rows:
        with catalog.write() as writer:
            redefine(catalog, writer, info, definition, detail)
        return 0
    told = catalog.change(info, "alter", detail=detail, definition=definition.to_json())

    def check(writer: Writer) -> None:
        catalog.redefine(writer, info, definition)

    return merge_vectors(catalog, info, dataset, rows, insert=False, also=[told], check=check)
