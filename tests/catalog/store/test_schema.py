"""One schema from three hands: what is declared, what a new lake has, and where the steps end."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.lakes import vectors
from tests.support.records import draft_of_first_version

import affidavit
import affidavit.catalog.lake.lake as lake_module
from affidavit import errors
from affidavit.catalog.store.identity import lake_id
from affidavit.catalog.store.protocol import ROWID, TENANT
from affidavit.catalog.store.sqlite import schema
from affidavit.catalog.store.sqlite.migrations import APPLICATION_ID, FORMAT, MIGRATIONS
from affidavit.catalog.store.sqlite.store import SqliteStore
from affidavit.catalog.store.tables import LAKE, LEDGER, LOG, NODES, STORE_TABLES, TABLES
from affidavit.catalog.values.types import Kind
from affidavit.engine.audit import recorder

if TYPE_CHECKING:
    from pathlib import Path

Shape = dict[str, dict[str, object]]


def migrated(path: Path, steps: int = FORMAT) -> sqlite3.Connection:
    """Return a store that went through the first ``steps`` of the steps, from nothing."""
    connection = sqlite3.connect(path, isolation_level=None)
    for step in MIGRATIONS[:steps]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {steps}")
    return connection


def shape(connection: sqlite3.Connection) -> Shape:
    """Return all that SQLite says of a store's tables, however its texts were written."""
    found: Shape = {}
    for _, name, kind, _, without_rowid, strict in connection.execute(
        "SELECT * FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'"
    ):
        columns = connection.execute(f'PRAGMA table_xinfo("{name}")').fetchall()
        indexes = {}
        for _, index, unique, origin, partial in connection.execute(f'PRAGMA index_list("{name}")'):
            parts = connection.execute(f'PRAGMA index_xinfo("{index}")').fetchall()
            indexes[index] = (unique, origin, partial, [tuple(part[1:]) for part in parts])
        found[name] = {
            "kind": kind, "without rowid": without_rowid, "strict": strict, "columns": columns,
            "indexes": indexes,
        }  # fmt: skip
    others = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type NOT IN ('table', 'index')"
    )
    assert others.fetchall() == []
    return found


def declared() -> Shape:
    """Return what SQLite would say of a store that has what is declared, and nothing else."""
    found: Shape = {}
    for table in STORE_TABLES:
        names = [ROWID, TENANT, *(column.name for column in table.columns)]
        columns = [
            (0, ROWID, "INTEGER", 0, None, 1, 0),
            (1, TENANT, "TEXT", 1, None, 0, 0),
            *((at, name, "", 0, None, 0, 0) for at, name in enumerate(names) if at > 1),
        ]
        indexes = {}
        for index in table.indexes:
            parts = [(names.index(name), name, 0, "BINARY", 1) for name in index.columns]
            parts.append((-1, None, 0, "BINARY", 0))
            indexes[index.name] = (int(index.unique), "c", 0, parts)
        found[table.name] = {
            "kind": "table", "without rowid": 0, "strict": 0, "columns": columns,
            "indexes": indexes,
        }  # fmt: skip
    return found


def test_a_new_lake_a_migrated_one_and_the_declarations_are_the_same(tmp_path) -> None:
    with closing(migrated(tmp_path / "old.db")) as old:
        stepped = shape(old)
    SqliteStore(tmp_path / "new.db", locks=tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "new.db")) as new:
        fresh = shape(new)
        assert new.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert new.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    assert stepped == declared()
    assert fresh == declared()


def test_every_table_is_declared_once_with_names_of_its_own() -> None:
    tables = [table.name for table in STORE_TABLES]
    indexes = [index.name for table in STORE_TABLES for index in table.indexes]
    assert len({*tables, *indexes}) == len(tables) + len(indexes)
    for table in STORE_TABLES:
        names = [column.name for column in table.columns]
        assert len(names) == len(set(names))
        assert not {ROWID, TENANT} & {*names}
        for index in table.indexes:
            assert {*index.columns} <= {TENANT, *names}


