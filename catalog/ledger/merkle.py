"""The Merkle tree of RFC 9162 section 2.1, grown a leaf at a time and proved from kept nodes.

Rules:
    - The tree of ``n`` leaves is known by its frontier: the roots of the complete subtrees that
      the binary digits of ``n`` name, largest first. A leaf is added in amortised constant time.
    - Every complete subtree of ``256**i`` leaves is kept, so a proof reads at most 255 hashes of
      each height: O(log n).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.verifier import EMPTY_ROOT, node_hash, split_point

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TILE_HEIGHT: Final = 8
"""Kept nodes are this many levels apart."""

TILE_LEAVES: Final = 1 << TILE_HEIGHT
"""A proof reads leaves only of tiles of so many that a tree ends in."""

MANY_LEAVES: Final = 64

Node = tuple[int, int, bytes]
"""Level, index in its level, and hash; leaves are level 0."""


@dataclass(frozen=True)  # without slots: the root is kept
class Frontier:
    """A tree of ``size`` leaves, by the roots of its complete subtrees, largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    @cached_property
    def root(self) -> bytes:
        """The tree's root."""
        if not self.peaks:
            return EMPTY_ROOT
        found = self.peaks[-1]
        for peak in self.peaks[-2::-1]:
            found = node_hash(peak, found)
        return found

    def extended(self, leaves: Sequence[bytes]) -> tuple[Frontier, list[Node]]:
        """Return the tree with ``leaves`` added, and the nodes to keep that they completed."""
        if len(leaves) >= MANY_LEAVES:
            return self._extended_by_levels(leaves)
        size, peaks, kept = self.size, list(self.peaks), []
        for leaf in leaves:
            found, level, at = leaf, 0, size
            while at & 1:
                found = node_hash(peaks.pop(), found)
                level, at = level + 1, at >> 1
                if level % TILE_HEIGHT == 0:
                    kept.append((level, at, found))
            peaks.append(found)
            size += 1
        return Frontier(size, tuple(peaks)), kept

    def _extended_by_levels(self, leaves: Sequence[bytes]) -> tuple[Frontier, list[Node]]:
        """Do the same a level at a time, which costs one hash a leaf and little else."""
        heights = [level for level in range(self.size.bit_length()) if self.size >> level & 1]
        peaks = dict(zip(reversed(heights), self.peaks, strict=True))
        row, at, level, kept = list(leaves), self.size, 0, []
        while row:
            if level and level % TILE_HEIGHT == 0:
                kept += [(level, at + offset, found) for offset, found in enumerate(row)]
            if at & 1:
                row.insert(0, peaks.pop(level))
                at -= 1
            if len(row) & 1:
                peaks[level] = row.pop()
            row = list(map(node_hash, row[::2], row[1::2]))
            at, level = at >> 1, level + 1
        largest_first = sorted(peaks, reverse=True)
        return Frontier(self.size + len(leaves), tuple(peaks[each] for each in largest_first)), kept


def subtree_root(fetch: Callable[[int, int, int], Sequence[bytes]], low: int, high: int) -> bytes:
    """Return the hash over the leaves ``[low, high)``, a subtree that RFC 9162 would form."""
    size = high - low
    if size & (size - 1):
        middle = low + split_point(size)
        return node_hash(subtree_root(fetch, low, middle), subtree_root(fetch, middle, high))
    level = size.bit_length() - 1
    base = level - level % TILE_HEIGHT
    hashes = list(fetch(base, low >> base, high >> base))
    while len(hashes) > 1:
        hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


def frontier_at(fetch: Callable[[int, int, int], Sequence[bytes]], size: int) -> Frontier:
    """Return the tree of the first ``size`` leaves, as the kept hashes tell it."""
    peaks, low = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            peaks.append(subtree_root(fetch, low, low + (1 << level)))
            low += 1 << level
    return Frontier(size, tuple(peaks))


def inclusion_proof(
    fetch: Callable[[int, int, int], Sequence[bytes]], index: int, size: int
) -> list[bytes]:
    """Return the proof that leaf ``index`` is in the tree of ``size`` (section 2.1.3.1)."""
    proof: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + split_point(high - low)
        if index < middle:
            proof.append(subtree_root(fetch, middle, high))
            high = middle
        else:
            proof.append(subtree_root(fetch, low, middle))
            low = middle
    return proof[::-1]


def consistency_proof(
    fetch: Callable[[int, int, int], Sequence[bytes]], old_size: int, size: int
) -> list[bytes]:
    """Return the proof that the tree of ``size`` extends that of ``old_size`` (2.1.4.1)."""
    proof: list[bytes] = []
    low, high = 0, size
    if not 0 < old_size < size:
        return proof
    while old_size != high:
        middle = low + split_point(high - low)
        if old_size <= middle:
            proof.append(subtree_root(fetch, middle, high))
            high = middle
        else:
            proof.append(subtree_root(fetch, low, middle))
            low = middle
    if low:
        proof.append(subtree_root(fetch, low, high))
    return proof[::-1]


def verify_consistency(
    old_size: int, size: int, proof: Sequence[bytes], old_root: bytes, root: bytes
) -> bool:
    """Return whether the tree of ``size`` extends that of ``old_size`` (section 2.1.4.2)."""
    if not 0 <= old_size <= size:
        return False
    if old_size in {0, size}:
        return not proof and (old_size == 0 or old_root == root)
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    at, last = old_size - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old_found = found = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old_found, found = node_hash(sibling, old_found), node_hash(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and old_found == old_root and found == root
