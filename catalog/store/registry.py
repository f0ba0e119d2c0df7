"""Which stores there are: how each is opened, by the scheme of the URL that names it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from affidavit.catalog.store.sqlite.store import SqliteStore
from affidavit.catalog.values.python.libraries import require
from affidavit.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.store.protocol import Store, StoreOptions


def _open_sqlite(_url: str | None, options: StoreOptions) -> Store:
    return SqliteStore(
        options.path,
        locks=options.locks,
        durability=options.durability,
        busy_timeout_s=options.busy_timeout_s,
        read_only=options.read_only,
    )


def _open_postgres(url: str | None, options: StoreOptions) -> Store:
    require("psycopg", what="a store in PostgreSQL", extra="postgres-store")
    # only now: whoever has no such lake needs no driver
    postgres = import_module("affidavit.catalog.store.postgres.store")
    opened: Store = postgres.PostgresStore(
        url,
        lake_id=options.lake_id,
        was_made=options.was_made,
        durability=options.durability,
        busy_timeout_s=options.busy_timeout_s,
        read_only=options.read_only,
    )
    return opened


STORES: Final[Mapping[str | None, Callable[[str | None, StoreOptions], Store]]] = {
    None: _open_sqlite,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
}
"""How each scheme's store is opened; ``None`` is no URL at all: SQLite, in the lake's folder."""


def check_store(url: object) -> None:
    """Raise LakeError unless ``url`` is ``None``, or the URL of a kind of store that there is."""
    if url is not None and (not isinstance(url, str) or _scheme(url) not in STORES):
        msg = (
            "store= is not supported by this version of affidavit: leave it out, or give "
            "postgresql://user@host/database?schema=name"
        )
        raise LakeError(msg)


def open_store(url: str | None, options: StoreOptions) -> Store:
    """Open the store of a lake, and bring it to the newest format.

    Raises:
        LakeError: There is no store of this scheme; or it cannot be opened, or is no lake's.
        LakeVersionError: A newer affidavit wrote it.
    """
    check_store(url)
    return STORES[_scheme(url)](url, options)


def _scheme(url: str | None) -> str | None:
    return None if url is None else url.partition(":")[0].lower()
