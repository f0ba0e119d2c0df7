"""INSERT, UPDATE, DELETE, MERGE and TRUNCATE.

A statement's rows come from one DataFusion plan, old values and new ones side by side, planned over
the target with its ``_rowid``; they are written through the catalog. DataFusion never writes.

    UPDATE t SET a = x WHERE c    SELECT t.*, (x) AS "__0" FROM <target> AS t WHERE c
    DELETE FROM t WHERE c         SELECT t.* FROM <target> AS t WHERE c

Rules:
    - A statement happens as a whole or not at all.
    - A row that an UPDATE's FROM matches several times is updated once, by the first match.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from datafusion import col

from affidavit.catalog.model.definition import SqlDefinition
from affidavit.catalog.sources.files.external import is_lake_table
from affidavit.catalog.sql.expression import quoted
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.rows import take_rows
from affidavit.engine.run.outgoing import insert_into_source, outgoing
from affidavit.engine.run.target import Images, OpenTarget, open_target
from affidavit.engine.scans.snapshot import memory_table
from affidavit.engine.statement.assignments import Target, parse_assignments, parse_target
from affidavit.engine.statement.clauses import (
    TAIL,
    Conflict,
    Insert,
    clause,
    common_tables,
    parse_insert,
    tail,
)
from affidavit.engine.statement.merge import parse_merge
from affidavit.engine.statement.parameters import numbered
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET
from affidavit.errors import ColumnNotFoundError, ConstraintError, ExecutionError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datafusion import DataFrame

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.lexer import Cursor
    from affidavit.engine.plan.planner import Planner
    from affidavit.engine.run.paths import AllowedPaths
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.statement.merge import Merge
    from affidavit.engine.statement.statement import Statement


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement did."""

    rows_affected: int
    returned: pa.Table | None = None


