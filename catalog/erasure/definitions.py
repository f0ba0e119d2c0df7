"""What is defined with a value of an erased row in it: named, since it is in force."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from affidavit.catalog.erasure.report import Left
from affidavit.catalog.journal.events import WHOLE
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import CONSUMERS, SOURCES, TABLES, TOPICS, TRIGGERS

if TYPE_CHECKING:
    from affidavit.catalog.erasure.chosen import Chosen
    from affidavit.catalog.erasure.needles import Needles
    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.store.protocol import Reader, StoreTable

DEFINITIONS: Final[tuple[tuple[StoreTable, str, str, str], ...]] = (
    (TABLES, "name", "definition", "table or view"),
    (TRIGGERS, "name", "definition", "trigger"),
    (CONSUMERS, "name", "settings", "consumer"),
    (TOPICS, "name", "metadata", "topic"),
    (SOURCES, "name", "url", "source"),
)


DEFINING: Final = ("create", "alter", "drop", "attach", "copy")
"""What the journal says of a definition was done."""


def definitions_with(catalog: Catalog, needles: Needles, chosen: Chosen) -> list[Left]:
    """Return the definitions of a tenant, also those of before, that have one of the values.

    ``chosen`` is what is erased, and so not left.
    """
    if not needles:
        return []
    with catalog.read() as reader:
        in_force = _in_force(reader, catalog.tenant, needles)
        return [*in_force, *_of_before(catalog, reader, needles, chosen)]


def _of_before(catalog: Catalog, reader: Reader, needles: Needles, chosen: Chosen) -> list[Left]:
    """Return what the journal says of definitions with such a value, and of the caller's own."""
    wanted = (pc.field("action").isin(DEFINING) & (pc.field("field") == WHOLE)) | pc.field(
        "table_id"
    ).is_null()
    names = ["seq", "table_id", "entity_type", "entity_id", "old_value", "new_value"]
    found = []
    for part in catalog.journal.events.scan(reader, names, wanted):
        for event in part.to_pylist():
            if chosen.has(event["table_id"], event["entity_type"], event["entity_id"]):
                continue
            texts = (event["old_value"], event["new_value"])
            if any(text is not None and needles.in_json(_said(text)) for text in texts):
                what = f"{event['entity_type']} {event['entity_id']!r}"
                why = (
                    "the journal tells of it with such a value: session.journal.erase lets go of it"
                )
                found.append(Left(f"event {event['seq']}, of {what}", why))
    return found


def _in_force(reader: Reader, tenant: str, needles: Needles) -> list[Left]:
    return [
        Left(f"{what} {name!r}", "its definition has such a value: drop it, or make it anew")
        for table, named, column, what in DEFINITIONS
        for name, text in reader.select(table, (named, column), own(tenant))
        if isinstance(text, str) and needles.in_json(_said(text))
    ]


def _said(text: str) -> object:
    """Return what a definition says, if it is JSON, and else as it is."""
    try:
        found: object = json.loads(text)
    except ValueError:
        return text
    return found
