"""An entry of a ledger: drafted, numbered and stored; and where entries are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from affidavit.catalog.ledger.commitments import CONTEXT, VERSION, Commitments, opened_members
from affidavit.catalog.ledger.verifier import Entry, LedgerProblem
from affidavit.catalog.values.canonical import canonical, from_us

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.values.types import StoreValue

KEY: Final = "key"
"""The kind of an entry that names a key."""

ERASURE, RETENTION, RELEASE = "erasure", "retention", "release"
"""The kinds of entries that say what of others was let go."""

STAYING: Final = (KEY, ERASURE, RETENTION, RELEASE)
"""The kinds that stay in the ledger's own table, which nobody lets go of.

Every commit needs the keys, and whoever verifies what is gone needs to know why first.
"""

SEARCH: Final = "search"
"""The kind of an entry that a search left."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry before it has a number.

    Attributes:
        kind: What it records: ``search``, ``key``...
        entry_id: Its name, unique in the ledger.
        at_us: When it happened, as its body says, in microseconds since the epoch.
        members: The body's members in canonical JSON, without those that the ledger adds: ``seq``,
            ``kind``, ``tenant`` and, if it is signed, ``key_id``.
        signed: Whether it carries a signature of its own, besides the head's.
        rows: The rows that a search or read gave, and how: ``None`` for a search, else
            ``returned`` or ``scanned``.
        opened: What its commitments are of, as :mod:`~affidavit.catalog.ledger.commitments` writes
            it; kept beside the body, and in no leaf.
    """

    kind: str
    entry_id: str
    at_us: int
    members: Mapping[str, bytes]
    signed: bool = True
    rows: Sequence[tuple[str, str | None]] = ()
    opened: bytes | None = None


def draft(kind: str, entry_id: str, at_us: int, **fields: object) -> Draft:
    """Return a signed draft of plain JSON values."""
    stated = {"entry_id": entry_id, "created_at": from_us(at_us), **fields}
    members = {name: canonical(value, name) for name, value in stated.items()}
    return Draft(kind, entry_id, at_us, members)


def stamped(kind: str, entry_id: str, at_us: int, identity: Identity, **fields: object) -> Draft:
    """Return a signed draft of what somebody did: who through what, and the scope's context."""
    plain = draft(
        kind, entry_id, at_us, actor=identity.actor, source=identity.source,
        workspace=identity.workspace, **fields,
    )  # fmt: skip
    if not identity.context:
        return plain
    committed = Commitments({CONTEXT: identity.context.encode()})
    members = {**plain.members, "v": b"%d" % VERSION, **committed.members}
    return replace(plain, members=members, opened=committed.opened)


@dataclass(frozen=True, slots=True)
class StoredEntry(Entry):
    """An entry as it is kept, with the columns that its body says too.

    Attributes:
        gone: What of it was let go, if anything was.
        opened: What its commitments are of, as far as that is still there.
        is_sealed: Whether it stands in a segment.
        is_rebuilt: Whether its body was put together of the columns that it is kept in, and so
            says what they say.
    """

    kind: str = ""
    entry_id: str = ""
    created_at: int = 0
    leaf_hash: bytes = b""
    key_id: str | None = None
    gone: str = ""
    opened: bytes | None = None
    is_sealed: bool = False
    is_rebuilt: bool = False


ERASED: Final = "erased"
DROPPED: Final = "dropped"
"""What may be gone of an entry: its values, or all but its leaf."""


class EntryKeeper(Protocol):
    """Where entries are kept that do not stand in the ledger's own table."""

    def leaves(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of its entries ``[first, end)``."""

    def entries(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return its entries ``[first, end)``."""

    def count(self, reader: Reader) -> int:
        """Return how many entries it has."""

    def look(self, reader: Reader) -> None:
        """Raise LedgerCorruptError unless the files are there that it has entries in."""

    def rebuilt_leaves(self, reader: Reader, first: int, end: int) -> list[bytes] | None:
        """Return the leaves of ``[first, end)`` if all of these are its own, and as they must be.

        They are hashed anew, of bodies that are put together of what is kept. ``None`` where one
        is missing or another, something of it is gone, or its body is kept as it is:
        :meth:`entries` tells more.
        """

    def faults(self, reader: Reader) -> Iterator[tuple[int, int, str]]:
        """Yield what is wrong that no entry's own leaf tells: first entry, last one, and what."""


class RecordKeeper(EntryKeeper, Protocol):
    """Where entries are kept that stood in the ledger's own table until they were sealed."""

    def matching(
        self,
        reader: Reader,
        *conditions: Predicate,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[StoredEntry]:
        """Return those of its entries that match, in order, and that were not let go."""

    def count_of(self, reader: Reader, *conditions: Predicate) -> int:
        """Return how many entries :meth:`matching` returns."""

    def seqs(self, reader: Reader, *conditions: Predicate) -> list[int]:
        """Return the numbers of its entries that match, also of those that were let go."""

    def giving(
        self, reader: Reader, rows: Sequence[str] | None, *conditions: Predicate
    ) -> Iterator[list[StoredEntry]]:
        """Yield those that gave one of ``rows``, or whichever, in order, some at a time."""

    def numbers(self, reader: Reader, entry_ids: Iterable[str]) -> dict[str, int]:
        """Return the number of each of its entries that has one of these ids."""


class Given(NamedTuple):
    """Rows of one table that a search or read gave, as its record says.

    Attributes:
        table_id: The table.
        how: ``None`` for a search, else ``returned`` or ``scanned``.
        ids: Their names; ``None`` where the record has the root of their hashes alone.
    """

    table_id: str | None
    how: str | None
    ids: Sequence[str] | None

    def may_have(self, table_id: str | None, ids: Collection[str]) -> bool:
        """Return whether one of those rows was given, as far as the record tells."""
        is_it = self.ids is None or not set(ids).isdisjoint(self.ids)
        return self.table_id == table_id and is_it


def given(entry: StoredEntry, fields: Mapping[str, Any]) -> list[Given]:
    """Return the rows that a search or read gave, by table, as its record says.

    Args:
        entry: The entry; nothing of it is trusted.
        fields: What its body says.
    """
    try:
        told = opened_members(entry.opened)
        if entry.kind != SEARCH:
            _, lists = told.get("ids", (b"", None))
            return [Given(each["table_id"], each["how"], each.get("ids")) for each in lists or ()]
        ids = fields.get("top_k_result_ids")
        if fields.get("v") == VERSION:
            _, ids = told.get("top_k_result_ids", (b"", None))
        return [Given(fields.get("table_id"), None, ids)] if isinstance(ids, list) else []
    except (LedgerProblem, TypeError, KeyError, AttributeError):  # told where it is checked
        return []


def rows_given(entry: StoredEntry, fields: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return the rows that a search or read gave, and how, as far as its record names them."""
    return [(row, each.how) for each in given(entry, fields) for row in each.ids or ()]


def row_of(entry: StoredEntry) -> tuple[StoreValue, ...]:
    """Return an entry as a row of the ledger's own table."""
    return (
        entry.seq, entry.kind, entry.entry_id, entry.created_at, entry.leaf_hash, entry.body,
        entry.signature, entry.opened,
    )  # fmt: skip
