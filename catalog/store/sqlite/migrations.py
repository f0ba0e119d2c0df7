"""The store's formats: by which steps an older SQLite lake becomes a newer one; data.

Rules:
    - A step that was released is never changed, and steps are only ever added.
    - All of them together, from nothing, make what :mod:`affidavit.catalog.store.tables` declares,
      of which a new lake is made at once: whoever adds a step changes the declaration with it.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x41464456
"""``AFDV``: how a SQLite file says that it is a lake's catalog."""

_SYSTEM_COLUMNS: Final = "_rowid INTEGER PRIMARY KEY, _tenant TEXT NOT NULL"

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        (
            f"CREATE TABLE tables ({_SYSTEM_COLUMNS}, table_id, schema_name, name, kind,"
            " definition, version, row_count, created_at)"
        ),
        "CREATE UNIQUE INDEX tables_id ON tables (table_id)",
        "CREATE UNIQUE INDEX tables_name ON tables (_tenant, schema_name, name)",
        f"CREATE TABLE schemas ({_SYSTEM_COLUMNS}, name, created_at)",
        "CREATE UNIQUE INDEX schemas_name ON schemas (_tenant, name)",
    ),
    (
        f"CREATE TABLE lake ({_SYSTEM_COLUMNS}, lake_id)",
        "INSERT INTO lake (_tenant, lake_id) VALUES ('', lower(hex(randomblob(16))))",
        (
            f"CREATE TABLE ledger ({_SYSTEM_COLUMNS}, seq, kind, entry_id, created_at, leaf_hash,"
            " body, signature)"
        ),
        "CREATE UNIQUE INDEX ledger_seq ON ledger (_tenant, seq)",
        "CREATE UNIQUE INDEX ledger_entry ON ledger (_tenant, entry_id)",
        "CREATE INDEX ledger_kind ON ledger (_tenant, kind, seq)",
        f"CREATE TABLE ledger_nodes ({_SYSTEM_COLUMNS}, level, position, hash)",
        "CREATE UNIQUE INDEX ledger_nodes_place ON ledger_nodes (_tenant, level, position)",
        (
            f"CREATE TABLE ledger_heads ({_SYSTEM_COLUMNS}, size, peaks, note, key_id, generation,"
            " checkpoint_size, checkpoint_at)"
        ),
        "CREATE UNIQUE INDEX ledger_heads_one ON ledger_heads (_tenant)",
        f"CREATE TABLE checkpoints ({_SYSTEM_COLUMNS}, size, root, key_id, note, created_at)",
        "CREATE UNIQUE INDEX checkpoints_size ON checkpoints (_tenant, size)",
        f"CREATE TABLE search_results ({_SYSTEM_COLUMNS}, row_id, seq)",
        "CREATE INDEX search_results_row ON search_results (_tenant, row_id, seq)",
        f"CREATE TABLE journal_tail ({_SYSTEM_COLUMNS}, first_seq, last_seq, events, data, leaves)",
        "CREATE UNIQUE INDEX journal_tail_seq ON journal_tail (_tenant, first_seq)",
        (
            f"CREATE TABLE journal_segments ({_SYSTEM_COLUMNS}, first_seq, last_seq, events,"
            " first_at, last_at, sha256, root, file, bytes, dropped)"
        ),
        "CREATE UNIQUE INDEX journal_segments_seq ON journal_segments (_tenant, first_seq)",
        (
            f"CREATE TABLE intents ({_SYSTEM_COLUMNS}, intent_id, table_id, version_before, marked,"
            " rows_added, batches)"
        ),
        "CREATE UNIQUE INDEX intents_id ON intents (intent_id)",
        "CREATE INDEX intents_table ON intents (table_id)",
        (
            f"CREATE TABLE statements ({_SYSTEM_COLUMNS}, statement_id, executed_at, actor, source,"
            " workspace, kind, text, tables_read, tables_written, rows, duration_us, status, error)"
        ),
    ),
    (
        (
            f"CREATE TABLE topics ({_SYSTEM_COLUMNS}, topic_id, name, schema, metadata,"
            " retain_events, retain_us, created_at)"
        ),
        "CREATE UNIQUE INDEX topics_id ON topics (topic_id)",
        "CREATE UNIQUE INDEX topics_name ON topics (_tenant, name)",
        f"CREATE TABLE topic_log ({_SYSTEM_COLUMNS}, topic_id, offset, produced_at, rows, data)",
        "CREATE UNIQUE INDEX topic_log_offset ON topic_log (topic_id, offset)",
        (
            f"CREATE TABLE consumers ({_SYSTEM_COLUMNS}, consumer_id, topic_id, name, settings,"
            " next_offset, created_at)"
        ),
        "CREATE UNIQUE INDEX consumers_name ON consumers (_tenant, topic_id, name)",
        (
            f"CREATE TABLE deliveries ({_SYSTEM_COLUMNS}, consumer_id, offset, attempts, due_at,"
            " token, reason)"
        ),
        "CREATE UNIQUE INDEX deliveries_offset ON deliveries (consumer_id, offset)",
        (
            f"CREATE TABLE triggers ({_SYSTEM_COLUMNS}, trigger_id, name, table_id, kind,"
            " definition, created_at)"
        ),
        "CREATE UNIQUE INDEX triggers_name ON triggers (_tenant, name)",
        "CREATE INDEX triggers_table ON triggers (table_id)",
        "ALTER TABLE intents ADD COLUMN messages",
    ),
    (
        f"CREATE TABLE journal_places ({_SYSTEM_COLUMNS}, url)",
        "CREATE UNIQUE INDEX journal_places_one ON journal_places (_tenant)",
        f"CREATE TABLE journal_leaves ({_SYSTEM_COLUMNS}, first_seq, end_seq, data)",
        "CREATE UNIQUE INDEX journal_leaves_first ON journal_leaves (_tenant, first_seq)",
    ),
    (
        f"CREATE TABLE sources ({_SYSTEM_COLUMNS}, name, url, created_at)",
        "CREATE UNIQUE INDEX sources_name ON sources (_tenant, name)",
    ),
    ("ALTER TABLE tables ADD COLUMN data_version",),
    (
        "ALTER TABLE ledger ADD COLUMN opened",
        "ALTER TABLE tables ADD COLUMN audit",
        "ALTER TABLE tables ADD COLUMN next_rowid",
        "ALTER TABLE search_results ADD COLUMN how",
        "ALTER TABLE ledger_heads ADD COLUMN log_rows",
        "ALTER TABLE ledger_heads ADD COLUMN log_digest",
        "ALTER TABLE ledger_heads ADD COLUMN log_first",
        "ALTER TABLE statements ADD COLUMN digest",
    ),
    (
        f"CREATE TABLE files ({_SYSTEM_COLUMNS}, table_id, path, bytes, sha256)",
        "CREATE UNIQUE INDEX files_path ON files (table_id, path)",
        f"CREATE TABLE states ({_SYSTEM_COLUMNS}, object, version, rows, state)",
        "CREATE UNIQUE INDEX states_object ON states (_tenant, object)",
        "ALTER TABLE ledger_heads ADD COLUMN data",
        "ALTER TABLE ledger_heads ADD COLUMN logged_at",
        "ALTER TABLE sources ADD COLUMN reach",
    ),
    (
        "ALTER TABLE statements ADD COLUMN salt",
        "ALTER TABLE statements ADD COLUMN committed",
        f"CREATE TABLE erasures ({_SYSTEM_COLUMNS}, erasure_id, told, created_at)",
        "CREATE UNIQUE INDEX erasures_id ON erasures (erasure_id)",
        (
            f"CREATE TABLE holds ({_SYSTEM_COLUMNS}, table_id, row_id, case_id, table_name, actor,"
            " created_at)"
        ),
        "CREATE INDEX holds_table ON holds (_tenant, table_id, row_id)",
        (
            f"CREATE TABLE retentions ({_SYSTEM_COLUMNS}, what, keep, reason, actor, created_at,"
            " ran_at, report)"
        ),
        "CREATE UNIQUE INDEX retentions_what ON retentions (_tenant, what)",
        (
            f"CREATE TABLE ledger_segments ({_SYSTEM_COLUMNS}, first_seq, last_seq, records,"
            " first_at, last_at, sha256, root, file, bytes, dropped)"
        ),
        "CREATE UNIQUE INDEX ledger_segments_seq ON ledger_segments (_tenant, first_seq)",
        f"CREATE TABLE ledger_leaves ({_SYSTEM_COLUMNS}, first_seq, end_seq, data)",
        "CREATE UNIQUE INDEX ledger_leaves_first ON ledger_leaves (_tenant, first_seq)",
        f"CREATE TABLE links ({_SYSTEM_COLUMNS}, table_id, name, refers_to)",
        "CREATE UNIQUE INDEX links_name ON links (table_id, name)",
        "CREATE INDEX links_refers_to ON links (refers_to)",
    ),
    (
        f"CREATE TABLE changed_rows ({_SYSTEM_COLUMNS}, table_id, version, rowids)",
        "CREATE UNIQUE INDEX changed_rows_version ON changed_rows (table_id, version)",
        f"CREATE TABLE copies ({_SYSTEM_COLUMNS}, table_id, version, file, bytes, sha256, state)",
        "CREATE UNIQUE INDEX copies_table ON copies (table_id)",
    ),
)
"""Each step takes format ``n`` to ``n + 1``; format 0 is an empty file."""

FORMAT: Final = len(MIGRATIONS)
