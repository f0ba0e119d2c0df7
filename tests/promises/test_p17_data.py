"""P17: what the lake shows is what was signed; what differs is named."""

from __future__ import annotations

import os
import re
import shutil
from datetime import timedelta
from pathlib import Path

import lance
import lancedb
import pyarrow as pa
import pytest
from tests.support.beside import beside
from tests.support.lakes import vectors
from tests.support.tampering import Intruder, found, furnish, signed_files

import affidavit
from affidavit import errors

EDITS = int(os.environ.get("AFFIDAVIT_FUZZ", "1")) * 150


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with something of everything, closed."""
    lake = tmp_path_factory.mktemp("furnished") / "lake"
    with affidavit.connect(lake, durability="normal", actor="ann") as session:
        furnish(session)
    return lake


@pytest.fixture
def copied(furnished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(furnished, tmp_path / "lake")
    return tmp_path / "lake"


def edit(lake: Path, *statements: str) -> None:
    """Run statements in the store, as any program may."""
    with beside(lake) as store:
        for each in statements:
            store.execute(each)


def rows_of(lake: Path, table: str) -> str:
    """Return what the store calls a mutable table."""
    with beside(lake) as store:
        query = "SELECT table_id FROM tables WHERE name = ?"
        return f"data_{store.execute(query, (table,)).fetchone()[0]}"


# --- what is written verifies -------------------------------------------------------------------


def test_p17_what_was_written_is_what_was_signed(copied) -> None:
    with affidavit.connect(copied, durability="normal") as session:
        verified = session.ledger.verify(data=True)
        assert verified, verified
        assert verified.data.is_covered
        assert verified.data.rows > 50
        of_vectors = [path for path in signed_files(copied / ".") if "vectors" in path.parts]
        assert verified.data.files == len(of_vectors)
        assert verified.data.trusted == verified.data.uncovered == ()
        assert " rows, " in str(verified)


@pytest.mark.parametrize("data", [True, None, False])
def test_p17_verifying_beside_a_writer_is_no_false_alarm(copied, data) -> None:
    with (
        affidavit.connect(copied, durability="normal") as one,
        affidavit.connect(copied, durability="normal") as other,
    ):
        for at in range(6):
            other.table("docs").insert(vectors(1, start=5000 + at))
            other.sql("UPDATE notes SET x = x + 1 WHERE id = 3")
            if at == 3:
                other.table("docs").optimize(cleanup_older_than=timedelta(0))
            assert one.ledger.verify(data=data)


def test_p17_a_read_only_lake_is_verified(copied) -> None:
    with affidavit.connect(copied, read_only=True) as session:
        assert session.ledger.verify(data=True)
        assert session.verify_data("notes")


def test_p17_a_lake_without_a_journal_says_that_its_data_is_not_covered(tmp_path) -> None:
    with affidavit.connect(tmp_path / "lake", journal=False, durability="normal") as session:
        session.create_table("t", [{"id": 1}], primary_key="id")
        session.sql("SELECT * FROM t").to_arrow()
        verified = session.ledger.verify(data=True)
        assert verified
        assert not verified.data.is_covered
        assert "data that is not covered" in str(verified)


def test_p17_what_is_asked_of_verify_is_checked(copied) -> None:
    with affidavit.connect(copied, durability="normal") as session:
        for since in (-1, True, "1", 1.5):
            with pytest.raises(errors.InvalidQueryError, match="since"):
                session.ledger.verify(since=since)
        with pytest.raises(errors.InvalidQueryError, match="data"):
            session.ledger.verify(data="yes")
        with pytest.raises(errors.TableNotFoundError):
            session.verify_data("nothing")


def test_p17_a_verification_that_is_interrupted_leaves_nothing(copied, monkeypatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with affidavit.connect(copied, durability="normal") as session:
        with monkeypatch.context() as interrupted:
            interrupted.setattr("affidavit.catalog.checking.data.counted", interrupt)
            with pytest.raises(KeyboardInterrupt):
                session.ledger.verify(data=True)
        session.sql("INSERT INTO log VALUES (5, 'e')")
        assert session.ledger.verify(data=True)


# --- what is changed is named ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE {notes} SET c1 = 'forged' WHERE c0 = 20", r"table 'notes': row '20', column 'offset': "
         '"n20" was signed, not "forged"'),
        ("UPDATE {notes} SET c0 = 1234 WHERE c0 = 20", "table 'notes': row '1234' was put there"),
        ("DELETE FROM {notes} WHERE c0 = 21", "table 'notes': row '21' is not there"),
        ("UPDATE {notes} SET _tenant = '' WHERE c0 = 21", "1 of the rows .* not this tenant's"),
        ("INSERT INTO {notes} (_tenant, c0, c1) VALUES ('', 77, 'x')", "not this tenant's"),
        ("UPDATE {notes} SET _rowid = 4444 WHERE c0 = 22", "table 'notes'"),
        ("UPDATE {notes} SET c1 = 5 WHERE c0 = 22", "table 'notes'"),
        ("UPDATE {log} SET c1 = 'b' WHERE _rowid = 2", r"row 'row:2', column 'b': another value"),
        ("UPDATE tables SET row_count = 7 WHERE name = 'notes'", "count of rows says 7, and 40"),
        ("UPDATE tables SET row_count = 7 WHERE name = 'docs'", "count of rows says 7, and 304"),
        ("UPDATE tables SET audit = NULL WHERE name = 'log'", "its policy: 'reads' was signed"),
        ("UPDATE tables SET name = 'other' WHERE name = 'notes'", "its name or definition"),
        ("DELETE FROM tables WHERE name = 'v'", "definition of table .* is gone"),
        ("UPDATE topic_log SET rows = 9 WHERE offset = 1", "the log of topic 't'"),
        ("DELETE FROM triggers", "trigger .* is gone"),
        ("UPDATE files SET bytes = 1", "the files of vector table"),
        ("DELETE FROM checkpoints WHERE size = 1", "checkpoints|kept"),
        ("UPDATE states SET rows = 0 WHERE object LIKE 'topics/%'", "topic"),
        ("DELETE FROM states WHERE object LIKE 'data_%'", "no signed head states it"),
    ],
)  # fmt: skip
def test_p17_a_row_that_was_edited_is_named(copied, statement, named) -> None:
    names = {name: f'"{rows_of(copied, name)}"' for name in ("notes", "log")}
    edit(copied, statement.format(**names))
    said = found(copied)
    assert said is not None
    assert re.search(named, said), said


def test_p17_an_edit_says_table_key_column_and_both_values(copied) -> None:
    edit(copied, f"UPDATE \"{rows_of(copied, 'notes')}\" SET c1 = 'forged' WHERE c0 = 20")
    with affidavit.connect(copied, durability="normal") as session:
        for verified in (
            session.ledger.verify(),
            session.verify_data(),
            session.verify_data("notes"),
        ):
            assert not verified
            [differs] = verified.data.differences
            assert (differs.table, differs.key, differs.column) == ("notes", "20", "offset")
            assert (differs.signed, differs.found) == ("n20", "forged")
        assert session.verify_data("log")
        with pytest.raises(errors.LedgerCorruptError, match="n20"):
            session.ledger.verify().raise_if_corrupt()


def test_p17_a_row_that_is_edited_and_then_written_again_is_found_still(copied) -> None:
    edit(copied, f"UPDATE \"{rows_of(copied, 'notes')}\" SET c1 = 'forged' WHERE c0 = 20")
    with affidavit.connect(copied, durability="normal") as session:
        session.sql("UPDATE notes SET x = 9 WHERE id = 20")
        assert "'20'" in str(session.verify_data("notes"))
        session.sql(
            "UPDATE notes SET offset = 'n20' WHERE id = 20"
        )  # as it was, and not as it went
        assert not session.verify_data("notes")


def test_p17_sums_that_are_forged_along_with_a_row_are_found(copied) -> None:
    """Who edits a row and its table's sum has every sum but the signed one right."""
    from affidavit.catalog.lake.covered import covered_tables
    from affidavit.catalog.store.covering.multiset import as_bytes
    from affidavit.catalog.store.covering.states import counted

    name = rows_of(copied, "notes")
    edit(copied, f"UPDATE \"{name}\" SET c1 = 'forged' WHERE c0 = 20")
    with affidavit.connect(copied, durability="normal") as session:
        catalog = session._catalog()
        with catalog.read() as reader:
            [table] = [t for t in covered_tables(reader, catalog.tenant) if t.name == name]
            _, total = counted(reader, catalog.tenant, table)[name]
    with beside(copied) as store:
        store.execute("UPDATE states SET state = ? WHERE object = ?", (as_bytes(total), name))
    said = found(copied)
    assert said is not None
    assert "row '20', column 'offset'" in said


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE VIEW seen AS SELECT * FROM ledger"],
        ["CREATE TRIGGER t AFTER INSERT ON ledger BEGIN DELETE FROM states; END"],
        ["DROP INDEX ledger_kind", "CREATE INDEX ledger_kind ON ledger (_tenant, kind)"],
        ["DROP INDEX ledger_kind"],
        ["DROP INDEX ledger_kind", "CREATE INDEX ledger_kind ON ledger (_tenant, kind, seq) "
         "WHERE seq > 3"],
        ["CREATE TABLE more (x)"],
        ["ALTER TABLE ledger ADD COLUMN shown AS (seq + 1)"],
        ["ALTER TABLE ledger ADD COLUMN more"],
        ["PRAGMA writable_schema = ON", "UPDATE sqlite_schema SET sql = replace(sql, '\"seq\"', "
         "'\"seq\" COLLATE NOCASE') WHERE name = 'ledger'", "PRAGMA writable_schema = RESET"],
        ['CREATE TABLE w (_rowid INTEGER PRIMARY KEY, _tenant TEXT NOT NULL, "lake_id") '
         "WITHOUT ROWID", "INSERT INTO w SELECT * FROM lake", "DROP TABLE lake",
         "ALTER TABLE w RENAME TO lake"],
    ],
)  # fmt: skip
def test_p17_a_store_of_another_structure_is_found(copied, statements) -> None:
    edit(copied, *statements)
    said = found(copied)
    assert said is not None
    assert "the store" in said or "belong" in said, said


