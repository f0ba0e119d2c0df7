"""Where a lake's schema is: a URL of PostgreSQL's, and what of it may be shown. Pure.

Rules:
    - A password stands in the URL that the driver is given, and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from affidavit.errors import LakeError
from affidavit.screen import masked

DEFAULT_SCHEMA: Final = "affidavit"
SCHEMA_PARAMETER: Final = "schema"
"""The parameter of the URL that names the schema; the driver does not know it."""

_SCHEMA: Final = re.compile("(?!pg_)[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Address:
    """A schema of a database.

    Attributes:
        schema: Its name.
        conninfo: What the driver is given, password and all; never shown.
        shown: The URL as it may be shown.
    """

    schema: str
    conninfo: str = field(repr=False)
    shown: str


def parse_address(url: str) -> Address:
    """Return where ``url`` says that the schema is: ``?schema=NAME``, else ``affidavit``.

    Raises:
        LakeError: It is no URL, or its schema has a name that none of affidavit's has.
    """
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError as error:
        msg = "store= is no URL: expected postgresql://user@host:port/database?schema=name"
        raise LakeError(msg) from error
    schemas = [value for name, value in given if name == SCHEMA_PARAMETER] or [DEFAULT_SCHEMA]
    if len(schemas) > 1 or not _SCHEMA.fullmatch(schemas[0]):
        msg = (
            f"store= names the schema {schemas[-1]!r}: expected one name of up to 63 small "
            "letters, digits and underscores, which does not begin with a digit or pg_"
        )
        raise LakeError(msg)
    kept = [(name, value) for name, value in given if name != SCHEMA_PARAMETER]
    plain = parts._replace(query=urlencode(kept))
    return Address(schemas[0], urlunsplit(plain), masked(_without_secrets(url)))


def _without_secrets(url: str) -> str:
    """Return a URL without user, password and parameters but the schema."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    schema = [each for each in parse_qsl(parts.query) if each[0] == SCHEMA_PARAMETER]
    return urlunsplit(parts._replace(netloc=host, query=urlencode(schema), fragment=""))


def secrets_of(url: str) -> tuple[str, ...]:
    """Return the passwords of a URL, as they stand there and as they read: never to be shown."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    found = [user.partition(":")[2]]
    found += [value for name, value in parse_qsl(parts.query) if "password" in name]
    return tuple({*filter(None, found), *(unquote(each) for each in found if each)})
