"""Which kinds of source a URL may name: a row each.

To add a kind of database, write its driver as a module of the room ``drivers`` (what one does is
said in ``databases/driver.py``), and add its row to :data:`KINDS`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from affidavit.catalog.sources.databases.database import Database
from affidavit.catalog.sources.drivers.duckdb import DuckDb
from affidavit.catalog.sources.drivers.mariadb import MariaDb
from affidavit.catalog.sources.drivers.postgres import Postgres
from affidavit.catalog.sources.drivers.sqlite import Sqlite
from affidavit.catalog.sources.lake import AttachedLake
from affidavit.catalog.sources.url import path_url, server_url, split_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.sources.databases.driver import Driver
    from affidavit.catalog.sources.url import SourceUrl

PASSWORD_VARIABLE: Final = "AFFIDAVIT_PASSWORD_"  # noqa: S105 - where one is, and none itself
"""The environment variable of a source's password begins so, and ends in its name in capitals."""

_MASK: Final = "***"


class At(Enum):
    """What a URL leads to."""

    SERVER = "server"
    FILE = "file"
    FOLDER = "folder"


class Open(Protocol):
    """How a source is opened."""

    def __call__(
        self, name: str, url: SourceUrl, password: str | None, tenant: str
    ) -> Database | AttachedLake:
        """Return a source, which is connected to when it is first asked.

        Args:
            name: What it is attached as.
            url: Where it is.
            password: The password that was given, if one was.
            tenant: Who attaches it.
        """


@dataclass(frozen=True, slots=True)
class SourceKind:
    """One kind of source.

    Attributes:
        schemes: How its URLs may begin.
        at: What they lead to.
        open: Opens one.
        options: What may be given beside the URL.
    """

    schemes: tuple[str, ...]
    at: At
    open: Open
    options: tuple[str, ...] = ("password",)


def _database(drive: Callable[[SourceUrl, str | None], Driver]) -> Open:
    """Return how a kind of database is opened, given how its driver is made."""

    def opened(name: str, url: SourceUrl, password: str | None, tenant: str) -> Database:  # noqa: ARG001 - a database knows no tenants
        secret = password or url.password or os.environ.get(PASSWORD_VARIABLE + name.upper())

        def hide(text: str) -> str:
            forms = {secret, quote(secret, safe=""), secret.replace("}", "}}")} if secret else ()
            for each in forms:
                text = text.replace(each, _MASK)
            return text

        return Database(name, url.plain, drive(url, secret), hide)

    return opened


def _lake(name: str, url: SourceUrl, password: str | None, tenant: str) -> AttachedLake:  # noqa: ARG001 - it takes none
    return AttachedLake(name, url.path, tenant)


_POSTGRES: Final = SourceKind(
    ("postgresql", "postgres"), At.SERVER,
    _database(lambda url, secret: Postgres(url.plain, secret)),
)  # fmt: skip
KINDS: Final = (
    _POSTGRES,
    SourceKind(
        ("mysql", "mariadb"), At.SERVER, _database(lambda url, secret: MariaDb(url.plain, secret))
    ),
    SourceKind(("duckdb",), At.FILE, _database(lambda url, _: DuckDb(url.path))),
    SourceKind(("sqlite",), At.FILE, _database(lambda url, _: Sqlite(url.path))),
    SourceKind(("lake",), At.FOLDER, _lake, options=()),
)
_BY_SCHEME: Final = {scheme: kind for kind in KINDS for scheme in kind.schemes}


def is_source_url(given: object) -> bool:
    """Return whether what is to be attached is the URL of a database or lake."""
    return isinstance(given, str) and given.partition("://")[0].lower() in _BY_SCHEME


def kind_of(scheme: str) -> SourceKind:
    """Return the kind of source that a scheme names.

    What a newer affidavit attached is handed to PostgreSQL's driver, which refuses it by name once
    it is asked: a session opens without it.
    """
    return _BY_SCHEME.get(scheme, _POSTGRES)


def parse_url(url: str) -> SourceUrl:
    """Return where a URL says that a source is.

    Raises:
        SourceError: It cannot be read; what it says is not repeated.
    """
    parts = split_url(url)
    at_server = kind_of(parts.scheme).at is At.SERVER
    return server_url(parts) if at_server else path_url(parts.scheme, url)


def open_source(
    name: str, url: SourceUrl, password: str | Callable[[], str] | None, tenant: str
) -> Database | AttachedLake:
    """Return a database or lake, which is connected to when it is first asked."""
    given = password() if callable(password) else password
    return kind_of(url.scheme).open(name, url, given, tenant)
