"""The head of a ledger: its newest size and root, signed, and what must hold of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.merkle import Frontier
from affidavit.catalog.ledger.verifier import HASH_BYTES, Checkpoint, LedgerProblem, open_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from affidavit.catalog.ledger.verifier import PublicKey

NOTE_LINES: Final = 5
"""Origin, size, root, an empty line and a signature."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest state of a ledger.

    Attributes:
        frontier: The tree.
        note: Its size and root, signed.
        key_id: The key in use.
        generation: Which of the derived keys that is.
        checkpoint_size: The size at the last checkpoint that was kept.
        checkpoint_at: When that was, in microseconds since the epoch.
        log_rows: How many rows of the log of statements it covers; ``None`` where it covers none.
        log_digest: The digest of those.
    """

    frontier: Frontier
    note: str
    key_id: str
    generation: int
    checkpoint_size: int
    checkpoint_at: int
    log_rows: int | None = None
    log_digest: bytes | None = None

    @property
    def size(self) -> int:
        """How many entries there are."""
        return self.frontier.size


def parse_head(row: Sequence[object], origin: str) -> Head:
    """Return a head from its store row; LedgerProblem if it contradicts itself."""
    size, peaks, note, key_id, generation, checkpoint_size, checkpoint_at, log_rows, log_digest = (
        row
    )
    if not (
        isinstance(size, int)
        and isinstance(peaks, bytes)
        and isinstance(note, str)
        and isinstance(key_id, str)
        and isinstance(generation, int)
        and isinstance(checkpoint_size, int)
        and isinstance(checkpoint_at, int)
        and isinstance(log_rows, int | None)
        and isinstance(log_digest, bytes | None)
    ):
        raise LedgerProblem("it is unreadable")
    if size < 1 or len(peaks) != HASH_BYTES * size.bit_count():
        raise LedgerProblem("its size and its tree differ")
    hashes = tuple(peaks[at : at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES))
    frontier = Frontier(size, hashes)
    stated = Checkpoint(origin, size, frontier.root).text
    if note.rpartition("\n\n")[0] + "\n" != stated:
        raise LedgerProblem("its note states another size, root or ledger")
    return Head(
        frontier, note, key_id, generation, checkpoint_size, checkpoint_at, log_rows, log_digest
    )


def open_kept(
    note: str, keys: Iterable[PublicKey], *, kept: bool = True
) -> tuple[Checkpoint, PublicKey]:
    """Return what a note of the store states and who signed it; LedgerProblem if nobody did.

    Nothing but that signature stands in it. ``kept`` says whether it is a kept checkpoint or the
    head, neither of which can stand for the other.
    """
    if note.count("\n") != NOTE_LINES + kept:
        raise LedgerProblem("its note is not one checkpoint with one signature")
    checkpoint, key = open_checkpoint(note, keys)
    if checkpoint.kept != kept:
        raise LedgerProblem("its note is not what stands there")
    return checkpoint, key


def check_head(head: Head, keys: Sequence[PublicKey]) -> None:
    """Raise LedgerProblem unless the newest of the ledger's ``keys`` signed ``head``."""
    _, key = open_kept(head.note, keys, kept=False)
    if key != keys[-1]:
        raise LedgerProblem("it is signed by a key that was replaced")
    if (head.key_id, head.generation) != (key.key_id, len(keys) - 1):
        raise LedgerProblem("its columns name another key than the one that signed it")
    if head.checkpoint_size > head.size:
        raise LedgerProblem("it is older than its newest checkpoint")
