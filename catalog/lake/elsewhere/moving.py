"""Moving a lake's store from its folder to PostgreSQL.

Rules:
    - Nobody writes meanwhile: the store's write lock is held from the first row to the last word.
    - Every row is compared, there and here, before the folder says that its store lies elsewhere.
      Where one differs, or anything fails, what was made is removed and the lake is as it was.
    - What was in the folder stays to be read, and refuses whoever wants to write it.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from affidavit.catalog.lake.covered import COVERED, covered_tables
from affidavit.catalog.lake.elsewhere.said import Elsewhere, find_elsewhere, say_elsewhere
from affidavit.catalog.lake.folders import Folders
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.store.identity import lake_id
from affidavit.catalog.store.protocol import ROWID, StoreOptions, columns_of, own
from affidavit.catalog.store.registry import open_store
from affidavit.catalog.store.sqlite.store import SqliteStore
from affidavit.catalog.store.tables import LAKE, STORE_TABLES
from affidavit.errors import LakeError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from affidavit.catalog.store.protocol import Reader, Store, StoreTable, Writer

_MOVED: Final = tuple(table for table in STORE_TABLES if table is not LAKE)


def move_store(path: str | os.PathLike[str], url: str) -> int:
    """Move the store of a lake to the schema that ``url`` names, and return how many rows it has.

    Raises:
        LakeError: The lake's store is elsewhere already, or the schema has a lake; or what came
            there is not what was here.
        StoreBusyError: Somebody writes the lake, and did for the whole timeout.
    """
    folders = Folders(path)
    folders.check_there()
    if find_elsewhere(folders.path) is not None:
        msg = f"the store of the lake at {str(folders.path)!r} lies elsewhere already"
        raise LakeError(msg)
    source = SqliteStore(folders.catalog, locks=folders.locks)
    try:
        with source.moving() as (writer, close):
            identity = lake_id(writer)
            options = StoreOptions(folders.catalog, folders.locks, lake_id=identity)
            target = open_store(url, options)
            try:
                rows = _copy(source, target)
            finally:
                target.close()
            # whoever opens the lake from here on is sent there; whoever has it open, by ``close``
            if not say_elsewhere(folders.path, Elsewhere(identity, was_made=True, was_moved=True)):
                msg = "somebody else moved this lake just now"
                raise LakeError(msg)
            close()
    finally:
        source.close()
    return rows


def _copy(source: SqliteStore, target: Store) -> int:
    """Copy what each tenant has, and compare it."""
    rows = 0
    tenants = sorted({each for table in _MOVED for each in source.tenants(table)} | {SHARED})
    if any(target.tenants(table) for table in _MOVED):
        msg = "the schema has a lake already, or half of one that was to be moved: drop it first"
        raise LakeError(msg)
    for tenant in tenants:
        with source.read(tenant) as reader:
            with target.write(tenant) as writer:
                for table in _tables(reader, tenant):
                    _copy_table(reader, writer, table, tenant)
            with target.read(tenant) as there:
                for table in _tables(reader, tenant):
                    rows += _compare(reader, there, table, tenant)
    for counter, following in source.places().items():
        target.take_places(counter, 0, following)
    return rows


def _tables(reader: Reader, tenant: str) -> Iterator[StoreTable]:
    """Yield the tables in which a tenant may have rows."""
    yield from _MOVED
    yield from (table for table in covered_tables(reader, tenant) if table not in COVERED)


def _copy_table(reader: Reader, writer: Writer, table: StoreTable, tenant: str) -> None:
    if table not in STORE_TABLES:
        writer.create_table(table)
    columns = [ROWID, *columns_of(table)]
    for part in reader.rows(table, columns, own(tenant)):
        writer.insert(table, columns, part)


def _compare(reader: Reader, there: Reader, table: StoreTable, tenant: str) -> int:
    """Return how many rows of a tenant's a table has; LakeError unless both have the same."""
    columns, count = [ROWID, *columns_of(table)], 0
    pairs = zip_longest(
        reader.rows(table, columns, own(tenant)), there.rows(table, columns, own(tenant))
    )
    for here, came in pairs:
        if here != came:
            msg = (
                f"{table.name} did not come as it was: the lake is left where it is; drop the "
                "schema, and look into what its server did"
            )
            raise LakeError(msg)
        count += len(here)
    return count
