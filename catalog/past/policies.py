"""Policies that tables had: those that were dropped, or are called otherwise now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from affidavit.catalog.journal.events import WHOLE
from affidavit.catalog.model.policy import TOLD

if TYPE_CHECKING:
    from affidavit.catalog.journal.journal import Journal
    from affidavit.catalog.store.protocol import Reader


def policies_told(journal: Journal, reader: Reader, of: pc.Expression) -> list[str | None]:
    """Return what the policies of some tables became, oldest first, as the journal tells it."""
    altered = of & (pc.field("field") == WHOLE) & (pc.field("action") == "alter")
    details = [
        json.loads(text or "{}").get("detail")
        for part in journal.events.scan(reader, ["new_value"], altered)
        for text in part["new_value"].to_pylist()
    ]
    return [TOLD[each] for each in details if each in TOLD]
