"""A tenant's ledger: one append-only Merkle tree of everything that must be answered for.

Rules:
    - Entries are numbered 0, 1, 2... without a gap; entry 0 names the first public key.
    - Entries, the nodes that they complete and the signed head are one store transaction with
      whatever they record. The head states size and root after every commit, so that an entry
      that is cut off is missed even if no checkpoint was kept since.
    - A new head is signed only if the old one is intact, which its signature says, and the tree
      extends it. So nothing that somebody else put there is ever signed over.
    - The first head is kept as a checkpoint: a ledger without one was tampered with.
    - Only :meth:`Ledger.rotate` brings in a key: no other draft may be of that kind.
    - Every column of an entry is said by its body too, and so cannot be changed on its own.
    - Where a body says when it was logged, that is not before what an earlier one says.

The tree is that of RFC 9162 section 2.1; a head is a C2SP tlog-checkpoint. Some heads are kept as
checkpoints: one every so many entries, one every so many seconds, and on request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import uuid4

from affidavit.catalog.ledger.entry import KEY, StoredEntry, draft, row_of, stamped
from affidavit.catalog.ledger.head import Head, sign_note, stated
from affidavit.catalog.ledger.kept import KeptLedger
from affidavit.catalog.ledger.merkle import Frontier
from affidavit.catalog.ledger.tree import Tree, check_extension, prove
from affidavit.catalog.ledger.verifier import (
    Checkpoint,
    LedgerProblem,
    Log,
    PublicKey,
    leaf_hash,
    open_checkpoint,
)
from affidavit.catalog.model import clock
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.covering.states import Known, add_moves, begin
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import CHECKPOINTS, HEADS, LEDGER, NODES
from affidavit.catalog.values.canonical import canonical, canonical_object, from_us
from affidavit.errors import ConstraintError, LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from affidavit.catalog.ledger.entry import Draft, EntryKeeper, RecordKeeper
    from affidavit.catalog.ledger.keys import Signer, Signers
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.protocol import Reader, StoreTable, Writer

Covers: TypeAlias = "Callable[[Reader, str], Iterable[StoreTable]]"
LOGGED_AT: Final = "logged_at"
CHECKPOINT_ENTRIES: Final = 1024
CHECKPOINT_INTERVAL_S: Final = 60.0
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Opened:
    """A ledger as a transaction that appends to it finds it."""

    old: Head | None
    first: int
    signer: Signer


class Ledger(KeptLedger):
    """The ledger of one tenant. What it reads and writes goes through the caller's transaction.

    Args:
        tenant: As the store writes it.
        origin: What the ledger is called in its checkpoints and keys.
        signers: Where its keys come from; ``None`` where nothing is written.
        checkpoint_entries: A checkpoint is kept at least every so many entries.
        checkpoint_interval_s: And, as entries come, at least every so many seconds.
        keepers: Where else entries are kept.
        sealed: Where its own go once they are many.
        covers: Returns a tenant's tables whose rows the heads state, from the first one on;
            ``None`` if they do so only where an earlier one did.
    """

    def __init__(
        self,
        tenant: str,
        origin: str,
        signers: Signers | None,
        checkpoint_entries: int = CHECKPOINT_ENTRIES,
        checkpoint_interval_s: float = CHECKPOINT_INTERVAL_S,
        keepers: Sequence[EntryKeeper] = (),
        covers: Covers | None = None,
        sealed: RecordKeeper | None = None,
    ) -> None:
        super().__init__(tenant, origin, signers, keepers, sealed)
        self.checkpoint_entries = checkpoint_entries
        self.checkpoint_interval_s = checkpoint_interval_s
        self.tree = Tree(tenant, self.keepers)
        self._covers = covers
        self._states = Known()
        self._tenant_member = canonical(None if tenant == SHARED else tenant)

    # --- appending -----------------------------------------------------------------------------

    def append(
        self,
        writer: Writer,
        drafts: Sequence[Draft],
        *,
        now_us: int,
        beside: Callable[[list[StoredEntry]], None] = lambda _: None,
        checkpoint: bool = False,
        next_signer: Signer | None = None,
    ) -> list[StoredEntry]:
        """Append ``drafts`` in the transaction of ``writer`` and return them as entries.

        Args:
            writer: The transaction that makes what they record.
            drafts: What happened, oldest first.
            now_us: The time, in microseconds since the epoch.
            beside: Given the entries, writes what belongs to them before the head is signed, which
                covers it; it appends nothing itself.
            checkpoint: Keep the new head as a checkpoint, whether or not one is due.
            next_signer: The key that takes over after these entries.

        Raises:
            LedgerCorruptError: The ledger was changed by somebody else, or a draft names a key.
            MasterKeyError: The key is missing, or not this ledger's.
            ConstraintError: An ``entry_id`` is taken.
        """
        if next_signer is None and any(each.kind == KEY for each in drafts):
            raise LedgerCorruptError("a draft names a key, and only rotating the key does that")
        opened = self._open(writer)
        first, signer, keys = opened.first, opened.signer, []
        if opened.old is None:
            keys = [self._key_draft(signer.public_key, 0, now_us)]
        logged_at = now_us if opened.old is None else max(now_us, opened.old.logged_at)
        entries = [
            self._entry(each, first + at, signer, logged_at)
            for at, each in enumerate((*keys, *drafts))
        ]
        self._insert(writer, entries)
        beside(entries[len(keys) :])
        leaves = [entry.leaf_hash for entry in entries]
        logs = any(LOGGED_AT in each.members for each in drafts)
        self._extend(
            writer, opened, leaves, now_us, keep=checkpoint, next_signer=next_signer,
            logged_at=logged_at if logs else None,
        )  # fmt: skip
        return entries[len(keys) :]

    def note(self, writer: Writer, kind: str, identity: Identity, **fields: object) -> None:
        """Append an entry that says what somebody did, in the transaction that did it."""
        now_us = clock.now_us()
        entry = stamped(kind, f"{kind}-{uuid4().hex}", now_us, identity, **fields)
        self.append(writer, [entry], now_us=now_us)

    def append_leaves(
        self, writer: Writer, make: Callable[[int], Sequence[bytes]], *, now_us: int
    ) -> None:
        """Append entries that are kept elsewhere, in the transaction of ``writer``.

        ``make`` is given the number of the first and returns the leaf of each, in order; it keeps
        the entries themselves, in the same transaction.
        """
        opened = self._open(writer)
        if opened.old is None:
            self.append(writer, (), now_us=now_us)
            opened = self._open(writer)
        self._extend(writer, opened, make(opened.first), now_us)

    def _open(self, writer: Writer) -> _Opened:
        old = self.head(writer)
        if old is not None:
            return _Opened(old, old.size, self._current_signer(old))
        kept = any(writer.count(table, own(self.tenant)) for table in (LEDGER, CHECKPOINTS))
        if kept or any(keeper.count(writer) for keeper in self.keepers):
            raise LedgerCorruptError("its signed head is missing")
        return _Opened(None, 0, self.signer(0))

    def _insert(self, writer: Writer, entries: Sequence[StoredEntry]) -> None:
        try:
            writer.insert(LEDGER, columns_of(LEDGER), map(row_of, entries))
        except ConstraintError as error:
            first, mine = entries[0].seq, {entry.leaf_hash for entry in entries}
            found = self.entries(writer, Compare(">=", "seq", first))
            if any(entry.leaf_hash not in mine for entry in found):
                raise LedgerCorruptError("an entry that no head covers", seq=first) from error
            raise

    def _extend(
        self,
        writer: Writer,
        opened: _Opened,
        leaves: Sequence[bytes],
        now_us: int,
        *,
        keep: bool = False,
        next_signer: Signer | None = None,
        logged_at: int | None = None,
    ) -> None:
        old, signer = opened.old, opened.signer
        frontier, nodes = (Frontier() if old is None else old.frontier).extended(leaves)
        if nodes:
            writer.insert(NODES, columns_of(NODES), nodes)
        generation = 0 if old is None else old.generation
        if next_signer is not None:
            signer, generation = next_signer, generation + 1
        self._write_head(
            writer, old, frontier, signer, generation, now_us, keep=keep, logged_at=logged_at
        )

    def _entry(self, each: Draft, seq: int, signer: Signer, logged_at: int) -> StoredEntry:
        members = {
            **each.members,
            "seq": b"%d" % seq,
            "kind": canonical(each.kind),
            "tenant": self._tenant_member,
        }
        if LOGGED_AT in members:  # never before an earlier entry's, whatever the clock says
            members[LOGGED_AT] = canonical(from_us(logged_at))
        key_id = signer.public_key.key_id if each.signed else None
        if key_id is not None:
            members["key_id"] = canonical(key_id)
        body = canonical_object(members)
        signature = signer.sign(body) if each.signed else None
        leaf = leaf_hash(body, signature)
        return StoredEntry(
            seq, body, signature, each.kind, each.entry_id, each.at_us, leaf, key_id,
            opened=each.opened,
        )  # fmt: skip

    def _key_draft(self, key: PublicKey, generation: int, now_us: int) -> Draft:
        return draft(KEY, f"key-{generation}", now_us, public_key=str(key), generation=generation)

    def rotate(self, writer: Writer, now_us: int, signers: Signers | None = None) -> PublicKey:
        """Begin the next generation of keys and return its public key.

        The old key signs the entry that names the new one, and goes on verifying what it signed.
        ``signers`` derives it from another master key.
        """
        head = self.head(writer)
        if head is None:
            self.append(writer, (), now_us=now_us)
            head = self.head(writer)
        assert head is not None
        generation = head.generation + 1
        source = signers if signers is not None else self.signers
        assert source is not None
        signer = source.signer(self.origin, generation)
        entry = self._key_draft(signer.public_key, generation, now_us)
        self.append(writer, [entry], now_us=now_us, checkpoint=True, next_signer=signer)
        return signer.public_key

    def cover(self, writer: Writer, log: Log, *, now_us: int) -> None:
        """Sign a head that covers ``log``, in the transaction of ``writer`` that extends it.

        No entry comes with it, but the first one where there was none.
        """
        old = self.head(writer)
        if old is None:
            self.append(writer, (), now_us=now_us)
            old = self.head(writer)
        assert old is not None
        self._sign_again(writer, old, now_us, log=log)

    def cover_moves(self, writer: Writer, *, now_us: int) -> None:
        """Sign a head that covers what has moved, if this ledger's heads cover data."""
        old = self.head(writer)
        if old is not None and (old.data is not None or self._covers is not None):
            self._sign_again(writer, old, now_us)
        elif old is None and self._covers is not None:
            self.append(writer, (), now_us=now_us)

    def _sign_again(
        self, writer: Writer, old: Head, now_us: int, *, log: Log | None = None
    ) -> None:
        signer = self._current_signer(old)
        self._write_head(writer, old, old.frontier, signer, old.generation, now_us, log=log)

    def adopt(self, signers: Signers) -> None:
        """Take the keys from somewhere else from now on: the rotation to them is committed."""
        self.signers = signers

    def is_due(self, at_us: int, now_us: int) -> bool:
        """Return whether a checkpoint that was kept at a time is long ago, or in what is to come.

        A clock that was ahead when it was kept says nothing of how long ago that is.
        """
        return not 0 <= now_us - at_us < self.checkpoint_interval_s * _US

    def _write_head(
        self,
        writer: Writer,
        old: Head | None,
        frontier: Frontier,
        signer: Signer,
        generation: int,
        now_us: int,
        *,
        keep: bool = False,
        log: Log | None = None,
        logged_at: int | None = None,
    ) -> None:
        covered = log or (None if old is None else old.log)
        data = self._summed_up(writer, old, frontier.size)
        size_then, at_then = (0, 0) if old is None else (old.checkpoint_size, old.checkpoint_at)
        due = (
            keep
            or old is None
            or frontier.size - size_then >= self.checkpoint_entries
            or self.is_due(at_then, now_us)
        )
        if due and size_then < frontier.size:
            checkpoint = stated(self.origin, frontier, covered, data)
            self._prove_extension(writer, size_then, checkpoint)
            self._keep(writer, checkpoint, signer, now_us)
            size_then, at_then = frontier.size, now_us
            if data is not None:  # the checkpoint that was kept is among what the head covers
                data = self._moved(writer, data, frontier.size)
        text = stated(self.origin, frontier, covered, data).text
        note = sign_note(text, signer.public_key, signer.sign)
        key_id = signer.public_key.key_id
        if logged_at is None:
            logged_at = 0 if old is None else old.logged_at
        head = Head(
            frontier, note, key_id, generation, size_then, at_then, covered, data, logged_at
        )
        row = head.row
        if old is None:
            writer.insert(HEADS, columns_of(HEADS), [row])
        else:
            writer.update_where(HEADS, dict(zip(columns_of(HEADS), row, strict=True)), None)
        self._intact = row, head

    def _summed_up(self, writer: Writer, old: Head | None, size: int) -> int | None:
        """Return what the tenant's data comes to with what has moved; ``None`` if not covered."""
        if old is not None and old.data is not None:
            return self._moved(writer, old.data, size)
        moves = writer.moves()
        if self._covers is None:
            return None
        tables = self._covers(writer, self.tenant)
        return begin(writer, self.tenant, tables, moves, self._states, version=size)

    def _moved(self, writer: Writer, total: int, size: int) -> int:
        """Return a sum with what has moved since."""
        moves = writer.moves()
        return add_moves(writer, self.tenant, moves, total, self._states, version=size)

    def _keep(self, writer: Writer, state: Checkpoint, signer: Signer, now_us: int) -> str:
        note = sign_note(replace(state, kept=True).text, signer.public_key, signer.sign)
        kept = (state.size, state.root, signer.public_key.key_id, note, now_us)
        writer.insert(CHECKPOINTS, columns_of(CHECKPOINTS), [kept])
        return note

    def _prove_extension(self, reader: Reader, old_size: int, new: Checkpoint) -> None:
        """Raise LedgerCorruptError unless ``new`` extends the checkpoint kept at ``old_size``."""
        if not old_size:
            return
        notes = [note for size, note in self.checkpoints(reader, old_size - 1) if size == old_size]
        try:
            if not notes:
                raise LedgerProblem(f"the checkpoint at size {old_size} is missing")
            old, _ = open_checkpoint(notes[0], self.keys(reader))
            check_extension(self.tree.fetch(reader), old, old_size, new)
        except LedgerProblem as problem:
            raise LedgerCorruptError(f"no checkpoint was signed: {problem}") from None

    # --- checkpoints ---------------------------------------------------------------------------

    def keep_checkpoint(self, writer: Writer, *, now_us: int) -> str | None:
        """Keep the head as a checkpoint, and return its note; ``None`` if there are no entries."""
        head = self.head(writer)
        if head is None:
            return None
        if head.checkpoint_size == head.size:
            return self.checkpoints(writer, head.size - 1)[0][1]
        state = head.checkpoint(self.origin)
        self._prove_extension(writer, head.checkpoint_size, state)
        note = self._keep(writer, state, self._current_signer(head), now_us)
        writer.update_where(HEADS, {"checkpoint_size": head.size, "checkpoint_at": now_us}, None)
        return note

    # --- proofs ---------------------------------------------------------------------------------

    def prove(self, reader: Reader, seq: int) -> str:
        """Return the proof that entry ``seq`` stands in the newest head (C2SP tlog-proof).

        Raises:
            RecordNotFoundError: There is no such entry.
            LedgerCorruptError: What is kept does not prove it.
        """
        return prove(self.tree.fetch(reader), self.head(reader), seq)
