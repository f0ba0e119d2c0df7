"""P4: whatever is done to the log of statements is found, and the first bad row is named."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.forging import Store, Value, attack, flipped, length

import affidavit
from affidavit import errors
from affidavit.catalog.ledger.head import sign_note
from affidavit.catalog.ledger.keys import FileKeyStore, KeyRing
from affidavit.catalog.ledger.statements import STATEMENT_COLUMNS, LoggedRow, extended
from affidavit.catalog.ledger.verifier import (
    Checkpoint,
    LedgerProblem,
    Log,
    check_bundle,
    open_note,
)
from affidavit.catalog.ledger.witness import FileWitness

ROWS = 8


def connect(lake: Path, **options: object) -> affidavit.Session:
    owner = {"actor": "owner", "durability": "normal", "journal": False}
    return affidavit.connect(lake, **{**owner, **options})  # type: ignore[arg-type]  # as given


def flush(session: affidavit.Session) -> None:
    session._instance.statements.flush()


def fill(session: affidavit.Session) -> None:
    """Log eight rows in three commits; after the first, a checkpoint is kept."""
    for at in range(3):
        session.sql(f"SELECT {at}").to_arrow()
    flush(session)
    session.create_vector_table("docs", [{"id": 1, "vector": [1.0, 0.0]}])
    session.search("docs", [1.0, 0.0], k=1)
    session.ledger.checkpoint()
    for at in range(3, 5):
        session.sql(f"SELECT {at}").to_arrow()
    flush(session)
    with pytest.raises(errors.AffidavitError):
        session.sql("SELEC 'désirée\U0001f600'")
    session.sql("BEGIN")
    session.sql("ROLLBACK")
    flush(session)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("statements") / "lake"
    with connect(lake) as session:
        fill(session)
        assert session.ledger.verify()
    return lake


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "lake"))


@pytest.fixture
def store(lake: Path) -> Iterator[Store]:
    with attack(lake) as opened:
        yield opened


def rows(store: Store) -> list[tuple[Value, ...]]:
    listed = ", ".join(("_rowid", *STATEMENT_COLUMNS))
    return store.run(f"SELECT {listed} FROM statements WHERE _tenant = ? ORDER BY 1", store.tenant)


def found_in(store: Store, at: int) -> str:
    """Return what is found, and check that row ``at`` is named."""
    found = store.verify()
    assert (found.ok, found.seq) == (False, None)
    assert f"row {at} of the log of statements" in str(found), found
    return str(found)


def redigested(store: Store) -> Log:
    """Compute every row's digest anew, as anybody can."""
    log = Log()
    for rowid, *row in rows(store):
        salt = store.one("SELECT salt FROM statements WHERE _rowid = ?", rowid)
        assert isinstance(salt, bytes)
        log = extended(log, LoggedRow(row, salt).bytes())
        store.set("statements", rowid, digest=log.digest)
    return log


# --- what is there ---------------------------------------------------------------------------------


def test_p4_what_nobody_touched_verifies_row_by_row(store) -> None:
    found = store.verify()
    assert (found.ok, found.statements, found.uncovered) == (True, ROWS, 0)
    assert f", {ROWS} statements" in str(found)


def test_p4_the_head_states_how_many_rows_there_are_and_their_digest(store) -> None:
    """The form that the documentation gives, computed here from nothing but it."""
    digest = bytes(32)
    for rowid, *row in rows(store):
        members = dict(zip(STATEMENT_COLUMNS, row, strict=True))
        salt = store.one("SELECT salt FROM statements WHERE _rowid = ?", rowid)
        shown = json.dumps(members["text"], ensure_ascii=False).encode()
        committed = hashlib.sha256(bytes(salt) + b"\x02text\x00" + shown).hexdigest()
        members["text"] = f"c:{committed}"
        text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(digest + text.encode()).digest()
    log = Log(0, ROWS, digest)
    note = str(store.one("SELECT note FROM ledger_heads"))
    assert note.split("\n")[3] == log.text.removesuffix("\n")
    assert Checkpoint.parse(note.partition("\n\n")[0] + "\n").log == log
    kept = str(store.one("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1"))
    assert kept.split("\n")[3:5] == ["kept", kept.split("\n")[4]]
    assert kept.split("\n")[4].startswith("log 0 3 "), "of when it was kept"


