"""CREATE, and SELECT ... INTO: DataFusion would run them at once, so they are taken apart here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow.types as pt

from affidavit.catalog.lake.catalog import new_table_id
from affidavit.catalog.model.definition import (
    EXTERNAL,
    KINDS,
    SEQUENCE,
    VIEW,
    Index,
    SequenceDefinition,
    SqlDefinition,
    VectorDefinition,
)
from affidavit.catalog.model.making import create_text, name_text
from affidavit.catalog.sources.files.external import NAMES_FILES, parse_external, plain_location
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.tables.indexes import add_index
from affidavit.catalog.tables.indexing import IVF
from affidavit.catalog.tables.kinds import drop_table
from affidavit.catalog.tables.vector import VectorTable
from affidavit.engine.result.outcome import nothing
from affidavit.engine.run.alter import find_table
from affidavit.engine.run.defining.tables import New, check_new, create_table, own_table
from affidavit.engine.run.defining.temporary import create_temporary
from affidavit.engine.run.defining.vectors import create_vector_table
from affidavit.engine.statement.assignments import Name, parse_name, refuse_reserved
from affidavit.engine.statement.defining.sequences import parse_options
from affidavit.engine.statement.definitions import (
    expect_end,
    parse_index,
    parse_schema_name,
    parse_trigger,
)
from affidavit.engine.statement.grammar import skip_group
from affidavit.engine.statement.queries import skip_selected, skip_with
from affidavit.engine.statement.spelling.paths import placed
from affidavit.engine.statement.statement import parse_statement
from affidavit.errors import (
    InvalidQueryError,
    SourceError,
    SqlError,
    TableExistsError,
    TableNotFoundError,
)
from affidavit.triggers.rules.trigger import checked_actions, drop_trigger, find_trigger
from affidavit.triggers.triggers import make_trigger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableKind
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.statement.statement import Statement


def create(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run a CREATE, which says how many rows a CREATE TABLE AS put in."""
    cursor = statement.cursor()
    cursor.expect("CREATE")
    or_replace = cursor.accept("OR", "REPLACE")
    for words, make in _MAKES.items():
        if cursor.accept(*words):
            return nothing(make(New(scope, statement, params, cursor, or_replace)))
    if cursor.peek() in {"TEMP", "TEMPORARY"}:
        msg = f"{cursor.peek()} {cursor.peek(1)} is not supported: a TABLE alone is temporary"
        raise SqlError(msg)
    for word in ("UNIQUE", "UNBOUNDED"):
        cursor.accept(word)
    raise SqlError(
        f"CREATE cannot make {cursor.found()}: expected a TABLE, VIEW, INDEX, TRIGGER, SEQUENCE "
        "or SCHEMA"
    )


