"""P4: other keys, yesterday's copies, and what is appended to a ledger that was tampered with."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.forging import (
    attack,
    body_with,
    connect,
    copy_entry,
    evil_key,
    flipped,
    image,
    log,
    make_lake,
    refusal,
    verdict,
)

from affidavit.catalog.ledger.entry import draft
from affidavit.catalog.ledger.head import sign_note
from affidavit.catalog.ledger.keys import FileKeyStore, KeyRing
from affidavit.catalog.ledger.verifier import PublicKey
from affidavit.catalog.ledger.witness import FileWitness
from affidavit.errors import (
    AffidavitError,
    InvalidQueryError,
    LedgerCorruptError,
    MasterKeyError,
    WitnessError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.forging import Store


class Derived:
    """A key store of a test's own."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    def derive(self, salt: bytes, info: bytes) -> bytes:
        return hashlib.sha256(self._master + salt + info).digest()


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


# --- other keys -----------------------------------------------------------------------------------


def test_p4_another_lakes_key_file_is_refused(lake, tmp_path) -> None:
    with connect(tmp_path / "other") as session:
        log(session, 1)
    shutil.copy(tmp_path / "other" / "keys" / "master.key", lake / "keys" / "master.key")
    with pytest.raises(MasterKeyError, match="bring the master key"):
        connect(lake)
    (lake / "keys" / "master.key").unlink()
    with pytest.raises(MasterKeyError, match="put the lake's own key back"):
        connect(lake)


def test_p4_a_head_that_names_another_key_is_no_reason_to_bring_another_key(lake, store) -> None:
    """A changed key id or generation was taken for the wrong master key."""
    store.run("UPDATE ledger_heads SET key_id = ?", "0" * 16)
    assert "another key" in refusal(lake)
    store.run("UPDATE ledger_heads SET key_id = (SELECT key_id FROM checkpoints), generation = 1")
    assert "another key" in refusal(lake)


def test_p4_a_ledger_written_anew_with_another_key_is_not_this_sessions(lake, store) -> None:
    with connect(lake) as session:
        mine = session.ledger.public_key
        theirs = store.rewrite(evil_key())
        found = session.ledger.verify()
        assert (found.ok, found.seq) == (False, None)
        assert "not of the trusted key" in str(found)
        with pytest.raises(MasterKeyError):
            log(session, 1)
    assert store.verify().ok  # it is right in itself
    assert store.verify(trusted=theirs).ok
    assert not store.verify(trusted=PublicKey.parse(mine))
    with pytest.raises(MasterKeyError):
        connect(lake)


def test_p4_a_ledger_written_anew_is_found_by_its_public_key_even_if_the_master_key_was_replaced(
    lake, store
) -> None:
    with connect(lake) as session:
        mine = session.ledger.public_key
    (lake / "keys" / "master.key").write_text("cd" * 32)
    ring = KeyRing(FileKeyStore(lake / "keys"))
    store.rewrite(ring.signer(store.origin, 0)._key)
    assert verdict(lake).ok
    assert "not of the trusted key" in str(verdict(lake, public_key=mine))
    with pytest.raises(InvalidQueryError):
        verdict(lake, public_key="not a key")


def test_p4_a_key_that_the_old_one_did_not_sign_is_found_and_never_given_away(lake, store) -> None:
    """Whatever entry said that it names a key was believed: public_key returned a forger's."""
    key = evil_key()
    public = PublicKey(store.origin, key.public_key().public_bytes_raw())
    body = body_with(
        store.entry(0)[0], public_key=str(public), seq=8, entry_id="key-1", generation=1,
        key_id=public.key_id,
    )  # fmt: skip
    with connect(lake) as session:
        copy_entry(store, 0, 8, "key-1")
        store.forge(8, body, key.sign(body))
        assert session.ledger.verify().seq == 8
        for ask in (
            lambda: session.ledger.public_key,
            lambda: session.ledger.export(lake / "bundle"),
            lambda: log(session, 1),
        ):
            with pytest.raises(LedgerCorruptError):
                ask()
    assert store.verify().seq == 8