def test_p17_an_index_that_says_other_than_its_table_is_found(copied) -> None:
    columns = "_tenant, kind, seq"
    with affidavit.connect(copied, durability="normal", audit="reads") as session:
        session.sql("SELECT count(*) FROM docs").to_arrow()  # a record that is not sealed yet
    edit(
        copied,
        "PRAGMA writable_schema = ON",
        "CREATE TABLE forged (_rowid INTEGER PRIMARY KEY, _tenant, kind, seq)",
        f"INSERT INTO forged (_rowid, {columns}) SELECT _rowid, {columns} FROM ledger",
        "UPDATE forged SET kind = 'hidden' WHERE kind = 'read'",
        "DROP INDEX ledger_kind",
        f"CREATE INDEX ledger_kind ON forged ({columns})",
        "UPDATE sqlite_schema SET tbl_name = 'ledger', sql = "
        'replace(\'CREATE INDEX "ledger_kind" ON "ledger" ("_tenant", "kind", "seq")\', \'~\', \'\') '
        "WHERE name = 'ledger_kind'",
        "DELETE FROM sqlite_schema WHERE name = 'forged'",
        "PRAGMA writable_schema = RESET",
    )
    said = found(copied)
    assert said is not None
    assert "ledger_kind" in said, said


@pytest.mark.slow
@pytest.mark.fuzz
def test_p17_random_edits_are_all_found(furnished, tmp_path) -> None:
    lake, missed, done = tmp_path / "lake", [], 0
    for seed in range(EDITS):
        shutil.rmtree(lake, ignore_errors=True)
        shutil.copytree(furnished, lake)
        what = Intruder(lake, seed).act()
        if what is not None:
            done += 1
            if found(lake) is None:
                missed.append((seed, what))
    assert done > EDITS / 2
    assert missed == []


