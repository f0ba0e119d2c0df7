"""Rows of mutable tables, written in a transaction.

Every write of rows goes through :func:`insert_rows`, :func:`update_rows` and :func:`delete_rows`,
where the images before and after are known, constraints are checked and the change is announced.
Rows that whoever writes has completed and checked before (``are_ready``), for the definition that
the table has, are not again: that may compute expressions, which is no work for under the lock.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.store.tables import TABLES
from affidavit.catalog.tables.constraints.cascading import Cascade, Gone
from affidavit.catalog.tables.constraints.keys import (
    check_not_null,
    duplicate_within,
    shown_key,
)
from affidavit.catalog.tables.constraints.references import References
from affidavit.catalog.tables.constraints.rows import ready
from affidavit.catalog.tables.constraints.stored import as_stored, insert_stored
from affidavit.catalog.tables.copies.changed import note_changed
from affidavit.catalog.tables.rows import (
    definition_of,
    find_rows,
    key_values,
    read_table,
    rows_by_id,
    stored_values,
)
from affidavit.catalog.values.arrays import take_rows
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer


PART_ROWS: Final = 32_768
"""So many rows are changed, and told of, at a time: what is made of them takes memory."""


@dataclass(frozen=True, slots=True)
class Images:
    """Rows of a table as they are, with their identities."""

    rowids: Sequence[int]
    rows: pa.Table

    def parts(self) -> Iterator[Images]:
        """Yield the rows in parts that are told of together."""
        for at in range(0, len(self.rowids), PART_ROWS):
            yield Images(self.rowids[at : at + PART_ROWS], self.rows.slice(at, PART_ROWS))


def identities(rows: pa.Table) -> Sequence[int]:
    """Return the identities of rows that have them beside their columns, eight bytes each."""
    found = array("q")
    for chunk in rows[ROWID].chunks:
        found.frombytes(chunk.to_numpy().tobytes())
    return found


def as_table(rows: pa.Table | pa.RecordBatch) -> pa.Table:
    """Return ``rows`` as a table."""
    return rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])


def _next_rowid(writer: Writer, info: TableInfo) -> int:
    """Return the identity of the next row of a table without a key, which no row ever had."""
    newest = writer.select(
        definition_of(info).store_table, (ROWID,), order_by=(ROWID,), descending=True, limit=1
    )
    return max(1 + (int(newest[0][0] or 0) if newest else 0), info.next_rowid or 1)


def keep_next_rowid(writer: Writer, info: TableInfo, next_rowid: int) -> None:
    """Let identities go on from ``next_rowid``: one that was a row's is given to no other."""
    values = {"next_rowid": next_rowid}
    writer.update_where(TABLES, values, Compare("=", "table_id", info.table_id))


def insert_rows(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    batches: Iterable[pa.RecordBatch],
    *,
    are_ready: bool = False,
) -> int:
    """Insert ``batches``, which have the table's schema, and return how many rows they had.

    Raises:
        ConstraintError: A key is there already, or twice in the data, or a NOT NULL column is NULL,
            or the rows break another of the table's constraints.
    """
    catalog.refuse_shared(info)
    definition = definition_of(info)
    if not are_ready:
        batches = (ready(catalog, info.name, definition, each) for each in batches)
    references = References(catalog, writer, info)
    inserted = _insert(catalog, writer, info, batches, references)
    references.check()
    return inserted


def _insert(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    batches: Iterable[pa.RecordBatch],
    references: References,
) -> int:
    """Insert rows, and return how many they were; ``references`` take note of them."""
    inserted, is_keyed = 0, bool(definition_of(info).primary_key)
    first = end = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        rowids = None
        if not is_keyed:
            first = first or _next_rowid(writer, info)
            end = end or first
            rowids = range(end, end + batch.num_rows)
        insert_stored(writer, info, as_stored(info, batch, rowids))
        end = writer.last_rowid() + 1 if rowids is None else rowids.stop
        first = first or end - batch.num_rows
        inserted += batch.num_rows
        change = catalog.change(
            info, "insert", rows=batch.num_rows, after=as_table(batch), rowids=rowids or ()
        )
        catalog.announce(writer, change)
        references.add(batch)
    if inserted:
        version = catalog.touch(writer, info, rows=inserted)
        note_changed(writer, info, range(first, end), version)
        if not is_keyed:
            keep_next_rowid(writer, info, end)
    return inserted


