"""Whom a statement runs for: a tenant's planner and catalog, and the folders that it may name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.tables.constraints.sequences import sequences_of
from affidavit.catalog.values.arrays import whole
from affidavit.engine.plan.errors import type_name, type_told
from affidavit.engine.result.result import Result
from affidavit.engine.run.telling.listing import LISTING_WORDS, offer_views
from affidavit.engine.run.writing.fitting import cast_columns
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.statement.mended.numbers import nearest
from affidavit.engine.statement.statement import DML_SCHEMA, parse_statement
from affidavit.errors import (
    AffidavitError,
    ExecutionError,
    MemoryLimitError,
    ReadOnlyError,
    SchemaMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from datafusion import DataFrame

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sources.reach import Reach
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.statement.statement import Statement

Params: TypeAlias = "Mapping[str, Any]"
"""A statement's parameters, by name or number."""

Begin: TypeAlias = "Callable[[Catalog, str], AbstractContextManager[Catalog]]"
"""Begins a statement of this text, and yields the catalog that it is run through."""

_LISTING_WORDS: Final = LISTING_WORDS | {"describe", "desc"}


class Scope(ABC):
    """What every statement runs with; it is also what runs those that table handles make.

    Args:
        planner: Plans for the tenant.
        catalog: The tenant's catalog, as the caller acts in it.
        reach: What the statement may reach.
        begin: Yields the catalog that a statement which a table handle makes is run through.
    """

    def __init__(
        self,
        planner: Planner,
        catalog: Catalog,
        reach: Reach,
        begin: Begin | None = None,
    ) -> None:
        self.planner = planner
        self.catalog = catalog
        self.reach = reach
        self._begin = begin or _begun

    @abstractmethod
    def execute(self, statement: Statement, params: Params) -> Result:
        """Run one statement."""

    def query(self, statement: Statement, params: Params) -> Result:
        """Return the rows of a query, which runs when they are asked for."""
        stack = ExitStack()
        try:
            snapshot = stack.enter_context(self.planner.snapshot(self.catalog))
            if snapshot.committed:
                found = self.planner.short(statement.text, params, snapshot, stack)
                if found is not None:
                    return found
            plan = partial(
                self.planner.plan, statement.text, params, names=statement.names, read_only=True
            )
            lists = not LISTING_WORDS.isdisjoint(statement.names)
            if lists:
                offer_views(self.planner, snapshot)
            if snapshot.committed and not lists:
                return self.planner.result(plan, snapshot, stack)
            # the transaction may have ended by the time a lazy result is read
            listed = statement.names & _LISTING_WORDS
            collect = self.planner.collect_listing if listed else self.planner.collect
            table = collect(plan, snapshot)
            rows = Result.of(table, receipt=lambda: snapshot.reading.receipt)
        except BaseException:
            stack.close()
            raise
        stack.close()
        return rows

    def columns_of(self, statement: Statement) -> set[str] | None:
        """Return the columns of every table of the lake that a statement names.

        ``None`` where they cannot all be told: a source's are not looked up for this, and a view or
        file may not be there.
        """
        planner, names = self.planner, {name.casefold() for name in statement.names}
        if names & {name.casefold() for name in planner.attached}:
            return None
        found: set[str] = set()
        with planner.snapshot(self.catalog) as snapshot:
            tables = [(each.schema, each.name) for each in self.catalog.tables(snapshot.reader)]
            own = [(each.info.schema, each.info.name) for each in planner.temporaries]
            for schema, name in (*tables, *planner.frames, *own):
                if name.casefold() not in names:
                    continue
                text = f"SELECT * FROM {quoted(schema)}.{quoted(name)}"
                try:
                    frame = planner.plan(text, {}, snapshot, names={schema, name}, read_only=True)
                except AffidavitError:
                    return None
                found.update(frame.schema().names)
        return found

    def info(self, reader: Reader, schema: str, name: str) -> TableInfo | None:
        """Return the table that a statement means by a name: a temporary one first."""
        held = self.planner.temporaries.find(schema, name)
        return self.catalog.find(reader, name, schema) if held is None else held.info

    def refuse_read_only(self) -> None:
        """Raise unless the lake may be written, as it is now."""
        self.catalog.refuse_past()
        if self.catalog.lake.read_only:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)

    def refuse_frame(self, schema: str, name: str) -> None:
        """Raise ReadOnlyError if what queries of this session read by that name is in memory."""
        if self.planner.temporaries.find(schema, name) is not None:
            msg = (
                f"{name!r} is a temporary table of this session: its rows are written, and it is "
                "dropped, and nothing else is done with it"
            )
            raise ReadOnlyError(msg)
        if (schema, name) in self.planner.frames:
            msg = (
                f"{name!r} is a frame in memory of this session, which is only read: detach it to "
                "change a table of that name"
            )
            raise ReadOnlyError(msg)

    # --- what table handles need -----------------------------------------------------------------

    def run(self, text: str, params: Mapping[str, object]) -> int:
        """Run one DML statement and return how many rows it touched."""
        with self._begin(self.catalog, text) as catalog:
            scope = type(self)(self.planner.of_lake(frames=True), catalog, self.reach)
            affected = scope.execute(parse_statement(text), params).rows_affected
        assert affected is not None
        return affected

    def rows(self, text: str, params: Mapping[str, object]) -> Result:
        """Run one query, and return its rows."""
        with self._begin(self.catalog, text) as catalog:
            scope = type(self)(self.planner, catalog, self.reach)
            result = scope.execute(parse_statement(text), params)
            return Result.of(result.to_arrow(), receipt=lambda: result.receipt)

    def defaults(
        self, schema: pa.Schema, expressions: Mapping[str, str], count: int
    ) -> dict[str, pa.Array]:
        """Return each column's default for so many rows, as the column's type.

        Raises:
            SchemaMismatchError: The column cannot have such a value.
        """
        if not expressions:
            return {}
        try:
            return self._computed(schema, expressions, count)
        except MemoryLimitError:
            raise
        except ExecutionError as error:
            raise self._misfit(schema, expressions, error) from error

    def _computed(
        self, schema: pa.Schema, expressions: Mapping[str, str], count: int
    ) -> dict[str, pa.Array]:
        given = nearest(expressions, schema)
        listed = ", ".join(f"({sql}) AS {quoted(name)}" for name, sql in given.items())
        text = f'SELECT {listed} FROM "{DML_SCHEMA}".given'
        kinds = {name: schema.field(name).type for name in expressions}

        def plan(snapshot: Snapshot) -> DataFrame:
            frame = self.planner.plan(text, {}, snapshot, names=(), read_only=True, narrow=True)
            return cast_columns(frame, kinds)

        with self.planner.snapshot(self.catalog) as snapshot:
            snapshot.virtual["given"] = memory_table(pa.table({"at": np.arange(count)}))
            rows = self.planner.collect(plan, snapshot)
        return {name: whole(rows[name]).cast(kind) for name, kind in kinds.items()}

    def _misfit(
        self, schema: pa.Schema, expressions: Mapping[str, str], error: ExecutionError
    ) -> SchemaMismatchError:
        """Return what is wrong with one of several defaults.

        None that asks a sequence is computed again: its numbers were taken.
        """
        names = list(expressions)
        plain = [name for name in names if not sequences_of(expressions[name])]
        for name in plain if len(names) > 1 else ():
            try:
                self._computed(schema, {name: expressions[name]}, 1)
            except ExecutionError as found:
                names, error = [name], found
                break
        else:
            names = [name for name in names if name not in plain] or names
            wanted = type_told(str(error))
            names = [n for n in names if type_name(schema.field(n).type) == wanted] or names
        said = " or ".join(
            f"column {name!r} is a {schema.field(name).type}, and its default is "
            f"{expressions[name]}"
            for name in names
        )
        return SchemaMismatchError(f"{said}: {error}")


def _begun(catalog: Catalog, _text: str) -> AbstractContextManager[Catalog]:
    return nullcontext(catalog)
