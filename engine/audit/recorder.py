"""The audit hook: every search that ran is put on record before its rows are released.

Rules:
    - The record, its ledger entry, the index of returned rows and whatever listeners add are one
      store transaction, committed before this returns. If it fails, no rows are released.
    - Searches of several threads, and those of one batch, share a transaction and its one fsync.
    - A search inside the caller's own transaction is recorded in it, and on its own if that is
      rolled back; see :mod:`affidavit.engine.audit.pending`.
    - A session that was opened to be read changes no data, and puts its searches on record all the
      same; where it cannot, it cannot search.
    - The Lance version that was read is tagged first, so that the record can be replayed.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from affidavit.catalog.lake.catalog import Catalog
from affidavit.catalog.ledger.entry import draft
from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import In
from affidavit.catalog.sql.quoting import lance_in
from affidavit.catalog.store.group_commit import GroupCommit
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import (
    LEDGER,
    RESULTS,
)
from affidavit.catalog.values.canonical import canonical, datetime_of
from affidavit.engine.audit.pending import PendingFile, abandoned
from affidavit.engine.audit.topic import AuditTopics
from affidavit.engine.search.ranking import ranking_of
from affidavit.engine.search.record import KIND, SearchRecord, draft_record, record_of
from affidavit.engine.search.searcher import complete
from affidavit.errors import InvalidQueryError, LineageTooLargeError, MasterKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from affidavit.catalog.lake.lake import Lake
    from affidavit.catalog.lake.outbox import Changer
    from affidavit.catalog.ledger.entry import (
        Draft,
        StoredEntry,
    )
    from affidavit.catalog.ledger.guard import Guard
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.store.transaction import Transaction, Transactions
    from affidavit.engine.search.request import CompletedSearch, SearchRequest
    from affidavit.triggers.rules.near import Match

LINEAGE_VARIABLE: Final = "AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES"
LINEAGE_BYTES_MAX: Final = 8192
IDS_AT_ONCE: Final = 500
_RESULT_COLUMNS: Final = ("row_id", "seq")


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What is put on record.

    Attributes:
        mode: ``statements`` (searches too), ``searches`` or ``off``.
        store_queries: Whether records hold the query itself, and not only its hash.
        recall_share: Which share of the searches is run once more, exactly, to measure recall.
    """

    mode: str = "statements"
    store_queries: bool = False
    recall_share: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in {"statements", "searches", "off"}:
            msg = f"audit must be 'statements', 'searches' or 'off', got {self.mode!r}"
            raise InvalidQueryError(msg)
        share = self.recall_share
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            msg = f"audit_recall must be a share from 0 to 1, got {share!r}"
            raise InvalidQueryError(msg)


class RecordListener(Protocol):
    """What is told of every record inside the transaction that writes it."""

    def on_records(self, records: Sequence[SearchRecord], writer: Writer) -> None:
        """Note ``records``; write only through ``writer``, and raise to refuse."""


def checked_lineage(lineage: object) -> bytes:
    """Return a search's lineage as JSON.

    Raises:
        LineageTooLargeError: It has more bytes than are allowed.
        InvalidQueryError: It is not JSON, or the limit is no number.
    """
    given = os.environ.get(LINEAGE_VARIABLE, str(LINEAGE_BYTES_MAX))
    if not given.isdecimal():
        msg = f"{LINEAGE_VARIABLE} must be a number of bytes, got {given!r}"
        raise InvalidQueryError(msg)
    written = canonical(lineage, "query_lineage")
    if len(written) > int(given):
        raise LineageTooLargeError(len(written), limit=int(given))
    return written


def query_digest(request: SearchRequest) -> str:
    """Return the SHA-256 of a request's query: its vector, or for a text search its text."""
    if request.vector is None:
        return hashlib.sha256((request.text or "").encode()).hexdigest()
    return hashlib.sha256(request.vector.astype("<f4").tobytes()).hexdigest()


def _describe(search: CompletedSearch, *, store_query: bool, recall: float | None) -> SearchRecord:
    """Return what a search that ran is recorded as."""
    request, identity = search.request, search.request.identity
    index = search.index or {}
    return SearchRecord(
        model_id=request.model,
        model_version=request.model_version,
        query_lineage=request.lineage,
        top_k_result_ids=[str(each) for each in search.ids],
        retrieval_scores=search.scores,
        query_id=clock.uuid7(search.started_at_us),
        table_name=request.info.name,
        table_version=request.version,
        table_id=request.info.table_id,
        index_name=index.get("name"),
        index_uuid=index.get("uuid"),
        exact=search.exact,
        mode=request.mode,
        k_requested=request.k,
        k_returned=search.rows.num_rows,
        filter=request.where,
        params=_parameters(request),
        query_sha256=query_digest(request),
        query_vector=request.vector.tolist()
        if store_query and request.vector is not None
        else None,
        query_text=request.text if store_query else None,
        recall=recall,
        executed_at=datetime_of(search.started_at_us),
        duration_us=search.duration_us,
        journal_seq=request.journal_seq,
        actor=identity.actor,
        source=identity.source,
        workspace=identity.workspace,
    )


