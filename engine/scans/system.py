"""The tables that affidavit keeps for itself, as SQL reads them: ``system`` and ``audit``.

Rules:
    - A tenant reads its own ledger's entries and no others, not the shared scope's either: every
      ledger is one tenant's.
    - A filter on a column that the store has by itself narrows what is read; all of a filter is
      then applied to the rows.
"""

from __future__ import annotations

import operator
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from affidavit.catalog.journal.events import EVENTS_SCHEMA
from affidavit.catalog.journal.events import KIND as KIND_OF_EVENTS
from affidavit.catalog.sources.registry import remembered
from affidavit.catalog.sql.predicate import Compare, In, conjuncts, keep, narrowing
from affidavit.catalog.sql.predicate import columns_of as columns_in
from affidavit.catalog.sql.scan import ArrowDataset, ScanDataset
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import CHECKPOINTS, RESULTS, STATEMENTS
from affidavit.engine.scans.topics import consumers_table, topics_table, triggers_table
from affidavit.engine.search.record import KIND, SEARCHES_SCHEMA, records_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.snapshot import Snapshot

PAGE_ENTRIES: Final = 4096
ENTITIES_MAX: Final = 100
"""Events of more entities than this are looked for by reading the whole journal."""

_TIME: Final = pa.timestamp("us", "UTC")


class _EntriesDataset(ScanDataset):
    """A table whose rows come from the ledger's entries."""

    stored: Mapping[str, str] = {"seq": "seq"}
    kind: str | None = None

    def __init__(self, snapshot: Snapshot, schema: pa.Schema) -> None:
        super().__init__(schema, snapshot.fail)
        self._reader = snapshot.reader
        self._ledger = snapshot.catalog.ledger

    def batch(self, entries: Sequence[StoredEntry], columns: Sequence[str]) -> pa.RecordBatch:
        """Return ``columns`` of ``entries``."""
        raise NotImplementedError

    def entries(self, predicate: Predicate | None) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries that may match, in pages."""
        where = narrowing(predicate, self.stored)
        if self.kind is not None:
            where = (Compare("=", "kind", self.kind), *where)
        after = -1
        while True:
            page = self._ledger.entries(
                self._reader, Compare(">", "seq", after), *where, limit=PAGE_ENTRIES
            )
            if page:
                yield page
            if len(page) < PAGE_ENTRIES:
                return
            after = page[-1].seq

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows, oldest first."""
        needed = [*columns]
        if predicate is not None:
            needed += [name for name in sorted(columns_in(predicate)) if name not in columns]
        for page in self.entries(predicate):
            yield keep(predicate, self.batch(page, needed)).select(columns)


# --- audit ----------------------------------------------------------------------------------------


class SearchesDataset(_EntriesDataset):
    """``audit.searches``: one row a search."""

    stored: Mapping[str, str] = {
        "seq": "seq", "query_id": "entry_id", "executed_at": "created_at",
    }  # fmt: skip
    kind = KIND

    def batch(self, entries: Sequence[StoredEntry], columns: Sequence[str]) -> pa.RecordBatch:
        """Return the records."""
        return records_batch(entries, columns)


RESULTS_SCHEMA: Final = pa.schema(
    [
        pa.field("row_id", pa.string()),
        pa.field("rank", pa.int64()),
        pa.field("score", pa.float64()),
        *(
            SEARCHES_SCHEMA.field(name)
            for name in ("table_name", "table_id", "seq", "query_id", "actor", "executed_at")
        ),
    ]
)


