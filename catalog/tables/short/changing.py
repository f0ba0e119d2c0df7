"""A row of plain values changed or deleted by its key, without Arrow.

Rule:
    - Rows, events and versions are those of :func:`~affidavit.catalog.tables.row_writing.
      change_rows`: what is not plain, refers or is referred to, or is to be shown to others, is
      changed by that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from affidavit.catalog.journal.events import WHOLE, Events
from affidavit.catalog.sql.predicate import And, Compare
from affidavit.catalog.store.protocol import ROWID, columns_of
from affidavit.catalog.store.tables import LINKS
from affidavit.catalog.tables.copies.changed import note_changed
from affidavit.catalog.tables.rows import definition_of
from affidavit.catalog.tables.short.inserting import is_watched, names_of_rows
from affidavit.catalog.values.python.plain import NotPlainError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.values.types import StoreValue


@dataclass(frozen=True, slots=True)
class Found:
    """A row that stands in the store.

    Attributes:
        rowid: Its identity.
        kept: Its values, as they stand there.
        texts: The same as JSON texts.
    """

    rowid: int
    kept: tuple[StoreValue, ...]
    texts: tuple[str, ...]


def find_plain(reader: Reader, info: TableInfo, key: Mapping[str, int | str]) -> Found | None:
    """Return the row of a whole key; ``None`` if there is none.

    Raises:
        NotPlainError: It is not plain.
    """
    definition = definition_of(info)
    plain, table = definition.plain, definition.store_table
    if plain is None:
        raise NotPlainError
    stored = ((definition.stored[name], plain.value(name, key[name])[0]) for name in key)
    where = And(tuple(Compare("=", column, value) for column, value in stored))
    rows = reader.select(table, (ROWID, *columns_of(table)), where)
    if not rows:
        return None
    rowid, *kept = rows[0]
    if len(rows) > 1 or not isinstance(rowid, int):
        raise NotPlainError
    return Found(rowid, tuple(kept), plain.told(kept))


def update_plain(
    catalog: Catalog,
    writer: Writer,
    info: TableInfo,
    old: Found,
    new: Mapping[str, tuple[StoreValue, str]],
) -> None:
    """Give columns of a row, none of which is of a unique key, other values.

    Raises:
        NotPlainError: Others see the rows; nothing is done.
    """
    if is_watched(catalog, writer, info.table_id):
        raise NotPlainError
    definition = definition_of(info)
    names = definition.schema.names
    places = [at for at, name in enumerate(names) if name in new]
    moved = [at for at in places if new[names[at]][0] != old.kept[at]]
    if moved:
        table = definition.store_table
        values = [new[names[at]][0] for at in moved]
        columns = [definition.stored[names[at]] for at in moved]
        writer.update(table, columns, [(*values, old.rowid)])
        note_changed(writer, info, [old.rowid], catalog.touch(writer, info))
    told = [at for at in moved if new[names[at]][1] != old.texts[at]]
    events = Events(
        names_of_rows(definition, [old.texts]) * len(told), [names[at] for at in told],
        ["update"] * len(told), [old.texts[at] for at in told],
        [new[names[at]][1] for at in told],
    )  # fmt: skip
    _announce(catalog, writer, info, "update", old.rowid, events)


def delete_plain(catalog: Catalog, writer: Writer, info: TableInfo, old: Found) -> None:
    """Delete a row.

    Raises:
        NotPlainError: Others see the rows, or refer to them; nothing is done.
    """
    refers = Compare("=", "refers_to", info.table_id)
    if is_watched(catalog, writer, info.table_id) or writer.count(LINKS, refers):
        raise NotPlainError
    definition = definition_of(info)
    plain = definition.plain
    assert plain is not None
    writer.delete(definition.store_table, [old.rowid])
    note_changed(writer, info, [old.rowid], catalog.touch(writer, info, rows=-1))
    ids, text = names_of_rows(definition, [old.texts]), plain.text(old.texts)
    _announce(
        catalog, writer, info, "delete", old.rowid, Events(ids, [WHOLE], ["delete"], [text], [None])
    )


def _announce(
    catalog: Catalog, writer: Writer, info: TableInfo, action: str, rowid: int, events: Events
) -> None:
    change = catalog.change(info, action, rows=1, rowids=[rowid], events=events, messages=())
    catalog.announce(writer, change)
