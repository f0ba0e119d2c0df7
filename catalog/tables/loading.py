"""A load of many rows into a new table: staged in pieces that nobody sees until it is published.

The rows, and then what the journal says of them, are written in many short transactions, so that no
other writer waits for the whole. The table has no name until the last one gives it one.

Rules:
    - All rows are in the store before the first of them is in the journal: a key that stands twice
      leaves nothing there.
    - The event ``create`` is the last one of a load. Before it there is no such table, in the
      present and in the past.
    - An intent names the load from its beginning to its end, and who loads holds the lock named
      after the table. What a crash leaves is removed by who opens the lake next; if the journal has
      events of it, ``abandon`` says that they came to nothing.
    - A load inside a transaction, one of few rows, and one of rows that refer to another table's,
      which nobody may delete meanwhile, is one transaction with its ``create``.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from affidavit.catalog.journal.events import WHOLE, Batch, Event, events_of
from affidavit.catalog.lake.cache import IN_FILE_ROWS_MIN
from affidavit.catalog.lake.spill import spilled
from affidavit.catalog.model import clock
from affidavit.catalog.model.definition import KINDS, MUTABLE, TableInfo
from affidavit.catalog.model.making import create_text
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.tables import INTENTS
from affidavit.catalog.tables.constraints.rows import ready
from affidavit.catalog.tables.constraints.stored import as_stored, insert_stored
from affidavit.catalog.tables.copies.files import stated, with_rowids, written
from affidavit.catalog.tables.intents import LOAD, Intent, abandon, declare
from affidavit.catalog.tables.mutable import create_mutable
from affidavit.catalog.tables.row_writing import (
    as_table,
    insert_rows,
    keep_next_rowid,
)
from affidavit.catalog.tables.rows import definition_of
from affidavit.catalog.values.fit import conform
from affidavit.errors import AffidavitError, TableExistsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.lake.spill import Spilled
    from affidavit.catalog.model.definition import MutableDefinition
    from affidavit.catalog.store.protocol import Writer

STAGED_ROWS_MIN: Final = 20_000
"""A load of fewer rows is one transaction."""

STORED_ROWS: Final = 4_096
"""So many rows are put into the store in one transaction."""

NOTED_ROWS: Final = 2_048
"""So many rows are written down in the journal in one transaction."""


def load_mutable(
    catalog: Catalog, name: str, definition: MutableDefinition, source: Iterable[pa.RecordBatch]
) -> None:
    """Create a mutable table with the rows of ``source``, read and converted with no lock held.

    Raises:
        TableExistsError: The name is taken.
        SchemaMismatchError: A column does not fit.
    """
    with catalog.read() as reader:
        existing = catalog.find(reader, name)
    if existing is not None and existing.tenant == catalog.tenant:  # before anything is read
        raise TableExistsError(name, kind=KINDS[existing.kind].word)
    fitted = (conform(batch, definition.schema, table=name) for batch in source)
    with (
        spilled(catalog.lake, fitted, definition.schema) as rows,
        loaded(catalog, name, definition, rows) as publish,
        catalog.write() as writer,
    ):
        publish(writer)


@contextmanager
def loaded(
    catalog: Catalog,
    name: str,
    definition: MutableDefinition,
    rows: Spilled,
    *,
    schema: str = MAIN_SCHEMA,
) -> Iterator[Callable[[Writer], int]]:
    """Yield what makes a new table of ``rows`` in a transaction, and says how many they are.

    What it has staged is gone after the block if that was not called, or not committed.

    Raises:
        ConstraintError: A key stands twice, or a NOT NULL column has a NULL.
    """
    at_once = rows.num_rows < STAGED_ROWS_MIN or bool(definition.rules.foreign_keys)
    if at_once or catalog.transactions.current() is not None:
        yield partial(_load_at_once, catalog, name, definition, rows, schema)
        return
    info = TableInfo(catalog.tenant, schema, name, MUTABLE.name, definition, 1, 0, None)
    with catalog.lake.store.lock(info.table_id):
        staged = _Staged(catalog, info, rows)
        try:
            staged.begin()
            staged.store()
            staged.note()
            if rows.num_rows < IN_FILE_ROWS_MIN:
                yield staged.publish
                return
            with written(catalog.lake, info, with_rowids(rows)) as place:
                staged.place = place
                yield staged.publish
        finally:
            if not staged.is_published:
                with suppress(AffidavitError):  # then who opens the lake next does it
                    abandon(catalog, staged.intent.intent_id)


def _load_at_once(
    catalog: Catalog,
    name: str,
    definition: MutableDefinition,
    rows: Spilled,
    schema: str,
    writer: Writer,
) -> int:
    info = create_mutable(catalog, writer, name, definition, schema=schema)
    return insert_rows(catalog, writer, info, rows.grouped())


@dataclass(slots=True)
class _Staged:
    """A load that is going on.

    Attributes:
        catalog: Who loads.
        info: What the table will be.
        rows: Its rows.
        intent: What says so to others.
        is_published: Whether everybody sees the table.
        place: Puts the copy of it in its place.
    """

    catalog: Catalog
    info: TableInfo
    rows: Spilled
    intent: Intent = field(init=False)
    is_published: bool = field(init=False, default=False)
    place: Callable[[Writer, int | None], None] = field(init=False, default=lambda *_: None)

    def __post_init__(self) -> None:
        self.intent = Intent(
            uuid4().hex, self.info.table_id, LOAD, marked=False, rows_added=self.rows.num_rows,
            batches=(), messages=(),
        )  # fmt: skip

    def begin(self) -> None:
        """Make the store's table, which nothing names but the intent."""
        with self.catalog.write() as writer:
            declare(writer, self.intent)
            writer.create_table(self.info.definition.store_table)  # type: ignore[union-attr]  # a mutable one

    def store(self) -> None:
        """Put the rows into the store's table."""
        for piece, rowids in self._pieces(STORED_ROWS):
            definition = definition_of(self.info)
            checked = ready(self.catalog, self.info.name, definition, piece)
            stored = as_stored(self.info, checked, rowids)
            with self.catalog.write() as writer:
                insert_stored(writer, self.info, stored)

    def note(self) -> None:
        """Write the rows down, and let listeners know of them."""
        catalog = self.catalog
        with catalog.read() as reader:
            is_kept = catalog.journal.is_kept(reader)
        listeners = catalog.lake.listeners.of(catalog.identity.tenant)
        if not is_kept and not listeners:
            return
        load_id, is_first = f"load-{uuid4().hex}", True
        for piece, rowids in self._pieces(NOTED_ROWS):
            change = catalog.change(
                self.info, "insert", rows=len(piece), after=as_table(piece), rowids=rowids or ()
            )
            batch = self._batch(load_id, events_of(change)) if is_kept else None
            parts = () if batch is None else catalog.journal.hashed(batch)
            with catalog.write() as writer:
                transaction = catalog.transactions.current()
                assert transaction is not None
                if is_first and is_kept:
                    told = json.dumps({"rows": self.rows.num_rows})
                    event = Event(self.info.name, WHOLE, "abandon", None, told)
                    self.intent.tell(writer, self._batch(load_id, [event]))
                catalog.journal.append_hashed(writer, parts, transaction)
                for listener in listeners:
                    listener.on_change(change, writer)
            is_first = False

    def publish(self, writer: Writer) -> int:
        """Give the table its name, in the transaction of ``writer``."""
        catalog, info = self.catalog, self.info
        count = self.rows.num_rows
        made = catalog.define(
            writer, info.name, info.kind, info.definition, schema=info.schema, row_count=count
        )
        keep_next_rowid(writer, info, count + 1)
        told = {"definition": info.definition.to_json(), "sql": create_text(writer, info)}
        catalog.announce(writer, catalog.change(made, "create", **told))
        writer.delete_where(INTENTS, Compare("=", "intent_id", self.intent.intent_id))
        self.place(writer, stated(writer, info))
        transaction = catalog.transactions.current()
        assert transaction is not None
        transaction.on_end(self._ended)
        return count

    def _ended(self, is_committed: bool) -> None:  # noqa: FBT001 - as a transaction says it
        self.is_published = is_committed

    def _batch(self, load_id: str, events: object) -> Batch:
        identity = self.catalog.identity
        return Batch(
            self.info.name, self.info.table_id, identity, clock.now_us(), load_id, events  # type: ignore[arg-type]
        )  # fmt: skip

    def _pieces(self, rows: int) -> Iterator[tuple[pa.RecordBatch, range | None]]:
        """Yield the rows in pieces, with their identities where no key names them."""
        is_keyed = bool(self.info.definition.primary_key)  # type: ignore[union-attr]
        first = 1
        for batch in self.rows.grouped():
            for at in range(0, batch.num_rows, rows):
                piece = batch.slice(at, rows)
                end = first + piece.num_rows
                yield piece, None if is_keyed else range(first, end)
                first = end
