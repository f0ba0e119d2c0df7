"""The object stores that a session reaches, with the credentials that it was given.

Rules:
    - Credentials come from the environment, or are given to the session, which keeps them in
      memory and nowhere else. What else says how a store is reached is no secret.
    - A store is asked for before it is read, in bounded time: whether there are credentials for
      it, and whether its host answers. DataFusion's own retries have no setting here.
    - In one session a bucket is at one host: what is planned goes on reading there.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sources.address import Address, parse_address
from affidavit.catalog.sources.buckets.bucket import Bucket
from affidavit.catalog.sources.buckets.location import (
    bucket_of,
    checked_location,
    is_remote,
    shown,
)
from affidavit.catalog.sources.buckets.options import refuse_way, way_options
from affidavit.catalog.sources.buckets.probe import check_credentials, check_host
from affidavit.catalog.sources.buckets.services import SERVICES
from affidavit.errors import AffidavitError, SourceError
from affidavit.screen import MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from affidavit.catalog.sources.reach import Reach

_HTTPS_PORT: Final = 443
_COLOR: Final = re.compile(r"\x1b\[[0-9;]*m")
"""How a terminal is told of a colour: deltalake's errors have some."""


def _address_of(bucket: Bucket, host: str, port: int) -> Address:
    """Return where a bucket is."""
    endpoint = bucket.get("endpoint")
    if endpoint is not None:
        return parse_address(endpoint)
    return Address("https" if port == _HTTPS_PORT else "http", host, port)


class ObjectStores:
    """The object stores that one tenant's statements reach in one session.

    Args:
        register: Has statements read a bucket as it is reached now.

    Attributes:
        turn: Held while a statement finds out whether it can read a table in a store: if not, the
            bucket is not reached after all, and no other statement has counted on it meanwhile.
    """

    def __init__(self, register: Callable[[Bucket], None]) -> None:
        self.turn = threading.RLock()
        self._register = register
        self._secrets: dict[tuple[str, str, str], dict[str, str]] = {}
        self._reached: dict[tuple[str, str], tuple[tuple[str, int], dict[str, str]]] = {}

    @property
    def has_secrets(self) -> bool:
        """Whether credentials are kept, which nobody else has."""
        return bool(self._secrets)

    @contextmanager
    def given(self, location: str, reach: Reach, secrets: dict[str, str]) -> Iterator[None]:
        """Keep credentials of a bucket, unless the block fails; with limits, for this session."""
        if not secrets:
            yield
            return
        key = (*bucket_of(location), reach.whose)
        before = self._secrets.get(key)
        self._secrets[key] = secrets
        try:
            yield
        except BaseException:
            self._secrets.pop(key)
            if before is not None:
                self._secrets[key] = before
            raise

    def hide(self, text: str) -> str:
        """Return a text without credentials."""
        known = [value for each in self._secrets.values() for value in each.values()]
        known += [os.environ.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN")]
        for secret in sorted(filter(None, known), key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text

    @contextmanager
    def errors(self, name: str, location: str) -> Iterator[None]:
        """Tell what a library raises as a SourceError that names the table."""
        place = repr(shown(location))
        named = f"table {name!r} at {place}" if name else place
        try:
            yield
        except AffidavitError as error:
            if not isinstance(error, SourceError) or str(error).startswith(named):
                raise
            msg = f"{named}: {error}"
            raise SourceError(msg) from error
        except BaseException as error:
            # a Rust library's panic is no Exception, and pyo3 exports no class of it
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            text = _COLOR.sub("", " ".join(str(error).split()))
            reason = self.hide(text) or type(error).__name__
            msg = f"{named}: {reason}"
            raise SourceError(msg) from None

    @contextmanager
    def reach(
        self, location: str, reach: Reach, options: Mapping[str, str] | None = None
    ) -> Iterator[Bucket | None]:
        """Let statements read ``location``, and yield how; ``None`` for what is no object store.

        Without ``options`` a bucket is reached as the session does already. With limits nothing of
        the process is used, and the host where it is must be among what is allowed.

        Raises:
            SourceError: There are no credentials for it, its host does not answer, or the session
                reaches the bucket in another way.
        """
        location = checked_location(location)
        if not is_remote(location):
            refuse_way(location, options or {})
            yield None
            return
        scheme, name = key = bucket_of(location)
        if options is None:
            named = self._reached[key][1] if key in self._reached else {}
        else:
            named = way_options(scheme, options)
        given = {**named, **self._secrets.get((*key, reach.whose), {})}
        bucket = Bucket(SERVICES[scheme], name, given, is_alone=reach.limited)
        host = bucket.service.address(bucket)
        if reach.limited:
            reach.check(_address_of(bucket, *host))
        held = self._reached.get(key)
        if held is not None and held[0] != host:
            msg = (
                f"{bucket.url} is reached at {held[0]} in this session, and cannot be at "
                f"{host} too: another session can"
            )
            raise SourceError(msg)
        check_credentials(bucket)
        check_host(bucket, *host)
        self._register(bucket)
        self._reached[key] = host, bucket.way
        try:
            yield bucket
        except BaseException:
            if held is None:
                self._reached.pop(key, None)
            raise
