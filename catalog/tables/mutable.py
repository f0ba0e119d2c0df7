"""Mutable tables: rows with keys, in the relational store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.lake.catalog import new_table_id
from affidavit.catalog.lake.spill import spilled
from affidavit.catalog.model.definition import MUTABLE, Index, MutableDefinition
from affidavit.catalog.model.holds import refuse_held
from affidavit.catalog.model.making import create_text
from affidavit.catalog.sql.expression import truncate_text
from affidavit.catalog.sql.names import MAIN_SCHEMA, check_column_name
from affidavit.catalog.sql.predicate import Compare, IsNull, Not
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.constraints.leftout import (
    as_given,
    leaves_out,
    parts_of,
    upserted,
)
from affidavit.catalog.tables.constraints.links import link, refuse_referred, unlink
from affidavit.catalog.tables.constraints.rows import (
    is_quick,
    not_generated,
    ready,
    refuse_given,
)
from affidavit.catalog.tables.copies.changed import forget_changed
from affidavit.catalog.tables.copies.files import forget_copy
from affidavit.catalog.tables.handle import TableHandle
from affidavit.catalog.tables.reading import given
from affidavit.catalog.tables.row_writing import insert_rows
from affidavit.catalog.tables.rows import definition_of, read_table
from affidavit.catalog.tables.short.inserting import insert_plain, plain_rows
from affidavit.catalog.tables.upserts.parts import upsert_batches
from affidavit.catalog.values.codecs import codec_for
from affidavit.catalog.values.fit import conform
from affidavit.catalog.values.ingest import new_rows, schema_rows
from affidavit.catalog.values.python.rows import rows_in
from affidavit.errors import (
    AffidavitError,
    ColumnNotFoundError,
    ConflictError,
    InvalidQueryError,
    SchemaMismatchError,
    TableNotFoundError,
    UnsupportedTypeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader, Writer


COLUMNS_MAX: Final = 1900
"""How many columns a mutable table may have: SQLite stores 2,000, of which some are the store's."""

UPSERTS_MAX: Final = 3
"""How often rows that leave columns out are completed with no lock held."""

FEW_ROWS_MAX: Final = 64
"""So many plain rows are converted under the lock."""


def define_mutable(
    name: str,
    schema: pa.Schema,
    *,
    primary_key: Sequence[str] = (),
    indexes: Sequence[Index] = (),
    order_column: str | None = None,
    defaults: Mapping[str, str] | None = None,
) -> MutableDefinition:
    """Return a checked definition of a new mutable table.

    Raises:
        UnsupportedTypeError: A column's values could not be kept exactly.
        ColumnNotFoundError: A key, an index or ``order_column`` names no column.
        SchemaMismatchError: A column name stands twice.
    """
    if not len(schema):
        msg = f"table {name!r} would have no columns: give it at least one, by data or schema="
        raise SchemaMismatchError(msg)
    for field in schema:
        check_column_name(field.name)
        try:
            codec_for(field.type)
        except UnsupportedTypeError as error:
            raise UnsupportedTypeError(field.name, field.type, table=name) from error
    if len(schema) > COLUMNS_MAX:
        msg = (
            f"table {name!r} would have {len(schema):,} columns, and {COLUMNS_MAX:,} are allowed: "
            "make a list or struct of those that belong together"
        )
        raise SchemaMismatchError(msg)
    if len(set(schema.names)) != len(schema.names):
        msg = f"table {name!r} cannot have two columns of one name: {schema.names}"
        raise SchemaMismatchError(msg)
    named = [*primary_key, *(column for index in indexes for column in index.columns)]
    for column in [*named, *([order_column] if order_column is not None else [])]:
        if column not in schema.names:
            raise ColumnNotFoundError(column, table=name, known=schema.names)
    not_null = pa.schema(
        [f.with_nullable(nullable=False) if f.name in primary_key else f for f in schema]
    )
    return MutableDefinition(
        table_id=new_table_id(),
        schema=not_null.remove_metadata(),
        stored={column: f"c{at}" for at, column in enumerate(schema.names)},
        primary_key=tuple(primary_key),
        indexes=tuple(indexes),
        order_column=order_column,
        defaults=defaults or {},
    )