class ResultsDataset(_EntriesDataset):
    """``audit.results``: one row a returned row, found by ``row_id`` through an index."""

    stored = SearchesDataset.stored
    kind = KIND

    def entries(self, predicate: Predicate | None) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries that may match: those that returned the wanted rows."""
        wanted = narrowing(predicate, {"row_id": "row_id", "seq": "seq"})
        if not any(getattr(part, "column", None) == "row_id" for part in wanted):
            yield from super().entries(predicate)
            return
        found = self._reader.select(RESULTS, ("seq",), own(self._ledger.tenant, *wanted))
        seqs = sorted({int(row[0] or 0) for row in found})
        for at in range(0, len(seqs), PAGE_ENTRIES):
            page = In("seq", tuple(seqs[at : at + PAGE_ENTRIES]))
            yield self._ledger.entries(self._reader, page)

    def batch(self, entries: Sequence[StoredEntry], columns: Sequence[str]) -> pa.RecordBatch:
        """Return every row that the records say came back."""
        names = ["table_name", "table_id", "seq", "query_id", "actor", "executed_at"]
        records = records_batch(entries, [*names, "top_k_result_ids", "retrieval_scores"])
        ids = records.column("top_k_result_ids")
        lengths = ids.value_lengths().to_numpy(zero_copy_only=False)
        parents = [at for at, length in enumerate(lengths) for _ in range(int(length))]
        ranks = [rank for length in lengths for rank in range(1, int(length) + 1)]
        rows = records.select(names).take(pa.array(parents, pa.int64()))
        arrays = {
            "row_id": ids.flatten(),
            "rank": pa.array(ranks, pa.int64()),
            "score": records.column("retrieval_scores").flatten(),
            **dict(zip(names, rows.columns, strict=True)),
        }
        schema = pa.schema([RESULTS_SCHEMA.field(name) for name in columns])
        if not columns:
            return pa.RecordBatch.from_arrays([pa.nulls(len(ranks))], names=["_"]).select([])
        return pa.RecordBatch.from_arrays([arrays[name] for name in columns], schema=schema)


_READS: Final = pa.list_(pa.string())
STATEMENTS_SCHEMA: Final = pa.schema(
    [
        pa.field("statement_id", pa.string()),
        pa.field("executed_at", _TIME),
        pa.field("tenant", pa.string()),
        *(pa.field(name, pa.string()) for name in ("actor", "source", "workspace", "kind", "text")),
        pa.field("tables_read", _READS),
        pa.field("tables_written", _READS),
        pa.field("rows", pa.int64()),
        pa.field("duration_us", pa.int64()),
        pa.field("status", pa.string()),
        pa.field("error", pa.string()),
    ]
)


class StatementsDataset(ScanDataset):
    """``audit.statements``: one row an SQL statement; a table is ``schema.name@version``."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(STATEMENTS_SCHEMA, snapshot.fail)
        self._reader = snapshot.reader
        self._mine = snapshot.catalog.tenant
        self._tenant = snapshot.catalog.identity.shown_tenant

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows, oldest first."""
        same = ("statement_id", "executed_at", "actor", "kind", "status", "rows", "duration_us")
        where = own(self._mine, *narrowing(predicate, {name: name for name in same}))
        names = columns_of(STATEMENTS)
        for batch in self._reader.scan(STATEMENTS, names, where):
            arrays = {name: batch.column(name) for name in names}
            arrays["tenant"] = pa.array([self._tenant] * batch.num_rows, pa.string())
            arrays["executed_at"] = arrays["executed_at"].cast(_TIME)
            for name in ("tables_read", "tables_written"):
                lists = [text.split("\n") if text else [] for text in arrays[name].to_pylist()]
                arrays[name] = pa.array(lists, _READS)
            listed = [arrays[name] for name in STATEMENTS_SCHEMA.names]
            rows = pa.RecordBatch.from_arrays(listed, schema=STATEMENTS_SCHEMA)
            yield keep(predicate, rows).select(columns)


CHECKPOINTS_SCHEMA: Final = pa.schema(
    [
        pa.field("size", pa.int64()),
        pa.field("root_hash", pa.binary()),
        pa.field("key_id", pa.string()),
        pa.field("note", pa.string()),
        pa.field("created_at", _TIME),
    ]
)


def checkpoints_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``audit.checkpoints``: the signed tree heads that were kept."""
    names, mine = columns_of(CHECKPOINTS), own(snapshot.catalog.tenant)
    rows = snapshot.reader.select(CHECKPOINTS, names, mine, order_by=("size",))
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    arrays = [
        pa.array(list(values), field.type)
        for values, field in zip(columns, CHECKPOINTS_SCHEMA, strict=True)
    ]
    data = pa.Table.from_arrays(arrays, schema=CHECKPOINTS_SCHEMA)
    return ArrowDataset(data, snapshot.fail)


