"""An entry of a ledger: drafted, numbered and stored; and where entries are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from affidavit.catalog.ledger.commitments import CONTEXT, VERSION, Commitments
from affidavit.catalog.ledger.verifier import Entry
from affidavit.catalog.values.canonical import canonical, from_us

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from affidavit.catalog.model.identity import Identity
    from affidavit.catalog.store.protocol import Reader
    from affidavit.catalog.values.types import StoreValue

KEY: Final = "key"
"""The kind of an entry that names a key."""


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
    """An entry as the store has it, with the columns that its body says too."""

    kind: str = ""
    entry_id: str = ""
    created_at: int = 0
    leaf_hash: bytes = b""
    key_id: str | None = None
    gone: str = ""
    opened: bytes | None = None


ERASED: Final = "erased"
DROPPED: Final = "dropped"
"""What may be gone of an event: its values, or all but its leaf."""


class EntryKeeper(Protocol):
    """Where entries are kept that do not stand in the ledger's own table."""

    def leaves(self, reader: Reader, first: int, end: int) -> list[tuple[int, bytes]]:
        """Return the number and leaf of its entries ``[first, end)``."""

    def entries(self, reader: Reader, first: int, end: int) -> list[StoredEntry]:
        """Return its entries ``[first, end)``."""

    def count(self, reader: Reader) -> int:
        """Return how many entries it has."""

    def faults(self, reader: Reader) -> Iterator[tuple[int, int, str]]:
        """Yield what is wrong that no entry's own leaf tells: first entry, last one, and what."""


def row_of(entry: StoredEntry) -> tuple[StoreValue, ...]:
    """Return an entry as a row of the ledger's own table."""
    return (
        entry.seq, entry.kind, entry.entry_id, entry.created_at, entry.leaf_hash, entry.body,
        entry.signature, entry.opened,
    )  # fmt: skip