def test_p4_a_key_whose_short_id_collides_is_not_the_trusted_one(store) -> None:
    """Keys were compared by 64 bits of their hash, which can be sought for."""
    trusted = PublicKey(store.origin, bytes(32))
    body, _ = store.entry(0)
    real = PublicKey.parse(json.loads(body)["public_key"])
    trusted.__dict__["key_id"] = real.key_id
    assert "not of the trusted key" in str(store.verify(trusted=trusted))


def test_p4_a_master_key_that_vanishes_while_a_session_is_open_is_not_passed_over(lake) -> None:
    """verify() then trusted whatever key the ledger had."""
    with connect(lake) as session:
        (lake / "keys" / "master.key").rename(lake / "away")
        session._instance.lake.ledgers.of("default")._signer = None
        with pytest.raises(MasterKeyError):
            session.ledger.verify()
        (lake / "away").rename(lake / "keys" / "master.key")
        assert session.ledger.verify()


def test_p4_a_retired_key_signs_nothing_any_more(lake) -> None:
    """A checkpoint or head by any key of the ledger was taken, whenever that key was in use."""
    shutil.rmtree(lake)
    with connect(lake, key_store=Derived(b"mine")) as session:
        log(session, 2)
        session.ledger.rotate_key()
        log(session, 2, first=2)
        assert session.ledger.verify()
        retired = KeyRing(Derived(b"mine")).signer(session.ledger.origin, 0)
    with attack(lake) as store:
        text = str(store.one("SELECT note FROM ledger_heads")).rpartition("\n\n")[0] + "\n"
        note, kept = (
            sign_note(each, retired.public_key, retired.sign) for each in (text, f"{text}kept\n")
        )
        with store.undone():
            store.run("UPDATE ledger_heads SET note = ?", note)
            assert "signed by a key that was replaced" in str(store.verify())
        store.run("UPDATE checkpoints SET note = ?, key_id = ? WHERE size = 6",
                  kept, retired.public_key.key_id)  # fmt: skip
        assert "key that was not in use there" in str(store.verify())


# --- yesterday's copy -----------------------------------------------------------------------------


