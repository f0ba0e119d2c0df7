"""Another lake, attached: what is read of it, as whom, and that nothing is written there."""

from __future__ import annotations

import gc
import hashlib
import shutil
import sqlite3
import threading
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from tests.support.lakes import vectors
from tests.support.optional import library

import affidavit
from affidavit.errors import (
    AffidavitError,
    InvalidQueryError,
    PathNotAllowedError,
    ReservedNameError,
    SourceError,
    SqlError,
    TableExistsError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BIG = 5000
"""More rows than a table has that is read whole when it is planned."""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A lake with a table of each kind, closed."""
    path = tmp_path / "archive"
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with affidavit.connect(path, durability="normal") as lake:
        lake.create_table("notes", [{"id": 1, "note": "one"}, {"id": 2, "note": "two"}])
        lake.create_table("big", pa.table({"id": range(BIG), "m": [i % 7 for i in range(BIG)]}))
        lake.create_vector_table("docs", vectors(50))
        lake.sql("CREATE VIEW later AS SELECT id, upper(note) AS shout FROM notes WHERE id > 1")
        lake.sql("CREATE VIEW counts AS SELECT m, count(*) AS n FROM big GROUP BY m")
        lake.sql(
            "CREATE VIEW found AS SELECT * FROM vector_search('docs', [1.0, 1, 1, 1, 1, 1, 1, 1], 3)"
        )
        lake.sql("CREATE SCHEMA other")
        lake.create_table("inner", [{"x": 7}])
        lake.sql('CREATE TABLE other.t AS SELECT * FROM "inner"')
        lake.attach("file", tmp_path / "x.csv")
    gc.collect()
    return path


@pytest.fixture
def both(session: affidavit.Session, archive: Path) -> affidavit.Session:
    session.attach("archive", f"lake:///{archive}")
    return session


@pytest.fixture
def writer(archive: Path) -> Iterator[affidavit.Session]:
    with affidavit.connect(archive, durability="normal") as opened:
        yield opened


def rows(session: affidavit.Session, text: str) -> list[dict[str, object]]:
    return session.sql(text).to_pylist()


def digest(folder: Path) -> dict[str, str]:
    """Return what is in each file, but for what SQLite keeps to share a file."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.endswith(("-shm", "-wal"))
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM archive.main.notes ORDER BY id", [{"id": 1, "note": "one"}, {"id": 2, "note": "two"}]),
        ("SELECT sum(id) AS n FROM archive.main.big WHERE m = 3 AND id < 20", [{"n": 30}]),
        ("SELECT sum(id) AS n FROM archive.main.big WHERE 1 = 0 AND m = 3", [{"n": None}]),
        ("SELECT count(*) AS n FROM archive.main.big", [{"n": BIG}]),
        ("SELECT count(*) AS n FROM archive.main.docs WHERE bucket < 5", [{"n": 25}]),
        ("SELECT * FROM archive.main.later", [{"id": 2, "shout": "TWO"}]),
        ("SELECT n FROM archive.main.counts WHERE m = 6", [{"n": 714}]),
        ("SELECT * FROM archive.main.file", [{"a": 1, "b": 2}]),
        ("SELECT x FROM archive.other.t", [{"x": 7}]),
        (
            "SELECT a.note, b.text FROM archive.main.notes a JOIN archive.main.docs b ON a.id = b.id "
            "WHERE a.id = 1",
            [{"note": "one", "text": "word1 of odd row"}],
        ),
    ],
)  # fmt: skip
def test_every_kind_of_table_is_read(
    both: affidavit.Session, text: str, expected: list[dict[str, object]]
) -> None:
    assert rows(both, text) == expected


def test_a_lakes_own_tables_are_not_mistaken_for_the_others(both: affidavit.Session) -> None:
    both.create_table("notes", [{"id": 9, "note": "mine"}])
    assert rows(both, "SELECT note FROM notes") == [{"note": "mine"}]
    assert rows(both, "SELECT shout FROM archive.main.later") == [{"shout": "TWO"}]
    both.sql(
        "CREATE VIEW mixed AS SELECT a.note FROM archive.main.notes a JOIN notes b ON b.id > a.id"
    )
    assert len(rows(both, "SELECT * FROM mixed")) == 2
    both.sql("CREATE TABLE copied AS SELECT * FROM archive.main.later")
    both.sql("INSERT INTO copied SELECT id, note FROM archive.main.notes WHERE id = 1")
    assert rows(both, "SELECT count(*) AS n FROM copied") == [{"n": 2}]


