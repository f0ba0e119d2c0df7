"""Placing holds and ending them, which the ledger tells of; and what stays for their sake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.erasure.pending import pending_of
from affidavit.catalog.ledger.entry import given
from affidavit.catalog.ledger.verifier import LedgerProblem
from affidavit.catalog.model import clock
from affidavit.catalog.model.holds import Hold, holds
from affidavit.catalog.sql.predicate import Compare, IsNull
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import HOLDS
from affidavit.errors import HoldError, RecordNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.ledger.entry import StoredEntry
    from affidavit.catalog.model.definition import TableInfo
    from affidavit.catalog.sql.predicate import Predicate
    from affidavit.catalog.store.protocol import Reader, Writer


def hold(catalog: Catalog, info: TableInfo, ids: Iterable[str | None], case: str) -> None:
    """Hold rows, ``None`` for every one, and say so in the ledger; again does nothing.

    Raises:
        HoldError: One of them is being erased.
    """
    now_us = clock.now_us()
    wanted = list(dict.fromkeys(ids))
    with catalog.write() as writer:
        _refuse_erased(catalog, writer, info, wanted)
        known = {each.row_id for each in holds(writer, *_of(info, case))}
        fresh = [row_id for row_id in wanted if row_id not in known]
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
    catalog.ledger.note(
        writer, kind, catalog.identity, table=info.name, table_id=info.table_id, case=case,
        every_row=None in ids, rows=len(ids),
    )  # fmt: skip


def _refuse_erased(
    catalog: Catalog, writer: Writer, info: TableInfo, ids: Sequence[str | None]
) -> None:
    """Raise HoldError if rows are being erased: what has begun is finished, hold or not."""
    for tenant in {catalog.tenant, info.tenant}:
        for pending in pending_of(writer, tenant):
            chosen = pending.chosen
            if chosen.table_id == info.table_id and (None in ids or not chosen.ids.isdisjoint(ids)):
                msg = f"rows of {info.name!r} are being erased ({pending.erasure_id}): nothing held"
                raise HoldError(msg)


# --- what stays -----------------------------------------------------------------------------------


def refuse_newer(reader: Reader, known: Sequence[Hold]) -> None:
    """Raise HoldError if a hold was placed since those were read."""
    newer = [each for each in holds(reader) if each not in known]
    if newer:
        raise HoldError(f"{newer[0]}, since a moment ago: nothing was let go, run it again")


def names_of_held(catalog: Catalog, reader: Reader) -> dict[str, Hold]:
    """Return the holds by what their tables are called, and were when they were held."""
    found = {}
    for each in holds(reader):
        info = catalog.by_id(reader, each.table_id)
        found[each.table_name] = each
        if info is not None:
            found[info.name] = each
    return found


def may_tell_of(entry: StoredEntry, held: Sequence[Hold]) -> bool:
    """Return whether a record may have given a row that is held; one that is unreadable may."""
    if not held:
        return False
    try:
        fields = entry.fields()
        tables = {fields.get("table_id"), *(each["table_id"] for each in fields.get("tables", ()))}
    except (LedgerProblem, TypeError, KeyError):
        return True
    rows = given(entry, fields)
    return any(
        each.table_id in tables
        if each.row_id is None
        else any(of.may_have(each.table_id, (each.row_id,)) for of in rows)
        for each in held
    )
