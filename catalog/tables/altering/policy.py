"""A table's own policy: what reads of it leave on record, in every session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.model.definition import KINDS
from affidavit.catalog.model.policy import TABLE_LEVELS, TOLD, checked_level
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.tables import TABLES
from affidavit.errors import InvalidQueryError

if TYPE_CHECKING:
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.model.definition import TableInfo


def set_policy(catalog: Catalog, info: TableInfo, level: str | None) -> None:
    """Let reads of a table be on record from now on as ``level`` says; ``None`` takes it away.

    Raises:
        ReadOnlyError: It is shared.
        InvalidQueryError: It is no policy, or the table can have none.
    """
    if level is not None:
        checked_level(level, TABLE_LEVELS)
    kind = KINDS[info.kind]
    if not kind.has_rows:
        msg = f"{info.name!r} is no table whose rows are kept here: it has no policy of its own"
        raise InvalidQueryError(msg)
    with catalog.write() as writer:
        now = catalog.get(writer, info.name, info.schema)
        catalog.refuse_shared(now)
        if now.audit == level:
            return
        if catalog.transactions.begun is not None:
            catalog.transactions.begun.policies.append(now.audit)
        writer.update_where(TABLES, {"audit": level}, Compare("=", "table_id", now.table_id))
        catalog.touch(writer, now)
        told = next(text for text, becomes in TOLD.items() if becomes == level)
        catalog.announce(writer, catalog.change(now, "alter", detail=told))
