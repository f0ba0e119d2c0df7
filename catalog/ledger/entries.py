"""The entries of one tenant's ledger as they are kept, here and elsewhere, and its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.entry import KEY, StoredEntry
from affidavit.catalog.ledger.verifier import Keys
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import LEDGER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.ledger.entry import EntryKeeper
    from affidavit.catalog.ledger.verifier import PublicKey
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader

ENTRIES_READ_AT_ONCE: Final = 4096


class KeptEntries:
    """The entries of a ledger, read through the caller's snapshot.

    Args:
        tenant: Whose ledger it is, as the store writes it.
        origin: What the ledger is called in its checkpoints and keys.
        keepers: Where entries are kept that do not stand in the ledger's own table.
    """

    def __init__(self, tenant: str, origin: str, keepers: Sequence[EntryKeeper]) -> None:
        self.tenant = tenant
        self.origin = origin
        self.keepers = keepers
        self._chain: tuple[Sequence[StoredEntry], Sequence[PublicKey]] = ((), ())

    def entries(
        self,
        reader: Reader,
        *conditions: Predicate,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[StoredEntry]:
        """Return the matching entries in order."""
        columns = (
            "seq", "body", "signature", "kind", "entry_id", "created_at", "leaf_hash", "opened"
        )  # fmt: skip
        rows = reader.select(
            LEDGER, columns, own(self.tenant, *conditions), order_by=("seq",),
            descending=descending, limit=limit,
        )  # fmt: skip
        return [StoredEntry(*row[:-1], opened=row[-1]) for row in rows]  # type: ignore[arg-type, misc]  # as the store has them

    def between(self, reader: Reader, first: int, end: int) -> Iterator[StoredEntry]:
        """Yield the entries ``[first, end)`` in order, some thousands in memory at a time."""
        for low in range(first, end, ENTRIES_READ_AT_ONCE):
            high = min(low + ENTRIES_READ_AT_ONCE, end)
            yield from self.page(reader, low, high)

    def page(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return the entries ``[first, end)``, wherever they are kept, in order."""
        found = self.entries(reader, Compare(">=", "seq", first), Compare("<", "seq", end))
        for keeper in self.keepers:
            found += keeper.entries(reader, first, end)
        return sorted(found, key=_seq_of) if self.keepers else found

    def count(self, reader: Reader) -> int:
        """Return how many entries are kept, wherever that is."""
        here = reader.count(LEDGER, own(self.tenant))
        return here + sum(keeper.count(reader) for keeper in self.keepers)

    def key_entries(self, reader: Reader) -> list[StoredEntry]:
        """Return the entries that name keys, oldest first."""
        return self.entries(reader, Compare("=", "kind", KEY))

    def keys(self, reader: Reader) -> list[PublicKey]:
        """Return the ledger's public keys, oldest first.

        Raises:
            LedgerProblem: One of them is no key, or was not signed by the one before.
        """
        entries = tuple(self.key_entries(reader))
        checked, found = self._chain
        if entries != checked:  # what was checked once is not checked again
            keys = Keys(self.origin)
            for entry in entries:
                keys.add(entry.fields(), entry)
            found = tuple(keys.known.values())
            self._chain = entries, found
        return list(found)


def _seq_of(entry: StoredEntry) -> int:
    return entry.seq if isinstance(entry.seq, int) else -1
