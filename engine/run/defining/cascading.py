"""DROP ... CASCADE: what goes with tables, views and sequences that go, and would be left without.

Rules:
    - Foreign keys and defaults go, and their tables stay; views go, and those that read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.model.definition import SEQUENCE, VIEW, SqlDefinition
from affidavit.catalog.tables.altering.rules import drop_constraint, set_default
from affidavit.catalog.tables.constraints.links import links_to
from affidavit.catalog.tables.constraints.sequences import defaults_of
from affidavit.catalog.tables.kinds import drop_table
from affidavit.engine.statement.defining.relations import tables_of
from affidavit.errors import SqlError

if TYPE_CHECKING:
    from collections.abc import Collection

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader, Writer


def drop_links(
    catalog: Catalog, writer: Writer, info: TableInfo, among: Collection[TableInfo] | None = None
) -> None:
    """Drop the foreign keys that refer to a table, of the tables ``among``; of all by default."""
    catalog.refuse_shared(info)
    ids = None if among is None else {each.table_id for each in among}
    for child, key in links_to(catalog, writer, info.table_id):
        if child.table_id != info.table_id and (ids is None or child.table_id in ids):
            drop_constraint(catalog, child, key.name, if_exists=True)


def drop_users(catalog: Catalog, writer: Writer, gone: Collection[TableInfo]) -> None:
    """Drop what would be left without tables, views and sequences that are about to go."""
    for info in gone:
        drop_links(catalog, writer, info)
        for other, column in defaults_of(catalog, writer, info) if _numbers(info) else ():
            set_default(catalog, other, column, None)
    for view in views_of(catalog, writer, gone):
        drop_table(catalog, view)


def _numbers(info: TableInfo) -> bool:
    return info.kind == SEQUENCE.name


def views_of(catalog: Catalog, reader: Reader, gone: Collection[TableInfo]) -> list[TableInfo]:
    """Return the tenant's other views that read one of some tables, or a view that does.

    Raises:
        SqlError: What a view reads cannot be told.
    """
    ids = {info.table_id for info in gone}
    left = {
        view.table_id: (view, _read(view.name, view.definition.sql))
        for view in catalog.tables(reader)
        if view.kind == VIEW.name and view.tenant == catalog.tenant and view.table_id not in ids
        and isinstance(view.definition, SqlDefinition)
    }  # fmt: skip
    names = {_name(info) for info in gone}
    found: list[TableInfo] = []
    while True:
        more = [view for view, read in left.values() if names & read]
        if not more:
            return found
        found += more
        names = {_name(view) for view in more}
        for view in more:
            del left[view.table_id]


def _read(view: str, text: str) -> set[tuple[str, str]]:
    try:
        return tables_of(text)
    except SqlError as error:
        msg = f"nobody can tell what view {view!r} reads, which does not parse: drop it first"
        raise SqlError(f"{msg}; {error}") from error


def _name(info: TableInfo) -> tuple[str, str]:
    return info.schema.casefold(), info.name.casefold()