# --- the journal ----------------------------------------------------------------------------------

JOURNAL_SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("event_id", pa.string()),
        pa.field("timestamp", _TIME),
        *(
            pa.field(name, pa.string())
            for name in (
                "entity_type", "entity_id", "field", "action", "old_value", "new_value", "actor",
                "source", "workspace_id", "tenant", "tx_id", "reason",
            )
        ),
    ]
)  # fmt: skip


def journal_batch(events: pa.Table, columns: Sequence[str], tenant: str | None) -> pa.RecordBatch:
    """Return ``columns`` of the journal for events as they are kept."""
    if not columns:
        return pa.RecordBatch.from_arrays([pa.nulls(events.num_rows)], names=["_"]).select([])
    arrays = [
        _journal_column(events, name, tenant).cast(JOURNAL_SCHEMA.field(name).type)
        for name in columns
    ]
    schema = pa.schema([JOURNAL_SCHEMA.field(name) for name in columns])
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

    def __init__(self, snapshot: Snapshot, *, entity_type: str | None = None) -> None:
        super().__init__(JOURNAL_SCHEMA, snapshot.fail)
        self._of = None if entity_type is None else pc.field("entity_type") == entity_type
        self._reader = snapshot.reader
        self._journal = snapshot.catalog.journal
        self._tenant = snapshot.catalog.identity.shown_tenant

    def scan(self, columns: list[str], predicate: Predicate | None) -> Iterator[pa.RecordBatch]:
        """Yield the matching events."""
        needed = [*columns]
        if predicate is not None:
            needed += [name for name in sorted(columns_in(predicate)) if name not in columns]
        kept = list(
            dict.fromkeys(each for name in needed for each in _JOURNAL_SOURCES.get(name, (name,)))
        ) or ["seq"]
        filters = None if predicate is None else arrow_filter(predicate, set(EVENTS_SCHEMA.names))
        if self._of is not None:
            filters = self._of if filters is None else filters & self._of
        entities = _entities(predicate)
        if entities is None:
            parts = self._journal.events.scan(self._reader, kept, filters)
        else:
            names = list(dict.fromkeys([*kept, "entity_type"]))
            parts = self._journal.events.of_entities(self._reader, entities, names)
        if entities is not None and self._of is not None:
            parts = (part.filter(self._of) for part in parts)
        for part in parts:
            batch = journal_batch(part, needed, self._tenant)
            yield keep(predicate, batch).select(columns)


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


def segments_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.segments``: the journal's sealed segments."""
    segments = snapshot.catalog.journal.kept.all_segments(snapshot.reader)
    columns = list(zip(*map(astuple, segments), strict=True)) or [()] * len(SEGMENTS_SCHEMA)
    arrays = [
        pa.array(list(values), pa.int64()).cast(field.type)
        if field.name == "dropped"
        else pa.array(list(values), field.type)
        for values, field in zip(columns, SEGMENTS_SCHEMA, strict=True)
    ]
    return ArrowDataset(pa.Table.from_arrays(arrays, schema=SEGMENTS_SCHEMA), snapshot.fail)


# --- system ---------------------------------------------------------------------------------------

LEDGER_SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("kind", pa.string()),
        pa.field("entry_id", pa.string()),
        pa.field("leaf_hash", pa.binary()),
        pa.field("created_at", _TIME),
        pa.field("body", pa.string()),
        pa.field("signature", pa.binary()),
    ]
)


