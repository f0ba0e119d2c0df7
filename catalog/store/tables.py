"""The tables that every lake's store has: each is declared here, and nowhere else.

Rules:
    - A store renders a fresh lake's schema from these declarations. A lake of an older format is
      brought to the same schema by the steps of its store.
    - A declaration says what is kept, in kinds that every database has, and what is unique. Every
      table has ``_rowid`` and ``_tenant`` too, which keys name where a tenant has its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.store.protocol import TENANT, Cover, StoreColumn, StoreIndex, StoreTable
from affidavit.catalog.values.types import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

_INT, _TEXT, _BLOB = Kind.INTEGER, Kind.TEXT, Kind.BLOB


def _table(
    name: str, columns: Mapping[str, Kind], *indexes: StoreIndex, cover: Cover | None = None
) -> StoreTable:
    kept = tuple(StoreColumn(column, kind) for column, kind in columns.items())
    return StoreTable(name, kept, indexes, cover)


def _unique(name: str, *columns: str) -> StoreIndex:
    return StoreIndex(name, columns, unique=True)


# --- the lake and what is in it ------------------------------------------------------------------

LAKE: Final = _table("lake", {"lake_id": _TEXT})
"""One row, in the shared scope: who this lake is."""

SCHEMAS: Final = _table(
    "schemas", {"name": _TEXT, "created_at": _INT}, _unique("schemas_name", TENANT, "name"),
    cover=Cover(by="name"),
)  # fmt: skip
TABLES: Final = _table(
    "tables",
    {
        "table_id": _TEXT, "schema_name": _TEXT, "name": _TEXT, "kind": _TEXT, "definition": _TEXT,
        "version": _INT, "row_count": _INT, "created_at": _INT, "data_version": _INT,
        "audit": _TEXT, "next_rowid": _INT,
    },
    _unique("tables_id", "table_id"),
    _unique("tables_name", TENANT, "schema_name", "name"),
    cover=Cover(by="table_id", leaves_out=("version", "row_count", "next_rowid")),
)  # fmt: skip
LINKS: Final = _table(
    "links",
    {"table_id": _TEXT, "name": _TEXT, "refers_to": _TEXT},
    _unique("links_name", "table_id", "name"),
    StoreIndex("links_refers_to", ("refers_to",)),
    cover=Cover(by="table_id"),
)
"""The foreign keys of mutable tables, and to which tables each refers."""

CHANGED_ROWS: Final = _table(
    "changed_rows",
    {"table_id": _TEXT, "version": _INT, "rowids": _BLOB},
    _unique("changed_rows_version", "table_id", "version"),
)
"""Which rows the last versions of mutable tables changed: ranges of 64-bit numbers."""

COPIES: Final = _table(
    "copies",
    {
        "table_id": _TEXT, "version": _INT, "file": _TEXT, "bytes": _INT, "sha256": _BLOB,
        "state": _BLOB,
    },
    _unique("copies_table", "table_id"),
    cover=Cover(by="table_id"),
)  # fmt: skip
"""The Arrow copies of large mutable tables: of which version, and the sum of its rows."""

FILES: Final = _table(
    "files",
    {"table_id": _TEXT, "path": _TEXT, "bytes": _INT, "sha256": _BLOB},
    _unique("files_path", "table_id", "path"),
    cover=Cover(by="table_id"),
)
"""The files of vector tables, by their paths in the dataset."""

INTENTS: Final = _table(
    "intents",
    {
        "intent_id": _TEXT, "table_id": _TEXT, "version_before": _INT, "marked": _INT,
        "rows_added": _INT, "batches": _TEXT, "messages": _TEXT,
    },
    _unique("intents_id", "intent_id"),
    StoreIndex("intents_table", ("table_id",)),
    cover=Cover(by="intent_id"),
)  # fmt: skip
"""The changes of vector tables that are about to happen."""

SOURCES: Final = _table(
    "sources",
    {"name": _TEXT, "url": _TEXT, "created_at": _INT, "reach": _TEXT},
    _unique("sources_name", TENANT, "name"),
    cover=Cover(by="name"),
)
STATEMENTS: Final = _table(
    "statements",
    {
        "statement_id": _TEXT, "executed_at": _INT, "actor": _TEXT, "source": _TEXT,
        "workspace": _TEXT, "kind": _TEXT, "text": _TEXT, "tables_read": _TEXT,
        "tables_written": _TEXT, "rows": _INT, "duration_us": _INT, "status": _TEXT, "error": _TEXT,
        "digest": _BLOB, "salt": _BLOB, "committed": _TEXT,
    },
)  # fmt: skip
"""The log of statements; each row with the digest of the log up to it, NULL where none was kept.

