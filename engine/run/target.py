"""The target of a DML statement, open to be read and written: where DML meets the catalog."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import lance
import pyarrow as pa
from datafusion import col
from datafusion.catalog import Table

from affidavit.catalog.model.definition import EXTERNAL, MUTABLE, VECTOR
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.sql.scan import ArrowDataset
from affidavit.catalog.tables.row_writing import delete_rows, insert_rows, truncate, update_rows
from affidavit.catalog.tables.rows import definition_of
from affidavit.catalog.tables.vector_rows import (
    delete_vectors,
    insert_vectors,
    locked,
    merge_vectors,
    vector_definition,
)
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.scans.mutable import offer_target
from affidavit.engine.scans.snapshot import Snapshot
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET
from affidavit.errors import ConstraintError, ExecutionError, ReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from datafusion import DataFrame

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Writer
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.assignments import Target
    from affidavit.engine.statement.statement import Statement


@dataclass(frozen=True, slots=True)
class Images:
    """Rows of a target as they are, with their identities."""

    rowids: Sequence[int]
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement that changes rows, and for whom."""

    scope: Scope
    statement: Statement
    params: Params


@contextmanager
def open_target(asked: Asked, target: Target) -> Iterator[OpenTarget]:
    """Open the transaction, or a vector table's lock, in which rows are read and then written.

    Raises:
        TableNotFoundError: There is no such table.
        ReadOnlyError: It is a view, or another scope's.
    """
    catalog = asked.scope.catalog
    with catalog.read() as reader:
        info = catalog.get(reader, target.name, target.schema)
    catalog.refuse_shared(info)
    if info.kind not in OPENS:
        msg = f"{target.name!r} is a {info.kind}: write to the tables that it reads"
        if info.kind == EXTERNAL.name:
            msg = f"{target.name!r} is external: it is read here, and written where it comes from"
        raise ReadOnlyError(msg)
    with OPENS[info.kind](asked, info) as opened:
        yield opened


@contextmanager
def _open_vectors(asked: Asked, info: TableInfo) -> Iterator[OpenTarget]:
    catalog = asked.scope.catalog
    with (
        locked(catalog, info, "writing a vector table") as (now, dataset),
        catalog.read() as reader,
        Snapshot(catalog, reader, committed=True) as snapshot,
    ):
        provider = lance.FFILanceTableProvider(dataset, with_row_id=True, with_row_addr=False)
        snapshot.virtual[DML_TARGET] = Table(provider)
        yield OpenTarget(asked, now, snapshot, None, dataset)


@contextmanager
def _open_rows(asked: Asked, info: TableInfo) -> Iterator[OpenTarget]:
    catalog = asked.scope.catalog
    with (
        catalog.write() as writer,
        Snapshot(catalog, writer, committed=False) as snapshot,
    ):
        now = catalog.get(writer, info.name, info.schema)
        offer_target(snapshot, now)
        yield OpenTarget(asked, now, snapshot, writer, None)


OPENS: Final[Mapping[str, Callable[[Asked, TableInfo], AbstractContextManager[OpenTarget]]]] = {
    VECTOR.name: _open_vectors,
    MUTABLE.name: _open_rows,
}
"""How a target of each kind that has rows here is opened."""