def test_words_of_sql_are_names_of_columns(tmp_path) -> None:
    """``offset``, ``rows``, ``level`` and their like mean something to one database or another."""
    store = SqliteStore(tmp_path / "new.db", locks=tmp_path)
    with store.write("acme") as writer:
        for table in STORE_TABLES:
            values = {Kind.INTEGER: 7, Kind.TEXT: "x", Kind.BLOB: b"\x00"}
            row = tuple(values[column.kind] for column in table.columns)
            names = [column.name for column in table.columns]
            writer.insert(table, names, [row])
            assert writer.select(table, names, order_by=names)[-1] == row
        assert writer.select(LOG, ("offset", "rows"), order_by=("offset",)) == [(7, 7)]
        assert writer.select(NODES, ("level", "position", "hash")) == [(7, 7, b"\x00")]
    store.close()


class Failing(sqlite3.Connection):
    """Fails at its statement numbered ``at``, from 1 on."""

    at = 0

    def execute(self, text: str, *values: object) -> sqlite3.Cursor:
        self.at -= 1
        if self.at == 0:
            raise ZeroDivisionError(text)
        return super().execute(text, *values)


@pytest.mark.parametrize("steps", range(FORMAT))
def test_a_lake_that_fails_to_be_made_or_stepped_on_is_as_before(tmp_path, steps) -> None:
    """Whichever statement fails, the next open does it all."""
    path, failed = tmp_path / "s.db", 0
    with closing(migrated(path, steps)) as old:
        old.execute(f"PRAGMA application_id = {APPLICATION_ID if steps else 0}")
        before = shape(old)
        with closing(sqlite3.connect(path, isolation_level=None, factory=Failing)) as failing:
            for at in range(1, 1000):
                failing.at = at
                try:
                    schema.migrate(failing, "s", read_only=False)
                except ZeroDivisionError:
                    failed += 1
                    assert shape(old) == before
                    assert old.execute("PRAGMA user_version").fetchone() == (steps,)
                else:
                    break
        assert shape(old) == declared()
        steps_left = sum(map(len, MIGRATIONS[steps:]))
        assert failed >= (steps_left if steps else len(STORE_TABLES))


def test_every_lake_is_somebody_else(tmp_path) -> None:
    """However it came to be: at once, or by steps from before lakes had an identity."""
    found = []
    for at in range(3):
        SqliteStore(tmp_path / f"{at}.db", locks=tmp_path).close()
        migrated(tmp_path / f"old{at}.db", 1).close()
        for path in (tmp_path / f"{at}.db", tmp_path / f"old{at}.db"):
            store = SqliteStore(path, locks=tmp_path)
            with store.read("") as reader:
                found.append(lake_id(reader))
                assert reader.select(LAKE, (TENANT,)) == [("",)]
            store.close()
    assert len(set(found)) == len(found)


def test_a_malformed_identity_is_none(tmp_path) -> None:
    store = SqliteStore(tmp_path / "x.db", locks=tmp_path)
    with store.write("") as writer:
        writer.insert(LAKE, ("lake_id",), [("0" * 32,)])
    with store.read("") as reader, pytest.raises(errors.LedgerCorruptError, match="identity"):
        lake_id(reader)
    store.close()


def test_a_store_is_told_by_its_mark(tmp_path) -> None:
    SqliteStore(tmp_path / "s.db", locks=tmp_path).close()
    sqlite3.connect(tmp_path / "other.db").close()
    (tmp_path / "text").write_text("no database at all")
    names = ("s.db", "other.db", "text", "nothing")
    assert [schema.is_store(tmp_path / name) for name in names] == [True, False, False, False]


