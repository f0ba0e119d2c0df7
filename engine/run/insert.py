"""INSERT: new rows for a table of the lake, for the files of an external one, or for a database.

The rows come from one DataFusion plan, in the table's columns and types; they are written through
the catalog. Only files are appended to by DataFusion itself.

Rules:
    - A statement happens as a whole or not at all.
    - ON CONFLICT changes no row twice.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from datafusion import col
from datafusion.catalog import Table

from affidavit.catalog.lake.spill import spilled
from affidavit.catalog.model.definition import EXTERNAL, SqlDefinition
from affidavit.catalog.sources.files.external import is_only_read
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.sql.scan import ArrowDataset
from affidavit.catalog.sql.sized import bounded
from affidavit.engine.plan.inserting import plan_insert
from affidavit.engine.result.outcome import counted
from affidavit.engine.run.outgoing import insert_into_source, outgoing
from affidavit.engine.run.target import OpenTarget, changed
from affidavit.engine.run.telling.objects import refuse_new_objects, refuse_set_objects
from affidavit.engine.run.writing.asked import Asked
from affidavit.engine.run.writing.conflicts import resolve
from affidavit.engine.run.writing.literals import literal_rows
from affidavit.engine.run.writing.plain import insert_as_given
from affidavit.engine.run.writing.returning import returned_of
from affidavit.engine.statement.assignments import check_columns, parse_assignments, with_defaults
from affidavit.engine.statement.clauses import clauses_of, parse_insert
from affidavit.engine.statement.names import by_name
from affidavit.engine.statement.parameters import numbered
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from datafusion import DataFrame

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.statement.assignments import Target
    from affidavit.engine.statement.clauses import Conflict, Insert
    from affidavit.engine.statement.statement import Statement


def insert(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run an INSERT."""
    clauses = clauses_of(parse_insert, statement)
    target = clauses.target
    if target.source and (clauses.by_name or clauses.source.is_default):
        msg = "INSERT into another database takes columns by their places: name them in brackets"
        raise SqlError(msg)
    if target.source:
        return insert_into_source(scope, statement, clauses, params)
    if scope.planner.temporaries.find(target.schema, target.name) is None:
        info = _found(scope.catalog, target)
        if info.kind == EXTERNAL.name and not is_only_read(info.definition):
            return _insert_external(scope, statement, params, info)
        written = insert_as_given(scope, clauses, info, params)
        if written is not None:
            return written

    def change(opened: OpenTarget) -> Result:
        source = opened.fitted_batches(_new_rows(clauses, opened))
        with spilled(scope.catalog.lake, source, opened.loose) as rows:
            if clauses.conflict is None and not clauses.returning:
                return counted(opened.writes.insert(rows))
            written, write = rows.table, partial(opened.writes.insert, rows)
            if clauses.conflict is not None:
                _check_sets(clauses.conflict, target, opened)
                written, write = resolve(clauses.conflict, target.alias, written, opened)
            returned = returned_of(opened, clauses.returning, written, target.alias)
            write()
            return counted(written.num_rows, returned)

    every = clauses.conflict is not None
    return changed(Asked(scope, statement, params, every=every), target, change)


def _check_sets(conflict: Conflict, target: Target, opened: OpenTarget) -> None:
    if conflict.sets is not None:
        cursor = conflict.sets.cursor()
        sets = parse_assignments(cursor, opened.columns, opened.info.name, target.alias)
        refuse_set_objects(opened, sets)


def _new_rows(clauses: Insert, opened: OpenTarget) -> Iterator[pa.RecordBatch]:
    """Return the rows to insert, in the table's columns, defaults filled in."""
    asked, planner = opened.asked, opened.asked.scope.planner
    rows = _as_written(clauses, opened)
    if rows is not None:
        return iter([rows])
    # its columns may be NULL: NOT NULL is checked on writing, where the column is named
    opened.snapshot.virtual["into"] = Table(ArrowDataset(opened.nothing, opened.snapshot.fail))
    (prefix, source), params = numbered([clauses.prefix, clauses.source], asked.params)
    given = clauses.columns or tuple(opened.given_columns)
    if clauses.by_name:
        given = by_name(opened.columns_of(f"{prefix} {source}", params), opened.columns)
    check_columns(given, opened.columns, opened.info.name)
    refuse_new_objects(opened, given, clauses.source)
    defaults = opened.defaults
    missing = [c for c in opened.columns if c not in given and c in defaults]
    if clauses.source.is_default:
        source = f"VALUES ({', '.join('DEFAULT' for _ in given)})"
    source = with_defaults(source, given, defaults, opened.floats)
    columns, query = f"({', '.join(map(quoted, given))})", f"{prefix} {source}"

    def plan(snapshot: Snapshot) -> DataFrame:
        names = asked.statement.names
        frame = plan_insert(planner, columns, query, params, snapshot, names=names)
        found, wanted = frame.schema(), opened.schema
        casts = {
            name: col(quoted(name)).cast(wanted.field(name).type).alias(name)
            for name in opened.columns
            if found.field(name).type != wanted.field(name).type
        }
        if not missing and not casts:
            return frame
        filled = {
            column: frame.parse_sql_expr(planner.meant(bounded(defaults[column]), snapshot).alone)
            .cast(opened.schema.field(column).type)
            .alias(column)
            for column in missing
        }
        made = {**casts, **filled}
        return frame.select(*[made.get(c, col(quoted(c))) for c in opened.columns])

    return planner.stream(plan, opened.snapshot)


def _as_written(clauses: Insert, opened: OpenTarget) -> pa.RecordBatch | None:
    """Return rows of literals and parameters as they stand; ``None`` for what is planned."""
    asked, given = opened.asked, clauses.columns or opened.given_columns
    is_generic = asked.scope.planner.state.is_generic
    if not is_generic or clauses.prefix or clauses.by_name or clauses.source.is_default:
        return None
    names = set(given)
    are_columns = len(names) == len(given) and names <= set(opened.columns)
    if not are_columns or not opened.defaults.keys() <= names:
        return None
    rows = literal_rows(clauses.source, given, opened.loose, asked.params)
    if rows is not None:
        opened.snapshot.query.count(rows.num_rows)
    return rows


# --- files ---------------------------------------------------------------------------------------


def _found(catalog: Catalog, target: Target) -> TableInfo:
    with catalog.read() as reader:
        return catalog.get(reader, target.name, target.schema)


def _insert_external(scope: Scope, statement: Statement, params: Params, info: TableInfo) -> Result:
    """Let DataFusion append to the files of an external table."""
    planner, catalog = scope.planner, scope.catalog
    catalog.refuse_shared(info)
    assert isinstance(info.definition, SqlDefinition)
    for path in info.definition.paths:
        scope.reach.location(path)
    if catalog.trace is not None:
        catalog.trace.note_written(info.schema, info.name)
    (text,), given = numbered([statement.whole], params)
    with (
        outgoing(catalog, "table", f"{info.schema}.{info.name}") as entry,
        planner.snapshot(catalog) as snapshot,
    ):
        snapshot.written.add((info.schema, info.name))
        entry.begin("insert", {"paths": list(info.definition.paths)})
        plan = partial(planner.plan, text, given, names=statement.names)
        entry.count(int(planner.write_out(plan, snapshot)["count"][0].as_py()))
        return counted(entry.rows)
