"""What an object of the store is called, and what of it is not what was signed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.checking.rows import changed_difference, events_since, first_difference
from affidavit.catalog.journal.policies import policies_told
from affidavit.catalog.ledger.verification.differences import Difference, without_values
from affidavit.catalog.model.definition import DATA
from affidavit.catalog.model.moment import Moment
from affidavit.catalog.model.policy import READS, at_least, stricter
from affidavit.catalog.past.table import PastTable
from affidavit.catalog.past.vantage import Vantage
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.tables import CHECKPOINTS, FILES, LOG, TABLES, TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from affidavit.catalog.journal.journal import Journal
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.store.protocol import Reader


@contextmanager
def _readable(info: TableInfo) -> Iterator[list[Difference]]:
    """Put into a list that a value cannot be read as what its column holds, if one cannot."""
    found: list[Difference] = []
    try:
        yield found
    except (ValueError, TypeError, KeyError, OverflowError, pa.ArrowException):
        words = "a value is not of its column's type"  # and is not told: its policy may forbid that
        found.append(Difference(f"table {info.name!r}", words, table=info.name))


_UNTOLD: Final = {
    TABLES.name: "its name or definition is not the one that was signed",
    FILES.name: "they are not those that were listed",
}
UNTOLD: Final = "is not what was signed, and no event that is left tells where"


@dataclass(frozen=True, slots=True)
class Names:
    """Names what differs, as somebody knows it who did not write the store.

    Attributes:
        catalog: Whose.
        reader: One snapshot of the store.
        tables: The scope's own tables, by identity.
        floor: What every read leaves on record.
    """

    catalog: Catalog
    reader: Reader
    tables: Mapping[str, TableInfo]
    floor: str | None
    _since: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def called(self, name: str) -> str:
        """Return what an object is called, in words."""
        kind, _, value = name.partition("/")
        if kind in {TOPICS.name, LOG.name}:
            log = "the log of " if kind == LOG.name else ""
            return f"{log}topic {self._topic(value)!r}"
        table_id = value or kind.removeprefix(DATA)
        info = self.tables.get(table_id)
        table = repr(table_id if info is None else info.name)
        words = {
            TABLES.name: f"the definition of table {table}",
            FILES.name: f"the files of vector table {table}",
            CHECKPOINTS.name: "the ledger's kept checkpoints",
        }
        return words.get(kind, f"{kind.removesuffix('s')} {value!r}" if value else f"table {table}")

    def _topic(self, topic_id: str) -> str:
        found = self.reader.select(TOPICS, ("name",), Compare("=", "topic_id", topic_id))
        return str(found[0][0]) if found else topic_id

    def difference(self, name: str, problem: str | None) -> Difference:
        """Return that the object ``name`` is not what was signed.

        ``problem`` says how, where that is known; else its events are asked.
        """
        kind, _, value = name.partition("/")
        info = self.tables.get(value or kind.removeprefix(DATA))
        found = None
        if info is not None and problem is None:
            found = self.row(info.table_id) if not value else None
            if kind == TABLES.name:
                found = self._policy(info)
        words = problem or _UNTOLD.get(kind, UNTOLD)
        table = None if info is None else info.name
        return found or Difference(self.called(name), words, table=table)

    def _policy(self, info: TableInfo) -> Difference | None:
        """Return that the policy of a table is not the one that its events tell of."""
        own = pc.field("table_id") == info.table_id
        signed = policies_told(self._journal, self.reader, own).get(info.table_id)
        if signed == info.audit:
            return None
        words = f"its policy: {signed!r} was signed, not {info.audit!r}"
        return Difference(
            f"table {info.name!r}", words, table=info.name, column="audit", signed=signed,
            found=info.audit,
        )  # fmt: skip

    def row(self, table_id: str) -> Difference | None:
        """Return the first row of a table that is not what its events make of it."""
        info = self.tables[table_id]
        with _readable(info) as unreadable:
            found = first_difference(self.reader, self._journal, info, self._past(info).eras())
            return self._told(info, found)
        return unreadable[0]

    def has_events(self, since: int) -> bool:
        """Return whether every event since an entry is there still."""
        segments = self._journal.kept.all_segments(self.reader)
        return not any(each.dropped and each.last_seq >= since for each in segments)

    def changed_row(self, table_id: str, since: int) -> Difference | None:
        """Return the first of the rows that changed since an entry which is not what was signed."""
        info = self.tables[table_id]
        if not self._since:
            self._since.update(events_since(self.reader, self._journal, since))
        with _readable(info) as unreadable:
            eras_of = self._past(info).eras
            found = changed_difference(self.reader, info, self._since.get(table_id, ()), eras_of)
            return self._told(info, found)
        return unreadable[0]

    def _told(self, info: TableInfo, found: Difference | None) -> Difference | None:
        """Return a difference without values that may only be read on record.

        The policy that was signed counts, too: the store's may have been taken away.
        """
        if found is None:
            return None
        own = pc.field("table_id") == info.table_id
        signed = policies_told(self._journal, self.reader, own).get(info.table_id)
        is_open = not at_least(stricter(self.floor, info.audit, signed), READS)
        return found if is_open else without_values(found)

    @property
    def _journal(self) -> Journal:
        return self.catalog.journal

    def _past(self, info: TableInfo) -> PastTable:
        last = self.catalog.ledger.last_seq(self.reader)
        vantage = Vantage(self.catalog, self.reader, Moment(seq=last or 0))
        return PastTable(vantage, self._journal, info.table_id, info.name, info)