class Elsewhere:
    """A witness that is no file."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __call__(self, note: str) -> None:
        self.notes.append(note)

    def latest(self, origin: str) -> str | None:
        return next((n for n in reversed(self.notes) if n.startswith(f"{origin}\n")), None)


@pytest.mark.sqlite("its file is put back")
@pytest.mark.parametrize("kind", ["a file", "a function"])
def test_p4_yesterdays_copy_of_the_whole_lake_is_refused_by_a_witness(lake, tmp_path, kind) -> None:
    witness: object = Elsewhere() if kind == "a function" else tmp_path / "witness"
    with connect(lake, witness=witness) as session:
        session.ledger.checkpoint()
    yesterday = image(lake, "yesterday")
    with connect(lake, witness=witness) as session:
        log(session, 2, first=10)
        assert session.ledger.verify()
    shutil.rmtree(lake)
    yesterday.rename(lake)
    assert verdict(lake).ok  # nothing in the lake says otherwise
    found = verdict(lake, witness=witness)
    assert (found.ok, found.seq) == (False, 8)
    assert "the entries from here on are gone" in str(found)
    assert "older than its witness: 8 entries, and 10 were signed" in refusal(lake, witness=witness)


@pytest.mark.parametrize("size", [2, 4])
def test_p4_a_ledger_put_back_to_its_own_checkpoint_is_refused_by_a_witness(
    lake, store, tmp_path, size
) -> None:
    """Entries, checkpoints, index and a head that was kept aside: a witness remembers more."""
    witness = tmp_path / "witness"
    with connect(lake, witness=witness):
        pass
    store.roll_back(size)
    assert verdict(lake).ok
    assert verdict(lake, witness=witness).seq == size
    assert "older than its witness" in refusal(lake, witness=witness)
    with connect(lake) as session:  # what is written now does not make it the witness's ledger
        log(session, 9, first=50)
        assert session.ledger.verify()
        assert not session.ledger.verify(witness=witness)
    assert "not those that the witness saw" in refusal(lake, witness=witness)


@pytest.mark.parametrize("size", [2, 4])
def test_p4_a_kept_checkpoint_cannot_stand_for_the_head(lake, store, size) -> None:
    """A kept checkpoint was a head's note too: the lake's own table cut its ledger back."""
    store.roll_back(size, with_head=False)
    assert "another size, root, log or ledger" in str(store.verify())
    assert "another size, root, log or ledger" in refusal(lake)


def test_p4_a_lake_that_was_emptied_is_refused_by_a_witness(lake, store, tmp_path) -> None:
    witness = tmp_path / "witness"
    with connect(lake, witness=witness) as session:
        key = session.ledger.public_key
    for table in ("ledger", "ledger_heads", "ledger_nodes", "checkpoints", "search_results"):
        store.run(f"DELETE FROM {table}")
    with connect(lake) as session:
        assert session.ledger.verify().entries == 0
        assert session.ledger.verify(witness=witness).seq == 0
        assert session.ledger.verify(public_key=key).seq == 0
    assert "0 entries, and 8 were signed" in refusal(lake, witness=witness)


def test_p4_a_witness_that_knows_nothing_of_the_ledger_confirms_nothing(lake, tmp_path) -> None:
    """A mistyped path, or a lake that was given another identity, passed for witnessed."""
    (tmp_path / "empty").touch()
    for witness in (tmp_path / "mistyped", tmp_path / "empty", print):
        found = verdict(lake, witness=witness)
        assert (found.ok, "no checkpoint of this ledger" in str(found)) == (False, True)
    with pytest.raises(WitnessError):
        verdict(lake, witness=tmp_path)
    with pytest.raises(WitnessError):
        verdict(lake, witness=7)


def test_p4_a_witness_cut_short_by_a_crash_is_still_believed(lake, tmp_path) -> None:
    """After a note that lacked its end every later one was misread, and the lake was refused."""
    witness = tmp_path / "witness"
    with connect(lake, witness=witness) as session:
        log(session, 1, first=20)
    whole = witness.read_text()
    origin = whole.split("\n")[0]
    last = whole.strip().split("\n\n")[-2:]
    newest = "\n\n".join(last) + "\n"
    assert FileWitness(witness).latest(origin) == newest
    for end in range(1, len(newest)):
        witness.write_text(whole + newest[:-end])
        assert FileWitness(witness).latest(origin) == newest
        witness.write_text(whole + newest[:-end] + whole)
        assert FileWitness(witness).latest(origin) == newest
        assert set(FileWitness(witness).newest()) == {origin}


@pytest.mark.parametrize(
    "note", ["", "x", "\n\n", "{origin}\n9\n\n", "{origin}\n" + "9" * 5000 + "\nAA==\n\n— x y\n",
             "{origin}\n-1\nx\n\n", "{origin}\n٣\nx\n\n— x y\n"],
)  # fmt: skip
def test_p4_a_note_that_is_none_is_refused_and_named(lake, note) -> None:
    """A size of 5,000 digits ended the program."""

    class Odd:
        def __call__(self, note: str) -> None: ...

        def latest(self, origin: str) -> str:
            return note.replace("{origin}", origin)

    assert not verdict(lake, witness=Odd())
    refusal(lake, witness=Odd())


@pytest.mark.parametrize("given", [b"note", 7, RuntimeError("no network"), OSError("gone")])
def test_p12_a_witness_that_cannot_be_asked_is_an_error_of_ours(lake, given) -> None:
    class Odd:
        def __call__(self, note: str) -> None: ...

        def latest(self, origin: str) -> object:
            if isinstance(given, Exception):
                raise given
            return given

    with pytest.raises(WitnessError):
        connect(lake, witness=Odd())
    with pytest.raises(WitnessError):
        verdict(lake, witness=Odd())


# --- and then something is appended ---------------------------------------------------------------


def change_size(store: Store) -> None:
    store.run("UPDATE ledger_heads SET size = size + 1")


def change_peaks(store: Store) -> None:
    store.run("UPDATE ledger_heads SET peaks = ?", bytes(32))


def change_note(store: Store) -> None:
    note = store.one("SELECT note FROM ledger_heads")
    store.run("UPDATE ledger_heads SET note = ?", flipped(note, len(str(note)) - 9))


def change_all(store: Store) -> None:
    last = store.size - 1
    body, signature = store.entry(last)
    store.forge(last, body_with(body, actor="nobody"), signature)
    store.rehash()


def cut_tail(store: Store) -> None:
    store.rehash(up_to=7)


def cut_all(store: Store) -> None:
    store.run("DELETE FROM checkpoints WHERE size > 4")
    store.rehash(up_to=5)
    store.run("UPDATE ledger_heads SET checkpoint_size = 4, checkpoint_at = (SELECT max(created_at)"
              " FROM checkpoints)")  # fmt: skip


def forget_checkpoints(store: Store) -> None:
    store.run("DELETE FROM checkpoints")
    change_all(store)
    store.run("UPDATE ledger_heads SET checkpoint_size = 0, checkpoint_at = 0")


TAMPERED: list[Callable[[Store], None]] = [
    change_size, change_peaks, change_note, change_all, cut_tail, cut_all, forget_checkpoints,
]  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERED)
def test_p4_no_rows_are_released_on_a_ledger_whose_head_was_tampered_with(
    lake, store, tamper
) -> None:
    """A head's signature was not looked at before the next head was signed.

    So whoever changed or cut off what no checkpoint covered yet, and computed size, tree and note
    anew, had the true key sign it with the next search; verify(signatures=False) then found nothing
    wrong, and where the tail was cut off verify() did not either.
    """
    with connect(lake, checkpoint_interval_s=1e9) as session:
        assert session.search("docs", [1.0] * 8, k=3).num_rows == 3
        with attack(image(lake, "closed")) as closed:
            tamper(closed)
            after = closed.size
        tamper(store)
        size = store.size
        rows: list[object] = []
        for search in (
            lambda: rows.append(session.search("docs", [1.0] * 8, k=3)),
            lambda: rows.extend(session.search_batch("docs", [[1.0] * 8] * 2, k=3)),
            lambda: rows.extend(session.sql("SELECT * FROM vector_search('docs', $q, 3)", q=[1.0] * 8)),
            lambda: log(session, 1), session.ledger.checkpoint, session.ledger.rotate_key,
            lambda: session.ledger.export(lake / "bundle"), lambda: session.ledger.prove(1),
        ):  # fmt: skip
            with pytest.raises(LedgerCorruptError):
                search()
        assert (rows, store.size, after) == ([], size, size)
        assert not session.ledger.verify(signatures=False)
        store.run("DELETE FROM ledger_heads")  # so that closing has nothing to keep
    refusal(lake.with_name("closed"))


@given(st.lists(st.sampled_from(TAMPERED), min_size=1, max_size=2, unique=True), st.booleans())
@settings(max_examples=15)
def test_p4_appending_never_makes_a_tampered_ledger_verify(made, tmp_path, tampers, bend) -> None:
    lake = shutil.copytree(made, tmp_path / secrets.token_hex(4))
    with attack(lake) as store:
        if bend:  # an entry alone, which no head shows
            store.run("UPDATE ledger SET body = ? WHERE seq = 3", store.entry(2)[0])
        for tamper in tampers if not bend else ():
            tamper(store)
        for _ in range(2):
            try:
                with connect(lake, checkpoint_entries=1) as session:
                    log(session, 1, first=30)
            except AffidavitError:
                pass
            assert not store.verify(signatures=False)
            assert not store.verify()


def test_p4_a_swallowed_record_is_missed(lake, store) -> None:
    """A trigger in the store's own file can keep an insert from happening."""
    store.run("CREATE TRIGGER swallow BEFORE INSERT ON ledger BEGIN SELECT RAISE(IGNORE); END")
    session = connect(lake)
    log(session, 1, first=20)
    assert (session.ledger.verify().seq, session.ledger.verify().problem) == (8, "it is missing")
    with pytest.raises(LedgerCorruptError, match="8 to 8 are missing"):
        session.close()  # which would keep a checkpoint


def test_p4_a_draft_that_names_a_key_is_never_signed(lake) -> None:
    """Any draft could name a key, which the true key then signed as its successor."""
    with connect(lake) as session, pytest.raises(LedgerCorruptError, match="only rotating"):
        ledger = session._instance.lake.ledgers.of("default")
        with session._instance.lake.store.write("default") as writer:
            ledger.append(writer, [draft("key", "key-1", 1, public_key="x")], now_us=1)
