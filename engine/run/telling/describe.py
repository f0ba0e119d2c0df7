"""What a statement is and would return, found out by planning it and nothing more.

A statement that changes rows is planned as queries over its target: each value that it sets is
compared with the column that it is for, which tells DataFusion the type of a parameter there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow as pa

from affidavit.catalog.lake.trace import Trace
from affidavit.catalog.model.definition import MutableDefinition
from affidavit.catalog.sql.quoting import quoted
from affidavit.catalog.store.interrupts import held
from affidavit.catalog.tables.constraints.rows import not_generated
from affidavit.engine.plan.scanned import scans_of
from affidavit.engine.run.telling.unbound import plan_open
from affidavit.engine.run.writing.conflicts import NEW
from affidavit.engine.statement.assignments import parse_assignments, qualified, with_defaults
from affidavit.engine.statement.clauses import (
    parse_delete,
    parse_insert,
    parse_truncate,
    parse_update,
)
from affidavit.engine.statement.commands import parse_execute, parse_explain
from affidavit.engine.statement.merge import ACTION, parse_merge, with_action
from affidavit.engine.statement.names import by_name, with_names
from affidavit.engine.statement.parameters import numbered, renumbered
from affidavit.engine.statement.reading.naming import named
from affidavit.engine.statement.statement import Kind, parse_statement
from affidavit.errors import AffidavitError, SqlError

if TYPE_CHECKING:
    from affidavit.engine.run.scope import Scope
    from affidavit.engine.scans.snapshot import Snapshot
    from affidavit.engine.statement.assignments import Target
    from affidavit.engine.statement.statement import Statement

NO_COLUMNS: Final = pa.schema([])

PLANS: Final = pa.schema({"plan_type": pa.string(), "plan": pa.string()})
"""What EXPLAIN returns."""


@dataclass(frozen=True, slots=True)
class Description:
    """What :meth:`~affidavit.engine.session.session.Session.describe` tells of a statement.

    Attributes:
        kind: ``query``, ``insert``, ``create`` and so on, as ``audit.statements`` has it.
        columns: The columns that come back; none where only a number of rows does.
        parameters: Each parameter's type, by its name or number; ``None`` where the statement does
            not say.
        reads: The columns that are read of each table, by ``schema.table``.
        writes: The columns that are written of each.
    """

    kind: str
    columns: pa.Schema
    parameters: dict[str, pa.DataType | None]
    reads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    writes: dict[str, tuple[str, ...]] = field(default_factory=dict)


def describe(scope: Scope, statement: Statement) -> Description:
    """Plan a statement without values for its parameters, and tell what it is.

    Raises:
        SqlError: It does not parse or plan.
        TableNotFoundError: It names a table that the tenant does not see.
    """
    return with_names(statement, lambda meant: _described(scope, meant), scope.columns_of)


def _described(scope: Scope, statement: Statement) -> Description:
    whole = parse_statement(named(statement.text))
    given = {name: name for name in whole.placeholders}
    (text,), names = numbered([whole.whole], given)
    with scope.planner.snapshot(scope.catalog) as snapshot:
        asked = _Asked(scope, snapshot, parse_statement(text))
        columns = _DESCRIBES.get(statement.kind, _nothing)(asked)
    numbers = asked.statement.placeholders
    return Description(
        statement.kind.value,
        columns,
        {names.get(number, number): asked.types.get(number) for number in numbers},
        {table: tuple(sorted(read)) for table, read in asked.reads.items()},
        asked.writes,
    )


class _Asked:
    """A statement that is described, with numbers for its parameters, and what was found of it."""

    def __init__(self, scope: Scope, snapshot: Snapshot, statement: Statement) -> None:
        self.scope = scope
        self.statement = statement
        self.types: dict[str, pa.DataType | None] = {}
        self.reads: dict[str, set[str]] = {}
        self.writes: dict[str, tuple[str, ...]] = {}
        self._snapshot = snapshot

    def plan(self, text: str) -> pa.Schema:
        """Plan a query or an INSERT; return the columns, and keep what else it tells."""
        planner, whole = self.scope.planner, parse_statement(text).whole
        plan = partial(plan_open, planner, snapshot=self._snapshot, names=self.statement.names)
        plain, numbers = renumbered(whole)
        frame, types = plan(plain)
        if self._snapshot.unbound:  # DataFusion counts the others, and sees none of these
            plain, numbers = renumbered(whole, last=[numbers[at] for at in self._snapshot.unbound])
            frame, types = plan(plain)
        self.types |= {numbers[number]: kind for number, kind in types.items()}
        trace = self.scope.catalog.trace or Trace()
        known = {name.partition("@")[0] for name in trace.read}
        plan = planner.optimized(frame, self._snapshot)
        with held():
            scans = scans_of(plan)
        for table, columns in scans.items():
            if table in known:
                self.reads.setdefault(table, set()).update(columns)
        return planner.schema_of(frame, self._snapshot)

    def given_columns(self, target: Target, known: list[str]) -> list[str]:
        """Return the columns of a target that values without names are for."""
        held = self._snapshot.temporaries.find(target.schema, target.name)
        info = self.scope.catalog.find(self._snapshot.reader, target.name, target.schema)
        info = info if held is None else held.info
        if target.source or info is None or not isinstance(info.definition, MutableDefinition):
            return known
        return not_generated(info.definition, known)

    def target(self, target: Target) -> tuple[str, list[str]]:
        """Return a target as a query names it, and its columns."""
        where = [target.source] if target.source else []
        text = ".".join(map(quoted, [*where, target.schema, target.name]))
        frame, _ = plan_open(
            self.scope.planner,
            f"SELECT * FROM {text}",
            self._snapshot,
            names={target.schema, target.name, *where},
        )
        return text, frame.schema().names

    def write(self, target: Target, columns: Mapping[str, object] | list[str]) -> None:
        """Note what is written."""
        where = f"{target.source}." if target.source else ""
        named = f"{where}{target.schema}.{target.name}"
        self.writes[named] = tuple(dict.fromkeys((*self.writes.get(named, ()), *columns)))

    def returning(
        self, clause: str, table: str, alias: str, others: str = "", prefix: str = ""
    ) -> pa.Schema:
        """Return the columns of a RETURNING, if there is one; it may name those of ``others``."""
        if not clause:
            return NO_COLUMNS
        text = f"SELECT {clause} FROM {table} AS {quoted(alias)}"
        try:
            return self.plan(text)
        except AffidavitError:
            if not others:
                raise
            return self.plan(f"{prefix} {text}, {others}")


_Describe: TypeAlias = Callable[[_Asked], pa.Schema]
"""Plans a statement of a kind, and returns the columns that come back."""


def _nothing(_: _Asked) -> pa.Schema:
    return NO_COLUMNS


def _query(asked: _Asked) -> pa.Schema:
    return asked.plan(asked.statement.text)


def _explain(asked: _Asked) -> pa.Schema:
    inner = parse_explain(asked.statement.cursor()).inner
    within = describe(asked.scope, inner)
    asked.types |= within.parameters
    return PLANS


def _execute(asked: _Asked) -> pa.Schema:
    name = parse_execute(asked.statement.cursor()).name
    prepared = asked.scope.planner.state.prepared
    if name not in prepared:
        raise SqlError(f"no prepared statement {name!r}; there are {sorted(prepared)}")
    within = describe(asked.scope, prepared[name][0])
    asked.reads = {table: set(columns) for table, columns in within.reads.items()}
    asked.writes = within.writes
    return within.columns


def _insert(asked: _Asked) -> pa.Schema:
    clauses = parse_insert(asked.statement.cursor())
    table, known = asked.target(clauses.target)
    source = clauses.source.text
    given = list(clauses.columns) or asked.given_columns(clauses.target, known)
    if clauses.by_name:
        given = list(by_name(asked.plan(f"{clauses.prefix.text} {source}").names, known))
    asked.write(clauses.target, given)
    listed = f" ({', '.join(map(quoted, given))})"
    if not clauses.source.is_default:
        source = with_defaults(source, given, {})
        asked.plan(f"INSERT INTO {table}{listed} {clauses.prefix.text} {source}")
    alias = clauses.target.alias
    if clauses.conflict is not None and clauses.conflict.sets is not None:
        sets = parse_assignments(clauses.conflict.sets.cursor(), known, clauses.target.name, alias)
        asked.write(clauses.target, sets)
        renamed = {column: f"{NEW}{column}" for column in known}
        new = ", ".join(f"{quoted(column)} AS {quoted(to)}" for column, to in renamed.items())
        where = "" if clauses.conflict.where is None else f"WHERE ({clauses.conflict.where.text})"
        told = qualified(f"SELECT {_compared(sets, alias)}", "excluded", renamed)
        asked.plan(
            f"{told} FROM {table} AS {quoted(alias)}, (SELECT {new} FROM {table}) AS excluded "
            f"{qualified(where, 'excluded', renamed)}"
        )
    return asked.returning(clauses.returning, table, alias)


def _update(asked: _Asked) -> pa.Schema:
    clauses = parse_update(asked.statement.cursor())
    target = clauses.target
    table, known = asked.target(target)
    sets = parse_assignments(clauses.sets.cursor(), known, target.name, target.alias)
    asked.write(target, sets)
    also = f", {clauses.source}" if clauses.source else ""
    asked.plan(
        f"{clauses.prefix} SELECT {_compared(sets, target.alias)} "
        f"FROM {table} AS {quoted(target.alias)}{also} {clauses.rest}"
    )
    return asked.returning(clauses.returning, table, target.alias, clauses.source, clauses.prefix)


def _delete(asked: _Asked) -> pa.Schema:
    clauses = parse_delete(asked.statement.cursor())
    target = clauses.target
    table, known = asked.target(target)
    asked.write(target, known)
    also = f", {clauses.source}" if clauses.source else ""
    asked.plan(
        f"{clauses.prefix} SELECT 1 FROM {table} AS {quoted(target.alias)}{also} {clauses.rest}"
    )
    return asked.returning(clauses.returning, table, target.alias, clauses.source, clauses.prefix)


def _truncate(asked: _Asked) -> pa.Schema:
    for target in parse_truncate(asked.statement.cursor()):
        asked.write(target, asked.target(target)[1])
    return NO_COLUMNS


def _merge(asked: _Asked) -> pa.Schema:
    clauses = parse_merge(asked.statement.cursor())
    target = clauses.target
    table, known = asked.target(target)
    given: list[str] = []
    if clauses.needs_source:
        given = asked.plan(f"{clauses.prefix} SELECT * FROM {clauses.source}").names
    called, takes = clauses.source_alias, asked.given_columns(target, known)
    values = [
        when.values(known, target.name, target.alias, given, called, takes)
        for when in clauses.whens
    ]
    condition = clauses.joined(given, known)
    deletes = any(when.action == "delete" for when in clauses.whens)
    written = dict.fromkeys(column for sets in values for column in sets)
    asked.write(target, known if deletes else list(written))
    told = [_compared(sets, target.alias) for sets in values if sets]
    told += [f"({when.condition})" for when in clauses.whens if when.condition]
    listed = ", ".join(f"[{each}] AS __{at}" for at, each in enumerate(told))
    asked.plan(
        f"{clauses.prefix} SELECT {listed or '1'} FROM {table} AS {quoted(target.alias)} "
        f"FULL OUTER JOIN {clauses.source} ON ({condition})"
    )
    if not clauses.returning:
        return NO_COLUMNS
    return asked.plan(
        f"{clauses.prefix} SELECT {with_action(clauses.returning, known)} FROM "
        f"(SELECT *, '' AS {ACTION} FROM {table}) AS {quoted(target.alias)}, {clauses.source}"
    )


def _compared(sets: Mapping[str, str], alias: str) -> str:
    """Return comparisons of a target's columns with what they are set to, for a SELECT."""
    told = [
        f"{quoted(alias)}.{quoted(column)} IS NOT DISTINCT FROM ({value})"
        for column, value in sets.items()
        if value.upper() != "DEFAULT"
    ]
    return ", ".join(told) or "1"


_DESCRIBES: Final[Mapping[Kind, _Describe]] = {
    Kind.QUERY: _query,
    Kind.EXPLAIN: _explain,
    Kind.EXECUTE: _execute,
    Kind.INSERT: _insert,
    Kind.UPDATE: _update,
    Kind.DELETE: _delete,
    Kind.MERGE: _merge,
    Kind.TRUNCATE: _truncate,
}