def test_it_is_listed_remembered_and_forgotten(
    lake: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive.parent)
    with affidavit.connect(lake) as session:
        session.attach("archive", "lake:///archive")
        with pytest.raises(TableExistsError):
            session.attach("archive", f"lake:///{archive}")
    monkeypatch.chdir("/")
    with affidavit.connect(lake) as session:
        assert rows(session, "SELECT * FROM system.sources") == [
            {"name": "archive", "url": f"lake:///{archive}"}
        ]
        assert rows(session, "SELECT count(*) AS n FROM archive.main.notes") == [{"n": 2}]
        listed = rows(
            session,
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = "
            "'archive' AND table_schema <> 'information_schema' ORDER BY 1, 2",
        )
        assert [(each["table_schema"], each["table_name"]) for each in listed] == [
            ("main", "big"), ("main", "docs"), ("main", "inner"), ("main", "notes"), ("other", "t"),
        ]  # fmt: skip
        found = {each["entity_id"] for each in rows(session, "SELECT entity_id FROM journal")}
        assert "archive" in found
        session.detach("archive")
        assert rows(session, "SELECT * FROM system.sources") == []
        with pytest.raises(SqlError, match="archive"):
            session.sql("SELECT * FROM archive.main.notes")


def test_nothing_is_written_there(lake: Path, archive: Path) -> None:
    before = digest(archive)
    with affidavit.connect(lake) as session:
        session.attach("archive", f"lake:///{archive}")
        for table in ("notes", "big", "docs", "later", "counts", "file"):
            session.sql(f"SELECT * FROM archive.main.{table}").to_arrow()
        session.explain("SELECT * FROM archive.main.notes", analyze=True)
    assert digest(archive) == before


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO archive.main.notes VALUES (3, 'x')",
        "UPDATE archive.main.notes SET note = 'x'",
        "DELETE FROM archive.main.notes",
        "TRUNCATE TABLE archive.main.notes",
        "CREATE TABLE archive.main.made AS SELECT 1 AS one",
        "CREATE VIEW archive.main.made AS SELECT 1 AS one",
        "DROP TABLE archive.main.notes",
        "ALTER TABLE archive.main.notes ADD COLUMN x INT",
    ],
)
def test_writing_is_refused(both: affidavit.Session, archive: Path, text: str) -> None:
    before = digest(archive)
    with pytest.raises(AffidavitError, match="archive"):
        both.sql(text)
    assert digest(archive) == before


def test_searches_are_asked_of_the_lake_itself(both: affidavit.Session) -> None:
    query = [1.0] * 8
    for text in (
        "SELECT * FROM vector_search('archive.main.docs', $q, 3)",
        "SELECT * FROM hybrid_search('archive.main.docs', $q, 'word', 3)",
    ):
        with pytest.raises(InvalidQueryError, match="session on that lake"):
            both.sql(text, {"q": query})
    with pytest.raises(InvalidQueryError, match="session on that lake"):
        both.search("archive.main.docs", query, k=3)
    with pytest.raises(SourceError, match=r"'archive'.*vector_search"):
        both.sql("SELECT * FROM archive.main.found")


def test_a_view_that_cannot_be_planned_is_no_matter_to_others(both: affidavit.Session) -> None:
    """A column may be called what such a view is."""
    both.create_table("mine", [{"found": 1}])
    text = "SELECT m.found FROM mine m JOIN archive.main.notes n ON n.id = m.found"
    assert rows(both, text) == [{"found": 1}]


def test_what_the_lake_itself_keeps_is_not_shown(both: affidavit.Session) -> None:
    for name in ("main.journal", "audit.searches", "system.tables", "_dml.target"):
        with pytest.raises(SqlError, match="not found"):
            both.sql(f"SELECT * FROM archive.{name}")


def test_each_statement_reads_one_snapshot(
    both: affidavit.Session, writer: affidavit.Session
) -> None:
    text = "SELECT count(*) AS n FROM archive.main.big a JOIN archive.main.big b ON a.id = b.id"
    begun = both.sql(text)
    writer.sql(f"INSERT INTO big VALUES ({BIG}, 0)")
    assert begun.to_pylist() == [{"n": BIG}]
    assert rows(both, text) == [{"n": BIG + 1}]


