"""Key stores, the keys derived from them, and going from one key to the next."""

from __future__ import annotations

import base64
import hmac
import json
import os
import stat
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.lakes import events, vectors
from tests.support.processes import Child, run_python

import affidavit
from affidavit import EnvKeyStore, FileKeyStore, errors

Q8 = [1.0] * 8
VARIABLE = "AFFIDAVIT_MASTER_KEY"
MASTER = "0123456789abcdef" * 4
posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def filled(lake: Path, **options: object) -> affidavit.SearchRecord:
    """Make a lake with one record."""
    with affidavit.connect(lake, durability="normal", **options) as session:
        session.create_vector_table("docs", vectors(20))
        return session.search("docs", Q8, k=3).audit


def opened(lake: Path, **options: object) -> None:
    affidavit.connect(lake, durability="normal", **options).close()


class Kms:
    """A key-management service: derives without giving its master key away."""

    def __init__(self, master: bytes = b"m" * 32) -> None:
        self._master = master
        self.asked: list[tuple[bytes, bytes]] = []

    def derive(self, salt: bytes, info: bytes) -> bytes:
        self.asked.append((salt, info))
        return hmac.digest(self._master, salt + b"\x00" + info, "sha256")


# --- where the master key is ---------------------------------------------------------------------


@posix
def test_a_lake_makes_a_key_file_that_its_owner_alone_reads(lake) -> None:
    record = filled(lake)
    folder, file = lake / "keys", lake / "keys" / "master.key"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in folder.iterdir()] == ["master.key"]
    text = file.read_text()
    assert len(bytes.fromhex(text.strip())) == 32
    with affidavit.connect(lake, durability="normal") as session:
        assert session.audit.verify(record)
    assert file.read_text() == text, "it is made once"
    for path in lake.rglob("*"):
        if path.is_file() and path != file:
            held = path.read_bytes()
            assert text.strip().encode() not in held
            assert bytes.fromhex(text.strip()) not in held


def test_no_lake_has_anothers_key(tmp_path) -> None:
    keys = set()
    for name in ("a", "b"):
        filled(tmp_path / name)
        keys.add((tmp_path / name / "keys" / "master.key").read_text())
    assert len(keys) == 2


@posix
def test_a_key_file_may_be_elsewhere(lake, tmp_path) -> None:
    store = FileKeyStore(tmp_path / "safe" / "deep")
    record = filled(lake, key_store=store)
    assert store.path == tmp_path / "safe" / "deep" / "master.key"
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert not (lake / "keys").exists()
    with affidavit.connect(lake, key_store=FileKeyStore(str(store.folder))) as session:
        assert session.audit.verify(record)
    with pytest.raises(errors.MasterKeyError, match="no master key at"):
        opened(lake)


def test_a_master_key_in_the_environment_is_taken_before_a_file(lake, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, f" {MASTER}\n")
    record = filled(lake)
    assert not (lake / "keys").exists()
    monkeypatch.setenv("OTHER_NAME", MASTER.upper())
    monkeypatch.delenv(VARIABLE)
    with affidavit.connect(lake, key_store=EnvKeyStore("OTHER_NAME")) as session:
        assert session.audit.verify(record)
        assert session.search("docs", Q8).num_rows == 10


def test_a_key_is_derived_as_is_written_down(lake, monkeypatch) -> None:
    """HKDF-SHA256 (RFC 5869) by hand: the origin is the salt, the generation is in the info."""
    monkeypatch.setenv(VARIABLE, MASTER)
    record = filled(lake)
    with affidavit.connect(lake, durability="normal") as session:
        origin = session.ledger.origin
        for generation, key in enumerate([session.ledger.public_key, session.ledger.rotate_key()]):
            extracted = hmac.digest(origin.encode(), bytes.fromhex(MASTER), "sha256")
            info = f"affidavit ed25519 {generation}".encode()
            seed = hmac.digest(extracted, info + b"\x01", "sha256")
            raw = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
            assert key.endswith("+" + base64.b64encode(b"\x01" + raw).decode())
        assert session.audit.verify(record)


def test_every_ledger_and_generation_has_a_key_of_its_own(lake) -> None:
    kms, keys = Kms(), []
    with affidavit.connect(lake, key_store=kms, durability="normal") as session:
        with session.scope(tenant=None) as shared:
            shared.create_vector_table("docs", vectors(20))
        for tenant in ("default", "red", None):
            with session.scope(tenant=tenant) as scoped:
                scoped.search("docs", Q8)
                keys += [scoped.ledger.public_key, scoped.ledger.rotate_key()]
    assert len(set(keys)) == 6
    derived = [pair for pair in kms.asked if pair[0] != b"probe"]
    assert len(set(derived)) == 6
    assert len(derived) == 6, "once each: a service may be slow, or bill"


