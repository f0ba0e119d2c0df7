"""Commits of records that no open transaction carries: threads that wait share one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeAlias

from affidavit.catalog.store.group_commit import GroupCommit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.ledger.entry import Draft, StoredEntry
    from affidavit.catalog.store.protocol import Store
    from affidavit.engine.audit.appender import Appender

    Group: TypeAlias = GroupCommit[Sequence[Draft], list[StoredEntry]]


class Commits:
    """Commits drafts by themselves, in a group a tenant."""

    def __init__(self, store: Store, appender: Appender) -> None:
        self._store = store
        self._appender = appender
        self._groups: dict[str, Group] = {}
        self._starting = threading.Lock()

    def submit(self, tenant: str, drafts: Sequence[Draft]) -> list[StoredEntry]:
        """Append ``drafts``, all or none, and return the entries; they are durable then."""
        return self._group(tenant).submit(drafts)

    def _group(self, tenant: str) -> Group:
        with self._starting:
            if tenant not in self._groups:
                self._groups[tenant] = GroupCommit(lambda batches: self._commit(tenant, batches))
            return self._groups[tenant]

    def _commit(self, tenant: str, batches: Sequence[Sequence[Draft]]) -> list[list[StoredEntry]]:
        drafts = [each for batch in batches for each in batch]
        with self._store.write(tenant, record=True) as writer:
            entries = iter(self._appender.append(writer, tenant, drafts))
            return [[next(entries) for _ in batch] for batch in batches]
