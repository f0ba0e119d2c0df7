"""Who a lake is: made once with its store, and never changed."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from affidavit.catalog.store.tables import LAKE
from affidavit.errors import LedgerCorruptError

if TYPE_CHECKING:
    from affidavit.catalog.store.protocol import Reader

_LAKE_ID: Final = re.compile(r"[0-9a-f]{32}")


def new_lake_id() -> str:
    """Return an identity that no other lake has."""
    return secrets.token_hex(16)


def lake_id(reader: Reader) -> str:
    """Return the lake's own identity, which never changes."""
    rows = reader.select(LAKE, ("lake_id",))
    found = rows[0][0] if len(rows) == 1 else None
    if not isinstance(found, str) or not _LAKE_ID.fullmatch(found):
        raise LedgerCorruptError("the lake's identity is missing, double or malformed")
    return found
