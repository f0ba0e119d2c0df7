"""The head of a ledger: its newest size and root, signed, and what must hold of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.merkle import Frontier
from affidavit.catalog.ledger.verifier import (
    HASH_BYTES,
    Checkpoint,
    LedgerProblem,
    Log,
    open_checkpoint,
    to_base64,
)
from affidavit.catalog.store.covering.multiset import SUM_BYTES, as_bytes, digest, of_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from affidavit.catalog.ledger.keys import Signer
    from affidavit.catalog.ledger.verifier import PublicKey
    from affidavit.catalog.values.types import StoreValue

TIME_END_US: Final = 253_402_300_800_000_000
"""The end of the year 9999, in microseconds since the epoch."""

SIGNATURE_LINES: Final = 2
"""What a note has after its text: an empty line and a signature."""


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
        log: How far the log of statements is covered; ``None`` where none of it is.
        data: The sum of what the tenant's data comes to; ``None`` where it is not covered.
        logged_at: When the newest entry that says so was logged, in microseconds since the epoch.
    """

    frontier: Frontier
    note: str
    key_id: str
    generation: int
    checkpoint_size: int
    checkpoint_at: int
    log: Log | None = None
    data: int | None = None
    logged_at: int = 0

    @property
    def size(self) -> int:
        """How many entries there are."""
        return self.frontier.size

    def checkpoint(self, origin: str) -> Checkpoint:
        """Return what is signed of it."""
        return stated(origin, self.frontier, self.log, self.data)

    @property
    def row(self) -> tuple[StoreValue, ...]:
        """What the store has of it, as ``tables.HEADS`` lists its columns."""
        log = (None,) * 3 if self.log is None else (self.log.rows, self.log.digest, self.log.first)
        return (
            self.size, b"".join(self.frontier.peaks), self.note, self.key_id, self.generation,
            self.checkpoint_size, self.checkpoint_at, *log,
            None if self.data is None else as_bytes(self.data), self.logged_at,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Due:
    """A ledger as a transaction has left it so far, whose head is still to be signed.

    Attributes:
        frontier: The tree.
        signer: The key that signs.
        generation: Which of the derived keys that is.
        log: How far the log of statements is covered; ``None`` where none of it is.
        logged_at: When the newest entry that says so was logged, in microseconds since the epoch.
        at_us: When it came so far, in microseconds since the epoch.
        keeps: Whether the head is to be kept as a checkpoint, whether or not one is due.
    """

    frontier: Frontier
    signer: Signer
    generation: int
    log: Log | None
    logged_at: int
    at_us: int = 0
    keeps: bool = False


def sign_note(text: str, key: PublicKey, sign: Callable[[bytes], bytes]) -> str:
    """Return the signed note of ``text``, which ends with a newline."""
    signature = to_base64(key.key_hash + sign(text.encode()))
    return f"{text}\n— {key.name} {signature}\n"


def stated(origin: str, frontier: Frontier, log: Log | None, data: int | None) -> Checkpoint:
    """Return what is signed of a tree, the log of statements and the sum of the data."""
    told = None if data is None else digest(data)
    return Checkpoint(origin, frontier.size, frontier.root, log=log, data=told)


def parse_head(row: Sequence[object], origin: str) -> Head:
    """Return a head from its store row; LedgerProblem if it contradicts itself."""
    size, peaks, note, key_id, generation, checkpoint_size, checkpoint_at, *logged, data, at_us = (
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
        and isinstance(at_us, int | None)
        and 0 <= (at_us or 0) < TIME_END_US
    ):
        raise LedgerProblem("it is unreadable")
    if size < 1 or len(peaks) != HASH_BYTES * size.bit_count():
        raise LedgerProblem("its size and its tree differ")
    hashes = tuple(peaks[at : at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES))
    frontier = Frontier(size, hashes)
    log = _parse_log(*logged)
    if not isinstance(data, bytes | None) or (data is not None and len(data) != SUM_BYTES):
        raise LedgerProblem("the sum of its data is unreadable")
    total = None if data is None else of_bytes(data)
    head = Head(
        frontier, note, key_id, generation, checkpoint_size, checkpoint_at, log, total, at_us or 0
    )
    stated = head.checkpoint(origin).text
    if note.rpartition("\n\n")[0] + "\n" != stated:
        raise LedgerProblem("its note states another size, root, log or ledger, or other data")
    return head


def _parse_log(rows: object, digest: object, first: object) -> Log | None:
    if rows is None and digest is None and first is None:
        return None
    if not (isinstance(rows, int) and isinstance(digest, bytes) and isinstance(first, int)):
        raise LedgerProblem("what it covers of the log of statements is unreadable")
    return Log(first, rows, digest)


def open_kept(
    note: str, keys: Iterable[PublicKey], *, kept: bool = True
) -> tuple[Checkpoint, PublicKey]:
    """Return what a note of the store states and who signed it; LedgerProblem if nobody did.

    Nothing but that signature stands in it. ``kept`` says whether it is a kept checkpoint or the
    head, neither of which can stand for the other.
    """
    checkpoint, key = open_checkpoint(note, keys)
    if note.count("\n") != checkpoint.text.count("\n") + SIGNATURE_LINES:
        raise LedgerProblem("its note is not one checkpoint with one signature")
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