def test_a_key_store_of_ones_own_is_all_that_a_lake_needs(lake) -> None:
    record = filled(lake, key_store=Kms())
    assert not (lake / "keys").exists()
    with affidavit.connect(lake, key_store=Kms(), durability="normal") as session:
        assert session.audit.verify(record)
        assert session.search("docs", Q8).audit.key_id == record.key_id
        assert session.ledger.verify()
    with pytest.raises(errors.MasterKeyError, match="signed with"):
        opened(lake, key_store=Kms(b"x" * 32))


# --- what is refused, and that it tells nothing --------------------------------------------------

SECRET = "5ec7e7" * 10
BAD_TEXTS = {
    "empty": "", "short": SECRET, "long": SECRET * 2, "one wrong": SECRET + "00g0",
    "not hex": "x" * 64, "spaces": " ".join(["5ec7e7ab"] * 7) + " 5", "full width": "５" * 64,
}  # fmt: skip


def told(error: BaseException) -> str:
    """Return everything that an error shows, its causes included."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))


@pytest.mark.parametrize("name", BAD_TEXTS)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_p12_a_malformed_master_key_is_refused_and_not_shown(
    lake, monkeypatch, where, name
) -> None:
    text = BAD_TEXTS[name]
    if where == "environment":
        monkeypatch.setenv(VARIABLE, text)
    else:
        FileKeyStore(lake / "keys").create()
        (lake / "keys" / "master.key").write_text(text)
    with pytest.raises(errors.MasterKeyError) as raised:
        opened(lake)
    shown = str(raised.value)
    assert (VARIABLE if where == "environment" else "master.key") in shown
    assert not text or text[:6] not in told(raised.value)
    if where == "environment":
        assert not lake.exists(), "nothing is made with a key that is none"


@posix
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666, 0o700 | 0o010])
def test_p12_a_key_file_that_others_can_read_is_refused(lake, mode: int) -> None:
    filled(lake)
    (lake / "keys" / "master.key").chmod(mode)
    with pytest.raises(errors.MasterKeyError, match=r"others can read .*master\.key.*chmod 600"):
        opened(lake)
    (lake / "keys" / "master.key").chmod(0o400)
    opened(lake)


def test_p12_a_key_that_is_gone_is_asked_for_and_never_made_anew(lake) -> None:
    record = filled(lake)
    key = lake / "keys" / "master.key"
    kept = key.read_text()
    key.unlink()
    for how in ({}, {"tenant": "red"}, {"tenant": None}):
        with pytest.raises(errors.MasterKeyError, match="no master key at .*put the lake's own"):
            opened(lake, **how)
    assert not key.exists()
    key.parent.rmdir()
    with pytest.raises(errors.MasterKeyError):
        opened(lake)
    assert not key.parent.exists()
    with affidavit.connect(lake, read_only=True) as session:
        assert session.audit.verify(record), "public keys verify"
        assert session.ledger.verify()
    key.parent.mkdir()
    key.write_text(kept)
    key.chmod(0o600)
    opened(lake)


def test_a_lake_whose_ledgers_are_empty_may_lose_its_key(lake) -> None:
    with affidavit.connect(lake, durability="normal", journal=False) as session:
        session.create_table("t", [{"a": 1}])
    (lake / "keys" / "master.key").unlink()
    filled(lake)


def test_a_lake_that_was_only_changed_needs_its_key(lake) -> None:
    """Its events are signed for, as searches are."""
    with affidavit.connect(lake, durability="normal") as session:
        session.create_table("t", [{"a": 1}])
    (lake / "keys" / "master.key").unlink()
    with pytest.raises(errors.MasterKeyError, match="put the lake's own key back"):
        opened(lake)
    with affidavit.connect(lake, read_only=True, durability="normal") as session:
        assert session.table("t").count() == 1
        assert session.ledger.verify()


def test_p12_another_lakes_key_is_refused(tmp_path) -> None:
    for name in ("a", "b"):
        filled(tmp_path / name)
    a, b = (tmp_path / name / "keys" / "master.key" for name in ("a", "b"))
    own = a.read_text()
    a.write_text(b.read_text())
    with pytest.raises(errors.MasterKeyError, match="bring the master key") as raised:
        opened(tmp_path / "a")
    assert b.read_text().strip() not in told(raised.value)
    a.write_text(own)
    opened(tmp_path / "a")


def raising(error: BaseException) -> Callable[[bytes, bytes], bytes]:
    def derive(_salt: bytes, _info: bytes) -> bytes:
        raise error

    return derive


class Store:
    def __init__(self, derive: object) -> None:
        self.derive = derive


@pytest.mark.parametrize(
    ("store", "words"),
    [
        (3, "must have a method derive.*got int"),
        ("env", "got str"),
        (Store(None), "got Store"),
        (Store(lambda salt, info: b"short"), "Store gave no key: ValueError"),
        (Store(lambda salt, info: "x" * 32), "Store gave no key: TypeError"),
        (Store(lambda salt, info: None), "Store gave no key: TypeError"),
        (Store(lambda salt: b"x" * 32), "Store gave no key: TypeError"),
        (Store(raising(ConnectionError("no route"))), "Store gave no key: ConnectionError"),
        (Store(raising(errors.MasterKeyError("sealed"))), "sealed"),
        (EnvKeyStore("NOBODY_SET_THIS"), "NOBODY_SET_THIS is not set"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_p12_a_key_store_that_gives_no_key_is_refused_at_once(lake, store, words) -> None:
    with pytest.raises(errors.MasterKeyError, match=words):
        opened(lake, key_store=store)
    assert not lake.exists()


def test_p12_a_folder_that_cannot_have_a_key_is_named(lake, tmp_path) -> None:
    """It was an OSError of its own."""
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.MasterKeyError, match=r"no master key can be made in .*file/keys"):
        opened(lake, key_store=FileKeyStore(tmp_path / "file" / "keys"))
    (tmp_path / "folder" / "master.key").mkdir(parents=True)
    with pytest.raises(errors.MasterKeyError, match="cannot be read: IsADirectoryError"):
        opened(lake, key_store=FileKeyStore(tmp_path / "folder"))
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "master.key").write_bytes(b"\xff" * 64)
    with pytest.raises(errors.MasterKeyError, match="cannot be read: UnicodeDecodeError"):
        opened(lake, key_store=FileKeyStore(tmp_path / "binary"))


def test_no_key_shows_in_what_is_printed(lake, monkeypatch) -> None:
    from affidavit.catalog.ledger.keys import KeyRing

    monkeypatch.setenv(VARIABLE, MASTER)
    filled(lake)
    with affidavit.connect(lake, durability="normal") as session:
        ring = session._catalog().ledger.signers
        signer = ring.signer(session.ledger.origin, 0)
        things = [
            EnvKeyStore(), FileKeyStore(lake), ring, signer, session, session.ledger, session.audit,
            session._catalog().ledger, KeyRing(EnvKeyStore()),
        ]  # fmt: skip
        seed = EnvKeyStore().derive(session.ledger.origin.encode(), b"affidavit ed25519 0")
        for thing in things:
            for secret in (MASTER, seed.hex(), repr(seed), base64.b64encode(seed).decode()):
                assert secret not in repr(thing) + str(thing)
    assert repr(EnvKeyStore()) == f"EnvKeyStore('{VARIABLE}')"


# --- several at once -----------------------------------------------------------------------------

RACE = """
import sys, affidavit
with affidavit.connect(sys.argv[1], durability="normal") as session:
    print(session.ledger.public_key, flush=True)
    sys.stdin.readline()
    with session.scope(tenant=None) as shared:
        try:
            shared.create_vector_table("docs", [{"id": 1, "vector": [1.0, 2.0]}])
        except affidavit.errors.TableExistsError:
            pass
    for _ in range(20):
        session.search("docs", [1.0, 1.0])
    print(session.ledger.public_key, flush=True)
