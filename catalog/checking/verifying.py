"""A whole verification: the store's structure, then the ledger, then the data against it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from affidavit.catalog.checking.data import Asked, check_data, store_faults
from affidavit.catalog.ledger.verification.findings import Verification, with_data
from affidavit.catalog.ledger.verification.verify import verify_ledger
from affidavit.errors import LedgerCorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.ledger.verifier import PublicKey
    from affidavit.catalog.store.protocol import Reader


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a verification is asked.

    Attributes:
        signatures: Whether each entry's own signature is checked too.
        trusted: The public key that must be one of the ledger's.
        witnessed: Checkpoints that somebody else kept.
        data: What of the data is checked; ``None`` to leave it out.
        since: Trust what there was when the ledger had so many entries.
        progress: Whether a bar is shown; by default where standard error is a terminal.
    """

    signatures: bool = True
    trusted: PublicKey | None = None
    witnessed: Sequence[str] = ()
    data: Asked | None = None
    since: int | None = None
    progress: bool | None = None


def verified(catalog: Catalog, reader: Reader, wanted: Wanted) -> Verification:
    """Return what is found; what cannot be read is a finding too."""
    ledger = catalog.ledger
    try:
        faults = list(store_faults(catalog, reader, wanted.data, reads=wanted.since is None))
        found = verify_ledger(
            reader, ledger, signatures=wanted.signatures, trusted=wanted.trusted,
            witnessed=wanted.witnessed, since=wanted.since, progress=wanted.progress,
        )  # fmt: skip
        if found.problem is None and faults:  # what was read may not be what stands there
            return replace(found, problem=faults[0])
        if wanted.since is not None and found.entries < wanted.since:
            return replace(found, problem=_older(found.entries, wanted.since))
        if wanted.data is None or found.problem is not None:
            return found  # data is held to a head that is believed
        return with_data(found, check_data(catalog, reader, wanted.data, progress=wanted.progress))
    except LedgerCorruptError as error:
        return Verification(ledger.origin, 0, 0, 0, None, error.problem, error.seq)
    except StoreError as error:
        return Verification(ledger.origin, 0, 0, 0, None, str(error))


def _older(entries: int, since: int) -> str:
    return f"it has {entries:,} entries, and {since:,} are trusted: it is older than what was seen"


def data_verified(
    catalog: Catalog, reader: Reader, asked: Asked, *, progress: bool | None = None
) -> Verification:
    """Return what is found of the data alone, against the signed head."""
    ledger = catalog.ledger
    try:
        head = ledger.head(reader)
        entries = 0 if head is None else head.size
        key = None if head is None else str(ledger.keys(reader)[-1])
        found = Verification(ledger.origin, entries, 0, 0, key, since=asked.since)
        if asked.since is not None and entries < asked.since:
            return replace(found, problem=_older(entries, asked.since))
        for fault in store_faults(catalog, reader, asked, reads=asked.since is None):
            return replace(found, problem=fault)
        return with_data(found, check_data(catalog, reader, asked, progress=progress))
    except (LedgerCorruptError, StoreError) as error:
        return Verification(ledger.origin, 0, 0, 0, None, str(error))