# --- vectors --------------------------------------------------------------------------------------


def test_p17_a_commit_of_another_program_is_not_shown_and_is_named(copied, caplog) -> None:
    other = lancedb.connect(copied / "vectors" / "default").open_table("docs")
    other.update(where="id = 0", values={"text": "forged"})
    with affidavit.connect(copied, durability="normal") as session:
        assert "another program committed it" in caplog.text
        [row] = session.sql("SELECT text FROM docs WHERE id = 0").to_pylist()
        assert row["text"] == "word0 of even row"
        docs = session.table("docs")
        own = docs.version
        assert "another program committed it" in str(session.ledger.verify())
        assert own + 1 not in {each["version"] for each in docs.versions()}
        for read in (
            lambda: session.search("docs", [1.0] * 8, k=1, version=own + 1),
            lambda: session.sql(f"SELECT * FROM as_of('docs', 'v{own + 1}')").to_arrow(),
            lambda: docs.restore(own + 1),
            lambda: docs.tag("theirs", own + 1),
        ):
            with pytest.raises(errors.AffidavitError, match="committed by another program"):
                read()
        for write in (
            lambda: docs.insert(vectors(1, start=9000)),
            lambda: docs.delete("id = 1"),
            lambda: docs.create_index("bucket", "BTREE"),
            lambda: docs.optimize(),
            lambda: session.sql("ALTER TABLE docs ADD COLUMN more INT"),
        ):
            with pytest.raises(errors.ForeignVersionError, match="restore") as raised:
                write()
            assert (raised.value.table, raised.value.own) == ("docs", own)
        count = docs.count()
        docs.restore(own)
        assert docs.count() == count
        assert own + 1 not in {each["version"] for each in docs.versions()}
        assert docs.insert(vectors(1, start=9000)) == 1
        [row] = session.sql("SELECT text FROM docs WHERE id = 0").to_pylist()
        assert row["text"] == "word0 of even row"
        assert session.ledger.verify(data=True), session.ledger.verify(data=True)


