"""Dead letters: the topic where the events go that a named consumer could not take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from affidavit.catalog.topics.log import EVENT_BYTES_MAX, append_event, decode_event
from affidavit.catalog.topics.topic import define_topic, find_topic
from affidavit.errors import SchemaConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.catalog.store.protocol import Reader, Writer
    from affidavit.catalog.topics.consumer import Consumer
    from affidavit.catalog.topics.log import LogEvent
    from affidavit.catalog.topics.topic import Topic

DEAD_FIELDS: Final = (
    pa.field("dead_offset", pa.int64()),
    pa.field("dead_consumer", pa.string()),
    pa.field("dead_attempts", pa.int64()),
    pa.field("dead_reason", pa.string()),
)
"""What a dead letter has besides the event's rows."""

REASON_LENGTH_MAX: Final = 1000
LETTER_ROW_BYTES: Final = 1024
"""About how much a dead letter has in a row beside the event's own columns, the reason left out."""


def dead_letters(
    reader: Reader, topic: Topic, name: str, tenant: str
) -> tuple[Topic | None, pa.Schema]:
    """Return the topic for a topic's dead letters, if it is there, and the schema that it has.

    Raises:
        SchemaConflictError: The topic has another.
    """
    own = {each.name for each in DEAD_FIELDS}
    schema = pa.schema([*DEAD_FIELDS, *(each for each in topic.schema if each.name not in own)])
    found = find_topic(reader, name, tenant)
    if found is None or found.tenant != tenant:
        return None, schema
    if not found.schema.equals(schema):
        msg = (
            f"topic {name!r} cannot take the dead letters of {topic.name!r}: it has "
            f"{found.schema.names}, and needs {schema.names}"
        )
        raise SchemaConflictError(msg)
    return found, schema


def write_letter(
    catalog: Catalog,
    writer: Writer,
    topic: Topic,
    consumer: Consumer,
    event: LogEvent,
    attempts: int,
    reason: str,
) -> None:
    """Publish an event to its consumer's dead letters, whose topic is made for the first."""
    name, tenant = consumer.settings.dead_letter, catalog.tenant
    dead, schema = dead_letters(writer, topic, name, tenant)
    if dead is None:
        told = {"dead_letters_of": topic.name}
        dead = define_topic(writer, name, schema, tenant, metadata=told)
    rows = decode_event(topic.schema, event.data)
    letter = _letter(schema, rows, (event.offset, consumer.name, attempts, reason))
    append_event(catalog.lake.news, writer, dead, letter.num_rows, letter.serialize().to_pybytes())


def _letter(schema: pa.Schema, rows: pa.RecordBatch, told: Sequence[int | str]) -> pa.RecordBatch:
    """Return an event's rows as a dead letter; of very many rows, the first.

    An event that was allowed always fits: nothing could be done with one that does not.
    """
    rows = rows.slice(0, EVENT_BYTES_MAX // (LETTER_ROW_BYTES + 4 * REASON_LENGTH_MAX))
    arrays = [
        pa.array([value] * rows.num_rows, each.type)
        for each, value in zip(DEAD_FIELDS, told, strict=True)
    ]
    arrays += [rows.column(name) for name in schema.names[len(DEAD_FIELDS) :]]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
