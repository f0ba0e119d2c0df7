"""The journal as tables: ``journal``, and what is sealed in ``system.`` and ``audit.segments``."""

from __future__ import annotations

import operator
from dataclasses import astuple
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.events import EVENTS_SCHEMA
from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import Compare, In, conjuncts
from affidavit.catalog.sql.predicate import columns_of as columns_in
from affidavit.catalog.sql.pushdown import narrowing
from affidavit.catalog.sql.scan import ArrowDataset, ScanDataset, enough, rows_without_columns
from affidavit.engine.scans.evidence.events import TELLING, TOLD_BY, EventRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.journal.segments.keeping import Keeping
    from affidavit.catalog.model.release import TableRead
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.snapshot import Snapshot

ENTITIES_MAX: Final = 100
"""Events of more entities than this are looked for by reading the whole journal."""

_TIME: Final = pa.timestamp("us", "UTC")

JOURNAL_SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("event_id", pa.string()),
        pa.field("timestamp", _TIME),
        *(
            pa.field(name, pa.string())
            for name in (
                "entity_type", "entity_id", "field", "action", "old_value", "new_value", "actor",
                "source", "workspace_id", "tenant", "tx_id", "reason", "context",
            )
        ),
    ]
)  # fmt: skip


_SHOWABLE: Final = JOURNAL_SCHEMA.append(EVENTS_SCHEMA.field("table_id"))
"""Those columns, and the one by which a record of a read names the table of a row."""


def journal_batch(events: pa.Table, columns: Sequence[str], tenant: str | None) -> pa.RecordBatch:
    """Return ``columns`` of the journal for events as they are kept."""
    if not columns:
        return pa.RecordBatch.from_arrays([pa.nulls(events.num_rows)], names=["_"]).select([])
    schema = pa.schema([_SHOWABLE.field(name) for name in columns])
    arrays = [_journal_column(events, each.name, tenant).cast(each.type) for each in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _journal_column(events: pa.Table, name: str, tenant: str | None) -> pa.Array:
    if name == "tenant":
        return pa.array([tenant] * events.num_rows, pa.string())
    if name == "event_id":
        milliseconds = pc.divide(_flat(events["timestamp"]).cast(pa.int64()), 1000)
        numbers = [milliseconds.cast(pa.string()), _flat(events["seq"]).cast(pa.string())]
        return pc.binary_join_element_wise("evt", *numbers, "-")
    return _flat(events[name])


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


_JOURNAL_SOURCES: Final = {"event_id": ("timestamp", "seq"), "tenant": ("seq",)}


class JournalDataset(ScanDataset):
    """``journal``: every event, oldest first, read from the segments and the store."""

    ordered_by = "seq"

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        entity_type: str | None = None,
        told: TableRead | None = None,
    ) -> None:
        super().__init__(JOURNAL_SCHEMA, snapshot.fail)
        self._of = None if entity_type is None else pc.field("entity_type") == entity_type
        self._reader = snapshot.reader
        self._journal = snapshot.catalog.journal
        self._tenant = snapshot.catalog.identity.shown_tenant
        self._rows = None if told is None else EventRows(snapshot.catalog, snapshot.reader, told)

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching events, oldest first, or from the end that is wanted on."""
        if not columns and predicate is None and self._of is None:
            yield from rows_without_columns(self._journal.events.count(self._reader))
            return
        needed = [*columns]
        if predicate is not None:
            needed += [name for name in sorted(columns_in(predicate)) if name not in columns]
        rows = self._rows if TELLING & {*needed} else None
        if rows is not None and rows.is_wanted:
            needed += [name for name in (*TOLD_BY, "table_id") if name not in needed]
        else:
            rows = None
        kept = list(
            dict.fromkeys(each for name in needed for each in _JOURNAL_SOURCES.get(name, (name,)))
        ) or ["seq"]
        filters = None if predicate is None else arrow_filter(predicate, set(EVENTS_SCHEMA.names))
        if self._of is not None:
            filters = self._of if filters is None else filters & self._of
        parts = self._parts(kept, filters, _entities(predicate))
        found = (keep(predicate, journal_batch(part, needed, self._tenant)) for part in parts)
        for batch in enough(found, self.end):
            if rows is not None:
                rows.note(batch)
            yield batch.select(columns)

    def _parts(
        self, names: list[str], filters: pc.Expression | None, entities: list[str] | None
    ) -> Iterator[pa.Table]:
        """Return the events that may match, those of some ``entities`` alone, from the end on."""
        events, is_last = self._journal.events, self.end is not None and self.end.is_last
        if entities is None:
            return (events.scan_back if is_last else events.scan)(self._reader, names, filters)
        names = list(dict.fromkeys([*names, "entity_type"]))
        found = list(events.of_entities(self._reader, entities, names))
        if self._of is not None:
            found = [part.filter(self._of) for part in found]
        return iter(found[::-1] if is_last else found)


def _entities(predicate: Predicate | None) -> list[str] | None:
    """Return the few entities that all matching events are about; ``None`` if they are not few."""
    for part in narrowing(predicate, {"entity_id": "entity_id"}):
        if isinstance(part, Compare) and part.op == "=":
            return [str(part.value)]
        if isinstance(part, In) and len(part.values) <= ENTITIES_MAX:
            return [str(each) for each in part.values]
    return None


def arrow_filter(predicate: Predicate, columns: set[str]) -> pc.Expression | None:
    """Return a filter over ``columns`` that keeps every row that ``predicate`` keeps, and others.

    Arrow prunes files by it; NULLs and what it has no words for are left to ``predicate``.
    """
    found: pc.Expression | None = None
    for part in conjuncts(predicate):
        match part:
            case Compare(op, column, value) if column in columns and op != "!=":
                made = _COMPARE[op](pc.field(column), value)  # type: ignore[arg-type]  # Arrow's
            case In(column, values, _) if column in columns:
                made = pc.field(column).isin([each.as_py() for each in values])  # type: ignore[attr-defined]  # scalars
            case _:
                continue
        found = made if found is None else found & made
    return found


_COMPARE: Final = {
    "=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip

SEGMENTS_SCHEMA: Final = pa.schema(
    [
        pa.field("first_seq", pa.int64()),
        pa.field("last_seq", pa.int64()),
        pa.field("events", pa.int64()),
        pa.field("first_at", _TIME),
        pa.field("last_at", _TIME),
        pa.field("sha256", pa.binary()),
        pa.field("root", pa.binary()),
        pa.field("file", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("dropped", pa.bool_()),
    ]
)
RECORD_SEGMENTS_SCHEMA: Final = SEGMENTS_SCHEMA.set(
    SEGMENTS_SCHEMA.get_field_index("events"), pa.field("records", pa.int64())
)


def segments_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.segments``: the journal's sealed segments."""
    return _segments(snapshot, snapshot.catalog.journal.kept, SEGMENTS_SCHEMA)


def record_segments_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``audit.segments``: the sealed segments of the ledger's other entries."""
    return _segments(snapshot, snapshot.catalog.journal.records.kept, RECORD_SEGMENTS_SCHEMA)


def _segments(snapshot: Snapshot, kept: Keeping, schema: pa.Schema) -> ScanDataset:
    segments = kept.all_segments(snapshot.reader)
    columns = list(zip(*map(astuple, segments), strict=True)) or [()] * len(schema)
    arrays = [
        pa.array(list(values), pa.int64()).cast(field.type)
        if field.name == "dropped"
        else pa.array(list(values), field.type)
        for values, field in zip(columns, schema, strict=True)
    ]
    return ArrowDataset(pa.Table.from_arrays(arrays, schema=schema), snapshot.fail)
