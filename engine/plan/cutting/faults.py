"""What goes wrong in cutting, told: the plan runs as it was, so that nobody would notice."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from affidavit.engine.scans.snapshot import Snapshot

LOGGER: Final = "affidavit.cutting"

_log = logging.getLogger(LOGGER)


def tell(snapshot: Snapshot, what: str, error: Exception) -> None:
    """Tell the log, and EXPLAIN, that nothing is sent of some node, without the text of the error.

    That may have values in it.
    """
    why = f"{what} ({type(error).__name__})"
    snapshot.sent.keep(why)
    _log.warning("a sub-tree is not sent to its database: %s", why)
