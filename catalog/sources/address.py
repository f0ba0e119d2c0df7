"""Where something is that is connected to: a scheme, a host, a port, and what is below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from affidavit.errors import SourceError

_PORTS: Final = {
    "postgresql": 5432, "postgres": 5432, "mysql": 3306, "mariadb": 3306, "http": 80, "https": 443,
}  # fmt: skip
_SAME: Final = {"postgres": "postgresql", "mariadb": "mysql"}


@dataclass(frozen=True, slots=True)
class Address:
    """A server or a bucket.

    Attributes:
        scheme: How it is spoken to.
        host: Its host, or the bucket's name.
        port: Its port; the scheme's own if it says none.
        path: What of it is meant.
    """

    scheme: str
    host: str
    port: int | None = None
    path: str = ""

    @property
    def url(self) -> str:
        """Its URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    def covers(self, other: Address) -> bool:
        """Return whether ``other`` is this, or lies below it."""
        return (
            _SAME.get(self.scheme, self.scheme) == _SAME.get(other.scheme, other.scheme)
            and self.host.rstrip(".").lower() == other.host.rstrip(".").lower()
            and (self.port or _PORTS.get(self.scheme)) == (other.port or _PORTS.get(other.scheme))
            and below(other.path, self.path) is True
        )


def below(path: str, of: str) -> bool | None:
    """Return whether a path of a URL is ``of`` or lies below it; ``None`` if it cannot be told.

    Who opens it may take ``%2e`` for a dot, and ``..`` for the folder above.
    """
    plain, base = (unquote(unquote(each)).rstrip("/") for each in (path, of))
    if {"..", "."} & set(plain.replace("\\", "/").split("/")):
        return None
    return plain == base or plain.startswith(base + "/")


def parse_address(url: str) -> Address:
    """Return what a URL of an allow-list names.

    Raises:
        SourceError: It does not say a scheme and a host, or says more.
    """
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not parts.scheme or "@" in parts.netloc or parts.query or parts.fragment:
        msg = "expected allowed_urls of a scheme, host and port, such as 'postgresql://host:5432'"
        raise SourceError(msg)
    return Address(parts.scheme.lower(), host, port, parts.path.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a URL would have a driver reach.

    Attributes:
        addresses: Where it would connect to.
        files: What it would read besides.
        refused: Options that a session with limits may not have, since they say neither plainly.
    """

    addresses: tuple[Address, ...]
    files: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