def test_p17_older_vectors_beside_a_newer_store_are_refused(copied, tmp_path, caplog) -> None:
    shutil.copytree(copied / "vectors", tmp_path / "older")
    with affidavit.connect(copied, durability="normal") as session:
        session.table("docs").insert(vectors(1, start=9000))
    shutil.rmtree(copied / "vectors")
    shutil.copytree(tmp_path / "older", copied / "vectors")
    with affidavit.connect(copied, durability="normal") as session:
        assert "is not there: the newest version is" in caplog.text
        assert "the newest version is" in str(session.ledger.verify())
        with pytest.raises(errors.StoreError, match="is not there"):
            session.sql("SELECT count(*) FROM docs").to_arrow()


@pytest.mark.sqlite("its file is put back")
def test_p17_an_older_store_beside_newer_vectors_shows_what_it_signed(
    copied, tmp_path, caplog
) -> None:
    shutil.copy(copied / "catalog.db", tmp_path / "older.db")
    with affidavit.connect(copied, durability="normal") as session:
        before = session.table("docs").count()
        session.table("docs").insert(vectors(1, start=9000))
    for path in copied.glob("catalog.db*"):
        path.unlink()
    shutil.copy(tmp_path / "older.db", copied / "catalog.db")
    with affidavit.connect(copied, durability="normal") as session:
        assert "another program committed it" in caplog.text
        assert session.table("docs").count() == before
        assert not session.ledger.verify()


@pytest.mark.sqlite("its file is put back")
def test_p17_an_older_store_beside_a_newer_journal_is_told_as_it_is_opened(
    copied, tmp_path, caplog
) -> None:
    shutil.copy(copied / "catalog.db", tmp_path / "older.db")
    with affidavit.connect(copied, durability="normal") as session:
        session.sql("INSERT INTO log VALUES (7, 'g')")
        session.journal.flush()
    assert "older catalog.db" not in caplog.text
    for path in copied.glob("catalog.db*"):
        path.unlink()
    shutil.copy(tmp_path / "older.db", copied / "catalog.db")
    with affidavit.connect(copied, durability="normal", read_only=True):
        assert "an older catalog.db was put back beside a newer journal" in caplog.text


