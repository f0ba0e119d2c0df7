"""What is defined with a value of an erased row in it: named, since it is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.erasure.report import Left
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import CONSUMERS, SOURCES, TABLES, TOPICS, TRIGGERS

if TYPE_CHECKING:
    from affidavit.catalog.erasure.needles import Needles
    from affidavit.catalog.store.protocol import Reader, StoreTable

DEFINITIONS: Final[tuple[tuple[StoreTable, str, str, str], ...]] = (
    (TABLES, "name", "definition", "table or view"),
    (TRIGGERS, "name", "definition", "trigger"),
    (CONSUMERS, "name", "settings", "consumer"),
    (TOPICS, "name", "metadata", "topic"),
    (SOURCES, "name", "url", "source"),
)


def definitions_with(reader: Reader, tenant: str, needles: Needles) -> list[Left]:
    """Return the definitions of a tenant that have one of the values."""
    if not needles:
        return []
    return [
        Left(f"{what} {name!r}", "its definition has such a value: drop it, or make it anew")
        for table, named, column, what in DEFINITIONS
        for name, text in reader.select(table, (named, column), own(tenant))
        if isinstance(text, str) and needles.in_text(text)
    ]
