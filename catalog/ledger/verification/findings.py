"""What checking a ledger finds: the first entry that is wrong, or that nothing is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.errors import LedgerCorruptError
from affidavit.screen import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from affidavit.catalog.ledger.verification.differences import DataFindings


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
        statements: How many rows of the log of statements were checked.
        uncovered: How many rows stand before those, from before the log was under the ledger.
        data: What checking the tenant's data found; ``None`` if it was not checked.
        since: The entry that what was there before is trusted from; ``None`` if nothing is.
    """

    origin: str
    entries: int
    checkpoints: int
    signatures: int
    key: str | None
    problem: str | None = None
    seq: int | None = None
    erased: Mapping[int, int] = field(default_factory=dict)
    statements: int = 0
    uncovered: int = 0
    data: DataFindings | None = None
    since: int | None = None

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
        logged = f", {self.statements:,} statements" if self.statements else ""
        before = f"; {self.uncovered:,} older statements are not covered" if self.uncovered else ""
        data = "" if self.data is None else f", {self.data}"
        known = "" if self.since is None else f" from entry {self.since:,} on"
        return (
            f"VERIFIED {self.origin}{known}: {self.entries:,} entries, {self.signatures:,} "
            f"signatures, {self.checkpoints:,} checkpoints{logged}{data}{erased}{before}"
        )

    def raise_if_corrupt(self) -> None:
        """Raise LedgerCorruptError if something is wrong."""
        if self.problem is not None:
            raise LedgerCorruptError(self.problem, seq=self.seq)


def with_data(found: Verification, data: DataFindings) -> Verification:
    """Return ``found`` with what was found of the data: the first difference if nothing else is."""
    if found.problem is not None or not data.differences:
        return replace(found, data=data)
    return replace(found, data=data, problem=str(data.differences[0]))


class Stretch(LedgerProblem):
    """One of the entries ``seq`` to ``last`` is wrong, and no hash says which."""

    def __init__(self, problem: str, *, seq: int, last: int) -> None:
        super().__init__(problem, seq=seq)
        self.last = last


def first_of(problems: Sequence[LedgerProblem]) -> LedgerProblem | None:
    """Return the problem of the first entry that is wrong, else the first problem.

    A stretch in which an entry was found by itself says no more than that.
    """
    named = [each for each in problems if each.seq is not None and not isinstance(each, Stretch)]
    first = min(named, key=lambda each: each.seq or 0, default=None)
    for each in problems:
        if isinstance(each, Stretch) and (first is None or each.last < (first.seq or 0)):
            return each
    return first or next(iter(problems), None)
