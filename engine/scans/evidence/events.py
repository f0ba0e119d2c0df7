"""Which rows the events of a journal tell of, for the record of a read that gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.journal.events import WHOLE
from affidavit.catalog.model.policy import ROWS
from affidavit.catalog.sql.names import MAIN_SCHEMA
from affidavit.catalog.tables.reading import levels_of

if TYPE_CHECKING:
    import pyarrow as pa

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.release import TableRead
    from affidavit.catalog.store.protocol import Reader

TELLING: Final = frozenset({"entity_id", "old_value", "new_value"})
"""The columns of an event that tell of a row."""

TOLD_BY: Final = ("entity_type", "entity_id", "field", "action", "old_value")
"""The columns of the journal by which an event is known for one of a row; and ``table_id``."""


class EventRows:
    """Notes the rows that events tell of, of tables whose policy wants their keys on record.

    Args:
        catalog: Who reads.
        reader: The snapshot that is read.
        told: What is told of the journal that is read, with the strictest policy of any table.
    """

    def __init__(self, catalog: Catalog, reader: Reader, told: TableRead) -> None:
        self._told, self._all, self._wanted = told, catalog.floor == ROWS, set[str]()
        if not self._all and told.level == ROWS:  # the strictest of all
            levels = levels_of(catalog, reader)
            self._all = levels is None
            self._wanted = {at for at, level in (levels or {}).items() if level == ROWS}
        tables = catalog.tables(reader) if self.is_wanted else ()
        self._names = {each.table_id: f"{each.schema}.{each.name}" for each in tables}

    @property
    def is_wanted(self) -> bool:
        """Whether a table of the tenant's wants the keys of its rows on record."""
        return self._all or bool(self._wanted)

    def note(self, events: pa.Table | pa.RecordBatch) -> None:
        """Note the rows of events with their table and the columns that tell what they are."""
        for event in events.select([*TOLD_BY, "table_id"]).to_pylist():
            table_id = event["table_id"]
            if table_id is None or not (self._all or table_id in self._wanted):
                continue
            if _is_of_a_row(event):
                name = self._names.get(table_id, f"{MAIN_SCHEMA}.{event['entity_type']}")
                self._told.tell_of(table_id, name, event["entity_id"])


def _is_of_a_row(event: dict[str, Any]) -> bool:
    """Return whether an event is of one row, and not of a table or of many of its rows."""
    action = event["action"]
    if action == "delete":
        return event["old_value"] is not None
    return action == "insert" or (action == "update" and event["field"] != WHOLE)
