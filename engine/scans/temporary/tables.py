"""Temporary tables: a session's own, which goes with it, and which nothing of the lake knows.

Rules:
    - A table as it is never changes: a write puts another in its place. So a reader has it as it
      was, and a rollback brings it back.
    - What they hold counts as the lake's memory, until they are dropped or their session ends.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.model.definition import MUTABLE, MutableDefinition, TableInfo
from affidavit.catalog.sql.names import MAIN_SCHEMA, TEMP_SCHEMA
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.rows import ROWID_FIELD
from affidavit.engine.scans.memory import memory_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from datafusion.catalog import Table

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.lake.memory import Hold


@dataclass(frozen=True)  # without slots: what is derived is kept
class Temporary:
    """A temporary table as it is.

    Attributes:
        info: What it is, as if it were a mutable table of the lake.
        rows: Its rows, with their identities.
        next_rowid: The identity of the next one.
    """

    info: TableInfo
    rows: pa.Table
    next_rowid: int = 1

    @classmethod
    def empty(cls, catalog: Catalog, name: str, definition: MutableDefinition) -> Temporary:
        """Return a new table without rows."""
        info = TableInfo(catalog.tenant, TEMP_SCHEMA, name, MUTABLE.name, definition, 1, 0)
        return cls(info, pa.schema([ROWID_FIELD, *definition.schema]).empty_table())

    def with_rows(self, rows: pa.Table, next_rowid: int) -> Temporary:
        """Return the next version of the table, which has these rows."""
        info = replace(self.info, version=self.info.version + 1, row_count=rows.num_rows)
        return Temporary(info, rows, next_rowid)

    @cached_property
    def provider(self) -> Table:
        """What DataFusion reads the rows through, which is not made while it plans."""
        assert isinstance(self.info.definition, MutableDefinition)
        return memory_table(self.rows.drop_columns([ROWID]), self.info.definition.primary_key)


@dataclass(frozen=True, slots=True)
class _State:
    """The tables between two changes, of which so many came before."""

    changes: int
    tables: Mapping[str, Temporary]


class Temporaries:
    """The temporary tables of one session.

    Each hides a table of the lake of its name, which a statement would mean without it.
    """

    def __init__(self) -> None:
        self._state = _State(0, {})
        self._hold: Hold | None = None
        self._noted: object = None
        self._changing = threading.Lock()

    def __iter__(self) -> Iterator[Temporary]:
        return iter(self._state.tables.values())

    def find(self, schema: str, name: str) -> Temporary | None:
        """Return what a statement means by a name, if that is a temporary table."""
        return self._state.tables.get(name) if schema in {MAIN_SCHEMA, TEMP_SCHEMA} else None

    def put(self, catalog: Catalog, was: Temporary | None, table: Temporary) -> bool:
        """Let ``table`` be in the place of what was there; return whether that was there still.

        Raises:
            MemoryLimitError: It is too large.
        """
        name, _ = table.info.name, table.provider
        with self._changing:
            if self._state.tables.get(name) is not was:
                return False
            self._hold = self._hold or catalog.lake.memory.hold()
            self._hold.add(table.rows.nbytes - (0 if was is None else was.rows.nbytes))
            self._change(catalog, {**self._state.tables, name: table})
        if catalog.trace is not None:
            catalog.trace.note_written(TEMP_SCHEMA, name, table.info.version)
        return True

    def drop(self, catalog: Catalog, name: str) -> None:
        """Let go of a table, if it is there."""
        with self._changing:
            left = {called: each for called, each in self._state.tables.items() if called != name}
            self._change(catalog, left)
            self._count()

    def clear(self) -> None:
        """Let go of all of them."""
        self._state = _State(self._state.changes + 1, {})
        self._count()

    def _change(self, catalog: Catalog, tables: Mapping[str, Temporary]) -> None:
        before, begun = self._state, catalog.transactions.begun
        if begun is not None:
            if self._noted is not begun:
                self._noted = begun
                begun.on_end(lambda committed: None if committed else self._back(before))
            begun.on_undo(lambda: self._back(before))
        self._state = _State(before.changes + 1, tables)

    def _back(self, state: _State) -> None:
        """Be as before a change, unless it is as before an earlier one by now."""
        if state.changes < self._state.changes:
            self._state = state
            self._count()

    def _count(self) -> None:
        if self._hold is not None:
            held = sum(each.rows.nbytes for each in self)
            self._hold.may_add(held - self._hold.size)
