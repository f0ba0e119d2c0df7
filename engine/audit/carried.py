"""Records that an open transaction carries, and that stay whatever becomes of it.

Rules:
    - If its rows reach the caller before it is committed, the record is durable before that, in a
      file of its own; see :mod:`affidavit.engine.audit.pending`.
    - What a transaction carried and rolled back is committed by itself; if the process dies first,
      whoever opens the lake next does so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.lake.catalog import Catalog
from affidavit.engine.audit.appender import missing
from affidavit.engine.audit.pending import PendingFile, abandoned
from affidavit.errors import MasterKeyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.ledger.entry import Draft, StoredEntry
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.transaction import Transaction
    from affidavit.catalog.store.transactions import Transactions
    from affidavit.engine.audit.appender import Appender
    from affidavit.engine.audit.commits import Commits


class CarriedRecords:
    """Appends drafts within transactions."""

    def __init__(self, lake: Lake, appender: Appender, commits: Commits) -> None:
        self._lake = lake
        self._appender = appender
        self._commits = commits

    def append(
        self, transactions: Transactions, identity: Identity, drafts: Sequence[Draft]
    ) -> list[StoredEntry]:
        """Append ``drafts`` in the transaction that is open, and see to them when it ends."""
        tenant, active = identity.tenant, transactions.current()
        assert active is not None
        held = self._held(active, tenant, drafts) if active.releases else None
        try:
            with Catalog(self._lake, identity, transactions).write() as writer:
                entries = self._appender.append(writer, tenant, drafts)
        except BaseException:
            if held is not None:
                held.remove()
            raise
        active.on_end(lambda _committed: self._settle(tenant, drafts, held))
        return entries

    def _held(self, active: Transaction, tenant: str, drafts: Sequence[Draft]) -> PendingFile:
        ledger = self._lake.ledgers.of(tenant)
        head = ledger.head(active.writer)
        generation = 0 if head is None else head.generation
        signer = ledger.signer(generation)
        return PendingFile(self._lake.folders.pending, tenant, drafts, generation, signer)

    def _settle(self, tenant: str, drafts: Sequence[Draft], held: PendingFile | None) -> None:
        """Put on record by itself what a transaction had searched and then rolled back."""
        with self._lake.store.read(tenant) as reader:
            lost = missing(reader, tenant, drafts)
        if lost:
            self._commits.submit(tenant, lost)
        if held is not None:
            held.remove()

    def recover(self) -> None:
        """Put on record what processes that died had searched inside a transaction.

        What belongs in a ledger of another master key is left to whoever has that.

        Raises:
            LedgerCorruptError: Somebody else wrote what is there to be put on record.
        """
        for pending in abandoned(self._lake.folders.pending):
            ledger = self._lake.ledgers.of(pending.tenant)
            with self._lake.store.write(pending.tenant) as writer:
                try:
                    ledger.check_key(writer)
                except MasterKeyError:
                    continue
                pending.check(ledger.signer(pending.generation).public_key)
                lost = missing(writer, pending.tenant, pending.drafts)
                if lost:
                    self._appender.append(writer, pending.tenant, lost)
            pending.path.unlink()
