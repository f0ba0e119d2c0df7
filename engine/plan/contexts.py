"""The DataFusion contexts of one opened lake, and what they read that is far away."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl
from weakref import WeakSet

from datafusion import RuntimeEnvBuilder, SessionContext, object_store

from affidavit.catalog.lake.memory import Memory
from affidavit.catalog.sources.buckets.object_stores import ObjectStores
from affidavit.catalog.sources.web.copies import Copies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from datafusion import SessionConfig

    from affidavit.catalog.sources.buckets.bucket import Bucket


class Contexts:
    """Contexts that read the same object stores; one that nobody else holds is let go.

    Args:
        runtime: What they run in; by default memory without a limit.

    Attributes:
        stores: What they read.
        copies: What they read of the web.
        runtime: The same.
    """

    def __init__(self, runtime: Runtime | None = None) -> None:
        self.runtime = Runtime(Memory()) if runtime is None else runtime
        self.stores = ObjectStores(self._register)
        self.copies = Copies(self.runtime.memory)
        self._lock = threading.Lock()
        self._contexts: WeakSet[SessionContext] = WeakSet()

    def __len__(self) -> int:
        return len(self._contexts)

    def hide(self, text: str) -> str:
        """Return a text without credentials, and without where copies of files of the web are."""
        return self.copies.hide(self.stores.hide(text))

    def add(self, *contexts: SessionContext) -> None:
        """Have contexts read whatever is reached from now on."""
        with self._lock:  # another thread may go through the set that was
            self._contexts = self._contexts.union(contexts)

    def _register(self, bucket: Bucket) -> None:
        scheme = bucket.service.scheme
        store = _STORES[scheme](bucket)
        for context in self._contexts:
            context.register_object_store(f"{scheme}://", store, host=bucket.name)


class Runtime:
    """What all contexts of a lake run in: they share the one pool that is made here.

    In a fair pool a plan that can spill does so before it takes what others need.

    Attributes:
        memory: What the lake's statements hold together.
    """

    def __init__(self, memory: Memory) -> None:
        made = RuntimeEnvBuilder()
        if memory.limit is not None:
            made = made.with_fair_spill_pool(memory.limit)
        if memory.folder is None:
            self._made = made.with_disk_manager_disabled()
        else:
            self._made = made.with_disk_manager_specified(memory.folder)
        self.memory = memory

    def context(self, config: SessionConfig) -> SessionContext:
        """Return a new context.

        Raises:
            LakeError: The folder that it would spill to is gone, and cannot be made.
        """
        self.memory.make_folder()  # DataFusion makes one of its own in it
        return SessionContext(config, self._made)


# --- a bucket, as DataFusion reads it ------------------------------------------------------------


def _s3(bucket: Bucket) -> Any:  # noqa: ANN401 - DataFusion's stores have no common type
    given = bucket.given
    return object_store.AmazonS3(
        bucket.name,
        region=bucket.get("region"),
        access_key_id=given.get("access_key_id"),
        secret_access_key=given.get("secret_access_key"),
        session_token=given.get("session_token"),
        endpoint=bucket.get("endpoint"),
        allow_http=bucket.is_true("allow_http"),
    )


def _google(bucket: Bucket) -> Any:  # noqa: ANN401 - as above
    known = filter(None, map(os.environ.get, bucket.service.variables))
    path = bucket.given.get("service_account_path") or next(known, None)
    return object_store.GoogleCloud(bucket.name, service_account_path=path)


def _azure(bucket: Bucket) -> Any:  # noqa: ANN401 - as above
    given = bucket.given
    sas = given.get("sas_token", "").lstrip("?")
    return object_store.MicrosoftAzure(
        bucket.name,
        account=bucket.get("account"),
        access_key=given.get("access_key"),
        bearer_token=given.get("bearer_token"),
        client_id=given.get("client_id"),
        client_secret=given.get("client_secret"),
        tenant_id=given.get("tenant_id"),
        sas_query_pairs=parse_qsl(sas, keep_blank_values=True) if sas else None,
        use_emulator=bucket.is_true("use_emulator") or None,
        allow_http=bucket.is_true("allow_http") or None,
    )


_STORES: Final[Mapping[str, Callable[[Bucket], Any]]] = {"s3": _s3, "gs": _google, "az": _azure}
"""What a kind of store is read through: a row for each of the catalog's ``SERVICES``."""
