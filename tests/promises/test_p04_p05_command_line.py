"""P4, P5, P9: what ``affidavit verify``, ``export`` and ``key`` say of a lake that was changed."""

from __future__ import annotations

import re
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from tests.support.forging import attack, body_with, connect, copy_entry, evil_key, log
from typer.testing import CliRunner

from affidavit.engine.fronts.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.forging import Store

TABLES = ("ledger", "ledger_heads", "ledger_nodes", "checkpoints", "search_results")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tenants and the shared scope, some records each, and a witness of all three."""
    folder = tmp_path_factory.mktemp("made")
    for tenant in ("ann", "default", None):
        with connect(folder / "lake", tenant=tenant, witness=folder / "witness") as session:
            log(session, 2)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "folder")


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with attack(folder / "lake") as opened:
        yield opened


def run(folder: Path, command: str) -> tuple[int, str]:
    """Run a command in which LAKE, WITNESS and BUNDLE stand for paths; return its status and text.

    Whatever it finds, it ends by itself, and prints nothing that moves the cursor.
    """
    paths = {name.upper(): str(folder / name) for name in ("lake", "witness", "bundle", "nowhere")}
    arguments = [paths.get(word, word) for word in command.split()]
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert all(line.isprintable() for line in result.output.splitlines())
    return result.exit_code, result.output


def origin(store: Store, tenant: str = "default") -> str:
    return store.origin.replace("/default", f"/{tenant}")


def test_p4_a_lake_that_nobody_touched_verifies(folder, store) -> None:
    code, text = run(folder, "verify LAKE")
    assert code == 0
    for tenant in ("ann", "default", "_shared"):
        assert f"VERIFIED {origin(store, tenant)}: 3 entries, 2 signatures" in text
    assert text.count("key: affidavit/") == 3
    assert run(folder, "verify LAKE --no-signatures")[1].count(" 0 signatures") == 3
    assert run(folder, "verify LAKE --witness WITNESS") == (0, text)


def test_p4_a_changed_record_ends_with_1_and_is_named_and_the_others_verify(folder, store) -> None:
    body, signature = store.entry(2)
    store.set("ledger", store.rowid(2), body=body_with(body, actor="nobody"))
    for options in ("", " --no-signatures"):
        code, text = run(folder, f"verify LAKE{options}")
        assert (code, text.count("VERIFIED")) == (1, 2)
        assert f"CORRUPT {store.origin}: entry 2: its leaf is not the hash" in text
    store.forge(2, body, signature[::-1])
    code, text = run(folder, "verify LAKE")
    assert (code, f"CORRUPT {store.origin}: entry 2: its signature is wrong" in text) == (1, True)
    code, text = run(folder, "verify LAKE --no-signatures")
    assert (code, f"CORRUPT {store.origin}: entry 0: one of the entries 0 to 2" in text) == (
        1,
        True,
    )


@pytest.mark.parametrize(
    "command",
    ["verify", "verify LAKE --bundle BUNDLE", "verify NOWHERE", "verify LAKE --public-key x",
     "verify LAKE --witness NOWHERE", "verify LAKE --witness LAKE", "export NOWHERE BUNDLE",
     "export LAKE BUNDLE --tenant nobody", "export LAKE BUNDLE --to-seq 9", "export LAKE LAKE",
     "export LAKE BUNDLE --tenant a/b", "key NOWHERE", "key LAKE --tenant a'b", "verify LAKE --what",
     "key", "nothing"],
)  # fmt: skip
def test_p12_what_cannot_be_done_ends_with_2_and_says_why(folder, command) -> None:
    """A witness that is not there passed for one that had nothing to say."""
    code, text = run(folder, command)
    assert (code, bool(text.strip())) == (2, True)
    assert not (folder / "bundle").exists()
    assert not (folder / "nowhere").exists()


def test_p4_a_lake_without_a_ledger_says_so(folder, store) -> None:
    """Of a lake whose every entry was deleted nothing was said, and all was well."""
    for table in TABLES:
        store.run(f"DELETE FROM {table}")
    lake = origin(store, "").rstrip("/")
    assert run(folder, "verify LAKE") == (0, f"EMPTY {lake}: there is no ledger\n")
    code, text = run(folder, "verify LAKE --witness WITNESS")
    assert (code, text.count("checkpoints were signed, and every entry is gone")) == (1, 3)


def test_p4_a_tenants_ledger_that_is_gone_is_missed_by_the_witness(folder, store) -> None:
    """Only the ledgers that were still there were compared with the witness."""
    for table in TABLES:
        store.run(f"DELETE FROM {table} WHERE _tenant = 'ann'")
    assert run(folder, "verify LAKE")[0] == 0
    code, text = run(folder, "verify LAKE --witness WITNESS")
    assert (code, text.count("VERIFIED")) == (1, 2)
    assert f"CORRUPT {origin(store, 'ann')}: checkpoints were signed" in text


def test_p4_a_ledger_put_back_to_a_checkpoint_is_found_by_the_witness(folder, store) -> None:
    with connect(folder / "lake", witness=folder / "witness") as session:
        log(session, 2, first=2)
    assert run(folder, "verify LAKE --witness WITNESS")[0] == 0
    store.roll_back(3)
    assert run(folder, "verify LAKE")[0] == 0
    code, text = run(folder, "verify LAKE --witness WITNESS")
    assert (code, text.count("VERIFIED")) == (1, 2)
    assert f"CORRUPT {store.origin}: entry 3: the witness's checkpoint at size 5" in text


def test_p4_a_witness_of_another_lake_confirms_nothing(folder, store) -> None:
    """A lake that was given another identity has no note in its witness, and none was missed."""
    with connect(folder / "lake", tenant="new") as session:
        log(session, 1)
    code, text = run(folder, "verify LAKE --witness WITNESS")
    assert (code, text.count("the witness has no checkpoint of it")) == (0, 1)
    witness = folder / "witness"
    witness.write_text(witness.read_text().replace(store.origin.split("/")[1], "0" * 32))
    code, text = run(folder, "verify LAKE --witness WITNESS")
    assert (code, "CORRUPT: the witness has no checkpoint of this lake" in text) == (1, True)
    assert text.count("the witness has no checkpoint of it") == 4


def test_p4_a_changed_note_of_a_witness_is_found(folder, store) -> None:
    witness = folder / "witness"
    text = witness.read_text()
    newest = text.rindex(f"{store.origin}\n3\n") + len(f"{store.origin}\n3\n")
    witness.write_text(text[:newest] + ("B" if text[newest] != "B" else "C") + text[newest + 1 :])
    code, said = run(folder, "verify LAKE --witness WITNESS")
    assert (code, "the witness's checkpoint: its signature is wrong" in said) == (1, True)


def test_p5_a_public_key_pins_its_ledger(folder, store) -> None:
    code, mine = run(folder, "key LAKE")
    _, anns = run(folder, "key LAKE --tenant ann")
    assert (code, len(mine.splitlines())) == (0, 1)
    for key in (mine, anns, run(folder, "key LAKE --tenant -")[1]):
        assert run(folder, f"verify LAKE --public-key {key}")[0] == 0
    theirs = store.rewrite(evil_key())
    code, text = run(folder, "verify LAKE")
    assert (code, f"key: {theirs}" in text, mine in text) == (0, True, False)
    code, text = run(folder, f"verify LAKE --public-key {mine}")
    assert (code, text.count("VERIFIED")) == (1, 2)
    assert f"CORRUPT {store.origin}: its keys are not of the trusted key" in text
    assert run(folder, f"verify LAKE --public-key {anns}")[0] == 0
    for table in TABLES:
        store.run(f"DELETE FROM {table} WHERE _tenant = 'ann'")
    code, text = run(folder, f"verify LAKE --public-key {anns}")
    assert (code, "CORRUPT: no ledger of this lake is called" in text) == (1, True)


def test_p5_the_keys_of_a_rotated_ledger_are_printed_oldest_first(folder) -> None:
    with connect(folder / "lake") as session:
        old = session.ledger.public_key
        new = session.ledger.rotate_key()
    assert run(folder, "key LAKE") == (0, f"{old}\n{new}\n")
    for key in (old, new):
        assert run(folder, f"verify LAKE --public-key {key}")[0] == 0


def test_p5_a_forgers_key_is_not_printed(folder, store) -> None:
    """The newest key was whatever the last entry of that kind named."""
    copy_entry(store, 0, 3, "key-1")
    body = body_with(store.entry(0)[0], seq=3)
    store.forge(3, body, evil_key().sign(body))
    code, text = run(folder, "key LAKE")
    assert (code, "entry 3: " in text, "affidavit/" in text) == (2, True, False)


def test_p5_a_bundle_verifies_until_it_is_changed(folder) -> None:
    key = run(folder, "key LAKE")[1].strip()
    anns = run(folder, "key LAKE --tenant ann")[1].strip()
    code, text = run(folder, "export LAKE BUNDLE --from-seq 1 --to-seq 2")
    assert (code, text.strip()) == (0, str(folder / "bundle"))
    code, text = run(folder, "verify --bundle BUNDLE")
    assert (code, "VERIFIED: 2 entries" in text, key in text) == (0, True, True)
    assert run(folder, f"verify --bundle BUNDLE --public-key {key}")[0] == 0
    for wrong in (anns, "x"):
        code, text = run(folder, f"verify --bundle BUNDLE --public-key {wrong}")
        assert (code, text.startswith("NOT VERIFIED: ")) == (1, True)
    entries = folder / "bundle" / "entries.jsonl"
    entries.write_text(entries.read_text().replace("owner", "nobody", 1))
    code, text = run(folder, "verify --bundle BUNDLE")
    assert (code, text.startswith("NOT VERIFIED: entry 1: ")) == (1, True)
    assert run(folder, "verify --bundle NOWHERE")[0] == 1


def test_p5_nothing_is_exported_of_a_ledger_that_was_tampered_with(folder, store) -> None:
    store.run("UPDATE ledger SET body = 'text' WHERE seq = 2 AND _tenant = 'default'")
    code, text = run(folder, "export LAKE BUNDLE")
    assert (code, "entry 2: " in text, (folder / "bundle").exists()) == (2, True, False)


# --- what nothing should trip over ----------------------------------------------------------------


@pytest.mark.parametrize(
    "tenant",
    ["x' OR '1'='1", "') UNION SELECT 1 --", "a/b", "_shared", "x\nVERIFIED y", "\x1b[2J", 1.5,
     b"default", b"\xff"],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("table", TABLES)
def test_p9_rows_of_what_is_no_tenant_are_found(folder, store, table, tenant) -> None:
    """The name of a tenant that stood in the store went into SQL as it was."""
    if table == "ledger_nodes":
        store.run("INSERT INTO ledger_nodes (_tenant, level, position, hash) VALUES (?, 8, 0, ?)",
                  tenant, bytes(32))  # fmt: skip
    else:
        store.set(table, store.run(f"SELECT max(_rowid) FROM {table}")[0][0], _tenant=tenant)
    code, text = run(folder, "verify LAKE")
    assert (code, "which is no tenant" in text) == (1, True)


def test_p9_every_row_of_a_tenant_given_to_another_is_found(folder, store) -> None:
    for table in TABLES:
        store.run(f"UPDATE {table} SET _tenant = 'bob' WHERE _tenant = 'ann'")
    code, text = run(folder, "verify LAKE")
    assert (code, text.count("VERIFIED")) == (1, 2)
    assert f"CORRUPT {origin(store, 'bob')}: entry 0: " in text


@pytest.mark.parametrize("lake_id", [None, 7, "x", "x\nVERIFIED y"])
def test_p4_a_lake_of_no_identity_is_corrupt(folder, store, lake_id) -> None:
    store.run("UPDATE lake SET lake_id = ?", lake_id)
    code, text = run(folder, "verify LAKE")
    assert (code, text.startswith("CORRUPT: the lake's identity")) == (1, True)
    assert run(folder, "key LAKE")[0] == 2
    assert run(folder, "export LAKE BUNDLE")[0] == 2


@pytest.mark.parametrize("table", [*TABLES, "lake"])
@pytest.mark.parametrize("harm", ["DROP TABLE {}", "ALTER TABLE {} RENAME TO gone",
                                  "CREATE VIEW v AS SELECT 1"])  # fmt: skip
def test_p4_a_table_that_is_gone_is_no_crash(folder, store, table, harm) -> None:
    store.run(harm.format(table))
    code, text = run(folder, "verify LAKE")
    if "VIEW" in harm:
        assert (code, "the view v does not belong there" in text) == (1, True)
    else:
        assert code in {1, 2}
        assert re.search(r"no such table|CORRUPT", text)


@pytest.mark.sqlite("its file is damaged")
def test_p4_a_file_that_is_damaged_or_no_lake_is_no_crash(folder) -> None:
    path = folder / "lake" / "catalog.db"
    whole = path.read_bytes()
    for damaged in (b"", b"x" * 5000, whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        code, text = run(folder, "verify LAKE")
        assert (code in {1, 2}, bool(text.strip())) == (True, True)
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    assert run(folder, "verify LAKE")[0] == 2
