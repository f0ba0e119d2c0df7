"""What a DML statement writes, once its plan has run.

Rules:
    - No plan runs while the store's write lock is held, but where the caller's transaction holds it
      anyway, and in the last of several attempts.
    - What is written is checked first, in the transaction that writes it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import pyarrow as pa

from affidavit.catalog.tables.row_writing import (
    Images,
    change_rows,
    every_row,
    insert_rows,
    truncate,
)
from affidavit.catalog.tables.vector_rows import (
    delete_vectors,
    insert_vectors,
    locked,
    merge_vectors,
    vector_definition,
)
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import lance

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.lake.spill import Spilled
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Writer
    from affidavit.engine.run.writing.still import Still

WRITING: Final = "writing a vector table"


class Writes(Protocol):
    """Writes to a target: one call a statement, which is all of it or nothing.

    Raises:
        MovedError: What was read is no longer so; nothing was written.
    """

    def insert(self, rows: Spilled) -> int:
        """Insert rows."""

    def update(self, old: Images, new: pa.Table, columns: Iterable[str]) -> int:
        """Replace rows, of which only ``columns`` may differ."""

    def delete(self, old: Images) -> int:
        """Delete rows."""

    def upsert(self, old: Images, new: pa.Table, fresh: pa.Table) -> int:
        """Replace rows and insert others."""

    def merge(self, gone: Images, old: Images, new: pa.Table, fresh: pa.Table) -> int:
        """Delete ``gone``, turn ``old`` into ``new`` and insert ``fresh``, all at once."""

    def truncate(self) -> int:
        """Delete every row."""


class RowWrites:
    """Writes to a mutable table; the rows are complete and checked for its definition.

    Args:
        catalog: Who writes.
        info: The table, as it was read.
        still: What must be so still.
        end_reading: Closes the snapshot at which it was read. SQLite's log cannot begin anew while
            one is open, and would grow with every statement.
        writer: The transaction in which it was read, if it was: then it is so.
    """

    def __init__(
        self,
        catalog: Catalog,
        info: TableInfo,
        still: Still,
        end_reading: Callable[[], None],
        writer: Writer | None = None,
    ) -> None:
        self._catalog = catalog
        self._info = info
        self._still = still
        self._end_reading = end_reading
        self._writer = writer

    @contextmanager
    def _opened(self) -> Iterator[tuple[Writer, TableInfo]]:
        if self._writer is not None:
            yield self._writer, self._info
            return
        self._end_reading()
        with self._catalog.write() as writer:
            yield writer, self._still.check(writer)

    def insert(self, rows: Spilled) -> int:
        """Insert rows."""
        if not rows.num_rows:
            return 0
        batches = rows.grouped() if rows.is_in_file else list(rows.grouped())
        with self._opened() as (writer, info):
            return insert_rows(self._catalog, writer, info, batches, are_ready=True)

    def update(self, old: Images, new: pa.Table, columns: Iterable[str]) -> int:
        """Replace rows, of which only ``columns`` may differ."""
        if not old.rowids:
            return 0
        with self._opened() as (writer, info):
            count = change_rows(self._catalog, writer, info, old=old, new=new, columns=columns)
            del old, new  # what is committed is sealed, which takes memory of its own
        return count

    def delete(self, old: Images) -> int:
        """Delete rows."""
        if not old.rowids:
            return 0
        with self._opened() as (writer, info):
            count = change_rows(self._catalog, writer, info, gone=old)
            del old
        return count

    def upsert(self, old: Images, new: pa.Table, fresh: pa.Table) -> int:
        """Replace rows and insert others."""
        if not old.rowids and not fresh.num_rows:
            return 0
        batches = fresh.combine_chunks().to_batches()
        with self._opened() as (writer, info):
            return change_rows(self._catalog, writer, info, old=old, new=new, fresh=batches)

    def merge(self, gone: Images, old: Images, new: pa.Table, fresh: pa.Table) -> int:
        """Delete ``gone``, turn ``old`` into ``new`` and insert ``fresh``, all at once."""
        if not gone.rowids:
            return self.upsert(old, new, fresh)
        batches = fresh.combine_chunks().to_batches()
        with self._opened() as (writer, info):
            return change_rows(
                self._catalog, writer, info, gone=gone, old=old, new=new, fresh=batches
            )  # fmt: skip

    def truncate(self) -> int:
        """Delete every row."""
        if self._writer is not None:
            return truncate(self._catalog, self._writer, self._info)
        snapshot = self._still.snapshot
        snapshot.note_present(self._info)
        found = every_row(snapshot.reader, self._info)
        with self._opened() as (writer, info):
            return truncate(self._catalog, writer, info, found)


class VectorWrites:
    """Writes to a vector table.

    Args:
        catalog: Who writes.
        info: The table, as it was read.
        dataset: Its version, as it was read.
        still: What must be so still.
        end_reading: Closes the snapshot at which it was read.
        is_locked: Whether the table's lock is held since before it was read.
    """

    def __init__(
        self,
        catalog: Catalog,
        info: TableInfo,
        dataset: lance.LanceDataset,
        still: Still,
        end_reading: Callable[[], None],
        *,
        is_locked: bool,
    ) -> None:
        self._catalog = catalog
        self._info = info
        self._dataset = dataset
        self._still = still
        self._end_reading = end_reading
        self._is_locked = is_locked

    @contextmanager
    def _opened(self) -> Iterator[tuple[TableInfo, lance.LanceDataset]]:
        self._end_reading()
        if self._is_locked:
            yield self._info, self._dataset
            return
        with locked(self._catalog, self._info, WRITING) as (now, dataset):
            self._still.check_dataset(now, dataset, self._dataset)
            yield now, dataset

    def insert(self, rows: Spilled) -> int:
        """Insert rows."""
        if not rows.num_rows:
            return 0
        check = self._still.check_others
        with self._opened() as (info, dataset):
            stream = pa.RecordBatchReader.from_batches(rows.schema, rows.grouped())
            return insert_vectors(self._catalog, info, dataset, stream, check=check)

    def update(self, old: Images, new: pa.Table, columns: Iterable[str]) -> int:  # noqa: ARG002 - Lance writes whole rows
        """Replace rows."""
        self._refuse_new_keys(old.rows, new)
        if new.num_rows:
            self._merge(new, insert=False)
        return new.num_rows

    def delete(self, old: Images) -> int:
        """Delete rows."""
        if not old.rows.num_rows:
            return 0
        check = self._still.check_others
        with self._opened() as (info, dataset):
            return delete_vectors(self._catalog, info, dataset, old.rows, check=check)

    def upsert(self, old: Images, new: pa.Table, fresh: pa.Table) -> int:
        """Replace rows and insert others."""
        self._refuse_new_keys(old.rows, new)
        if new.num_rows or fresh.num_rows:
            self._merge(new, fresh=fresh)
        return new.num_rows + fresh.num_rows

    def merge(self, gone: Images, old: Images, new: pa.Table, fresh: pa.Table) -> int:
        """Delete ``gone``, turn ``old`` into ``new`` and insert ``fresh``, all at once."""
        self._refuse_new_keys(old.rows, new)
        if not (gone.rows.num_rows or new.num_rows or fresh.num_rows):
            return 0
        return self._merge(new, fresh=fresh, deleted=gone.rows)

    def _merge(
        self,
        new: pa.Table,
        *,
        insert: bool = True,
        fresh: pa.Table | None = None,
        deleted: pa.Table | None = None,
    ) -> int:
        check = self._still.check_others
        with self._opened() as (info, dataset):
            return merge_vectors(
                self._catalog, info, dataset, new, insert=insert, fresh=fresh, deleted=deleted,
                check=check,
            )  # fmt: skip

    def truncate(self) -> int:
        """Delete every row."""
        self._still.snapshot.note_present(self._info)
        return self.delete(Images([], self._dataset.to_table()))

    def _refuse_new_keys(self, before: pa.Table, after: pa.Table) -> None:
        key = vector_definition(self._info).key
        if before[key] != after[key]:
            msg = (
                f"{key!r} is the key of vector table {self._info.name!r} and cannot be updated: "
                "delete the row and insert it again"
            )
            raise ConstraintError(msg)
