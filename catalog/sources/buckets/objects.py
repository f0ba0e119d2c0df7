"""What object stores say of the objects in a bucket: how large each is, its ETag and its version.

An ETag is another wherever the object is. Nobody reads an object for it: the store is asked.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pyarrow import fs

from affidavit.catalog.sources.buckets.bucket import (
    CONNECT_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    RETRIES_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from affidavit.catalog.sources.buckets.bucket import Bucket

OBJECTS_MAX: Final = 1000
"""Of so many objects the store is asked one by one; of more nothing is said."""

ASKED_AT_ONCE: Final = 16

_EMULATOR: Final = "http://127.0.0.1:10000"
_EMULATED: Final = "devstoreaccount1"
_EMULATED_KEY: Final = (  # which Azurite's page says: it is nobody's secret
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as its store tells it.

    Attributes:
        name: Bucket and key.
        size: In bytes.
        etag: What the store calls its content.
        version: Its version, or generation, where the store keeps them.
    """

    name: str
    size: int
    etag: str
    version: str | None


def objects_of(bucket: Bucket, location: str) -> list[StoredObject] | None:
    """Return the objects at a URL, in the order of their names; ``None`` where nobody says.

    That is so of more than :data:`OBJECTS_MAX`, of a store that states no ETag, and where the
    credentials are of a kind that Arrow does not take.

    Raises:
        OSError: The store cannot be asked, or there is no such object.
    """
    files = _FILES[bucket.service.scheme](bucket)
    if files is None:
        return None
    parts = urlsplit(location)
    path = f"{bucket.name}{parts.path}".rstrip("/")
    names = _names(files, path, is_folder=location.endswith("/"))
    if len(names) > OBJECTS_MAX:
        return None
    with ThreadPoolExecutor(max(1, min(ASKED_AT_ONCE, len(names)))) as asking:
        found = list(asking.map(lambda name: _told(files, name), names))
    told = [each for each in found if each is not None]
    return told if len(told) == len(found) else None


def _names(files: fs.FileSystem, path: str, *, is_folder: bool) -> list[str]:
    if not is_folder and files.get_file_info(path).type == fs.FileType.File:
        return [path]
    listed = files.get_file_info(fs.FileSelector(path, recursive=True))
    return sorted(each.path for each in listed if each.type == fs.FileType.File)


def _told(files: fs.FileSystem, name: str) -> StoredObject | None:
    with files.open_input_file(name) as file:
        said = {key.lower(): value.decode() for key, value in file.metadata().items()}
        etag = said.get("etag", "").strip('"')
        version = said.get("versionid") or said.get("generation")
        return StoredObject(name, file.size(), etag, version) if etag else None


# --- a bucket, as Arrow reaches it ----------------------------------------------------------------


def _s3(bucket: Bucket) -> fs.FileSystem:
    given = bucket.given
    said: dict[str, Any] = {
        name: given.get(theirs)
        for name, theirs in (
            ("access_key", "access_key_id"), ("secret_key", "secret_access_key"),
            ("session_token", "session_token"),
        )
    }  # fmt: skip
    endpoint = bucket.get("endpoint")
    if endpoint is not None:
        parts = urlsplit(endpoint)
        said |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    if not said["access_key"] and not bucket.is_alone:
        said["anonymous"] = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in {"true", "1"}
    return fs.S3FileSystem(
        **said, region=bucket.get("region") or "us-east-1",
        connect_timeout=CONNECT_TIMEOUT_S, request_timeout=REQUEST_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=RETRIES_MAX),
    )  # fmt: skip


def _google(bucket: Bucket) -> fs.FileSystem | None:
    """Return the store, with the credentials that Google's own clients find: it takes no path."""
    paths = (bucket.given.get("service_account_path"), os.environ.get("GOOGLE_SERVICE_ACCOUNT"))
    if any(paths):
        return None
    return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=REQUEST_TIMEOUT_S))


def _azure(bucket: Bucket) -> fs.FileSystem | None:
    if bucket.is_true("use_emulator"):
        host = urlsplit(os.environ.get("AZURITE_BLOB_STORAGE_URL", _EMULATOR)).netloc
        return fs.AzureFileSystem(
            _EMULATED, account_key=_EMULATED_KEY,
            blob_storage_authority=host, blob_storage_scheme="http",
            dfs_storage_authority=host, dfs_storage_scheme="http",
        )  # fmt: skip
    given, account = bucket.given, bucket.get("account")
    key, sas = given.get("access_key"), given.get("sas_token")
    if not given.keys() & set(bucket.service.secrets) and not bucket.is_alone:
        names = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY")
        key = next(filter(None, map(os.environ.get, names)), None)
        sas = os.environ.get("AZURE_STORAGE_SAS_KEY")
    if key:
        return fs.AzureFileSystem(account, account_key=key)
    if sas:
        return fs.AzureFileSystem(account, sas_token=f"?{sas.lstrip('?')}")
    app = [given.get(name) for name in ("tenant_id", "client_id", "client_secret")]
    if all(app):
        return fs.AzureFileSystem(account, tenant_id=app[0], client_id=app[1], client_secret=app[2])
    return None


_FILES: Final[Mapping[str, Callable[[Bucket], fs.FileSystem | None]]] = {
    "s3": _s3, "gs": _google, "az": _azure,
}  # fmt: skip
"""What a kind of store is asked through: a row for each of ``SERVICES``."""
