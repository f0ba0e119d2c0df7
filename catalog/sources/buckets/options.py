"""What is said beside a location: how a store is reached, which is kept, and secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sources.buckets.services import PREFIXES, SERVICES
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SECRET_WORDS: Final = re.compile("key|secret|token|password|credential|sas", re.IGNORECASE)
"""What the name of an option says whose value is to be kept nowhere."""


def refuse_secrets(names: Iterable[str]) -> None:
    """Raise SourceError if an option's name says that its value is a secret."""
    for name in names:
        if SECRET_WORDS.search(name):
            msg = (
                f"{name!r} is a secret by its name, and statements are kept: session.attach takes "
                "those of an object store, by the names that it has for them"
            )
            raise SourceError(msg)


def split_options(
    location: str, given: Mapping[str, object]
) -> tuple[dict[str, str], dict[str, str], dict[str, object]]:
    """Return how a store is reached, as SQL's options; its credentials; and what is left.

    Raises:
        SourceError: What is left has a secret's name, or what is not has credentials in its value.
    """
    service = SERVICES.get(location.partition("://")[0])
    if service is None:
        refuse_secrets(given)
        return {}, {}, dict(given)
    rest = {k: v for k, v in given.items() if k not in (*service.options, *service.secrets)}
    refuse_secrets(rest)
    options = {f"{service.prefix}.{k}": _said(given[k]) for k in service.options if k in given}
    _refuse_userinfo(options)
    secrets = {k: str(given[k]) for k in service.secrets if given.get(k) is not None}
    return options, secrets, rest


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refuse_userinfo(options: Mapping[str, str]) -> None:
    for name, value in options.items():
        if "@" in value:
            msg = f"the option {name!r} has credentials, or an '@'"
            raise SourceError(msg)


def way_options(scheme: str, options: Mapping[str, str]) -> dict[str, str]:
    """Return those of a statement's options that say how a store is reached, by their own names.

    Raises:
        SourceError: One is of another store, or may not stand in a statement.
    """
    service = SERVICES[scheme]
    found = {k: v for k, v in options.items() if k.partition(".")[0] in PREFIXES}
    allowed = [f"{service.prefix}.{name}" for name in service.options]
    for name in found:
        if name not in allowed:
            msg = f"{name!r} is no option of {scheme}://: expected one of {allowed}"
            raise SourceError(msg)
    _refuse_userinfo(found)
    return {name.partition(".")[2]: value for name, value in found.items()}


def refuse_way(location: str, options: Mapping[str, str]) -> None:
    """Raise SourceError if options say how a store is reached, and ``location`` is in none."""
    for name in options:
        if name.partition(".")[0] in PREFIXES:
            msg = f"{name!r} is an option of object stores, and {location!r} is in none"
            raise SourceError(msg)
