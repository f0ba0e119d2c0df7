"""``audit.activity``: what anybody did or tried, in one time line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.ledger.commitments import CONTEXT, opened_members
from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.sql.pushdown import narrowing
from affidavit.catalog.values.canonical import canonical, to_us
from affidavit.engine.reads.record import CLOSED, KIND
from affidavit.engine.reads.records import plain_name
from affidavit.engine.scans.entries import EntriesDataset, stretches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.engine.scans.snapshot import Snapshot

ACTIVITY_SCHEMA: Final = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("kind", pa.string()),
        pa.field("action", pa.string()),
        pa.field("status", pa.string()),
        *(pa.field(name, pa.string()) for name in ("actor", "source", "workspace")),
        pa.field("tables", pa.list_(pa.string())),
        pa.field("entity_id", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("entry_id", pa.string()),
        pa.field("context", pa.string()),
    ]
)


class ActivityDataset(EntriesDataset):
    """Every entry of the ledger that somebody's doing made, oldest first.

    A read whose rows left before its end stands there twice: as it began, and as it ended.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot, ACTIVITY_SCHEMA)

    def entries(self, predicate: Predicate | None) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries that may match, in pages, wherever they are kept."""
        size = 1 + (self._ledger.last_seq(self._reader) or 0)
        for low, high in stretches(*_bounds(predicate, size), self.end):
            yield self._ledger.page(self._reader, low, high)

    def batch(self, entries: Sequence[StoredEntry], columns: Sequence[str]) -> pa.RecordBatch:
        """Return a row an entry."""
        rows = [_row(entry) for entry in entries]
        if CONTEXT in columns:
            for row, entry in zip(rows, entries, strict=True):
                row[CONTEXT] = _context(entry)
        return pa.RecordBatch.from_pylist(rows, schema=ACTIVITY_SCHEMA).select(list(columns))


def _bounds(predicate: Predicate | None, size: int) -> tuple[int, int]:
    """Return which entries a condition leaves, as far as it says so by their numbers."""
    first, end = 0, size
    for part in narrowing(predicate, {"seq": "seq"}):
        if not isinstance(part, Compare):
            continue
        value = getattr(part.value, "as_py", lambda part=part: part.value)()
        if part.op in {">", ">=", "="}:
            first = max(first, value + (part.op == ">"))
        if part.op in {"<", "<=", "="}:
            end = min(end, value + (part.op != "<"))
    return first, end


def _row(entry: StoredEntry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "seq": entry.seq, "at": entry.created_at, "kind": entry.kind, "entry_id": entry.entry_id
    }  # fmt: skip
    try:
        fields = entry.fields()
    except LedgerProblem:  # one that was let go, or that somebody changed: verify() says
        return row
    row |= {name: fields.get(name) for name in ("actor", "source", "status", "entity_id")}
    row["workspace"] = fields.get("workspace", fields.get("workspace_id"))
    row["action"] = fields.get("action", fields.get("statement", fields.get("mode")))
    row["at"] = _time(fields, entry.created_at)
    if entry.kind in {KIND, CLOSED}:
        row["tables"] = [plain_name(each["name"]) for each in fields.get("tables") or ()]
        row["rows"] = fields.get("rows_returned")
    elif fields.get("table_name", fields.get("entity_type")) is not None:
        row["tables"] = [fields.get("table_name", fields.get("entity_type"))]
        row["rows"] = fields.get("k_returned")
    return row


def _context(entry: StoredEntry) -> str | None:
    """Return what the scope said, as it is kept; ``None`` for nothing, or where that was erased."""
    if entry.opened is None:
        return None
    try:
        _, context = opened_members(entry.opened).get(CONTEXT, (b"", None))
    except LedgerProblem:  # somebody changed it
        return None
    return None if context is None else canonical(context).decode()


def _time(fields: dict[str, Any], at_us: int) -> int:
    """Return when it was done: a record says when that was asked."""
    told = fields.get("executed_at", fields.get("timestamp", fields.get("created_at")))
    return at_us if told is None else to_us(str(told))
