"""``session.audit``: the records of searches, read, checked, replayed and logged."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.values.canonical import instant_us
from affidavit.catalog.values.python.arguments import (
    checked_by_name,
    checked_reason,
    checked_switch,
    checked_text_or_none,
)
from affidavit.engine.audit.logged import drafted
from affidavit.engine.audit.release import release_texts, released_by, to_free
from affidavit.engine.audit.replay import Evidence, Outcome, Verdict
from affidavit.engine.reads.received import answers_with, meant, of_table
from affidavit.engine.reads.record import ReadRecord, read_of
from affidavit.engine.reads.records import answers, check_read, find_read
from affidavit.engine.reads.rerun import rerun
from affidavit.engine.search.record import KIND, checked_record, is_as_signed, record_of
from affidavit.errors import (
    AffidavitError,
    ConstraintError,
    InvalidQueryError,
    ReadOnlyError,
    RecordNotFoundError,
    SignatureMismatchError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.ledger.entry import Draft, StoredEntry
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.audit.appender import RecordListener
    from affidavit.engine.audit.recorder import Recorder
    from affidavit.engine.reads.checked import Checked
    from affidavit.engine.reads.receipt import Receipt
    from affidavit.engine.reads.rerun import Runs
    from affidavit.engine.search.models import Models
    from affidavit.engine.search.record import SearchRecord
    from affidavit.engine.search.request import Query


class Audit:
    """The records of one tenant's searches and reads."""

    def __init__(
        self,
        catalog: Catalog,
        recorder: Recorder,
        models: Models,
        run: Runs,
        settle: Callable[[], object],
    ) -> None:
        self._catalog = catalog
        self._settle = settle
        self._run = run
        self._recorder = recorder
        self._models = models

    def __repr__(self) -> str:
        return f"Audit(tenant={self._catalog.identity.shown_tenant!r}, {self.mode!r})"

    @property
    def mode(self) -> str:
        """What is put on record: ``off``, ``searches``, ``statements``, ``reads`` or ``rows``."""
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

    def get_read(self, read_id: str) -> ReadRecord:
        """Return the record of a read: what it says at its end, if it has one.

        Raises:
            RecordNotFoundError: This tenant has none.
        """
        return read_of(self._found_read(read_id))

    def _found_read(self, read_id: str) -> StoredEntry:
        with self._read() as reader:
            found = find_read(reader, self._catalog.ledger, str(read_id))
        if found is None:
            msg = f"this tenant has no record {read_id!r}"
            raise RecordNotFoundError(msg)
        return found

    def received(
        self, row_id: str | int, *, table: str | None = None, reads: bool = True
    ) -> list[SearchRecord | ReadRecord]:
        """Return every record of a search or read that gave the row of that key, oldest first.

        Without ``reads`` those of searches alone. A read has the keys of its rows where its policy
        was ``rows``, up to 10,000 a table.

        ``table`` leaves out the records of other tables. It is a table's name as it is now, or its
        ``table_id``. What counts is which table was searched, and not what it was called then: a
        table that was renamed keeps its records, and a new table of an old name has none of the old
        one's. Where no table has the name any more, the last one searched under it that returned
        the row is meant. Records that name no ``table_id`` go by the name that they say.

        Reads that gave more than 10,000 rows of a table have their number alone, and are not among
        these: ``audit.reads`` has them.

        In SQL: ``SELECT * FROM audit.results WHERE row_id = '...'``.

        Raises:
            InvalidQueryError: ``table`` is a view, of which nobody receives a row.
        """
        checked_text_or_none(table, "table")
        checked_switch(reads, "reads")
        if isinstance(row_id, bool) or not isinstance(row_id, str | int | None):
            msg = f"row_id must be a row's key, a text or a whole number, got {row_id!r}"
            raise InvalidQueryError(msg)
        with self._read() as reader:
            found = answers_with(reader, self._catalog.ledger, str(row_id), reads=reads)
            if table is not None:
                found = of_table(found, *meant(self._catalog, reader, table, found))
        return [each.record for each in found]

    # --- checking ------------------------------------------------------------------------------

    def verify(self, record: SearchRecord | ReadRecord) -> bool:
        """Return whether ``record`` is what was signed, and stands so in the ledger."""
        if isinstance(record, ReadRecord):
            with self._read() as reader:
                found = self._catalog.ledger.entries(reader, Compare("=", "seq", record.seq))
                try:
                    for entry in found:
                        check_read(reader, self._catalog.ledger, entry)
                    return bool(found) and read_of(found[0]) == record
                except (LedgerProblem, AffidavitError):
                    return False
        try:
            record = checked_record(record)
        except AffidavitError:
            return False
        if type(record.seq) is not int:
            return False
        ledger = self._catalog.ledger
        with self._read() as reader:
            stored = ledger.entries(reader, Compare("=", "seq", record.seq))
            try:
                for entry in stored:
                    check_read(reader, ledger, entry)
                return bool(stored) and is_as_signed(record, stored[0])
            except (LedgerProblem, AffidavitError):
                return False

    def check(self, receipt: Receipt, rows: object) -> Checked:
        """Return whether ``rows`` are what the engine gave for a result's receipt, and why not.

        What is returned is as true as the answer; its ``reason`` says in what they differ.

        Args:
            receipt: What ``result.receipt`` was.
            rows: Whatever ``affidavit.digest`` takes: Arrow, pandas, polars, a result. Other types
                than the result's do, where the values are the same in both.

        Raises:
            InvalidQueryError: It is no receipt.
            RecordNotFoundError: No record of this ledger is the receipt's, as where it is of
                another lake; or what the rows hashed to was erased.
            SignatureMismatchError: The record is not what was signed.
        """
        with self._read() as reader:
            return answers(reader, self._catalog.ledger, receipt, rows)

    def replay(
        self,
        query_id: str,
        query: Query | None = None,
        *,
        text: str | None = None,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> Verdict:
        """Run a recorded search or read again, as it was, on what it read.

        A search is also run exactly, on the version that it read. A read is run as of the entry of
        the ledger that was its newest.

        Args:
            query_id: The record: a search's ``query_id``, or a ``read_id``.
            query: The query, where a search's record does not hold it: a vector, or the text.
            text: The words of a hybrid search, or the statement of a read, likewise.
            params: The parameters of a read, likewise: a dict, or a list for ``$1`` or ``?``.

        That it was replayed is itself an entry of the ledger.

        Raises:
            RecordNotFoundError: There is no such record.
            SignatureMismatchError: The record is not what was signed.
            InvalidQueryError: No query is stored or given, or another than the recorded one.
        """
        checked_text_or_none(text, "text")
        if isinstance(params, list | tuple):
            params = {str(at): value for at, value in enumerate(params, 1)}
        given = None if params is None else checked_by_name(params, "params")
        with self._read() as reader:
            entry = find_read(reader, self._catalog.ledger, str(query_id))
        if entry is None:
            verdict = self._replay_search(query_id, query, text)
        else:
            with self._read() as reader:
                check_read(reader, self._catalog.ledger, entry)
            outcome, reason = rerun(
                entry, self._run, text, given, partial(self._run.look, self._catalog)
            )
            verdict = Verdict(str(query_id), Outcome(outcome), None, (), reason)
            tables = entry.fields().get("tables", ())
            versions = [(each["table_id"], each["version"]) for each in tables]
            verdict = self._released(verdict, versions)
        self._recorder.note(
            self._catalog.identity, "replay", self._catalog.transactions,
            query_id=query_id, outcome=str(verdict.outcome), recall=verdict.recall,
        )  # fmt: skip
        return verdict

    def _replay_search(self, query_id: str, query: Query | None, text: str | None) -> Verdict:
        record = self.get(query_id)
        if not self.verify(record):
            msg = f"record {query_id} is not what was signed: verify the ledger"
            raise SignatureMismatchError(msg)
        verdict = Evidence(self._catalog, self._models, self._run).replay(record, query, text)
        return self._released(verdict, [(record.table_id, record.table_version)])

    def _released(
        self, verdict: Verdict, versions: Sequence[tuple[str | None, int | None]]
    ) -> Verdict:
        """Return a verdict with the entry that let go of what is gone, if one did."""
        if verdict.outcome is not Outcome.EVIDENCE_GONE:
            return verdict
        seq = released_by(self._catalog, versions)
        if seq is None:
            return verdict
        return replace(verdict, reason=f"{verdict.reason}; entry {seq} released it")

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
            taken = set(self._catalog.ledger.numbers(reader, ids))
        for at, each in enumerate(ids):
            if each in taken:
                msg = f"record {at}: query_id {each!r} is on record already"
                raise ConstraintError(msg)
            taken.add(each)

    def _refuse_read_only(self) -> None:
        if self._catalog.lake.read_only:
            msg = "this session is read-only: connect with read_only=False to write"
            raise ReadOnlyError(msg)

    def release(self, before: datetime, *, reason: str) -> int:
        """Let go of the table versions that only records older than ``before`` refer to.

        A clean-up of those tables may then delete them, and such a record can no longer be
        replayed. The records stay, and that this was done is an entry of the ledger. The texts of
        statements that are older go with them, but for those that name a table of which a row is
        held: their rows in ``audit.statements`` stay.

        Returns:
            How many versions were let go.

        Raises:
            TransactionError: A transaction is open, which cannot take this back.
        """
        limit_us = instant_us(before, "before")
        why = checked_reason(reason)
        self._refuse_read_only()
        catalog = self._catalog
        catalog.refuse_transaction("releasing evidence")
        self._settle()
        freed = to_free(catalog, limit_us)
        release_texts(catalog, limit_us, why, versions=[each.told() for each in freed])
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