# --- lakes of before -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with something of everything, of which older ones are made."""
    folder = tmp_path_factory.mktemp("filled")
    with closing(sqlite3.connect(folder / "other.db")) as other:
        other.execute("CREATE TABLE theirs (n INTEGER)")
        other.execute("INSERT INTO theirs VALUES (42)")
        other.commit()
    with pytest.MonkeyPatch.context() as before:  # older formats had no head that covers data
        before.setattr(lake_module, "covered_tables", None)
        _fill(folder)
    with closing(sqlite3.connect(folder / "lake" / "catalog.db")) as store:
        store.executemany(
            "INSERT INTO statements (_tenant, statement_id, executed_at, kind, text, tables_read,"
            " tables_written, status) VALUES ('default', ?, ?, 'query', 'SELECT 1', '', '', 'ok')",
            [(f"old-{at}", at) for at in range(3)],
        )
        store.commit()
    return folder / "lake"


def _fill(folder: Path) -> None:
    with affidavit.connect(
        folder / "lake", durability="normal", actor="ann", audit="searches"
    ) as session:  # nor one that covers the log of statements
        session.create_table(
            "notes", [{"id": at, "offset": f"n{at}"} for at in range(5)], primary_key="id",
            indexes=["offset"],
        )  # fmt: skip
        session.create_vector_table("docs", vectors(20))
        session.sql("UPDATE notes SET offset = 'changed' WHERE id = 3")
        session.table("docs").delete("id = 7")
        with pytest.MonkeyPatch.context() as before:
            before.setattr(recorder, "draft_record", draft_of_first_version)
            session.search("docs", [1.0] * 8, k=3)
        session.topics.register("t", pa.schema([("id", pa.int64())]))
        session.topics.publish("t", {"id": 1})
        session.triggers.on("notes", "insert", publish="changes")
        session.table("notes").insert([{"id": 9, "offset": "new"}])
        session.attach("other", f"sqlite:///{folder / 'other.db'}")
        session.ledger.checkpoint()
        session._catalog().journal.sealing.flush()  # older formats sealed events alone
        session.table("notes").insert([{"id": 10, "offset": "newer"}])


def aged(lake: Path, folder: Path, steps: int) -> Path:
    """Return a copy of ``lake`` with the store that it would have had of format ``steps``."""
    shutil.copytree(lake, folder)
    (folder / "catalog.db").unlink()
    if steps == 1:  # neither was there yet
        shutil.rmtree(folder / "journal")
        shutil.rmtree(folder / "keys")
    with closing(migrated(folder / "catalog.db", steps)) as store:
        store.execute("ATTACH ? AS now", (str(lake / "catalog.db"),))
        if steps > 1:
            store.execute("DELETE FROM lake")
        for (table,) in store.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
        ).fetchall():
            names = [row[1] for row in store.execute(f'PRAGMA table_info("{table}")')]
            listed = ", ".join(f'"{name}"' for name in names)
            store.execute(f'INSERT INTO "{table}" ({listed}) SELECT {listed} FROM now."{table}"')
        for name, text in store.execute(
            "SELECT tbl_name, sql FROM now.sqlite_schema WHERE tbl_name LIKE 'data_%' ORDER BY rowid"
        ).fetchall():
            store.execute(text)
            if text.startswith("CREATE TABLE"):
                store.execute(f'INSERT INTO main."{name}" SELECT * FROM now."{name}"')
    return folder


def read(session: affidavit.Session, *texts: str) -> list[object]:
    return [session.sql(text).to_pylist() for text in texts]


EVER = ("SELECT * FROM notes ORDER BY id", "SELECT id, text FROM docs ORDER BY id")
LEDGERS = (
    "SELECT * FROM audit.searches", "SELECT * FROM audit.results ORDER BY rank",
    "SELECT * FROM audit.checkpoints", "SELECT * FROM system.journal ORDER BY seq",
    "SELECT * FROM system.ledger ORDER BY seq", "SELECT * FROM audit.statements",
)  # fmt: skip
TOPICS = (
    "SELECT * FROM system.topics ORDER BY name", "SELECT * FROM system.triggers",
    'SELECT id, "_offset" FROM topics.t', "SELECT * FROM topics.changes",
)  # fmt: skip
SOURCES = ("SELECT * FROM system.sources", "SELECT n FROM other.main.theirs")
READ = {1: EVER, 2: (*EVER, *LEDGERS), 3: (*EVER, *LEDGERS, *TOPICS), 4: (*EVER, *LEDGERS, *TOPICS)}


