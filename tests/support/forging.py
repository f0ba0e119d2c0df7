"""An attacker's tools: sqlite3 on a lake's files, hashes that anybody can compute, and other keys."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import affidavit
from affidavit.catalog.ledger.bundle import export_bundle
from affidavit.catalog.ledger.head import sign_note
from affidavit.catalog.ledger.keys import FileKeyStore, KeyRing
from affidavit.catalog.ledger.ledger import Ledger
from affidavit.catalog.ledger.ledgers import origin_of
from affidavit.catalog.ledger.merkle import Frontier
from affidavit.catalog.ledger.verification.findings import Verification
from affidavit.catalog.ledger.verification.verify import verify_ledger
from affidavit.catalog.ledger.verifier import Checkpoint, PublicKey, leaf_hash
from affidavit.catalog.store.sqlite.reader import SqliteReader
from affidavit.errors import LedgerCorruptError
from tests.support.lakes import vectors
from tests.support.stores import only_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator

BIG = 600
"""How many entries the larger ledger has."""

Value = int | float | str | bytes | None


def record(number: int, **also: object) -> dict[str, object]:
    """Return a search that was run elsewhere, with two rows."""
    return {
        "model_id": "m", "model_version": "1", "query_lineage": {"by": "désirée"},
        "top_k_result_ids": [f"row-{number}", "row-x"], "retrieval_scores": [0.25, 0.5], **also,
    }  # fmt: skip


def log(session: affidavit.Session, count: int, *, first: int = 0) -> None:
    """Put ``count`` searches on record."""
    session.audit.log([record(first + at) for at in range(count)])


def connect(lake: Path, **options: object) -> affidavit.Session:
    """Open a lake as its owner does.

    It begins no journal: here entries are attacked that have a row of their own in the ledger, by
    their numbers. The journal's events are attacked where the journal is tested.
    """
    owner = {"actor": "owner", "durability": "normal", "audit": "searches", "journal": False}
    given = {**owner, **options}
    return affidavit.connect(lake, **given)  # type: ignore[arg-type]  # whatever the test gives


def flipped(value: Value, at: int, bit: int | None = None) -> Value:
    """Return ``value`` with one bit of its byte or character ``at`` changed."""
    mask = 1 << (at % 7 if bit is None else bit)
    if isinstance(value, bytes):
        return value[:at] + bytes([value[at] ^ mask]) + value[at + 1 :]
    if isinstance(value, str):
        return value[:at] + chr(ord(value[at]) ^ mask) + value[at + 1 :]
    assert isinstance(value, int)
    return value ^ (mask << 8 * at)


def length(value: Value) -> int:
    """Return how many bytes or characters ``value`` has; an integer has 8 bytes."""
    return len(value) if isinstance(value, bytes | str) else 8


def body_with(body: bytes, **changed: object) -> bytes:
    """Return a body with members changed, or taken away where the value is ``...``."""
    fields = {**json.loads(body), **changed}
    kept = {name: value for name, value in fields.items() if value is not ...}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Store:
    """A closed lake's store in an attacker's hands."""

    def __init__(self, lake: Path, tenant: str = "default") -> None:
        only_sqlite("its file is forged")
        self.connection = sqlite3.connect(lake / "catalog.db", isolation_level=None)
        self.tenant = tenant
        self.lake = lake
        lake_id = self.one("SELECT lake_id FROM lake")
        self.origin = origin_of(str(lake_id), tenant or None)

    def close(self) -> None:
        self.connection.close()

    def run(self, sql: str, *values: Value) -> list[tuple[Value, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Value) -> Value:
        return self.run(sql, *values)[0][0]

    def set(self, table: str, rowid: Value, **values: Value) -> None:
        sets = ", ".join(f"{name} = ?" for name in values)
        self.run(f"UPDATE {table} SET {sets} WHERE _rowid = ?", *values.values(), rowid)

    def rowid(self, seq: int) -> Value:
        return self.one("SELECT _rowid FROM ledger WHERE _tenant = ? AND seq = ?", self.tenant, seq)

    def entry(self, seq: int) -> tuple[bytes, bytes]:
        """Return an entry's body and signature."""
        found = self.run("SELECT body, signature FROM ledger WHERE _rowid = ?", self.rowid(seq))
        return found[0]  # type: ignore[return-value]  # nobody has changed it yet

    def forge(self, seq: int, body: bytes, signature: bytes | None) -> None:
        """Change an entry and compute its leaf anew."""
        leaf = leaf_hash(body, signature)
        self.set("ledger", self.rowid(seq), body=body, signature=signature, leaf_hash=leaf)

    @property
    def size(self) -> int:
        return int(self.one("SELECT count(*) FROM ledger WHERE _tenant = ?", self.tenant) or 0)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo at the end what is changed within."""
        self.run("BEGIN")
        try:
            yield
        finally:
            self.run("ROLLBACK")

    def verify(self, **options: object) -> Verification:
        """Verify the ledger as it is, what is yet to be undone included."""
        ledger = Ledger(self.tenant, self.origin, None)
        return verify_ledger(self._reader, ledger, **options)  # type: ignore[arg-type]  # as given

    def export(self, path: Path, first: int, last: int) -> Path:
        """Export entries of the ledger as it is."""
        ledger = Ledger(self.tenant, self.origin, None)
        return export_bundle(self._reader, ledger, path, first, last)

    @property
    def _reader(self) -> SqliteReader:
        return SqliteReader(self.connection, self.tenant, 5.0)

    # --- what needs no key ---------------------------------------------------------------------

    def rehash(self, *, up_to: int | None = None) -> Frontier:
        """Make leaves, nodes, and the head's size, tree and note fit the entries as they are."""
        own = f"WHERE _tenant = '{self.tenant}'"
        if up_to is not None:
            self.run(f"DELETE FROM search_results {own} AND seq >= ?", up_to)
            self.run(f"DELETE FROM ledger {own} AND seq >= ?", up_to)
        rows = self.run(f"SELECT _rowid, body, signature FROM ledger {own} ORDER BY seq")
        leaves = []
        for rowid, body, signature in rows:
            leaves.append(leaf_hash(body, signature))  # type: ignore[arg-type]  # bytes
            self.set("ledger", rowid, leaf_hash=leaves[-1])
        frontier, nodes = Frontier().extended(leaves)
        self.run(f"DELETE FROM ledger_nodes {own}")
        for node in nodes:
            self.run(
                "INSERT INTO ledger_nodes (_tenant, level, position, hash) VALUES (?, ?, ?, ?)",
                self.tenant, *node,
            )  # fmt: skip
        note = str(self.one(f"SELECT note FROM ledger_heads {own}"))
        signature_line = note.rpartition("\n\n")[2]
        self.put_head(frontier, f"{self.text(frontier)}\n{signature_line}")
        return frontier

    def text(self, frontier: Frontier, *, kept: bool = False) -> str:
        return Checkpoint(self.origin, frontier.size, frontier.root, kept=kept).text

    def put_head(self, frontier: Frontier, note: str, **also: Value) -> None:
        values: dict[str, Value] = {
            "size": frontier.size, "peaks": b"".join(frontier.peaks), "note": note, **also,
        }  # fmt: skip
        sets = ", ".join(f"{name} = ?" for name in values)
        self.run(f"UPDATE ledger_heads SET {sets} WHERE _tenant = ?", *values.values(), self.tenant)

    def roll_back(self, size: int, *, with_head: bool = True) -> None:
        """Put the ledger back to a kept checkpoint; every signature that is left is right.

        The head is the one of then, which an attacker must have kept, and is signed anew here;
        without it, the kept checkpoint stands in its place.
        """
        own = f"WHERE _tenant = '{self.tenant}'"
        note, at_us = self.run(
            f"SELECT note, created_at FROM checkpoints {own} AND size = ?", size
        )[0]  # fmt: skip
        frontier = self.rehash(up_to=size)
        if with_head:
            signer = KeyRing(FileKeyStore(self.lake / "keys")).signer(self.origin, 0)
            note = sign_note(self.text(frontier), signer.public_key, signer.sign)
        self.run(f"DELETE FROM checkpoints {own} AND size > ?", size)
        self.put_head(frontier, str(note), checkpoint_size=size, checkpoint_at=at_us)

    # --- what needs some key -------------------------------------------------------------------

    def rewrite(self, key: Ed25519PrivateKey) -> PublicKey:
        """Sign all of the ledger anew with ``key``, so that it is right in itself."""
        public = PublicKey(self.origin, key.public_key().public_bytes_raw())
        own = f"WHERE _tenant = '{self.tenant}'"
        self.run(f"DELETE FROM checkpoints {own}")
        for (seq,) in self.run(f"SELECT seq FROM ledger {own} ORDER BY seq"):
            assert isinstance(seq, int)
            body, _ = self.entry(seq)
            changed: dict[str, object] = {"key_id": public.key_id}
            changed |= {"public_key": str(public)} if seq == 0 else {"actor": "somebody else"}
            body = body_with(body, **changed)
            self.forge(seq, body, key.sign(body))
        frontier = self.rehash()
        note = sign_note(self.text(frontier), public, key.sign)
        kept = sign_note(self.text(frontier, kept=True), public, key.sign)
        self.run(
            "INSERT INTO checkpoints (_tenant, size, root, key_id, note, created_at)"
            " VALUES (?, ?, ?, ?, ?, 1)",
            self.tenant, frontier.size, frontier.root, public.key_id, kept,
        )  # fmt: skip
        self.put_head(
            frontier, note, key_id=public.key_id, generation=0, checkpoint_size=frontier.size,
            checkpoint_at=1,
        )  # fmt: skip
        return public


