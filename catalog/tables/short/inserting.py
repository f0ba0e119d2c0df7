"""New rows of plain values, written as they stand.

Rule:
    - Rows, errors, events and versions are those of :func:`~affidavit.catalog.tables.row_writing.
      insert_rows`: what is not plain is inserted by that.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.journal.events import WHOLE, Events
from affidavit.catalog.store.protocol import columns_of
from affidavit.catalog.tables.constraints.keys import refuse_duplicates
from affidavit.catalog.tables.copies.changed import note_changed
from affidavit.catalog.tables.rows import definition_of
from affidavit.catalog.values.python.plain import NotPlainError
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.change import Change
    from affidavit.catalog.model.definition import MutableDefinition, TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.values.python.plain import Row


ROWS_MAX: Final = 64
"""More rows are written faster as columns."""


def plain_rows(
    definition: MutableDefinition, given: Sequence[Mapping[str, Any]]
) -> list[Row] | None:
    """Return rows of a table as they are written; ``None`` if they are not plain, or are many."""
    plain = definition.plain
    if plain is None or not 0 < len(given) <= ROWS_MAX:
        return None
    try:
        return [plain.row(each) for each in given]
    except NotPlainError:
        return None


def insert_plain(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    given: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
) -> int:
    """Insert rows and return how many there were.

    Args:
        catalog: Who writes them.
        writer: The transaction.
        info: The table.
        given: The rows.
        rows: The same as :func:`plain_rows` returned them.

    Raises:
        ConstraintError: A key is there already, or twice in the data.
    """
    definition = definition_of(info)
    plain = definition.plain
    assert plain is not None
    _insert(writer, info, given, rows)
    end, count = writer.last_rowid() + 1, len(rows)
    news = [plain.text(texts) for _, texts in rows]
    ids = names_of_rows(definition, [texts for _, texts in rows])
    none = [None] * count
    events = Events(ids, [WHOLE] * count, ["insert"] * count, none, news)
    change = catalog.change(info, "insert", rows=count, events=events, messages=())
    catalog.announce(writer, _shown(catalog, writer, change, given, definition.schema))
    version = catalog.touch(writer, info, rows=count)
    note_changed(writer, info, range(end - count, end), version)
    return count


def _shown(
    catalog: Catalog,
    writer: Writer,
    change: Change,
    given: Sequence[Mapping[str, Any]],
    schema: pa.Schema,
) -> Change:
    """Return a change with its rows and what triggers send, if anybody wants to see them."""
    look = catalog.look(writer, change)
    if look is None and not catalog.lake.listeners.of(catalog.tenant):
        return change
    after = pa.Table.from_batches([whole_batch(given, schema)])
    if look is None:
        return replace(change, after=after)
    look.see(None, after)
    return replace(change, after=after, messages=look.messages())


def whole_batch(given: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Return plain rows as one batch with every column."""
    arrays = [pa.array([row.get(each.name) for row in given], each.type) for each in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def is_watched(catalog: Catalog, reader: Reader, table_id: str) -> bool:
    """Return whether anybody wants to see the rows of a table as they change."""
    lake = catalog.lake
    if lake.listeners.of(catalog.tenant):
        return True
    return lake.outbox is not None and lake.outbox.has_triggers(reader, table_id)


def _insert(
    writer: Writer, info: TableInfo, given: Sequence[Mapping[str, Any]], rows: Sequence[Row]
) -> None:
    definition = definition_of(info)
    table = definition.store_table
    try:
        with nullcontext() if len(rows) == 1 else writer.savepoint():
            writer.insert(table, columns_of(table), [kept for kept, _ in rows])
    except ConstraintError as error:
        refuse_duplicates(writer, info, whole_batch(given, definition.schema), error)
        raise


def names_of_rows(definition: MutableDefinition, rows: Sequence[Sequence[str]]) -> list[str]:
    """Return what :func:`~affidavit.catalog.journal.events.entity_ids` calls rows with a key.

    ``rows`` are the JSON texts of each.
    """
    places = [definition.schema.get_field_index(name) for name in definition.primary_key]
    if len(places) > 1:
        return [f"[{','.join(texts[at] for at in places)}]" for texts in rows]
    written = [texts[places[0]] for texts in rows]
    return [json.loads(text) if text[0] == '"' else text for text in written]
