"""What a DML statement writes to a temporary table: other rows in the place of those it had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.tables.constraints.keys import (
    check_not_null,
    duplicate_within,
    shown_key,
)
from affidavit.catalog.tables.rows import definition_of
from affidavit.catalog.values.arrays import take_rows
from affidavit.engine.run.writing.still import MovedError
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.lake.spill import Spilled
    from affidavit.catalog.tables.row_writing import Images
    from affidavit.engine.scans.temporary.tables import Temporaries, Temporary


class TemporaryWrites:
    """Writes to a temporary table; the rows are complete and checked for its definition.

    Args:
        catalog: Who writes.
        tables: The session's.
        table: The table, as it was read.
    """

    def __init__(self, catalog: Catalog, tables: Temporaries, table: Temporary) -> None:
        self._catalog = catalog
        self._tables = tables
        self._table = table

    def insert(self, rows: Spilled) -> int:
        """Insert rows."""
        return self._write(fresh=rows.table)

    def update(self, old: Images, new: pa.Table, columns: Iterable[str]) -> int:  # noqa: ARG002 - whole rows are replaced
        """Replace rows."""
        return self._write(old=old.rowids, new=new)

    def delete(self, old: Images) -> int:
        """Delete rows."""
        return self._write(gone=old.rowids)

    def upsert(self, old: Images, new: pa.Table, fresh: pa.Table) -> int:
        """Replace rows and insert others."""
        return self._write(old=old.rowids, new=new, fresh=fresh)

    def merge(self, gone: Images, old: Images, new: pa.Table, fresh: pa.Table) -> int:
        """Delete ``gone``, turn ``old`` into ``new`` and insert ``fresh``, all at once."""
        return self._write(gone=gone.rowids, old=old.rowids, new=new, fresh=fresh)

    def truncate(self) -> int:
        """Delete every row."""
        return self._write(gone=self._table.rows[ROWID].to_pylist())

    def _write(
        self,
        *,
        gone: Sequence[int] = (),
        old: Sequence[int] = (),
        new: pa.Table | None = None,
        fresh: pa.Table | None = None,
    ) -> int:
        """Put the table in its place that has these changes, and return how many rows they are of.

        Raises:
            MovedError: It is another by now.
        """
        made = changed_table(self._table, gone=gone, old=old, new=new, fresh=fresh)
        count = len(gone) + len(old) + made.next_rowid - self._table.next_rowid
        if count and not self._tables.put(self._catalog, self._table, made):
            raise MovedError
        return count


def changed_table(
    table: Temporary,
    *,
    gone: Sequence[int] = (),
    old: Sequence[int] = (),
    new: pa.Table | None = None,
    fresh: pa.Table | None = None,
) -> Temporary:
    """Return a table without ``gone``, with ``new`` in the place of ``old``, and with ``fresh``.

    Raises:
        ConstraintError: A row has NULL where there is none, or two have one key.
    """
    ids = table.rows[ROWID].to_numpy()
    stays = np.flatnonzero(~np.isin(ids, np.array([*gone, *old], np.int64)))
    parts, after = [take_rows(table.rows, stays)], table.next_rowid
    if new is not None and old:
        parts.append(_identified(table, new, old))
    if fresh is not None and fresh.num_rows:
        after += fresh.num_rows
        parts.append(_identified(table, fresh, range(table.next_rowid, after)))
    rows = pa.concat_tables(parts)
    rows = take_rows(rows, np.argsort(rows[ROWID].to_numpy(), kind="stable"))
    if len(parts) > 1:
        _refuse_twice(table, rows)
    return table.with_rows(rows, after)


def _identified(table: Temporary, rows: pa.Table, rowids: Sequence[int]) -> pa.Table:
    check_not_null(table.info.name, definition_of(table.info), rows)
    return pa.Table.from_arrays(
        [pa.array(rowids, pa.int64()), *rows.columns], schema=table.rows.schema
    )


def _refuse_twice(table: Temporary, rows: pa.Table) -> None:
    definition, name = definition_of(table.info), table.info.name
    for key in definition.unique_keys:
        at = duplicate_within(definition, key, rows)
        if at is not None:
            told = shown_key(key, rows, at)
            raise ConstraintError(f"table {name!r} has a row with {told} already")
