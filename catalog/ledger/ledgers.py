"""The ledgers of one lake, by tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.ledger.ledger import Ledger
from affidavit.catalog.ledger.signing.heads import CHECKPOINT_ENTRIES, CHECKPOINT_INTERVAL_S
from affidavit.catalog.ledger.verifier import ORIGIN_PREFIX, origin_name
from affidavit.catalog.sql.names import SHARED
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from affidavit.catalog.ledger.entry import EntryKeeper, RecordKeeper
    from affidavit.catalog.ledger.keys import Signers
    from affidavit.catalog.ledger.signing.heads import Covers


def check_limits(checkpoint_entries: object, checkpoint_interval_s: object) -> None:
    """Raise InvalidQueryError unless checkpoints can be kept that often."""
    given = {
        "checkpoint_entries": (checkpoint_entries, int, 1),
        "checkpoint_interval_s": (checkpoint_interval_s, int | float, 0),
    }
    for name, (value, kind, least) in given.items():
        if isinstance(value, bool) or not isinstance(value, kind) or not value >= least:
            msg = f"{name} must be at least {least}, got {value!r}"
            raise InvalidQueryError(msg)


def origin_of(lake_id: str, tenant: str | None) -> str:
    """Return what a tenant's ledger is called in its checkpoints and keys."""
    return f"{ORIGIN_PREFIX}/{lake_id}/{origin_name(tenant)}"


class Ledgers:
    """The ledgers of one lake, by tenant."""

    def __init__(
        self,
        lake_id: str,
        signers: Signers | None,
        *,
        checkpoint_entries: int = CHECKPOINT_ENTRIES,
        checkpoint_interval_s: float = CHECKPOINT_INTERVAL_S,
        keepers: Callable[[str], Sequence[EntryKeeper]] = lambda _tenant: (),
        covers: Covers | None = None,
        sealed: Callable[[str], RecordKeeper | None] = lambda _tenant: None,
    ) -> None:
        self._covers = covers
        self._sealed = sealed
        self._keepers = keepers
        self.lake_id = lake_id
        self.signers = signers
        self._limits = (checkpoint_entries, checkpoint_interval_s)
        self._ledgers: dict[str, Ledger] = {}

    def of(self, tenant: str) -> Ledger:
        """Return a tenant's ledger."""
        ledger = self._ledgers.get(tenant)
        if ledger is None:
            origin = origin_of(self.lake_id, None if tenant == SHARED else tenant)
            made = Ledger(
                tenant, origin, self.signers, *self._limits, self._keepers(tenant),
                self._covers, self._sealed(tenant),
            )  # fmt: skip
            ledger = self._ledgers.setdefault(tenant, made)
        return ledger

    def opened(self) -> Iterable[Ledger]:
        """Return the ledgers that were asked for."""
        return list(self._ledgers.values())
