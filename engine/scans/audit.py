"""What is on record, as tables: the schema ``audit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.sql.evaluation import keep
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.sql.pushdown import narrowing
from affidavit.catalog.sql.scan import ArrowDataset, ScanDataset
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import CHECKPOINTS, STATEMENTS
from affidavit.engine.scans.entries import EntriesDataset, from_end
from affidavit.engine.search.record import KIND, SEARCHES_SCHEMA, records_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.snapshot import Snapshot

_TIME: Final = pa.timestamp("us", "UTC")


class SearchesDataset(EntriesDataset):
    """``audit.searches``: one row a search."""

    stored: Mapping[str, str] = {
        "seq": "seq", "query_id": "entry_id", "executed_at": "created_at",
    }  # fmt: skip
    kind = KIND

    def count(self, where: Sequence[Predicate]) -> int | None:
        """Return how many searches are on record."""
        return self._ledger.count_of(self._reader, Compare("=", "kind", KIND), *where)

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


class ResultsDataset(EntriesDataset):
    """``audit.results``: one row a returned row, found by ``row_id`` through an index."""

    stored = SearchesDataset.stored
    kind = KIND

    def entries(self, predicate: Predicate | None) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries that may match: those that returned the wanted rows."""
        found = self.giving(predicate, (KIND,))
        yield from super().entries(predicate) if found is None else from_end(found, self.end)

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
        names = [name for name in columns_of(STATEMENTS) if name in STATEMENTS_SCHEMA.names]
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