def create_mutable(
    catalog: Catalog,
    writer: Writer,
    name: str,
    definition: MutableDefinition,
    *,
    schema: str = MAIN_SCHEMA,
) -> TableInfo:
    """Create an empty mutable table.

    Raises:
        TableNotFoundError: A table that it refers to was dropped meanwhile.
    """
    for key in definition.rules.foreign_keys:
        own = key.table_id == definition.table_id
        if not own and catalog.by_id(writer, key.table_id) is None:
            raise TableNotFoundError(f"that foreign key {key.name} refers to")
    info = catalog.define(writer, name, MUTABLE.name, definition, schema=schema)
    writer.create_table(definition.store_table)
    link(writer, definition.table_id, definition)
    told = {"definition": definition.to_json(), "sql": create_text(writer, info)}
    catalog.announce(writer, catalog.change(info, "create", **told))
    return info


def drop_mutable(catalog: Catalog, writer: Writer, info: TableInfo) -> None:
    """Drop a mutable table and its rows.

    Raises:
        ConstraintError: Another table refers to it.
        HoldError: A row of it is held.
    """
    refuse_referred(catalog, writer, info)
    refuse_held(writer, info.table_id)
    catalog.forget(writer, info)
    unlink(writer, info.table_id)
    writer.drop_table(definition_of(info).store_table)
    forget_changed(writer, info.table_id)
    forget_copy(catalog.lake, writer, info)
    catalog.announce(writer, catalog.change(info, "drop", rows=info.row_count))


