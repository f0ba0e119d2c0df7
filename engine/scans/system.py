"""The tables that affidavit keeps for itself: every schema of them, and the catalog's own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.lake.vectors.datasets import lance_errors
from affidavit.catalog.model.definition import EXTERNAL, MUTABLE, SEQUENCE, VECTOR, VIEW
from affidavit.catalog.sources.registry import remembered
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.names import SYSTEM_SCHEMA
from affidavit.catalog.sql.scan import ArrowDataset, ScanDataset
from affidavit.engine.scans.audit import (
    RESULTS_SCHEMA,
    ResultsDataset,
    SearchesDataset,
    StatementsDataset,
    checkpoints_table,
)
from affidavit.engine.scans.entries import LEDGER_SCHEMA, LedgerDataset
from affidavit.engine.scans.evidence.activity import ActivityDataset
from affidavit.engine.scans.evidence.kept import holds_table, retention_table
from affidavit.engine.scans.evidence.reads import ReadRowsDataset, ReadsDataset
from affidavit.engine.scans.journal import (
    JournalDataset,
    record_segments_table,
    segments_table,
)
from affidavit.engine.scans.listing.constraints import CONSTRAINT_TABLES
from affidavit.engine.scans.memory import LaterDataset
from affidavit.engine.scans.topics import consumers_table, topics_table, triggers_table
from affidavit.engine.search.record import SEARCHES_SCHEMA
from affidavit.errors import AffidavitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.snapshot import Snapshot

_TABLES_SCHEMA: Final = pa.schema(
    [
        pa.field("schema_name", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("rows", pa.int64()),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("tenant", pa.string()),
        pa.field("audit", pa.string()),
        pa.field("model", pa.string()),
        pa.field("source", pa.string()),
    ]
)


def _counted_in_store(_snapshot: Snapshot, info: TableInfo) -> tuple[int, int]:
    return info.row_count, info.version


def _counted_by_lance(snapshot: Snapshot, info: TableInfo) -> tuple[int | None, int]:
    """Return what Lance says of the version that is seen, which a crash cannot make untrue.

    A table whose files are damaged or gone is listed all the same.
    """
    try:
        dataset = snapshot.catalog.lake.datasets.visible(info)
        with lance_errors(f"counting the rows of {info.name!r}"):
            return dataset.count_rows(), dataset.version
    except AffidavitError:
        return None, info.data_version or info.version


def _uncounted(_snapshot: Snapshot, info: TableInfo) -> tuple[None, int]:
    return None, info.version


COUNTS: Final[Mapping[str, Callable[[Snapshot, TableInfo], tuple[int | None, int]]]] = {
    MUTABLE.name: _counted_in_store,
    VECTOR.name: _counted_by_lance,
    VIEW.name: _uncounted,
    EXTERNAL.name: _uncounted,
    SEQUENCE.name: _uncounted,
}
"""How many rows a table of each kind has, if that is known unread, and its version."""


TEMPORARY: Final = "temporary"
"""The kind of table that a session's own is called."""


def tables_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.tables``: every table that the tenant sees."""
    held = [each.info for each in snapshot.temporaries]
    return LaterDataset(_TABLES_SCHEMA, partial(_tables, snapshot, held), snapshot.fail)


def _tables(snapshot: Snapshot, temporaries: Sequence[TableInfo]) -> pa.Table:
    rows = []
    for info in snapshot.catalog.tables(snapshot.reader):
        count, version = COUNTS[info.kind](snapshot, info)
        rows.append(
            {
                "schema_name": info.schema,
                "name": info.name,
                "kind": info.kind,
                "rows": count,
                "version": version,
                "tenant": info.tenant or None,
                "audit": info.audit,
                "model": getattr(info.definition, "model", None),
                "source": getattr(info.definition, "source", None),
            }
        )
    rows += [
        {
            "schema_name": info.schema, "name": info.name, "kind": TEMPORARY,
            "rows": info.row_count, "version": info.version, "tenant": info.tenant or None,
        }
        for info in temporaries
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=_TABLES_SCHEMA)


_SOURCES_SCHEMA: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
    ]
)


def sources_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.sources``: the databases that the tenant has attached."""
    found = remembered(snapshot.reader, snapshot.catalog.tenant)
    rows = [{"name": each.name, "url": each.url} for each in found]
    return ArrowDataset(pa.Table.from_pylist(rows, schema=_SOURCES_SCHEMA), snapshot.fail)


TEXT_LENGTH_MAX: Final = 10_000
"""How much of a statement ``system.queries`` shows."""

_QUERIES_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("session", pa.string(), nullable=False),
        pa.field("actor", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("started_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
    ]
)


class QueriesDataset(ScanDataset):
    """``system.queries``: what the tenant's sessions run in this process, when it is read."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(_QUERIES_SCHEMA, snapshot.fail)
        self._catalog = snapshot.catalog

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows, in the order that they were begun in."""
        tenant, queries = self._catalog.tenant, self._catalog.lake.queries
        rows = [
            {
                "id": query.id,
                "session": query.session,
                "actor": query.identity.actor,
                "text": query.text[:TEXT_LENGTH_MAX],
                "started_at": query.started_at_us,
                "rows": query.rows,
                "state": "stopping" if query.is_stopping else "running",
            }
            for query in queries.active()
            if query.identity.tenant == tenant
        ]
        batch = pa.RecordBatch.from_pylist(rows, schema=_QUERIES_SCHEMA)
        yield keep(predicate, batch).select(columns)


_LOCKS_SCHEMA: Final = pa.schema(
    [
        pa.field("held_s", pa.float64(), nullable=False),
        pa.field("long_holds", pa.int64(), nullable=False),
        pa.field("longest_s", pa.float64(), nullable=False),
        pa.field("planned_under_lock", pa.int64(), nullable=False),
    ]
)


def locks_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.locks``: how this process has held the lake's write lock."""
    holds = snapshot.catalog.lake.store.holds
    row = {
        "held_s": holds.lasts_s,
        "long_holds": holds.long,
        "longest_s": holds.longest_s,
        "planned_under_lock": holds.planned,
    }
    return ArrowDataset(pa.Table.from_pylist([row], schema=_LOCKS_SCHEMA), snapshot.fail)


SYSTEM_TABLES: Final[Mapping[str, Mapping[str, Callable[[Snapshot], ScanDataset]]]] = {
    SYSTEM_SCHEMA: {
        "tables": tables_table,
        "ledger": lambda snapshot: LedgerDataset(snapshot, LEDGER_SCHEMA),
        "journal": JournalDataset,
        "segments": segments_table,
        "topics": topics_table,
        "consumers": consumers_table,
        "triggers": triggers_table,
        "sources": sources_table,
        "queries": QueriesDataset,
        "locks": locks_table,
        "holds": holds_table,
        "retention": retention_table,
        **CONSTRAINT_TABLES,
    },
    "audit": {
        "searches": lambda snapshot: SearchesDataset(snapshot, SEARCHES_SCHEMA),
        "results": lambda snapshot: ResultsDataset(snapshot, RESULTS_SCHEMA),
        "statements": StatementsDataset,
        "checkpoints": checkpoints_table,
        "reads": ReadsDataset,
        "read_rows": ReadRowsDataset,
        "activity": ActivityDataset,
        "segments": record_segments_table,
    },
}
"""Schema and name, and what makes the table."""
