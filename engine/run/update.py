"""UPDATE, DELETE, MERGE and TRUNCATE: what changes rows that are there.

A statement's rows come from one DataFusion plan, old values and new ones side by side, planned over
the target with its ``_rowid``; they are written through the catalog. DataFusion never writes.

    UPDATE t SET a = x WHERE c    SELECT t.*, (x) AS "__0" FROM <target> AS t WHERE c
    DELETE FROM t WHERE c         SELECT t.* FROM <target> AS t WHERE c

Rules:
    - A statement happens as a whole or not at all.
    - A row that an UPDATE's FROM matches several times is updated once, by the first match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from affidavit.catalog.erasure.chosen import Chosen, chosen_rows
from affidavit.catalog.model.definition import VECTOR
from affidavit.catalog.sql.expression import delete_text
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.constraints.links import links_to
from affidavit.catalog.tables.row_writing import Images, identities
from affidavit.catalog.values.arrays import take_rows
from affidavit.engine.result.outcome import counted
from affidavit.engine.run.target import OpenTarget, changed
from affidavit.engine.run.telling.objects import refuse_set_objects
from affidavit.engine.run.writing.asked import Asked
from affidavit.engine.run.writing.counts import note_unchanged
from affidavit.engine.run.writing.keyed import keyed_row
from affidavit.engine.run.writing.plain import delete_as_given, update_as_given
from affidavit.engine.run.writing.returning import Beside
from affidavit.engine.statement.assignments import computed_values, parse_assignments
from affidavit.engine.statement.clauses import (
    clauses_of,
    parse_delete,
    parse_truncate,
    parse_update,
)
from affidavit.engine.statement.merge import ACTION, parse_merge, with_action
from affidavit.engine.statement.names import with_names
from affidavit.engine.statement.parameters import bound
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET, parse_statement
from affidavit.errors import ConstraintError, ExecutionError, InvalidQueryError, SqlError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.assignments import Target
    from affidavit.engine.statement.clauses import Delete, Update
    from affidavit.engine.statement.merge import Merge, When
    from affidavit.engine.statement.statement import Statement


def update(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run an UPDATE."""
    clauses = clauses_of(parse_update, statement)
    target, written = clauses.target, update_as_given(scope, clauses, params)
    if written is not None:
        return written

    def change(opened: OpenTarget) -> Result:
        sets = parse_assignments(clauses.sets.cursor(), opened.columns, target.name, target.alias)
        meant = opened.with_defaults(sets)
        refuse_set_objects(opened, meant)
        computed, names = computed_values(meant)
        rows, beside = _joined(clauses, f", {computed}", meant, names, opened)
        before, after = opened.images(rows, names, sets)
        returned = _returned(clauses, beside, after, rows, opened)
        note_unchanged(opened, before, after)
        old, new = [Images(identities(rows), before)], [after]
        del rows, before, after  # who writes them has them alone, and lets them go
        count = opened.writes.update(old.pop(), new.pop(), sets)
        return counted(count, returned)

    return changed(Asked(scope, statement, params), target, change)


