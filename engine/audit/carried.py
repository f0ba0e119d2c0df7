"""Records beside an open transaction: those that it carries, and those that it keeps waiting.

Rules:
    - What waits for somebody's transaction longer than its rows should is made durable in a file of
      its own, and has its number once the lock is free: the housekeeper sees to it. Its rows are
      out by then, so no listener can refuse it any more.
    - If its rows reach the caller before it is committed, the record is durable before that, in a
      file of its own; see :mod:`affidavit.engine.audit.pending`.
    - What a transaction carried and rolled back is committed by itself; if the process dies first,
      whoever opens the lake next does so.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Final

from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.store.group_commit import GroupCommit
from affidavit.engine.audit.pending import Owner, PendingFile, abandoned
from affidavit.errors import MasterKeyError, StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.ledger.entry import Draft, StoredEntry
    from affidavit.catalog.ledger.keys import Signer
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.ledger.verifier import PublicKey
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.store.transaction import Transaction
    from affidavit.catalog.store.transactions import Transactions
    from affidavit.engine.audit.appender import Appender
    from affidavit.engine.audit.commits import Commits
    from affidavit.engine.audit.pending import Pending


_log: Final = logging.getLogger("affidavit")

SETTLE_WAIT_S: Final = 1.0
"""How long the housekeeper waits for other writers before it comes again."""

FILES_MAX: Final = 64
"""How many files' drafts get their numbers in one transaction: others wait for it."""


def _signed_by(lake: Lake, reader: Reader, tenant: str) -> tuple[int, Signer]:
    """Return the generation and key that sign what is pending for a tenant's ledger.

    Raises:
        MasterKeyError: There is no key, or it is not the ledger's.
    """
    ledger = lake.ledgers.of(tenant)
    ledger.check_key(reader)
    head = ledger.head(reader)
    generation = 0 if head is None else head.generation
    return generation, ledger.signer(generation)


def _key_of(ledger: Ledger, reader: Reader, pending: Pending) -> PublicKey:
    """Return the key that must have signed what is pending.

    It may be of another master key, if the ledger's key was rotated after all that it signed.
    """
    named, generation = ledger.key_entries(reader), pending.generation
    if 0 <= generation < len(named) - 1:
        rotated_at = named[generation + 1].created_at
        if all(each.at_us <= rotated_at for each in pending.drafts):
            return ledger.keys(reader)[generation]
    return ledger.signer(generation).public_key


def _enter(appender: Appender, writer: Writer, tenant: str, drafts: Sequence[Draft]) -> None:
    """Append ``drafts`` of which the rows are out: a listener is told, and cannot refuse them."""
    try:
        with writer.savepoint():
            appender.append(writer, tenant, drafts)
    except StoreError:
        raise
    except Exception:  # noqa: BLE001 - a listener's: it may be anything
        _log.exception("a record could not be refused any more: its rows are out")
        appender.append(writer, tenant, drafts, tell=False)


class CarriedRecords:
    """Appends drafts within transactions."""

    def __init__(
        self, lake: Lake, appender: Appender, commits: Commits, deferred: DeferredRecords
    ) -> None:
        self._lake = lake
        self._appender = appender
        self._commits = commits
        self._deferred = deferred

    def append(
        self, transactions: Transactions, identity: Identity, drafts: Sequence[Draft]
    ) -> list[StoredEntry] | None:
        """Append ``drafts`` in the transaction that is open, and see to them when it ends.

        Another thread may end it, and begin the next, until it is this one's turn.

        Returns:
            The entries; ``None`` if no transaction is open by then that has changed something.
        """
        with transactions.turn():
            active = transactions.current()
            if active is None or not active.has_changed:
                return None
            return self._append(active, transactions, identity, drafts)

    def _append(
        self,
        active: Transaction,
        transactions: Transactions,
        identity: Identity,
        drafts: Sequence[Draft],
    ) -> list[StoredEntry]:
        tenant, held = identity.tenant, None
        if active.releases:
            signed_by = _signed_by(self._lake, active.writer, tenant)
            held = PendingFile(self._lake.folders.pending, tenant, drafts, *signed_by)
        try:
            with Catalog(self._lake, identity, transactions).write() as writer:
                entries = self._appender.append(writer, tenant, drafts)
        except BaseException:
            if held is not None:
                held.remove()
            raise
        active.on_end(lambda _committed: self._settle(tenant, drafts, held))
        return entries

    def _settle(self, tenant: str, drafts: Sequence[Draft], held: PendingFile | None) -> None:
        """Put on record by itself what a transaction had searched and then rolled back.

        Where another writer is next, and stays, it has its number later: how the transaction ended
        is not to be told by that.
        """
        with self._lake.store.read(tenant) as reader:
            lost = self._appender.missing(reader, tenant, drafts)
        try:
            if lost:
                self._commits.submit(tenant, lost, patient=False)
        except StoreBusyError:
            self._deferred.take(tenant, lost, held)
            return
        if held is not None:
            held.remove()

    def recover(self) -> bool:
        """Put on record what processes that died had searched inside a transaction.

        What belongs in a ledger of another master key is left to whoever has that.

        Returns:
            Whether another writer kept some of it waiting, for which this is to be asked again.

        Raises:
            LedgerCorruptError: Somebody else wrote what is there to be put on record.
        """
        try:
            for pending in abandoned(self._lake.folders.pending):
                self._recover(pending)
        except StoreBusyError:
            return True
        return False

    def _recover(self, pending: Pending) -> None:
        tenant = pending.tenant
        ledger = self._lake.ledgers.of(tenant)
        with self._lake.store.write(tenant, record=True, timeout_s=SETTLE_WAIT_S) as writer:
            try:
                ledger.check_key(writer)
            except MasterKeyError:
                return
            pending.check(_key_of(ledger, writer, pending))
            lost = self._appender.missing(writer, tenant, pending.drafts)
            if lost:
                _enter(self._appender, writer, tenant, lost)
        pending.path.unlink()


