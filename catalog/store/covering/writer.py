"""A writer that sums up what it writes to covered tables.

Rules:
    - Rows are summed up as the store has them: what is replaced or deleted is read before.
    - What has moved belongs to the transaction, and a savepoint that is undone brings it back. One
      that was done stays done, whatever interrupts its release: the rows are there.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, islice
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.predicate import In
from affidavit.catalog.store.covering.elements import grouped, object_name, rows_sum
from affidavit.catalog.store.protocol import (
    BATCH_ROWS,
    ROWID,
    Move,
    own,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import StoreTable, Writer
    from affidavit.catalog.values.types import StoreValue

    Row = tuple[StoreValue, ...]

ROWIDS_MAX: Final = 500
"""How many rows are looked for at a time by their identities."""

INSERTED_MAX: Final = 4096
"""How many rows are inserted, and summed up, at a time."""


class CoveredWriter:
    """A transaction of one tenant, and what has moved in it; otherwise it is ``inner``."""

    def __init__(self, inner: Writer, tenant: str) -> None:
        self._inner = inner
        self._tenant = tenant
        self._moves: dict[str, Move] = {}
        self._depth = 0
        self._undone: list[tuple[str, Move | None]] = []
        self._appended: list[tuple[StoreTable, Row]] = []
        self.memo = inner.memo
        self.select = inner.select
        self.scan = inner.scan
        self.rows = inner.rows
        self.count = inner.count
        self.faults = inner.faults
        self.add_column = inner.add_column  # NULL in every row, which no sum has
        self.create_index = inner.create_index
        self.drop_index = inner.drop_index
        self.last_rowid = inner.last_rowid
        self.on_commit = inner.on_commit
        self.pending = inner.pending
        self.put_off = inner.put_off
        self.finish = inner.finish

    @property
    def has_moved(self) -> bool:
        """Whether there is something to sum up."""
        return bool(self._moves or self._appended)

    def moves(self) -> dict[str, Move]:
        self._sum_up()
        found, self._moves = self._moves, {}
        if self._depth:
            self._undone += found.items()
        return found

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self._sum_up()
        self._depth += 1
        mark, is_done = len(self._undone), False
        try:
            with self._inner.savepoint():
                yield
                is_done = True
        except BaseException:
            if not is_done:
                self._undo(mark)
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self._undone.clear()

    def _undo(self, mark: int) -> None:
        """Let everything have moved as it had when ``mark`` of it was to be undone."""
        self._appended.clear()
        for name, before in reversed(self._undone[mark:]):
            if before is None:
                self._moves.pop(name, None)
            else:
                self._moves[name] = before
        del self._undone[mark:]

    def _set(self, name: str, move: Move) -> None:
        """Let an object have moved so; a savepoint that is open knows how it had before."""
        if self._depth:
            self._undone.append((name, self._moves.get(name)))
        self._moves[name] = move

    # --- what moves ----------------------------------------------------------------------------

    def _move(self, table: StoreTable, rows: Sequence[Row], sign: int) -> None:
        """Note rows that came or went, with the covered columns of ``table``."""
        self._sum_up()
        if not rows:
            return
        columns = table.covered
        for name, members in grouped(table, columns, rows).items():
            total = rows_sum(table, name, columns, members)
            before = self._moves.get(name, Move())
            self._set(name, before.and_rows(sign * len(members), sign * total))

    def _sum_up(self) -> None:
        """Note the rows that were appended, those of a table together."""
        if not self._appended:
            return
        appended, self._appended = self._appended, []
        for table, members in groupby(appended, lambda each: each[0]):
            self._move(table, [row for _, row in members], 1)

    def _begin(self, table: StoreTable) -> None:
        """Note that nothing counts any more that a table had."""
        self._sum_up()
        self._set(object_name(table), Move(is_anew=True))

    def _found(self, table: StoreTable, where: Predicate | None) -> list[Row]:
        """Return the identity and the covered columns of those of the tenant's rows that match."""
        conditions = () if where is None else (where,)
        return self._inner.select(table, _found_columns(table), own(self._tenant, *conditions))

    def _by_rowid(self, table: StoreTable, rowids: Sequence[StoreValue]) -> list[Row]:
        found: list[Row] = []
        for at in range(0, len(rowids), ROWIDS_MAX):
            found += self._found(table, In(ROWID, tuple(rowids[at : at + ROWIDS_MAX])))
        return found

    def _covered(self, table: StoreTable, found: Sequence[Row]) -> list[Row]:
        """Return rows that :meth:`_found` returned as their sum has them."""
        is_ordered = table.cover is not None and table.cover.is_ordered
        return list(found) if is_ordered else [row[1:] for row in found]

    def _changed(
        self, table: StoreTable, found: list[Row], change: Callable[[Row], Mapping[str, StoreValue]]
    ) -> None:
        """Note that rows that were found have other values now."""
        names = _found_columns(table)
        now = []
        for row in found:
            values = change(row)
            now.append(tuple(values.get(name, old) for name, old in zip(names, row, strict=True)))
        self._move(table, self._covered(table, found), -1)
        self._move(table, self._covered(table, now), 1)

    # --- rows ----------------------------------------------------------------------------------

    def insert(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        if table.cover is None:
            self._inner.insert(table, columns, rows)
            return
        given = iter(rows)
        while part := list(map(tuple, islice(given, INSERTED_MAX))):
            self._insert(table, list(columns), part)

    def _insert(self, table: StoreTable, columns: list[str], rows: list[Row]) -> None:
        self._inner.insert(table, columns, rows)
        assert table.cover is not None
        if table.cover.is_ordered and ROWID not in columns:
            first = self._inner.last_rowid() - len(rows) + 1
            rows = [(first + at, *row) for at, row in enumerate(rows)]
            columns = [ROWID, *columns]
        wanted = table.covered
        if tuple(columns) != wanted:
            places = [columns.index(name) if name in columns else None for name in wanted]
            rows = [tuple(None if at is None else row[at] for at in places) for row in rows]
        self._move(table, rows, 1)

    def append(self, table: StoreTable, columns: Sequence[str], row: Sequence[StoreValue]) -> None:
        if table.cover is None:
            self._inner.append(table, columns, row)
        elif tuple(columns) == table.covered:
            self._inner.append(table, columns, row)
            self._appended.append((table, tuple(row)))
        else:
            self.insert(table, columns, [row])

    def update(
        self, table: StoreTable, columns: Sequence[str], rows: Iterable[Sequence[StoreValue]]
    ) -> None:
        if not self._counts(table, columns):
            self._inner.update(table, columns, rows)
            return
        changed = {row[-1]: dict(zip(columns, row, strict=False)) for row in rows}
        found = self._by_rowid(table, list(changed))
        self._inner.update(
            table, columns, [(*values.values(), rowid) for rowid, values in changed.items()]
        )
        self._changed(table, found, lambda row: changed[row[0]])

    def update_where(
        self, table: StoreTable, values: Mapping[str, StoreValue], where: Predicate | None
    ) -> int:
        if not self._counts(table, values):
            return self._inner.update_where(table, values, where)
        found = self._found(table, where)
        count = self._inner.update_where(table, values, where)
        self._changed(table, found, lambda _: values)
        return count

    def increment(
        self, table: StoreTable, by: Mapping[str, int], where: Predicate | None
    ) -> list[tuple[int, ...]]:
        assert not self._counts(table, by)
        return self._inner.increment(table, by, where)

    def delete(self, table: StoreTable, rowids: Iterable[int]) -> None:
        if table.cover is not None:
            rowids = list(rowids)
            self._move(table, self._covered(table, self._by_rowid(table, rowids)), -1)
        self._inner.delete(table, rowids)

    def delete_where(self, table: StoreTable, where: Predicate | None) -> int:
        if table.cover is not None:
            if where is None and table.cover.by is None:
                self._begin(table)
            else:
                self._move(table, self._covered(table, self._found(table, where)), -1)
        return self._inner.delete_where(table, where)

    def _counts(self, table: StoreTable, columns: Iterable[str]) -> bool:
        return table.cover is not None and not set(columns) <= set(table.cover.leaves_out)

    # --- tables --------------------------------------------------------------------------------

    def create_table(self, table: StoreTable) -> None:
        if table.cover is not None and table.cover.by is None:
            self._begin(table)
        self._inner.create_table(table)

    def drop_table(self, table: StoreTable) -> None:
        if table.cover is not None and table.cover.by is None:
            self._sum_up()
            self._set(object_name(table), Move(is_anew=True, is_gone=True))
        self._inner.drop_table(table)

    def drop_column(self, table: StoreTable, column: str) -> None:
        if self._counts(table, [column]):
            self._sum_up()
            kept = replace(table, columns=tuple(c for c in table.columns if c.name != column))
            name, before, after = object_name(table), table.covered, kept.covered
            moved = 0
            for part in self._inner.rows(table, before, own(self._tenant), batch_rows=BATCH_ROWS):
                places = [before.index(each) for each in after]
                left = [tuple(row[at] for at in places) for row in part]
                changed = rows_sum(kept, name, after, left) - rows_sum(table, name, before, part)
                moved += changed
            self._set(name, self._moves.get(name, Move()).and_rows(0, moved))
        self._inner.drop_column(table, column)


def _found_columns(table: StoreTable) -> list[str]:
    """Return the identity, and the covered columns of a table."""
    return [ROWID, *(name for name in table.covered if name != ROWID)]
