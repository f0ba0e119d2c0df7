"""What is put on record, and how much of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.policy import checked_level
from affidavit.catalog.values.canonical import canonical
from affidavit.catalog.values.python.arguments import checked_switch
from affidavit.errors import InvalidQueryError, LineageTooLargeError

if TYPE_CHECKING:
    from affidavit.engine.search.options import Lineage

LINEAGE_VARIABLE: Final = "AFFIDAVIT_AUDIT_MAX_LINEAGE_BYTES"
LINEAGE_BYTES_MAX: Final = 8192


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What is put on record.

    Attributes:
        mode: ``off``, ``searches``, ``statements``, ``reads`` or ``rows``: each includes those
            before.
        store_queries: Whether records hold the query itself, and not only its hash.
        recall_share: Which share of the searches is run once more, exactly, to measure recall.
    """

    mode: str = "statements"
    store_queries: bool = False
    recall_share: float = 0.0

    def __post_init__(self) -> None:
        checked_level(self.mode)
        checked_switch(self.store_queries, "store_queries")
        share = self.recall_share
        is_number = isinstance(share, int | float) and not isinstance(share, bool)
        if not is_number or not 0 <= share <= 1:
            msg = f"audit_recall must be a share from 0 to 1, got {share!r}"
            raise InvalidQueryError(msg)


def checked_lineage(lineage: Lineage) -> bytes:
    """Return a search's lineage as JSON.

    Raises:
        LineageTooLargeError: It has more bytes than are allowed.
        InvalidQueryError: It is not JSON, or the limit is no number.
    """
    given = os.environ.get(LINEAGE_VARIABLE, str(LINEAGE_BYTES_MAX))
    if not given.isdecimal():
        msg = f"{LINEAGE_VARIABLE} must be a number of bytes, got {given!r}"
        raise InvalidQueryError(msg)
    written = canonical(lineage, "query_lineage")
    if len(written) > int(given):
        raise LineageTooLargeError(len(written), limit=int(given))
    return written
