"""Holds: rows that nobody may erase, for a case that somebody answers for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from affidavit.catalog.sql.predicate import And, Compare
from affidavit.catalog.store.protocol import TENANT, columns_of
from affidavit.catalog.store.tables import HOLDS
from affidavit.errors import HoldError

if TYPE_CHECKING:
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader

_COLUMNS: Final = (TENANT, *columns_of(HOLDS))
SHOWN_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Hold:
    """A row, or every row of a table, that is not to be erased.

    Attributes:
        tenant: Whose case it is.
        table_id: The table.
        row_id: The row's key, as the journal has it; ``None`` for every row.
        case: What it is held for.
        table_name: What the table was called then.
        actor: Who holds it.
        created_at: Since when, in microseconds since the epoch.
    """

    tenant: str
    table_id: str
    row_id: str | None
    case: str
    table_name: str
    actor: str
    created_at: int

    def __str__(self) -> str:
        what = "every row" if self.row_id is None else f"row {self.row_id!r}"
        return f"{what} of {self.table_name!r} is held for {self.case!r}"


def holds(reader: Reader, *conditions: Predicate) -> list[Hold]:
    """Return the holds that a tenant sees, oldest first."""
    where = And(conditions) if conditions else None
    rows = reader.select(HOLDS, _COLUMNS, where, order_by=("created_at",))
    return [Hold(*row) for row in rows]  # type: ignore[arg-type]  # as the store has them


def refuse_held(reader: Reader, table_id: str | None, ids: frozenset[str] | None = None) -> None:
    """Raise HoldError if one of the rows of a table is held; without ``ids``, if any is."""
    if table_id is None:
        return
    found = [
        each
        for each in holds(reader, Compare("=", "table_id", table_id))
        if each.row_id is None or ids is None or each.row_id in ids
    ]
    if found:
        more = f", and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
        msg = f"{'; '.join(map(str, found[:SHOWN_MAX]))}{more}: release the hold first"
        raise HoldError(msg)
