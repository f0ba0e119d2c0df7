"""Whom a statement runs for: a tenant's planner and catalog, and the folders that it may name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa

from affidavit.catalog.sql.quoting import quoted
from affidavit.engine.result.result import Result
from affidavit.engine.run.telling.listing import LISTING_WORDS, offer_views
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import AffidavitError, ReadOnlyError, SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.sources.reach import Reach
    from affidavit.engine.plan.planner import Planner
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
            for schema, name in (*tables, *planner.frames):
                if name.casefold() not in names:
                    continue
                text = f"SELECT * FROM {quoted(schema)}.{quoted(name)}"
                try:
                    frame = planner.plan(text, {}, snapshot, names={schema, name}, read_only=True)
                except AffidavitError:
                    return None
                found.update(frame.schema().names)
        return found

    def refuse_read_only(self) -> None:
        """Raise unless the lake may be written, as it is now."""
        self.catalog.refuse_past()
        if self.catalog.lake.read_only:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)

    def refuse_frame(self, schema: str, name: str) -> None:
        """Raise ReadOnlyError if queries of this session read a frame of that name in its place."""
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
            scope = type(self)(self.planner, catalog, self.reach)
            affected = scope.execute(parse_statement(text), params).rows_affected
        assert affected is not None
        return affected

    def rows(self, text: str, params: Mapping[str, object]) -> Result:
        """Run one query, and return its rows."""
        with self._begin(self.catalog, text) as catalog:
            scope = type(self)(self.planner, catalog, self.reach)
            result = scope.execute(parse_statement(text), params)
            return Result.of(result.to_arrow(), receipt=lambda: result.receipt)

    def defaults(self, schema: pa.Schema, expressions: Mapping[str, str]) -> dict[str, pa.Scalar]:
        """Return the value of each column's default expression, as the column's type.

        Raises:
            SchemaMismatchError: The column cannot have such a value.
        """
        if not expressions:
            return {}
        listed = ", ".join(f"({sql}) AS c{at}" for at, sql in enumerate(expressions.values()))
        row = self.query(parse_statement(f"SELECT {listed}"), {}).to_arrow()
        return {
            name: _cast(row.column(at)[0], schema.field(name), expressions[name])
            for at, name in enumerate(expressions)
        }


def _begun(catalog: Catalog, _text: str) -> AbstractContextManager[Catalog]:
    return nullcontext(catalog)


def _cast(value: pa.Scalar, column: pa.Field, sql: str) -> pa.Scalar:
    try:
        return value.cast(column.type)
    except pa.ArrowException as error:
        msg = f"column {column.name!r} is a {column.type}, and its default {sql} a {value.type}"
        raise SchemaMismatchError(msg) from error
