"""Rows that are upserted by some of their columns: what they leave out stays as it is.

Rules:
    - What a row leaves out is what the row of its key has; a new row has what an INSERT gives it.
    - Rows of one call may leave out different columns, each row by itself where rows are dicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.lake.vectors.datasets import rows_with_keys
from affidavit.catalog.tables.constraints.keys import duplicate_within, shown_key
from affidavit.catalog.tables.constraints.rows import ready, refuse_given
from affidavit.catalog.tables.row_writing import Images, change_rows
from affidavit.catalog.tables.rows import definition_of, find_rows, key_values, rows_by_id
from affidavit.catalog.values.arrays import nullable, take_rows, whole
from affidavit.catalog.values.fit import conform
from affidavit.catalog.values.ingest import new_rows
from affidavit.catalog.values.python.rows import rows_in
from affidavit.catalog.values.vectors import of_any_length
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that give the same columns.

    Attributes:
        names: The columns.
        rows: The rows.
        places: Where each stood in what was given; as they are, if that is all of it.
    """

    names: frozenset[str]
    rows: Any
    places: Sequence[int] | None = None

    def table(self, schema: pa.Schema) -> pa.Table:
        """Return the rows, as values are read for a table of ``schema``."""
        return new_rows(self.rows, schema).read_all()


def parts_of(data: object, schema: pa.Schema) -> list[Part]:
    """Return rows by the columns that they give; a stream is not read for that."""
    rows = rows_in(data)
    if rows is None:
        reader = new_rows(data, schema)
        return [Part(frozenset(reader.schema.names), reader)]
    places: dict[frozenset[str], list[int]] = {}
    for at, row in enumerate(rows):
        places.setdefault(frozenset(row), []).append(at)
    return [Part(names, [rows[at] for at in each], each) for names, each in places.items()]


def as_given(data: object, parts: Sequence[Part]) -> object:
    """Return what was given, which a stream is no more once it was looked at."""
    return parts[0].rows if parts[0].places is None else data


def leaves_out(parts: Iterable[Part], columns: Collection[str]) -> bool:
    """Return whether any rows leave one of ``columns`` out."""
    return any(not part.names.issuperset(columns) for part in parts)


def _in_order(tables: Sequence[pa.Table], places: Sequence[int]) -> pa.Table:
    return take_rows(
        pa.concat_tables(tables), np.argsort(np.array(places, np.int64), kind="stable")
    )


# --- mutable tables ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Upserted:
    """What rows come to at one snapshot: those to change, before and after, and new ones."""

    rowids: Sequence[int]
    before: pa.Table
    after: pa.Table
    fresh: pa.Table

    def write(self, catalog: Catalog, writer: Writer, info: TableInfo) -> int:
        """Write them to the table, which is as it was read, and return how many they are."""
        return change_rows(
            catalog, writer, info, old=Images(self.rowids, self.before), new=self.after,
            fresh=self.fresh.to_batches(),
        )  # fmt: skip


def upserted(
    catalog: Catalog,
    reader: Reader,
    info: TableInfo,
    given: Sequence[tuple[pa.Table, Sequence[int]]],
    complete: Callable[[MutableDefinition, pa.RecordBatch], pa.RecordBatch],
) -> Upserted:
    """Return what rows of some columns come to, complete and checked.

    Args:
        catalog: Who writes them.
        reader: Where the rows of their keys are read.
        info: The table.
        given: The rows, each with its place.
        complete: Gives new rows what they leave out.

    Raises:
        ConstraintError: Two rows have one key, or one breaks a rule.
        SchemaMismatchError: A column is unknown, or does not fit; or a key is left out.
    """
    definition = definition_of(info)
    schema, key = definition.schema, definition.primary_key
    loose = nullable(schema)
    needed = {name for name in key if name not in definition.rules.identities}
    asked = pa.schema([field.with_nullable(nullable=field.name not in needed) for field in schema])
    optional = [name for name in schema.names if name not in key]
    rowids: list[int] = []
    places: list[int] = []
    olds, news, freshes, keys = [loose.empty_table()], [loose.empty_table()], [], []
    for rows, at in given:
        [batch] = rows.combine_chunks().to_batches()
        part = pa.Table.from_batches([conform(batch, asked, table=info.name, optional=optional)])
        refuse_given(info.name, definition, {name: part[name] for name in part.schema.names})
        keys.append(part.select(list(key)))
        stored, values = find_rows(reader, info, key, part), key_values(definition, key, part)
        is_old = np.array([each in stored for each in values], dtype=bool)
        old, new = np.flatnonzero(is_old), np.flatnonzero(~is_old)
        if len(old):
            found = [stored[values[each]] for each in old]
            before = rows_by_id(reader, info, found).cast(loose)
            rowids += found
            olds.append(before)
            news.append(_over(before, take_rows(part, old)))
        if len(new):
            [batch] = take_rows(part, new).combine_chunks().to_batches()
            freshes.append(pa.Table.from_batches([complete(definition, batch)]).cast(loose))
            places += [at[int(each)] for each in new]
    _refuse_twice(definition, info.name, pa.concat_tables(keys))
    after = ready(catalog, info.name, definition, pa.concat_tables(news), numbered=())
    fresh = _in_order(freshes, places) if freshes else loose.empty_table()
    fresh = ready(catalog, info.name, definition, fresh)
    return Upserted(rowids, pa.concat_tables(olds), after, fresh)


def _over(rows: pa.Table, given: pa.Table) -> pa.Table:
    """Return rows with the columns that are given in the place of theirs."""
    for name in given.schema.names:
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), given[name])
    return rows


def _refuse_twice(definition: MutableDefinition, table: str, keys: pa.Table) -> None:
    key = definition.primary_key
    at = duplicate_within(definition, key, keys)
    if at is not None:
        msg = f"two rows for table {table!r} have {shown_key(key, keys, at)}"
        raise ConstraintError(msg)


# --- vector tables -------------------------------------------------------------------------------


def whole_vectors(
    dataset: lance.LanceDataset, key: str, table: str, data: object, parts: list[Part] | None = None
) -> object:
    """Return rows for a vector table with what they leave out; ``data`` if that is nothing.

    ``parts`` are the rows, where they are by the columns that they give already.
    """
    schema = of_any_length(dataset.schema)
    if parts is None:
        parts = parts_of(data, schema)
        if not leaves_out(parts, schema.names):
            return as_given(data, parts)
    tables, places = list[pa.Table](), list[int]()
    loose = pa.schema([f.with_nullable(nullable=f.name != key) for f in schema])
    for part in parts:
        rows = part.table(schema)
        if key in rows.schema.names:
            rows = _with_stored(dataset, key, rows)
        batches = [conform(batch, loose, table=table) for batch in rows.to_batches()]
        tables.append(pa.Table.from_batches(batches, loose))
        places += range(rows.num_rows) if part.places is None else part.places
    return _in_order(tables, places)


def _with_stored(dataset: lance.LanceDataset, key: str, rows: pa.Table) -> pa.Table:
    kind = dataset.schema.field(key).type
    keys = whole(rows[key]).cast(kind)
    stored = rows_with_keys(dataset, key, keys.drop_null().unique())
    at = pc.index_in(keys, whole(stored[key]))  # NULL, which takes NULL, where there is none
    for field in dataset.schema:
        if field.name not in rows.schema.names:
            column: pa.Array | pa.ChunkedArray = pa.nulls(rows.num_rows, field.type)
            if stored.num_rows:
                column = take_rows(stored.select([field.name]), at)[field.name]
            rows = rows.append_column(field.with_nullable(nullable=True), column)
    return rows
