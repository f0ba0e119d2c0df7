"""What of a tenant's data its ledger's heads cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affidavit.catalog.model.definition import MUTABLE, MutableDefinition, parse_definition
from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import STORE_TABLES, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from affidavit.catalog.store.protocol import Reader, StoreTable

COVERED: Final = tuple(table for table in STORE_TABLES if table.cover is not None)
"""Those of the lake's own tables that are covered."""


def covered_tables(reader: Reader, tenant: str) -> Iterator[StoreTable]:
    """Yield every table of the store that has rows of a tenant's which are covered."""
    yield from COVERED
    mutable = own(tenant, Compare("=", "kind", MUTABLE.name))
    for (text,) in reader.select(TABLES, ("definition",), mutable):
        definition = parse_definition(MUTABLE.name, str(text))
        assert isinstance(definition, MutableDefinition)
        yield definition.store_table
