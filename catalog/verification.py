"""Checking a whole ledger against its own signatures.

Rules:
    - The lake is only read, and nothing in it is trusted: whatever stands in a column may have
      been put there by somebody else, in any type.
    - What is found is the first entry that is wrong. Where only a stretch of entries can be named,
      because whoever changed one changed every hash above it too, its first entry is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from affidavit.catalog.canonical import to_us
from affidavit.catalog.ledger import (
    CHECKPOINTS,
    ENTRIES_READ_AT_ONCE,
    HEADS,
    LEDGER,
    NODES,
    RESULTS,
    columns_of,
    parse_head,
)
from affidavit.catalog.merkle import Frontier
from affidavit.catalog.predicate import Compare
from affidavit.catalog.signatures import SignatureChecks
from affidavit.catalog.store.protocol import ROWID
from affidavit.catalog.verifier import (
    ID_FIELDS,
    TIME_FIELDS,
    Keys,
    LedgerProblem,
    check_place,
    open_checkpoint,
)
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from affidavit.catalog.ledger import Ledger, StoredEntry
    from affidavit.catalog.merkle import Node
    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.verifier import Checkpoint, PublicKey


RESULTS_READ_AT_ONCE: Final = 50_000


@dataclass(frozen=True, slots=True)
class Verification:
    """What checking a ledger found; true if nothing is wrong.

    Attributes:
        origin: The ledger.
        entries: How many entries its head states.
        checkpoints: How many kept checkpoints were checked.
        signatures: How many signatures of entries were checked.
        key: The public key that signed the head.
        problem: What is wrong; ``None`` if nothing is.
        seq: The first entry that is wrong, if one can be named.
    """

    origin: str
    entries: int
    checkpoints: int
    signatures: int
    key: str | None
    problem: str | None = None
    seq: int | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.problem is not None:
            where = "" if self.seq is None else f"entry {self.seq}: "
            return f"CORRUPT {self.origin}: {where}{self.problem}"
        return (
            f"VERIFIED {self.origin}: {self.entries:,} entries, {self.signatures:,} signatures, "
            f"{self.checkpoints:,} checkpoints"
        )

    def raise_if_corrupt(self) -> None:
        """Raise LedgerCorruptError if something is wrong."""
        if self.problem is not None:
            raise LedgerCorruptError(self.problem, seq=self.seq)


def verify_ledger(
    reader: Reader,
    ledger: Ledger,
    *,
    signatures: bool = True,
    trusted: PublicKey | None = None,
    witnessed: Iterable[str] = (),
    progress: bool | None = None,
) -> Verification:
    """Check every entry, hash, signature and checkpoint of ``ledger``.

    Args:
        reader: One snapshot of the store.
        ledger: The ledger.
        signatures: Check each entry's own signature too, and not only the heads'.
        trusted: The public key that must be one of the ledger's.
        witnessed: Checkpoints that somebody else kept.
        progress: Show a progress bar; by default where standard error is a terminal.
    """
    rows = reader.select(HEADS, columns_of(HEADS), ledger.own())
    size = rows[0][0] if rows and isinstance(rows[0][0], int) else 0
    with (
        SignatureChecks(size if signatures else 0) as checks,
        tqdm(
            total=size, desc=f"verifying {ledger.origin}", unit=" entries",
            disable=None if progress is None else not progress, leave=False,
        ) as bar,
    ):  # fmt: skip
        check = _Check(reader, ledger, checks if signatures else None)
        problem: LedgerProblem | None = None
        try:
            check.run(rows, bar.update, trusted, witnessed)
        except LedgerProblem as found:
            problem = found
        forged = checks.finish()
        if forged is not None and (problem is None or problem.seq is None or forged <= problem.seq):
            problem = LedgerProblem(
                "its signature is wrong: the record was changed or forged", seq=forged
            )
        key = check.keys.newest
        return Verification(
            ledger.origin, size, check.checkpoints, checks.checked,
            None if key is None else str(key),
            None if problem is None else problem.problem,
            None if problem is None else problem.seq,
        )  # fmt: skip


class _Check:
    """One walk along a ledger; raises LedgerProblem at the first thing that is wrong."""

    def __init__(self, reader: Reader, ledger: Ledger, checks: SignatureChecks | None) -> None:
        self._reader = reader
        self._ledger = ledger
        self._checks = checks
        self.keys = Keys(ledger.origin)
        self.checkpoints = 0
        self._frontier = Frontier()
        self._roots: dict[int, bytes] = {}
        self._bad_node: str | None = None

    def run(
        self,
        heads: list[tuple[Any, ...]],
        advance: Any,  # noqa: ANN401 - tqdm's, which is untyped
        trusted: PublicKey | None,
        witnessed: Iterable[str],
    ) -> None:
        notes = list(witnessed)
        if not heads:
            self._nothing_there(notes)
            return
        kept = self._kept_checkpoints()
        sizes = {size for size, *_ in kept} | self._stated_sizes(notes)
        head_problem: LedgerProblem | None = None
        try:
            size = parse_head(heads[0], self._ledger.origin).size
        except LedgerProblem as problem:
            head_problem = LedgerProblem(f"the ledger's head: {problem.problem}")
            size = heads[0][0] if isinstance(heads[0][0], int) else 0
        self._walk(size, sizes, advance)
        if head_problem is not None:
            raise head_problem
        self._check_kept(kept, size)
        self._check_head(str(heads[0][2]))
        if self._bad_node is not None:  # and not the entries, which are what was signed
            raise LedgerProblem(self._bad_node)
        self._check_trust(trusted)
        self._check_witness(notes)

    def _nothing_there(self, notes: list[str]) -> None:
        if self._reader.count(LEDGER, self._ledger.own()):
            raise LedgerProblem("its signed head is missing")
        if self._reader.count(CHECKPOINTS, self._ledger.own()) or notes:
            raise LedgerProblem("checkpoints were signed, and every entry is gone", seq=0)

    # --- entries -------------------------------------------------------------------------------

    def _walk(self, size: int, sizes: set[int], advance: Any) -> None:  # noqa: ANN401 - as above
        results = _Results(self._reader, self._ledger)
        nodes = self._stored_nodes()
        for low in range(0, size, ENTRIES_READ_AT_ONCE):
            end = min(low + ENTRIES_READ_AT_ONCE, size)
            bounds = (Compare(">=", "seq", low), Compare("<", "seq", end))
            entries = self._ledger.entries(self._reader, *bounds)
            for seq, entry in zip(range(low, end), entries, strict=False):
                fields = self._check_entry(seq, entry)
                results.expect(entry, fields)
                self._extend(entry, sizes, nodes)
            if len(entries) < end - low:
                raise LedgerProblem("it is missing", seq=low + len(entries))
            results.check()
            advance(end - low)
            if self._checks is not None and self._checks.first_wrong is not None:
                return  # nothing after it can be the first
        self._check_surplus(size)
        if next(nodes, None) is not None and self._bad_node is None:
            self._bad_node = "there are kept nodes that no entry completes"
        results.check_end()

    def _check_surplus(self, size: int) -> None:
        if self._reader.count(LEDGER, self._ledger.own()) == size:
            return
        later = self._ledger.entries(self._reader, Compare(">=", "seq", size), limit=1)
        raise LedgerProblem(
            "it was inserted: the signed head does not cover it",
            seq=size if later else None,
        )

    def _check_entry(self, seq: int, entry: StoredEntry) -> dict[str, Any]:
        if entry.seq != seq:
            twice = isinstance(entry.seq, int) and entry.seq < seq
            problem = "it stands twice" if twice else "it is missing"
            raise LedgerProblem(problem, seq=entry.seq if twice else seq)
        signed = entry.signature
        if not isinstance(entry.body, bytes) or not isinstance(signed, bytes | None):
            raise LedgerProblem("its body or signature is no bytes", seq=seq)
        if entry.leaf != entry.leaf_hash:
            raise LedgerProblem("its leaf is not the hash of its body and signature", seq=seq)
        fields = entry.fields()
        check_place(fields, entry, origin=self._ledger.origin)
        self._check_columns(fields, entry)
        if entry.kind == "key":
            self.keys.add(fields, entry)
            return fields
        signer = self.keys.signer(fields, entry)
        if signer is not None and self._checks is not None:
            self._checks.add(seq, signer.raw, signed or b"", entry.body)
        return fields

    def _check_columns(self, fields: dict[str, Any], entry: StoredEntry) -> None:
        kind = fields.get("kind")
        if kind != entry.kind:
            raise LedgerProblem(f"its kind is {kind!r}, not {entry.kind!r}", seq=entry.seq)
        named = fields.get(ID_FIELDS.get(entry.kind, "entry_id"))
        if named != entry.entry_id:
            raise LedgerProblem(f"its id is {named!r}, not {entry.entry_id!r}", seq=entry.seq)
        time = fields.get(TIME_FIELDS.get(entry.kind, "created_at"))
        try:
            stated = to_us(str(time))
        except (ValueError, TypeError):
            raise LedgerProblem(f"its time {time!r} is no time", seq=entry.seq) from None
        if stated != entry.created_at:
            raise LedgerProblem("its time is not the one in its body", seq=entry.seq)

    def _extend(self, entry: StoredEntry, sizes: set[int], nodes: Iterator[Node]) -> None:
        self._frontier, completed = self._frontier.extended([entry.leaf_hash])
        for node in completed:
            if next(nodes, None) != node and self._bad_node is None:
                level, at, _ = node
                self._bad_node = f"the kept node {at} of level {level} is wrong or missing"
        if self._frontier.size in sizes:
            self._roots[self._frontier.size] = self._frontier.root

    def _stored_nodes(self) -> Iterator[Node]:
        """Yield the nodes in the order in which entries complete them."""
        rows = self._reader.select(NODES, columns_of(NODES), self._ledger.own(), order_by=(ROWID,))
        found: list[Any] = sorted(rows, key=_completed_at)
        return iter(found)

    # --- what was signed -----------------------------------------------------------------------

    def _kept_checkpoints(self) -> list[tuple[Any, ...]]:
        return self._reader.select(
            CHECKPOINTS, columns_of(CHECKPOINTS), self._ledger.own(), order_by=("size",)
        )

    def _stated_sizes(self, notes: list[str]) -> set[int]:
        lines = [note.split("\n") for note in notes]
        return {int(each[1]) for each in lines if len(each) > 1 and each[1].isdecimal()}

    def _check_kept(self, kept: list[tuple[Any, ...]], size: int) -> None:
        before = 0
        for stated, root, key_id, note, _ in kept:
            where = f"the checkpoint at size {stated}"
            checkpoint, key = self._open(str(note), where)
            told = (checkpoint.size, checkpoint.root, key.key_id)
            if told != (stated, root, key_id):
                raise LedgerProblem(f"{where}: its columns are not what was signed")
            self._check_state(checkpoint, where, first=before)
            before = min(checkpoint.size, size)
            self.checkpoints += 1

    def _open(self, note: str, where: str) -> tuple[Checkpoint, PublicKey]:
        try:
            checkpoint, key = open_checkpoint(note, self.keys.known.values())
        except LedgerProblem as problem:
            raise LedgerProblem(f"{where}: {problem.problem}") from None
        if checkpoint.origin != self._ledger.origin:
            raise LedgerProblem(f"{where}: it is of another ledger, {checkpoint.origin!r}")
        return checkpoint, key

    def _check_state(self, checkpoint: Checkpoint, where: str, *, first: int) -> None:
        """Raise unless the entries are those that ``checkpoint`` was signed for."""
        size = self._frontier.size
        if checkpoint.size > size:
            raise LedgerProblem(
                f"{where} was signed, and the entries from here on are gone", seq=size
            )
        if checkpoint.size and self._roots.get(checkpoint.size) != checkpoint.root:
            last = checkpoint.size - 1
            raise LedgerProblem(
                f"one of the entries {first} to {last} is not what {where} was signed for",
                seq=first,
            )

    def _check_head(self, note: str) -> None:
        where = "the ledger's head"
        checkpoint, key = self._open(note, where)
        if key != self.keys.newest:
            raise LedgerProblem(f"{where}: it is signed by a key that was replaced")
        self._roots[self._frontier.size] = self._frontier.root
        self._check_state(checkpoint, where, first=0)

    def _check_trust(self, trusted: PublicKey | None) -> None:
        if trusted is not None and trusted.key_id not in self.keys.known:
            raise LedgerProblem(
                f"its keys are not of the trusted key {trusted.key_id}: it is another ledger, or "
                "was written anew"
            )

    def _check_witness(self, notes: list[str]) -> None:
        for note in notes:
            checkpoint, _ = self._open(note, "the witness's checkpoint")
            self._check_state(
                checkpoint, f"the witness's checkpoint at size {checkpoint.size}", first=0
            )


def _completed_at(node: tuple[Any, ...]) -> tuple[int, int]:
    level, position, _ = node
    if not isinstance(level, int) or not isinstance(position, int) or not 0 < level < 64:  # noqa: PLR2004 - no tree is higher
        raise LedgerProblem("a kept node has no place")
    return (position + 1) << level, level


class _Results:
    """The index of returned rows, read along with the records that tell what must stand in it."""

    def __init__(self, reader: Reader, ledger: Ledger) -> None:
        self._expected: list[tuple[Any, ...]] = []
        self._rows = _result_rows(reader, ledger)

    def expect(self, entry: StoredEntry, fields: dict[str, Any]) -> None:
        """Note the rows that a record says were returned."""
        if entry.kind == "search":
            ids = fields.get("top_k_result_ids")
            self._expected += [(row, entry.seq) for row in ids] if isinstance(ids, list) else []

    def check(self) -> None:
        """Raise LedgerProblem unless the index has the rows noted since, in that order."""
        expected, self._expected = self._expected, []
        found = list(islice(self._rows, len(expected)))
        if found == expected:
            return
        for wanted, stands in zip_longest(expected, found):
            if wanted != stands:
                raise LedgerProblem("the index of returned rows differs from it", seq=wanted[1])

    def check_end(self) -> None:
        """Raise LedgerProblem if the index has more rows."""
        if next(self._rows, None) is not None:
            raise LedgerProblem("the index of returned rows has one that no record returned")


def _result_rows(reader: Reader, ledger: Ledger) -> Iterator[tuple[object, ...]]:
    """Return the rows of the index in the order in which they were written."""
    pages = reader.rows(RESULTS, ("row_id", "seq"), ledger.own(), batch_rows=RESULTS_READ_AT_ONCE)
    return chain.from_iterable(pages)
