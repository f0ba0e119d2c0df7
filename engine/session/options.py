"""What a lake is opened with, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from affidavit.catalog.lake.place import lake_folder
from affidavit.catalog.ledger.keys import FileKeyStore, key_store_of
from affidavit.catalog.ledger.witness import FileWitness
from affidavit.catalog.store.transactions import IDLE_S
from affidavit.catalog.values.durations import is_seconds
from affidavit.errors import LakeError

if TYPE_CHECKING:
    import os

    from affidavit.catalog.lake.lake import LakeOptions
    from affidavit.catalog.ledger.keys import KeyStore
    from affidavit.catalog.ledger.witness import Witness
    from affidavit.engine.audit.settings import AuditSettings
    from affidavit.triggers.brokers.protocol import Broker


@dataclass(frozen=True, slots=True)
class Records:
    """A lake that takes the records of what is read in another.

    Attributes:
        path: Its folder.
        keys: Where its master key is.
    """

    path: str | os.PathLike[str]
    keys: KeyStore


def records_at(path: str | os.PathLike[str] | None, keys: KeyStore | None) -> Records | None:
    """Return the lake at ``path`` as one that takes records.

    Raises:
        LakeError: It is no path of a folder.
    """
    if path is None:
        return None
    try:
        folder = lake_folder(path)
    except LakeError as error:
        msg = f"records= names no lake: {error}"
        raise LakeError(msg) from error
    return Records(folder, key_store_of(keys, folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What all sessions of one opened lake go by.

    Attributes:
        audit: What is put on record.
        keys: Where the master key is.
        lake: How the lake itself is opened.
        records: Where what is read is put on record, if not in the lake itself.
        witness: Where checkpoints are sent besides, if anywhere.
        broker: What tells subscribers of new events; ``None`` for the memory of this process.
        transaction_idle_s: How long a transaction may hold the store's writer and do nothing.
    """

    audit: AuditSettings
    keys: KeyStore
    lake: LakeOptions
    records: Records | None = None
    witness: Witness | None = None
    broker: Broker | str | None = None
    transaction_idle_s: float = IDLE_S

    @property
    def own_files(self) -> tuple[str, ...]:
        """Files outside of the lake that are the lake's own, with links followed."""
        kept = (self.keys, self.witness)
        found = (each.path for each in kept if isinstance(each, FileKeyStore | FileWitness))
        return tuple(str(each.expanduser().resolve()) for each in found)

    def __post_init__(self) -> None:
        if not is_seconds(self.transaction_idle_s, least=0.001):
            msg = (
                "transaction_idle_s must be a number of seconds above 0, and at most "
                f"1,000,000,000, got {self.transaction_idle_s!r}"
            )
            raise LakeError(msg)
        if self.records is not None and not self.lake.read_only:
            msg = (
                "records= is for a lake that is opened with read_only=True: this one takes its own"
            )
            raise LakeError(msg)
