"""Checking a whole ledger against its own signatures.

Rules:
    - The lake is only read, and nothing in it is trusted: whatever stands in a column may have
      been put there by somebody else, in any type.
    - What is found is the first entry that is wrong. Where only a stretch of entries can be named,
      because whoever changed one changed every hash above it too, its first entry is.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from affidavit.catalog.ledger.entry import KEY
from affidavit.catalog.ledger.head import check_head, open_kept, parse_head
from affidavit.catalog.ledger.kept import ENTRIES_READ_AT_ONCE
from affidavit.catalog.ledger.merkle import frontier_at
from affidavit.catalog.ledger.verification.derived import Derived
from affidavit.catalog.ledger.verification.entries import EntryChecks
from affidavit.catalog.ledger.verification.findings import Stretch, Verification, first_of
from affidavit.catalog.ledger.verification.gone import LETTING_GO, SaidGone
from affidavit.catalog.ledger.verification.grown import GrownTree
from affidavit.catalog.ledger.verification.signatures import SignatureChecks
from affidavit.catalog.ledger.verification.statements import SignedLog, StatementRows
from affidavit.catalog.ledger.verifier import (
    EMPTY_ROOT,
    Checkpoint,
    LedgerProblem,
    open_checkpoint,
    shown,
    stated_size,
)
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import CHECKPOINTS, HEADS, LEDGER, NODES, RESULTS
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.ledger.head import Head
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.ledger.verifier import PublicKey
    from affidavit.catalog.store.protocol import Reader, StoreTable


STRETCH_ENTRIES: Final = 16 * ENTRIES_READ_AT_ONCE
"""So many entries at most are checked at a time by leaves that are rebuilt of what is kept."""


def verify_ledger(
    reader: Reader,
    ledger: Ledger,
    *,
    signatures: bool = True,
    trusted: PublicKey | None = None,
    witnessed: Iterable[str] = (),
    since: int | None = None,
    progress: bool | None = None,
) -> Verification:
    """Check every entry, hash, signature and checkpoint of ``ledger``.

    Args:
        reader: One snapshot of the store.
        ledger: The ledger.
        signatures: Check each entry's own signature too, and not only the heads'.
        trusted: The public key that must be one of the ledger's.
        witnessed: Checkpoints that somebody else kept.
        since: Trust the first so many entries, what is derived of them, and the log of statements:
            they are not read, and the signed head states that they are what they were.
        progress: Show a progress bar; by default where standard error is a terminal.
    """
    heads = reader.select(HEADS, columns_of(HEADS), own(ledger.tenant))
    size = _expected_size(reader, ledger, heads)
    first = min(since or 0, size)
    with (
        SignatureChecks(size - first if signatures else 0) as checks,
        tqdm(
            total=size - first, desc=f"verifying {ledger.origin}", unit=" entries",
            disable=None if progress is None else not progress, leave=False,
        ) as bar,
    ):  # fmt: skip
        check = _Check(reader, ledger, checks if signatures else None, size, first)
        check.run(heads, bar.update, trusted, list(witnessed))
        forged = checks.finish()
        if forged is not None:
            problem = "its signature is wrong: the record was changed or forged"
            check.problems.append(LedgerProblem(problem, seq=forged))
        wrong = first_of(check.problems + check.index_problems)
        key = check.entries.keys.newest
        return Verification(
            ledger.origin, size, check.checkpoints, checks.checked,
            None if key is None else str(key),
            None if wrong is None else wrong.problem,
            None if wrong is None else wrong.seq, check.entries.erased,
            check.statements.covered, check.statements.uncovered, since=since,
        )  # fmt: skip


def _expected_size(reader: Reader, ledger: Ledger, heads: list[tuple[Any, ...]]) -> int:
    """Return how many entries there must be.

    It is what the head was signed for, if it was; else what its columns say, which are then
    wrong somewhere.
    """
    if not heads:
        return 0
    stated, _, note, *_ = heads[0]
    try:
        checkpoint, _ = open_checkpoint(str(note), ledger.keys(reader))
    except LedgerProblem:
        plausible = type(stated) is int and stated >= 0
        return stated if plausible else ledger.count(reader)
    return checkpoint.size


class _Check:
    """One walk along a ledger, and everything that it finds wrong."""

    def __init__(
        self, reader: Reader, ledger: Ledger, checks: SignatureChecks | None, size: int, first: int
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._checks = checks
        self._size = size
        self._first = first
        gone = SaidGone.of(ledger.entries(reader, In("kind", LETTING_GO)))
        self.entries = EntryChecks(ledger.origin, checks, gone)
        self.checkpoints = 0
        self.problems: list[LedgerProblem] = []
        self.index_problems: list[LedgerProblem] = []
        self._tree = GrownTree()
        self._good = first
        self.statements = StatementRows(reader, ledger.tenant, gone)
        self._logs: list[SignedLog] = []
        self._head: Head | None = None

    def run(
        self,
        heads: list[tuple[Any, ...]],
        advance: Any,  # noqa: ANN401 - tqdm's, which is untyped
        trusted: PublicKey | None,
        notes: list[str],
    ) -> None:
        """Note what is wrong."""
        if not heads:
            with self._noting():
                self._nothing_there(trusted, notes)
            return
        with self._noting("the entries that are trusted"):
            self._trust_first()
        kept = self._kept_checkpoints()
        sizes = {size for size, *_ in kept if type(size) is int} | set(map(_size_of, notes))
        self._tree.note_at(sizes | {self._size})
        with self._noting():
            self._walk(advance)
        self._check_sources()
        for row in kept:
            if self._first and type(row[0]) is int and row[0] <= self._first:
                continue
            with self._noting(f"the checkpoint at size {shown(row[0])}"):
                self._check_kept(row)
        with self._noting("the ledger's head"):
            self._check_head(heads, kept)
        for note in notes:
            with self._noting("the witness's checkpoint"):
                self._check_witness(note)
        with self._noting():
            self._check_trust(trusted)
        with self._noting():
            self._check_log()

    @contextmanager
    def _noting(self, where: str | None = None) -> Iterator[None]:
        try:
            yield
        except LedgerProblem as problem:
            if where is not None and problem.seq is None:
                problem = LedgerProblem(f"{where}: {problem.problem}")
            self.problems.append(problem)

    def _nothing_there(self, trusted: PublicKey | None, notes: list[str]) -> None:
        def is_any(table: StoreTable) -> bool:
            return self._reader.count(table, own(self._ledger.tenant)) > 0

        if is_any(LEDGER) or any(each.count(self._reader) for each in self._ledger.keepers):
            raise LedgerProblem("its signed head is missing")
        if is_any(CHECKPOINTS) or notes:
            raise LedgerProblem("checkpoints were signed, and every entry is gone", seq=0)
        if is_any(NODES) or is_any(RESULTS):
            raise LedgerProblem("entries were indexed, and every one is gone", seq=0)
        if trusted is not None:
            raise LedgerProblem(f"no entry is there, and none of the key {trusted.key_id}", seq=0)
        self.statements.check(None, [])

    # --- entries -------------------------------------------------------------------------------

    def _trust_first(self) -> None:
        """Begin after the entries that are trusted: their hashes, and the keys among them."""
        if not self._first:
            return
        try:
            frontier = frontier_at(self._ledger.tree.fetch(self._reader), self._first)
        except LedgerCorruptError as error:
            raise LedgerProblem(error.problem, seq=error.seq) from None
        for entry in self._ledger.key_entries(self._reader):
            if type(entry.seq) is int and entry.seq < self._first:
                self.entries.keys.add(entry.fields(), entry)
        self._tree.begin(frontier, self.entries.keys.newest)

    def _walk(self, advance: Any) -> None:  # noqa: ANN401 - as above
        derived = Derived(None if self._first else self._reader, self._ledger.tenant)
        try:
            low, stretch = self._first, ENTRIES_READ_AT_ONCE
            while low < self._size:
                end = min(low + stretch, self._size)
                leaves = self._ledger.rebuilt_leaves(self._reader, low, end)
                if leaves is not None:
                    stretch = min(2 * stretch, STRETCH_ENTRIES)
                    self._tree.extend(leaves, self.entries.keys.newest, derived)
                else:
                    stretch = ENTRIES_READ_AT_ONCE
                    end = min(low + stretch, self._size)
                    self._check_page(low, end, derived)
                advance(end - low)
                low = end
                if self._checks is not None and self._checks.first_wrong is not None:
                    return  # nothing after it can be the first
            self._check_surplus()
            derived.check_end()
        finally:
            self.index_problems += derived.problems

    def _check_sources(self) -> None:
        """Note what is wrong with how entries are kept that have no row of their own."""
        if self._first:
            return
        try:
            for keeper in self._ledger.keepers:
                for first, last, problem in keeper.faults(self._reader):
                    self.index_problems.append(Stretch(problem, seq=first, last=last))
        except LedgerCorruptError as error:
            self.index_problems.append(LedgerProblem(error.problem, seq=error.seq))

    def _check_page(self, low: int, end: int, derived: Derived) -> None:
        entries = self._page(low, end)
        # 1.5 is the place of no entry: what stands there is one too many, as the end will show
        entries = [each for each in entries if each.seq == int(each.seq)]
        leaves: list[bytes] = []
        try:
            for seq, entry in zip(range(low, end), entries, strict=False):
                if entry.kind == KEY:  # what is signed from here on is signed by another
                    self._tree.extend(leaves, self.entries.keys.newest, derived)
                    leaves = []
                fields = self.entries.check(seq, entry)
                derived.expect(entry, fields)
                leaves.append(entry.leaf_hash)
        finally:
            self._tree.extend(leaves, self.entries.keys.newest, derived)
            derived.check()
        if len(entries) < end - low:
            raise LedgerProblem("it is missing", seq=low + len(entries))
        if len(entries) > end - low:
            raise LedgerProblem("it stands twice", seq=end - 1)

    def _page(self, low: int, end: int) -> list[StoredEntry]:
        try:
            return self._ledger.page(self._reader, low, end)
        except LedgerCorruptError as error:
            raise LedgerProblem(error.problem, seq=error.seq) from None

    def _check_surplus(self) -> None:
        count = self._ledger.count(self._reader)
        if count == self._size:
            return
        if count < self._size:
            raise LedgerProblem(f"the store gives {self._size} entries and counts {count}")
        later = self._ledger.entries(self._reader, Compare(">=", "seq", self._size), limit=1)
        if later and type(later[0].seq) is int:
            raise LedgerProblem(
                "it was inserted: the signed head does not cover it", seq=later[0].seq
            )
        raise LedgerProblem("an entry was inserted that has no number of its own")

    # --- what was signed -----------------------------------------------------------------------

    def _kept_checkpoints(self) -> list[tuple[Any, ...]]:
        return self._reader.select(
            CHECKPOINTS, columns_of(CHECKPOINTS), own(self._ledger.tenant), order_by=("size",)
        )

    @property
    def _is_whole(self) -> bool:
        """Whether the walk came to its end; keys and states above it are unknown otherwise."""
        return self._tree.frontier.size == self._size

    def _check_kept(self, row: tuple[Any, ...]) -> None:
        stated, root, key_id, note, at_us = row
        if type(stated) is not int or type(at_us) is not int:
            raise LedgerProblem("its size or time is no number")
        if stated > self._tree.frontier.size and not self._is_whole:
            return
        checkpoint, key = open_kept(str(note), self.entries.keys.known.values())
        told = (checkpoint.origin, checkpoint.size, checkpoint.root, key.key_id)
        if told != (self._ledger.origin, stated, root, key_id):
            raise LedgerProblem("its columns are not what was signed")
        where = f"the checkpoint at size {stated}"
        self._check_state(checkpoint, key, where)
        self._note_log(where, checkpoint)
        self.checkpoints += 1

    def _check_state(self, checkpoint: Checkpoint, key: PublicKey, where: str) -> None:
        """Raise unless the entries are those that ``checkpoint`` was signed for."""
        size = self._tree.frontier.size
        if checkpoint.size > size:
            raise LedgerProblem(
                f"{where} was signed, and the entries from here on are gone", seq=size
            )
        root, signer = self._tree.states.get(checkpoint.size, (EMPTY_ROOT, None))
        if root != checkpoint.root:
            first, last = self._good, checkpoint.size - 1
            raise Stretch(
                f"one of the entries {first} to {last} is not what {where} was signed for",
                seq=first, last=last,
            )  # fmt: skip
        if key != signer:
            raise LedgerProblem("it is signed by a key that was not in use there")
        self._good = max(self._good, checkpoint.size)

    def _check_head(self, heads: list[tuple[Any, ...]], kept: list[tuple[Any, ...]]) -> None:
        if len(heads) > 1:
            raise LedgerProblem("there is more than one")
        head = parse_head(heads[0], self._ledger.origin)
        if not self._is_whole:
            return
        check_head(head, list(self.entries.keys.known.values()))
        self._head = head
        told = self.entries.logged_at
        is_other = head.logged_at < told if self.entries.has_let_go else head.logged_at != told
        if head.logged_at and is_other and not self._first:
            raise LedgerProblem("its time is not that of the newest entry that says one")
        state = Checkpoint(self._ledger.origin, head.size, head.frontier.root)
        if self.entries.keys.newest is not None:
            self._check_state(state, self.entries.keys.newest, "the ledger's head")
        sizes = [size for size, *_ in kept]
        newest = [(size, at_us) for size, *_, at_us in kept[-1:]]
        if newest != [(head.checkpoint_size, head.checkpoint_at)] or len(set(sizes)) < len(sizes):
            raise LedgerProblem("the kept checkpoints do not end with the one that it states")

    def _check_trust(self, trusted: PublicKey | None) -> None:
        if (
            trusted is not None
            and trusted not in self.entries.keys.known.values()
            and self._is_whole
        ):
            raise LedgerProblem(
                f"its keys are not of the trusted key {trusted.key_id}: it is another ledger, or "
                "was written anew"
            )

    def _check_witness(self, note: str) -> None:
        size = _size_of(note)
        where = f"the witness's checkpoint at size {size}"
        if size > self._size:
            raise LedgerProblem(
                f"{where} was signed, and the entries from here on are gone", seq=self._size
            )
        if size > self._tree.frontier.size:
            return
        checkpoint, key = open_checkpoint(note, self.entries.keys.known.values())
        if checkpoint.origin != self._ledger.origin:
            raise LedgerProblem(f"it is of another ledger, {shown(checkpoint.origin)}")
        self._check_state(checkpoint, key, where)
        self._note_log(where, checkpoint)

    # --- the log of statements -----------------------------------------------------------------

    def _note_log(self, where: str, checkpoint: Checkpoint) -> None:
        if checkpoint.log is not None:
            self._logs.append(SignedLog(where, checkpoint.log))

    def _check_log(self) -> None:
        if self._head is None or self._first:
            return  # it is wrong, or unknown beyond an entry that is: what it covers is not known
        log = self._head.log
        mine = [] if log is None else [SignedLog("the ledger's head", log)]
        self.statements.check(log, [*self._logs, *mine])


def _size_of(note: str) -> int:
    """Return the size that a note states before it is opened; 0 if it states none."""
    _, size, *_ = [*note.split("\n"), "", ""]
    return stated_size(size) or 0
