"""Which sources a tenant has attached, as the lake remembers them: without a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from affidavit.catalog.model import clock
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import columns_of, own
from affidavit.catalog.store.tables import SOURCES

if TYPE_CHECKING:
    from affidavit.catalog.sources.reach import Reach
    from affidavit.catalog.sources.url import SourceUrl
    from affidavit.catalog.store.protocol import Reader, Writer


class Remembered(NamedTuple):
    """A source as the lake remembers it.

    Attributes:
        name: What it was attached as.
        url: Where it is.
        reach: What whoever attached it might reach, as ``Reach.kept`` said it.
    """

    name: str
    url: str
    reach: str | None


def remembered(reader: Reader, tenant: str) -> list[Remembered]:
    """Return a tenant's sources."""
    rows = reader.select(SOURCES, ("name", "url", "reach"), own(tenant), order_by=("name",))
    return [
        Remembered(str(name), str(url), None if reach is None else str(reach))
        for name, url, reach in rows
    ]


def remember(writer: Writer, name: str, url: SourceUrl, reach: Reach) -> None:
    """Keep a source."""
    row = (name, url.kept, clock.now_us(), reach.kept())
    writer.insert(SOURCES, columns_of(SOURCES), [row])


def forget(writer: Writer, tenant: str, name: str) -> bool:
    """Forget a source, and return whether there was one."""
    return bool(writer.delete_where(SOURCES, own(tenant, Compare("=", "name", name))))
