"""Which sources a tenant has attached, as the lake remembers them: without a secret."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import StoreColumn, StoreTable, own
from affidavit.catalog.values.types import Kind

if TYPE_CHECKING:
    from affidavit.catalog.sources.url import SourceUrl
    from affidavit.catalog.store.protocol import Reader, Writer

SOURCES: Final = StoreTable(
    "sources",
    (
        StoreColumn("name", Kind.TEXT),
        StoreColumn("url", Kind.TEXT),
        StoreColumn("created_at", Kind.INTEGER),
    ),
)


def remembered(reader: Reader, tenant: str) -> list[tuple[str, str]]:
    """Return the name and URL of each of a tenant's sources."""
    rows = reader.select(SOURCES, ("name", "url"), own(tenant), order_by=("name",))
    return [(str(name), str(url)) for name, url in rows]


def remember(writer: Writer, name: str, url: SourceUrl) -> None:
    """Keep a source."""
    columns: list[str] = [column.name for column in SOURCES.columns]
    row: tuple[Any, ...] = (name, url.plain, time_ns() // 1000)
    writer.insert(SOURCES, columns, [row])


def forget(writer: Writer, tenant: str, name: str) -> bool:
    """Forget a source, and return whether there was one."""
    return bool(writer.delete_where(SOURCES, own(tenant, Compare("=", "name", name))))
