"""The appender: what one transaction writes for records, in the ledger and beside it.

Rules:
    - The ledger's entries, the index of returned rows, the audit topic's event and whatever
      listeners add are written by one writer: all or none.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from affidavit.catalog.model import clock
from affidavit.catalog.model.listeners import Listeners
from affidavit.catalog.store.tables import RESULTS
from affidavit.catalog.values.canonical import canonical
from affidavit.engine.audit.topic import AuditTopics
from affidavit.engine.reads.record import CLOSED
from affidavit.engine.search.record import KIND, record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.ledger.entry import Draft, StoredEntry
    from affidavit.catalog.ledger.ledgers import Ledgers
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.topics.news import News
    from affidavit.engine.search.record import SearchRecord

_RESULT_COLUMNS: Final = ("row_id", "seq", "how")


class RecordListener(Protocol):
    """What is told of every record inside the transaction that writes it."""

    def on_records(self, records: Sequence[SearchRecord], writer: Writer) -> None:
        """Note ``records``; write only through ``writer``, and raise to refuse."""


class Appender:
    """Appends drafts to the ledgers of one lake.

    Attributes:
        listeners: Who is told of the records among them.

    Args:
        ledgers: The ledgers.
        news: Who is told of new events of topics.
        added: Told, by tenant, of how many were committed; returns at once.
    """

    def __init__(self, ledgers: Ledgers, news: News, added: Callable[[str, int], None]) -> None:
        self.listeners: Final = Listeners[RecordListener]("on_records")
        self._ledgers = ledgers
        self._added = added
        self._topics = AuditTopics(news)

    def append(
        self, writer: Writer, tenant: str, drafts: Sequence[Draft], *, tell: bool = True
    ) -> list[StoredEntry]:
        """Append ``drafts`` to the tenant's ledger, and what goes with them.

        Without ``tell`` no listener is asked: none may refuse what has to be there.
        """
        for at, each in enumerate(drafts):
            if at and each.kind == CLOSED and _begins(drafts[:at], each):
                first = self.append(writer, tenant, drafts[:at], tell=tell)
                return [*first, *self.append(writer, tenant, drafts[at:], tell=tell)]
        drafts = [self._ending(writer, tenant, each) for each in drafts]

        def beside(entries: Sequence[StoredEntry]) -> None:
            rows = [
                (row_id, entry.seq, how)
                for each, entry in zip(drafts, entries, strict=True)
                for row_id, how in each.rows
            ]
            writer.insert(RESULTS, _RESULT_COLUMNS, rows)
            self._topics.publish(writer, tenant, drafts, entries)

        ledger = self._ledgers.of(tenant)
        entries = ledger.append(writer, drafts, now_us=clock.now_us(), beside=beside)
        if entries:
            added = partial(self._added, tenant, len(entries))
            writer.on_commit(f"records from {entries[0].seq} on", added)
        told = self.listeners.of(tenant) if tell else ()
        records = [record_of(entry) for entry in entries if entry.kind == KIND] if told else []
        if records:
            for listener in told:
                listener.on_records(records, writer)
        return entries

    def _ending(self, reader: Reader, tenant: str, draft: Draft) -> Draft:
        """Let the end of a read name its beginning as it is numbered now.

        A transaction that is rolled back takes the number along, and the entry gets another.
        """
        if draft.kind != CLOSED:
            return draft
        began = draft.entry_id.removesuffix("-closed")
        seq = self._ledgers.of(tenant).numbers(reader, [began]).get(began)
        return replace(draft, members={**draft.members, "opened_seq": canonical(seq)})

    def missing(self, reader: Reader, tenant: str, drafts: Sequence[Draft]) -> list[Draft]:
        """Return the drafts that the tenant's ledger does not have."""
        ledger = self._ledgers.of(tenant)
        known = ledger.numbers(reader, [each.entry_id for each in drafts])
        return [each for each in drafts if each.entry_id not in known]


def _begins(drafts: Sequence[Draft], end: Draft) -> bool:
    """Return whether one of ``drafts`` says that the rows leave of which ``end`` is the end."""
    return any(f"{each.entry_id}-closed" == end.entry_id for each in drafts)