def _parameters(request: SearchRequest) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "column": request.column,
        "metric": request.metric,
        "select": list(request.select),
        "exact": request.exact,
        "nprobes": request.nprobes,
        "refine_factor": request.refine_factor,
    }
    if request.mode == "hybrid":
        text = request.text or ""
        parameters["text_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return parameters


class Recorder:
    """Puts searches on record, for every session of one lake."""

    def __init__(
        self,
        lake: Lake,
        transactions: Transactions,
        settings: AuditSettings,
        guard: Guard,
        poke: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.listeners: list[tuple[RecordListener, str | None]] = []
        self._lake = lake
        self._topics = AuditTopics(lake.news)
        self._transactions = transactions
        self._guard = guard
        self._poke = poke
        self._off: set[str] = set()
        self._groups: dict[str, GroupCommit[Sequence[Draft], list[StoredEntry]]] = {}
        self._starting = threading.Lock()
        self._random = random.Random()  # noqa: S311 - chooses samples, not keys

    @property
    def _pending(self) -> Path:
        return self._lake.folders.pending

    # --- what the searcher asks ----------------------------------------------------------------

    def before(self, request: SearchRequest) -> None:
        """Refuse a search that could not be put on record."""
        if self.settings.mode == "off":
            self.note_if_off(request.identity)
            return
        checked_lineage(request.lineage)
        self._guard.open(request.identity.tenant)

    def note_if_off(self, identity: Identity) -> None:
        """Note in the ledger that searches leave no record, once for each tenant."""
        if self.settings.mode != "off" or identity.tenant in self._off:
            return
        self._guard.open(identity.tenant)
        now_us = clock.now_us()
        note = draft(
            "audit-off", f"audit-off-{clock.uuid7(now_us)}", now_us, actor=identity.actor,
            source=identity.source, workspace=identity.workspace,
        )  # fmt: skip
        self.note(identity, note)
        self._off.add(identity.tenant)

    def record(self, searches: Sequence[CompletedSearch]) -> list[SearchRecord | None]:
        """Put ``searches``, which are one tenant's, on record and return their records.

        Raises:
            AffidavitError: They could not be recorded. Their rows must not be released.
        """
        if self.settings.mode == "off":
            return [None] * len(searches)
        identity = searches[0].request.identity
        for search in searches:
            dataset, table_id = search.request.dataset, search.request.info.table_id
            self._lake.datasets.keep(dataset, table_id, identity.tenant)
        records = [
            _describe(search, store_query=self.settings.store_queries, recall=self._recall(search))
            for search in searches
        ]
        return list(self.write(identity, records, [draft_record(record) for record in records]))

    def _recall(self, search: CompletedSearch) -> float | None:
        """Return which share of the true nearest was found, if this search is one to measure."""
        share = self.settings.recall_share
        if not share or search.request.mode == "text" or self._random.random() >= share:
            return None
        if search.exact:
            return 1.0
        truth = complete(replace(search.request, exact=True))
        return ranking_of(search).recall_of(ranking_of(truth))

    # --- writing -------------------------------------------------------------------------------

    def write(
        self, identity: Identity, records: Sequence[SearchRecord], drafts: Sequence[Draft]
    ) -> list[SearchRecord]:
        """Append ``records``, of which ``drafts`` are the entries, all or none.

        Returns:
            The records as the ledger has them.
        """
        entries = self._put(identity, drafts)
        shown = identity.shown_tenant
        return [
            record.replaced(
                seq=entry.seq, tenant=shown, key_id=entry.key_id, signature=entry.signature
            )
            for record, entry in zip(records, entries, strict=True)
        ]

    def note(self, identity: Identity, entry: Draft) -> None:
        """Append what is no search to the ledger."""
        self._put(identity, [entry])

    def _put(self, identity: Identity, drafts: Sequence[Draft]) -> list[StoredEntry]:
        """Append ``drafts`` so that they stay, whatever becomes of the open transaction."""
        active = self._transactions.current()
        if active is None:
            entries = self._group(identity.tenant).submit(drafts)
        else:
            held = self._held(active, identity.tenant, drafts) if active.releases else None
            try:
                with self._writer(identity) as writer:
                    entries = self._append(writer, identity.tenant, drafts)
            except BaseException:
                if held is not None:
                    held.remove()
                raise
            active.on_end(lambda _committed: self._settle(identity.tenant, drafts, held))
        self._poke()
        return entries

    def _held(self, active: Transaction, tenant: str, drafts: Sequence[Draft]) -> PendingFile:
        ledger = self._lake.ledgers.of(tenant)
        head = ledger.head(active.writer)
        generation = 0 if head is None else head.generation
        signer = ledger.signer(generation)
        return PendingFile(self._pending, tenant, drafts, generation, signer)

    def _writer(self, identity: Identity) -> AbstractContextManager[Writer]:
        return Catalog(self._lake, identity, self._transactions).write()

    def _settle(self, tenant: str, drafts: Sequence[Draft], held: PendingFile | None) -> None:
        """Put on record by itself what a transaction had searched and then rolled back."""
        with self._lake.store.read(tenant) as reader:
            missing = self._missing(reader, tenant, drafts)
        if missing:
            self._group(tenant).submit(missing)
        if held is not None:
            held.remove()

    def _missing(self, reader: Reader, tenant: str, drafts: Sequence[Draft]) -> list[Draft]:
        """Return the drafts that the ledger does not have."""
        known = self.known(reader, tenant, [each.entry_id for each in drafts])
        return [each for each in drafts if each.entry_id not in known]

    def known(self, reader: Reader, tenant: str, entry_ids: Sequence[str]) -> set[str]:
        """Return those of ``entry_ids`` that the ledger has."""
        pages = (
            In("entry_id", tuple(entry_ids[at : at + IDS_AT_ONCE]))
            for at in range(0, len(entry_ids), IDS_AT_ONCE)
        )
        return {
            str(row[0])
            for page in pages
            for row in reader.select(LEDGER, ("entry_id",), own(tenant, page))
        }

    def _group(self, tenant: str) -> GroupCommit[Sequence[Draft], list[StoredEntry]]:
        with self._starting:
            if tenant not in self._groups:
                self._groups[tenant] = GroupCommit(lambda batches: self._commit(tenant, batches))
            return self._groups[tenant]

    def _commit(self, tenant: str, batches: Sequence[Sequence[Draft]]) -> list[list[StoredEntry]]:
        with self._lake.store.write(tenant, record=True) as writer:
            entries = iter(self._append(writer, tenant, [each for b in batches for each in b]))
            return [[next(entries) for _ in batch] for batch in batches]

    def _append(self, writer: Writer, tenant: str, drafts: Sequence[Draft]) -> list[StoredEntry]:
        ledger = self._lake.ledgers.of(tenant)
        entries = ledger.append(writer, drafts, now_us=clock.now_us())
        rows = [
            (row_id, entry.seq)
            for each, entry in zip(drafts, entries, strict=True)
            for row_id in each.row_ids
        ]
        writer.insert(RESULTS, _RESULT_COLUMNS, rows)
        self._topics.publish(writer, tenant, drafts, entries)
        told = [listener for listener, only in self.listeners if only in {None, tenant}]
        records = [record_of(entry) for entry in entries if entry.kind == KIND] if told else []
        if records:
            for listener in told:
                listener.on_records(records, writer)
        return entries

    def record_match(self, catalog: Changer, writer: Writer, match: Match) -> None:
        """Put on record what a standing search found, in the transaction of the change."""
        if self.settings.mode == "off":
            return
        now_us, identity = clock.now_us(), match.identity
        vector = np.asarray(match.query, np.float32)
        record = SearchRecord(
            model_id=None,
            model_version=None,
            query_lineage={"trigger": match.trigger, "within": match.within},
            top_k_result_ids=[str(each) for each in match.ids],
            retrieval_scores=match.distances,
            query_id=clock.uuid7(now_us),
            table_name=match.table,
            table_version=match.version,
            table_id=match.table_id,
            exact=True,
            mode="vector",
            k_requested=len(match.ids),
            k_returned=len(match.ids),
            filter=lance_in(match.key, match.ids, bare=True),
            params={"column": match.column, "metric": match.metric, "exact": True},
            query_sha256=hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest(),
            query_vector=vector.tolist() if self.settings.store_queries else None,
            executed_at=datetime_of(now_us),
            duration_us=0,
            journal_seq=self._lake.ledgers.of(catalog.tenant).last_seq(writer),
            actor=identity.actor,
            source=identity.source,
            workspace=identity.workspace,
        )
        self._append(writer, catalog.tenant, [draft_record(record)])

    def recover(self) -> None:
        """Put on record what processes that died had searched inside a transaction.

        What belongs in a ledger of another master key is left to whoever has that.

        Raises:
            LedgerCorruptError: Somebody else wrote what is there to be put on record.
        """
        for pending in abandoned(self._pending):
            ledger = self._lake.ledgers.of(pending.tenant)
            with self._lake.store.write(pending.tenant) as writer:
                try:
                    ledger.check_key(writer)
                except MasterKeyError:
                    continue
                pending.check(ledger.signer(pending.generation).public_key)
                missing = self._missing(writer, pending.tenant, pending.drafts)
                if missing:
                    self._append(writer, pending.tenant, missing)
            pending.path.unlink()
