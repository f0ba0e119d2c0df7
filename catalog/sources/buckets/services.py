"""Which kinds of object store there are: a row each.

A new one has a row here, a row of what DataFusion reads it through (engine/plan/contexts.py), and
the names that a library of tables has for its options (sources/files/delta.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from affidavit.catalog.sources.buckets.bucket import Service
from affidavit.errors import SourceError

if TYPE_CHECKING:
    from affidavit.catalog.sources.buckets.bucket import Bucket


def _s3_address(bucket: Bucket) -> tuple[str, int]:
    endpoint = bucket.get("endpoint")
    if endpoint is not None:
        return _address(endpoint)
    region = bucket.get("region") or "us-east-1"
    return f"s3.{region}.amazonaws.com", 443


def _google_address(_: Bucket) -> tuple[str, int]:
    return "storage.googleapis.com", 443


def _azure_address(bucket: Bucket) -> tuple[str, int]:
    if bucket.is_true("use_emulator"):
        return _address(os.environ.get("AZURITE_BLOB_STORAGE_URL", "http://127.0.0.1:10000"))
    account = bucket.get("account")
    if account is None:
        msg = f"{bucket.url}: pass account=, or set AZURE_STORAGE_ACCOUNT_NAME"
        raise SourceError(msg)
    return f"{account}.blob.core.windows.net", 443


def _address(endpoint: str) -> tuple[str, int]:
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or "@" in parts.netloc or parts.scheme not in {"http", "https"}:
        raise SourceError("expected an endpoint such as 'https://host:port'")
    return host, port or (80 if parts.scheme == "http" else 443)


def _is_logged_in(_: Bucket) -> bool:
    """Return whether Google's own command has kept credentials."""
    kept = Path("~/.config/gcloud/application_default_credentials.json")
    return kept.expanduser().is_file()


def _is_emulated(bucket: Bucket) -> bool:
    return bucket.is_true("use_emulator")


_S3: Final = Service(
    "s3",
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
    _s3_address,
    needed=("access_key_id", "secret_access_key", "region", "endpoint"),
    unclouded="AWS_EC2_METADATA_DISABLED",
)  # fmt: skip
_GOOGLE: Final = Service(
    "gs",
    "gcp",
    {},
    ("service_account_path",),
    ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT"),
    _google_address,
    _is_logged_in,
    unclouded="NO_GCE_CHECK",
)
_AZURE: Final = Service(
    "az",
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
    _azure_address,
    _is_emulated,
    needed=("account", "access_key"),
)  # fmt: skip
SERVICES: Final = {each.scheme: each for each in (_S3, _GOOGLE, _AZURE)}
PREFIXES: Final = frozenset(each.prefix for each in SERVICES.values())