@pytest.mark.parametrize("steps", range(1, FORMAT + 1))
def test_a_lake_of_any_format_opens_and_reads_the_same(filled, tmp_path, steps) -> None:
    old = aged(filled, tmp_path / "lake", steps)
    texts = READ.get(steps, (*EVER, *LEDGERS, *TOPICS, *SOURCES))
    with affidavit.connect(filled, read_only=True, audit="searches") as session:
        expected = read(session, *texts)
    with affidavit.connect(old, durability="normal", audit="searches", actor="ann") as session:
        assert read(session, *texts) == expected
        assert session.ledger.verify()
        session.table("notes").insert([{"id": 11, "offset": "of the new format"}])
        session.search("docs", [1.0] * 8, k=1)
        assert session.table("notes").count() == len(expected[0]) + 1
        assert session.ledger.verify()
    with closing(sqlite3.connect(old / "catalog.db")) as store:
        found = {name: it for name, it in shape(store).items() if not name.startswith("data_")}
        assert found == declared()
        assert store.execute("PRAGMA user_version").fetchone() == (FORMAT,)


@pytest.mark.parametrize("steps", range(2, FORMAT + 1))
def test_p4_statements_of_before_the_log_was_covered_are_said_not_to_be(
    filled, tmp_path, steps
) -> None:
    old = aged(filled, tmp_path / "lake", steps)
    with affidavit.connect(old, durability="normal", audit="searches") as session:
        found = session.ledger.verify()
        assert (found.ok, found.statements, found.uncovered) == (True, 0, 3)
        assert str(found).endswith("; 3 older statements are not covered")
    with affidavit.connect(old, durability="normal") as session:
        session.sql("SELECT 2").to_arrow()
    with affidavit.connect(old, durability="normal", audit="searches") as session:
        found = session.ledger.verify()
        assert (found.ok, found.statements, found.uncovered) == (True, 1, 3)
    with closing(sqlite3.connect(old / "catalog.db")) as store:
        store.execute("DELETE FROM statements WHERE statement_id = 'old-1'")
        store.commit()
    with affidavit.connect(old, durability="normal", audit="searches") as session:
        assert "one of the rows before the log was covered is gone" in str(session.ledger.verify())


@pytest.mark.parametrize("steps", range(1, FORMAT))
def test_a_lake_of_an_older_format_is_not_changed_by_who_only_reads(
    filled, tmp_path, steps
) -> None:
    old = aged(filled, tmp_path / "lake", steps)
    before = (old / "catalog.db").read_bytes()
    with pytest.raises(errors.LakeError, match=f"has format {steps}: open it to write once"):
        affidavit.connect(old, read_only=True)
    assert (old / "catalog.db").read_bytes() == before


def test_rows_of_before_are_in_the_store_as_they_were(tmp_path) -> None:
    """A column that a step adds is NULL in them."""
    with closing(migrated(tmp_path / "s.db", 2)) as old:
        old.execute("INSERT INTO tables (_tenant, table_id, name) VALUES ('acme', 'x', 'docs')")
        old.execute("INSERT INTO ledger (_tenant, seq, body) VALUES ('acme', 0, x'00ff')")
        old.execute("INSERT INTO intents (_tenant, intent_id) VALUES ('acme', 'i')")
    store = SqliteStore(tmp_path / "s.db", locks=tmp_path)
    with store.read("acme") as reader:
        assert reader.select(TABLES, ("table_id", "name", "kind")) == [("x", "docs", None)]
        assert reader.select(LEDGER, ("seq", "body")) == [(0, b"\x00\xff")]
    store.close()
    with closing(sqlite3.connect(tmp_path / "s.db")) as now:
        assert now.execute("SELECT intent_id, messages FROM intents").fetchall() == [("i", None)]
