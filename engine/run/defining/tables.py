"""CREATE TABLE, and SELECT ... INTO."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.lake.spill import spilled
from affidavit.catalog.model.definition import KINDS
from affidavit.catalog.sql.names import TEMP_SCHEMA, check_table_name
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.tables.altering.policy import set_policy
from affidavit.catalog.tables.altering.redefine import mutable_definition
from affidavit.catalog.tables.constraints.rows import expressions_of
from affidavit.catalog.tables.kinds import drop_table
from affidavit.catalog.tables.loading import loaded
from affidavit.catalog.tables.mutable import create_mutable, define_mutable
from affidavit.engine.result.outcome import nothing
from affidavit.engine.result.result import Shape
from affidavit.engine.run.defining.defaults import refuse_own_calls
from affidavit.engine.run.defining.references import with_references
from affidavit.engine.run.defining.rules import check_defaults, unique_indexes, with_rules
from affidavit.engine.run.writing.attempts import attempted
from affidavit.engine.run.writing.still import MovedError
from affidavit.engine.statement.assignments import parse_name
from affidavit.engine.statement.defining.columns import parse_constraints
from affidavit.engine.statement.definitions import expect_end
from affidavit.errors import SqlError, TableExistsError

if TYPE_CHECKING:
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.sql.lexer import Cursor
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.assignments import Name
    from affidavit.engine.statement.defining.columns import Constraints, NewColumn
    from affidavit.engine.statement.statement import Statement


@dataclass(frozen=True, slots=True)
class New:
    """A CREATE as far as it was read: the cursor stands after what it makes."""

    scope: Scope
    statement: Statement
    params: Params
    cursor: Cursor
    or_replace: bool


def check_new(scope: Scope, name: Name) -> None:
    """Raise unless a table could have that name."""
    if name.schema == TEMP_SCHEMA:
        raise SqlError(f"what is in the schema {TEMP_SCHEMA} is temporary: CREATE TEMP TABLE")
    check_table_name(name.table, schema=name.schema)
    if (name.schema, name.table) in scope.planner.frames:
        raise TableExistsError(name.table, kind="frame attached as")
    if scope.planner.temporaries.find(name.schema, name.table) is not None:
        raise TableExistsError(name.table, kind="temporary table")


def own_table(catalog: Catalog, reader: Reader, name: Name) -> TableInfo | None:
    """Return the tenant's own table of that name."""
    found = catalog.find(reader, name.table, name.schema)
    return found if found is not None and found.tenant == catalog.tenant else None


def create_table(new: New) -> int:
    """Make a mutable table, and return how many rows were put in."""
    scope, cursor, catalog = new.scope, new.cursor, new.scope.catalog
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    if if_not_exists and new.or_replace:
        msg = "OR REPLACE and IF NOT EXISTS contradict each other"
        raise SqlError(msg)
    name = parse_name(cursor)
    check_new(scope, name)
    constraints = parse_constraints(cursor)
    text = new.statement.text
    if constraints.columns:
        text = planned_text(name, constraints, cursor.rest())
    if constraints.like:
        return _like(new, name, constraints, if_not_exists=if_not_exists)
    made = _Filled(new, name, constraints, text, if_not_exists)
    done = attempted(catalog, name.table, made.run, partial(made.run, is_locked=True))
    assert done.rows_affected is not None
    return done.rows_affected


def _like(new: New, name: Name, constraints: Constraints, *, if_not_exists: bool) -> int:
    """Make an empty table of the columns of another, and of what that asks of their values.

    What is about rows together, keys and foreign keys, is the other table's own.
    """
    catalog, [other] = new.scope.catalog, constraints.like
    new.scope.refuse_frame(other.schema, other.table)
    expect_end(new.cursor, "CREATE TABLE ... (LIKE t)")
    with catalog.write() as writer:
        source = catalog.get(writer, other.table, other.schema)
        existing = own_table(catalog, writer, name)
        if existing is not None:
            if if_not_exists:
                return 0
            if not new.or_replace:
                raise TableExistsError(name.table, kind=KINDS[existing.kind].word)
            drop_table(catalog, existing)
        was = mutable_definition(source)
        made = define_mutable(name.table, was.schema, defaults=was.defaults)
        numbered = {
            column: replace(each, counter=replace(each.counter, counter_id=uuid4().hex))
            for column, each in was.rules.identities.items()
        }
        rules = replace(was.rules, foreign_keys=(), identities=numbered)
        create_mutable(
            catalog, writer, name.table, replace(made, rules=rules), schema=name.schema
        )  # fmt: skip
    return 0


