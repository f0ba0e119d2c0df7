"""The recorder: every search that ran is put on record before its rows are released.

Rules:
    - The record, its ledger entry, the index of returned rows and whatever listeners add are one
      store transaction, committed before this returns. If it fails, no rows are released.
    - Searches of several threads, and those of one batch, share a transaction and its one fsync;
      see :mod:`affidavit.engine.audit.commits`.
    - A search inside the caller's own transaction is recorded in it, and on its own if that is
      rolled back; see :mod:`affidavit.engine.audit.carried`.
    - A search outside waits for somebody's transaction until that has lasted a quarter of a second;
      then its record is made durable beside the store, and its number comes once the lock is free.
      Where neither can be done, no rows are released.
    - A session that was opened to be read changes no data, and puts its searches on record all the
      same; where it cannot, it cannot search.
    - The Lance version that was read is tagged first, so that the record can be replayed; of a lake
      whose records are kept in another nothing is written, and none is tagged.
    - Where nothing can be written, nothing is searched, and nothing read that is to be on record.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.entry import stamped
from affidavit.catalog.model import clock
from affidavit.catalog.model.policy import OFF, stricter
from affidavit.engine.audit.appender import Appender
from affidavit.engine.audit.carried import CarriedRecords, DeferredRecords
from affidavit.engine.audit.commits import Commits
from affidavit.engine.audit.description import describe, describe_match
from affidavit.engine.audit.recall import RecallSample
from affidavit.engine.audit.settings import checked_lineage
from affidavit.engine.search.record import draft_record
from affidavit.errors import ReadOnlyError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.lake.outbox import Changer
    from affidavit.catalog.ledger.entry import Draft, StoredEntry
    from affidavit.catalog.ledger.guard import Guard
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.model.listeners import Listeners
    from affidavit.catalog.model.release import TableRead
    from affidavit.catalog.store.protocol import Writer
    from affidavit.catalog.store.transactions import Transactions
    from affidavit.engine.audit.appender import RecordListener
    from affidavit.engine.audit.settings import AuditSettings
    from affidavit.engine.search.record import SearchRecord
    from affidavit.engine.search.request import CompletedSearch, SearchRequest
    from affidavit.engine.search.searcher import Beside
    from affidavit.triggers.rules.near import Match


NO_RECORDS: Final = (
    "this lake lies where nothing can be written, and what was asked must be on record: pass "
    "connect(..., read_only=True, records='/a/folder'), a lake that takes the records, or copy "
    "this one to where it can be written"
)


class Recorder:
    """Puts searches on record, for every session of one lake.

    It is what the searcher keeps records with; see :class:`~affidavit.engine.search.searcher.
    RecordKeeper`.

    Args:
        lake: The lake.
        settings: What is put on record.
        guard: Checks a tenant's ledger before it is first written to.
        wake: Called when something was put on record.
        read: The lake that is read, where ``lake`` is but where its records are kept.

    Attributes:
        settings: What is put on record.
        lake_id: The lake that is read, where that is another; records name it.
    """

    def __init__(
        self,
        lake: Lake,
        settings: AuditSettings,
        guard: Guard,
        wake: Callable[[], None],
        *,
        read: Lake | None = None,
    ) -> None:
        self.settings: Final = settings
        self.lake_id = None if read is None else read.lake_id
        self._store = lake.store
        journals = lake.journals
        self._datasets = None if read is not None else lake.datasets
        self._ledgers = lake.ledgers
        self._guard = guard
        self._wake = wake
        self._appender = Appender(
            lake.ledgers, lake.news, lambda tenant, count: journals.of(tenant).records.added(count)
        )
        self._commits = Commits(lake.store, self._appender)
        self._deferred = DeferredRecords(lake, self._appender, wake)
        self._carried = CarriedRecords(lake, self._appender, self._commits, self._deferred)
        self._is_recovering = False
        chance = random.Random().random  # noqa: S311 - chooses samples, not keys
        self._recall = RecallSample(settings.recall_share, chance)
        self._off: set[str] = set()

    @property
    def listeners(self) -> Listeners[RecordListener]:
        """Who is told of every record."""
        return self._appender.listeners

    def recover(self) -> None:
        """Put on record what processes that died had searched inside a transaction.

        What another writer keeps waiting is left to :meth:`settle`.

        Raises:
            LedgerCorruptError: Somebody else wrote what is there to be put on record.
        """
        self._is_recovering = self._carried.recover()
        if self._is_recovering:
            self._wake()

    def settle(self) -> bool:
        """Give numbers to records that had to wait; return whether some wait still."""
        waits = self._deferred.settle()
        if self._is_recovering:
            self._is_recovering = self._carried.recover()
        return waits or self._is_recovering

    def close(self) -> None:
        """Settle what can be, and leave the rest to whoever opens the lake next."""
        try:
            self._deferred.settle()
        finally:
            self._deferred.leave()

    # --- what the searcher asks ----------------------------------------------------------------

    def open(self, identity: Identity) -> None:
        """Raise if the ledger of an identity's tenant takes no record."""
        self._refuse_closed()
        if self.settings.mode != "off":
            self._guard.open(identity.tenant)

    def check(self, request: SearchRequest) -> None:
        """Refuse a search that could not be put on record."""
        if self._is_wanted(request):
            checked_lineage(request.lineage)

    def record(
        self, searches: Sequence[CompletedSearch], beside: Beside | None = None
    ) -> list[SearchRecord | None]:
        """Put ``searches``, which are one tenant's, on record and return their records.

        ``beside`` goes with them, in the same commit.

        Raises:
            AffidavitError: They could not be recorded. Their rows must not be released.
        """
        identity = searches[0].request.identity
        if not any(self._is_wanted(each.request) for each in searches):
            self.note_if_off(identity, searches[0].request.transactions)
            if beside is not None:
                self.record_beside(beside)
            return [None] * len(searches)
        self._guard.open(identity.tenant)
        if self._datasets is not None:
            for search in searches:
                dataset, table_id = search.request.dataset, search.request.info.table_id
                self._datasets.keep(dataset, table_id, identity.tenant)
        records = [
            describe(
                search,
                store_query=self.settings.store_queries,
                recall=self._recall.measured(search),
                lake_id=self.lake_id,
            )
            for search in searches
        ]
        drafts = [draft_record(record) for record in records]
        if beside is not None:
            drafts.append(beside.draft([str(record.query_id) for record in records]))
        entries = self._put_soon(identity, drafts, searches[0].request.transactions)
        if beside is not None:
            beside.entered(entries[-1] if entries else None)
        if entries is None:
            shown = identity.shown_tenant
            return [record.replaced(tenant=shown) for record in records]
        return list(_as_entered(identity, records, entries))

    def keep_versions(self, identity: Identity, tables: Iterable[TableRead]) -> None:
        """Have clean-ups spare the versions of vector tables that a read on record is about."""
        for each in tables:
            if self._datasets is not None and each.dataset is not None and each.table_id:
                self._datasets.keep(each.dataset, each.table_id, identity.tenant)

    def _is_wanted(self, request: SearchRequest) -> bool:
        """Return whether a search is to be on record, as the session or its table wants it."""
        taken = () if request.transactions is None else request.transactions.policies
        return stricter(self.settings.mode, request.info.audit, *taken) != OFF

    def record_beside(self, beside: Beside) -> None:
        """Put on record what goes with no search.

        Raises:
            AffidavitError: It could not be recorded. No rows must be released.
        """
        entries = self._put_soon(beside.identity, [beside.draft(())], beside.transactions)
        beside.entered(entries[0] if entries else None)

    def _put_soon(
        self, identity: Identity, drafts: Sequence[Draft], transactions: Transactions | None
    ) -> list[StoredEntry] | None:
        """Append ``drafts``, or make them durable if others write for long: then ``None``."""
        try:
            return self._put(identity, drafts, transactions, patient=False)
        except StoreBusyError:
            self._deferred.add(identity.tenant, drafts)
            return None

    def keep(self, search: CompletedSearch) -> None:
        """Put on record a search that nobody waits for, unless it is there already.

        Where that fails it is asked again, and what failed may have come after the commit.
        """
        tenant = search.request.identity.tenant
        with self._store.read(tenant) as reader:
            known = self._ledgers.of(tenant).numbers(reader, [search.query_id])
        if not known:
            self.record([search])

    # --- writing -------------------------------------------------------------------------------

    def write(
        self,
        identity: Identity,
        records: Sequence[SearchRecord],
        drafts: Sequence[Draft],
        transactions: Transactions | None,
    ) -> list[SearchRecord]:
        """Append ``records``, of which ``drafts`` are the entries, all or none.

        ``transactions`` are those of the session that asks.

        Returns:
            The records as the ledger has them.
        """
        return _as_entered(identity, records, self._put(identity, drafts, transactions))

    def note(
        self,
        identity: Identity,
        kind: str,
        transactions: Transactions | None = None,
        **fields: object,
    ) -> None:
        """Append what is no search to the ledger: an entry of ``kind`` that says ``fields``.

        ``transactions`` are those of the session that asks, if one does.
        """
        now_us = clock.now_us()
        if self.lake_id is not None:
            fields["lake_id"] = self.lake_id
        entry = stamped(kind, f"{kind}-{clock.uuid7(now_us)}", now_us, identity, **fields)
        self._put(identity, [entry], transactions)

    def note_if_off(self, identity: Identity, transactions: Transactions | None = None) -> None:
        """Note in the ledger that searches leave no record, once for each tenant."""
        if self.settings.mode != "off" or identity.tenant in self._off:
            return
        if self._store.is_closed_to_writers:  # then nothing is searched either
            return
        self._guard.open(identity.tenant)
        self.note(identity, "audit-off", transactions)
        self._off.add(identity.tenant)

    def _put(
        self,
        identity: Identity,
        drafts: Sequence[Draft],
        transactions: Transactions | None,
        *,
        patient: bool = True,
    ) -> list[StoredEntry]:
        """Append ``drafts`` so that they stay, whatever becomes of the open transaction.

        One that has changed nothing yet holds no writer, and has nothing to do with it.
        """
        self._refuse_closed()
        active = None if transactions is None else transactions.current()
        entries = None
        if transactions is not None and active is not None and active.has_changed:
            entries = self._carried.append(transactions, identity, drafts)
        if entries is None:
            entries = self._commits.submit(identity.tenant, drafts, patient=patient)
        self._wake()
        return entries

    def _refuse_closed(self) -> None:
        """Raise ReadOnlyError if nothing can be put on record."""
        if self._store.is_closed_to_writers:
            raise ReadOnlyError(NO_RECORDS)

    def record_match(self, catalog: Changer, writer: Writer, match: Match) -> None:
        """Put on record what a standing search found, in the transaction of the change."""
        if self.settings.mode == "off":
            return
        now_us = clock.now_us()
        record = describe_match(
            match,
            clock.uuid7(now_us),
            now_us,
            self._ledgers.of(catalog.tenant).last_seq(writer),
            store_query=self.settings.store_queries,
        )
        self._appender.append(writer, catalog.tenant, [draft_record(record)])


def _as_entered(
    identity: Identity, records: Sequence[SearchRecord], entries: Sequence[StoredEntry]
) -> list[SearchRecord]:
    """Return ``records`` as the ledger has them."""
    shown = identity.shown_tenant
    return [
        record.replaced(seq=entry.seq, tenant=shown, key_id=entry.key_id, signature=entry.signature)
        for record, entry in zip(records, entries, strict=False)  # a read's is the last
    ]
