"""What an object of the store is called, and what of it is not what was signed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.checking.rows import changed_difference, first_difference
from affidavit.catalog.journal.policies import policies_told
from affidavit.catalog.ledger.verification.differences import Difference, without_values
from affidavit.catalog.model.moment import Moment
from affidavit.catalog.model.policy import READS, at_least, stricter
from affidavit.catalog.past.table import PastTable
from affidavit.catalog.past.vantage import Vantage
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.tables import FILES, LOG, TABLES, TOPICS

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
    except (ValueError, TypeError, KeyError, OverflowError, pa.ArrowException) as error:
        words = f"a value is not of its column's type: {error}"
        found.append(Difference(f"table {info.name!r}", words, table=info.name))


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

    def difference(self, name: str, problem: str | None) -> Difference:
        """Return that the object ``name`` is not what was signed.

        ``problem`` says how, where that is known; else its events are asked.
        """
        kind, _, value = name.partition("/")
        if not value:
            return self._table(kind.removeprefix("data_"), problem)
        if kind == TABLES.name:
            return self._definition(value, problem)
        info = self.tables.get(value)
        if kind == FILES.name:
            called = value if info is None else info.name
            words = problem or "is not the one that was signed"
            return Difference(
                f"vector table {called!r}", f"its list of files {words}", table=called
            )
        if kind in {TOPICS.name, LOG.name}:
            what = "the log of topic" if kind == LOG.name else "topic"
            return Difference(f"{what} {self._topic(value)!r}", problem or UNTOLD)
        return Difference(f"{kind.removesuffix('s')} {value!r}", problem or UNTOLD)

    def _topic(self, topic_id: str) -> str:
        found = self.reader.select(TOPICS, ("name",), Compare("=", "topic_id", topic_id))
        return str(found[0][0]) if found else topic_id

    def _table(self, table_id: str, problem: str | None) -> Difference:
        info = self.tables.get(table_id)
        if info is None:
            return Difference(f"the table of identity {table_id!r}", problem or UNTOLD)
        if problem is None:
            found = self.row(table_id)
            if found is not None:
                return found
        return Difference(f"table {info.name!r}", problem or UNTOLD, table=info.name)

    def row(self, table_id: str) -> Difference | None:
        """Return the first row of a table that is not what its events make of it."""
        info = self.tables[table_id]
        with _readable(info) as unreadable:
            found = first_difference(self.reader, self._journal, info, self._past(info).eras())
            return self._told(info, found)
        return unreadable[0]

    def changed_row(self, table_id: str, since: int) -> Difference | None:
        """Return the first of the rows that changed since an entry which is not what was signed."""
        info = self.tables[table_id]
        with _readable(info) as unreadable:
            eras_of = self._past(info).eras
            found = changed_difference(self.reader, self._journal, info, eras_of, since)
            return self._told(info, found)
        return unreadable[0]

    def _told(self, info: TableInfo, found: Difference | None) -> Difference | None:
        """Return a difference without values that may only be read on record."""
        is_open = not at_least(stricter(self.floor, info.audit), READS)
        return found if found is None or is_open else without_values(found)

    def _definition(self, table_id: str, problem: str | None) -> Difference:
        info = self.tables.get(table_id)
        if info is None:
            return Difference(f"the definition of table {table_id!r}", problem or "is gone")
        what, own = f"table {info.name!r}", pc.field("table_id") == table_id
        signed = policies_told(self._journal, self.reader, own).get(table_id)
        if problem is None and signed != info.audit:
            words = f"its policy: {signed!r} was signed, not {info.audit!r}"
            return Difference(
                what, words, table=info.name, column="audit", signed=signed, found=info.audit
            )
        words = problem or "its name or definition is not the one that was signed"
        return Difference(what, words, table=info.name)

    @property
    def _journal(self) -> Journal:
        return self.catalog.journal

    def _past(self, info: TableInfo) -> PastTable:
        last = self.catalog.ledger.last_seq(self.reader)
        vantage = Vantage(self.catalog, self.reader, Moment(seq=last or 0))
        return PastTable(vantage, self._journal, info.table_id, info.name, info)
