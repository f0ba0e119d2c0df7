"""One tenant's ledger as it is kept: its entries, here and elsewhere, its keys, its signed head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.ledger.entry import KEY, StoredEntry
from affidavit.catalog.ledger.head import Due, check_head, parse_head
from affidavit.catalog.ledger.verifier import Keys, LedgerProblem
from affidavit.catalog.sql.predicate import Compare, In
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import CHECKPOINTS, HEADS, LEDGER, RESULTS
from affidavit.errors import LedgerCorruptError, MasterKeyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affidavit.catalog.ledger.entry import EntryKeeper, RecordKeeper
    from affidavit.catalog.ledger.head import Head
    from affidavit.catalog.ledger.keys import Signer, Signers
    from affidavit.catalog.ledger.verifier import PublicKey
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.values.types import StoreValue

ENTRIES_READ_AT_ONCE: Final = 4096
NAMES_AT_ONCE: Final = 500
"""How many values one condition has that lists them."""


class KeptEntries:
    """The entries of a ledger, read through the caller's snapshot.

    Args:
        tenant: Whose ledger it is, as the store writes it.
        origin: What the ledger is called in its checkpoints and keys.
        keepers: Where entries are kept that never stood in the ledger's own table.
        sealed: Where those go that stand there at first.
    """

    def __init__(
        self,
        tenant: str,
        origin: str,
        keepers: Sequence[EntryKeeper],
        sealed: RecordKeeper | None = None,
    ) -> None:
        self.tenant = tenant
        self.origin = origin
        self.keepers: Sequence[EntryKeeper] = keepers if sealed is None else (*keepers, sealed)
        self._rebuilding = keepers
        self._sealed = sealed
        self._chain: tuple[Sequence[StoredEntry], Sequence[PublicKey]] = ((), ())

    def entries(
        self,
        reader: Reader,
        *conditions: Predicate,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[StoredEntry]:
        """Return the matching entries in order, but for events, by store values."""
        found = self._tail(reader, *conditions, descending=descending, limit=limit)
        if self._sealed is None:
            return found
        if descending and limit is not None and len(found) == limit:  # older ones are not wanted
            conditions = (*conditions, Compare(">", "seq", found[-1].seq))
        sealed = self._sealed.matching(reader, *conditions, descending=descending, limit=limit)
        if not sealed:
            return found
        return sorted([*sealed, *found], key=_seq_of, reverse=descending)[:limit]

    def count_of(self, reader: Reader, *conditions: Predicate) -> int:
        """Return how many entries :meth:`entries` returns."""
        here = reader.count(LEDGER, own(self.tenant, *conditions))
        sealed = 0 if self._sealed is None else self._sealed.count_of(reader, *conditions)
        return here + sealed

    def _tail(
        self,
        reader: Reader,
        *conditions: Predicate,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[StoredEntry]:
        """Return the matching entries that stand in the ledger's own table, in order."""
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
        found = self._tail(reader, Compare(">=", "seq", first), Compare("<", "seq", end))
        for keeper in self.keepers:
            found += keeper.entries(reader, first, end)
        return sorted(found, key=_seq_of) if self.keepers else found

    def rebuilt_leaves(self, reader: Reader, first: int, end: int) -> list[bytes] | None:
        """Return the leaves of ``[first, end)`` where one keeper rebuilds them all, and right."""
        if len(self._rebuilding) != 1:
            return None
        found = self._rebuilding[0].rebuilt_leaves(reader, first, end)
        where = Compare(">=", "seq", first), Compare("<", "seq", end)
        return None if found is None or self.seqs(reader, *where) else found

    def giving(
        self,
        reader: Reader,
        rows: Sequence[str] | None,
        *conditions: Predicate,
        kinds: Sequence[str] | None = None,
    ) -> Iterator[list[StoredEntry]]:
        """Yield the entries that gave one of some rows, oldest first, some at a time.

        Args:
            reader: The snapshot.
            rows: The rows; ``None`` where ``conditions`` on ``row_id`` are no list of them, in
                which case others may be among what is yielded.
            conditions: What must hold of the row and the entry: of ``row_id`` and ``seq``.
            kinds: Only entries of these kinds.
        """

        def wanted(entries: list[StoredEntry]) -> list[StoredEntry]:
            return [each for each in entries if kinds is None or each.kind in kinds]

        if self._sealed is not None:
            of_entry = [each for each in conditions if getattr(each, "column", None) == "seq"]
            yield from map(wanted, self._sealed.giving(reader, rows, *of_entry))
        listed = () if rows is None else (In("row_id", tuple(rows)),)
        found = reader.select(RESULTS, ("seq",), own(self.tenant, *listed, *conditions))
        seqs = sorted({seq for (seq,) in found if isinstance(seq, int)})
        for at in range(0, len(seqs), NAMES_AT_ONCE):
            page = In("seq", tuple(seqs[at : at + NAMES_AT_ONCE]))
            yield wanted(self._tail(reader, page))

    def numbers(self, reader: Reader, entry_ids: Sequence[str]) -> dict[str, int]:
        """Return the numbers of the entries that have these ids; events have none of them."""
        found: dict[str, int] = {}
        for at in range(0, len(entry_ids), NAMES_AT_ONCE):
            page = In("entry_id", tuple(entry_ids[at : at + NAMES_AT_ONCE]))
            rows = reader.select(LEDGER, ("entry_id", "seq"), own(self.tenant, page))
            found |= {str(entry_id): int(seq or 0) for entry_id, seq in rows}
        if self._sealed is not None:
            missing = [each for each in entry_ids if each not in found]
            found |= self._sealed.numbers(reader, missing) if missing else {}
        return found

    def seqs(self, reader: Reader, *conditions: Predicate) -> list[int]:
        """Return the numbers of matching entries that are no events, wherever they are kept."""
        rows = reader.select(LEDGER, ("seq",), own(self.tenant, *conditions))
        found = [seq for (seq,) in rows if isinstance(seq, int)]
        return found if self._sealed is None else found + self._sealed.seqs(reader, *conditions)

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


