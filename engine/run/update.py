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
from affidavit.catalog.sql.expression import delete_text
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.values.arrays import take_rows
from affidavit.engine.result.outcome import counted
from affidavit.engine.run.target import Asked, OpenTarget, changed
from affidavit.engine.run.writing.counts import note_unchanged
from affidavit.engine.run.writing.writes import Images
from affidavit.engine.statement.assignments import computed_values, parse_assignments
from affidavit.engine.statement.clauses import parse_delete, parse_truncate, parse_update
from affidavit.engine.statement.merge import parse_merge
from affidavit.engine.statement.names import with_names
from affidavit.engine.statement.parameters import bound
from affidavit.engine.statement.statement import DML_SCHEMA, DML_TARGET, parse_statement
from affidavit.errors import ExecutionError, InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.merge import Merge, When
    from affidavit.engine.statement.statement import Statement


def update(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run an UPDATE."""
    clauses = parse_update(statement.cursor())
    target = clauses.target

    def change(opened: OpenTarget) -> Result:
        sets = parse_assignments(clauses.sets.cursor(), opened.columns, target.name, target.alias)
        sets = {column: opened.default(column, value) for column, value in sets.items()}
        computed, names = computed_values(sets)
        also = f", {clauses.source}" if clauses.source else ""
        text = (
            f"{clauses.prefix} SELECT {quoted(target.alias)}.*, {computed} "
            f'FROM "{DML_SCHEMA}".{DML_TARGET} AS {quoted(target.alias)}{also} {clauses.rest}'
        )
        rows = opened.cast_rows(text, {name: column for column, name in names.items()})
        rows = _first_matches(rows) if clauses.source else rows
        before, after = opened.images(rows, names)
        returned = opened.returning(clauses.returning, after, target.alias, rows[ROWID])
        note_unchanged(opened, before, after)
        count = opened.writes.update(Images(rows[ROWID].to_pylist(), before), after, sets)
        return counted(count, returned)

    return changed(Asked(scope, statement, params), target, change)


def delete(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run a DELETE."""
    clauses = parse_delete(statement.cursor())
    target = clauses.target

    def change(opened: OpenTarget) -> Result:
        also = f", {clauses.source}" if clauses.source else ""
        text = (
            f"{clauses.prefix} SELECT {quoted(target.alias)}.* "
            f'FROM "{DML_SCHEMA}".{DML_TARGET} AS {quoted(target.alias)}{also} {clauses.rest}'
        )
        rows = opened.rows(text)
        rows = _first_matches(rows) if clauses.source else rows
        before = opened.fitted(rows)
        returned = opened.returning(clauses.returning, before, target.alias, rows[ROWID])
        count = opened.writes.delete(Images(rows[ROWID].to_pylist(), before))
        return counted(count, returned)

    return changed(Asked(scope, statement, params), target, change)


def _first_matches(rows: pa.Table) -> pa.Table:
    """Return ``rows`` with each row identity once."""
    _, first = np.unique(rows[ROWID].to_numpy(zero_copy_only=False), return_index=True)
    return take_rows(rows, np.sort(first))


def truncate(scope: Scope, statement: Statement, params: Params) -> Result:
    """Run a TRUNCATE."""
    target = parse_truncate(statement.cursor())
    return changed(
        Asked(scope, statement, params), target, lambda opened: counted(opened.writes.truncate())
    )


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
    statement = parse_statement(delete_text(schema, table, where))
    if params or "$" in statement.text or "?" in statement.text:
        statement, params = bound(statement, params)
    found: list[Chosen] = []

    def choose(opened: OpenTarget, prefix: str, alias: str, rest: str) -> Result:
        rows = opened.rows(
            f'{prefix} SELECT {quoted(alias)}.* FROM "{DML_SCHEMA}".{DML_TARGET} '
            f"AS {quoted(alias)} {rest}"
        )
        rowids = rows[ROWID].to_pylist()
        found.append(chosen_rows(opened.info, opened.fitted(rows), rowids))
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
        alias = clauses.target.alias
        values = [_values(when, opened, alias) for when in clauses.whens]
        casts = {
            f"__{at}_{position}": column
            for at, given in enumerate(values)
            for position, column in enumerate(given)
        }
        rows = opened.cast_rows(clauses.query(values), casts)
        return counted(_apply(clauses, values, rows, opened))

    return changed(Asked(scope, statement, params), clauses.target, change)


def _values(when: When, opened: OpenTarget, alias: str) -> dict[str, str]:
    """Return column to expression, with the default of each column that an INSERT leaves out."""
    given = when.values(opened.columns, opened.info.name, alias)
    given = {column: opened.default(column, value) for column, value in given.items()}
    return {**opened.defaults, **given} if when.action == "insert" else given


def _apply(
    clauses: Merge, values: Sequence[dict[str, str]], rows: pa.Table, opened: OpenTarget
) -> int:
    """Delete, then update, then insert what each WHEN says; return how many rows that were."""
    numbers = np.array(rows["__clause"].to_pylist(), dtype=np.int64)
    _refuse_twice(clauses, numbers, rows, opened.info.name)
    old, gone = _Rows(opened), _Rows(opened)
    new, fresh = _Rows(opened), _Rows(opened)
    for at, when in enumerate(clauses.whens):
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
    if not gone.images.rowids and not fresh.table.num_rows:
        note_unchanged(opened, old.table, new.table)
    return opened.writes.merge(gone.images, old.images, new.table, fresh.table)


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
