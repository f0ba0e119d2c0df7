"""Holds: rows that nobody may erase, for a case that somebody answers for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from affidavit.catalog.ledger.entry import stamped
from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import And, Compare, IsNull
from affidavit.catalog.store.protocol import TENANT, columns_of, own
from affidavit.catalog.store.tables import HOLDS
from affidavit.errors import HoldError, RecordNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader, Writer

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


def hold(catalog: Catalog, info: TableInfo, ids: Iterable[str | None], case: str) -> None:
    """Hold rows, ``None`` for every one, and say so in the ledger; again does nothing."""
    now_us = clock.now_us()
    with catalog.write() as writer:
        known = {each.row_id for each in holds(writer, *_of(info, case))}
        fresh = [row_id for row_id in dict.fromkeys(ids) if row_id not in known]
        rows = [
            (info.table_id, row_id, case, info.name, catalog.identity.actor, now_us)
            for row_id in fresh
        ]
        if rows:
            writer.insert(HOLDS, columns_of(HOLDS), rows)
            _note(catalog, writer, "hold", info, fresh, case)


def release(catalog: Catalog, info: TableInfo, ids: Iterable[str | None], case: str) -> None:
    """End holds, and say so in the ledger.

    Raises:
        RecordNotFoundError: There is no such hold.
    """
    with catalog.write() as writer:
        listed = list(dict.fromkeys(ids))
        for row_id in listed:
            is_it = IsNull("row_id") if row_id is None else Compare("=", "row_id", row_id)
            where = own(catalog.tenant, *_of(info, case), is_it)
            if not writer.delete_where(HOLDS, where):
                what = "no row" if row_id is None else f"not row {row_id!r}"
                msg = f"{what} of {info.name!r} is held for {case!r}"
                raise RecordNotFoundError(msg)
        _note(catalog, writer, "hold-released", info, listed, case)


def refuse_held(reader: Reader, table_id: str | None, ids: frozenset[str]) -> None:
    """Raise HoldError if one of the rows of a table is held."""
    if table_id is None:
        return
    found = [
        each
        for each in holds(reader, Compare("=", "table_id", table_id))
        if each.row_id is None or each.row_id in ids
    ]
    if found:
        more = f", and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
        msg = f"{'; '.join(map(str, found[:SHOWN_MAX]))}{more}: release the hold first"
        raise HoldError(msg)


def _of(info: TableInfo, case: str) -> tuple[Predicate, Predicate]:
    return Compare("=", "table_id", info.table_id), Compare("=", "case_id", case)


def _note(
    catalog: Catalog,
    writer: Writer,
    kind: str,
    info: TableInfo,
    ids: list[str | None],
    case: str,
) -> None:
    identity, now_us = catalog.identity, clock.now_us()
    entry = stamped(
        kind, f"{kind}-{uuid4().hex}", now_us, identity, table=info.name,
        table_id=info.table_id, case=case, every_row=None in ids, rows=len(ids),
    )  # fmt: skip
    catalog.ledger.append(writer, [entry], now_us=now_us)
