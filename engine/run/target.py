"""The target of a DML statement, read at a snapshot and then written: where DML meets the catalog.

Rules:
    - A statement's plan runs with no lock held, and what it gives is written if it is still so;
      else the statement is run again.
    - In a transaction that the caller has open, it is read and written there.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.model.definition import EXTERNAL, MUTABLE, VECTOR
from affidavit.catalog.sql.names import TEMP_SCHEMA
from affidavit.catalog.tables.constraints.rows import not_generated
from affidavit.catalog.tables.embedding.filling import outdated
from affidavit.catalog.tables.rows import definition_of
from affidavit.catalog.tables.vector_rows import locked, vector_definition
from affidavit.engine.run.telling.casts import casts_by_column
from affidavit.engine.run.writing.attempts import attempted
from affidavit.engine.run.writing.counts import tell_calls, tell_count
from affidavit.engine.run.writing.fitting import (
    as_column,
    cast_columns,
    changed_ready,
    no_rows,
    rows_ready,
)
from affidavit.engine.run.writing.still import Still
from affidavit.engine.run.writing.temporary import TemporaryWrites
from affidavit.engine.run.writing.writes import WRITING, RowWrites, VectorWrites
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.scans.mutable import offer_target
from affidavit.engine.statement.assignments import is_default
from affidavit.engine.statement.mended.numbers import nearest
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET
from affidavit.errors import ReadOnlyError, TableNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    import lance
    from datafusion import DataFrame

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.run.writing.asked import Asked
    from affidavit.engine.run.writing.writes import Writes
    from affidavit.engine.scans.mutable import TargetDataset
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.statement.assignments import Target


def changed(asked: Asked, target: Target, change: Callable[[OpenTarget], Result]) -> Result:
    """Return what ``change`` makes of the target, which it reads first, and then writes.

    It reads at a snapshot, with no lock held. Where that is no longer so when it writes, it is
    called again, and the last time under the lock.

    Raises:
        TableNotFoundError: There is no such table.
        ReadOnlyError: It is a view, or another scope's.
        ConflictError: Others changed what it reads each time that it was tried.
    """

    def once(opens: Callable[[Asked, Target], AbstractContextManager[OpenTarget]]) -> Result:
        asked.unchanged.clear()
        with opens(asked, target) as opened, casts_by_column(opened.schema, asked.statement):
            result = change(opened)
        unchanged = asked.unchanged.pop() if asked.unchanged else None
        if opened.info.schema == TEMP_SCHEMA:  # what it tells, it tells of the session's own
            return result
        return tell_count(opened.snapshot, opened.info, result, unchanged)

    is_temporary = asked.scope.planner.temporaries.find(target.schema, target.name) is not None
    opens = (_temporary, _temporary) if is_temporary else (_at_snapshot, _under_lock)
    return attempted(
        asked.scope.catalog, target.name, *(partial(once, each) for each in opens)
    )  # fmt: skip


def _writable(scope: Scope, reader: Reader, target: Target) -> TableInfo:
    catalog = scope.catalog
    scope.refuse_frame(target.schema, target.name)
    info = catalog.get(reader, target.name, target.schema)
    catalog.refuse_shared(info)
    if info.kind not in OPENS:
        msg = f"{target.name!r} is a {info.kind}: write to the tables that it reads"
        if info.kind == EXTERNAL.name:
            msg = f"{target.name!r} is external: it is read here, and written where it comes from"
        raise ReadOnlyError(msg)
    return info


@contextmanager
def _at_snapshot(asked: Asked, target: Target) -> Iterator[OpenTarget]:
    """Open a target to be read at a snapshot, and written later."""
    catalog, planner = asked.scope.catalog, asked.scope.planner
    with ExitStack() as reading:
        reader = reading.enter_context(catalog.read())
        info = _writable(asked.scope, reader, target)
        opens = OPENS[info.kind]
        snapshot = reading.enter_context(planner.at(catalog, reader, committed=opens.uses_cache))
        snapshot.say_target(committed=catalog.transactions.current() is None)
        yield opens.at_snapshot(asked, info, snapshot, reading.close)


@contextmanager
def _under_lock(asked: Asked, target: Target) -> Iterator[OpenTarget]:
    """Open a target to be read and written under the lock of its writers."""
    with asked.scope.catalog.read() as reader:
        info = _writable(asked.scope, reader, target)
    with OPENS[info.kind].under_lock(asked, info) as opened:
        yield opened


@contextmanager
def _temporary(asked: Asked, target: Target) -> Iterator[OpenTarget]:
    """Open a temporary table of the session."""
    catalog, tables = asked.scope.catalog, asked.scope.planner.temporaries
    table = tables.find(target.schema, target.name)
    if table is None:
        raise TableNotFoundError(target.name)
    with asked.scope.planner.snapshot(catalog) as snapshot:
        snapshot.virtual[DML_TARGET] = memory_table(table.rows)
        yield OpenTarget(asked, table.info, snapshot, TemporaryWrites(catalog, tables, table), None)


# --- vector tables -------------------------------------------------------------------------------


def _vectors_at_snapshot(
    asked: Asked, info: TableInfo, snapshot: Snapshot, end: Callable[[], None]
) -> OpenTarget:
    dataset = snapshot.catalog.lake.datasets.visible(info)
    return _vectors(asked, info, snapshot, dataset, end, is_locked=False)


@contextmanager
def _vectors_under_lock(asked: Asked, info: TableInfo) -> Iterator[OpenTarget]:
    catalog, planner = asked.scope.catalog, asked.scope.planner
    with locked(catalog, info, WRITING) as (now, dataset), ExitStack() as reading:
        reader = reading.enter_context(catalog.read())
        snapshot = reading.enter_context(planner.at(catalog, reader, committed=True))
        yield _vectors(asked, now, snapshot, dataset, reading.close, is_locked=True)


def _vectors(
    asked: Asked,
    info: TableInfo,
    snapshot: Snapshot,
    dataset: lance.LanceDataset,
    end: Callable[[], None],
    *,
    is_locked: bool,
) -> OpenTarget:
    told = tell_calls(asked, info, snapshot)
    key = (DML_SCHEMA, DML_TARGET)
    snapshot.virtual[DML_TARGET] = snapshot.lance(key, dataset, told, with_ids=True)
    still = Still(snapshot, info, asked.every)
    writes = VectorWrites(snapshot.catalog, info, dataset, still, end, is_locked=is_locked)
    return OpenTarget(asked, info, snapshot, writes, dataset)


# --- mutable tables ------------------------------------------------------------------------------


def _rows_at_snapshot(
    asked: Asked,
    info: TableInfo,
    snapshot: Snapshot,
    end: Callable[[], None],
    writer: Writer | None = None,
) -> OpenTarget:
    stored = offer_target(snapshot, info, tell_calls(asked, info, snapshot))
    still = Still(snapshot, info, asked.every, stored)
    writes = RowWrites(snapshot.catalog, info, still, end, writer)
    return OpenTarget(asked, info, snapshot, writes, None, stored)


@contextmanager
def _rows_under_lock(asked: Asked, info: TableInfo) -> Iterator[OpenTarget]:
    catalog, planner = asked.scope.catalog, asked.scope.planner
    with (
        catalog.write() as writer,
        planner.at(catalog, writer, committed=False) as snapshot,
    ):
        now = catalog.get(writer, info.name, info.schema)
        yield _rows_at_snapshot(asked, now, snapshot, lambda: None, writer)


@dataclass(frozen=True, slots=True)
class Opens:
    """How a target of one kind is opened.

    Attributes:
        at_snapshot: To be read at a snapshot, and written later.
        under_lock: To be read and written under the lock of its writers.
        uses_cache: Whether what is read may be kept in memory: small tables are read whole then.
    """

    at_snapshot: Callable[[Asked, TableInfo, Snapshot, Callable[[], None]], OpenTarget]
    under_lock: Callable[[Asked, TableInfo], AbstractContextManager[OpenTarget]]
    uses_cache: bool


OPENS: Final[Mapping[str, Opens]] = {
    VECTOR.name: Opens(_vectors_at_snapshot, _vectors_under_lock, uses_cache=True),
    MUTABLE.name: Opens(_rows_at_snapshot, _rows_under_lock, uses_cache=False),
}
"""How a target of each kind that has rows here is opened."""


@dataclass(frozen=True, slots=True)
class OpenTarget:
    """A target that is read and then written; the one place where DML meets the catalog.

    Attributes:
        asked: The statement.
        info: The table.
        snapshot: Where it is read.
        writes: What writes it.
        dataset: What a vector table is read from.
        stored: What a mutable table is read from.
    """

    asked: Asked
    info: TableInfo
    snapshot: Snapshot
    writes: Writes
    dataset: lance.LanceDataset | None
    stored: TargetDataset | None = None

    @property
    def catalog(self) -> Catalog:
        """The catalog that the target is written through."""
        return self.asked.scope.catalog

    @property
    def unchanged(self) -> list[pa.Table]:
        """Where rows are noted that the statement matched and leaves as they are."""
        return self.asked.unchanged

    @property
    def schema(self) -> pa.Schema:
        """The target's columns."""
        return self.dataset.schema if self.dataset is not None else definition_of(self.info).schema

    @property
    def columns(self) -> list[str]:
        """The target's column names."""
        return list(self.schema.names)

    @property
    def given_columns(self) -> tuple[str, ...]:
        """The columns that an INSERT without a list gives: all but those that are generated."""
        if self.dataset is not None:
            return tuple(self.columns)
        return tuple(not_generated(definition_of(self.info), self.columns))

    @property
    def defaults(self) -> Mapping[str, str]:
        """Each column's default expression."""
        given = {} if self.dataset is not None else definition_of(self.info).defaults
        return nearest(given, self.schema)

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
    def loose(self) -> pa.Schema:
        """The target's columns as a plan may give them: NULL is checked on writing."""
        return no_rows(self.schema).schema

    @property
    def nothing(self) -> pa.Table:
        """No rows of the target's columns."""
        return no_rows(self.schema)

    @property
    def floats(self) -> set[str]:
        """The columns of floats."""
        return {each.name for each in self.schema if pt.is_floating(each.type)}

    def with_defaults(self, sets: Mapping[str, str]) -> dict[str, str]:
        """Return column to expression, with the column's default for the word DEFAULT.

        A number of many digits is a float where its column is one.
        """
        defaults = self.defaults
        return {
            column: defaults.get(column, "NULL") if is_default(value) else value
            for column, value in nearest(sets, self.schema).items()
        }

    # --- read ----------------------------------------------------------------------------------

    def rows(self, text: str, values: Params = MappingProxyType({})) -> pa.Table:
        """Return the rows of a query that was put together out of the statement's parts.

        Args:
            text: The query.
            values: Parameters that it has beside the statement's own.
        """
        planner, params = self.asked.scope.planner, {**self.asked.params, **values}
        names = self.asked.statement.names
        return planner.collect(partial(planner.plan, text, params, names=names), self.snapshot)

    def columns_of(self, text: str, params: Params | None = None) -> list[str]:
        """Return what the columns of a query are called, which is not run."""
        planner, names = self.asked.scope.planner, self.asked.statement.names
        given = self.asked.params if params is None else params
        found: list[str] = planner.plan(text, given, self.snapshot, names=names).schema().names
        return found

    def cast_rows(
        self, text: str, casts: Mapping[str, str], values: Params = MappingProxyType({})
    ) -> pa.Table:
        """Return the rows of such a query, and ``casts``, each as the type of its column.

        Args:
            text: The query, for the target's columns and others.
            casts: The target's column that each of those is for.
            values: Parameters that the query has beside the statement's own.
        """
        params, planner = {**self.asked.params, **values}, self.asked.scope.planner
        statement = self.asked.statement
        kinds = {name: self.schema.field(column).type for name, column in casts.items()}

        def plan(snapshot: Snapshot) -> DataFrame:
            narrow, names = statement.reads_one_table, statement.names
            frame = planner.plan(text, params, snapshot, names=names, narrow=narrow)
            return cast_columns(frame, kinds)

        return planner.collect(plan, self.snapshot)

    def fitted_batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield ``batches`` with exactly the target's columns and types."""
        loose = self.loose
        for batch in batches:
            fitted = batch
            if not batch.schema.equals(loose):
                arrays = [as_column(batch[each.name], each) for each in loose]
                fitted = pa.RecordBatch.from_arrays(arrays, schema=loose)
            yield rows_ready(self.catalog, self.info, fitted, fitted.schema.names)

    def fitted(self, rows: pa.Table) -> pa.Table:
        """Return ``rows`` with exactly the target's columns and types."""
        arrays = [as_column(rows[each.name], each) for each in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.loose)

    def images(
        self, rows: pa.Table, new: Mapping[str, str], sets: Mapping[str, str]
    ) -> tuple[pa.Table, pa.Table]:
        """Return the rows before and after.

        Args:
            rows: The rows of the statement's query.
            new: Where each changed column's values are there.
            sets: What the statement sets each to, as it is written.
        """
        before = self.fitted(rows)
        after = before
        for column, name in new.items():
            kind = after.schema.field(column)
            after = after.set_column(self.columns.index(column), kind, as_column(rows[name], kind))
        after = outdated(self.info, before, after, new)
        defaults = {column for column, value in sets.items() if is_default(value)}
        return before, changed_ready(self.catalog, self.info, after, new, defaults)

    def new_rows(self, rows: pa.Table, new: Mapping[str, str]) -> pa.Table:
        """Return rows to insert: ``new`` says where each column's values are, others are NULL."""
        arrays = []
        for each in self.schema:
            if each.name in new:
                arrays.append(as_column(rows[new[each.name]], each))
            else:
                arrays.append(pa.chunked_array([pa.nulls(rows.num_rows, each.type)]))
        made = pa.Table.from_arrays(arrays, schema=self.loose)
        return rows_ready(self.catalog, self.info, made, new)
