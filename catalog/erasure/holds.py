"""Placing holds and ending them, which the ledger tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from affidavit.catalog.ledger.entry import stamped
from affidavit.catalog.model import clock
from affidavit.catalog.model.holds import holds
from affidavit.catalog.sql.predicate import Compare, IsNull
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import HOLDS
from affidavit.errors import RecordNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Writer


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