def test_p17_another_tables_dataset_in_its_place_is_refused(tmp_path) -> None:
    lake = tmp_path / "lake"
    with affidavit.connect(lake, durability="normal") as session:
        session.create_vector_table("one", vectors(5))
        session.create_vector_table("two", vectors(5, seed=9))
    home = lake / "vectors" / "default"
    (home / "one.lance").rename(home / "away")
    (home / "two.lance").rename(home / "one.lance")
    (home / "away").rename(home / "two.lance")
    with affidavit.connect(lake, durability="normal") as session:
        assert not session.ledger.verify(data=True)
        with pytest.raises(errors.StoreError, match="not the one that was signed"):
            session.search("one", [1.0] * 8, k=1)


def test_p17_a_version_that_was_rewritten_in_place_is_refused(copied) -> None:
    """The manifest that is shown is another: the same number, and other rows."""
    home = copied / "vectors" / "default" / "more.lance"
    shutil.rmtree(home)
    lance.write_dataset(vectors(20, seed=99), str(home))
    with affidavit.connect(copied, durability="normal") as session:
        with pytest.raises(errors.StoreError, match="not the one that was signed"):
            session.sql("SELECT * FROM more").to_arrow()
        assert not session.ledger.verify()


def test_p17_what_a_cleanup_removes_is_not_missed(copied) -> None:
    with affidavit.connect(copied, durability="normal") as session:
        docs = session.table("docs")
        for at in range(3):
            docs.insert(vectors(1, start=9000 + at))
        docs.optimize(cleanup_older_than=timedelta(0))
        assert session.ledger.verify(data=True)
        docs.insert(vectors(1, start=9100))
        session.drop_table("docs")
        assert session.ledger.verify(data=True)


