"""A table's row in the store: which columns are read, and what may stand in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.model.definition import TableInfo, parse_definition
from affidavit.catalog.model.policy import TABLE_LEVELS
from affidavit.catalog.store.protocol import TENANT
from affidavit.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence


COLUMNS: Final = (
    TENANT, "schema_name", "name", "kind", "definition", "version", "row_count", "data_version",
    "audit", "next_rowid",
)  # fmt: skip
_TYPES: Final = (str, str, int, int, int | None, str | None, int | None)
_END: Final = 1 << 62
"""No version and no identity is larger."""


def info_of(row: Sequence[Any]) -> TableInfo:
    """Return a table as the store has it.

    Raises:
        StoreError: Something in its row is not what belongs there: somebody else wrote it.
    """
    tenant, schema, name, kind, text, *rest = row
    version, rows, shown, audit, next_rowid = rest
    whole = (schema, name, version, rows, shown, audit, next_rowid)
    if not all(map(isinstance, whole, _TYPES)) or not (
        audit in {None, *TABLE_LEVELS} and 0 <= (shown or 0) < _END and 0 < (next_rowid or 1) < _END
    ):
        msg = f"what the store says of table {name!r} is not what belongs there: verify the ledger"
        raise StoreError(msg)
    definition = parse_definition(kind, text)
    return TableInfo(tenant, schema, name, kind, definition, *rest)