class KeptLedger(KeptEntries):
    """A ledger as it is kept, its head and its checkpoints among it.

    Args:
        tenant: Whose ledger it is, as the store writes it.
        origin: What the ledger is called in its checkpoints and keys.
        signers: Where its keys come from; ``None`` where nothing is written.
        keepers: Where entries are kept that never stood in the ledger's own table.
        sealed: Where those go that stand there at first.
    """

    def __init__(
        self,
        tenant: str,
        origin: str,
        signers: Signers | None,
        keepers: Sequence[EntryKeeper],
        sealed: RecordKeeper | None = None,
    ) -> None:
        super().__init__(tenant, origin, keepers, sealed)
        self.signers = signers
        self._signer: tuple[int, Signer] | None = None
        self._intact: tuple[Sequence[StoreValue], Head] | None = None
        self._head_key = f"{HEADS.name} {tenant}"

    def head(self, reader: Reader) -> Head | None:
        """Return the newest state; ``None`` if there are no entries.

        Raises:
            LedgerCorruptError: Its size, tree, note, key and newest checkpoint contradict one
                another, or its note is not signed by the ledger's key.
        """
        rows = reader.select(HEADS, columns_of(HEADS), own(self.tenant))
        if not rows:
            return None
        intact = self._intact
        if intact is not None and intact[0] == rows[0]:
            return intact[1]  # one that was checked or written here is not checked again
        try:
            head = parse_head(rows[0], self.origin)
            check_head(head, self.keys(reader))
            self._check_newest_checkpoint(reader, head)
        except LedgerProblem as problem:
            where = "" if problem.seq is not None else "the ledger's head: "
            raise LedgerCorruptError(f"{where}{problem.problem}", seq=problem.seq) from None
        self._intact = rows[0], head
        return head

    def _check_newest_checkpoint(self, reader: Reader, head: Head) -> None:
        newest = reader.select(
            CHECKPOINTS, ("size", "created_at"), own(self.tenant), order_by=("size",),
            descending=True, limit=1,
        )  # fmt: skip
        if newest != [(head.checkpoint_size, head.checkpoint_at)]:
            raise LedgerProblem("its newest checkpoint is not the one that it states")

    def last_seq(self, reader: Reader) -> int | None:
        """Return the newest entry's number; ``None`` if there is none."""
        due = self._pending(reader)
        if due is not None:
            return due.frontier.size - 1
        rows = reader.select(HEADS, ("size",), own(self.tenant))
        size = rows[0][0] if rows else None
        return size - 1 if isinstance(size, int) and size > 0 else None

    def _pending(self, reader: Reader) -> Due | None:
        """Return what a transaction has appended and not signed for yet."""
        found = reader.pending(self._head_key)
        return found if isinstance(found, Due) else None

    def signer(self, generation: int) -> Signer:
        """Return the key of a generation."""
        if self.signers is None:
            msg = "this session has no master key: the ledger can only be read"
            raise MasterKeyError(msg)
        held = self._signer
        if held is None or held[0] != generation:
            held = self._signer = (generation, self.signers.signer(self.origin, generation))
        return held[1]

    def check_key(self, reader: Reader) -> None:
        """Raise MasterKeyError unless the master key is the one that this ledger is signed with."""
        head = self.head(reader)
        if head is not None:
            self._current_signer(head)

    def _current_signer(self, head: Head) -> Signer:
        signer = self.signer(head.generation)
        if signer.public_key.key_id != head.key_id:
            msg = (
                f"the master key gives key {signer.public_key.key_id} and this lake's ledger is "
                f"signed with {head.key_id}: bring the master key that the lake was written with"
            )
            raise MasterKeyError(msg)
        return signer

    def checkpoints(self, reader: Reader, after_size: int = 0) -> list[tuple[int, str]]:
        """Return the size and note of each kept checkpoint, oldest first."""
        where = own(self.tenant, Compare(">", "size", after_size))
        rows = reader.select(CHECKPOINTS, ("size", "note"), where, order_by=("size",))
        return [(int(size or 0), str(note)) for size, note in rows]


def _seq_of(entry: StoredEntry) -> int:
    return entry.seq if isinstance(entry.seq, int) else -1