# --- the owner's side -----------------------------------------------------------------------------


def make_lake(path: Path) -> Path:
    """Make a lake of seven records, checkpoints at sizes 2, 4 and 8, and a table to search."""
    with connect(path) as session:
        session.create_vector_table("docs", vectors(20))
        log(session, 1)
        log(session, 1, first=1)
        log(session, 1, first=2)
        session.ledger.checkpoint()
        log(session, 4, first=3)
    return path


def make_small(path: Path) -> Path:
    """Make a lake of two keys, three searches and a checkpoint after each commit: 5 entries."""
    with connect(path) as session:
        for number in range(2):
            log(session, 1, first=number)
            session.ledger.checkpoint()
        session.ledger.rotate_key()
        log(session, 1, first=2)
    return path


def make_big(path: Path) -> Path:
    """Make a lake with enough entries for kept nodes: one commit, and one more."""
    with connect(path) as session:
        log(session, BIG - 2)
        log(session, 1, first=BIG)
    return path


def image(lake: Path, name: str) -> Path:
    """Return a copy of a lake as a power cut would leave it."""
    return shutil.copytree(lake, lake.with_name(name))


def verdict(lake: Path, **options: object) -> Verification:
    """Return what the owner finds on opening the lake again."""
    with connect(lake) as session:
        return session.ledger.verify(**options)  # type: ignore[arg-type]  # as the test gives


def refusal(lake: Path, **options: object) -> str:
    """Return why the lake is not opened."""
    with pytest.raises(LedgerCorruptError) as caught:
        connect(lake, **options)
    return str(caught.value)


# --- the attacker's -------------------------------------------------------------------------------


def sizes(store: Store) -> list[Value]:
    """Return the sizes of the kept checkpoints."""
    return [row[0] for row in store.run("SELECT size FROM checkpoints ORDER BY size")]


def copy_entry(store: Store, seq: int, as_seq: Value, name: str) -> None:
    """Insert a copy of an entry under another number and name."""
    store.run(
        "INSERT INTO ledger SELECT NULL, _tenant, ?, kind, ?, created_at, leaf_hash, body,"
        " signature, opened FROM ledger WHERE seq = ?",
        as_seq, name, seq,
    )  # fmt: skip


@contextmanager
def attack(lake: Path, tenant: str = "default") -> Iterator[Store]:
    """Yield the store of a lake that nobody has open, and keep what is done to it."""
    with closing(Store(lake, tenant)) as store:
        yield store


def evil_key(number: int = 0) -> Ed25519PrivateKey:
    """Return a key that is not the lake's."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