def update_rows(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    rowids: Sequence[int],
    before: pa.Table,
    after: pa.Table,
    *,
    columns: Iterable[str] | None = None,
    are_ready: bool = False,
) -> int:
    """Turn ``before`` into ``after``, row by row, and return how many rows there were.

    Both have the table's schema. Columns that are equal in both are not written; ``columns`` are
    those that may differ, all of them by default; generated ones may too.

    Raises:
        ConstraintError: The rows would break one of the table's constraints.
    """
    catalog.refuse_shared(info)
    if not rowids:
        return 0
    if not are_ready:
        after = ready(catalog, info.name, definition_of(info), after, numbered=())
    return change_rows(
        catalog, writer, info, old=Images(rowids, before), new=after, columns=columns
    )  # fmt: skip


def change_rows(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    *,
    gone: Images | None = None,
    old: Images | None = None,
    new: pa.Table | None = None,
    fresh: Iterable[pa.RecordBatch] = (),
    columns: Iterable[str] | None = None,
) -> int:
    """Delete ``gone``, turn ``old`` into ``new`` and insert ``fresh``, which are ready.

    What other rows refer to is asked once all of it is written. ``columns`` are those of ``old``
    that may differ, all of them by default.

    Returns:
        How many rows that were.

    Raises:
        ConstraintError: The rows would break one of the table's constraints, or another's.
    """
    catalog.refuse_shared(info)
    cascade = Cascade(catalog, writer, _Direct(catalog, writer))
    references = References(catalog, writer, info)
    went = [] if gone is None or not gone.rowids else [Gone(info, gone.rows)]
    if old is not None and old.rowids:
        went.append(Gone(info, old.rows, new))
    for each in went:
        cascade.refuse_restricted(each)
    count = 0
    if gone is not None:
        for part in gone.parts():
            _delete(catalog, writer, info, part.rowids, part.rows)
        count += len(gone.rowids)
    if old is not None and old.rowids:
        assert new is not None
        keeps_keys = _keeps_keys(definition_of(info), old.rows, new)
        at = 0
        for part in old.parts() if keeps_keys else [old]:
            now = new.slice(at, len(part.rowids))
            changed = _update(catalog, writer, info, part.rowids, part.rows, now, columns)
            references.add(now, changed)
            at += len(part.rowids)
        count += len(old.rowids)
    count += _insert(catalog, writer, info, fresh, references)
    cascade.run(*went)
    references.check()
    return count


def _keeps_keys(definition: MutableDefinition, before: pa.Table, after: pa.Table) -> bool:
    """Return whether no row has another key, so that none may have one that another had."""
    columns = {name for key in definition.unique_keys for name in key}
    return not any(
        pt.is_floating(definition.types[name]) or not before[name].equals(after[name])
        for name in columns
    )


def _update(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    rowids: Sequence[int],
    before: pa.Table,
    after: pa.Table,
    columns: Iterable[str] | None = None,
) -> list[str]:
    """Turn rows into others, and return the columns that differ."""
    definition = definition_of(info)
    check_not_null(info.name, definition, after)
    written = definition.schema.names if columns is None else columns
    new = {
        column: stored_values(definition, column, after)
        for column in {**dict.fromkeys(written), **definition.rules.generated}
    }
    changed = [c for c, values in new.items() if stored_values(definition, c, before) != values]
    moved = any(set(changed) & set(key) for key in definition.unique_keys)
    table = definition.store_table
    if moved:
        # one row's new key may be another's old one: take all away before any comes back
        writer.delete(table, rowids)
        insert_stored(writer, info, as_stored(info, after, rowids))
    elif changed:
        names = [definition.stored[column] for column in changed]
        writer.update(table, names, zip(*(new[c] for c in changed), rowids, strict=True))
    if changed:
        note_changed(writer, info, rowids, catalog.touch(writer, info))
    change = catalog.change(
        info, "update", rows=len(rowids), before=before, after=after, rowids=rowids
    )
    catalog.announce(writer, change)
    return changed