``salt`` is that of the text's commitment, which ``committed`` is once the text was erased.
"""

# --- the ledgers ---------------------------------------------------------------------------------

LEDGER: Final = _table(
    "ledger",
    {
        "seq": _INT, "kind": _TEXT, "entry_id": _TEXT, "created_at": _INT, "leaf_hash": _BLOB,
        "body": _BLOB, "signature": _BLOB, "opened": _BLOB,
    },
    _unique("ledger_seq", TENANT, "seq"),
    _unique("ledger_entry", TENANT, "entry_id"),
    StoreIndex("ledger_kind", (TENANT, "kind", "seq")),
)  # fmt: skip
NODES: Final = _table(
    "ledger_nodes",
    {"level": _INT, "position": _INT, "hash": _BLOB},
    _unique("ledger_nodes_place", TENANT, "level", "position"),
)
HEADS: Final = _table(
    "ledger_heads",
    {
        "size": _INT, "peaks": _BLOB, "note": _TEXT, "key_id": _TEXT, "generation": _INT,
        "checkpoint_size": _INT, "checkpoint_at": _INT, "log_rows": _INT, "log_digest": _BLOB,
        "log_first": _INT, "data": _BLOB, "logged_at": _INT,
    },
    _unique("ledger_heads_one", TENANT),
)  # fmt: skip
STATES: Final = _table(
    "states",
    {"object": _TEXT, "version": _INT, "rows": _INT, "state": _BLOB},
    _unique("states_object", TENANT, "object"),
)
"""The sum of the rows of each object that is covered, and how many entries there were then."""

CHECKPOINTS: Final = _table(
    "checkpoints",
    {"size": _INT, "root": _BLOB, "key_id": _TEXT, "note": _TEXT, "created_at": _INT},
    _unique("checkpoints_size", TENANT, "size"),
    cover=Cover(),
)
RESULTS: Final = _table(
    "search_results",
    {"row_id": _TEXT, "seq": _INT, "how": _TEXT},
    StoreIndex("search_results_row", (TENANT, "row_id", "seq")),
)
"""Which records gave a row: an index over those that are not sealed, told by their bodies too."""

LEDGER_SEGMENTS: Final = _table(
    "ledger_segments",
    {
        "first_seq": _INT, "last_seq": _INT, "records": _INT, "first_at": _INT, "last_at": _INT,
        "sha256": _BLOB, "root": _BLOB, "file": _TEXT, "bytes": _INT, "dropped": _INT,
    },
    _unique("ledger_segments_seq", TENANT, "first_seq"),
)  # fmt: skip
LEDGER_LEAVES: Final = _table(
    "ledger_leaves",
    {"first_seq": _INT, "end_seq": _INT, "data": _BLOB},
    _unique("ledger_leaves_first", TENANT, "first_seq"),
)
"""The leaves of sealed records that the next checkpoint is proved by: number and hash of each."""

# --- the journals --------------------------------------------------------------------------------

TAIL: Final = _table(
    "journal_tail",
    {"first_seq": _INT, "last_seq": _INT, "events": _INT, "data": _BLOB, "leaves": _BLOB},
    _unique("journal_tail_seq", TENANT, "first_seq"),
)
SEGMENTS: Final = _table(
    "journal_segments",
    {
        "first_seq": _INT, "last_seq": _INT, "events": _INT, "first_at": _INT, "last_at": _INT,
        "sha256": _BLOB, "root": _BLOB, "file": _TEXT, "bytes": _INT, "dropped": _INT,
    },
    _unique("journal_segments_seq", TENANT, "first_seq"),
)  # fmt: skip
LEAVES: Final = _table(
    "journal_leaves",
    {"first_seq": _INT, "end_seq": _INT, "data": _BLOB},
    _unique("journal_leaves_first", TENANT, "first_seq"),
)
"""The leaves of sealed events that the next checkpoint is proved by: number and hash of each."""

PLACES: Final = _table("journal_places", {"url": _TEXT}, _unique("journal_places_one", TENANT))
"""The URL of the lake's segments, in the shared scope; no row while they lie in the lake."""

