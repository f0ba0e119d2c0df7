"""Which kinds of source a URL may name: a row each.

To add a kind of database, write its driver as a module of the room ``drivers`` (what one does is
said in ``databases/driver.py``), and add its row to :data:`KINDS`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from affidavit.catalog.sources.buckets.services import SERVICES
from affidavit.catalog.sources.choices import NUMERIC, ON_BAD_VALUE, split_choices
from affidavit.catalog.sources.databases.database import Database
from affidavit.catalog.sources.drivers import libpq, odbc
from affidavit.catalog.sources.drivers.duckdb import DuckDb
from affidavit.catalog.sources.drivers.mariadb import MariaDb
from affidavit.catalog.sources.drivers.postgres import Postgres
from affidavit.catalog.sources.drivers.sqlite import Sqlite
from affidavit.catalog.sources.lake import AttachedLake
from affidavit.catalog.sources.url import path_url, server_url, split_url
from affidavit.catalog.sql.names import DEFAULT_TENANT
from affidavit.errors import PathNotAllowedError, SourceError
from affidavit.screen import MASK

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.sources.address import Wanted
    from affidavit.catalog.sources.databases.driver import Driver
    from affidavit.catalog.sources.reach import Reach
    from affidavit.catalog.sources.url import SourceUrl

PASSWORD_VARIABLE: Final = "AFFIDAVIT_PASSWORD_"  # noqa: S105 - where one is, and none itself
"""The environment variable of a source's password begins so, and ends in its name in capitals.