# --- one row --------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", [*STATEMENT_COLUMNS, "digest", "salt", "committed"])
def test_p4_each_changed_column_of_a_row_is_found_and_the_row_named(store, column) -> None:
    numbers = random.Random(column)
    for at, (rowid, *_) in list(enumerate(rows(store)))[::3]:
        value = store.one(f"SELECT {column} FROM statements WHERE _rowid = ?", rowid)
        others: list[Value] = [None, "", "x", 1, 0, -1, 2**62, 1.5, b"", b"x"]
        if isinstance(value, int):
            others += [float(value), str(value)]
        elif isinstance(value, str):
            others.append(value.encode())
        elif value is not None:
            others.append(value.hex())
        if value is not None and length(value):
            others += [flipped(value, numbers.randrange(length(value))) for _ in range(4)]
        for wrong in others:
            if type(wrong) is type(value) and wrong == value:
                continue
            with store.undone():
                store.set("statements", rowid, **{column: wrong})
                assert str(found_in(store, at)).isprintable()


@pytest.mark.parametrize("at", range(ROWS))
def test_p4_a_row_that_was_taken_away_is_missed_and_named(store, at) -> None:
    store.run("DELETE FROM statements WHERE _rowid = ?", rows(store)[at][0])
    if at < ROWS - 1:
        found_in(store, at)
    else:
        assert f"rows {at} to {at} of the log of statements were signed, and are gone" in str(
            store.verify()
        )


def test_p4_rows_that_changed_places_are_found_and_the_first_named(store) -> None:
    first, second = rows(store)[2][0], rows(store)[5][0]
    for one, other in ((first, -1), (second, first), (-1, second)):
        store.run("UPDATE statements SET _rowid = ? WHERE _rowid = ?", other, one)
    found_in(store, 2)


@pytest.mark.parametrize("covered", [True, False], ids=["with a digest", "without"])
@pytest.mark.parametrize("place", [-1, ROWS], ids=["before", "after"])
def test_p4_a_row_that_was_added_is_found_and_named(store, place, covered) -> None:
    rowid = rows(store)[0][0] - 1 if place < 0 else rows(store)[-1][0] + 1
    listed = ", ".join(STATEMENT_COLUMNS)
    store.run(
        f"INSERT INTO statements (_rowid, _tenant, {listed}, salt, digest) SELECT ?, _tenant,"
        f" {listed}, salt, {'digest' if covered else 'NULL'} FROM statements WHERE _rowid = ?",
        rowid, rows(store)[3][0],
    )  # fmt: skip
    found_in(store, max(place, 0))


def test_p4_a_row_of_another_tenant_is_missed_there_and_found_here(lake) -> None:
    with connect(lake) as session, session.scope(tenant="red") as red:
        fill(red)
    with attack(lake) as store:
        rowid = rows(store)[4][0]
        store.run("UPDATE statements SET _tenant = 'red' WHERE _rowid = ?", rowid)
        found_in(store, 4)
    with attack(lake, "red") as store:
        found_in(store, 0)


# --- all of them ----------------------------------------------------------------------------------


def test_p4_a_changed_row_is_found_although_every_digest_was_computed_anew(store) -> None:
    """Without the key no head covers it; the stretch between two signed digests is named."""
    for at, stretch in ((1, "0 to 2"), (6, "3 to 7")):
        with store.undone():
            store.set("statements", rows(store)[at][0], text="SELECT 'something else'")
            log = redigested(store)
            assert f"one of the rows {stretch} of the log of statements" in str(store.verify())
            store.run("UPDATE ledger_heads SET log_rows = ?, log_digest = ?", log.rows, log.digest)
            assert "head: its note states another" in str(store.verify())


def test_p4_a_log_that_was_cut_off_or_emptied_is_missed(lake, store) -> None:
    with store.undone():
        store.run("DELETE FROM statements")
        assert f"rows 0 to {ROWS - 1} of the log of statements were signed" in str(store.verify())
    with store.undone():
        store.run("UPDATE ledger_heads SET log_rows = NULL, log_digest = NULL, log_first = NULL")
        assert "head: its note states another" in str(store.verify())
    signer = KeyRing(FileKeyStore(lake / "keys")).signer(store.origin, 0)
    text, _ = open_note(str(store.one("SELECT note FROM ledger_heads")), [signer.public_key])
    older = "\n".join([*text.split("\n")[:3], ""])
    store.run(
        "UPDATE ledger_heads SET log_rows = NULL, log_digest = NULL, log_first = NULL, note = ?",
        sign_note(older, signer.public_key, signer.sign),
    )
    store.run("UPDATE statements SET digest = NULL")
    assert "covers the log of statements, and no head does" in str(store.verify())


def test_p4_a_log_of_a_ledger_that_is_gone_tells_so(store) -> None:
    for table in ("ledger", "ledger_heads", "checkpoints", "ledger_nodes", "search_results"):
        store.run(f"DELETE FROM {table}")
    assert "has a digest: no head covers it" in found_in(store, 0)


