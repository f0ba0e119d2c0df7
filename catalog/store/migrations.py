"""The store's format: what a SQLite lake is made of, and how an older one becomes a newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.errors import LakeError, LakeVersionError

if TYPE_CHECKING:
    import sqlite3

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
)
"""Each step takes format ``n`` to ``n + 1``. Steps are only ever added."""

FORMAT: Final = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: str, *, read_only: bool) -> None:
    """Bring the store behind ``connection`` to :data:`FORMAT`, all steps in one transaction.

    Raises:
        LakeVersionError: A newer affidavit wrote it.
        LakeError: It is some other program's database, or was never finished and is read-only.
    """
    if _is_current(connection, path):
        return
    if read_only and _format(connection):
        msg = (
            f"the lake at {path!r} has format {_format(connection)}: open it to write once, which "
            f"brings it to format {FORMAT}"
        )
        raise LakeError(msg)
    if read_only:
        msg = f"there is no lake of format {FORMAT} at {path!r}, and it was opened read-only"
        raise LakeError(msg)
    connection.execute("PRAGMA journal_mode = WAL")  # kept in the file from here on
    connection.execute("BEGIN IMMEDIATE")
    try:
        # another process may have done it while this one waited
        if not _is_current(connection, path):
            for step in MIGRATIONS[_format(connection) :]:
                for statement in step:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_current(connection: sqlite3.Connection, path: str) -> bool:
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if tables and owner != APPLICATION_ID:
        msg = f"{path!r} is a SQLite database that affidavit did not write: choose another folder"
        raise LakeError(msg)
    found = _format(connection)
    if found > FORMAT:
        raise LakeVersionError(path, found=found, supported=FORMAT)
    return found == FORMAT