def planned_text(name: Name, constraints: Constraints, rest: str) -> str:
    """Return a CREATE TABLE as DataFusion reads it: names, types and a query."""
    columns = constraints.columns
    own = [
        each.name
        for each in columns
        if any(x is not None for x in (each.generated, each.numbers, each.type.entries))
    ]
    if rest and own:
        msg = (
            f"a table that is made of a query gives no column its values: leave {own[0]!r} out, or "
            "create the table first, and INSERT"
        )
        raise SqlError(msg)
    listed = ", ".join(each.text for each in columns if each.type.sql or each.generated is None)
    if not listed:
        msg = "a table has at least one column that is not generated"
        raise SqlError(msg)
    return f"CREATE TABLE {quoted(name.schema)}.{quoted(name.table)} ({listed}) {rest}"


@dataclass(frozen=True, slots=True)
class _Filled:
    """A mutable table that is made with the rows of a query."""

    new: New
    name: Name
    constraints: Constraints
    text: str
    if_not_exists: bool

    def run(self, *, is_locked: bool = False) -> Result:
        """Run the query, and then make the table; ``is_locked`` does it in one transaction.

        Raises:
            MovedError: It replaces a table that it read, and that was changed meanwhile.
        """
        scope, catalog = self.new.scope, self.new.scope.catalog
        refuse_own_calls(scope, self.constraints.defaults)
        with ExitStack() as stack:
            if is_locked:
                stack.enter_context(catalog.write())
            with scope.planner.snapshot(catalog) as snapshot:
                existing = own_table(catalog, snapshot.reader, self.name)
                if self._is_there(existing):
                    return nothing(0)
                plan = partial(
                    scope.planner.plan_create, self.text, self.new.params,
                    names=self.new.statement.names,
                )  # fmt: skip
                shape = Shape(*scope.planner.streamed(plan, snapshot))
                rows = stack.enter_context(spilled(catalog.lake, shape.batches(), shape.loose))
            name = self.name
            schema = as_declared(shape.schema, self.constraints)
            schema = with_maps(scope, schema, self.constraints)
            check_defaults(scope, schema, self.constraints.defaults)
            definition = definition_for(catalog, name.table, schema, self.constraints)
            with catalog.read() as reader:
                definition = with_references(
                    catalog, reader, name, definition, self.constraints.references
                )
            publish = stack.enter_context(
                loaded(catalog, name.table, definition, rows, schema=name.schema)
            )
            writer = stack.enter_context(catalog.write())
            now = own_table(catalog, writer, self.name)
            reads = {info.table_id for info in snapshot.reads.values()}
            if existing is not None and existing.table_id in reads and existing != now:
                raise MovedError
            if self._is_there(now):
                return nothing(0)
            if now is not None:
                drop_table(catalog, now)
            rows_put = publish(writer)
            if now is not None and now.audit is not None:  # what replaces it is read as it was
                set_policy(catalog, catalog.get(writer, name.table, name.schema), now.audit)
            return nothing(rows_put)

    def _is_there(self, existing: TableInfo | None) -> bool:
        """Return whether nothing is to be done, since there is such a table."""
        if existing is None or self.new.or_replace:
            return False
        if not self.if_not_exists:
            raise TableExistsError(self.name.table, kind=KINDS[existing.kind].word)
        return True


def as_declared(schema: pa.Schema, constraints: Constraints) -> pa.Schema:
    """Return the columns, each NOT NULL where the statement says so.

    That a query gives no NULL, as ``SELECT 1``, asks nothing of the rows that come later.
    """
    strict = {column.name for column in constraints.columns if not column.nullable}
    return pa.schema([f.with_nullable(nullable=f.name not in strict) for f in schema])


def with_maps(scope: Scope, schema: pa.Schema, constraints: Constraints) -> pa.Schema:
    """Return the columns with those that are maps as such."""
    for column in constraints.columns:
        if column.type.entries is not None:
            at = schema.get_field_index(column.name)
            schema = schema.set(at, schema.field(at).with_type(map_type(scope, column)))
    return schema


def map_type(scope: Scope, column: NewColumn) -> pa.DataType:
    """Return the type of a column that is a map."""
    assert column.type.entries is not None
    key, value = (
        scope.planner.column_type(scope.catalog, column.name, each).type
        for each in column.type.entries
    )
    return pa.map_(pa.string() if pt.is_string_view(key) else key, value)  # m['a'] has no views


def definition_for(
    catalog: Catalog, table: str, schema: pa.Schema, constraints: Constraints
) -> MutableDefinition:
    """Return what a table is to be, of its columns and what is asked of its rows."""
    schema = _with_computed(catalog, schema, constraints)
    made = define_mutable(
        table, schema, primary_key=constraints.primary_key,
        indexes=unique_indexes(table, constraints), defaults=constraints.defaults,
    )  # fmt: skip
    return with_rules(catalog, table, made, constraints)


def _with_computed(catalog: Catalog, schema: pa.Schema, constraints: Constraints) -> pa.Schema:
    """Return the columns with those whose type is their expression's, each in its place."""
    for at, column in enumerate(constraints.columns):
        if column.generated is not None and not column.type.sql:
            _, _, kind = expressions_of(catalog).expression(column.generated, schema)
            schema = schema.insert(at, pa.field(column.name, kind, nullable=column.nullable))
    return schema
