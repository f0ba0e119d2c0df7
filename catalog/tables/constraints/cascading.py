"""Foreign keys, as who is referred to sees them: what becomes of rows that refer to one that goes.

Rules:
    - What a change does to the rows that refer to others is part of the change: written in the same
      transaction, and each an event of the journal.
    - RESTRICT is asked before rows of a statement go, NO ACTION when all of it is written: a row
      may go together with those that refer to it. Of rows that go because others did, both are
      asked in the end.
    - What one change brings about waits in line, so that a chain of any length is no recursion.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from affidavit.catalog.model.definition import VectorDefinition
from affidavit.catalog.model.rules import CASCADE, NO_ACTION, RESTRICT, SET_NULL
from affidavit.catalog.sql.predicate import And, Compare, In, Or
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.constraints.links import links_to
from affidavit.catalog.tables.constraints.references import (
    as_types,
    first_missing,
    has_place,
    without_views,
)
from affidavit.catalog.tables.rows import KEYS_MAX, definition_of, read_table
from affidavit.catalog.values.arrays import take_rows
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.rules import ForeignKey
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader, Writer


class Write(Protocol):
    """Writes rows of one table, and nothing that this brings about."""

    def delete(self, info: TableInfo, rowids: Sequence[int], before: pa.Table) -> None:
        """Delete rows."""

    def update(
        self, info: TableInfo, rowids: Sequence[int], before: pa.Table, after: pa.Table
    ) -> pa.Table:
        """Turn rows into others, and return those as they are written."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Rows of a table that went, or got others' keys.

    Attributes:
        info: The table.
        before: The rows as they were.
        after: As they are; ``None`` if they are not there any more.
    """

    info: TableInfo
    before: pa.Table
    after: pa.Table | None = None


@dataclass(slots=True)
class Cascade:
    """What one change brings about in the tables that refer to the changed one, and to those.

    Each table's rows are changed as any are: checked, and an event each.
    """

    catalog: Catalog
    writer: Writer
    write: Write
    _line: deque[Gone] = field(default_factory=deque)
    _links: dict[str, list[tuple[TableInfo, ForeignKey]]] = field(default_factory=dict)

    def refuse_restricted(self, gone: Gone) -> None:
        """Raise ConstraintError if a row is about to go that one refers to whose key RESTRICTs."""
        for child, key in self._links_to(gone.info):
            if self._action(key, gone) == RESTRICT:
                moved = _moved(key, gone)
                rows = _referring(self.writer, child, key, moved[0])
                if rows.num_rows:
                    raise _referred(gone.info, child, key, rows)

    def run(self, *gone: Gone) -> None:
        """Do what follows of all that is ``gone``, and what follows of that.

        Raises:
            ConstraintError: In the end a row refers to one that is gone, and its key says NO
                ACTION; or RESTRICT, which holds for what was brought about here too.
        """
        self._line += gone
        asked: list[tuple[Gone, TableInfo, ForeignKey]] = []
        while self._line:
            now = self._line.popleft()
            for child, key in self._links_to(now.info):
                action = self._action(key, now)
                if action in {NO_ACTION, RESTRICT}:
                    asked.append((now, child, key))
                else:
                    self._follow(now, child, key, action)
        for then, child, key in asked:
            self._refuse_left(then, child, key)

    def _links_to(self, info: TableInfo) -> list[tuple[TableInfo, ForeignKey]]:
        """Return who refers to a table, which nothing of one change changes."""
        if info.table_id not in self._links:
            self._links[info.table_id] = links_to(self.catalog, self.writer, info.table_id)
        return self._links[info.table_id]

    @staticmethod
    def _action(key: ForeignKey, gone: Gone) -> str:
        return key.on_delete if gone.after is None else key.on_update

    def _follow(self, gone: Gone, child: TableInfo, key: ForeignKey, action: str) -> None:
        old, new = _moved(key, gone)
        rows = _referring(self.writer, child, key, old)
        if not rows.num_rows:
            return
        rowids, before = rows[ROWID].to_pylist(), rows.drop_columns([ROWID])
        if action == CASCADE and new is None:
            self.write.delete(child, rowids, before)
            self._line.append(Gone(child, before))
            return
        after = _nulled(before, key) if action == SET_NULL or new is None else (
            _renamed(before, key, old, new)
        )  # fmt: skip
        after = self.write.update(child, rowids, before, after)
        self._line.append(Gone(child, before, after))

    def _refuse_left(self, gone: Gone, child: TableInfo, key: ForeignKey) -> None:
        old, _ = _moved(key, gone)
        rows = _referring(self.writer, child, key, old)
        if not rows.num_rows:
            return
        if isinstance(gone.info.definition, VectorDefinition):
            # its new version is not committed yet, and what one shows now still has these rows
            raise _referred(gone.info, child, key, rows)
        names = zip(key.columns, key.key, strict=True)
        wanted = pa.table({its: rows[mine] for mine, its in names})
        at = first_missing(self.catalog, self.writer, gone.info, wanted)
        if at is not None:
            raise _referred(gone.info, child, key, rows.slice(at))


def _referred(
    info: TableInfo, child: TableInfo, key: ForeignKey, rows: pa.Table
) -> ConstraintError:
    told = ", ".join(f"{name} = {rows[name][0].as_py()!r}" for name in key.columns)
    return ConstraintError(
        f"a row of table {info.name!r} is needed by foreign key {key.name!r} of table "
        f"{child.name!r}, where {told}: change that first"
    )


def _moved(key: ForeignKey, gone: Gone) -> tuple[pa.Table, pa.Table | None]:
    """Return the keys that are not there any more, and what each became if it is another now."""
    names = list(key.key)
    old = _keys(gone.before, names)
    if gone.after is None:
        return old.drop_null(), None
    new = _keys(gone.after, names)
    differs = np.zeros(old.num_rows, dtype=bool)
    for name in names:
        a, b = old[name].to_pylist(), new[name].to_pylist()
        differs |= np.fromiter((x != y for x, y in zip(a, b, strict=True)), bool, len(a))

    known = np.ones(old.num_rows, dtype=bool)
    for name in names:
        known &= old[name].is_valid().to_numpy()
    at = np.flatnonzero(differs & known)
    return take_rows(old, at), take_rows(new, at)


def _keys(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    return pa.table({name: without_views(rows[name]) for name in names})


def _referring(reader: Reader, child: TableInfo, key: ForeignKey, keys: pa.Table) -> pa.Table:
    """Return the rows of ``child`` that refer to one of ``keys``, with their identities."""
    columns = [ROWID, *definition_of(child).schema.names]
    types = definition_of(child).types
    mine = list(key.columns)
    keys = keys.select(list(key.key)).rename_columns(mine)
    kinds = {name: types[name] for name in mine}
    sought = as_types(take_rows(keys, np.flatnonzero(has_place(keys, kinds))), kinds)
    parts = [read_table(reader, child, columns, In(ROWID, ()))]
    for start in range(0, sought.num_rows, KEYS_MAX):
        part = sought.slice(start, KEYS_MAX)
        where: Predicate
        if len(mine) == 1:
            where = In(mine[0], tuple(part[mine[0]]))
        else:
            rows = zip(*(part[name] for name in mine), strict=True)
            where = Or(
                tuple(
                    And(tuple(Compare("=", c, v) for c, v in zip(mine, values, strict=True)))
                    for values in rows
                )
            )
        parts.append(read_table(reader, child, columns, where))
    return pa.concat_tables(parts)


def _nulled(rows: pa.Table, key: ForeignKey) -> pa.Table:
    for name in key.columns:
        at = rows.schema.get_field_index(name)
        kind = rows.schema.field(at).with_nullable(nullable=True)
        rows = rows.set_column(at, kind, pa.nulls(rows.num_rows, kind.type))
    return rows


def _renamed(rows: pa.Table, key: ForeignKey, old: pa.Table, new: pa.Table) -> pa.Table:
    """Return rows that refer to ``new`` where they referred to ``old``."""
    was = list(zip(*(old[name].to_pylist() for name in key.key), strict=True))
    places = {values: at for at, values in enumerate(was)}
    mine = zip(*(rows[name].to_pylist() for name in key.columns), strict=True)
    given = take_rows(new.select(list(key.key)), [places[values] for values in mine])
    given = given.rename_columns(list(key.columns))
    kinds = {name: rows.schema.field(name).type for name in key.columns}
    possible = has_place(given, kinds)
    if not possible.all():
        told = given.slice(int(np.argmin(possible)), 1).to_pylist()[0]
        msg = f"foreign key {key.name!r} has no place for {told}: give its columns a wider type"
        raise ConstraintError(msg)
    given = as_types(given, kinds)
    for name in key.columns:
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), given[name])
    return rows
