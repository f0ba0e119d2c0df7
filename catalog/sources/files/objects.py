"""Object stores: S3, Google Cloud Storage, Azure Blob Storage.

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
import socket
import threading
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies, proxy_bypass

from datafusion import object_store

from affidavit.errors import AffidavitError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from datafusion import SessionContext

CONNECT_TIMEOUT_S: Final = 3.0
REQUEST_TIMEOUT_S: Final = 15.0
RETRIES_MAX: Final = 2
METADATA_HOST: Final = "169.254.169.254"
METADATA_TIMEOUT_S: Final = 1.0
"""How long is waited for the server from which a machine of a cloud gets its credentials."""

_MASK: Final = "***"
_COLOR: Final = re.compile(r"\x1b\[[0-9;]*m")
"""How a terminal is told of a colour: deltalake's errors have some."""


@dataclass(frozen=True, slots=True)
class Service:
    """One kind of object store.

    Attributes:
        prefix: How its options begin in SQL.
        options: How it is reached, remembered, and the environment's variables that say it too.
        secrets: Credentials; this session's.
        variables: Of the environment, any one of which says where credentials are.
    """

    prefix: str
    options: Mapping[str, tuple[str, ...]]
    secrets: tuple[str, ...]
    variables: tuple[str, ...]


SERVICES: Final = {
    "s3": Service(
        "aws",
        {
            "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
            "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
            "allow_http": ("AWS_ALLOW_HTTP",),
        },
        ("access_key_id", "secret_access_key", "session_token"),
        (
            "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ),
    ),
    "gs": Service(
        "gcp",
        {},
        ("service_account_path",),
        ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT"),
    ),
    "az": Service(
        "azure",
        {
            "account": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
            "allow_http": (),
            "use_emulator": ("AZURE_STORAGE_USE_EMULATOR",),
        },
        ("access_key", "bearer_token", "client_id", "client_secret", "tenant_id", "sas_token"),
        (
            "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_SAS_KEY",
            "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET",
            "AZURE_FEDERATED_TOKEN_FILE", "AZURE_STORAGE_TOKEN",
        ),
    ),
}  # fmt: skip
PREFIXES: Final = frozenset(service.prefix for service in SERVICES.values())
SECRET_WORDS: Final = re.compile("key|secret|token|password|credential|sas", re.IGNORECASE)
"""What the name of an option says whose value is to be kept nowhere."""

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, and how it is reached.

    Attributes:
        scheme: Which kind of store.
        bucket: The bucket or container.
        given: Its options, credentials among them.
    """

    scheme: str
    bucket: str
    given: Mapping[str, str] = field(repr=False)

    def get(self, name: str) -> str | None:
        """Return an option, or what the environment says."""
        variables = SERVICES[self.scheme].options.get(name, ())
        found = (os.environ.get(each) for each in variables)
        return self.given.get(name) or next(filter(None, found), None)

    def is_true(self, name: str) -> bool:
        """Return whether an option, or the environment, says yes."""
        return (self.get(name) or "").lower() in {"true", "1"}

    @property
    def way(self) -> dict[str, str]:
        """How the bucket is reached, whoever said so; without credentials."""
        said = {name: self.get(name) for name in SERVICES[self.scheme].options}
        return {name: value.rstrip("/") for name, value in said.items() if value}


def is_remote(location: str) -> bool:
    """Return whether files lie in an object store."""
    return location.partition("://")[0] in SERVICES


def checked_location(location: str) -> str:
    """Return a path, or a URL of a store, without credentials; its scheme in small letters.

    Raises:
        SourceError: It is another URL; nothing but its scheme is repeated.
    """
    url = _URL.match(location)
    if url is None:
        return location
    scheme, bucket = url[1].lower(), url[2]
    if scheme == "file":
        return location
    if scheme not in SERVICES:
        known = [f"{each}://" for each in SERVICES]
        msg = f"{scheme}:// is not read: expected a path, or a URL of one of {known}"
        raise SourceError(msg)
    if not bucket or "@" in bucket or ":" in bucket:
        msg = f"expected {scheme}://bucket/path, without credentials"
        raise SourceError(msg)
    return scheme + location[len(scheme) :]


def _shown(location: str) -> str:
    """Return a location as an error may repeat it: without what may be a password."""
    url = _URL.match(location)
    return f"{url[1]}://{_MASK}" if url and set(url[2]) & {"@", ":"} else location


def _split(location: str) -> tuple[str, str]:
    parts = urlsplit(checked_location(location))
    if "*" in parts.path:
        msg = f"{location!r}: patterns are for local files: name a file, or a folder with a last /"
        raise SourceError(msg)
    return parts.scheme, parts.netloc


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


class ObjectStores:
    """The object stores that one tenant's statements reach in one session.

    Attributes:
        turn: Held while a statement finds out whether it can read a table in a store: if not, the
            bucket is not reached after all, and no other statement has counted on it meanwhile.
    """

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self.contexts: weakref.WeakSet[SessionContext] = weakref.WeakSet()
        self._secrets: dict[tuple[str, str], dict[str, str]] = {}
        self._reached: dict[tuple[str, str], tuple[tuple[str, int], dict[str, str]]] = {}

    @contextmanager
    def given(self, location: str, secrets: dict[str, str]) -> Iterator[None]:
        """Keep credentials of a bucket for this session, unless the block fails."""
        if not secrets:
            yield
            return
        key = _split(location)
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
            text = text.replace(secret, _MASK)
        return text

    @contextmanager
    def errors(self, name: str, location: str) -> Iterator[None]:
        """Tell what a library raises as a SourceError that names the table."""
        place = repr(_shown(location))
        named = f"table {name!r} at {place}" if name else place
        try:
            yield
        except AffidavitError as error:
            if not isinstance(error, SourceError) or str(error).startswith(named):
                raise
            msg = f"{named}: {error}"
            raise SourceError(msg) from error
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            text = _COLOR.sub("", " ".join(str(error).split()))
            reason = self.hide(text) or type(error).__name__
            msg = f"{named}: {reason}"
            raise SourceError(msg) from None

    @contextmanager
    def reach(
        self, location: str, options: Mapping[str, str] | None = None
    ) -> Iterator[Place | None]:
        """Let statements read ``location``, and yield how; ``None`` for what is no object store.

        Without ``options`` a bucket is reached as the session does already.

        Raises:
            SourceError: There are no credentials for it, its host does not answer, or the session
                reaches the bucket in another way.
        """
        location = checked_location(location)
        if not is_remote(location):
            _refuse_options(location, options or {})
            yield None
            return
        scheme, bucket = key = _split(location)
        if options is None:
            named = self._reached[key][1] if key in self._reached else {}
        else:
            named = {k.partition(".")[2]: v for k, v in _checked(scheme, options).items()}
        place = Place(scheme, bucket, {**named, **self._secrets.get(key, {})})
        host = _host(place)
        held = self._reached.get(key)
        if held is not None and held[0] != host:
            msg = (
                f"{scheme}://{bucket} is reached at {held[0]} in this session, and cannot be at "
                f"{host} too: another session can"
            )
            raise SourceError(msg)
        _check_credentials(place)
        _check_host(place, *host)
        store = _store(place)
        for context in self.contexts:
            context.register_object_store(f"{scheme}://", store, host=bucket)
        self._reached[key] = host, place.way
        try:
            yield place
        except BaseException:
            if held is None:
                self._reached.pop(key, None)
            raise


def _refuse_options(location: str, options: Mapping[str, str]) -> None:
    for name in options:
        if name.partition(".")[0] in PREFIXES:
            msg = f"{name!r} is an option of object stores, and {location!r} is in none"
            raise SourceError(msg)


def _checked(scheme: str, options: Mapping[str, str]) -> dict[str, str]:
    """Return the options that say how a store is reached, if they may stand in a statement."""
    service = SERVICES[scheme]
    found = {k: v for k, v in options.items() if k.partition(".")[0] in PREFIXES}
    allowed = [f"{service.prefix}.{name}" for name in service.options]
    for name in found:
        if name not in allowed:
            msg = f"{name!r} is no option of {scheme}://: expected one of {allowed}"
            raise SourceError(msg)
    _refuse_userinfo(found)
    return found


# --- asking first --------------------------------------------------------------------------------


def _host(place: Place) -> tuple[str, int]:
    """Return where a store is."""
    if place.scheme == "gs":
        return "storage.googleapis.com", 443
    if place.scheme == "az":
        if place.is_true("use_emulator"):
            return _address(os.environ.get("AZURITE_BLOB_STORAGE_URL", "http://127.0.0.1:10000"))
        account = place.get("account")
        if account is None:
            msg = f"az://{place.bucket}: pass account=, or set AZURE_STORAGE_ACCOUNT_NAME"
            raise SourceError(msg)
        return f"{account}.blob.core.windows.net", 443
    endpoint = place.get("endpoint")
    if endpoint is not None:
        return _address(endpoint)
    region = place.get("region") or "us-east-1"
    return f"s3.{region}.amazonaws.com", 443


def _address(endpoint: str) -> tuple[str, int]:
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or "@" in parts.netloc or parts.scheme not in {"http", "https"}:
        raise SourceError("expected an endpoint such as 'https://host:port'")
    return host, port or (80 if parts.scheme == "http" else 443)


def _check_credentials(place: Place) -> None:
    service, where = SERVICES[place.scheme], f"{place.scheme}://{place.bucket}"
    if any(place.given.get(name) for name in service.secrets) or any(
        os.environ.get(name) for name in service.variables
    ):
        return
    if place.scheme == "az" and place.is_true("use_emulator"):
        return
    told = Path("~/.config/gcloud/application_default_credentials.json").expanduser()
    if place.scheme == "gs" and told.is_file():
        return
    off = {"s3": "AWS_EC2_METADATA_DISABLED", "gs": "NO_GCE_CHECK"}.get(place.scheme, "")
    if os.environ.get(off, "").lower() != "true" and _answers(
        METADATA_HOST, 80, METADATA_TIMEOUT_S
    ):
        return
    msg = (
        f"{where}: there are no credentials: set {service.variables[0]}, or pass "
        f"{service.secrets[0]}="
    )
    raise SourceError(msg)


def _check_host(place: Place, host: str, port: int) -> None:
    if getproxies().get("http" if port == 80 else "https") and not proxy_bypass(host):  # noqa: PLR2004 - HTTP's port
        return  # the proxy is asked, and not the host
    if not _answers(host, port, CONNECT_TIMEOUT_S):
        msg = f"{place.scheme}://{place.bucket}: {host}:{port} does not answer"
        raise SourceError(msg)


def _answers(host: str, port: int, timeout_s: float) -> bool:
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True


# --- as each library is told ---------------------------------------------------------------------


def _store(place: Place) -> Any:  # noqa: ANN401 - DataFusion's stores have no common type
    given = place.given
    if place.scheme == "gs":
        known = filter(None, map(os.environ.get, SERVICES["gs"].variables))
        path = given.get("service_account_path") or next(known, None)
        return object_store.GoogleCloud(place.bucket, service_account_path=path)
    if place.scheme == "az":
        sas = given.get("sas_token", "").lstrip("?")
        return object_store.MicrosoftAzure(
            place.bucket,
            account=place.get("account"),
            access_key=given.get("access_key"),
            bearer_token=given.get("bearer_token"),
            client_id=given.get("client_id"),
            client_secret=given.get("client_secret"),
            tenant_id=given.get("tenant_id"),
            sas_query_pairs=parse_qsl(sas, keep_blank_values=True) if sas else None,
            use_emulator=place.is_true("use_emulator") or None,
            allow_http=place.is_true("allow_http") or None,
        )
    return object_store.AmazonS3(
        place.bucket,
        region=place.get("region"),
        access_key_id=given.get("access_key_id"),
        secret_access_key=given.get("secret_access_key"),
        session_token=given.get("session_token"),
        endpoint=place.get("endpoint"),
        allow_http=place.is_true("allow_http"),
    )


_DELTA_NAMES: Final = {
    "region": "aws_region", "endpoint": "aws_endpoint_url", "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key", "session_token": "aws_session_token",
    "service_account_path": "google_service_account", "account": "azure_storage_account_name",
    "access_key": "azure_storage_account_key", "bearer_token": "azure_storage_token",
    "client_id": "azure_storage_client_id", "client_secret": "azure_storage_client_secret",
    "tenant_id": "azure_storage_tenant_id", "sas_token": "azure_storage_sas_token",
    "use_emulator": "azure_storage_use_emulator", "allow_http": "allow_http",
}  # fmt: skip


def delta_options(place: Place | None) -> dict[str, str] | None:
    """Return how deltalake reaches a store."""
    if place is None:
        return None
    bounds = {
        "connect_timeout": f"{CONNECT_TIMEOUT_S:g}s", "timeout": f"{REQUEST_TIMEOUT_S:g}s",
        "max_retries": str(RETRIES_MAX), "retry_timeout": f"{REQUEST_TIMEOUT_S:g}s",
    }  # fmt: skip
    known = {**place.given, **place.way}
    return {**bounds, **{_DELTA_NAMES[name]: value for name, value in known.items()}}


def iceberg_properties(place: Place | None) -> dict[str, str]:
    """Return how pyiceberg reaches a store."""
    if place is None:
        return {}
    if place.scheme != "s3":
        msg = f"{place.scheme}://{place.bucket}: Iceberg tables are read from files and s3:// only"
        raise SourceError(msg)
    known = {
        f"s3.{name.replace('_', '-')}": value
        for name, value in {**place.given, **place.way}.items()
        if name != "allow_http" and value
    }
    bounds = {
        "s3.connect-timeout": f"{CONNECT_TIMEOUT_S:g}",
        "s3.request-timeout": f"{REQUEST_TIMEOUT_S:g}",
    }
    return {**bounds, **known}
