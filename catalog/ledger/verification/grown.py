"""The tree of the entries that were checked so far, and what it was where something was signed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from affidavit.catalog.ledger.merkle import Frontier

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from affidavit.catalog.ledger.verification.derived import Derived
    from affidavit.catalog.ledger.verifier import PublicKey


class GrownTree:
    """A tree that grows by the leaves of entries.

    Attributes:
        frontier: The tree.
        sizes: Where its state is noted: of all at which somebody signed it.
        states: Its root at each, and the key that was in use there.
    """

    def __init__(self) -> None:
        self.frontier = Frontier()
        self.sizes: set[int] = set()
        self.states: dict[int, tuple[bytes, PublicKey | None]] = {}

    def begin(self, frontier: Frontier, key: PublicKey | None) -> None:
        """Begin with the tree of entries that are trusted."""
        self.frontier = frontier
        self.states[frontier.size] = (frontier.root, key)

    def note_at(self, sizes: Iterable[int]) -> None:
        """Note the state at these sizes."""
        self.sizes.update(sizes)

    def extend(self, leaves: Sequence[bytes], key: PublicKey | None, derived: Derived) -> None:
        """Add leaves, of entries that all came while ``key`` was the one in use."""
        first = self.frontier.size
        last = first + len(leaves)
        ends = sorted(size - first for size in self.sizes if first < size < last)
        for low, high in pairwise([0, *ends, len(leaves)]):
            self.frontier, completed = self.frontier.extended(leaves[low:high])
            derived.completed(completed)
            if self.frontier.size in self.sizes:
                self.states[self.frontier.size] = (self.frontier.root, key)