@pytest.mark.sqlite("its file is put back")
def test_p4_a_log_older_than_its_witness_is_found_and_not_opened(lake, tmp_path) -> None:
    """A head that somebody kept is put back, and with it the log of then: the witness knows more."""
    witness = tmp_path / "witness.txt"
    with connect(lake, witness=witness) as session:
        session.audit.log(
            [{"model_id": None, "model_version": None, "query_lineage": None,
              "top_k_result_ids": [], "retrieval_scores": []}]
        )  # fmt: skip
        older = tmp_path / "catalog.db"
        with closing(sqlite3.connect(lake / "catalog.db")) as now:
            now.execute("VACUUM INTO ?", (str(older),))
        session.sql("SELECT 'told'").to_arrow()
        flush(session)
    assert witness.read_text().count("\nlog 0 ") >= 1
    for file in lake.glob("catalog.db*"):
        file.unlink()
    shutil.move(older, lake / "catalog.db")
    with attack(lake) as store:
        assert store.verify()
        found = store.verify(witnessed=FileWitness(witness).newest().values())
        assert "were signed, and are gone" in str(found)
    with pytest.raises(
        errors.LedgerCorruptError, match="older than its witness: 9 rows of the log"
    ):
        connect(lake, witness=witness)


# --- as it goes on --------------------------------------------------------------------------------


def test_p4_nothing_is_signed_over_what_somebody_else_put_in_the_head(lake) -> None:
    with attack(lake) as store:
        store.run("UPDATE ledger_heads SET log_rows = log_rows - 1")
    with pytest.raises(errors.LedgerCorruptError, match="states another size, root, log"):
        connect(lake)


def test_p4_a_tenant_whose_ledger_was_changed_keeps_no_other_from_its_log(lake) -> None:
    with connect(lake) as session, session.scope(tenant="red") as red:
        red.sql("SELECT 1").to_arrow()
        flush(session)
        with attack(lake, "red") as store:
            store.run("UPDATE ledger_heads SET log_rows = 7 WHERE _tenant = 'red'")
        for each in (red, session):
            each.sql("SELECT 2").to_arrow()
        with pytest.raises(errors.LedgerCorruptError, match="states another size, root, log"):
            flush(session)
        assert session.sql("SELECT count(*) AS n FROM audit.statements").to_pylist() == [{"n": 9}]
        assert session.ledger.verify()
        with attack(lake, "red") as store:
            store.run("UPDATE ledger_heads SET log_rows = 1 WHERE _tenant = 'red'")
        flush(session)
        assert red.ledger.verify().statements == 2


def test_a_log_covers_rows_of_several_sessions_tenants_and_keys(lake) -> None:
    with connect(lake) as one, connect(lake) as two:
        for at in range(10):
            session = (one, two)[at % 2]
            session.sql(f"SELECT 'mine {at}'").to_arrow()
            flush(session)
        one.ledger.rotate_key()
        two.sql("SELECT 'of the new key'").to_arrow()
        flush(two)
        assert one.ledger.verify().statements == ROWS + 11
        with one.scope(tenant="red") as red:
            red.sql("SELECT 'first'").to_arrow()
            flush(one)
            found = red.ledger.verify()
            assert (found.ok, found.entries, found.statements) == (True, 1, 1)


def test_p5_a_bundle_of_a_ledger_that_covers_a_log_verifies_with_its_own_verifier(
    lake, tmp_path
) -> None:
    with connect(lake) as session:
        key = session.ledger.public_key
        folder = session.ledger.export(tmp_path / "bundle")
        proof = session.ledger.prove(1)
    assert "\nlog 0 8 " in (folder / "checkpoint.note").read_text()
    assert "\nlog 0 8 " in proof
    verdict = check_bundle(folder, key)
    assert verdict, verdict
    note = (folder / "checkpoint.note").read_text()
    (folder / "checkpoint.note").write_text(note.replace("log 0 8", "log 0 7"))
    assert "its signature is wrong" in str(check_bundle(folder, key))


@pytest.mark.parametrize(
    "line",
    ["log", "log 0", "log 0 1", "log 0 1 x", "log 0 1 " + "A" * 43, "log 00 1 " + "A" * 43 + "=",
     "log 0 1 " + "A" * 43 + "= more", "log -1 1 " + "A" * 43 + "=", "LOG 0 1 " + "A" * 43 + "=",
     "log 0 1 AAAA", "log 0 1 " + "A" * 43 + "=\nkept"],
)  # fmt: skip
def test_p4_a_line_that_states_no_log_makes_no_checkpoint(line) -> None:
    text = Checkpoint("affidavit/lake/tenant", 7, bytes(32)).text
    assert Checkpoint.parse(f"{text}log 0 1 {'A' * 43}=\n").log == Log(0, 1, bytes(32))
    with pytest.raises(LedgerProblem):
        Checkpoint.parse(f"{text}{line}\n")
