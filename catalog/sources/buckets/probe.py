"""Whether a bucket can be read, asked before it is and in bounded time."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final
from urllib.request import getproxies, proxy_bypass

from affidavit.catalog.sources.buckets.bucket import CONNECT_TIMEOUT_S
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from affidavit.catalog.sources.buckets.bucket import Bucket

METADATA_HOST: Final = "169.254.169.254"
METADATA_TIMEOUT_S: Final = 1.0
"""How long is waited for the server from which a machine of a cloud gets its credentials."""

_NOT_READ: Final = frozenset({"AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"})
"""Variables that other libraries read, and these do not."""

_HTTP_PORT: Final = 80


def check_credentials(bucket: Bucket) -> None:
    """Raise SourceError if there are no credentials for a bucket."""
    service = bucket.service
    if bucket.is_alone:
        _check_alone(bucket)
        return
    if any(bucket.given.get(name) for name in service.secrets) or any(
        os.environ.get(name) for name in service.variables
    ):
        return
    if service.needs_none(bucket):
        return
    is_unclouded = os.environ.get(service.unclouded, "").lower() == "true"
    if not is_unclouded and _answers(METADATA_HOST, _HTTP_PORT, METADATA_TIMEOUT_S):
        return
    msg = (
        f"{bucket.url}: there are no credentials: set {service.variables[0]}, or pass "
        f"{service.secrets[0]}="
    )
    raise SourceError(msg)


def _check_alone(bucket: Bucket) -> None:
    """Raise SourceError unless a bucket was given all that it needs, and the process adds none.

    The libraries read variables that nothing which is given undoes.
    """
    service = bucket.service
    if not service.needed:
        msg = f"{bucket.url}: a session with limits reaches no {service.scheme}:// buckets"
        raise SourceError(msg)
    lacking = [name for name in service.needed if not bucket.given.get(name)]
    if lacking:
        msg = f"{bucket.url}: this session uses nothing of the process: pass {lacking[0]}="
        raise SourceError(msg)
    prefix = service.variables[0].partition("_")[0] + "_"
    undone = {f"{prefix}{name.upper()}" for name in bucket.given} | _NOT_READ
    if any(each.startswith(prefix) and each not in undone for each in os.environ):
        msg = (
            f"{bucket.url}: this session uses nothing of the process, whose environment has "
            f"{prefix}... variables: none may be set but those that are given"
        )
        raise SourceError(msg)


def check_host(bucket: Bucket, host: str, port: int) -> None:
    """Raise SourceError if the host of a bucket does not answer."""
    if getproxies().get("http" if port == _HTTP_PORT else "https") and not proxy_bypass(host):
        return  # the proxy is asked, and not the host
    if not _answers(host, port, CONNECT_TIMEOUT_S):
        msg = f"{bucket.url}: {host}:{port} does not answer"
        raise SourceError(msg)


def _answers(host: str, port: int, timeout_s: float) -> bool:
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True