class Dml:
    """Runs one statement that changes rows."""

    def __init__(
        self,
        planner: Planner,
        catalog: Catalog,
        paths: AllowedPaths,
        statement: Statement,
        params: Mapping[str, Any],
    ) -> None:
        self._planner = planner
        self._names = statement.names()
        self._narrow = statement.reads_one_table
        self._catalog = catalog
        self._paths = paths
        self._params = params

    def _rows(self, text: str, opened: OpenTarget) -> pa.Table:
        plan = partial(self._planner.plan, text, self._params, names=self._names)
        return self._planner.collect(plan, opened.snapshot)

    def _returning(
        self, clause: str, rows: pa.Table, opened: OpenTarget, alias: str
    ) -> pa.Table | None:
        if not clause:
            return None
        opened.snapshot.virtual["returning"] = memory_table(rows)
        text = f'SELECT {clause} FROM "{DML_SCHEMA}".returning AS {quoted(alias)}'
        return self._rows(text, opened)

    # --- UPDATE --------------------------------------------------------------------------------

    def update(self, cursor: Cursor) -> Outcome:
        """Run UPDATE ... SET ... [FROM ...] [WHERE ...] [LIMIT ...] [RETURNING ...]."""
        prefix = common_tables(cursor, "UPDATE")
        cursor.expect("UPDATE")
        target = parse_target(cursor, "SET")
        cursor.expect("SET")
        sets_text = cursor.until("FROM", *TAIL, depth=0)
        source = clause(cursor, "FROM", *TAIL)
        where, returning = tail(cursor)
        with open_target(self._catalog, target) as opened:
            sets = parse_assignments(sets_text, opened.columns, target.name, target.alias)
            sets = {column: opened.default(column, value) for column, value in sets.items()}
            new = ", ".join(f"({value}) AS __{at}" for at, value in enumerate(sets.values()))
            also = f", {source}" if source else ""
            text = (
                f"{prefix} SELECT {quoted(target.alias)}.*, {new} "
                f'FROM "{DML_SCHEMA}".{DML_TARGET} AS {quoted(target.alias)}{also} {where}'
            )
            rows = self._update_rows(text, opened, list(sets))
            rows = _first_matches(rows) if source else rows
            before, after = opened.images(rows, _numbered(sets))
            count = opened.update(rows[ROWID].to_pylist(), before, after, sets)
            return Outcome(count, self._returning(returning, after, opened, target.alias))

    def _update_rows(self, text: str, opened: OpenTarget, columns: Sequence[str]) -> pa.Table:
        """Run ``text``, whose columns ``__0``, ``__1``... become the types of ``columns``."""
        casts = {f"__{at}": column for at, column in enumerate(columns)}
        return self._cast_rows(text, opened, casts)

    def _cast_rows(self, text: str, opened: OpenTarget, casts: Mapping[str, str]) -> pa.Table:
        """Run ``text``: the target's columns, and ``casts``, each as the type of its column."""
        kinds = {name: opened.schema.field(column).type for name, column in casts.items()}

        def plan(snapshot: Snapshot) -> DataFrame:
            frame = self._planner.plan(
                text, self._params, snapshot, names=self._names, narrow=self._narrow
            )
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

        return self._planner.collect(plan, opened.snapshot)

    # --- DELETE --------------------------------------------------------------------------------

    def delete(self, cursor: Cursor) -> Outcome:
        """Run DELETE FROM ... [USING ...] [WHERE ...] [LIMIT ...] [RETURNING ...]."""
        prefix = common_tables(cursor, "DELETE")
        cursor.expect("DELETE")
        cursor.expect("FROM")
        target = parse_target(cursor, "USING", "WHERE", "ORDER", "LIMIT", "RETURNING")
        source = clause(cursor, "USING", *TAIL)
        where, returning = tail(cursor)
        with open_target(self._catalog, target) as opened:
            also = f", {source}" if source else ""
            text = (
                f"{prefix} SELECT {quoted(target.alias)}.* "
                f'FROM "{DML_SCHEMA}".{DML_TARGET} AS {quoted(target.alias)}{also} {where}'
            )
            rows = self._rows(text, opened)
            rows = _first_matches(rows) if source else rows
            before = opened.fitted(rows)
            count = opened.delete(rows[ROWID].to_pylist(), before)
            return Outcome(count, self._returning(returning, before, opened, target.alias))

    def truncate(self, cursor: Cursor) -> Outcome:
        """Run TRUNCATE [TABLE] name."""
        cursor.expect("TRUNCATE")
        cursor.accept("TABLE")
        target = parse_target(cursor)
        if not cursor.done:
            raise SqlError(f"expected the end of TRUNCATE, found {cursor.found()}")
        with open_target(self._catalog, target) as opened:
            return Outcome(opened.truncate())

    # --- INSERT --------------------------------------------------------------------------------

    def insert(self, cursor: Cursor) -> Outcome:
        """Run INSERT INTO ... [ON CONFLICT ...] [RETURNING ...]."""
        prefix = common_tables(cursor, "INSERT", "REPLACE")
        statement = parse_insert(cursor)
        target = statement.target
        if target.source:
            rows = insert_into_source(self._planner, self._catalog, prefix, statement, self._params)
            return Outcome(rows)
        external = self._external(target)
        if external is not None:
            return self._insert_external(cursor.text, external)
        with open_target(self._catalog, target) as opened:
            rows = self._new_rows(prefix, statement, opened)
            if statement.conflict is None:
                count = opened.insert(rows)
                return Outcome(
                    count, self._returning(statement.returning, rows, opened, target.alias)
                )
            written = self._resolve(statement, statement.conflict, rows, opened)
            returned = self._returning(statement.returning, written, opened, target.alias)
            return Outcome(written.num_rows, returned)

    def _external(self, target: Target) -> TableInfo | None:
        with self._catalog.read() as reader:
            info = self._catalog.get(reader, target.name, target.schema)
        return info if info.kind == "external" and not is_lake_table(info.definition) else None

    def _insert_external(self, text: str, info: TableInfo) -> Outcome:
        """Let DataFusion append to the files of an external table."""
        self._catalog.refuse_shared(info)
        assert isinstance(info.definition, SqlDefinition)
        for path in info.definition.paths:
            self._paths.checked(path)
        if self._catalog.trace is not None:
            self._catalog.trace.note_written(info.schema, info.name)
        with (
            outgoing(self._catalog, "table", f"{info.schema}.{info.name}") as entry,
            self._planner.snapshot(self._catalog) as snapshot,
        ):
            entry.begin("insert", {"paths": list(info.definition.paths)})
            plan = partial(self._planner.plan, *numbered(text, self._params))
            entry.rows = int(self._planner.collect(plan, snapshot)["count"][0].as_py())
            return Outcome(entry.rows)

    def _new_rows(self, prefix: str, statement: Insert, opened: OpenTarget) -> pa.Table:
        """Return the rows to insert, in the table's columns and types, defaults filled in."""
        given = statement.columns or tuple(opened.columns)
        for column in given:
            if column not in opened.columns:
                raise ColumnNotFoundError(column, table=opened.info.name, known=opened.columns)
        columns = f" ({', '.join(map(quoted, given))})" if statement.columns else ""
        opened.snapshot.virtual["into"] = opened.empty()
        text = f'INSERT INTO "{DML_SCHEMA}"."into"{columns} {prefix} {statement.source}'
        missing = [c for c in opened.columns if c not in given and c in opened.defaults]

        def plan(snapshot: Snapshot) -> DataFrame:
            frame = self._planner.plan_insert(text, self._params, snapshot)
            if not missing:
                return frame
            defaults = {
                column: frame.parse_sql_expr(opened.defaults[column])
                .cast(opened.schema.field(column).type)
                .alias(column)
                for column in missing
            }
            return frame.select(*[defaults.get(c, col(quoted(c))) for c in opened.columns])

        return opened.fitted(self._planner.collect(plan, opened.snapshot))

    def _resolve(
        self, statement: Insert, conflict: Conflict, rows: pa.Table, opened: OpenTarget
    ) -> pa.Table:
        """Insert what conflicts with nothing, do what ON CONFLICT says with the rest."""
        key = conflict.columns or opened.key
        if not key or tuple(sorted(key)) not in {tuple(sorted(k)) for k in opened.unique_keys}:
            msg = (
                f"ON CONFLICT ({', '.join(key)}) names no unique key of {opened.info.name!r}; it "
                f"has {[list(k) for k in opened.unique_keys]}"
            )
            raise SqlError(msg)
        names = ", ".join(quoted(column) for column in key)
        opened.snapshot.virtual["excluded"] = memory_table(
            rows.append_column("__at", pa.array(range(rows.num_rows), pa.int64()))
        )
        first = f'SELECT min("__at") AS "__at" FROM "{DML_SCHEMA}".excluded GROUP BY {names}'
        firsts = set(self._rows(first, opened)["__at"].to_pylist())
        repeated = [at for at in range(rows.num_rows) if at not in firsts]
        if repeated and conflict.sets is not None:
            msg = (
                f"ON CONFLICT DO UPDATE would change one row twice: two rows of the statement have "
                f"the same {names}"
            )
            raise ConstraintError(msg)
        alias = statement.target.alias
        on = " AND ".join(f"{quoted(alias)}.{quoted(c)} = excluded.{quoted(c)}" for c in key)
        joined = (
            f'FROM "{DML_SCHEMA}".{DML_TARGET} AS {quoted(alias)} '
            f'JOIN "{DML_SCHEMA}".excluded AS excluded ON {on}'
        )
        hits = self._rows(f'SELECT excluded."__at" {joined}', opened)["__at"].to_pylist()
        fresh = take_rows(rows, sorted(firsts - set(hits)))
        if conflict.sets is None:
            opened.insert(fresh)
            return fresh
        sets = parse_assignments(conflict.sets, opened.columns, opened.info.name, alias)
        new = ", ".join(f"({value}) AS __{at}" for at, value in enumerate(sets.values()))
        text = f"SELECT {quoted(alias)}.*, {new} {joined} {conflict.where}"
        matched = self._update_rows(text, opened, list(sets))
        before, after = opened.images(matched, _numbered(sets))
        return opened.upsert(matched[ROWID].to_pylist(), before, after, fresh)

    # --- MERGE ---------------------------------------------------------------------------------

    def merge(self, cursor: Cursor) -> Outcome:
        """Run MERGE INTO ... USING ... ON ... WHEN ...."""
        prefix = common_tables(cursor, "MERGE")
        merge = parse_merge(cursor)
        with open_target(self._catalog, merge.target) as opened:
            alias = merge.target.alias
            values = [when.values(opened.columns, opened.info.name, alias) for when in merge.whens]
            text = merge.query(prefix, values)
            casts = {
                f"__{at}_{position}": column
                for at, given in enumerate(values)
                for position, column in enumerate(given)
            }
            rows = self._cast_rows(text, opened, casts)
            return Outcome(self._apply(merge, values, rows, opened))

    def _apply(
        self, merge: Merge, values: Sequence[dict[str, str]], rows: pa.Table, opened: OpenTarget
    ) -> int:
        """Delete, then update, then insert what each WHEN says; return how many rows that were."""
        numbers = np.array(rows["__clause"].to_pylist(), dtype=np.int64)
        _refuse_twice(merge, numbers, rows, opened.info.name)
        old, gone = _Rows(opened), _Rows(opened)
        new, fresh = _Rows(opened), _Rows(opened)
        for at, when in enumerate(merge.whens):
            part = take_rows(rows, np.flatnonzero(numbers == at))
            names = {column: f"__{at}_{i}" for i, column in enumerate(values[at])}
            if when.action == "insert":
                fresh.add(opened.new_rows(part, names))
            elif when.action == "delete":
                gone.add(opened.fitted(part), part)
            elif when.action == "update":
                before, after = opened.images(part, names)
                old.add(before, part)
                new.add(after)
        return opened.merge(gone.images, old.images, new.table, fresh.table)


