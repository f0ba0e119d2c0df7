"""A tenant's ledger: one append-only Merkle tree of everything that must be answered for.

Rules:
    - Entries are numbered 0, 1, 2... without a gap; entry 0 names the first public key.
    - Entries, the nodes that they complete and the signed head are one store transaction with
      whatever they record. The head states size and root after every commit, so that an entry
      that is cut off is missed even if no checkpoint was kept since.
    - Only :meth:`Ledger.rotate` brings in a key: no other draft may be of that kind.
    - Every column of an entry is said by its body too, and so cannot be changed on its own.
    - Where a body says when it was logged, that is not before what an earlier one says.

The tree is that of RFC 9162 section 2.1; a head is a C2SP tlog-checkpoint. Some heads are kept as
checkpoints: one every so many entries, one every so many seconds, and on request.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from affidavit.catalog.ledger.entry import KEY, StoredEntry, draft, row_of, stamped
from affidavit.catalog.ledger.head import Due
from affidavit.catalog.ledger.merkle import Frontier
from affidavit.catalog.ledger.signing.heads import SigningLedger
from affidavit.catalog.ledger.tree import prove
from affidavit.catalog.ledger.verifier import leaf_hash
from affidavit.catalog.model import clock
from affidavit.catalog.sql.names import SHARED
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import columns_of
from affidavit.catalog.store.tables import LEDGER, NODES
from affidavit.catalog.values.canonical import canonical, canonical_object, from_us
from affidavit.errors import ConstraintError, LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.ledger.entry import Draft
    from affidavit.catalog.ledger.keys import Signer, Signers
    from affidavit.catalog.ledger.verifier import Log, PublicKey
    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.protocol import Reader, Writer

LOGGED_AT: Final = "logged_at"


class Ledger(SigningLedger):
    """The ledger of one tenant. What it reads and writes goes through the caller's transaction."""

    @cached_property
    def _tenant_member(self) -> bytes:
        return canonical(None if self.tenant == SHARED else self.tenant)

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
        due, keys = self._due(writer), []
        if due is None:
            signer = self.signer(0)
            due = Due(Frontier(), signer, 0, None, 0)
            keys = [self._key_draft(signer.public_key, 0, now_us)]
        first, logged_at = due.frontier.size, max(now_us, due.logged_at)
        entries = [
            self._entry(each, first + at, due.signer, logged_at)
            for at, each in enumerate((*keys, *drafts))
        ]
        self._insert(writer, entries)
        beside(entries[len(keys) :])
        if any(LOGGED_AT in each.members for each in drafts):
            due = replace(due, logged_at=logged_at)
        if next_signer is not None:
            due = replace(due, signer=next_signer, generation=due.generation + 1)
        due = replace(due, keeps=due.keeps or checkpoint)
        self._extend(writer, due, [entry.leaf_hash for entry in entries], now_us)
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
        due = self._due(writer)
        if due is None:
            self._begin(writer, now_us)
            due = self._due(writer)
        assert due is not None
        self._extend(writer, due, make(due.frontier.size), now_us)

    def cover(self, writer: Writer, log: Log, *, now_us: int) -> None:
        """Sign a head that covers ``log``, in the transaction of ``writer`` that extends it.

        No entry comes with it, but the first one where there was none.
        """
        due = self._due(writer)
        if due is None:
            self._begin(writer, now_us)
            due = self._due(writer)
        assert due is not None
        self._put_off(writer, replace(due, log=log, at_us=now_us))

    def _begin(self, writer: Writer, now_us: int) -> None:
        self.append(writer, (), now_us=now_us)
        self.head(writer)  # which signs for the first entry alone

    def _extend(self, writer: Writer, due: Due, leaves: Sequence[bytes], now_us: int) -> None:
        frontier, nodes = due.frontier.extended(leaves)
        if nodes:
            writer.insert(NODES, columns_of(NODES), nodes)
        self._put_off(writer, replace(due, frontier=frontier, at_us=now_us))

    def _insert(self, writer: Writer, entries: Sequence[StoredEntry]) -> None:
        try:
            writer.insert(LEDGER, columns_of(LEDGER), map(row_of, entries))
        except ConstraintError as error:
            first, mine = entries[0].seq, {entry.leaf_hash for entry in entries}
            found = self.entries(writer, Compare(">=", "seq", first))
            if any(entry.leaf_hash not in mine for entry in found):
                raise LedgerCorruptError("an entry that no head covers", seq=first) from error
            raise

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

    def adopt(self, signers: Signers) -> None:
        """Take the keys from somewhere else from now on: the rotation to them is committed."""
        self.signers = signers

    # --- proofs ---------------------------------------------------------------------------------

    def prove(self, reader: Reader, seq: int) -> str:
        """Return the proof that entry ``seq`` stands in the newest head (C2SP tlog-proof).

        Raises:
            RecordNotFoundError: There is no such entry.
            LedgerCorruptError: What is kept does not prove it.
        """
        return prove(self.tree.fetch(reader), self.head(reader), seq)
