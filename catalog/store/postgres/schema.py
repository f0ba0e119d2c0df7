"""What a lake's schema is made of, and whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg.errors import InsufficientPrivilege

from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.quoting import quoted, quoted_text
from affidavit.catalog.store.identity import new_lake_id
from affidavit.catalog.store.postgres.keys import lock_key
from affidavit.catalog.store.postgres.rendering import insert_text, table_texts
from affidavit.catalog.store.tables import LAKE, STORE_TABLES
from affidavit.errors import LakeError, LakeVersionError

if TYPE_CHECKING:
    from psycopg import Connection

    from affidavit.catalog.store.postgres.address import Address

FORMAT_TABLE: Final = "store_format"
"""One row: the format of the schema, and whose it is."""
PLACES_TABLE: Final = "store_places"
"""The counters whose places are given once."""
DROPPED_TABLE: Final = "store_dropped"
"""Tables that are forgotten, and dropped once nobody reads the state of before."""

OWN_TABLES: Final = frozenset({FORMAT_TABLE, PLACES_TABLE, DROPPED_TABLE})

OWN_TEXTS: Final = (
    f"CREATE TABLE {FORMAT_TABLE} (format bigint NOT NULL, program text NOT NULL)",
    f"CREATE TABLE {PLACES_TABLE} (counter bytea PRIMARY KEY, next bigint NOT NULL)",
    f"CREATE TABLE {DROPPED_TABLE} (name text NOT NULL, dropped xid8 NOT NULL)",
)

PROGRAM: Final = "affidavit"
"""How a schema says that it is a lake's."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = ()
"""Each step takes format ``n + 1`` to ``n + 2``; the first there was is 1. Steps are only added."""

FORMAT: Final = 1 + len(MIGRATIONS)


def prepare(
    connection: Connection[Any],
    address: Address,
    lake_id: str | None,
    *,
    was_made: bool,
    read_only: bool,
) -> None:
    """Make the schema a lake's, or see that it is: this one's, if ``lake_id`` says which.

    Raises:
        LakeVersionError: A newer affidavit wrote it.
        LakeError: It is another lake's or another program's; it is not there, and may not be made;
            or the server takes no writes, and is to be written.
    """
    if not read_only:
        _refuse_unwritable(connection, address)
    if not _is_current(connection, address):
        if read_only:
            found = _format(connection, address)
            there = f"has format {found}: open it to write once" if found else "has no lake"
            msg = f"the schema of {address.shown} {there}, and it was opened read-only"
            raise LakeError(msg)
        if was_made and not _format(connection, address):
            msg = (
                f"the schema of {address.shown} has no lake, and this folder's lake was made: "
                "correct ?schema=NAME, or restore the schema"
            )
            raise LakeError(msg)
        _bring_up(connection, address, lake_id)
    if lake_id is not None:
        _refuse_other(connection, address, lake_id)


def is_closed(connection: Connection[Any]) -> bool:
    """Return whether nothing can be written where a connection leads."""
    text = "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
    return bool(connection.execute(text).fetchone()[0])


def _refuse_unwritable(connection: Connection[Any], address: Address) -> None:
    if is_closed(connection):
        msg = (
            f"{address.shown} takes no writes, as a standby or a read-only database does: connect "
            "to the primary, or open the lake with read_only=True"
        )
        raise LakeError(msg)


def _bring_up(connection: Connection[Any], address: Address, lake_id: str | None) -> None:
    connection.execute("BEGIN")
    try:
        connection.execute(f"SELECT pg_advisory_xact_lock({lock_key(address.schema, 'make')})")
        if not _is_current(connection, address):  # another may have done it meanwhile
            found = _format(connection, address)
            if found:
                _step_on(connection, found)
            else:
                _create(connection, address, lake_id or new_lake_id())
        connection.execute("COMMIT")
    except InsufficientPrivilege as error:
        connection.execute("ROLLBACK")
        msg = (
            f"the role of {address.shown} may not make the schema: have its owner run CREATE "
            f"SCHEMA {address.schema} AUTHORIZATION of that role"
        )
        raise LakeError(msg) from error
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _create(connection: Connection[Any], address: Address, lake_id: str) -> None:
    there = f"SELECT 1 FROM pg_namespace WHERE nspname = {quoted_text(address.schema)}"
    if connection.execute(there).fetchone() is None:
        connection.execute(f"CREATE SCHEMA {quoted(address.schema)}")
    declared = (text for table in STORE_TABLES for text in table_texts(table))
    connection.execute("; ".join((*OWN_TEXTS, *declared)))
    connection.execute(insert_text(LAKE, ["lake_id"]), [SHARED, lake_id])
    connection.execute(f"INSERT INTO {FORMAT_TABLE} VALUES ({FORMAT}, {quoted_text(PROGRAM)})")


def _step_on(connection: Connection[Any], found: int) -> None:
    for step in MIGRATIONS[found - 1 :]:
        for text in step:
            connection.execute(text)
    connection.execute(f"UPDATE {FORMAT_TABLE} SET format = {FORMAT}")


def _relations(connection: Connection[Any], address: Address) -> set[str]:
    text = f"""SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = {quoted_text(address.schema)}"""
    return {name for (name,) in connection.execute(text).fetchall()}


def _format(connection: Connection[Any], address: Address) -> int:
    """Return the format of a lake's schema; 0 for one that has nothing, or is not there.

    Raises:
        LakeError: It has something, and is no lake's.
    """
    there = _relations(connection, address)
    found: list[Any] = []
    if FORMAT_TABLE in there:
        found = connection.execute(f"SELECT format, program FROM {FORMAT_TABLE}").fetchall()
    if there and [program for _, program in found] != [PROGRAM]:
        msg = (
            f"the schema of {address.shown} has tables that are no lake's: name another one, as "
            "?schema=NAME"
        )
        raise LakeError(msg)
    return int(found[0][0]) if found else 0


def _is_current(connection: Connection[Any], address: Address) -> bool:
    found = _format(connection, address)
    if found > FORMAT:
        raise LakeVersionError(address.shown, found=found, supported=FORMAT)
    return found == FORMAT


def _refuse_other(connection: Connection[Any], address: Address, lake_id: str) -> None:
    text = f"SELECT lake_id FROM {quoted(LAKE.name)}"
    found = [bytes(value).decode() for (value,) in connection.execute(text).fetchall()]
    if found != [lake_id]:
        msg = (
            f"the schema of {address.shown} is another lake's than this folder: each lake has a "
            "folder and a schema of its own, so correct the path or ?schema=NAME"
        )
        raise LakeError(msg)
