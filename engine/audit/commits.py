"""Commits of records that no open transaction carries: threads that wait share one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeAlias

from affidavit.catalog.store.group_commit import GroupCommit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.ledger.entry import Draft, StoredEntry
    from affidavit.catalog.store.protocol import Store
    from affidavit.engine.audit.appender import Appender

    Group: TypeAlias = GroupCommit[Sequence[Draft], list[StoredEntry]]

WAIT_S: Final = 0.25
"""How long the rows of a search wait for other writers; past that its record is deferred.

It is counted from when the other began: each search beside a long transaction would wait so long.
"""


class Commits:
    """Commits drafts by themselves, in a group a tenant."""

    def __init__(self, store: Store, appender: Appender) -> None:
        self._store = store
        self._appender = appender
        self._groups: dict[tuple[str, bool], Group] = {}
        self._starting = threading.Lock()

    def submit(
        self, tenant: str, drafts: Sequence[Draft], *, patient: bool = True
    ) -> list[StoredEntry]:
        """Append ``drafts``, all or none, and return the entries; they are durable then.

        Args:
            tenant: Whose ledger they are for.
            drafts: What is to be appended.
            patient: Whether to wait for other writers as long as any does, and not until one of
                them writes for :data:`WAIT_S`.

        Raises:
            StoreBusyError: Other writers held the store: nothing was appended.
        """
        wait_s = None if patient else self._soon_s()
        return self._group(tenant, patient=patient).submit(drafts, wait_s=wait_s)

    def _group(self, tenant: str, *, patient: bool = False) -> Group:
        """Return those who wait together: nobody waits longer since another in it would."""
        commit = self._commit if patient else self._commit_soon
        with self._starting:
            if (tenant, patient) not in self._groups:
                self._groups[tenant, patient] = GroupCommit(lambda each: commit(tenant, each))
            return self._groups[tenant, patient]

    def _commit_soon(
        self, tenant: str, batches: Sequence[Sequence[Draft]]
    ) -> list[list[StoredEntry]]:
        return self._commit(tenant, batches, wait_s=self._soon_s())

    def _soon_s(self) -> float:
        return max(0.0, WAIT_S - self._store.holds.lasts_s)

    def _commit(
        self, tenant: str, batches: Sequence[Sequence[Draft]], *, wait_s: float | None = None
    ) -> list[list[StoredEntry]]:
        drafts = [each for batch in batches for each in batch]
        with self._store.write(tenant, record=True, timeout_s=wait_s) as writer:
            entries = iter(self._appender.append(writer, tenant, drafts))
            return [[next(entries) for _ in batch] for batch in batches]