"""


@pytest.mark.slow
def test_processes_that_open_a_new_lake_at_once_agree_on_its_key(lake) -> None:
    workers = [Child(RACE, lake) for _ in range(3)]
    said = [worker.stdout.readline() for worker in workers]
    said += [line for worker in workers for line in worker.communicate("go\n")[0].splitlines()]
    assert {worker.returncode for worker in workers} == {0}
    assert len({line.strip() for line in said}) == 1
    assert [each.name for each in (lake / "keys").iterdir()] == ["master.key"]
    with affidavit.connect(lake, durability="normal") as session:
        assert len(session.audit.recent(100)) == 60
        assert session.ledger.verify().entries == 61


def test_a_key_file_is_made_whole_or_not_at_all(tmp_path) -> None:
    stores = [FileKeyStore(tmp_path / "keys") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(FileKeyStore.create, stores))
    keys = {store.derive(b"salt", b"info") for store in stores}
    assert len(keys) == 1
    assert [each.name for each in (tmp_path / "keys").iterdir()] == ["master.key"]


# --- from one key to the next --------------------------------------------------------------------


def keys_of(session: affidavit.Session) -> list[dict]:
    rows = session.sql("SELECT body FROM system.ledger WHERE kind = 'key' ORDER BY seq")
    return [json.loads(row["body"]) for row in rows]


def test_old_and_new_records_verify_after_a_rotation(lake) -> None:
    old = filled(lake)
    with affidavit.connect(lake, durability="normal") as session:
        first = session.ledger.public_key
        second = session.ledger.rotate_key()
        assert session.ledger.public_key == second != first
        new = session.search("docs", Q8, k=3).audit
        assert new.key_id != old.key_id
        assert all(map(session.audit.verify, (old, new)))
        assert not session.audit.verify(old.replaced(key_id=new.key_id))
        assert not session.audit.verify(new.replaced(signature=old.signature))
        third = session.ledger.rotate_key()
        assert [each["public_key"] for each in keys_of(session)] == [first, second, third]
        assert [each["generation"] for each in keys_of(session)] == [0, 1, 2]
        checked = session.ledger.verify()
        assert (checked.ok, checked.key, checked.entries) == (True, third, 5 + events(session))
    with affidavit.connect(lake, durability="normal") as session:
        assert session.ledger.public_key == third
        assert all(map(session.audit.verify, (old, new)))
        assert str(session.audit.replay(old.query_id, Q8).outcome) == "REPRODUCED"
        assert session.search("docs", Q8).audit.key_id not in {old.key_id, new.key_id}
        for key in (first, second, third):
            assert session.ledger.verify(public_key=key)


def test_a_ledger_without_entries_begins_with_a_rotation(session) -> None:
    key = session.ledger.rotate_key()
    assert session.ledger.size == 2
    assert session.ledger.verify().key == key


def test_p9_a_rotation_is_one_tenants(session, docs) -> None:
    with session.scope(tenant="red") as red:
        red.create_vector_table("docs", vectors(5))
        before = red.search("docs", Q8).audit.key_id
    session.ledger.rotate_key()
    with session.scope(tenant="red") as red:
        assert red.search("docs", Q8).audit.key_id == before
        assert len(keys_of(red)) == 1


def test_sessions_that_had_the_old_key_go_on_with_the_new_one(lake) -> None:
    filled(lake)
    with (
        affidavit.connect(lake, durability="normal") as one,
        affidavit.connect(lake, durability="normal") as other,
        affidavit.connect(lake, read_only=True, durability="normal") as reader,
    ):
        sessions = [one, other, reader]
        for each in sessions:
            each.search("docs", Q8)
        key = one.ledger.rotate_key()
        records = [each.search("docs", Q8).audit for each in sessions]
        assert len({each.key_id for each in records}) == 1
        for each in sessions:
            assert each.ledger.public_key == key
            assert all(map(each.audit.verify, records))
            assert each.ledger.verify()
        other.ledger.rotate_key()
        assert one.audit.verify(one.search("docs", Q8).audit)
        assert len(keys_of(one)) == 3
        assert one.ledger.verify()


ROTATING = """
import sys, affidavit
with affidavit.connect(sys.argv[1], durability="normal") as session:
    for turn in range(15):
        if turn % 5 == 2:
            session.ledger.rotate_key()
        record = session.search("docs", [1.0] * 8).audit
        assert session.audit.verify(record)
