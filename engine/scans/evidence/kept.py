"""What is held, and for how long what is kept: ``system.holds`` and ``system.retention``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.erasure.retention import shown
from affidavit.catalog.model.holds import holds
from affidavit.catalog.sql.scan import ArrowDataset

if TYPE_CHECKING:
    from affidavit.catalog.sql.scan import ScanDataset
    from affidavit.engine.scans.snapshot import Snapshot

_TIME: Final = pa.timestamp("us", "UTC")
_HOLDS_SCHEMA: Final = pa.schema(
    [
        pa.field("table_name", pa.string(), nullable=False),
        pa.field("table_id", pa.string(), nullable=False),
        pa.field("row_id", pa.string()),
        pa.field("case", pa.string(), nullable=False),
        pa.field("actor", pa.string(), nullable=False),
        pa.field("created_at", _TIME, nullable=False),
        pa.field("tenant", pa.string()),
    ]
)
_RETENTION_SCHEMA: Final = pa.schema(
    [
        pa.field("what", pa.string(), nullable=False),
        pa.field("keep", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("actor", pa.string(), nullable=False),
        pa.field("created_at", _TIME, nullable=False),
        pa.field("ran_at", _TIME),
        pa.field("report", pa.string()),
    ]
)


def holds_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.holds``: the rows that nobody may erase; a NULL ``row_id`` is all of them."""
    rows = [
        {
            "table_name": each.table_name, "table_id": each.table_id, "row_id": each.row_id,
            "case": each.case, "actor": each.actor, "created_at": each.created_at,
            "tenant": each.tenant or None,
        }
        for each in holds(snapshot.reader)
    ]  # fmt: skip
    return ArrowDataset(pa.Table.from_pylist(rows, schema=_HOLDS_SCHEMA), snapshot.fail)


def retention_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.retention``: for how long what is kept, and what the last run let go of."""
    rows = shown(snapshot.reader, snapshot.catalog.tenant)
    return ArrowDataset(pa.Table.from_pylist(rows, schema=_RETENTION_SCHEMA), snapshot.fail)
