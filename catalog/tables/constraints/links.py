"""Which tables refer to which: an index over the foreign keys that definitions have.

Rules:
    - A foreign key has one row in the store's table of links, from when its table is defined until
      that is dropped, or the key is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.model.definition import MutableDefinition
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.tables import LINKS
from affidavit.errors import ConstraintError

if TYPE_CHECKING:
    from collections.abc import Collection

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.model.rules import ForeignKey
    from affidavit.catalog.store.protocol import Reader, Writer


def links_to(catalog: Catalog, reader: Reader, table_id: str) -> list[tuple[TableInfo, ForeignKey]]:
    """Return each foreign key that refers to a table, with the table whose it is."""
    rows = reader.select(LINKS, ("table_id", "name"), Compare("=", "refers_to", table_id))
    found = []
    for child_id, name in rows:
        child = catalog.by_id(reader, str(child_id))
        if child is not None and isinstance(child.definition, MutableDefinition):
            found += [(child, k) for k in child.definition.rules.foreign_keys if k.name == name]
    return found


def refuse_referred(
    catalog: Catalog, reader: Reader, info: TableInfo, key: Collection[str] | None = None
) -> None:
    """Raise ConstraintError if another table refers to one, or to one of its keys."""
    for child, found in links_to(catalog, reader, info.table_id):
        if key is not None and set(key) != set(found.key):
            continue
        if key is None and child.table_id == info.table_id:
            continue
        msg = (
            f"table {info.name!r} is referred to by foreign key {found.name!r} of table "
            f"{child.name!r}: ALTER TABLE {child.name} DROP CONSTRAINT {found.name}, or DROP TABLE "
            "... CASCADE"
        )
        raise ConstraintError(msg)


def link(writer: Writer, table_id: str, definition: MutableDefinition) -> None:
    """Write down to which tables a table refers now."""
    if writer.count(LINKS, Compare("=", "table_id", table_id)):
        unlink(writer, table_id)
    rows = [(table_id, key.name, key.table_id) for key in definition.rules.foreign_keys]
    if rows:
        writer.insert(LINKS, ("table_id", "name", "refers_to"), rows)


def unlink(writer: Writer, table_id: str) -> None:
    """Forget to which tables a table referred."""
    writer.delete_where(LINKS, Compare("=", "table_id", table_id))