"""


@pytest.mark.slow
def test_processes_rotate_and_search_at_once(lake) -> None:
    filled(lake)
    workers = [Child(ROTATING, lake) for _ in range(2)]
    told = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], told
    with affidavit.connect(lake, durability="normal") as session:
        assert len(keys_of(session)) == 7
        assert len(session.audit.recent(100)) == 31
        assert all(map(session.audit.verify, session.audit.recent(100)))
        assert session.ledger.verify().entries == 38 + events(session)


def test_a_search_in_an_open_transaction_is_signed_with_the_key_of_its_time(session, docs) -> None:
    old = session.search("docs", Q8).audit.key_id
    with session.transaction():
        inside = session.search("docs", Q8).audit
        with pytest.raises(errors.TransactionError, match="cannot be rotated in a transaction"):
            session.ledger.rotate_key()
    assert inside.key_id == old
    session.ledger.rotate_key()
    with pytest.raises(ZeroDivisionError), session.transaction():
        inside = session.search("docs", Q8).audit
        raise ZeroDivisionError
    kept = session.audit.get(inside.query_id)
    assert kept.key_id == inside.key_id != old
    assert session.ledger.verify()


def test_another_master_key_takes_over(lake, tmp_path) -> None:
    old = filled(lake)
    new_store = FileKeyStore(tmp_path / "new")
    new_store.create()
    with (
        affidavit.connect(lake, durability="normal") as session,
        affidavit.connect(lake, durability="normal") as other,
    ):
        key = session.ledger.rotate_key(new_store)
        new = session.search("docs", Q8).audit
        assert all(map(session.audit.verify, (old, new)))
        assert session.ledger.verify().key == key
        assert session.ledger.rotate_key() != key, "and goes on with the new one"
        size = session.ledger.size
        with pytest.raises(errors.MasterKeyError, match="bring the master key"):
            other.search("docs", Q8)
        with pytest.raises(errors.MasterKeyError):
            other.ledger.rotate_key()
        assert other.ledger.size == size
    for wrong in ({}, {"key_store": Kms()}):
        with pytest.raises(errors.MasterKeyError, match="bring the master key"):
            opened(lake, **wrong)
    with affidavit.connect(lake, key_store=new_store, durability="normal") as session:
        assert all(map(session.audit.verify, (old, new)))
        assert session.search("docs", Q8).num_rows == 10
        assert session.ledger.verify()
        assert session.ledger.rotate_key(Kms()) != key
    with affidavit.connect(lake, key_store=Kms(), durability="normal") as session:
        assert session.ledger.verify()
        assert len(keys_of(session)) == 4


@pytest.mark.parametrize(
    "store", [EnvKeyStore("NOBODY_SET_THIS"), FileKeyStore("/nowhere/at/all"), 3,
              Store(lambda salt, info: b"short")], ids=["env", "file", "int", "short"]
)  # fmt: skip
def test_p12_a_rotation_to_no_key_changes_nothing(session, docs, store) -> None:
    session.search("docs", Q8)
    key, size = session.ledger.public_key, session.ledger.size
    with pytest.raises(errors.MasterKeyError):
        session.ledger.rotate_key(store)
    assert (session.ledger.public_key, session.ledger.size) == (key, size)
    assert session.search("docs", Q8).num_rows == 10
    assert session.ledger.verify()


@pytest.mark.crash
def test_a_crashed_transaction_of_another_master_key_is_left_to_it(lake, tmp_path) -> None:
    """It kept every other tenant from opening the lake."""
    script = """
