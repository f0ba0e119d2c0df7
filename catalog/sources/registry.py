"""Which sources a tenant has attached, as the lake remembers them: without a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import SOURCES

if TYPE_CHECKING:
    from affidavit.catalog.sources.url import SourceUrl
    from affidavit.catalog.store.protocol import Reader, Writer


def remembered(reader: Reader, tenant: str) -> list[tuple[str, str]]:
    """Return the name and URL of each of a tenant's sources."""
    rows = reader.select(SOURCES, ("name", "url"), own(tenant), order_by=("name",))
    return [(str(name), str(url)) for name, url in rows]


def remember(writer: Writer, name: str, url: SourceUrl) -> None:
    """Keep a source."""
    writer.insert(SOURCES, columns_of(SOURCES), [(name, url.plain, clock.now_us())])


def forget(writer: Writer, tenant: str, name: str) -> bool:
    """Forget a source, and return whether there was one."""
    return bool(writer.delete_where(SOURCES, own(tenant, Compare("=", "name", name))))
