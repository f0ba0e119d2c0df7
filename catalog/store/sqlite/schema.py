"""What a SQLite lake is made of: a new one of what is declared, an older one by steps."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.store.identity import new_lake_id
from affidavit.catalog.store.sqlite.media import closed_media
from affidavit.catalog.store.sqlite.migrations import APPLICATION_ID, FORMAT, MIGRATIONS
from affidavit.catalog.store.sqlite.rendering import insert_text, table_texts
from affidavit.catalog.store.tables import HEADS, LAKE, STORE_TABLES
from affidavit.errors import LakeError, LakeVersionError

if TYPE_CHECKING:
    from pathlib import Path


_MOVED: Final = "this lake was moved to another store: open it with store="

MOVED_TEXTS: Final = {
    f"moved_{verb.lower()}": f'CREATE TRIGGER "moved_{verb.lower()}" BEFORE {verb} ON {HEADS.name}'
    f" BEGIN SELECT RAISE(ABORT, '{_MOVED}'); END"
    for verb in ("INSERT", "UPDATE", "DELETE")
}
"""The triggers of a store whose lake was moved, by their names.

Whoever has it open still, of whatever version, meets them at the next commit: each signs a head.
"""


def close_moved(connection: sqlite3.Connection) -> None:
    """Let nobody sign for anything in this store any more; part of an open transaction."""
    for text in MOVED_TEXTS.values():
        connection.execute(text)


def is_moved(connection: sqlite3.Connection) -> bool:
    """Return whether a store's lake was moved to another one."""
    text = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name = 'moved_insert'"
    return bool(connection.execute(text).fetchone()[0])


def migrate(connection: sqlite3.Connection, path: str, *, read_only: bool) -> None:
    """Bring the store behind ``connection`` to :data:`FORMAT`, in one transaction.

    Raises:
        LakeVersionError: A newer affidavit wrote it.
        LakeError: It is some other program's database, or was never finished and is read-only.
    """
    if _is_current(connection, path):
        return
    if read_only and _format(connection):
        msg = (
            f"the lake at {path!r} has format {_format(connection)}: open it to write once, or a "
            f"copy of it where it cannot be written, which brings it to format {FORMAT}"
        )
        raise LakeError(msg)
    if read_only:
        msg = f"there is no lake of format {FORMAT} at {path!r}, and it was opened read-only"
        raise LakeError(msg)
    connection.execute("PRAGMA journal_mode = WAL")  # kept in the file from here on
    connection.execute("BEGIN IMMEDIATE")
    try:
        # another process may have done it while this one waited
        if not _is_current(connection, path):
            found = _format(connection)
            if found:
                _step_on(connection, found)
            else:
                _create(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def is_store(path: Path) -> bool:
    """Return whether a file is the store of a lake, whatever it is called."""
    with suppress(sqlite3.Error):  # then it is none to be read
        return _is_marked(path)
    return False


def may_be_store(path: Path) -> bool:
    """Return whether a file is the store of a lake, or cannot be opened now to be told from one."""
    with suppress(sqlite3.DatabaseError):  # such as: file is not a database
        try:
            return _is_marked(path)
        except sqlite3.OperationalError:
            return True
    return False


def _is_marked(path: Path) -> bool:
    media = closed_media(path)
    with suppress(LakeError), ExitStack() as stack:  # then it is none to be read
        address = f"{path.resolve().as_uri()}?mode=ro"
        if media is not None:
            stack.callback(media.close)
            address = media.address(media.state())
        opened = stack.enter_context(closing(sqlite3.connect(address, uri=True)))
        return _owner(opened) == APPLICATION_ID
    return False


def _create(connection: sqlite3.Connection) -> None:
    for table in STORE_TABLES:
        for text in table_texts(table):
            connection.execute(text)
    connection.execute(insert_text(LAKE, ["lake_id"], SHARED), (new_lake_id(),))


def _step_on(connection: sqlite3.Connection, found: int) -> None:
    for step in MIGRATIONS[found:]:
        for statement in step:
            connection.execute(statement)


def _owner(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_current(connection: sqlite3.Connection, path: str) -> bool:
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if tables and _owner(connection) != APPLICATION_ID:
        msg = f"{path!r} is a SQLite database that affidavit did not write: choose another folder"
        raise LakeError(msg)
    found = _format(connection)
    if found > FORMAT:
        raise LakeVersionError(path, found=found, supported=FORMAT)
    return found == FORMAT
