"""One entry after the other: its number, its columns, its leaf, its signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.ledger.commitments import COMMITTED, VERSION, check_opened
from affidavit.catalog.ledger.entry import DROPPED, KEY
from affidavit.catalog.ledger.verifier import (
    ID_FIELDS,
    TIME_FIELDS,
    Keys,
    LedgerProblem,
    check_place,
    shown,
)
from affidavit.catalog.values.canonical import to_us

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.ledger.verification.gone import SaidGone
    from affidavit.catalog.ledger.verification.signatures import SignatureChecks


_NOTHING: Final[AbstractSet[str]] = frozenset()

EVENTS: Final = "events"
"""What an entry says that segments were let go of, if not of another kind of entries."""


class EntryChecks:
    """Checks entries in their order.

    Args:
        origin: The ledger.
        checks: Where signatures are checked; ``None`` to pass them over.
        said_gone: What its entries say was let go.

    Attributes:
        keys: The ledger's keys, as far as its entries have named them.
        erased: How many events have lost their values, by the entry that says so.
        has_let_go: Whether there are entries of which no more than the leaf was kept.
        logged_at: When the newest entry so far that says so was logged, in microseconds.
    """

    def __init__(self, origin: str, checks: SignatureChecks | None, said_gone: SaidGone) -> None:
        self.keys = Keys(origin)
        self.erased: dict[int, int] = {}
        self._origin = origin
        self._checks = checks
        self._gone = said_gone
        self.has_let_go = False
        self.logged_at = 0

    def check(self, seq: int, entry: StoredEntry) -> dict[str, Any]:
        """Return what the body of the entry says that must be number ``seq``.

        Raises:
            LedgerProblem: It is another, or something is wrong with it.
        """
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
        if entry.is_rebuilt and not entry.gone:
            return {}  # its body says what is checked below, since it was made of that
        fields = entry.fields()
        check_place(fields, entry, origin=self._origin)
        self._check_columns(fields, entry)
        self._check_commitments(fields, entry)
        self._check_logged(fields, entry)
        if entry.kind == KEY:
            self.keys.add(fields, entry)
            return fields
        signer = self.keys.signer(fields, entry)
        if signer is not None and self._checks is not None:
            self._checks.add(seq, signer.raw, signed or b"", entry.body)
        return fields

    def _check_gone(self, entry: StoredEntry) -> None:
        """Raise unless a later entry says why one, or its values, are no longer there."""
        if entry.gone == DROPPED:
            self.has_let_go = True
            if self._gone.whole(entry.seq, of_events=not entry.is_sealed) <= entry.seq:
                raise LedgerProblem("it is gone, and no entry says that it was", seq=entry.seq)
            return
        by = self._gone.values(entry.seq, str(entry.fields().get("entity_id")))
        if by <= entry.seq:
            raise LedgerProblem(
                "its values are gone, and no entry says that they were erased", seq=entry.seq
            )
        self.erased[by] = self.erased.get(by, 0) + 1

    def _check_commitments(self, fields: dict[str, Any], entry: StoredEntry) -> None:
        """Raise unless values are those that were signed, or a later entry let go of them."""
        try:
            there = check_opened(fields, entry.opened) if entry.opened is not None else _NOTHING
        except LedgerProblem as problem:
            raise LedgerProblem(problem.problem, seq=entry.seq) from None
        if fields.get("v") != VERSION or entry.gone:  # of what is gone whole, that was checked
            return
        gone = {
            name for name in COMMITTED & fields.keys() - there if str(fields[name]).startswith("c:")
        }
        if not there and gone and self._gone.opened(entry.seq, entry.kind) > entry.seq:
            return
        by, members = self._gone.members(entry.seq)
        if gone and (by <= entry.seq or not gone <= members):
            name = min(gone - members or gone)
            msg = f"its {name} is gone, and no entry says that it was erased"
            raise LedgerProblem(msg, seq=entry.seq)
        if gone:
            self.erased[by] = self.erased.get(by, 0) + 1

    def _check_logged(self, fields: dict[str, Any], entry: StoredEntry) -> None:
        """Raise if an entry says that it was logged before an earlier one."""
        time = fields.get("logged_at")
        if time is None:
            return
        try:
            at_us = to_us(str(time))
        except (ValueError, TypeError, OverflowError):
            raise LedgerProblem(f"its time {shown(time)} is no time", seq=entry.seq) from None
        if at_us < self.logged_at and fields.get("v") == VERSION:
            raise LedgerProblem("it was logged before the entry before it", seq=entry.seq)
        self.logged_at = max(at_us, self.logged_at)

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
