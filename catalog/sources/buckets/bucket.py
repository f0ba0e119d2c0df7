"""A bucket, and the kind of object store that it is in."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONNECT_TIMEOUT_S: Final = 3.0
REQUEST_TIMEOUT_S: Final = 15.0
RETRIES_MAX: Final = 2
"""What of these a library can be told, it is."""


def _has_none(_: Bucket) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Service:
    """One kind of object store.

    Attributes:
        scheme: How its URLs begin.
        prefix: How its options begin in SQL.
        options: How it is reached, remembered, and the environment's variables that say it too.
        secrets: Credentials; this session's.
        variables: Of the environment, any one of which says where credentials are.
        address: Returns the host and port at which a bucket is.
        needs_none: Returns whether a bucket's credentials are found without being named, or none
            are asked for.
        needed: Options and credentials that a session with limits has to give; none where such a
            one reaches none, since a file of credentials could say another host.
        unclouded: The environment's variable that says ``true`` where the machine is in none of
            its clouds, which would give it credentials; empty if there is none.
    """

    scheme: str
    prefix: str
    options: Mapping[str, tuple[str, ...]]
    secrets: tuple[str, ...]
    variables: tuple[str, ...]
    address: Callable[[Bucket], tuple[str, int]]
    needs_none: Callable[[Bucket], bool] = _has_none
    needed: tuple[str, ...] = ()
    unclouded: str = ""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket or container, and how it is reached.

    Attributes:
        service: The kind of store that it is in.
        name: Its name.
        given: Its options, credentials among them.
        is_alone: Whether nothing of the process is used for it.
    """

    service: Service
    name: str
    given: Mapping[str, str] = field(repr=False)
    is_alone: bool = False

    @property
    def url(self) -> str:
        """Its URL."""
        return f"{self.service.scheme}://{self.name}"

    def get(self, name: str) -> str | None:
        """Return an option, or what the environment says, unless it is left alone."""
        variables = () if self.is_alone else self.service.options.get(name, ())
        found = (os.environ.get(each) for each in variables)
        return self.given.get(name) or next(filter(None, found), None)

    def is_true(self, name: str) -> bool:
        """Return whether an option, or the environment, says yes."""
        return (self.get(name) or "").lower() in {"true", "1"}

    @property
    def way(self) -> dict[str, str]:
        """How it is reached, whoever said so; without credentials."""
        said = {name: self.get(name) for name in self.service.options}
        return {name: value.rstrip("/") for name, value in said.items() if value}