@dataclass(frozen=True, slots=True)
class _Deferred:
    """What is durable in one file and waits for its numbers: each caller's drafts."""

    tenant: str
    drafts: Sequence[Sequence[Draft]]
    file: PendingFile


def _grouped(waiting: Iterable[_Deferred]) -> Iterator[list[_Deferred]]:
    """Yield what is next to each other and one tenant's, so much as one transaction takes."""
    for _, own in groupby(waiting, lambda each: each.tenant):
        while group := list(islice(own, FILES_MAX)):
            yield group


class DeferredRecords:
    """Records that somebody's open transaction keeps from having a number.

    Args:
        lake: The lake.
        appender: Writes them once the lock is free.
        wake: Called when there is something to settle.
    """

    def __init__(self, lake: Lake, appender: Appender, wake: Callable[[], None]) -> None:
        self._lake = lake
        self._appender = appender
        self._wake = wake
        self._owner = Owner(lake.folders.pending)
        self._waiting: list[_Deferred] = []
        self._changing = threading.Lock()
        self._files: GroupCommit[tuple[str, Sequence[Draft]], PendingFile] = GroupCommit(
            self._write
        )

    def add(self, tenant: str, drafts: Sequence[Draft]) -> None:
        """Make ``drafts`` durable; they have their numbers later, whatever happens.

        Raises:
            AffidavitError: They could not be made durable.
        """
        self._files.submit((tenant, drafts))
        self._wake()

    def take(self, tenant: str, drafts: Sequence[Draft], file: PendingFile | None) -> None:
        """Take over ``drafts`` of a transaction that is over; ``file`` is where they are durable.

        Raises:
            AffidavitError: There is no such file, and none could be written.
        """
        if file is None:
            self.add(tenant, drafts)
            return
        with self._changing:
            self._waiting.append(_Deferred(tenant, [drafts], file))
        self._wake()

    def _write(self, items: Sequence[tuple[str, Sequence[Draft]]]) -> list[PendingFile]:
        """Write what threads that wait want to be durable: a file a tenant, with its fsyncs."""
        files: dict[str, PendingFile] = {}
        for tenant in dict.fromkeys(tenant for tenant, _ in items):
            drafts = [each for of, each in items if of == tenant]
            flat = [draft for each in drafts for draft in each]
            with self._changing, self._lake.store.read(tenant) as reader:
                signed_by = _signed_by(self._lake, reader, tenant)
                file = PendingFile(
                    self._lake.folders.pending, tenant, flat, *signed_by, owner=self._owner
                )
                self._waiting.append(_Deferred(tenant, drafts, file))
            files[tenant] = file
        return [files[tenant] for tenant, _ in items]

    def settle(self) -> bool:
        """Give numbers to what waits, oldest first; return whether something waits still.

        Raises:
            AffidavitError: The ledger takes none: they wait on.
        """
        for group in _grouped(list(self._waiting)):
            try:
                self._append(group)
            except StoreBusyError:
                return True
            self._forget(group)
        return bool(self._waiting)

    def _append(self, group: Sequence[_Deferred]) -> None:
        """Append what one tenant searched, in one transaction."""
        tenant = group[0].tenant
        with self._lake.store.write(tenant, record=True, timeout_s=SETTLE_WAIT_S) as writer:
            for drafts in (drafts for each in group for drafts in each.drafts):
                lost = self._appender.missing(writer, tenant, drafts)
                _enter(self._appender, writer, tenant, lost)

    def _forget(self, group: Sequence[_Deferred]) -> None:
        with self._changing:
            for each in group:
                self._waiting.remove(each)
                each.file.remove()
            if not self._waiting:
                self._owner.release(tidy=True)

    def leave(self) -> None:
        """Leave what waits still to whoever opens the lake next."""
        with self._changing:
            self._owner.release(tidy=not self._waiting)
            for each in self._waiting:
                each.file.leave()
            self._waiting.clear()