@dataclass(frozen=True, slots=True)
class _Direct:
    """Writes what a change of other rows brings about."""

    catalog: Catalog
    writer: Writer

    def delete(self, info: TableInfo, rowids: Sequence[int], before: pa.Table) -> None:
        _delete(self.catalog, self.writer, info, rowids, before)

    def update(
        self, info: TableInfo, rowids: Sequence[int], before: pa.Table, after: pa.Table
    ) -> pa.Table:
        after = ready(self.catalog, info.name, definition_of(info), after, numbered=())
        _update(self.catalog, self.writer, info, rowids, before, after)
        return after


def follow_deletion(catalog: Catalog, writer: Writer, info: TableInfo, before: pa.Table) -> None:
    """Do what the deletion of a table's rows, which is announced, brings about in others.

    Raises:
        ConstraintError: A row refers to one of them, and its foreign key does not let it go.
    """
    gone, cascade = Gone(info, before), Cascade(catalog, writer, _Direct(catalog, writer))
    cascade.refuse_restricted(gone)
    cascade.run(gone)


def delete_rows(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    rowids: Sequence[int],
    before: pa.Table,
) -> int:
    """Delete rows, whose images are ``before``, and return how many there were.

    Raises:
        ConstraintError: A row refers to one of them, and its foreign key does not let it go.
    """
    return change_rows(catalog, writer, info, gone=Images(rowids, before))


def _delete(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    rowids: Sequence[int],
    before: pa.Table,
) -> None:
    writer.delete(definition_of(info).store_table, rowids)
    version = catalog.touch(writer, info, rows=-len(rowids))
    note_changed(writer, info, rowids, version)
    change = catalog.change(info, "delete", rows=len(rowids), before=before, rowids=rowids)
    catalog.announce(writer, change)


def upsert_rows(
    catalog: Catalog, writer: Writer, info: TableInfo, rows: pa.Table, *, are_ready: bool = False
) -> int:
    """Insert ``rows``, replacing those with the same primary key, and return how many there were.

    Raises:
        ConstraintError: The table has no primary key, or two rows have the same one.
    """
    definition = definition_of(info)
    key = definition.primary_key
    if not key:
        msg = f"table {info.name!r} has no primary key to upsert by: insert, or declare one"
        raise ConstraintError(msg)
    if not are_ready:
        rows = ready(catalog, info.name, definition, rows)
    check_not_null(info.name, definition, rows)
    at = duplicate_within(definition, key, rows)
    if at is not None:
        msg = f"two rows for table {info.name!r} have {shown_key(key, rows, at)}"
        raise ConstraintError(msg)
    stored = find_rows(writer, info, key, rows)
    keys = key_values(definition, key, rows)
    is_new = np.array([values not in stored for values in keys], dtype=bool)
    old = np.flatnonzero(~is_new)
    rowids = [stored[keys[position]] for position in old]
    before = Images(rowids, rows_by_id(writer, info, rowids)) if rowids else None
    fresh = take_rows(rows, np.flatnonzero(is_new)).to_batches()
    return change_rows(
        catalog, writer, info, old=before, new=take_rows(rows, old), fresh=fresh
    )  # fmt: skip


def every_row(reader: Reader, info: TableInfo) -> pa.Table:
    """Return every row with its ``_rowid``."""
    return read_table(reader, info, [ROWID, *definition_of(info).schema.names])


def truncate(
    catalog: Catalog, writer: Writer, info: TableInfo, found: pa.Table | None = None
) -> int:
    """Delete every row and return how many there were.

    ``found`` is what :func:`every_row` returned, if the table is known to be the same since.
    """
    catalog.refuse_shared(info)
    found = every_row(writer, info) if found is None else found
    rowids, before = identities(found), found.drop_columns([ROWID])
    gone, cascade = Gone(info, before), Cascade(catalog, writer, _Direct(catalog, writer))
    cascade.refuse_restricted(gone)
    deleted = writer.delete_where(definition_of(info).store_table, None)
    catalog.touch(writer, info, rows=-deleted)
    change = catalog.change(info, "truncate", rows=deleted, before=before, rowids=rowids)
    catalog.announce(writer, change)
    cascade.run(gone)
    return deleted
