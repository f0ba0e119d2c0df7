"""``session.audit``: the records of searches, read, checked, replayed and logged."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.verifier import Entry, LedgerProblem
from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import RESULTS
from affidavit.catalog.values.canonical import canonical_object, from_us, instant_us
from affidavit.engine.audit.appender import known_ids
from affidavit.engine.audit.logged import drafted
from affidavit.engine.audit.release import RELEASE, released_by, to_free
from affidavit.engine.audit.replay import Evidence, Outcome, Verdict
from affidavit.engine.search.record import KIND, checked_record, record_of, signed_members
from affidavit.errors import (
    AffidavitError,
    ConstraintError,
    InvalidQueryError,
    ReadOnlyError,
    RecordNotFoundError,
    SignatureMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.ledger.entry import Draft
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.audit.appender import RecordListener
    from affidavit.engine.audit.recorder import Recorder
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.record import SearchRecord
    from affidavit.engine.search.request import Query

SEQS_AT_ONCE: Final = 500


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

    @contextmanager
    def _read(self) -> Iterator[Reader]:
        """Open a snapshot of what is on record.

        What is searched in a transaction that has changed nothing is on record at once, and not in
        the snapshot that the transaction reads.
        """
        current = self._catalog.transactions.current()
        if current is None or current.has_changed:
            with self._catalog.read() as reader:
                yield reader
            return
        with self._catalog.lake.store.read(self._catalog.tenant) as reader:
            yield reader

    def get(self, query_id: str) -> SearchRecord:
        """Return the record of that id.

        Raises:
            RecordNotFoundError: This tenant has none.
        """
        with self._read() as reader:
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
        with self._read() as reader:
            found = self._catalog.ledger.entries(
                reader, Compare("=", "kind", KIND), descending=True, limit=limit
            )
        return [record_of(entry) for entry in found]

    def received(self, row_id: str | int, *, table: str | None = None) -> list[SearchRecord]:
        """Return every record whose search returned the row of that key, oldest first.

        ``table`` leaves out the records of other tables. In SQL: ``SELECT * FROM audit.results
        WHERE row_id = '...'``.
        """
        ledger = self._catalog.ledger
        with self._read() as reader:
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
        with self._read() as reader:
            stored = ledger.entries(reader, Compare("=", "seq", record.seq))
            try:
                keys = {key.key_id: key for key in ledger.keys(reader)}
            except LedgerProblem:
                return False
        key = keys.get(record.key_id or "")
        signed = key is not None and key.verifies(record.signature or b"", entry.body)
        return signed and [each.leaf_hash for each in stored] == [entry.leaf]

    def replay(
        self, query_id: str, query: Query | None = None, *, text: str | None = None
    ) -> Verdict:
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
            seq = released_by(self._catalog, record)
            if seq is not None:
                verdict = replace(verdict, reason=f"{verdict.reason}; entry {seq} released it")
        self._recorder.note(
            self._catalog.identity, "replay", self._catalog.transactions,
            query_id=query_id, outcome=str(verdict.outcome), recall=verdict.recall,
        )  # fmt: skip
        return verdict

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
        self._refuse_read_only()
        identity = self._catalog.identity
        pairs = list(drafted(records, identity, clock.now_us()))
        drafts = [entry for _, entry in pairs]
        self._refuse_taken(drafts)
        completed = [record for record, _ in pairs]
        if not drafts:
            return []
        return self._recorder.write(identity, completed, drafts, self._catalog.transactions)

    def _refuse_taken(self, drafts: list[Draft]) -> None:
        ids = [each.entry_id for each in drafts]
        with self._catalog.read() as reader:
            taken = known_ids(reader, self._catalog.tenant, ids)
        for at, each in enumerate(ids):
            if each in taken:
                msg = f"record {at}: query_id {each!r} is on record already"
                raise ConstraintError(msg)
            taken.add(each)

    def _refuse_read_only(self) -> None:
        if self._catalog.lake.read_only:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)

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
        catalog = self._catalog
        catalog.refuse_transaction("releasing evidence")
        freed = to_free(catalog, limit_us)
        self._recorder.note(
            catalog.identity, RELEASE,
            before=from_us(limit_us), reason=reason, versions=[each.told() for each in freed],
        )  # fmt: skip
        for each in freed:
            catalog.lake.datasets.release(each.info, each.tags)
        return sum(len(each.tags) for each in freed)

    # --- the seam for records ------------------------------------------------------------------

    def add_listener(self, listener: RecordListener) -> None:
        """Tell ``listener`` of every record, inside the transaction that writes it.

        On a session that a scope narrowed to a tenant: of every record of that tenant.

        Raises:
            TypeError: It has no ``on_records``.
        """
        identity = self._catalog.identity
        tenant = identity.tenant if identity.scoped else None
        self._recorder.listeners.add(listener, tenant)
