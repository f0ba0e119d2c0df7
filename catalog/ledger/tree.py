"""The hashes of a ledger's tree as they are kept, and what is proved with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.merkle import consistency_proof, inclusion_proof, verify_consistency
from affidavit.catalog.ledger.verifier import (
    LedgerProblem,
    to_base64,
    verify_inclusion,
)
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import LEDGER, NODES
from affidavit.errors import LedgerCorruptError, RecordNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affidavit.catalog.ledger.entry import EntryKeeper
    from affidavit.catalog.ledger.head import Head
    from affidavit.catalog.ledger.verifier import Checkpoint
    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.values.types import StoreValue

_TLOG_PROOF: Final = "c2sp.org/tlog-proof@v1"


class Tree:
    """The leaves and nodes of one tenant's ledger.

    Args:
        tenant: As the store writes it.
        keepers: Where leaves are kept besides the ledger's own table.
    """

    def __init__(self, tenant: str, keepers: Sequence[EntryKeeper]) -> None:
        self._tenant = tenant
        self._keepers = keepers

    def fetch(self, reader: Reader) -> Callable[[int, int, int], list[bytes]]:
        """Return what proofs read hashes with.

        Raises:
            LedgerCorruptError: A hash that must be there is not.
        """

        def hashes(level: int, first: int, end: int) -> list[bytes]:
            if level == 0:
                table, at, column = LEDGER, "seq", "leaf_hash"
                conditions: tuple[Compare, ...] = ()
            else:
                table, at, column = NODES, "position", "hash"
                conditions = (Compare("=", "level", level),)
            where = own(self._tenant, *conditions, Compare(">=", at, first), Compare("<", at, end))
            rows = reader.select(table, (at, column), where, order_by=(at,))
            if level == 0:
                for keeper in self._keepers:
                    rows += keeper.leaves(reader, first, end)
                rows.sort(key=_place_of)
            found = [row[1] for row in rows if isinstance(row[1], bytes)]
            if len(found) != end - first:
                what = "entries" if level == 0 else f"nodes of level {level}"
                raise LedgerCorruptError(f"some of the {what} {first} to {end - 1} are missing")
            return found

        return hashes


def prove(fetch: Callable[[int, int, int], list[bytes]], head: Head | None, seq: int) -> str:
    """Return the proof that entry ``seq`` stands in ``head`` (C2SP tlog-proof).

    Args:
        fetch: What :meth:`Tree.fetch` returns.
        head: The newest head.
        seq: The entry's number.

    Raises:
        RecordNotFoundError: There is no such entry.
        LedgerCorruptError: What is kept does not prove it.
    """
    if head is None or not 0 <= seq < head.size:
        size = 0 if head is None else head.size
        msg = f"there is no entry {seq!r}: the ledger has {size} entries, from 0 on"
        raise RecordNotFoundError(msg)
    hashes, leaf = inclusion_proof(fetch, seq, head.size), fetch(0, seq, seq + 1)[0]
    if not verify_inclusion(seq, head.size, leaf, hashes, head.frontier.root):
        raise LedgerCorruptError("the kept hashes are not those that the head was signed for")
    lines = [_TLOG_PROOF, f"index {seq}", *map(to_base64, hashes), "", head.note]
    return "\n".join(lines)


def check_extension(
    fetch: Callable[[int, int, int], list[bytes]], old: Checkpoint, size: int, new: Checkpoint
) -> None:
    """Raise LedgerProblem unless ``old`` is of ``size`` entries, and ``new`` extends it."""
    proof = consistency_proof(fetch, size, new.size)
    same = old.size == size and old.origin == new.origin
    if not same or not verify_consistency(old.size, new.size, proof, old.root, new.root):
        raise LedgerProblem(f"it does not extend its checkpoint at size {size}")


def _place_of(row: tuple[StoreValue, ...]) -> int:
    return row[0] if isinstance(row[0], int) else -1
