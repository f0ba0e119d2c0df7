"""A ledger that signs: one head for all that a transaction appends, as it ends.

Rules:
    - What is appended is in the tree at once, and its head is put off: until the transaction ends,
      or what a head stands in is asked for in it. So nobody finds a head that does not cover it.
    - A new head is signed only if the old one is intact, which its signature says, and the tree
      extends it. So nothing that somebody else put there is ever signed over.
    - The first head is kept as a checkpoint: a ledger without one was tampered with.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from affidavit.catalog.ledger.head import Due, Head, sign_note, stated
from affidavit.catalog.ledger.kept import KeptLedger
from affidavit.catalog.ledger.tree import Tree, check_extension
from affidavit.catalog.ledger.verifier import Checkpoint, LedgerProblem, open_checkpoint
from affidavit.catalog.store.covering.states import Known, add_moves, begin
from affidavit.catalog.store.protocol import PutOff, columns_of, own
from affidavit.catalog.store.tables import CHECKPOINTS, HEADS, LEDGER, STATES
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from affidavit.catalog.ledger.entry import EntryKeeper, RecordKeeper
    from affidavit.catalog.ledger.keys import Signer, Signers
    from affidavit.catalog.ledger.verifier import Log
    from affidavit.catalog.store.protocol import Reader, StoreTable, Writer

Covers: TypeAlias = "Callable[[Reader, str], Iterable[StoreTable]]"
CHECKPOINT_ENTRIES: Final = 1024
CHECKPOINT_INTERVAL_S: Final = 60.0
_US: Final = 1_000_000

_STATED: Final = frozenset({HEADS.name, STATES.name, CHECKPOINTS.name})
"""What a head is written with."""


class SigningLedger(KeptLedger):
    """The ledger of one tenant, as its heads are signed.

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

    # --- what is to be signed ------------------------------------------------------------------

    def _due(self, writer: Writer) -> Due | None:
        """Return how a transaction has left the ledger; ``None`` if there are no entries."""
        due = self._pending(writer)
        if due is not None:
            return due
        head = self._stored(writer)
        if head is not None:
            signer = self._current_signer(head)
            return Due(head.frontier, signer, head.generation, head.log, head.logged_at)
        kept = any(writer.count(table, own(self.tenant)) for table in (LEDGER, CHECKPOINTS))
        if kept or any(keeper.count(writer) for keeper in self.keepers):
            raise LedgerCorruptError("its signed head is missing")
        return None

    def _stored(self, writer: Writer) -> Head | None:
        """Return the head that the transaction found, or wrote last; it is looked up once."""
        memo = writer.memo
        if self._head_key not in memo:
            memo[self._head_key] = self.head(writer)
        found = memo[self._head_key]
        return found if isinstance(found, Head) else None

    def _put_off(self, writer: Writer, due: Due) -> None:
        """Let a head be signed for ``due`` as the transaction ends, instead of an earlier one."""
        write = partial(self._sign, writer, due)
        writer.put_off(self._head_key, PutOff(due, _STATED, write))

    def log_of(self, writer: Writer) -> Log | None:
        """Return how far the log of statements is covered as a transaction has left it."""
        due = self._due(writer)
        return None if due is None else due.log

    def cover_moves(self, writer: Writer, *, now_us: int) -> None:
        """Sign a head that covers what has moved, if this ledger's heads cover data."""
        if self._pending(writer) is not None:  # and so will it
            return
        old = self._stored(writer)
        if old is None and self._covers is not None:
            self._begin(writer, now_us)
        elif old is not None and (old.data is not None or self._covers is not None):
            due = self._due(writer)
            assert due is not None
            self._put_off(writer, replace(due, at_us=now_us))

    def _begin(self, writer: Writer, now_us: int) -> None:
        """Append the first entry."""
        raise NotImplementedError

    def is_due(self, at_us: int, now_us: int) -> bool:
        """Return whether a checkpoint that was kept at a time is long ago, or in what is to come.

        A clock that was ahead when it was kept says nothing of how long ago that is.
        """
        return not 0 <= now_us - at_us < self.checkpoint_interval_s * _US

    # --- a head --------------------------------------------------------------------------------

    def _sign(self, writer: Writer, due: Due) -> None:
        """Write the head of what a transaction has appended."""
        old, frontier, signer, now_us = self._stored(writer), due.frontier, due.signer, due.at_us
        data = self._summed_up(writer, old, frontier.size)
        size_then, at_then = (0, 0) if old is None else (old.checkpoint_size, old.checkpoint_at)
        is_due = (
            due.keeps
            or old is None
            or frontier.size - size_then >= self.checkpoint_entries
            or self.is_due(at_then, now_us)
        )
        if is_due and size_then < frontier.size:
            checkpoint = stated(self.origin, frontier, due.log, data)
            self._prove_extension(writer, size_then, checkpoint)
            self._keep(writer, checkpoint, signer, now_us)
            size_then, at_then = frontier.size, now_us
            if data is not None:  # the checkpoint that was kept is among what the head covers
                data = self._moved(writer, data, frontier.size)
        text = stated(self.origin, frontier, due.log, data).text
        note = sign_note(text, signer.public_key, signer.sign)
        head = Head(
            frontier, note, signer.public_key.key_id, due.generation, size_then, at_then, due.log,
            data, due.logged_at,
        )  # fmt: skip
        row = head.row
        if old is None:
            writer.insert(HEADS, columns_of(HEADS), [row])
        else:
            writer.update_where(HEADS, dict(zip(columns_of(HEADS), row, strict=True)), None)
        self._intact = row, head
        writer.memo[self._head_key] = head

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
        writer.memo.pop(self._head_key, None)
        return note