That is the default tenant's; another's ends in two underscores and the tenant as well. What such a
variable and ``_HOST`` together name is the only host that the password is sent to.
"""


class At(Enum):
    """What a URL leads to."""

    SERVER = "server"
    FILE = "file"
    FOLDER = "folder"


class Open(Protocol):
    """How a source is opened."""

    def __call__(self, asked: Asked) -> Database | AttachedLake:
        """Return a source, which is connected to when it is first asked."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be opened.

    Attributes:
        name: What it is attached as.
        url: Where it is.
        password: The password that was given, if one was.
        tenant: Who attached it.
        reach: What whoever attached it may reach.
    """

    name: str
    url: SourceUrl
    password: str | None = field(repr=False)
    tenant: str
    reach: Reach


@dataclass(frozen=True, slots=True)
class SourceKind:
    """One kind of source.

    Attributes:
        schemes: How its URLs may begin.
        at: What they lead to.
        open: Opens one.
        options: What may be given beside the URL.
        wanted: Of a server: what its URL would have a driver reach.
    """

    schemes: tuple[str, ...]
    at: At
    open: Open
    options: tuple[str, ...] = ("password", ON_BAD_VALUE)
    wanted: Callable[[str], Wanted] | None = None


def _database(drive: Callable[[Asked, str | None], Driver]) -> Open:
    """Return how a kind of database is opened, given how its driver is made."""

    def opened(asked: Asked) -> Database:
        secret = asked.password or asked.url.password or _from_environment(asked)

        def hide(text: str) -> str:
            forms = {secret, quote(secret, safe=""), secret.replace("}", "}}")} if secret else ()
            for each in forms:
                text = text.replace(each, MASK)
            return text

        def check() -> None:
            check_reach(asked.url, asked.reach)

        return Database(
            asked.name, asked.url.plain, drive(asked, secret), hide, check,
            bad_is_null=asked.url.choices.bad_is_null,
        )  # fmt: skip

    return opened


def _from_environment(asked: Asked) -> str | None:
    """Return the password that the environment has for a source, of this tenant and at this host.

    A session with limits, which somebody else may ask, uses none of the process.
    """
    kind = kind_of(asked.url.scheme)
    is_anothers = "__" in asked.name or asked.name.lower().endswith("_host")
    if asked.reach.limited or kind.wanted is None or is_anothers:
        return None
    whose = "" if asked.tenant == DEFAULT_TENANT else f"__{asked.tenant}"
    variable = f"{PASSWORD_VARIABLE}{asked.name.upper()}{whose}"
    host = os.environ.get(f"{variable}_HOST")
    if host is not None and any(
        host.lower() not in {each.host.lower(), f"{each.host}:{each.port}".lower()}
        for each in kind.wanted(asked.url.plain).addresses
    ):
        return None
    return os.environ.get(variable)


def _lake(asked: Asked) -> AttachedLake:
    return AttachedLake(asked.name, asked.url.path, asked.tenant)


def _postgres(asked: Asked, secret: str | None) -> Postgres:
    numeric = asked.url.choices.decimal
    return Postgres(asked.url.plain, secret, is_alone=asked.reach.limited, numeric=numeric)


def _mariadb(asked: Asked, secret: str | None) -> MariaDb:
    return MariaDb(asked.url.plain, secret, numeric=asked.url.choices.decimal)


_POSTGRES: Final = SourceKind(
    ("postgresql", "postgres"), At.SERVER, _database(_postgres),
    options=("password", NUMERIC, ON_BAD_VALUE), wanted=libpq.wanted,
)  # fmt: skip
KINDS: Final = (
    _POSTGRES,
    SourceKind(
        ("mysql", "mariadb"), At.SERVER, _database(_mariadb),
        options=("password", NUMERIC, ON_BAD_VALUE), wanted=odbc.wanted,
    ),
    SourceKind(("duckdb",), At.FILE, _database(lambda asked, _: DuckDb(asked.url.path))),
    SourceKind(("sqlite",), At.FILE, _database(lambda asked, _: Sqlite(asked.url.path))),
    SourceKind(("lake",), At.FOLDER, _lake, options=()),
)  # fmt: skip
_BESIDE: Final = (
    "",
    "-wal",
    "-shm",
    "-journal",
    ".wal",
    ".wal.checkpoint",
    ".wal.recovery",
    ".tmp",
)
"""What SQLite and DuckDB write beside a file, by the ends of its names."""

_BY_SCHEME: Final = {scheme: kind for kind in KINDS for scheme in kind.schemes}


def is_source_url(given: object) -> bool:
    """Return whether what is to be attached is the URL of a database or lake."""
    return isinstance(given, str) and given.partition("://")[0].lower() in _BY_SCHEME


def check_scheme(given: str) -> None:
    """Raise SourceError for a URL that nothing here reads; nothing but its scheme is repeated."""
    scheme, mark, _ = given.partition("://")
    known = [*_BY_SCHEME, *SERVICES, "https"]
    if mark and scheme.isalnum() and scheme.lower() not in {*known, "http", "file"}:
        urls = [f"{each}://" for each in known]
        raise SourceError(
            f"{scheme.lower()}:// is not read: expected a path, or a URL of one of {urls}"
        )


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
    text, choices = split_choices(url)
    parts = split_url(text)
    at_server = kind_of(parts.scheme).at is At.SERVER
    found = server_url(parts) if at_server else path_url(parts.scheme, text)
    return replace(found, choices=choices)


def check_reach(url: SourceUrl, reach: Reach) -> None:
    """Raise PathNotAllowedError unless all that a source's URL leads to may be reached."""
    kind = kind_of(url.scheme)
    if kind.at is At.FILE:
        for beside in _BESIDE:
            reach.path(url.path + beside, shown=url.path, is_opened=True)
    elif kind.at is At.FOLDER:
        reach.folder(url.path, url.path)
    if kind.wanted is None:
        return
    wanted = kind.wanted(url.plain)
    if reach.limited and wanted.refused:
        reason = f"this session uses nothing of the process, and it names {wanted.refused[0]}"
        raise PathNotAllowedError(f"{url.scheme}://...", reason=reason)
    for address in wanted.addresses:
        reach.check(address)
    for file in wanted.files:
        reach.path(file)


def open_source(
    name: str,
    url: SourceUrl,
    password: str | Callable[[], str] | None,
    *,
    tenant: str,
    reach: Reach,
) -> Database | AttachedLake:
    """Return a database or lake, which is connected to when it is first asked.

    Args:
        name: What it is attached as.
        url: Where it is.
        password: The password that was given, if one was.
        tenant: Who attached it.
        reach: What whoever attached it may reach; looked at for each connection.
    """
    given = password() if callable(password) else password
    return kind_of(url.scheme).open(Asked(name, url, given, tenant, reach))
