"""Checking a whole ledger against its own signatures.

Rules:
    - The lake is only read, and nothing in it is trusted: whatever stands in a column may have
      been put there by somebody else, in any type.
    - What is found is the first entry that is wrong. Where only a stretch of entries can be named,
      because whoever changed one changed every hash above it too, its first entry is.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from affidavit.catalog.ledger.entry import (
    DROPPED,
    KEY,
)
from affidavit.catalog.ledger.head import (
    check_head,
    open_kept,
    parse_head,
)
from affidavit.catalog.ledger.ledger import ENTRIES_READ_AT_ONCE
from affidavit.catalog.ledger.merkle import Frontier
from affidavit.catalog.ledger.signatures import SignatureChecks
from affidavit.catalog.ledger.verifier import (
    EMPTY_ROOT,
    ID_FIELDS,
    TIME_FIELDS,
    Checkpoint,
    Keys,
    LedgerProblem,
    check_place,
    open_checkpoint,
    shown,
    stated_size,
)
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import ROWID, columns_of, own
from affidavit.catalog.store.tables import CHECKPOINTS, HEADS, LEDGER, NODES, RESULTS
from affidavit.catalog.values.canonical import to_us
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.ledger.ledger import Ledger
    from affidavit.catalog.ledger.merkle import Node
    from affidavit.catalog.ledger.verifier import PublicKey
    from affidavit.catalog.store.protocol import Reader, StoreTable


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
        erased: How many events have lost their values, by the entry that says so.
    """

    origin: str
    entries: int
    checkpoints: int
    signatures: int
    key: str | None
    problem: str | None = None
    seq: int | None = None
    erased: Mapping[int, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.problem is not None:
            where = "" if self.seq is None else f"entry {self.seq}: "
            return f"CORRUPT {self.origin}: {where}{printable(self.problem)}"
        erased = "".join(
            f"; {count:,} events erased by entry {by}" for by, count in sorted(self.erased.items())
        )
        return (
            f"VERIFIED {self.origin}: {self.entries:,} entries, {self.signatures:,} signatures, "
            f"{self.checkpoints:,} checkpoints{erased}"
        )

    def raise_if_corrupt(self) -> None:
        """Raise LedgerCorruptError if something is wrong."""
        if self.problem is not None:
            raise LedgerCorruptError(self.problem, seq=self.seq)


def printable(text: object) -> str:
    """Return ``text``, some of which may have stood in a store, so that no terminal obeys it."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(text))


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
    heads = reader.select(HEADS, columns_of(HEADS), own(ledger.tenant))
    size = _expected_size(reader, ledger, heads)
    with (
        SignatureChecks(size if signatures else 0) as checks,
        tqdm(
            total=size, desc=f"verifying {ledger.origin}", unit=" entries",
            disable=None if progress is None else not progress, leave=False,
        ) as bar,
    ):  # fmt: skip
        check = _Check(reader, ledger, checks if signatures else None, size)
        check.run(heads, bar.update, trusted, list(witnessed))
        forged = checks.finish()
        if forged is not None:
            problem = "its signature is wrong: the record was changed or forged"
            check.problems.append(LedgerProblem(problem, seq=forged))
        first = _first(check.problems + check.index_problems)
        key = check.keys.newest
        return Verification(
            ledger.origin, size, check.checkpoints, checks.checked,
            None if key is None else str(key),
            None if first is None else first.problem,
            None if first is None else first.seq, check.erased,
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
        return stated if plausible else reader.count(LEDGER, own(ledger.tenant))
    return checkpoint.size


class _Stretch(LedgerProblem):
    """One of the entries ``seq`` to ``last`` is wrong, and no hash says which."""

    def __init__(self, problem: str, *, seq: int, last: int) -> None:
        super().__init__(problem, seq=seq)
        self.last = last


def _first(problems: list[LedgerProblem]) -> LedgerProblem | None:
    """Return the problem of the first entry that is wrong, else the first problem.

    A stretch in which an entry was found by itself says no more than that.
    """
    named = [each for each in problems if each.seq is not None and not isinstance(each, _Stretch)]
    first = min(named, key=lambda each: each.seq or 0, default=None)
    for each in problems:
        if isinstance(each, _Stretch) and (first is None or each.last < (first.seq or 0)):
            return each
    return first or next(iter(problems), None)


class _Check:
    """One walk along a ledger, and everything that it finds wrong."""

    def __init__(
        self, reader: Reader, ledger: Ledger, checks: SignatureChecks | None, size: int
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._checks = checks
        self._size = size
        self.keys = Keys(ledger.origin)
        self.checkpoints = 0
        self.problems: list[LedgerProblem] = []
        self.index_problems: list[LedgerProblem] = []
        self._frontier = Frontier()
        self._states: dict[int, tuple[bytes, PublicKey | None]] = {}
        self._good = 0
        self.erased: dict[int, int] = {}
        self._erased: dict[str, int] = {}
        self._dropped: list[tuple[int, int, int]] = []
        for entry in ledger.entries(reader, In("kind", ("erasure", "retention"))):
            self._note_gone(entry)

    def _note_gone(self, entry: StoredEntry) -> None:
        """Note what an entry says was let go; whether it is genuine is checked in its turn."""
        try:
            fields = entry.fields()
            if entry.kind == "erasure":
                self._erased[str(fields["entity_id"])] = entry.seq
            else:
                self._dropped += [(entry.seq, first, last) for first, last in fields["ranges"]]
        except (LedgerProblem, KeyError, TypeError, ValueError, AttributeError):
            return

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
        kept = self._kept_checkpoints()
        sizes = {size for size, *_ in kept if type(size) is int} | set(map(_size_of, notes))
        with self._noting():
            self._walk(sizes | {self._size}, advance)
        self._check_sources()
        for row in kept:
            with self._noting(f"the checkpoint at size {shown(row[0])}"):
                self._check_kept(row)
        with self._noting("the ledger's head"):
            self._check_head(heads, kept)
        for note in notes:
            with self._noting("the witness's checkpoint"):
                self._check_witness(note)
        with self._noting():
            self._check_trust(trusted)

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

        if is_any(LEDGER) or any(each.count(self._reader) for each in self._ledger.sources):
            raise LedgerProblem("its signed head is missing")
        if is_any(CHECKPOINTS) or notes:
            raise LedgerProblem("checkpoints were signed, and every entry is gone", seq=0)
        if is_any(NODES) or is_any(RESULTS):
            raise LedgerProblem("entries were indexed, and every one is gone", seq=0)
        if trusted is not None:
            raise LedgerProblem(f"no entry is there, and none of the key {trusted.key_id}", seq=0)

    # --- entries -------------------------------------------------------------------------------

    def _walk(self, sizes: set[int], advance: Any) -> None:  # noqa: ANN401 - as above
        results = _Results(self._reader, self._ledger)
        nodes = _Nodes(self._reader, self._ledger)
        try:
            for low in range(0, self._size, ENTRIES_READ_AT_ONCE):
                end = min(low + ENTRIES_READ_AT_ONCE, self._size)
                self._check_page(low, end, sizes, results, nodes)
                advance(end - low)
                if self._checks is not None and self._checks.first_wrong is not None:
                    return  # nothing after it can be the first
            self._check_surplus()
            nodes.check_end()
            results.check_end()
        finally:
            self.index_problems += [each for each in (results.problem, nodes.problem) if each]

    def _check_sources(self) -> None:
        """Note what is wrong with how entries are kept that have no row of their own."""
        try:
            for source in self._ledger.sources:
                for first, last, problem in source.faults(self._reader):
                    self.index_problems.append(_Stretch(problem, seq=first, last=last))
        except LedgerCorruptError as error:
            self.index_problems.append(LedgerProblem(error.problem, seq=error.seq))

    def _check_page(
        self, low: int, end: int, sizes: set[int], results: _Results, nodes: _Nodes
    ) -> None:
        entries = self._page(low, end)
        # 1.5 is the place of no entry: what stands there is one too many, as the end will show
        entries = [each for each in entries if each.seq == int(each.seq)]
        try:
            for seq, entry in zip(range(low, end), entries, strict=False):
                fields = self._check_entry(seq, entry)
                results.expect(entry, fields)
                self._frontier, completed = self._frontier.extended([entry.leaf_hash])
                nodes.check(completed)
                if self._frontier.size in sizes:
                    self._states[self._frontier.size] = self._frontier.root, self.keys.newest
        finally:
            results.check()
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

    def _check_entry(self, seq: int, entry: StoredEntry) -> dict[str, Any]:
        if entry.seq != seq:
            twice = entry.seq < seq
            problem = "it stands twice" if twice else "it is missing"
            raise LedgerProblem(problem, seq=int(entry.seq) if twice else seq)
        if type(entry.seq) is not int:
            raise LedgerProblem(f"its number is kept as {shown(entry.seq)}", seq=seq)
        signed = entry.signature
        if not isinstance(entry.body, bytes) or not isinstance(signed, bytes | None):
            raise LedgerProblem("its body or signature is no bytes", seq=seq)
        if entry.gone:
            self._check_gone(entry)
            if entry.gone == DROPPED:
                return {}
        if entry.leaf != entry.leaf_hash:
            raise LedgerProblem("its leaf is not the hash of its body and signature", seq=seq)
        fields = entry.fields()
        check_place(fields, entry, origin=self._ledger.origin)
        self._check_columns(fields, entry)
        if entry.kind == KEY:
            self.keys.add(fields, entry)
            return fields
        signer = self.keys.signer(fields, entry)
        if signer is not None and self._checks is not None:
            self._checks.add(seq, signer.raw, signed or b"", entry.body)
        return fields

    def _check_gone(self, entry: StoredEntry) -> None:
        """Raise unless a later entry says why an event, or its values, are no longer there."""
        if entry.gone == DROPPED:
            if not any(first <= entry.seq <= last < by for by, first, last in self._dropped):
                raise LedgerProblem("it is gone, and no entry says that it was", seq=entry.seq)
            return
        by = self._erased.get(str(entry.fields().get("entity_id")), -1)
        if by <= entry.seq:
            raise LedgerProblem(
                "its values are gone, and no entry says that they were erased", seq=entry.seq
            )
        self.erased[by] = self.erased.get(by, 0) + 1

    def _check_columns(self, fields: dict[str, Any], entry: StoredEntry) -> None:
        kind, stands = fields.get("kind"), entry.kind
        if kind != stands:
            raise LedgerProblem(f"its kind is {shown(kind)}, not {shown(stands)}", seq=entry.seq)
        named = fields.get(ID_FIELDS.get(entry.kind, "entry_id"))
        if named != entry.entry_id:
            raise LedgerProblem(
                f"its id is {shown(named)}, not {shown(entry.entry_id)}", seq=entry.seq
            )
        time = fields.get(TIME_FIELDS.get(entry.kind, "created_at"))
        try:
            stated = to_us(str(time))
        except (ValueError, TypeError, OverflowError):
            raise LedgerProblem(f"its time {shown(time)} is no time", seq=entry.seq) from None
        if type(entry.created_at) is not int or stated != entry.created_at:
            raise LedgerProblem("its time is not the one in its body", seq=entry.seq)

    # --- what was signed -----------------------------------------------------------------------

    def _kept_checkpoints(self) -> list[tuple[Any, ...]]:
        return self._reader.select(
            CHECKPOINTS, columns_of(CHECKPOINTS), own(self._ledger.tenant), order_by=("size",)
        )

    @property
    def _is_whole(self) -> bool:
        """Whether the walk came to its end; keys and states above it are unknown otherwise."""
        return self._frontier.size == self._size

    def _check_kept(self, row: tuple[Any, ...]) -> None:
        stated, root, key_id, note, at_us = row
        if type(stated) is not int or type(at_us) is not int:
            raise LedgerProblem("its size or time is no number")
        if stated > self._frontier.size and not self._is_whole:
            return
        checkpoint, key = open_kept(str(note), self.keys.known.values())
        told = (checkpoint.origin, checkpoint.size, checkpoint.root, key.key_id)
        if told != (self._ledger.origin, stated, root, key_id):
            raise LedgerProblem("its columns are not what was signed")
        self._check_state(checkpoint, key, f"the checkpoint at size {stated}")
        self.checkpoints += 1

    def _check_state(self, checkpoint: Checkpoint, key: PublicKey, where: str) -> None:
        """Raise unless the entries are those that ``checkpoint`` was signed for."""
        size = self._frontier.size
        if checkpoint.size > size:
            raise LedgerProblem(
                f"{where} was signed, and the entries from here on are gone", seq=size
            )
        root, signer = self._states.get(checkpoint.size, (EMPTY_ROOT, None))
        if root != checkpoint.root:
            first, last = self._good, checkpoint.size - 1
            raise _Stretch(
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
        check_head(head, list(self.keys.known.values()))
        state = Checkpoint(self._ledger.origin, head.size, head.frontier.root)
        if self.keys.newest is not None:
            self._check_state(state, self.keys.newest, "the ledger's head")
        sizes = [size for size, *_ in kept]
        newest = [(size, at_us) for size, *_, at_us in kept[-1:]]
        if newest != [(head.checkpoint_size, head.checkpoint_at)] or len(set(sizes)) < len(sizes):
            raise LedgerProblem("the kept checkpoints do not end with the one that it states")

    def _check_trust(self, trusted: PublicKey | None) -> None:
        if trusted is not None and trusted not in self.keys.known.values() and self._is_whole:
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
        if size > self._frontier.size:
            return
        checkpoint, key = open_checkpoint(note, self.keys.known.values())
        if checkpoint.origin != self._ledger.origin:
            raise LedgerProblem(f"it is of another ledger, {shown(checkpoint.origin)}")
        self._check_state(checkpoint, key, where)


def _size_of(note: str) -> int:
    """Return the size that a note states before it is opened; 0 if it states none."""
    _, size, *_ = [*note.split("\n"), "", ""]
    return stated_size(size) or 0


class _Nodes:
    """The kept nodes, read along with the entries that complete them.

    They are not what was signed: one that is wrong says nothing of the entries.
    """

    def __init__(self, reader: Reader, ledger: Ledger) -> None:
        self.problem: LedgerProblem | None = None
        rows = reader.select(NODES, columns_of(NODES), own(ledger.tenant), order_by=(ROWID,))
        try:
            self._rows = iter(sorted(rows, key=_completed_at))
        except LedgerProblem as problem:
            self.problem, self._rows = problem, iter(())

    def check(self, completed: list[Node]) -> None:
        """Note the first of the nodes that is not as it must be."""
        for node in completed:
            if next(self._rows, None) != node and self.problem is None:
                level, at, _ = node
                self.problem = LedgerProblem(
                    f"the kept node {at} of level {level} is wrong or missing"
                )

    def check_end(self) -> None:
        """Note whether there are nodes that no entry completes."""
        if next(self._rows, None) is not None and self.problem is None:
            self.problem = LedgerProblem("there are kept nodes that no entry completes")


def _completed_at(node: tuple[Any, ...]) -> tuple[int, int]:
    level, position, _ = node
    if type(level) is not int or type(position) is not int or not 0 < level < 64:  # noqa: PLR2004 - no tree is higher
        raise LedgerProblem("a kept node has no place")
    return (position + 1) << level, level


class _Results:
    """The index of returned rows, read along with the records that tell what must stand in it."""

    def __init__(self, reader: Reader, ledger: Ledger) -> None:
        self.problem: LedgerProblem | None = None
        self._expected: list[tuple[Any, ...]] = []
        self._rows = _result_rows(reader, ledger)

    def expect(self, entry: StoredEntry, fields: dict[str, Any]) -> None:
        """Note the rows that a record says were returned."""
        if entry.kind == "search":
            ids = fields.get("top_k_result_ids")
            self._expected += [(row, entry.seq) for row in ids] if isinstance(ids, list) else []

    def check(self) -> None:
        """Note the first record whose rows the index has not, in that order, since the last."""
        expected, self._expected = self._expected, []
        if self.problem is not None:
            return
        found = list(islice(self._rows, len(expected)))
        if found == expected and {type(seq) for _, seq in found} <= {int}:  # 3.0 equals 3
            return
        for wanted, stands in zip_longest(expected, found):
            if wanted == stands and type(stands[1]) is int:
                continue
            seq = wanted[1]
            if stands is not None and type(stands[1]) is int:
                seq = min(seq, max(stands[1], 0))  # a row that this record did not return
            self.problem = LedgerProblem("the index of returned rows differs from it", seq=seq)
            return

    def check_end(self) -> None:
        """Note whether the index has more rows."""
        if next(self._rows, None) is not None and self.problem is None:
            self.problem = LedgerProblem(
                "the index of returned rows has one that no record returned"
            )


def _result_rows(reader: Reader, ledger: Ledger) -> Iterator[tuple[object, ...]]:
    """Return the rows of the index in the order in which they were written."""
    pages = reader.rows(
        RESULTS, ("row_id", "seq"), own(ledger.tenant), batch_rows=RESULTS_READ_AT_ONCE
    )
    return chain.from_iterable(pages)