# --- topics and who reads them -------------------------------------------------------------------

TOPICS: Final = _table(
    "topics",
    {
        "topic_id": _TEXT, "name": _TEXT, "schema": _BLOB, "metadata": _TEXT,
        "retain_events": _INT, "retain_us": _INT, "created_at": _INT,
    },
    _unique("topics_id", "topic_id"),
    _unique("topics_name", TENANT, "name"),
    cover=Cover(by="topic_id"),
)  # fmt: skip
LOG: Final = _table(
    "topic_log",
    {"topic_id": _TEXT, "offset": _INT, "produced_at": _INT, "rows": _INT, "data": _BLOB},
    _unique("topic_log_offset", "topic_id", "offset"),
    cover=Cover(by="topic_id"),
)
CONSUMERS: Final = _table(
    "consumers",
    {
        "consumer_id": _TEXT, "topic_id": _TEXT, "name": _TEXT, "settings": _TEXT,
        "next_offset": _INT, "created_at": _INT,
    },
    _unique("consumers_name", TENANT, "topic_id", "name"),
)  # fmt: skip
DELIVERIES: Final = _table(
    "deliveries",
    {
        "consumer_id": _TEXT, "offset": _INT, "attempts": _INT, "due_at": _INT, "token": _TEXT,
        "reason": _TEXT,
    },
    _unique("deliveries_offset", "consumer_id", "offset"),
)  # fmt: skip
TRIGGERS: Final = _table(
    "triggers",
    {
        "trigger_id": _TEXT, "name": _TEXT, "table_id": _TEXT, "kind": _TEXT, "definition": _TEXT,
        "created_at": _INT,
    },
    _unique("triggers_name", TENANT, "name"),
    StoreIndex("triggers_table", ("table_id",)),
    cover=Cover(by="trigger_id"),
)  # fmt: skip

# --- what is let go, and what is not -------------------------------------------------------------

ERASURES: Final = _table(
    "erasures",
    {"erasure_id": _TEXT, "told": _TEXT, "created_at": _INT},
    _unique("erasures_id", "erasure_id"),
    cover=Cover(by="erasure_id"),
)
"""Erasures that have begun, with all that is needed to end them; each goes when it has ended."""

HOLDS: Final = _table(
    "holds",
    {
        "table_id": _TEXT, "row_id": _TEXT, "case_id": _TEXT, "table_name": _TEXT,
        "actor": _TEXT, "created_at": _INT,
    },
    StoreIndex("holds_table", (TENANT, "table_id", "row_id")),
    cover=Cover(),
)  # fmt: skip
"""Rows that nobody may erase; a NULL ``row_id`` is every row of the table."""

RETENTIONS: Final = _table(
    "retentions",
    {
        "what": _TEXT, "keep": _TEXT, "reason": _TEXT, "actor": _TEXT, "created_at": _INT,
        "ran_at": _INT, "report": _TEXT,
    },
    _unique("retentions_what", TENANT, "what"),
    cover=Cover(leaves_out=("ran_at", "report")),
)  # fmt: skip
"""For how long what is kept, and what the last run let go of."""

STORE_TABLES: Final = (
    LAKE, SCHEMAS, TABLES, LINKS, CHANGED_ROWS, COPIES, FILES, INTENTS, SOURCES, STATEMENTS,
    LEDGER, NODES, HEADS, STATES, CHECKPOINTS, RESULTS, LEDGER_SEGMENTS, LEDGER_LEAVES,
    TAIL, SEGMENTS, LEAVES, PLACES,
    TOPICS, LOG, CONSUMERS, DELIVERIES, TRIGGERS,
    ERASURES, HOLDS, RETENTIONS,
)  # fmt: skip
"""Every table that a lake has from the beginning."""
