"""INSERT: new rows for a table of the lake, for the files of an external one, or for a database.

The rows come from one DataFusion plan, in the table's columns and types; they are written through
the catalog. Only files are appended to by DataFusion itself.

Rules:
    - A statement happens as a whole or not at all.
    - ON CONFLICT changes no row twice.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from datafusion import col

from affidavit.catalog.lake.spill import Spilled, spilled
from affidavit.catalog.model.definition import EXTERNAL, SqlDefinition
from affidavit.catalog.sources.files.external import is_lake_table
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.sql.sized import bounded
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.values.arrays import take_rows
from affidavit.engine.result.outcome import counted
from affidavit.engine.run.outgoing import insert_into_source, outgoing
from affidavit.engine.run.target import Asked, OpenTarget, changed
from affidavit.engine.run.writing.counts import note_unchanged
from affidavit.engine.run.writing.writes import Images
from affidavit.engine.scans.memory import memory_table
from affidavit.engine.statement.assignments import computed_values, parse_assignments
from affidavit.engine.statement.clauses import parse_insert
from affidavit.engine.statement.parameters import numbered
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET
from affidavit.errors import ColumnNotFoundError, ConstraintError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from datafusion import DataFrame

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.statement.assignments import Target
    from affidavit.engine.statement.clauses import Conflict, Insert
    from affidavit.engine.statement.statement import Statement


LOOKED_UP_MAX: Final = 100
"""Conflicts with so many rows are looked up; with more, the whole target is read."""

LOOKED_UP: Final = (pt.is_integer, pt.is_string, pt.is_string_view)
"""The types of key by which they are."""


def insert(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run an INSERT."""
    clauses = parse_insert(statement.cursor())
    target = clauses.target
    if target.source:
        return insert_into_source(scope, statement, clauses, params)
    external = _external(scope.catalog, target)
    if external is not None:
        return _insert_external(scope, statement, params, external)

    def change(opened: OpenTarget) -> Result:
        source = opened.fitted_batches(_new_rows(clauses, opened))
        with spilled(scope.catalog.lake, source, opened.loose) as rows:
            if clauses.conflict is None and not clauses.returning:
                return counted(opened.writes.insert(rows))
            written, write = rows.table, partial(opened.writes.insert, rows)
            if clauses.conflict is not None:
                written, write = _resolve(clauses.conflict, target.alias, written, opened)
            returned = opened.returning(clauses.returning, written, target.alias)
            write()
            return counted(written.num_rows, returned)

    every = clauses.conflict is not None
    return changed(Asked(scope, statement, params, every=every), target, change)


def _new_rows(clauses: Insert, opened: OpenTarget) -> Iterator[pa.RecordBatch]:
    """Return the rows to insert, in the table's columns, defaults filled in."""
    given = clauses.columns or opened.given_columns
    for column in given:
        if column not in opened.columns:
            raise ColumnNotFoundError(column, table=opened.info.name, known=opened.columns)
    asked, planner = opened.asked, opened.asked.scope.planner
    columns = f" ({', '.join(map(quoted, given))})"
    opened.snapshot.virtual["into"] = opened.empty()
    (prefix, source), params = numbered([clauses.prefix, clauses.source], asked.params)
    text = f'INSERT INTO "{DML_SCHEMA}"."into"{columns} {prefix} {source}'
    missing = [c for c in opened.columns if c not in given and c in opened.defaults]

    def plan(snapshot: Snapshot) -> DataFrame:
        frame = planner.plan_insert(text, params, snapshot, names=asked.statement.names)
        if not missing:
            return frame
        defaults = {
            column: frame.parse_sql_expr(bounded(opened.defaults[column]))
            .cast(opened.schema.field(column).type)
            .alias(column)
            for column in missing
        }
        return frame.select(*[defaults.get(c, col(quoted(c))) for c in opened.columns])

    return planner.stream(plan, opened.snapshot)


# --- ON CONFLICT ---------------------------------------------------------------------------------