def select_into(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run SELECT ... INTO name FROM ..., which says how many rows that were."""
    cursor = statement.cursor()
    skip_with(cursor)
    skip_selected(cursor)
    cursor.expect("INTO")
    if cursor.peek() in {"TEMP", "TEMPORARY"} and cursor.peek(1) != "FROM":
        msg = f"SELECT INTO {cursor.peek()} is not supported: CREATE TEMP TABLE t AS SELECT ..."
        raise SqlError(msg)
    return nothing(create_table(New(scope, statement, params, cursor, or_replace=False)))


# --- views and external tables -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Text:
    """A table that is an SQL text."""

    name: Name
    kind: TableKind
    sql: str
    paths: tuple[str, ...]
    or_replace: bool
    if_not_exists: bool
    reach: str | None = None

    def is_there(self, catalog: Catalog, reader: Reader) -> bool:
        """Return whether nothing is to be done, since there is such a table."""
        existing = own_table(catalog, reader, self.name)
        if existing is not None and not (self.if_not_exists or self.or_replace):
            raise TableExistsError(self.name.table, kind=self.kind.name)
        return existing is not None and self.if_not_exists


def _view(new: New) -> int:
    cursor = new.cursor
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = parse_name(cursor, "a view")
    columns = cursor.names("a column") if cursor.peek() == "(" else ()
    cursor.expect("AS")
    query = placed(cursor.rest(), new.scope.reach.files)
    if new.statement.placeholders or new.statement.marks:
        msg = "a view is kept without values: write them in place of its parameters"
        raise SqlError(msg)
    if columns:
        listed = ", ".join(map(quoted, columns))
        query = f"SELECT * FROM ({query}) AS view_ ({listed})"
    check_new(new.scope, name)
    made = _Text(name, VIEW, query, (), new.or_replace, if_not_exists)
    _define(new.scope, made, _check_columns)
    return 0


def _external(new: New, *, kind: str = "EXTERNAL") -> int:
    scope, cursor = new.scope, new.cursor
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = parse_name(cursor)
    body = cursor.at
    while not cursor.done and cursor.peek() != "LOCATION":
        if cursor.peek() == "(":
            skip_group(cursor)
        else:
            cursor.skip()
    cursor.expect("LOCATION")
    location = scope.reach.files(plain_location(cursor.token))
    scope.reach.check_files(location)
    before, after = cursor.spaced(body, cursor.at), cursor.spaced(cursor.at + 1)
    own = name_text(name.schema, name.table)
    sql = f"CREATE {kind} TABLE {own} {before} {quoted_text(location)} {after}".strip()
    if scope.reach.limited and parse_external(sql).is_lake:
        msg = f"{location!r} cannot be attached by this session: {NAMES_FILES}"
        raise SourceError(msg)
    check_new(scope, name)
    kept = scope.reach.kept()
    made = _Text(name, EXTERNAL, sql, (location,), new.or_replace, if_not_exists, kept)
    with scope.planner.snapshot(scope.catalog) as snapshot:
        # before other writers have to wait: files may be far away
        if made.is_there(scope.catalog, snapshot.reader):
            return 0
        scope.planner.check_external(sql, location, snapshot)
    _define(scope, made)
    return 0


def _define(
    scope: Scope, made: _Text, check: Callable[[Scope, _Text, Snapshot], None] | None = None
) -> None:
    """Write a view or external table down, unless there is one or ``check`` raises."""
    catalog, name = scope.catalog, made.name
    if check is not None:
        planner = scope.planner.of_lake()
        with planner.snapshot(catalog) as snapshot:  # a plan is no work for under the lock
            if made.is_there(catalog, snapshot.reader):
                return
            check(scope, made, snapshot)
    with catalog.write() as writer:
        if made.is_there(catalog, writer):
            return
        existing = own_table(catalog, writer, name)
        if existing is not None:
            drop_table(catalog, existing)
        definition = SqlDefinition(new_table_id(), made.sql, made.paths, made.reach)
        info = catalog.define(writer, name.table, made.kind.name, definition, schema=name.schema)
        catalog.announce(
            writer,
            catalog.change(info, "create", detail=made.sql, sql=create_text(writer, info)),
        )


def _check_columns(scope: Scope, view: _Text, snapshot: Snapshot) -> None:
    names = parse_statement(view.sql).names
    planner = scope.planner.of_lake()
    try:
        frame = planner.plan(view.sql, {}, snapshot, names=names, read_only=True)
    except TableNotFoundError as error:
        own = {name for _, name in scope.planner.frames}
        own |= {each.info.name for each in scope.planner.temporaries}
        if not own & names:
            raise
        msg = f"a view is the lake's, and {sorted(own & names)} are in memory of this session alone"
        raise SqlError(msg) from error
    columns = frame.schema().names
    if len(set(columns)) != len(columns):
        raise SqlError(f"view {view.name.table!r} has two columns of one name: {columns}")


# --- schemas, indexes and triggers ---------------------------------------------------------------


def _schema(new: New) -> int:
    if_not_exists = new.cursor.accept("IF", "NOT", "EXISTS")
    name = parse_schema_name(new.cursor)
    expect_end(new.cursor, "CREATE SCHEMA")
    new.scope.catalog.create_schema(name, if_not_exists=if_not_exists)
    return 0


def _sequence(new: New) -> int:
    scope, cursor, catalog = new.scope, new.cursor, new.scope.catalog
    if new.or_replace:
        raise SqlError("OR REPLACE SEQUENCE is not supported: its numbers would come again")
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = parse_name(cursor, "a sequence")
    options = parse_options(cursor)
    check_new(scope, name)
    with catalog.write() as writer:
        existing = own_table(catalog, writer, name)
        if existing is not None:
            if if_not_exists and existing.kind == SEQUENCE.name:
                return 0
            raise TableExistsError(name.table, kind=KINDS[existing.kind].word)
        table_id = new_table_id()
        definition = SequenceDefinition(table_id, options.counter(table_id))
        info = catalog.define(writer, name.table, SEQUENCE.name, definition, schema=name.schema)
        text = definition.to_json()
        catalog.announce(
            writer,
            catalog.change(info, "create", detail=text, sql=create_text(writer, info)),
        )
    return 0


def _index(new: New, *, unique: bool = False) -> int:
    catalog, asked = new.scope.catalog, parse_index(new.cursor)
    table, columns = asked.table, asked.columns
    new.scope.refuse_frame(table.schema, table.table)
    info = find_table(catalog, table)
    if isinstance(info.definition, VectorDefinition):
        handle = VectorTable(catalog, new.scope, table.table, table.schema)
        if len(columns) != 1:
            raise InvalidQueryError(f"an index of a vector table has one column, got {columns}")
        kind = asked.kind or _default_kind(handle.schema, columns[0])
        handle.create_index(
            columns[0], kind, name=asked.name or None, replace=asked.if_not_exists, **asked.options
        )
        return 0
    made = Index(asked.name or f"{table.table}_{'_'.join(columns)}_idx", columns, unique)
    add_index(catalog, info, made, if_not_exists=asked.if_not_exists)
    return 0


def _default_kind(schema: pa.Schema, column: str) -> str:
    if column in schema.names and pt.is_fixed_size_list(schema.field(column).type):
        return IVF
    return "BTREE"


def _trigger(new: New) -> int:
    catalog, asked = new.scope.catalog, parse_trigger(new.cursor)
    table = asked.table
    refuse_reserved(table.schema, table.table)
    new.scope.refuse_frame(table.schema, table.table)
    with catalog.write() as writer:
        if new.or_replace:
            drop_trigger(catalog, asked.name, if_exists=True)
        if asked.if_not_exists and find_trigger(writer, catalog, asked.name) is not None:
            return 0
        make_trigger(
            catalog, f"{table.schema}.{table.table}", checked_actions(asked.actions), asked.where,
            asked.topic, name=asked.name,
        )  # fmt: skip
    return 0


_MAKES: Final[Mapping[tuple[str, ...], Callable[[New], int]]] = {
    ("TABLE",): create_table,
    ("VIEW",): _view,
    ("TRIGGER",): _trigger,
    ("INDEX",): _index,
    ("UNIQUE", "INDEX"): partial(_index, unique=True),
    ("EXTERNAL", "TABLE"): _external,
    ("UNBOUNDED", "EXTERNAL", "TABLE"): partial(_external, kind="UNBOUNDED EXTERNAL"),
    ("SCHEMA",): _schema,
    ("SEQUENCE",): _sequence,
    ("VECTOR", "TABLE"): create_vector_table,
    ("TEMP", "TABLE"): create_temporary,
    ("TEMPORARY", "TABLE"): create_temporary,
}
"""What a CREATE makes, by the words that say so; each returns how many rows were put in."""
