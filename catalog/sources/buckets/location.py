"""Where files are, as it is written: a path of this machine, or a URL of an object store."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from affidavit.catalog.sources.buckets.services import SERVICES
from affidavit.catalog.sources.web.urls import is_web
from affidavit.errors import SourceError
from affidavit.screen import MASK

_URL: Final = re.compile(r"\s*([A-Za-z][\w+.:-]*)://([^/?#]*)")


def is_remote(location: str) -> bool:
    """Return whether files lie in an object store."""
    return location.partition("://")[0] in SERVICES


def is_local(location: str) -> bool:
    """Return whether files are on this machine."""
    return not is_remote(location) and not is_web(location)


def checked_location(location: str) -> str:
    """Return a path, or a URL of a store, without credentials; its scheme in small letters.

    Raises:
        SourceError: It is another URL; nothing but its scheme is repeated.
    """
    url = _URL.match(location)
    if url is None:
        return location
    location = location.lstrip()
    scheme, bucket = url[1].lower(), url[2]
    if scheme == "file":
        return location
    if scheme not in SERVICES:
        known = ", ".join(f"{each}://" for each in SERVICES)
        msg = f"{scheme}:// is not read: expected a path, or a URL of {known}, or https:// to read"
        raise SourceError(msg)
    if not bucket or "@" in bucket or ":" in bucket:
        msg = f"expected {scheme}://bucket/path, without credentials"
        raise SourceError(msg)
    return scheme + location[len(scheme) :]


def bucket_of(location: str) -> tuple[str, str]:
    """Return the scheme of a URL of a store, and the bucket that it is in.

    Raises:
        SourceError: It is none, or a pattern.
    """
    parts = urlsplit(checked_location(location))
    if "*" in parts.path:
        msg = f"{location!r}: patterns are for local files: name a file, or a folder with a last /"
        raise SourceError(msg)
    return parts.scheme, parts.netloc


def shown(location: str) -> str:
    """Return a location as an error may repeat it: without what may be a password."""
    url = _URL.match(location)
    return f"{url[1]}://{MASK}" if url and set(url[2]) & {"@", ":"} else location
