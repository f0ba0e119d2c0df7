"""Who received a row: the records of searches and reads that gave it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from affidavit.catalog.ledger.entry import SEARCH
from affidavit.catalog.model.definition import KINDS as KINDS_OF_TABLES
from affidavit.engine.reads.record import read_of
from affidavit.engine.reads.records import KINDS, gave, plain_name
from affidavit.engine.search.record import record_of
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.store.protocol import Reader
    from affidavit.engine.reads.record import ReadRecord
    from affidavit.engine.search.record import SearchRecord


@dataclass(frozen=True, slots=True)
class Answer:
    """A record that gave a row, and of which tables, by identity and name."""

    record: SearchRecord | ReadRecord
    tables: Sequence[tuple[str | None, str | None]]


def answers_with(reader: Reader, ledger: Ledger, row_id: str, *, reads: bool) -> list[Answer]:
    """Return the records that gave a row, oldest first; without ``reads`` those of searches."""
    kinds = (SEARCH, *KINDS) if reads else (SEARCH,)
    return [
        _answer(entry, row_id)
        for page in ledger.giving(reader, [row_id], kinds=kinds)
        for entry in page
    ]


def _answer(entry: StoredEntry, row_id: str) -> Answer:
    if entry.kind in KINDS:
        return Answer(read_of(entry), gave(entry, row_id))
    record = record_of(entry)
    return Answer(record, [(record.table_id, record.table_name)])


def meant(
    catalog: Catalog, reader: Reader, table: str, found: Sequence[Answer]
) -> tuple[str, str | None]:
    """Return the name of a table, and its identity, as far as one is known.

    Where no table has the name, the last one is meant that had it.

    Raises:
        InvalidQueryError: It is a view, of which nobody receives a row.
    """
    name = plain_name(str(getattr(table, "name", table)))
    info = catalog.find(reader, name)
    if info is not None:
        if not KINDS_OF_TABLES[info.kind].has_rows:
            msg = f"{name!r} is a {info.kind}: ask of the tables that it reads"
            raise InvalidQueryError(msg)
        return name, info.table_id
    said = [each for answer in found for each in answer.tables]
    if name in {each for told in said for each in told}:
        return name, None
    named = (pc.field("entity_type") == name) | (pc.field("table_id") == name)
    known = [
        table_id
        for part in catalog.journal.events.scan(reader, ["seq", "table_id"], named)
        for table_id in part["table_id"].to_pylist()
        if table_id is not None
    ]
    return name, known[-1] if known else None


def of_table(found: Sequence[Answer], table: str, table_id: str | None) -> list[Answer]:
    """Return those of ``found``, oldest first, that gave a row of one table.

    Args:
        found: Records of any tables.
        table: The table's name, or its identity.
        table_id: The identity of the table that has that name, as far as it is known.
    """
    wanted = table_id
    if wanted is None:
        said = [each for answer in found for each in answer.tables]
        named = [told for told, name in said if told and name == table]
        wanted = table if table in {told for told, _ in said} or not named else named[-1]
    return [
        answer
        for answer in found
        if any(name == table if told is None else told == wanted for told, name in answer.tables)
    ]
