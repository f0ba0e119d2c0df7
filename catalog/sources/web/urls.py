"""Files of the web, as they are named: which URLs may be read, and where those may lead.

Rules:
    - A URL is kept with what names it, and shown: so it has no credentials, and no secret in its
      query. Where a server leads on to there may be one: that is kept nowhere, and told nowhere.
    - A URL names one file, which is read whole: there are no folders of the web, and no patterns.
    - Nothing is read without TLS but from this machine, and nothing leads from TLS to none.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urljoin, urlsplit, urlunsplit

from affidavit.catalog.sources.address import Address
from affidavit.catalog.sources.buckets.options import SECRET_WORDS
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

SCHEMES: Final = ("https", "http")

_WEB: Final = re.compile(r"\s*https?://", re.IGNORECASE)
_NO_PART: Final = re.compile(r"[\x00-\x20\x7f]")
_SECRET: Final = re.compile(
    rf"{SECRET_WORDS.pattern}|signature|passw|^(?:sig|pwd|auth|authorization)$|^x-(?:amz|goog)-",
    re.IGNORECASE,
)
"""What a name in a query says that signs it, or stands for who asks."""

_KEPT: Final = "/%:@!$&'()*+,;=~?[]"
"""What stands for itself in a URL that is asked for."""


def is_web(location: str) -> bool:
    """Return whether a location is a URL of the web."""
    return _WEB.match(location) is not None


def checked_url(location: str) -> str:
    """Return the URL of a file, which may be kept and shown; its scheme in small letters.

    Raises:
        SourceError: It has a secret, is of no one file, or is without TLS; a secret is not
            repeated.
    """
    url = location.strip()
    parts = _split(url)
    if parts is None or not parts.hostname or _NO_PART.search(url):
        raise SourceError("the URL cannot be read: expected https://host/path, with %20 for blanks")
    if "@" in parts.netloc:
        raise SourceError("expected https://host/path, without credentials")
    secret = next(filter(_SECRET.search, _names(parts.query)), None)
    if secret is not None:
        msg = (
            f"{secret!r} is a secret by its name, and URLs are kept: download the file, and read "
            "it by its path"
        )
        raise SourceError(msg)
    if "#" in url:
        raise SourceError(f"{url!r} names a part of a page: leave out what begins with #")
    if "*" in parts.path:
        raise SourceError(f"{url!r}: patterns are for local files: name each file by its URL")
    if parts.path.endswith("/") or not parts.path:
        raise SourceError(f"{url!r} names a folder: over https:// one file is read, by its URL")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        msg = f"{url!r}: http:// is read from this machine alone: write https://"
        raise SourceError(msg)
    return parts.scheme + url[len(parts.scheme) :]


def address_of(url: str) -> Address:
    """Return where a file of the web is."""
    parts = urlsplit(url)
    assert parts.hostname is not None, "it was looked at"
    return Address(parts.scheme, parts.hostname, parts.port, parts.path)


def name_of(url: str) -> str:
    """Return what a URL calls its file: the last part of its path."""
    return urlsplit(url).path.rpartition("/")[2]


def asked_for(url: str) -> str:
    """Return a URL as it is sent: with escapes for letters that are not of ASCII."""
    parts = urlsplit(url)
    query = f"?{quote(parts.query, safe=_KEPT)}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{quote(parts.path, safe=_KEPT) or '/'}{query}"


def led_on(url: str, to: str | None) -> str:
    """Return where an answer leads on to.

    Raises:
        SourceError: It says nowhere, or to where nothing may be read.
    """
    sent = quote(to or "", safe=f"{_KEPT}#", encoding="latin-1")  # as http.client reads it
    parts = _split(sent) and _split(urljoin(url, sent).partition("#")[0])
    host = None if parts is None else parts.hostname
    if (
        not to
        or parts is None
        or host is None
        or parts.scheme not in SCHEMES
        or "@" in parts.netloc
    ):
        raise SourceError("it leads on to no https:// URL")
    has_tls = urlsplit(url).scheme == "https"
    if parts.scheme == "http" and (has_tls or not _is_here(host)):
        raise SourceError(f"it leads on to http://{host}, which is without TLS")
    return urlunsplit(parts)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _names(query: str) -> list[str]:
    return [name for name, _ in parse_qsl(query.replace(";", "&"), keep_blank_values=True)]


def _is_here(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