def test_readers_agree_while_it_is_written(
    both: affidavit.Session, writer: affidavit.Session
) -> None:
    """Two tables that always change together are never seen apart."""
    writer.create_table("a", [{"x": 0}])
    writer.create_table("b", [{"x": 0}])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with writer.transaction():
                writer.sql("UPDATE a SET x = x + 1")
                writer.sql("UPDATE b SET x = x + 1")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(100):
            found = rows(
                both, "SELECT a.x - b.x AS apart FROM archive.main.a CROSS JOIN archive.main.b"
            )
            assert found == [{"apart": 0}]
    finally:
        stop.set()
        thread.join()


def test_tenants_are_kept_apart(lake: Path, archive: Path) -> None:
    with affidavit.connect(archive, tenant="red") as red:
        red.create_table("secret", [{"x": 1}])
    with affidavit.connect(archive, tenant=None) as shared:
        shared.create_table("common", [{"x": 2}])
    with affidavit.connect(lake, tenant="blue") as blue:
        blue.attach("archive", f"lake:///{archive}")
        assert rows(blue, "SELECT x FROM archive.main.common") == [{"x": 2}]
        for name in ("secret", "notes"):
            with pytest.raises(SqlError, match="not found"):
                blue.sql(f"SELECT * FROM archive.main.{name}")
        names = rows(blue, "SELECT DISTINCT table_name FROM information_schema.columns")
        assert {"table_name": "secret"} not in names
        with blue.scope(tenant="red") as red, pytest.raises(SqlError, match="not found"):
            red.sql("SELECT * FROM archive.main.common")
    with affidavit.connect(lake, tenant="red") as red:
        red.attach("archive", f"lake:///{archive}")
        assert rows(red, "SELECT x FROM archive.main.secret") == [{"x": 1}]
    with affidavit.connect(lake, tenant=None) as shared:
        shared.attach("archive", f"lake:///{archive}")
        with pytest.raises(SqlError, match="not found"):
            shared.sql("SELECT * FROM archive.main.secret")


def test_a_session_of_some_folders_attaches_none_and_reads_what_is_attached(
    lake: Path, archive: Path, tmp_path: Path
) -> None:
    """A lake's definitions name files, and who wrote them there may read others than we."""
    with affidavit.connect(lake, allowed_paths=[tmp_path / "elsewhere"]) as session:
        with pytest.raises(PathNotAllowedError):
            session.attach("archive", f"lake:///{archive}")
    with affidavit.connect(lake, allowed_paths=[tmp_path]) as session:
        with pytest.raises(SourceError, match="names files itself.*without allowed_paths"):
            session.attach("archive", f"lake:///{archive}")
        assert rows(session, "SELECT * FROM system.sources") == []
    with affidavit.connect(lake) as session:
        session.attach("archive", f"lake:///{archive}")
    with affidavit.connect(lake, allowed_paths=[tmp_path / "elsewhere"]) as session:
        assert rows(session, "SELECT count(*) AS n FROM archive.main.notes") == [{"n": 2}]
        assert rows(session, "SELECT * FROM archive.main.file") == [{"a": 1, "b": 2}]


@pytest.mark.sqlite("its file is attached")
def test_a_lakes_store_is_no_database_to_attach(lake: Path, archive: Path, tmp_path: Path) -> None:
    """Every tenant's rows are in it."""
    shutil.copy(archive / "catalog.db", tmp_path / "copy.db")
    with affidavit.connect(lake) as session:
        for path in (lake / "catalog.db", archive / "catalog.db", tmp_path / "copy.db"):
            for scheme in ("sqlite", "duckdb"):
                with pytest.raises(PathNotAllowedError, match="every tenant's"):
                    session.attach("x", f"{scheme}:///{path}")


@pytest.mark.parametrize(
    "name", ["topics", "information_schema", "_dml", "audit", "System", "journal", "lake", "main"]
)
def test_names_that_are_ours_are_refused(
    session: affidavit.Session, archive: Path, name: str
) -> None:
    with pytest.raises((TableExistsError, ReservedNameError)):
        session.attach(name, f"lake:///{archive}")