def test_p17_files_are_read_only_if_that_is_asked_for(copied) -> None:
    [path, *_] = sorted((copied / "vectors" / "default" / "docs.lance" / "data").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert found(copied, data=None) is None
    said = found(copied, data=True)
    assert said is not None
    assert path.name in said
    path.unlink()
    assert "is not there" in str(found(copied, data=None))


def test_p17_a_version_that_is_not_named_any_more_is_refused(copied) -> None:
    other = lancedb.connect(copied / "vectors" / "default").open_table("docs")
    other.update(where="id = 0", values={"text": "forged"})
    edit(copied, "UPDATE tables SET data_version = NULL WHERE name = 'docs'")
    assert "docs" in str(found(copied))
    with affidavit.connect(copied, durability="normal") as session:
        for ask in (
            lambda: session.sql("SELECT text FROM docs WHERE id = 0").to_arrow(),
            lambda: session.search("docs", [1.0] * 8, k=1),
            lambda: session.table("docs").insert(vectors(1, start=9000)),
        ):
            with pytest.raises(errors.AffidavitError):
                ask()
        assert "docs" in {each["name"] for each in session.tables()}, "listed all the same"


def test_p17_a_version_that_was_cleaned_up_does_not_come_back(copied) -> None:
    home = copied / "vectors" / "default" / "docs.lance"
    manifest = "_versions/18446744073709551613.manifest"
    assert (home / manifest).exists()
    with affidavit.connect(copied, durability="normal") as session:
        for at in range(2):
            session.table("docs").insert(vectors(1, start=9000 + at))
        session.table("docs").optimize(cleanup_older_than=timedelta(0))
        session.search("docs", [1.0] * 8, k=1).to_arrow()
    assert not (home / manifest).exists()
    shutil.copy(min((home / "_versions").glob("*.manifest")), home / manifest)
    with affidavit.connect(copied, durability="normal") as session:
        assert 2 not in {each["version"] for each in session.table("docs").versions()}
        with pytest.raises(errors.AffidavitError):
            session.search("docs", [1.0] * 8, k=1, version=2)
        with pytest.raises(errors.AffidavitError):
            session.table("docs").restore(2)


def test_p17_a_tag_that_was_moved_is_refused_and_named(copied) -> None:
    with affidavit.connect(copied, durability="normal") as session:
        docs = session.table("docs")
        docs.tag("approved")
        docs.insert(vectors(1, start=9000))
        assert session.search("docs", [1.0] * 8, k=1, version="approved").num_rows == 1
        assert session.ledger.verify(data=True)
    home = str(copied / "vectors" / "default" / "docs.lance")
    lance.dataset(home).tags.update("approved", 1)
    lance.dataset(home).tags.create("theirs", 1)
    said = found(copied)
    assert said is not None
    assert "_refs/tags/approved.json" in said
    with affidavit.connect(copied, durability="normal") as session:
        for name in ("approved", "theirs"):
            with pytest.raises(errors.StoreError, match="made or moved by another program"):
                session.search("docs", [1.0] * 8, k=1, version=name)


def test_p17_a_file_that_was_taken_is_not_forgotten_by_a_cleanup(copied) -> None:
    home = copied / "vectors" / "default" / "docs.lance"
    [path] = [each for each in (home / "_transactions").iterdir() if each.name.startswith("1-")]
    path.unlink()
    with affidavit.connect(copied, durability="normal") as session:
        session.table("docs").optimize(cleanup_older_than=timedelta(days=9))
    assert path.name in str(found(copied))


def test_p17_what_lies_beside_the_files_is_no_business_of_ours(copied) -> None:
    home = copied / "vectors" / "default" / "docs.lance"
    (home / "data" / "stray.tmp").write_text("x")
    (home / "data" / "gone.lance").symlink_to(home / "nowhere")
    os.mkfifo(home / "data" / "pipe.lance")
    Path(os.fsdecode(os.fsencode(home / "data") + b"/\xff.lance")).write_text("x")
    with affidavit.connect(copied, durability="normal") as session:
        session.table("docs").insert(vectors(1, start=9000))
        assert session.ledger.verify(data=True)
    for each in (home / "data").iterdir():
        if not each.is_file() or each.suffix == ".tmp":
            each.unlink()
    assert found(copied) is None


# --- since ----------------------------------------------------------------------------------------


def test_p17_what_changed_since_an_entry_is_checked_and_the_rest_is_listed(
    copied, tmp_path
) -> None:
    with affidavit.connect(copied, durability="normal") as session:
        size = session.ledger.size
        session.sql("UPDATE notes SET offset = 'later' WHERE id IN (11, 12)")
        session.sql("DELETE FROM notes WHERE id = 13")
        session.sql("INSERT INTO notes VALUES (500, 'fresh', 1.0)")
        verified = session.ledger.verify(since=size)
        assert verified, verified
        assert verified.since == size
        assert any("notes" in each for each in verified.data.trusted)
        assert any("log" in each for each in verified.data.trusted)
        assert "trusted, not read" in str(verified)
    name = rows_of(copied, "notes")
    shutil.copy(copied / "catalog.db", tmp_path / "genuine.db")
    for statement, named in (
        (f"UPDATE \"{name}\" SET c1 = 'forged' WHERE c0 = 12", "row '12', column 'offset'"),
        (f'UPDATE "{name}" SET c2 = 9 WHERE c0 = 500', "row '500'"),
        (f'DELETE FROM "{name}" WHERE c0 = 500', "row '500' is not there"),
        (f"INSERT INTO \"{name}\" (_tenant, c0) VALUES ('default', 13)", "row '13' is there"),
    ):
        for path in copied.glob("catalog.db*"):
            path.unlink()
        shutil.copy(tmp_path / "genuine.db", copied / "catalog.db")
        edit(copied, statement)
        said = found(copied, since=size)
        assert said is not None
        assert named in said, said


def test_p17_a_lake_whose_data_is_covered_has_a_witness(tmp_path) -> None:
    lake, witness = tmp_path / "lake", tmp_path / "witness"
    with affidavit.connect(lake, witness=witness, durability="normal") as session:
        session.create_table("t", [{"id": 1}], primary_key="id")
    shutil.copytree(lake, tmp_path / "older")
    with affidavit.connect(lake, witness=witness, durability="normal") as session:
        session.sql("INSERT INTO t VALUES (2)")
        assert session.ledger.verify(witness=witness)
    notes = witness.read_text().count("\u2014 ")
    with affidavit.connect(lake, witness=witness, durability="normal"):
        pass
    assert witness.read_text().count("\u2014 ") <= notes + 1, "each is sent once"
    with pytest.raises(errors.LedgerCorruptError, match="older than its witness"):
        affidavit.connect(tmp_path / "older", witness=witness)


def test_p17_an_entry_that_is_forged_after_what_is_trusted_is_found(copied) -> None:
    with affidavit.connect(copied, durability="normal") as session:
        size = session.ledger.size
        session.search("docs", [1.0] * 8, k=2).to_arrow()
        assert session.ledger.verify(since=size)
        assert session.ledger.verify(since=session.ledger.size)
        for older in (session.ledger.verify(since=10**6), session.verify_data(since=10**6)):
            assert "it is older than what was seen" in str(older)
    edit(copied, f"UPDATE ledger SET created_at = 1 WHERE seq = {size}")
    assert "its time" in str(found(copied, since=size))


# --- whose data it is -----------------------------------------------------------------------------


def test_p17_shared_rows_that_were_edited_are_found_by_whoever_reads_them(tmp_path) -> None:
    lake = tmp_path / "lake"
    with affidavit.connect(lake, tenant=None, durability="normal") as session:
        session.create_table("rates", [{"id": 1, "rate": 5}], primary_key="id")
    with affidavit.connect(lake, tenant="acme", durability="normal") as session:
        session.create_table("own", [{"id": 1}], primary_key="id")
        assert session.ledger.verify(data=True)
    edit(lake, f'UPDATE "{rows_of(lake, "rates")}" SET c1 = 6')
    with affidavit.connect(lake, tenant="acme", durability="normal") as session:
        assert "table 'rates': row '1', column 'rate': 5 was signed, not 6" in str(
            session.ledger.verify()
        )


def test_p17_rows_in_a_shared_table_that_are_not_shared_are_found(tmp_path) -> None:
    lake = tmp_path / "lake"
    with affidavit.connect(lake, tenant=None, durability="normal") as session:
        session.create_table("rates", [{"id": 1, "rate": 5}], primary_key="id")
    with affidavit.connect(lake, tenant="acme", durability="normal") as session:
        session.create_table("own", [{"id": 1}], primary_key="id")
    name = rows_of(lake, "rates")
    edit(lake, f"INSERT INTO \"{name}\" (_tenant, c0, c1) VALUES ('acme', 2, 666)")
    with affidavit.connect(lake, tenant="acme", durability="normal") as session:
        assert session.sql("SELECT * FROM rates").num_rows == 2
        assert "1 of the rows that are shown are not the shared scope's" in str(
            session.ledger.verify()
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tables SET _tenant = '' WHERE name = 'v'",
        "INSERT INTO topic_log (_tenant, topic_id, offset, produced_at, rows, data) SELECT '', "
        "topic_id, 77, produced_at, rows, data FROM topic_log LIMIT 1",
        "INSERT INTO files (_tenant, table_id, path, bytes, sha256) SELECT '', table_id, 'x', 1, "
        "sha256 FROM files LIMIT 1",
    ],
)
def test_p17_shared_rows_where_nothing_is_shared_are_found(copied, statement) -> None:
    edit(copied, statement)
    assert found(copied) is not None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE states SET object = NULL WHERE rows = 1", "UPDATE states SET version = 'x'",
        "UPDATE states SET state = 7", "UPDATE states SET rows = NULL",
        "UPDATE tables SET row_count = 'x'", "UPDATE tables SET data_version = 1.5",
        "UPDATE tables SET data_version = x'00' WHERE name = 'docs'",
        "UPDATE tables SET data_version = -1 WHERE name = 'docs'",
        "UPDATE tables SET audit = 'x'", "UPDATE tables SET name = 7 WHERE name = 'v'",
        "UPDATE tables SET next_rowid = 'x'", "UPDATE tables SET definition = '{'",
        "UPDATE files SET bytes = 'x'", "UPDATE topics SET name = 5 WHERE name = 't'",
        "UPDATE ledger_heads SET logged_at = 9223372036854775807",
        "UPDATE triggers SET definition = '{'",
    ],
)  # fmt: skip
def test_p17_what_cannot_be_read_is_found_and_is_no_crash(copied, statement) -> None:
    edit(copied, statement)
    assert found(copied) is not None
    assert found(copied, data=None, since=1) is not None


