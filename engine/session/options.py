"""What a lake is opened with, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from affidavit.catalog.lake.lake import LakeOptions
    from affidavit.catalog.ledger.keys import KeyStore
    from affidavit.catalog.ledger.witness import Witness
    from affidavit.engine.audit.settings import AuditSettings
    from affidavit.triggers.brokers.protocol import Broker


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What all sessions of one opened lake go by.

    Attributes:
        audit: What is put on record.
        keys: Where the master key is.
        lake: How the lake itself is opened.
        witness: Where checkpoints are sent besides, if anywhere.
        broker: What tells subscribers of new events; ``None`` for the memory of this process.
    """

    audit: AuditSettings
    keys: KeyStore
    lake: LakeOptions
    witness: Witness | None = None
    broker: Broker | str | None = None
