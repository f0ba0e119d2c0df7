"""P4, P9: records taken away, put in, moved and cut off; checkpoints; another lake's entries."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.support.forging import (
    attack,
    connect,
    copy_entry,
    evil_key,
    image,
    log,
    make_lake,
    record,
    refusal,
    sizes,
    verdict,
)

from affidavit.catalog.ledger.head import sign_note
from affidavit.catalog.ledger.keys import FileKeyStore, KeyRing
from affidavit.catalog.ledger.verifier import Checkpoint, PublicKey
from affidavit.errors import LedgerCorruptError, MasterKeyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.forging import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("made") / "lake")


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "lake")


@pytest.fixture
def store(lake: Path) -> Iterator[Store]:
    with attack(lake) as opened:
        yield opened


def test_p4_what_nobody_touched_opens_and_verifies(lake, store) -> None:
    assert sizes(store) == [2, 4, 8]
    assert (store.size, verdict(lake).ok) == (8, True)


# --- taken away, put in, moved --------------------------------------------------------------------


@pytest.mark.parametrize("seq", range(8))
def test_p4_a_deleted_record_is_missed_and_named(store, seq) -> None:
    store.run("DELETE FROM ledger WHERE seq = ?", seq)
    assert (store.verify().seq, store.verify().problem) == (seq, "it is missing")
    store.run("DELETE FROM search_results WHERE seq = ?", seq)
    assert (store.verify().seq, store.verify().problem) == (seq, "it is missing")


@pytest.mark.parametrize("seq", range(8))
def test_p4_a_deleted_record_is_missed_although_later_ones_moved_up(store, seq) -> None:
    for table in ("ledger", "search_results"):
        store.run(f"DELETE FROM {table} WHERE seq = ?", seq)
        for later in range(seq + 1, 8):
            store.run(f"UPDATE {table} SET seq = seq - 1 WHERE seq = ?", later)
    first = store.verify()
    assert (first.ok, first.seq) == (False, seq)
    store.rehash()
    assert not store.verify()
    assert not store.verify(signatures=False)


@pytest.mark.parametrize(("as_seq", "seq"), [(8, 8), (12, 12), (-1, None), (None, None),
                                             ("8", None), (2.5, None), (b"\x08", None)])  # fmt: skip
def test_p4_an_inserted_record_is_found_whatever_its_number(store, as_seq, seq) -> None:
    copy_entry(store, 3, as_seq, "new")
    found = store.verify()
    assert (found.ok, found.seq) == (False, seq)
    assert "inserted" in str(found)


@pytest.mark.parametrize("seq", range(8))
def test_p4_a_record_that_stands_twice_is_found_and_named(store, seq) -> None:
    """The copy of the last record was found, and not said to be one."""
    store.run("DROP INDEX ledger_seq")
    store.run("DROP INDEX ledger_entry")
    store.run("INSERT INTO ledger SELECT NULL, _tenant, seq, kind, entry_id, created_at, leaf_hash,"
              " body, signature, opened FROM ledger WHERE seq = ?", seq)  # fmt: skip
    found = store.verify()
    assert (found.seq, found.problem) == (seq, "it stands twice")


@pytest.mark.parametrize("rehashed", [False, True])
@pytest.mark.parametrize(("one", "other"), [(1, 2), (3, 7), (0, 1)])
def test_p4_two_records_that_changed_places_are_found(store, one, other, rehashed) -> None:
    rows = store.run("SELECT _rowid, seq FROM ledger WHERE seq IN (?, ?) ORDER BY seq", one, other)
    places = [seq for _, seq in rows]
    for (rowid, _), seq in zip(rows, [-1, -2], strict=True):
        store.set("ledger", rowid, seq=seq)
    for (rowid, _), seq in zip(rows, reversed(places), strict=True):
        store.set("ledger", rowid, seq=seq)
    if rehashed:
        store.rehash()
    found = store.verify()
    assert (found.ok, found.seq) == (False, one)


def test_p4_the_whole_ledger_shifted_in_the_index_of_results_is_found(store) -> None:
    store.run("UPDATE search_results SET seq = 7 - seq")
    assert store.verify().seq == 1


@pytest.mark.parametrize("where", ["seq = 3", "seq = 7 AND row_id = 'row-x'", "1"])
def test_p4_rows_taken_out_of_the_index_of_results_are_missed(store, where) -> None:
    first = store.one(f"SELECT min(seq) FROM search_results WHERE {where}")
    store.run(f"DELETE FROM search_results WHERE {where}")
    assert store.verify().seq == first


def test_p4_a_row_put_in_the_index_of_results_is_found(store) -> None:
    for seq in (3, 7):
        with store.undone():
            store.run("INSERT INTO search_results (_tenant, row_id, seq) VALUES (?, 'row-z', ?)",
                      store.tenant, seq)  # fmt: skip
            assert "no record returned" in str(store.verify())


# --- cut off --------------------------------------------------------------------------------------


def test_p4_a_tail_that_is_cut_off_is_missed(store) -> None:
    store.run("DELETE FROM ledger WHERE seq >= 5")
    store.run("DELETE FROM search_results WHERE seq >= 5")
    assert (store.verify().seq, store.verify().problem) == (5, "it is missing")
    assert store.rehash().size == 5  # the head is changed too, and its signature cannot be
    for found in (store.verify(), store.verify(signatures=False)):
        assert (found.seq, "checkpoint at size 8 was signed" in str(found)) == (5, True)


def test_p4_a_tail_that_is_cut_off_with_its_checkpoints_is_missed(lake, store) -> None:
    store.run("DELETE FROM checkpoints WHERE size > 4")
    store.rehash(up_to=5)
    assert "signature is wrong" in str(store.verify(signatures=False))
    assert "the ledger's head" in refusal(lake)
    note, at_us = store.run("SELECT note, created_at FROM checkpoints WHERE size = 4")[0]
    store.run("UPDATE ledger_heads SET note = ?, checkpoint_size = 4, checkpoint_at = ?",
              note, at_us)  # fmt: skip
    assert (store.verify().seq, "does not cover it" in str(store.verify())) == (4, True)
    assert "its note states another size" in refusal(lake)


def test_p4_a_tail_that_no_checkpoint_covers_is_missed_all_the_same(lake, tmp_path) -> None:
    """A session that was killed keeps no last checkpoint; the head is signed with every commit."""
    with connect(lake, checkpoint_interval_s=1e9) as session:
        log(session, 3, first=8)
        killed = image(lake, "killed")
    with attack(killed) as store:
        assert (sizes(store), store.size, store.verify().ok) == ([2, 4, 8], 11, True)
        store.run("DELETE FROM ledger WHERE seq >= 9")
        store.run("DELETE FROM search_results WHERE seq >= 9")
        assert (store.verify().seq, store.verify().problem) == (9, "it is missing")
        store.rehash()
        assert "signature is wrong" in str(store.verify())
    refusal(killed)


def test_p4_all_entries_deleted_are_missed(store) -> None:
    store.run("DELETE FROM ledger")
    assert (store.verify().seq, store.verify().problem) == (0, "it is missing")
    store.run("DELETE FROM search_results")
    assert store.verify().seq == 0
    store.run("DELETE FROM ledger_heads")
    assert (store.verify().ok, store.verify().seq) == (False, 0)
    assert "checkpoints were signed" in str(store.verify())


@pytest.mark.parametrize("left", ["ledger_nodes", "search_results"])
def test_p4_what_is_left_of_a_ledger_tells_that_it_is_gone(store, left) -> None:
    """Nothing but entries and checkpoints was looked for where a head is missing."""
    store.run("INSERT INTO ledger_nodes (_tenant, level, position, hash) VALUES ('default',8,0,?)",
              bytes(32))  # fmt: skip
    for table in {"ledger", "ledger_heads", "checkpoints", "ledger_nodes", "search_results"} - {
        left
    }:
        store.run(f"DELETE FROM {table}")
    assert store.verify().seq == 0


def test_p4_a_deleted_head_is_missed_and_nothing_is_appended_without_it(lake, store) -> None:
    with connect(lake) as session:
        store.run("DELETE FROM ledger_heads")
        assert "its signed head is missing" in str(session.ledger.verify())
        with pytest.raises(LedgerCorruptError, match="head is missing"):
            log(session, 1)
        store.run("DELETE FROM ledger")
        with pytest.raises(LedgerCorruptError, match="head is missing"):
            log(session, 1)
    assert store.size == 0


def test_p4_a_second_head_is_found(store) -> None:
    store.run("DROP INDEX ledger_heads_one")
    store.run("INSERT INTO ledger_heads SELECT NULL, _tenant, size, peaks, note, key_id, generation,"
              " checkpoint_size, checkpoint_at, log_rows, log_digest, log_first, data, logged_at"
              " FROM ledger_heads")  # fmt: skip
    assert "more than one" in str(store.verify())


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("head_says", ["what it said", "that there is none", "the one before"])
def test_p4_deleted_checkpoints_are_missed(lake, store, head_says) -> None:
    """With no checkpoint left, and a head that was made to name none, all was said to be right."""
    if head_says == "the one before":
        store.run("DELETE FROM checkpoints WHERE size = 8")
    else:
        store.run("DELETE FROM checkpoints")
    if head_says == "that there is none":
        store.run("UPDATE ledger_heads SET checkpoint_size = 0, checkpoint_at = 0")
    found = store.verify()
    assert (found.ok, found.seq) == (False, None)
    assert "checkpoint" in str(found)
    assert "checkpoint" in refusal(lake)


def test_p4_a_checkpoint_kept_twice_is_found(store) -> None:
    store.run("DROP INDEX checkpoints_size")
    store.run("INSERT INTO checkpoints SELECT NULL, _tenant, size, root, key_id, note, created_at"
              " FROM checkpoints WHERE size = 8")  # fmt: skip
    assert "checkpoint" in str(store.verify())


def test_p4_a_checkpoint_signed_with_another_key_is_found(store) -> None:
    key = evil_key()
    public = PublicKey(store.origin, key.public_key().public_bytes_raw())
    forged = Checkpoint(store.origin, 4, bytes(32), kept=True)
    note = sign_note(forged.text, public, key.sign)
    store.run("UPDATE checkpoints SET note = ?, root = ?, key_id = ? WHERE size = 4",
              note, bytes(32), public.key_id)  # fmt: skip
    assert "size 4: it is signed by no key of this ledger" in str(store.verify())
    claimed = note.replace(
        note.split()[-1], str(store.one("SELECT note FROM checkpoints")).split()[-1]
    )
    store.run("UPDATE checkpoints SET note = ? WHERE size = 4", claimed)
    assert "size 4: its signature is wrong" in str(store.verify())


def test_p4_a_checkpoint_put_in_the_place_of_another_is_found(store) -> None:
    store.run("UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 2),"
              " root = (SELECT root FROM checkpoints WHERE size = 2) WHERE size = 4")  # fmt: skip
    assert "size 4: its columns are not what was signed" in str(store.verify())


def test_p4_an_old_checkpoint_in_place_of_the_head_leaves_entries_that_it_does_not_cover(
    lake, store
) -> None:
    ((root, at_us),) = store.run("SELECT root, created_at FROM checkpoints WHERE size = 4")
    signer = KeyRing(FileKeyStore(lake / "keys")).signer(store.origin, 0)
    text = Checkpoint(store.origin, 4, root).text
    note = sign_note(text, signer.public_key, signer.sign)
    store.run("UPDATE ledger_heads SET size = 4, peaks = ?, note = ?, checkpoint_size = 4,"
              " checkpoint_at = ?", root, note, at_us)  # fmt: skip
    found = store.verify()
    assert (found.seq, found.problem) == (4, "it was inserted: the signed head does not cover it")
    assert "checkpoint" in refusal(lake)
    store.run("DELETE FROM checkpoints WHERE size > 4")
    with connect(lake) as session, pytest.raises(LedgerCorruptError, match="no head covers"):
        log(session, 1)
    assert store.verify().seq == 4


# --- somebody else's ------------------------------------------------------------------------------


def test_p4_entries_of_another_lake_are_found_and_named(lake, store, tmp_path) -> None:
    with connect(tmp_path / "other") as session:
        log(session, 7, first=100)
    with attack(tmp_path / "other") as other:
        body, signature = other.entry(5)
        key_body, key_signature = other.entry(0)
    with store.undone():
        store.forge(5, body, signature)
        assert store.verify().seq == 5
        store.forge(0, key_body, key_signature)
        assert store.verify().seq == 0


def test_p4_the_whole_ledger_of_another_lake_is_not_this_lakes(lake, store, tmp_path) -> None:
    with connect(tmp_path / "other") as session:
        log(session, 7, first=100)
    tables = ("ledger", "ledger_heads", "ledger_nodes", "checkpoints", "search_results")
    store.run("ATTACH ? AS other", str(tmp_path / "other" / "catalog.db"))
    for table in tables:
        store.run(f"DELETE FROM {table}")
        store.run(f"INSERT INTO {table} SELECT * FROM other.{table}")
    assert store.verify().seq == 0
    assert "note states another" in refusal(lake)
    store.run("UPDATE lake SET lake_id = (SELECT lake_id FROM other.lake)")
    with pytest.raises(MasterKeyError, match="bring the master key"):
        connect(lake)


@pytest.mark.parametrize("lake_id", [None, 7, b"x", "", "x" * 32, "a" * 31, "x\nVERIFIED y"])
def test_p4_another_lake_id_is_refused(lake, store, lake_id) -> None:
    """What stood there went into every message as it was, new lines and all."""
    store.run("UPDATE lake SET lake_id = ?", lake_id)
    assert "identity" in refusal(lake)
    store.run("UPDATE lake SET lake_id = ?", "a" * 32)
    assert "note states another" in refusal(lake)
    store.run("DELETE FROM lake")
    assert "identity" in refusal(lake)


def test_p4_a_record_of_the_lakes_twin_is_found_although_its_signature_is_right(
    lake, tmp_path
) -> None:
    """Copied and written on, a lake has twice as many rightly signed records of the same numbers."""
    twin = image(lake, "twin")
    for path, first in ((lake, 20), (twin, 30)):
        with connect(path) as session:
            log(session, 1, first=first)
            session.ledger.checkpoint()
            log(session, 2, first=first + 1)
    with attack(twin) as other:
        columns = "kind, entry_id, created_at, opened, body"
        row = other.run(f"SELECT {columns} FROM ledger WHERE seq = 9")[0]
        signature = other.entry(9)[1]
        index = other.run("SELECT row_id FROM search_results WHERE seq = 9 ORDER BY 1")
    with attack(lake) as store:
        *told, body = row
        assert sizes(store) == [2, 4, 8, 9, 11]
        store.forge(9, body, signature)
        told = dict(zip(columns.split(", "), told, strict=False))
        store.set("ledger", store.rowid(9), **told)
        rows = store.run("SELECT _rowid FROM search_results WHERE seq = 9 ORDER BY row_id")
        for (rowid,), (row_id,) in zip(rows, index, strict=True):
            store.set("search_results", rowid, row_id=row_id)
        found = store.verify()
        assert (found.seq, found.problem) == (
            9, "one of the entries 9 to 10 is not what the checkpoint at size 11 was signed for",
        )  # fmt: skip


@pytest.fixture
def shared_lake(tmp_path: Path) -> Path:
    """A lake of two tenants and the shared scope, three records each."""
    lake = tmp_path / "shared"
    for tenant in ("ann", "bob", None):
        with connect(lake, tenant=tenant) as session:
            log(session, 3)
    return lake


@pytest.mark.parametrize(("victim", "thief"), [("ann", "bob"), ("ann", ""), ("", "bob")])
def test_p9_a_record_moved_to_another_tenant_is_missed_there_and_found_here(
    shared_lake, victim, thief
) -> None:
    with attack(shared_lake, victim) as mine, attack(shared_lake, thief) as theirs:
        mine.set("ledger", mine.rowid(2), _tenant=thief, seq=4)
        assert (mine.verify().seq, mine.verify().problem) == (2, "it is missing")
        assert (theirs.verify().seq, "does not cover it" in str(theirs.verify())) == (4, True)
        theirs.rehash()
        assert theirs.verify().seq == 4
    untouched = ({"ann", "bob", ""} - {victim, thief}).pop()
    with attack(shared_lake, untouched) as other:
        assert other.verify()


def test_p9_a_ledger_passed_off_as_another_tenants_is_found(shared_lake) -> None:
    lake = shared_lake
    tables = ("ledger", "ledger_heads", "ledger_nodes", "checkpoints", "search_results")
    with attack(lake, "bob") as store:
        for table in tables:
            store.run(f"DELETE FROM {table} WHERE _tenant = 'bob'")
            store.run(f"UPDATE {table} SET _tenant = 'bob' WHERE _tenant = 'ann'")
        assert store.verify().seq == 0
    with pytest.raises(LedgerCorruptError, match="another"):
        connect(lake, tenant="bob")
    with connect(lake, tenant=None) as session:
        assert session.ledger.verify()
        with pytest.raises(LedgerCorruptError), session.scope(tenant="bob") as bob:
            bob.audit.log([record(1)])