def test_p17_no_value_that_is_to_be_on_record_is_told(copied) -> None:
    name = rows_of(copied, "log")
    for statement in (
        f"UPDATE \"{name}\" SET c0 = 'SECRET' WHERE _rowid = 1",
        f"UPDATE \"{name}\" SET c1 = 'SECRET' WHERE _rowid = 1",
        "UPDATE tables SET audit = NULL WHERE name = 'log'",
    ):
        edit(copied, statement)
        with affidavit.connect(copied, durability="normal") as session:
            for verified in (session.ledger.verify(), session.verify_data("log")):
                assert not verified
                assert "SECRET" not in f"{verified!r} {verified}"


def test_p17_one_tenants_edit_is_no_other_tenants_alarm(tmp_path) -> None:
    lake = tmp_path / "lake"
    for tenant in ("acme", "bolt"):
        with affidavit.connect(lake, tenant=tenant, durability="normal") as session:
            session.create_table(f"of_{tenant}", [{"id": 1, "x": 5}], primary_key="id")
    edit(lake, f'UPDATE "{rows_of(lake, "of_bolt")}" SET c1 = 6')
    with affidavit.connect(lake, tenant="acme", durability="normal") as session:
        assert session.ledger.verify(data=True)
    with affidavit.connect(lake, tenant="bolt", durability="normal") as session:
        assert not session.ledger.verify(data=True)