class _Rows:
    """Rows of the target gathered from several WHENs, with their identities where they have any."""

    def __init__(self, opened: OpenTarget) -> None:
        self._parts = [opened.nothing]
        self._rowids: list[int] = []

    def add(self, rows: pa.Table, identified: pa.Table | None = None) -> None:
        self._parts.append(rows)
        if identified is not None:
            self._rowids += identified[ROWID].to_pylist()

    @property
    def table(self) -> pa.Table:
        return pa.concat_tables(self._parts)

    @property
    def images(self) -> Images:
        return Images(self._rowids, self.table)


def _refuse_twice(merge: Merge, numbers: np.ndarray[Any, Any], rows: pa.Table, table: str) -> None:
    changes = [merge.whens[number].action in {"update", "delete"} for number in numbers]
    rowids = [rowid for rowid, does in zip(rows[ROWID].to_pylist(), changes, strict=True) if does]
    if len(set(rowids)) != len(rowids):
        msg = f"MERGE matched a row of {table!r} more than once"
        raise ExecutionError(msg)


def _numbered(columns: Iterable[str]) -> dict[str, str]:
    """Return each column's name in a query that computes its new value."""
    return {column: f"__{at}" for at, column in enumerate(columns)}


def _first_matches(rows: pa.Table) -> pa.Table:
    """Return ``rows`` with each row identity once."""
    _, first = np.unique(rows[ROWID].to_numpy(zero_copy_only=False), return_index=True)
    return take_rows(rows, np.sort(first))
