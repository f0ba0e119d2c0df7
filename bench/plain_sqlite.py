"""The baseline of writes: the interpreter's own ``sqlite3``, no less durable than the engine."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    Value = int | float | str | bytes | None
    Values = Sequence[Value] | Mapping[str, Value]

CREATE = (
    "CREATE TABLE {name} (id INTEGER{key}, quantity INTEGER, price REAL, weight REAL, "
    "name TEXT, city TEXT, sold_at INTEGER, paid INTEGER)"
)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection in WAL mode whose commits survive power loss."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        yield connection


def create(connection: sqlite3.Connection, name: str, *, key: bool = True) -> None:
    """Create a table of the eight columns, with or without a primary key."""
    connection.execute(CREATE.format(name=name, key=" PRIMARY KEY" if key else ""))


def commit(connection: sqlite3.Connection, sql: str, values: Values) -> None:
    """Run one statement in a transaction of its own."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(sql, values)
    connection.execute("COMMIT")


def fill(connection: sqlite3.Connection, name: str, rows: Iterable[Sequence[Value]]) -> None:
    """Insert rows of the eight columns in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute("COMMIT")


def tuples(rows: pa.Table) -> list[tuple[Value, ...]]:
    """Return rows of the eight columns as SQLite takes them: instants as microseconds."""
    stored = rows.set_column(6, "sold_at", rows["sold_at"].cast("int64"))
    return list(zip(*stored.to_pydict().values(), strict=True))


def blobs(connection: sqlite3.Connection) -> str:
    """Create a table of one blob a row, and return the statement that inserts one."""
    connection.execute("CREATE TABLE blobs (id INTEGER PRIMARY KEY, body BLOB)")
    return "INSERT INTO blobs (body) VALUES (?)"