# --- what the journal tells -----------------------------------------------------------------------


def test_p17_values_that_were_erased_are_no_difference(copied) -> None:
    with affidavit.connect(copied, durability="normal") as session:
        session.journal.erase("20", reason="asked for")
        assert session.ledger.verify(data=True)


def test_p17_a_wide_table_of_every_change_stays_what_was_signed(tmp_path) -> None:
    with affidavit.connect(tmp_path / "lake", durability="normal") as session:
        session.create_table(
            "t", pa.table({"id": [1, 2, 3], "a": ["x", None, "z"], "b": [1.5, float("nan"), -0.0]}),
            primary_key="id",
        )  # fmt: skip
        for text in (
            "ALTER TABLE t ADD COLUMN c BIGINT DEFAULT 7",
            "ALTER TABLE t RENAME COLUMN a TO aa",
            "ALTER TABLE t DROP COLUMN b",
            "UPDATE t SET id = id + 1",
            "CREATE UNIQUE INDEX by_c ON t (id, c)",
            "ALTER TABLE t RENAME TO tt",
            "TRUNCATE tt",
            "INSERT INTO tt VALUES (9, 'nine', 9)",
            "BEGIN",
            "INSERT INTO tt VALUES (10, 'ten', 10)",
            "SAVEPOINT s",
            "INSERT INTO tt VALUES (11, 'eleven', 11)",
            "DELETE FROM tt WHERE id = 9",
            "ROLLBACK TO s",
            "COMMIT",
            "CREATE TABLE u AS SELECT * FROM tt",
            "DROP TABLE tt",
        ):
            session.sql(text)
            if session.sql("SELECT 1").num_rows and text not in {"BEGIN", "SAVEPOINT s"}:
                verified = session.ledger.verify(data=True)
                assert verified, (text, verified)