class MutableTable(TableHandle):
    """A handle on a mutable table; it always reads and writes the table as it is now."""

    kind = MUTABLE.name

    def __repr__(self) -> str:
        try:
            info = self._info()
        except AffidavitError:  # it was dropped, or the session closed: who uses it is told so
            return f"MutableTable({self.name!r})"
        columns = ", ".join(f"{f.name}: {f.type}" for f in definition_of(info).schema)
        return f"MutableTable({self.name!r}, {info.row_count} rows, {columns})"

    def _find(self, reader: Reader) -> TableInfo:
        info = self._catalog.get(reader, self.name, self._schema)
        if info.kind != self.kind:
            raise TableNotFoundError(self.name)
        return info

    def _info(self) -> TableInfo:
        with self._catalog.read() as reader:
            return self._find(reader)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema."""
        return definition_of(self._info()).schema

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The key columns; empty if the table has none."""
        return definition_of(self._info()).primary_key

    def count(self) -> int:
        """Return how many rows there are."""
        return self._info().row_count

    def to_arrow(self) -> pa.Table:
        """Return every row, in the order of insertion."""
        with self._catalog.read() as reader:
            info = self._find(reader)
            read = partial(read_table, reader, info)
            names = definition_of(info).schema.names
            return given(self._catalog, reader, info, "to_arrow", read, names)

    def insert(self, data: object) -> int:
        """Insert rows and return how many there were: all of them, or an error and none.

        ``data`` is whatever :func:`~affidavit.catalog.values.ingest.new_rows` takes. Columns that
        are missing get their default, or NULL.

        Raises:
            SchemaMismatchError: The data does not fit; the column is named.
            ConstraintError: A key is duplicate or NULL, or a NOT NULL column is NULL.
        """
        write = partial(insert_rows, self._catalog, are_ready=True)
        return self._write(data, write, is_new=True)

    def _write(
        self,
        data: object,
        write: Callable[[Writer, TableInfo, Iterable[pa.RecordBatch]], int],
        attempts: int = 4,
        *,
        is_new: bool = False,
    ) -> int:
        """Convert ``data`` with no lock held, and have it written, if it fits the table still.

        A few plain rows are converted under the lock: looking the table up first takes longer.
        Where they are to be inserted, ``is_new``, they may be written as they stand.
        """
        rows = rows_in(data)
        if rows is not None and len(rows) <= FEW_ROWS_MAX:
            with self._catalog.write() as writer:
                info = self._find(writer)
                self._catalog.refuse_shared(info)
                definition = definition_of(info)
                plain = plain_rows(definition, rows) if is_new else None
                if plain is not None:
                    return insert_plain(self._catalog, writer, info, rows, plain)
                if not definition.defaults and is_quick(self._catalog, definition):  # no query
                    return write(writer, info, self._batches(info, data, rows))
        info = self._info()
        self._catalog.refuse_shared(info)
        schema = definition_of(info).schema
        with spilled(self._catalog.lake, self._batches(info, data, rows), schema) as kept:
            with self._catalog.write() as writer:
                now = self._find(writer)
                if now.definition == info.definition:
                    return write(writer, now, kept)
            if attempts == 1:
                msg = f"the columns of {self.name!r} were changed again and again: try again"
                raise ConflictError(msg)
            # its columns are others now, and what came may be a stream that does not come again
            again = pa.RecordBatchReader.from_batches(kept.schema, kept)
            return self._write(again, write, attempts - 1)

    def _batches(
        self, info: TableInfo, data: object, rows: Sequence[Mapping[str, Any]] | None
    ) -> Iterator[pa.RecordBatch]:
        definition = definition_of(info)
        rules = definition.rules
        optional = {*definition.defaults, *rules.generated, *rules.identities}
        how: dict[str, Any] = {"table": self.name, "optional": optional}
        loose = pa.schema(
            [f.with_nullable(nullable=f.nullable or f.name in optional) for f in definition.schema]
        )  # what is not given in a row is given by the table
        if rows is not None:
            yield self._ready(definition, schema_rows(rows, loose, **how))
            return
        for batch in new_rows(data, definition.schema):
            yield self._ready(definition, conform(batch, loose, **how))

    def _ready(self, definition: MutableDefinition, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows with what the table itself gives them, checked."""
        given = {name: batch[name] for name in batch.schema.names}
        refuse_given(self.name, definition, given)
        whole = self._with_defaults(definition, batch)
        done = ready(self._catalog, self.name, definition, whole)
        return pa.RecordBatch.from_arrays(done.columns, schema=definition.schema)

    def _with_defaults(
        self, definition: MutableDefinition, batch: pa.RecordBatch
    ) -> pa.RecordBatch:
        missing = [name for name in definition.schema.names if name not in batch.schema.names]
        if not missing:
            return batch
        wanted = {name: sql for name, sql in definition.defaults.items() if name in missing}
        fields, count = pa.schema(map(definition.schema.field, missing)), batch.num_rows
        values = self._statements.defaults(fields, wanted, count)
        arrays = [
            batch[f.name]
            if f.name not in missing
            else values.get(f.name, pa.nulls(count, f.type))  # which the table's rules fill
            for f in definition.schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=definition.schema)

    def upsert(self, data: object) -> int:
        """Insert rows, or change those with the same primary key; return how many there were.

        A column that a row leaves out stays as it is; a new row has what :meth:`insert` gives it.

        Raises:
            ConstraintError: There is no primary key, or two rows of ``data`` have the same one.
            SchemaMismatchError: The data does not fit; the column is named.
        """
        definition = definition_of(self._info())
        parts = parts_of(data, definition.schema)
        names = not_generated(definition, definition.schema.names)
        if not definition.primary_key or not leaves_out(parts, names):
            return self._write(as_given(data, parts), partial(upsert_batches, self._catalog))
        tables = [(part.table(definition.schema), part.places) for part in parts]
        return self._upsert_some(
            [
                (rows, range(rows.num_rows) if at is None else at)
                for rows, at in tables
                if rows.num_rows
            ]
        )

    def _upsert_some(self, given: Sequence[tuple[pa.Table, Sequence[int]]]) -> int:
        """Upsert rows that leave columns out: under the lock where others keep on writing."""
        catalog, complete = self._catalog, self._with_defaults
        if not given:
            return 0
        for _ in range(UPSERTS_MAX):
            with catalog.read() as reader:
                info = self._find(reader)
                catalog.refuse_shared(info)
                made = upserted(catalog, reader, info, given, complete)
            with catalog.write() as writer:
                now = self._find(writer)
                if (now.table_id, now.version) == (info.table_id, info.version):
                    return made.write(catalog, writer, now)
        with catalog.write() as writer:
            info = self._find(writer)
            return upserted(catalog, writer, info, given, complete).write(catalog, writer, info)

    def truncate(self) -> int:
        """Delete every row, and return how many there were."""
        return self._statements.run(truncate_text(self._schema, self.name), {})

    def scan_after(self, value: object) -> pa.Table:
        """Return the rows whose ``order_column`` is strictly greater than ``value``, ascending.

        ``None`` returns every row that has a value there. Use the last row's value to go on.

        Raises:
            InvalidQueryError: The table was created without ``order_column``.
        """
        with self._catalog.read() as reader:
            info = self._find(reader)
            definition = definition_of(info)
            column = definition.order_column
            if column is None:
                msg = f"table {self.name!r} was created without order_column, so it has no order"
                raise InvalidQueryError(msg)
            after: Predicate = Not(IsNull(column))
            if value is not None:
                scalar = _order_value(value, definition.types[column], column=column)
                after = Compare(">", column, scalar)
            read = partial(read_table, reader, info, predicate=after, order_by=(column, ROWID))
            return given(self._catalog, reader, info, "scan_after", read, definition.schema.names)


def _order_value(value: object, to: pa.DataType, *, column: str) -> pa.Scalar:
    try:
        return pa.scalar(value, to)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        msg = f"{value!r} cannot be compared with column {column!r} of type {to}"
        raise InvalidQueryError(msg) from error
