"""INSERT, UPDATE and DELETE of plain values, which are written as they stand in the statement.

Rule:
    - What is written here is what a plan would have given: literals and parameters of the columns'
      types, in a table whose keys and NOT NULL are its only rules; for UPDATE and DELETE the row of
      a whole key. All else is planned, and so are tables of which reads are on record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affidavit.catalog.model.definition import MUTABLE, MutableDefinition
from affidavit.catalog.tables.reading import is_recorded
from affidavit.catalog.tables.short.changing import (
    Found,
    delete_plain,
    find_plain,
    update_plain,
)
from affidavit.catalog.tables.short.inserting import insert_plain, plain_rows
from affidavit.catalog.values.python.plain import NotPlainError
from affidavit.engine.plan.short.asked import keyed_where
from affidavit.engine.plan.short.keyed import key_values
from affidavit.engine.result.outcome import counted
from affidavit.engine.run.writing.literals import literal_columns, plain_value
from affidavit.engine.scans.snapshot import asked, note_target
from affidavit.engine.statement.assignments import parse_assignments
from affidavit.engine.statement.mended.numbers import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Writer
    from affidavit.catalog.values.types import StoreValue
    from affidavit.engine.result.result import Result
    from affidavit.engine.run.scope import Params, Scope
    from affidavit.engine.statement.assignments import Target
    from affidavit.engine.statement.clauses import Delete, Insert, Update


def insert_as_given(
    scope: Scope, clauses: Insert, info: TableInfo, params: Params
) -> Result | None:
    """Insert a few rows of plain values; ``None`` if they are to be planned, and nothing is done.

    ``info`` is the target as it was found.
    """
    definition = _plain(scope, clauses.target, info)
    if definition is None or clauses.prefix or clauses.by_name or clauses.source.is_default:
        return None
    names, given = definition.schema.names, clauses.columns or tuple(definition.schema.names)
    if clauses.conflict is not None or clauses.returning or len(set(given)) != len(given):
        return None
    columns = None
    if set(given) <= set(names):
        columns = literal_columns(clauses.source, given, definition.schema, params)
    if columns is None:
        return None
    rows = [dict(zip(given, each, strict=True)) for each in zip(*columns.values(), strict=True)]
    plain = plain_rows(definition, rows)
    if plain is None:
        return None
    catalog = scope.catalog

    def write(writer: Writer, now: TableInfo) -> Result:
        asked(catalog).count(len(rows))
        return counted(insert_plain(catalog, writer, now, rows, plain))

    return _written(scope, info, write)


def update_as_given(scope: Scope, clauses: Update, params: Params) -> Result | None:
    """Set columns of the row of a key to plain values; ``None`` if that is to be planned."""

    def begin(info: TableInfo) -> Callable[[Writer, TableInfo, Found], None] | None:
        target, definition = clauses.target, info.definition
        assert isinstance(definition, MutableDefinition)
        names = definition.schema.names
        sets = parse_assignments(clauses.sets.cursor(), names, target.name, target.alias)
        if any(set(key) & set(sets) for key in definition.unique_keys):
            return None
        new = _values(definition, nearest(sets, definition.schema), params)
        catalog = scope.catalog
        return lambda writer, now, found: update_plain(catalog, writer, now, found, new)

    return _changed(scope, clauses, params, begin)


def delete_as_given(scope: Scope, clauses: Delete, params: Params) -> Result | None:
    """Delete the row of a key; ``None`` if that is to be planned."""
    catalog = scope.catalog

    def begin(_: TableInfo) -> Callable[[Writer, TableInfo, Found], None]:
        return lambda writer, now, found: delete_plain(catalog, writer, now, found)

    return _changed(scope, clauses, params, begin)


def _values(
    definition: MutableDefinition, sets: Mapping[str, str], params: Params
) -> dict[str, tuple[StoreValue, str]]:
    plain, types = definition.plain, definition.types
    assert plain is not None
    found: dict[str, Any] = {}
    for column, text in sets.items():
        found[column] = plain.value(column, plain_value(text, types[column], params))
    return found


def _changed(
    scope: Scope,
    clauses: Update | Delete,
    params: Params,
    begin: Callable[[TableInfo], Callable[[Writer, TableInfo, Found], None] | None],
) -> Result | None:
    """Change the row of a key as ``begin`` says, which is given the table."""
    key, target, catalog = keyed_where(clauses.rest), clauses.target, scope.catalog
    if key is None or clauses.prefix or clauses.source or clauses.returning:
        return None
    if scope.planner.state.hides(target.schema, target.name):
        return None
    try:
        with catalog.read() as reader:
            info = catalog.find(reader, target.name, target.schema)
            if info is None or _plain(scope, target, info) is None:
                return None
            where, change = key_values(key, params, info), begin(info)
            if where is None or change is None:
                return None
            found = find_plain(reader, info, where)
        note_target(asked(catalog), info)
        if found is None:
            return counted(0)

        def write(writer: Writer, now: TableInfo) -> Result:
            row = found if now.version == info.version else find_plain(writer, now, where)
            if row is None:
                return counted(0)
            asked(catalog).count(1)
            change(writer, now, row)
            return counted(1)

        return _written(scope, info, write)
    except NotPlainError:
        return None


def _plain(scope: Scope, target: Target, info: TableInfo) -> MutableDefinition | None:
    """Return what a table is, if plain values may be written to it as they stand."""
    definition, catalog = info.definition, scope.catalog
    if info.kind != MUTABLE.name or not isinstance(definition, MutableDefinition):
        return None
    if definition.plain is None or is_recorded(catalog, info):
        return None
    if scope.planner.state.hides(target.schema, target.name) or info.tenant != catalog.tenant:
        return None
    return definition


def _written(
    scope: Scope, info: TableInfo, write: Callable[[Writer, TableInfo], Result]
) -> Result | None:
    """Write to a table if it is what it was; in a caller's transaction nobody else changes it."""
    catalog = scope.catalog
    query, is_own = asked(catalog), catalog.transactions.current() is not None
    note_target(query, info)
    with catalog.write() as writer:
        query.check()
        now = info if is_own else catalog.get(writer, info.name, info.schema)
        if now.definition != info.definition:
            return None
        return write(writer, now)