def delete(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run a DELETE."""
    clauses = clauses_of(parse_delete, statement)
    target, written = clauses.target, delete_as_given(scope, clauses, params)
    if written is not None:
        return written

    def change(opened: OpenTarget) -> Result:
        rows, beside = _joined(clauses, "", {}, {}, opened)
        before = opened.fitted(rows)
        returned = _returned(clauses, beside, before, rows, opened)
        old = [Images(identities(rows), before)]
        del rows, before  # as in an UPDATE
        return counted(opened.writes.delete(old.pop()), returned)

    return changed(Asked(scope, statement, params), target, change)


def _joined(
    clauses: Update | Delete,
    computed: str,
    sets: Mapping[str, str],
    names: Mapping[str, str],
    opened: OpenTarget,
) -> tuple[pa.Table, Beside]:
    """Return the rows of the target that a statement is about, each once, in their order."""
    found = keyed_row(clauses, sets, names, opened)
    if found is not None:
        return found, Beside()
    alias = quoted(clauses.target.alias)
    tables = f'"{DML_SCHEMA}".{DML_TARGET} AS {alias}'
    tables += f", {clauses.source}" if clauses.source else ""
    beside = Beside.of(clauses.returning, clauses.others, clauses.prefix, tables, opened)
    text = (
        f"{clauses.prefix} SELECT {alias}.*{computed}{beside.selected()} "
        f"FROM {tables} {clauses.rest}"
    )
    rows = opened.cast_rows(text, {name: column for column, name in names.items()})
    return (_first_matches(rows) if clauses.source else _in_order(rows)), beside


def _returned(
    clauses: Update | Delete,
    beside: Beside,
    written: pa.Table,
    rows: pa.Table,
    opened: OpenTarget,
) -> pa.Table | None:
    alias = clauses.target.alias
    return beside.returned(clauses.returning, alias, written, rows, opened)


def _in_order(rows: pa.Table) -> pa.Table:
    """Return ``rows`` by their identities: a query gives them in any order."""
    rowids = rows[ROWID].to_numpy(zero_copy_only=False)
    if len(rowids) < 2 or bool(np.all(rowids[1:] > rowids[:-1])):  # noqa: PLR2004 - one is in order
        return rows
    return take_rows(rows, np.argsort(rowids, kind="stable"))


def _first_matches(rows: pa.Table) -> pa.Table:
    """Return ``rows`` with each row identity once, in their order."""
    _, first = np.unique(rows[ROWID].to_numpy(zero_copy_only=False), return_index=True)
    return take_rows(rows, first)


def truncate(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run a TRUNCATE, of several tables in one commit."""
    targets, asked = parse_truncate(statement.cursor()), Asked(scope, statement, params)
    if len(targets) == 1:
        return _truncated(asked, targets[0])
    catalog, own = scope.catalog, scope.planner.temporaries
    held = [each for each in targets if own.find(each.schema, each.name) is not None]
    with catalog.read() as reader:
        found = [(catalog.get(reader, t.name, t.schema), t) for t in targets if t not in held]
        if VECTOR.name in {info.kind for info, _ in found}:
            msg = "TRUNCATE of several tables takes no vector table: each has a commit of its own"
            raise SqlError(msg)
        ordered = _referring_first(catalog, reader, {info.table_id: t for info, t in found})
    with catalog.write():  # temporary ones are the last: nothing keeps them from it
        counts = [_truncated(asked, each).rows_affected or 0 for each in (*ordered, *held)]
    return counted(sum(counts))


def _referring_first(
    catalog: Catalog, reader: Reader, targets: Mapping[str, Target]
) -> Iterable[Target]:
    """Return tables, each after those of them that refer to it, where none refers back."""
    ordered: dict[str, Target] = {}

    def put(table_id: str, above: frozenset[str]) -> None:
        if table_id not in targets or table_id in above | ordered.keys():
            return
        for child, _ in links_to(catalog, reader, table_id):
            put(child.table_id, above | {table_id})
        ordered[table_id] = targets[table_id]

    for table_id in targets:
        put(table_id, frozenset())
    return ordered.values()


def _truncated(asked: Asked, target: Target) -> Result:
    return changed(asked, target, lambda opened: counted(opened.writes.truncate()))


# --- which rows an erasure is of ------------------------------------------------------------------


def rows_where(scope: Scope, schema: str, table: str, where: object, params: Params) -> Chosen:
    """Return the rows of a table that a condition holds for, read as a DELETE would read them.

    The condition stays out of the log of statements: it may name what is erased.

    Raises:
        InvalidQueryError: It is no condition.
        SqlError: It does not parse or plan.
    """
    if not isinstance(where, str) or not where.strip():
        msg = f"where must be an SQL predicate such as 'id = 3', got {where!r}"
        raise InvalidQueryError(msg)
    scope.refuse_frame(schema, table)
    statement = parse_statement(delete_text(schema, table, where))
    if params or "$" in statement.text or "?" in statement.text:
        statement, params = bound(statement, params)
    found: list[Chosen] = []

    def choose(opened: OpenTarget, prefix: str, alias: str, rest: str) -> Result:
        rows = opened.rows(
            f'{prefix} SELECT {quoted(alias)}.* FROM "{DML_SCHEMA}".{DML_TARGET} '
            f"AS {quoted(alias)} {rest}"
        )
        found.append(chosen_rows(opened.info, opened.fitted(rows), identities(rows)))
        return counted(0)

    def run(meant: Statement) -> Result:
        clauses = parse_delete(meant.cursor())
        if clauses.source or clauses.returning:
            msg = "where must be one SQL predicate, without USING or RETURNING"
            raise InvalidQueryError(msg)
        alias = clauses.target.alias
        return changed(
            Asked(scope, meant, params), clauses.target,
            lambda opened: choose(opened, clauses.prefix, alias, clauses.rest),
        )  # fmt: skip

    with_names(statement, run, scope.columns_of)
    return found[-1]


# --- MERGE ---------------------------------------------------------------------------------------


def merge(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run a MERGE."""
    clauses = parse_merge(statement.cursor())

    def change(opened: OpenTarget) -> Result:
        alias, source = clauses.target.alias, clauses.source_alias
        given: list[str] = []
        if clauses.needs_source:
            given = opened.columns_of(f"{clauses.prefix} SELECT * FROM {clauses.source}")
        values = [_values(when, opened, alias, given, source) for when in clauses.whens]
        casts = {
            f"__{at}_{position}": column
            for at, given in enumerate(values)
            for position, column in enumerate(given)
        }
        beside = Beside({source: given}) if clauses.returning else Beside()
        condition = clauses.joined(given, opened.columns)
        computed = [opened.with_defaults(each) for each in values]
        for each in computed:
            refuse_set_objects(opened, each)
        text = clauses.query(computed, condition, opened.columns, beside.selected())
        rows = opened.cast_rows(text, casts)
        return _apply(clauses, values, rows, beside, opened)

    return changed(Asked(scope, statement, params), clauses.target, change)


def _values(
    when: When, opened: OpenTarget, alias: str, source: Sequence[str], called: str
) -> dict[str, str]:
    """Return column to expression, DEFAULT for each with a default that an INSERT leaves out."""
    given = when.values(
        opened.columns, opened.info.name, alias, source, called, opened.given_columns
    )
    left_out = opened.defaults if when.action == "insert" else ()
    return {**dict.fromkeys(left_out, "DEFAULT"), **given}


def _apply(
    clauses: Merge,
    values: Sequence[dict[str, str]],
    rows: pa.Table,
    beside: Beside,
    opened: OpenTarget,
) -> Result:
    """Delete, then update, then insert what each WHEN says; return how many rows that were."""
    numbers = np.array(rows["__clause"].to_pylist(), dtype=np.int64)
    _refuse_twice(clauses, numbers, rows, opened.info.name)
    old, gone = _Rows(opened), _Rows(opened)
    new, fresh = _Rows(opened), _Rows(opened)
    told = [_Told(gone), _Told(new), _Told(fresh)]
    for at, when in enumerate(clauses.whens):
        part = take_rows(rows, np.flatnonzero(numbers == at))
        names = {column: f"__{at}_{i}" for i, column in enumerate(values[at])}
        if when.action == "error" and part.num_rows:
            raise ConstraintError(f"MERGE: {part.num_rows} rows met WHEN ... THEN ERROR")
        if when.action == "insert":
            fresh.add(opened.new_rows(part, names))
            told[2].note(part, "INSERT")
        elif when.action == "delete":
            gone.add(opened.fitted(part), part)
            told[0].note(part, "DELETE")
        elif when.action == "update":
            before, after = opened.images(part, names, values[at])
            old.add(before, part)
            new.add(after)
            told[1].note(part, "UPDATE")
    returned = None
    if clauses.returning:
        written = pa.concat_tables([each.rows for each in told])
        joined = pa.concat_tables([part for each in told for part in each.joined] or [rows[:0]])
        alias, clause = clauses.target.alias, with_action(clauses.returning, opened.columns)
        returned = beside.returned(clause, alias, written, joined, opened)
    if not gone.images.rowids and not fresh.table.num_rows:
        note_unchanged(opened, old.table, new.table)
    count = opened.writes.merge(gone.images, old.images, new.table, fresh.table)
    return counted(count, returned)


class _Told:
    """What RETURNING is told of the rows of one kind of action.

    Args:
        written: The rows as they are written, or were before a DELETE.
    """

    def __init__(self, written: _Rows) -> None:
        self._written = written
        self._actions: list[str] = []
        self.joined: list[pa.Table] = []

    def note(self, part: pa.Table, action: str) -> None:
        """Note what was done with some rows of the statement's query."""
        self.joined.append(part)
        self._actions += [action] * part.num_rows

    @property
    def rows(self) -> pa.Table:
        """The rows, and beside them what was done with each."""
        return self._written.table.append_column(ACTION, pa.array(self._actions, pa.string()))


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


def _refuse_twice(
    clauses: Merge, numbers: np.ndarray[Any, Any], rows: pa.Table, table: str
) -> None:
    changes = [clauses.whens[number].action in {"update", "delete"} for number in numbers]
    rowids = [rowid for rowid, does in zip(rows[ROWID].to_pylist(), changes, strict=True) if does]
    if len(set(rowids)) != len(rowids):
        msg = f"MERGE matched a row of {table!r} more than once"
        raise ExecutionError(msg)
