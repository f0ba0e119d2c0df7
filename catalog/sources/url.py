"""Where a source is: its URL, told from the password that it may have."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from affidavit.catalog.sources.choices import Choices
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from urllib.parse import SplitResult


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """Where a source is.

    Attributes:
        scheme: Its kind.
        plain: The URL without a password.
        path: Of a file or folder; empty for a server.
        password: The password that the URL had.
        choices: How its values are read.
    """

    scheme: str
    plain: str
    path: str = ""
    password: str | None = None
    choices: Choices = field(default_factory=Choices)

    @property
    def kept(self) -> str:
        """What the lake remembers and shows: the URL and the choices."""
        return self.choices.after(self.plain)


def split_url(url: str) -> SplitResult:
    """Return a URL's parts as they stand.

    Raises:
        SourceError: It cannot be read; what it says is not repeated.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        msg = "the source's URL cannot be read: expected scheme://user:password@host:port/database"
        raise SourceError(msg) from None
    return parts


def path_url(scheme: str, url: str) -> SourceUrl:
    """Return where the file or folder of a URL is.

    The path is made absolute: ``///x`` is where we are, ``////x`` from the root. Where nothing is
    at the one, ``///x`` is from the root too.

    Raises:
        SourceError: It has a user, as a server's would; what it says is not repeated.
    """
    text = unquote(url.partition("://")[2])
    if {"@", ":"} <= set(text.partition("/")[0]):
        msg = f"a {scheme} source is a file or folder, and has no user: write {scheme}:///path"
        raise SourceError(msg)
    here, root = Path(text.removeprefix("/")).absolute(), Path("/" + text.lstrip("/"))
    path = root if root.exists() and not here.exists() else here
    return SourceUrl(scheme, f"{scheme}:///{path}", str(path))


def server_url(parts: SplitResult) -> SourceUrl:
    """Return where the server of a URL is.

    Raises:
        SourceError: It may have a password where it is not looked for.
    """
    options = [each for each in parts.query.split("&") if each]
    keys = {unquote(each.partition("=")[0]).lower() for each in options}
    rest = parts.netloc.partition("@")[2] + parts.path + parts.query
    if parts.fragment or "@" in rest or "sslpassword" in keys:
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
    return SourceUrl(parts.scheme, joined(parts.scheme, where, parts.path, query), "", password)


def with_password(plain: str, secret: str | None) -> str:
    """Return a server's URL with a password in it, as libpq takes it."""
    if secret is None:
        return plain
    parts = urlsplit(plain)
    user, _, where = parts.netloc.rpartition("@")
    if not user:  # then libpq takes the password from the query
        query = "&".join(filter(None, [parts.query, f"password={quote(secret, safe='')}"]))
        return joined(parts.scheme, parts.netloc, parts.path, query)
    netloc = f"{user}:{quote(secret, safe='')}@{where}"
    return joined(parts.scheme, netloc, parts.path, parts.query)


def joined(scheme: str, netloc: str, path: str, query: str) -> str:
    """Return a URL of its parts; urllib's own leaves the slashes out where there is no host."""
    return f"{scheme}://{netloc}{path}{'?' if query else ''}{query}"