@dataclass(frozen=True, slots=True)
class OpenTarget:
    """A target under its transaction or lock; the one place where DML meets the catalog."""

    asked: Asked
    info: TableInfo
    snapshot: Snapshot
    writer: Writer | None
    dataset: lance.LanceDataset | None

    @property
    def catalog(self) -> Catalog:
        """The catalog that the target is written through."""
        return self.asked.scope.catalog

    @property
    def schema(self) -> pa.Schema:
        """The target's columns."""
        return self.dataset.schema if self.dataset is not None else definition_of(self.info).schema

    @property
    def columns(self) -> list[str]:
        """The target's column names."""
        return list(self.schema.names)

    @property
    def defaults(self) -> Mapping[str, str]:
        """Each column's default expression."""
        return {} if self.dataset is not None else definition_of(self.info).defaults

    @property
    def key(self) -> tuple[str, ...]:
        """The target's primary key."""
        if self.dataset is not None:
            return (vector_definition(self.info).key,)
        return definition_of(self.info).primary_key

    @property
    def unique_keys(self) -> tuple[tuple[str, ...], ...]:
        """Every unique key."""
        return (self.key,) if self.dataset is not None else definition_of(self.info).unique_keys

    @property
    def nothing(self) -> pa.Table:
        """No rows of the target's columns."""
        return _nullable(self.schema).empty_table()

    def empty(self) -> Table:
        """Return a table of the target's columns for DataFusion to plan an INSERT into.

        Its columns may be NULL, so that NOT NULL is checked on writing, where the column is named.
        """
        return Table(ArrowDataset(self.nothing, self.snapshot.fail))

    def default(self, column: str, value: str) -> str:
        """Return ``value``, or the column's default where it is the word DEFAULT."""
        return self.defaults.get(column, "NULL") if value.upper() == "DEFAULT" else value

    # --- read ----------------------------------------------------------------------------------

    def rows(self, text: str) -> pa.Table:
        """Return the rows of a query that was put together out of the statement's parts."""
        planner, statement = self.asked.scope.planner, self.asked.statement
        plan = partial(planner.plan, text, self.asked.params, names=statement.names)
        return planner.collect(plan, self.snapshot)

    def cast_rows(self, text: str, casts: Mapping[str, str]) -> pa.Table:
        """Return the rows of such a query, and ``casts``, each as the type of its column.

        Args:
            text: The query, for the target's columns and others.
            casts: The target's column that each of those is for.
        """
        asked, planner = self.asked, self.asked.scope.planner
        statement = asked.statement
        kinds = {name: self.schema.field(column).type for name, column in casts.items()}

        def plan(snapshot: Snapshot) -> DataFrame:
            frame = planner.plan(
                text, asked.params, snapshot,
                names=statement.names, narrow=statement.reads_one_table,
            )  # fmt: skip
            found = frame.schema()
            if all(found.field(name).type == kind for name, kind in kinds.items()):
                return frame
            return frame.select(
                *[
                    col(quoted(name)).cast(kinds[name]).alias(name)
                    if name in kinds
                    else col(quoted(name))
                    for name in found.names
                ]
            )

        return planner.collect(plan, self.snapshot)

    def returning(self, clause: str, rows: pa.Table, alias: str) -> pa.Table | None:
        """Return what a RETURNING says of the rows that were written, if there is one."""
        if not clause:
            return None
        self.snapshot.virtual["returning"] = memory_table(rows)
        return self.rows(f'SELECT {clause} FROM "{DML_SCHEMA}".returning AS {quoted(alias)}')

    def fitted(self, rows: pa.Table) -> pa.Table:
        """Return ``rows`` with exactly the target's columns and types."""
        arrays = [_as(rows[field.name], field) for field in self.schema]
        return pa.Table.from_arrays(arrays, schema=_nullable(self.schema))

    def images(self, rows: pa.Table, new: Mapping[str, str]) -> tuple[pa.Table, pa.Table]:
        """Return the rows before and after; ``new`` says where each changed column's values are."""
        before = self.fitted(rows)
        after = before
        for column, name in new.items():
            field = after.schema.field(column)
            after = after.set_column(self.columns.index(column), field, _as(rows[name], field))
        return before, after

    def new_rows(self, rows: pa.Table, new: Mapping[str, str]) -> pa.Table:
        """Return rows to insert: ``new`` says where each column's values are, others are NULL."""
        arrays = []
        for field in self.schema:
            if field.name in new:
                arrays.append(_as(rows[new[field.name]], field))
            else:
                arrays.append(pa.chunked_array([pa.nulls(rows.num_rows, field.type)]))
        return pa.Table.from_arrays(arrays, schema=_nullable(self.schema))

    # --- written -------------------------------------------------------------------------------

    def insert(self, rows: pa.Table) -> int:
        """Insert rows."""
        if self.writer is not None:
            return insert_rows(
                self.catalog, self.writer, self.info, rows.combine_chunks().to_batches()
            )
        return insert_vectors(self.catalog, self.info, self.dataset, rows)

    def update(
        self,
        rowids: Sequence[int],
        before: pa.Table,
        after: pa.Table,
        columns: Iterable[str] | None = None,
    ) -> int:
        """Replace rows, of which only ``columns`` may differ."""
        if self.writer is not None:
            return update_rows(
                self.catalog, self.writer, self.info, rowids, before, after, columns=columns
            )
        self._refuse_new_keys(before, after)
        merge_vectors(self.catalog, self.info, self.dataset, after, insert=False)
        return after.num_rows

    def upsert(
        self, rowids: Sequence[int], before: pa.Table, after: pa.Table, fresh: pa.Table
    ) -> pa.Table:
        """Replace rows and insert others, and return all of them as they are now."""
        written = pa.concat_tables([after, fresh])
        if self.writer is not None:
            self.update(rowids, before, after)
            self.insert(fresh)
        else:
            merge_vectors(self.catalog, self.info, self.dataset, written)
        return written

    def truncate(self) -> int:
        """Delete every row."""
        if self.writer is not None:
            return truncate(self.catalog, self.writer, self.info)
        assert self.dataset is not None
        return self.delete([], self.dataset.to_table())

    def merge(self, gone: Images, old: Images, new: pa.Table, fresh: pa.Table) -> int:
        """Delete ``gone``, turn ``old`` into ``new`` and insert ``fresh``, all at once."""
        if self.writer is not None:
            deleted = self.delete(gone.rowids, gone.rows)
            return deleted + self.update(old.rowids, old.rows, new) + self.insert(fresh)
        self._refuse_new_keys(old.rows, new)
        return merge_vectors(
            self.catalog, self.info, self.dataset, new, fresh=fresh, deleted=gone.rows
        )

    def _refuse_new_keys(self, before: pa.Table, after: pa.Table) -> None:
        key = self.key[0]
        if before[key] != after[key]:
            msg = (
                f"{key!r} is the key of vector table {self.info.name!r} and cannot be updated: "
                "delete the row and insert it again"
            )
            raise ConstraintError(msg)

    def delete(self, rowids: Sequence[int], before: pa.Table) -> int:
        """Delete rows."""
        if self.writer is not None:
            return delete_rows(self.catalog, self.writer, self.info, rowids, before)
        return delete_vectors(self.catalog, self.info, self.dataset, before)


def _nullable(schema: pa.Schema) -> pa.Schema:
    """Return ``schema`` as a plan may give it: whether NULL is allowed is checked on writing."""
    return pa.schema([field.with_nullable(nullable=True) for field in schema])


def _as(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except (pa.ArrowException, TypeError) as error:
        msg = (
            f"column {field.name!r} is {field.type}, and the statement gives {column.type}: {error}"
        )
        raise ExecutionError(msg) from error