class LedgerDataset(_EntriesDataset):
    """``system.ledger``: every entry of the tenant's ledger."""

    stored: Mapping[str, str] = {
        column: column for column in ("seq", "kind", "entry_id", "created_at")
    }

    def entries(self, predicate: Predicate | None) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries that may match, wherever they are kept."""
        where = narrowing(predicate, {"seq": "seq", "kind": "kind"})
        kinds = {part.value for part in where if getattr(part, "column", None) == "kind"}  # type: ignore[union-attr]  # a comparison
        if kinds and KIND_OF_EVENTS not in kinds:
            yield from super().entries(predicate)
            return
        first, end = 0, (self._ledger.last_seq(self._reader) or -1) + 1
        for part in where:
            if isinstance(part, Compare) and part.column == "seq" and isinstance(part.value, int):
                first = max(first, part.value) if part.op in {"=", ">", ">="} else first
                end = min(end, part.value + 1) if part.op in {"=", "<", "<="} else end
        for low in range(first, end, PAGE_ENTRIES):
            yield self._ledger.page(self._reader, low, min(low + PAGE_ENTRIES, end))

    def batch(self, entries: Sequence[StoredEntry], columns: Sequence[str]) -> pa.RecordBatch:
        """Return the entries."""
        schema = pa.schema([LEDGER_SCHEMA.field(name) for name in columns])
        if not columns:
            return pa.RecordBatch.from_arrays([pa.nulls(len(entries))], names=["_"]).select([])
        arrays = [
            pa.array([_entry_value(entry, name) for entry in entries], schema.field(name).type)
            for name in columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _entry_value(entry: StoredEntry, name: str) -> Any:  # noqa: ANN401 - any column's
    return entry.body.decode() if name == "body" else getattr(entry, name)


_TABLES_SCHEMA: Final = pa.schema(
    [
        pa.field("schema_name", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("rows", pa.int64()),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("tenant", pa.string()),
    ]
)


def tables_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.tables``: every table that the tenant sees."""
    rows = []
    for info in snapshot.catalog.tables(snapshot.reader):
        count, version = info.row_count if info.kind == "mutable" else None, info.version
        if info.kind == "vector":  # what Lance says, which a crash cannot make untrue
            dataset = snapshot.catalog.lake.datasets.latest(info)
            count, version = dataset.count_rows(), dataset.version
        rows.append(
            {
                "schema_name": info.schema,
                "name": info.name,
                "kind": info.kind,
                "rows": count,
                "version": version,
                "tenant": info.tenant or None,
            }
        )
    return ArrowDataset(pa.Table.from_pylist(rows, schema=_TABLES_SCHEMA), snapshot.fail)


_SOURCES_SCHEMA: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
    ]
)


def sources_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.sources``: the databases that the tenant has attached."""
    found = remembered(snapshot.reader, snapshot.catalog.tenant)
    rows = [{"name": name, "url": url} for name, url in found]
    return ArrowDataset(pa.Table.from_pylist(rows, schema=_SOURCES_SCHEMA), snapshot.fail)


SYSTEM_SCHEMA: Final = "system"
SYSTEM_TABLES: Final[Mapping[str, Mapping[str, Callable[[Snapshot], ScanDataset]]]] = {
    "system": {
        "tables": tables_table,
        "ledger": lambda snapshot: LedgerDataset(snapshot, LEDGER_SCHEMA),
        "journal": JournalDataset,
        "segments": segments_table,
        "topics": topics_table,
        "consumers": consumers_table,
        "triggers": triggers_table,
        "sources": sources_table,
    },
    "audit": {
        "searches": lambda snapshot: SearchesDataset(snapshot, SEARCHES_SCHEMA),
        "results": lambda snapshot: ResultsDataset(snapshot, RESULTS_SCHEMA),
        "statements": StatementsDataset,
        "checkpoints": checkpoints_table,
    },
}
"""Schema and name, and what makes the table."""
