"""An intruder who knows the lake's files: rows of the store, files of vectors and segments."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import affidavit
from affidavit.errors import AffidavitError
from tests.support.lakes import vectors
from tests.support.stores import only_sqlite

UNSIGNED = frozenset({"consumers", "deliveries", "journal_leaves", "ledger_leaves"})
"""Store tables that show nobody any data: who has read how far, and what can be told anew."""

SEALED = ("journal", "records")
"""The folders of segments."""

HINTS = frozenset({("tables", "version"), ("tables", "next_rowid"), ("tables", "data_version")})
"""Columns that no sum has: what is cached by, and what is compared with the files instead."""


def furnish(session: affidavit.Session) -> None:
    """Put something of everything into a lake."""
    notes = [{"id": at, "offset": f"n{at}", "x": at * 1.5} for at in range(40)]
    session.create_table("notes", notes, primary_key="id", indexes=["offset"])
    session.sql("CREATE TABLE log (a INT, b TEXT)")
    session.sql("INSERT INTO log VALUES (1, 'a'), (2, NULL), (3, 'c')")
    docs = session.create_vector_table("docs", vectors(300))
    docs.create_index("vector")
    docs.create_index("text", "FTS")
    docs.insert(vectors(5, start=1000))
    docs.delete("id = 7")
    session.create_vector_table("more", vectors(20))
    session.sql("UPDATE notes SET offset = 'changed' WHERE id < 5")
    session.sql("DELETE FROM notes WHERE id = 9")
    session.topics.register("t", vectors(1).select(["id"]).schema)
    for at in range(3):
        session.topics.publish("t", {"id": at})
    session.triggers.on("notes", "insert", publish="changes")
    session.table("notes").insert([{"id": 99, "offset": "new", "x": 0.0}])
    session.sql("CREATE VIEW v AS SELECT id FROM notes")
    session.search("docs", [1.0] * 8, k=3).to_arrow()
    session.sql("ALTER TABLE log SET (audit = 'reads')")
    session.sql("SELECT * FROM log").to_arrow()
    session.journal.flush()
    session.sql("INSERT INTO log VALUES (4, 'd')")
    session.ledger.checkpoint()


class Intruder:
    """Does one thing, drawn by a seed, to the files of a lake that nobody has open."""

    def __init__(self, lake: Path, seed: int) -> None:
        only_sqlite("its file is forged")
        self._lake = lake
        self._random = random.Random(seed)

    def act(self) -> str | None:
        """Return what was done; ``None`` if nothing was, or nothing that anybody could see."""
        return self._edit_store() if self._random.random() < 0.6 else self._edit_file()

    # --- the store -----------------------------------------------------------------------------

    def _edit_store(self) -> str | None:
        with closing(sqlite3.connect(self._lake / "catalog.db", isolation_level=None)) as store:
            names = [
                name
                for (name,) in store.execute(
                    "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
                )
                if name not in UNSIGNED
                and store.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
            ]
            table = self._random.choice(names)
            rowids = [row for (row,) in store.execute(f'SELECT _rowid FROM "{table}"')]
            rowid = self._random.choice(rowids)
            how = self._random.choice([self._update] * 6 + [self._delete, self._copy])
            try:
                return how(store, table, rowid)
            except sqlite3.IntegrityError:
                return None

    def _update(self, store: sqlite3.Connection, table: str, rowid: int) -> str:
        columns = [
            name
            for name in _columns(store, table)
            if name != "_rowid" and (table, name) not in HINTS
        ]
        column = self._random.choice(columns)
        query = f'SELECT "{column}" FROM "{table}" WHERE _rowid = ?'
        (old,) = store.execute(query, (rowid,)).fetchone()
        new = self._other(old)
        store.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE _rowid = ?', (new, rowid))
        return f"{table}.{column} of row {rowid} set to {str(new)[:40]!r}"

    def _other(self, value: object) -> object:
        if isinstance(value, int):
            return value + self._random.choice([1, -1, 1000])
        if isinstance(value, str):
            return f"{value}x"
        if isinstance(value, bytes) and value:
            return self._flipped(value)
        return self._random.choice([0, "x", b"y"])

    def _flipped(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]

    def _delete(self, store: sqlite3.Connection, table: str, rowid: int) -> str:
        store.execute(f'DELETE FROM "{table}" WHERE _rowid = ?', (rowid,))
        return f"row {rowid} of {table} deleted"

    def _copy(self, store: sqlite3.Connection, table: str, rowid: int) -> str:
        listed = ", ".join(f'"{name}"' for name in _columns(store, table) if name != "_rowid")
        store.execute(
            f'INSERT INTO "{table}" ({listed}) SELECT {listed} FROM "{table}" WHERE _rowid = ?',
            (rowid,),
        )
        return f"row {rowid} of {table} copied"

    # --- files ---------------------------------------------------------------------------------

    def _edit_file(self) -> str | None:
        files = signed_files(self._lake)
        path = self._random.choice(files)
        data = path.read_bytes()
        how = self._random.choice(["flip"] * 4 + ["cut", "take", "swap"])
        if how == "flip":
            path.write_bytes(self._flipped(data))
        elif how == "cut":
            path.write_bytes(data[:-1])
        elif how == "take":
            path.unlink()
        else:
            others = [each for each in files if each.suffix == path.suffix]
            other = self._random.choice(others)
            if other.read_bytes() == data:
                return None
            path.write_bytes(other.read_bytes())
            other.write_bytes(data)
        return f"{how} {path.relative_to(self._lake)}"


def signed_files(lake: Path) -> list[Path]:
    """Return the files of vectors and segments, without Lance's own tags and hints."""
    files = [
        path
        for path in sorted((lake / "vectors").rglob("*"))
        if path.is_file() and "_refs" not in path.parts and path.suffix != ".json"
    ]
    return files + [path for name in SEALED for path in sorted((lake / name).rglob("*.parquet"))]


def _columns(store: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in store.execute(f'PRAGMA table_info("{table}")')]


def found(lake: Path, **asked: object) -> str | None:
    """Return what opening a lake, or verifying all of it, says is wrong; ``None`` if nothing is."""
    try:
        with affidavit.connect(lake, durability="normal", audit="searches") as session:
            return session.ledger.verify(**{"data": True, **asked}).problem  # type: ignore[arg-type]
    except AffidavitError as error:
        return str(error)