def _resolve(
    conflict: Conflict, alias: str, rows: pa.Table, opened: OpenTarget
) -> tuple[pa.Table, partial[int]]:
    """Return the rows that are written, as they will be, and what writes them.

    What conflicts with nothing is inserted; what ON CONFLICT says is done with the rest.
    """
    opened.snapshot.virtual["excluded"] = memory_table(
        rows.append_column("__at", pa.array(range(rows.num_rows), pa.int64()))
    )
    if conflict.sets is None and not conflict.columns:
        fresh = take_rows(rows, _without_conflict(alias, rows, opened))
        return fresh, partial(opened.writes.insert, Spilled(fresh.schema, fresh.to_batches()))
    key = _conflict_key(conflict, opened)
    names = ", ".join(map(quoted, key))
    unknown = " OR ".join(f"{quoted(column)} IS NULL" for column in key)  # conflicts with nothing
    first = (
        f'SELECT min("__at") AS "__at" FROM "{DML_SCHEMA}".excluded '
        f'GROUP BY {names}, CASE WHEN {unknown} THEN "__at" END'
    )
    firsts = set(opened.rows(first)["__at"].to_pylist())
    if len(firsts) < rows.num_rows and conflict.sets is not None:
        msg = (
            f"ON CONFLICT DO UPDATE would change one row twice: two rows of the statement have "
            f"the same {names}"
        )
        raise ConstraintError(msg)
    joined, values = _joined(alias, key, rows, opened)
    hits = opened.rows(f'SELECT excluded."__at" {joined}', values)["__at"].to_pylist()
    fresh = take_rows(rows, sorted(firsts - set(hits)))
    if conflict.sets is None:
        return fresh, partial(opened.writes.insert, Spilled(fresh.schema, fresh.to_batches()))
    sets = parse_assignments(conflict.sets.cursor(), opened.columns, opened.info.name, alias)
    computed, called = computed_values(sets)
    text = f"SELECT {quoted(alias)}.*, {computed} {joined} {conflict.where}"
    matched = opened.cast_rows(text, {name: column for column, name in called.items()}, values)
    before, after = opened.images(matched, called)
    old = Images(matched[ROWID].to_pylist(), before)
    if not fresh.num_rows:
        note_unchanged(opened, before, after)
    written = pa.concat_tables([after, fresh])
    return written, partial(opened.writes.upsert, old, after, fresh)


def _joined(
    alias: str, key: Sequence[str], rows: pa.Table, opened: OpenTarget
) -> tuple[str, Mapping[str, pa.Scalar]]:
    """Return the FROM of what conflicts in a key, and its parameters."""
    target, values = _narrowed(opened, key, rows)
    on = " AND ".join(f"{quoted(alias)}.{quoted(c)} = excluded.{quoted(c)}" for c in key)
    return (
        f'FROM {target} AS {quoted(alias)} JOIN "{DML_SCHEMA}".excluded AS excluded ON {on}',
        values,
    )


def _without_conflict(alias: str, rows: pa.Table, opened: OpenTarget) -> list[int]:
    """Return which rows conflict in no unique key, neither with the target nor with one before."""
    keys, hits = opened.unique_keys, set[int]()
    for key in keys:
        joined, values = _joined(alias, key, rows, opened)
        hits.update(opened.rows(f'SELECT excluded."__at" {joined}', values)["__at"].to_pylist())
    found = {column: rows[column].to_pylist() for key in keys for column in key}
    seen: list[set[object]] = [set() for _ in keys]
    fresh = []
    for at in range(rows.num_rows):
        values_of = [tuple(found[column][at] for column in key) for key in keys]
        taken = any(each in known for each, known in zip(values_of, seen, strict=True))
        if at in hits or taken:
            continue
        fresh.append(at)
        for each, known in zip(values_of, seen, strict=True):
            if None not in each:
                known.add(each)
    return fresh


def _narrowed(
    opened: OpenTarget, key: Sequence[str], rows: pa.Table
) -> tuple[str, Mapping[str, pa.Scalar]]:
    """Return what is read of the target to find conflicts with ``rows``, and its parameters.

    Few rows look theirs up by the key's index; what the conditions, one a column, let through may
    be more than conflicts. Only that is read again, too, where others write at the same time.
    """
    target = f'"{DML_SCHEMA}".{DML_TARGET}'
    if opened.dataset is not None or not 0 < rows.num_rows <= LOOKED_UP_MAX:
        return target, {}
    values, conditions = dict[str, pa.Scalar](), []
    for at, column in enumerate(key):
        kind = opened.schema.field(column).type
        if not any(suits(kind) for suits in LOOKED_UP):
            continue
        known = pc.drop_null(pc.unique(rows[column]))  # NULL conflicts with nothing
        if len(known):
            named = {f"affidavit_key_{at}_{each}": value for each, value in enumerate(known)}
            listed = ", ".join(f"${name}" for name in named)
            conditions.append(f"{quoted(column)} IN ({listed})")
            values |= named
    if not conditions:
        return target, {}
    return f"(SELECT * FROM {target} WHERE {' AND '.join(conditions)})", values


def _conflict_key(conflict: Conflict, opened: OpenTarget) -> tuple[str, ...]:
    """Return the columns of the unique key that ON CONFLICT is about."""
    key = conflict.columns or opened.key
    if not key or tuple(sorted(key)) not in {tuple(sorted(k)) for k in opened.unique_keys}:
        msg = (
            f"ON CONFLICT ({', '.join(key)}) names no unique key of {opened.info.name!r}; it "
            f"has {[list(k) for k in opened.unique_keys]}"
        )
        raise SqlError(msg)
    return key


# --- files ---------------------------------------------------------------------------------------


def _external(catalog: Catalog, target: Target) -> TableInfo | None:
    with catalog.read() as reader:
        info = catalog.get(reader, target.name, target.schema)
    return info if info.kind == EXTERNAL.name and not is_lake_table(info.definition) else None


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
        entry.begin("insert", {"paths": list(info.definition.paths)})
        plan = partial(planner.plan, text, given, names=statement.names)
        entry.count(int(planner.write_out(plan, snapshot)["count"][0].as_py()))
        return counted(entry.rows)
