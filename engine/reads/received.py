"""Who received a row: the records of searches and reads that gave it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import RESULTS
from affidavit.engine.reads.record import read_of
from affidavit.engine.reads.records import KINDS, gave
from affidavit.engine.search.record import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.reads.record import ReadRecord
    from affidavit.engine.search.record import SearchRecord

SEQS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """A record that gave a row, and of which tables, by identity and name."""

    record: SearchRecord | ReadRecord
    tables: Sequence[tuple[str | None, str | None]]


def answers_with(reader: Reader, ledger: Ledger, row_id: str, *, reads: bool) -> list[Answer]:
    """Return the records that gave a row, oldest first; without ``reads`` those of searches."""
    rows = reader.select(
        RESULTS, ("seq", "how"), own(ledger.tenant, Compare("=", "row_id", row_id))
    )
    seqs = sorted({seq for seq, how in rows if isinstance(seq, int) and (reads or how is None)})
    return [
        _answer(entry, row_id)
        for at in range(0, len(seqs), SEQS_AT_ONCE)
        for entry in ledger.entries(reader, In("seq", tuple(seqs[at : at + SEQS_AT_ONCE])))
    ]


def _answer(entry: StoredEntry, row_id: str) -> Answer:
    if entry.kind in KINDS:
        return Answer(read_of(entry), gave(entry, row_id))
    record = record_of(entry)
    return Answer(record, [(record.table_id, record.table_name)])


def of_table(found: Sequence[Answer], table: str, table_id: str | None) -> Iterator[Answer]:
    """Yield those of ``found``, oldest first, that gave a row of one table.

    Args:
        found: Records of any tables.
        table: The table's name, or its identity.
        table_id: The identity of the table that has that name now; ``None`` if none has.
    """
    meant = table_id
    if meant is None:
        said = [each for answer in found for each in answer.tables]
        named = [told for told, name in said if told and name in {table, f"main.{table}"}]
        meant = table if table in {told for told, _ in said} or not named else named[-1]
    for answer in found:
        if any(name == table if told is None else told == meant for told, name in answer.tables):
            yield answer
