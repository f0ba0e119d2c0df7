"""Which databases a tenant has attached, as the lake remembers them: without a secret."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlsplit

from affidavit.catalog.sources.databases.database import Database
from affidavit.catalog.sources.databases.duckdb import DuckDb
from affidavit.catalog.sources.databases.mariadb import MariaDb
from affidavit.catalog.sources.databases.postgres import Postgres
from affidavit.catalog.sources.databases.sqlite import Sqlite
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import SOURCES
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.sources.databases.driver import Driver
    from affidavit.catalog.store.protocol import Reader, Writer

POSTGRES: Final = ("postgresql", "postgres")
MYSQL: Final = ("mysql", "mariadb")
FILES: Final = ("duckdb", "sqlite", "lake")
PASSWORD_VARIABLE: Final = "AFFIDAVIT_PASSWORD_"  # noqa: S105 - where one is, and none itself
"""The environment variable of a source's password begins so, and ends in its name in capitals."""

_MASK: Final = "***"


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """Where a database is.

    Attributes:
        scheme: Its kind.
        plain: The URL without a password: what is kept and shown.
        path: Of a file.
        password: The password that the URL had.
    """

    scheme: str
    plain: str
    path: str = ""
    password: str | None = None


def is_database(source: object) -> bool:
    """Return whether ``source`` is the URL of a database."""
    return isinstance(source, str) and source.partition("://")[0].lower() in {
        *POSTGRES,
        *MYSQL,
        *FILES,
    }


def parse_url(url: str) -> SourceUrl:
    """Return a URL's parts.

    Raises:
        SourceError: It cannot be read; what it says is not repeated.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        msg = "the source's URL cannot be read: expected scheme://user:password@host:port/database"
        raise SourceError(msg) from None
    if parts.scheme in FILES:
        path = _path(unquote(url.partition("://")[2]))
        return SourceUrl(parts.scheme, f"{parts.scheme}:///{path}", path)
    options = [each for each in parts.query.split("&") if each]
    keys = {unquote(each.partition("=")[0]).lower() for each in options}
    if parts.fragment or "@" in parts.path + parts.query or "sslpassword" in keys:
        msg = (
            "the source's URL has a password that cannot be told from the rest: write its "
            "/ ? # @ as %2F %3F %23 %40, or give it as password="
        )
        raise SourceError(msg)
    password = None if parts.password is None else unquote(parts.password)
    where = parts.netloc.rpartition("@")[2]
    if parts.username is not None:
        where = f"{parts.username}@{where}"
    given = [each for each in options if unquote(each.partition("=")[0]).lower() == "password"]
    if given:
        password = unquote(given[-1].partition("=")[2])
    query = "&".join(each for each in options if each not in given)
    plain = _joined(parts.scheme, where, parts.path, query)
    return SourceUrl(parts.scheme, plain, "", password)


def _path(text: str) -> str:
    """Return the path of a file, absolute: ``///x`` is where we are, ``////x`` from the root.

    Where nothing is at the one, ``///x`` is from the root too.
    """
    here, root = Path(text.removeprefix("/")).absolute(), Path("/" + text.lstrip("/"))
    return str(root if root.exists() and not here.exists() else here)


def open_database(
    name: str, url: SourceUrl, password: str | Callable[[], str] | None = None
) -> Database:
    """Return a database, which is connected to when it is first asked."""
    secret = password() if callable(password) else password
    secret = secret or url.password or os.environ.get(PASSWORD_VARIABLE + name.upper())
    driver: Driver
    if url.scheme == "duckdb":
        driver = DuckDb(url.path)
    elif url.scheme == "sqlite":
        driver = Sqlite(url.path)
    elif url.scheme in MYSQL:
        driver = MariaDb(url.plain, secret)
    else:
        driver = Postgres(_with_password(url.plain, secret))

    def hide(text: str) -> str:
        for each in {secret, quote(secret, safe=""), secret.replace("}", "}}")} if secret else ():
            text = text.replace(each, _MASK)
        return text

    return Database(name, url.plain, driver, hide)


def _with_password(plain: str, secret: str | None) -> str:
    if secret is None:
        return plain
    parts = urlsplit(plain)
    user, _, where = parts.netloc.rpartition("@")
    if not user:  # then libpq takes the password from the query
        query = "&".join(filter(None, [parts.query, f"password={quote(secret, safe='')}"]))
        return _joined(parts.scheme, parts.netloc, parts.path, query)
    netloc = f"{user}:{quote(secret, safe='')}@{where}"
    return _joined(parts.scheme, netloc, parts.path, parts.query)


def _joined(scheme: str, netloc: str, path: str, query: str) -> str:
    return f"{scheme}://{netloc}{path}{'?' if query else ''}{query}"


# --- as the lake remembers them -------------------------------------------------------------------


def remembered(reader: Reader, tenant: str) -> list[tuple[str, str]]:
    """Return the name and URL of each of a tenant's sources."""
    rows = reader.select(SOURCES, ("name", "url"), own(tenant), order_by=("name",))
    return [(str(name), str(url)) for name, url in rows]


def remember(writer: Writer, name: str, url: SourceUrl) -> None:
    """Keep a source."""
    row: tuple[Any, ...] = (name, url.plain, time_ns() // 1000)
    writer.insert(SOURCES, columns_of(SOURCES), [row])


def forget(writer: Writer, tenant: str, name: str) -> bool:
    """Forget a source, and return whether there was one."""
    return bool(writer.delete_where(SOURCES, own(tenant, Compare("=", "name", name))))
