"""``session.audit``: the records of searches, read, checked, replayed and logged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.entry import draft
from affidavit.catalog.ledger.verifier import Entry, LedgerProblem
from affidavit.catalog.model import clock
from affidavit.catalog.model.definition import KINDS
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import RESULTS
from affidavit.catalog.values.canonical import canonical_object, datetime_of, from_us, instant_us
from affidavit.engine.audit.recorder import checked_lineage
from affidavit.engine.audit.replay import Evidence, Outcome, Verdict
from affidavit.engine.search.record import (
    KIND,
    SearchRecord,
    checked_record,
    draft_record,
    record_of,
    signed_members,
)
from affidavit.errors import (
    AffidavitError,
    ConstraintError,
    InvalidQueryError,
    ReadOnlyError,
    RecordNotFoundError,
    SignatureMismatchError,
)

if TYPE_CHECKING:
    from datetime import datetime

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.ledger.entry import Draft
    from affidavit.engine.audit.recorder import Recorder, RecordListener
    from affidavit.engine.search.models import Models

SEQS_AT_ONCE: Final = 500
_OF_KEYS: Final = re.compile(r"key-\d+")


class Audit:
    """The search records of one tenant."""

    def __init__(self, catalog: Catalog, recorder: Recorder, models: Models) -> None:
        self._catalog = catalog
        self._recorder = recorder
        self._models = models

    def __repr__(self) -> str:
        return f"Audit(tenant={self._catalog.identity.shown_tenant!r}, {self.mode!r})"

    @property
    def mode(self) -> str:
        """What is put on record: ``statements``, ``searches`` or ``off``."""
        return self._recorder.settings.mode

    # --- reading -------------------------------------------------------------------------------

    def get(self, query_id: str) -> SearchRecord:
        """Return the record of that id.

        Raises:
            RecordNotFoundError: This tenant has none.
        """
        with self._catalog.read() as reader:
            found = self._catalog.ledger.entries(
                reader, Compare("=", "entry_id", str(query_id)), Compare("=", "kind", KIND)
            )
        if not found:
            msg = f"this tenant has no search record {query_id!r}"
            raise RecordNotFoundError(msg)
        return record_of(found[0])

    def recent(self, limit: int = 20) -> list[SearchRecord]:
        """Return the newest ``limit`` records, newest first."""
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            msg = f"limit must be a number of records, got {limit!r}"
            raise InvalidQueryError(msg)
        with self._catalog.read() as reader:
            found = self._catalog.ledger.entries(
                reader, Compare("=", "kind", KIND), descending=True, limit=limit
            )
        return [record_of(entry) for entry in found]

    def received(self, row_id: object, *, table: str | None = None) -> list[SearchRecord]:
        """Return every record whose search returned the row of that key, oldest first.

        ``table`` leaves out the records of other tables. In SQL: ``SELECT * FROM audit.results
        WHERE row_id = '...'``.
        """
        ledger = self._catalog.ledger
        with self._catalog.read() as reader:
            where = own(self._catalog.tenant, Compare("=", "row_id", str(row_id)))
            rows = reader.select(RESULTS, ("seq",), where)
            seqs = sorted({row[0] for row in rows if isinstance(row[0], int)})
            records = [
                record_of(entry)
                for at in range(0, len(seqs), SEQS_AT_ONCE)
                for entry in ledger.entries(reader, In("seq", tuple(seqs[at : at + SEQS_AT_ONCE])))
            ]
        return [each for each in records if table is None or each.table_name == table]

    # --- checking ------------------------------------------------------------------------------

    def verify(self, record: SearchRecord) -> bool:
        """Return whether ``record`` is what was signed, and stands so in the ledger."""
        try:
            record = checked_record(record)
            members = signed_members(record)
        except AffidavitError:
            return False
        assert record.seq is not None
        entry = Entry(record.seq, canonical_object(members), record.signature)
        ledger = self._catalog.ledger
        with self._catalog.read() as reader:
            stored = ledger.entries(reader, Compare("=", "seq", record.seq))
            try:
                keys = {key.key_id: key for key in ledger.keys(reader)}
            except LedgerProblem:
                return False
        key = keys.get(record.key_id or "")
        signed = key is not None and key.verifies(record.signature or b"", entry.body)
        return signed and [each.leaf_hash for each in stored] == [entry.leaf]

    def replay(self, query_id: str, query: object = None, *, text: str | None = None) -> Verdict:
        """Run a recorded search again, as it was and exactly, on the version that it read.

        Args:
            query_id: The record.
            query: The query, where the record does not hold it: a vector, or the text.
            text: The words of a hybrid search, likewise.

        That it was replayed is itself an entry of the ledger.

        Raises:
            RecordNotFoundError: There is no such record.
            SignatureMismatchError: The record is not what was signed.
            InvalidQueryError: No query is stored or given, or another than the recorded one.
        """
        record = self.get(query_id)
        if not self.verify(record):
            msg = f"record {query_id} is not what was signed: verify the ledger"
            raise SignatureMismatchError(msg)
        verdict = Evidence(self._catalog, self._models).replay(record, query, text)
        if verdict.outcome is Outcome.EVIDENCE_GONE:
            verdict = self._with_release(record, verdict)
        now_us = clock.now_us()
        self._note(
            "replay", now_us, query_id=query_id, outcome=str(verdict.outcome), recall=verdict.recall
        )
        return verdict

    def _with_release(self, record: SearchRecord, verdict: Verdict) -> Verdict:
        with self._catalog.read() as reader:
            released = self._catalog.ledger.entries(reader, Compare("=", "kind", "release"))
        for entry in released:
            for each in entry.fields().get("versions", ()):
                if each["table_id"] == record.table_id and record.table_version in each["versions"]:
                    reason = f"{verdict.reason}; entry {entry.seq} released it"
                    return replace(verdict, reason=reason)
        return verdict

    def _note(self, kind: str, now_us: int, **fields: object) -> None:
        identity = self._catalog.identity
        note = draft(
            kind, f"{kind}-{clock.uuid7(now_us)}", now_us, actor=identity.actor,
            source=identity.source, workspace=identity.workspace, **fields,
        )  # fmt: skip
        self._recorder.note(identity, note)

    # --- writing -------------------------------------------------------------------------------

    def log(self, records: Iterable[SearchRecord | Mapping[str, object]]) -> list[SearchRecord]:
        """Put searches that were run elsewhere on record, all or none, in one transaction.

        The tenant is the session's. ``tenant``, ``seq``, ``key_id`` and ``signature`` of what is
        given are ignored; an actor, source, workspace, id or time that is missing is filled in.

        Returns:
            The records as the ledger has them.

        Raises:
            InvalidQueryError: One of them is no record; the message says which.
            LengthMismatchError: Ids and scores have different lengths.
            LineageTooLargeError: A lineage is larger than allowed.
            ConstraintError: A ``query_id`` is on record already.
        """
        one = isinstance(records, SearchRecord | Mapping | str)
        if one or not isinstance(records, Iterable):
            msg = f"expected a list of records, got {type(records).__name__}"
            raise InvalidQueryError(msg)
        self._refuse_read_only()
        now_us = clock.now_us()
        completed: list[SearchRecord] = []
        drafts: list[Draft] = []
        for at, each in enumerate(records):
            try:
                completed.append(self._completed(each, now_us))
                drafts.append(draft_record(completed[-1]))
            except InvalidQueryError as error:
                msg = f"record {at}: {error}"
                raise InvalidQueryError(msg) from error
            except AffidavitError as error:
                error.add_note(f"this is record {at} of those to be logged")
                raise
        self._refuse_taken(drafts)
        return self._recorder.write(self._catalog.identity, completed, drafts) if drafts else []

    def _refuse_taken(self, drafts: list[Draft]) -> None:
        ids = [each.entry_id for each in drafts]
        with self._catalog.read() as reader:
            taken = self._recorder.known(reader, self._catalog.tenant, ids)
        for at, each in enumerate(ids):
            if each in taken:
                msg = f"record {at}: query_id {each!r} is on record already"
                raise ConstraintError(msg)
            taken.add(each)

    def _refuse_read_only(self) -> None:
        if self._catalog.lake.read_only:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)

    def _completed(self, given: object, now_us: int) -> SearchRecord:
        record = checked_record(given)
        checked_lineage(record.query_lineage)
        if record.query_id is not None and _OF_KEYS.fullmatch(record.query_id):
            msg = f"query_id {record.query_id!r} is what the ledger calls a key: choose another"
            raise InvalidQueryError(msg)
        identity = self._catalog.identity
        moment = record.executed_at
        at_us = now_us if moment is None else instant_us(moment, "executed_at")
        return record.replaced(
            query_id=record.query_id or clock.uuid7(at_us),
            executed_at=datetime_of(at_us),
            actor=identity.actor if record.actor is None else record.actor,
            source=identity.source if record.source is None else record.source,
            workspace=identity.workspace if record.workspace is None else record.workspace,
            k_returned=len(record.top_k_result_ids),
            logged=True,
        )

    def release(self, before: datetime, *, reason: str = "") -> int:
        """Let go of the table versions that only records older than ``before`` refer to.

        A clean-up of those tables may then delete them, and such a record can no longer be
        replayed. The records stay, and that this was done is an entry of the ledger.

        Returns:
            How many versions were let go.

        Raises:
            TransactionError: A transaction is open, which cannot take this back.
        """
        limit_us = instant_us(before, "before")
        self._refuse_read_only()
        catalog, owner = self._catalog, self._catalog.tenant
        catalog.refuse_transaction("releasing evidence")
        datasets = catalog.lake.datasets
        with catalog.read() as reader:
            vectors = [info for info in catalog.tables(reader) if KINDS[info.kind].has_versions]
        # in this order, so that a search that comes in between is of a version that stays
        kept = {info.table_id: datasets.kept(info, owner) for info in vectors}
        newest = {(info.table_id, int(datasets.latest(info).version)) for info in vectors}
        spared = newest | self._needed_since(limit_us)
        freed = {
            info.table_id: {
                tag: version
                for tag, version in kept[info.table_id].items()
                if (info.table_id, version) not in spared
            }
            for info in vectors
        }
        versions = [
            {
                "table_id": info.table_id,
                "table": info.name,
                "versions": sorted(freed[info.table_id].values()),
            }
            for info in vectors
            if freed[info.table_id]
        ]
        now_us, stated = clock.now_us(), from_us(limit_us)
        self._note("release", now_us, before=stated, reason=reason, versions=versions)
        for info in vectors:
            datasets.release(info, freed[info.table_id])
        return sum(map(len, freed.values()))

    def _needed_since(self, at_us: int) -> set[tuple[str | None, int | None]]:
        """Return the tables and versions that records of that time and later refer to."""
        since = Compare(">=", "created_at", at_us)
        with self._catalog.read() as reader:
            entries = self._catalog.ledger.entries(reader, Compare("=", "kind", KIND), since)
        return {(each.table_id, each.table_version) for each in map(record_of, entries)}

    # --- the seam for records ------------------------------------------------------------------

    def add_listener(self, listener: RecordListener) -> None:
        """Tell ``listener`` of every record, inside the transaction that writes it.

        On a session that a scope narrowed to a tenant: of every record of that tenant.
        """
        identity = self._catalog.identity
        tenant = identity.tenant if identity.scoped else None
        self._recorder.listeners.append((listener, tenant))
