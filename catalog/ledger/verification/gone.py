"""What a ledger's entries say was let go: only what one of them names may be missing.

Rule:
    - An entry can let go only of what has a lower number than its own.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.ledger.entry import ERASURE, RELEASE, RETENTION
from affidavit.catalog.ledger.verifier import LedgerProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from affidavit.catalog.ledger.entry import StoredEntry

EVENTS: Final = "events"
"""What a retention is of that does not say of what."""

LETTING_GO: Final = (ERASURE, RETENTION, RELEASE)
"""The kinds of the entries that let go of something."""


class Ranges:
    """Ranges of numbers, each named by an entry."""

    def __init__(self) -> None:
        self._found: list[tuple[int, int, int]] = []
        self._reach: list[int] = []
        self._is_sorted = True

    def add(self, ranges: Iterable[Sequence[int]], by: int) -> None:
        """Note ranges, first and last number of each, that entry ``by`` names."""
        self._found += [(int(first), int(last), by) for first, last in ranges]
        self._is_sorted = False

    def named(self, number: int) -> int:
        """Return the newest entry that names a range with ``number``; -1 if none does."""
        if not self._is_sorted:
            self._found.sort()
            self._reach, far = [], -1
            for _, last, _ in self._found:
                far = max(far, last)
                self._reach.append(far)
            self._is_sorted = True
        newest, at = -1, bisect_right(self._found, (number, float("inf"), 0)) - 1
        while at >= 0 and self._reach[at] >= number:
            _, last, by = self._found[at]
            newest = max(newest, by) if last >= number else newest
            at -= 1
        return newest


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows of the log of statements that are gone, or whose digest cannot be computed any more.

    Attributes:
        end: The number of the first row after them.
        before: The digest of the log before them.
        after: And with them.
        is_dropped: Whether the rows are gone, and not their texts alone.
    """

    end: int
    before: bytes
    after: bytes
    is_dropped: bool


@dataclass(slots=True)
class SaidGone:
    """What entries say was let go; whether they are genuine is checked in their turn.

    Attributes:
        texts: The rows of the log of statements whose texts were let go.
        dropped: The gaps in the log whose rows are gone, by their first row.
        unread: Those whose rows are there without their texts, likewise.
        uncovered: How many rows are gone that no digest covered.
    """

    texts: Ranges = field(default_factory=Ranges)
    dropped: dict[int, Gap] = field(default_factory=dict)
    unread: dict[int, Gap] = field(default_factory=dict)
    uncovered: int = 0
    _values: Ranges = field(default_factory=Ranges)
    _whole: Ranges = field(default_factory=Ranges)
    _records: Ranges = field(default_factory=Ranges)
    _entities: dict[str, int] = field(default_factory=dict)
    _members: dict[int, tuple[int, frozenset[str]]] = field(default_factory=dict)
    _opened: dict[str, Ranges] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[StoredEntry]) -> SaidGone:
        """Return what ``entries`` say; what cannot be read says nothing."""
        found = cls()
        for entry in entries:
            try:
                found._note(entry.kind, entry.seq, entry.fields())
            except (LedgerProblem, KeyError, TypeError, ValueError, AttributeError):
                continue
        return found

    def _note(self, kind: str, by: int, fields: dict[str, Any]) -> None:
        self._note_log(by, fields)
        for seq, members in fields.get("records") or ():
            _, known = self._members.get(seq, (0, frozenset()))
            self._members[seq] = by, known | {*map(str, members)}
        if kind == RETENTION:
            whole = self._whole if fields.get("of", EVENTS) == EVENTS else self._records
            whole.add(fields.get("ranges") or (), by)
            for each in fields.get("kinds") or ():
                self._opened.setdefault(str(each), Ranges()).add([(0, fields["last"])], by)
        elif kind == ERASURE and fields.get("entity_id") is not None:
            self._entities[str(fields["entity_id"])] = by
        elif kind == ERASURE:
            events = self._whole if fields["keys_too"] else self._values
            events.add(fields["ranges"], by)

    def _note_log(self, by: int, fields: dict[str, Any]) -> None:
        told = fields.get("log") or {}
        self.texts.add(told.get("texts") or (), by)
        self.uncovered += int(told.get("uncovered") or 0)
        for name, gaps in (("dropped", self.dropped), ("unread", self.unread)):
            for first, end, before, after in told.get(name) or ():
                gaps[int(first)] = Gap(
                    int(end), bytes.fromhex(before), bytes.fromhex(after), name == "dropped"
                )

    def whole(self, seq: int, *, of_events: bool) -> int:
        """Return the entry by which all but the leaf of an event or record is gone; -1 if none."""
        return (self._whole if of_events else self._records).named(seq)

    def gone(self, seq: int) -> int:
        """Return the entry by which all but the leaf of entry ``seq`` is gone; -1 if none."""
        return max(self._whole.named(seq), self._records.named(seq))

    def values(self, seq: int, entity_id: str) -> int:
        """Return the entry by which the values of an event are gone; -1 if none."""
        return max(self._values.named(seq), self._entities.get(entity_id, -1))

    def members(self, seq: int) -> tuple[int, frozenset[str]]:
        """Return the entry by which members of record ``seq`` are gone, and which; -1 if none."""
        return self._members.get(seq, (-1, frozenset()))

    def opened(self, seq: int, kind: str) -> int:
        """Return the entry by which all that a record commits to may be gone; -1 if none."""
        ranges = self._opened.get(kind)
        return -1 if ranges is None else ranges.named(seq)