def test_an_external_table_there_is_not_mistaken_for_ones_own(
    session: affidavit.Session, archive: Path, writer: affidavit.Session, tmp_path: Path
) -> None:
    """Filters that cannot be handed over read every table whole, and then mixed them up."""
    deltalake = library("deltalake", "deltalake")
    deltalake.write_deltalake(tmp_path / "theirs", pa.table({"id": [10, 20]}))
    deltalake.write_deltalake(tmp_path / "ours", pa.table({"id": [1, 2, 3]}))
    writer.attach("t", tmp_path / "theirs")
    writer.sql("CREATE VIEW v AS SELECT id FROM t")
    session.create_table("t", [{"id": 1}])
    session.attach("ours", tmp_path / "ours")
    session.attach("archive", f"lake:///{archive}")
    for where in ("BETWEEN NULL AND 3", "> 9000"):
        found = rows(
            session,
            "SELECT (SELECT sum(id) FROM t) AS mine, (SELECT sum(id) FROM archive.main.t) AS theirs, "
            f"(SELECT count(*) FROM ours WHERE id {where}) AS none",
        )
        assert found == [{"mine": 1, "theirs": 30, "none": 0}]
    for name in ("t", "v", "big", "counts"):
        column = "m" if name == "counts" else "id"
        text = f"SELECT {column} FROM archive.main.{name} WHERE {column} BETWEEN NULL AND 3"
        assert rows(session, text) == [], name


def test_a_table_there_that_cannot_be_opened_fails_who_reads_it(
    both: affidavit.Session, writer: affidavit.Session, tmp_path: Path
) -> None:
    writer.sql("CREATE VIEW fine AS SELECT id AS file FROM notes WHERE id = 1")
    (tmp_path / "x.csv").unlink()
    assert rows(both, "SELECT f.file FROM archive.main.fine f") == [{"file": 1}]
    with pytest.raises(SourceError, match="'archive'"):
        both.sql("SELECT * FROM archive.main.file").to_arrow()


def test_a_vector_table_that_is_dropped_while_it_is_read_names_its_lake(
    both: affidavit.Session, writer: affidavit.Session
) -> None:
    begun = both.sql("SELECT * FROM archive.main.docs")
    writer.drop_table("docs")
    with pytest.raises(SourceError, match="source 'archive'"):
        begun.to_arrow()


@pytest.mark.sqlite("its file is torn, and of a newer version")
def test_what_is_no_lake_is_told_and_not_made(
    session: affidavit.Session, lake: Path, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "catalog.db").write_text("no database at all, and quite long" * 100)
    newer = tmp_path / "newer"
    shutil.copytree(archive, newer)
    connection = sqlite3.connect(newer / "catalog.db")
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    (tmp_path / "link").symlink_to(lake)
    for name, told in (
        ("nothing", "no lake"), ("file", "no lake"), ("empty", "no lake"), ("torn", "'x'"),
        ("newer", "upgrade affidavit"), ("lake", "itself"), ("link", "itself"),
    ):  # fmt: skip
        with pytest.raises(SourceError, match=told):
            session.attach("x", f"lake:///{tmp_path / name}")
    with pytest.raises(SourceError, match="no options"):
        session.attach("x", f"lake:///{archive}", password="p")
    assert not (tmp_path / "nothing").exists()
    assert list((tmp_path / "empty").iterdir()) == []
    assert rows(session, "SELECT * FROM system.sources") == []
    session.attach("x", f"lake:///{archive}")
    assert rows(session, "SELECT count(*) AS n FROM x.main.notes") == [{"n": 2}]


@pytest.mark.sqlite("it goes with its folder, as a schema does not")
def test_a_lake_that_went_away_is_named_and_comes_back(
    lake: Path, archive: Path, tmp_path: Path
) -> None:
    with affidavit.connect(lake) as session:
        session.attach("archive", f"lake:///{archive}")
    away = tmp_path / "away"
    archive.rename(away)
    with affidavit.connect(lake) as session:
        with pytest.raises(SourceError, match="'archive'"):
            session.sql("SELECT * FROM archive.main.notes")
        session.create_table("t", [{"archive": 1}])
        assert rows(session, "SELECT archive FROM t") == [{"archive": 1}]
        assert rows(
            session, "SELECT table_name FROM information_schema.tables WHERE table_name = 't'"
        )
        away.rename(archive)
        assert rows(session, "SELECT count(*) AS n FROM archive.main.notes") == [{"n": 2}]
        shutil.rmtree(archive)
        with affidavit.connect(archive) as other:
            other.create_table("fresh", [{"x": 1}])
        assert rows(session, "SELECT * FROM archive.main.fresh") == [{"x": 1}]


def test_tables_of_databases_are_listed_too(session: affidavit.Session, tmp_path: Path) -> None:
    """information_schema looks tables up as it is read, when no statement is planned any more."""
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("CREATE TABLE t (id INTEGER)")
    connection.close()
    session.attach("old", f"sqlite:///{tmp_path / 'x.db'}")
    text = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_catalog = 'old'"
    )
    assert {"table_name": "t", "column_name": "id"} in rows(session, text)