import os, signal, sys, affidavit
from affidavit import FileKeyStore
session = affidavit.connect(sys.argv[1], tenant="red", key_store=FileKeyStore(sys.argv[2]))
session.create_vector_table("docs", [{"id": 1, "vector": [1.0]}])
session.search("docs", [1.0])
session.sql("BEGIN IMMEDIATE")
session.search("docs", [1.0], k=7)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run_python(script, lake, tmp_path / "red", status=-9)
    kms = Kms()
    filled(lake, key_store=kms)
    assert len(list((lake / "pending").glob("*.json"))) == 1
    store = FileKeyStore(tmp_path / "red")
    with affidavit.connect(lake, tenant="red", key_store=store, durability="normal") as session:
        assert [each.k_requested for each in session.audit.recent()] == [7, 10]
        assert session.ledger.verify()
    assert list((lake / "pending").iterdir()) == []


def test_p12_nothing_signed_is_given_away_of_what_may_be_rolled_back(session, tmp_path) -> None:
    """A checkpoint of an open transaction stated entries that were then rolled back."""
    log = {"model_id": None, "model_version": None, "query_lineage": None,
           "top_k_result_ids": [], "retrieval_scores": []}  # fmt: skip
    session.audit.log([log])
    with pytest.raises(errors.TransactionError, match="committed"), session.transaction():
        session.audit.log([log])
        session.ledger.checkpoint()
    with session.transaction():
        for call in (
            lambda: session.ledger.prove(0),
            lambda: session.ledger.export(tmp_path / "bundle"),
            session.ledger.rotate_key,
        ):
            with pytest.raises(errors.TransactionError, match="COMMIT or ROLLBACK first"):
                call()
    assert session.ledger.verify()
