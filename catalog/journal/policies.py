"""Policies that tables had: those that were dropped, or are called otherwise now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from affidavit.catalog.journal.events import WHOLE
from affidavit.catalog.model.policy import TOLD

if TYPE_CHECKING:
    from affidavit.catalog.journal.journal import Journal
    from affidavit.catalog.store.protocol import Reader


_ALTERED: Final = (pc.field("field") == WHOLE) & (pc.field("action") == "alter")


def policies_told(
    journal: Journal, reader: Reader, of: pc.Expression | None = None
) -> dict[str, str | None]:
    """Return the last policy of each table that had one, by its identity, as the journal tells it.

    ``of`` are the events to look at; by default all.
    """
    names, found = ["table_id", "new_value"], {}
    if of is None:
        parts = journal.events.scan_again(reader, names, _ALTERED)
    else:
        parts = journal.events.scan(reader, names, of & _ALTERED)
    for part in parts:
        for event in part.select(["table_id", "new_value"]).to_pylist():
            detail = json.loads(event["new_value"] or "{}").get("detail")
            if detail in TOLD:
                found[event["table_id"]] = TOLD[detail]
    return found
