"""Named consumers of topics, and triggers, as the store keeps them.

A consumer is how far somebody has come in a topic: every event before ``next_offset`` was handed
out, and those that were not settled since stand in ``deliveries``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.sql.predicate import Compare
from affidavit.catalog.store.protocol import own
from affidavit.catalog.store.tables import CONSUMERS, DELIVERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.store.protocol import Reader, Writer

_TIME: Final = pa.timestamp("us", "UTC")

_CONSUMER_COLUMNS: Final = ("consumer_id", "topic_id", "name", "settings", "next_offset")


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """How a consumer is served.

    Attributes:
        where: An SQL predicate over the events' rows; ``None`` for every event.
        ack_wait_s: How long a delivery may go without being settled before it is made again.
        max_deliveries: How often an event is delivered before it goes to ``dead_letter``.
        max_in_flight: How many deliveries may be unsettled at a time.
        dead_letter: The topic for events that nobody could take.
    """

    where: str | None = None
    ack_wait_s: float = 30.0
    max_deliveries: int = 5
    max_in_flight: int = 1000
    dead_letter: str = ""

    def to_json(self) -> str:
        """Return this as JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Consumer:
    """A named consumer of a topic.

    Attributes:
        consumer_id: Its identity.
        topic_id: The topic.
        name: Its name.
        settings: How it is served.
        next_offset: The first event that was not looked at for it yet.
    """

    consumer_id: str
    topic_id: str
    name: str
    settings: ConsumerSettings
    next_offset: int


def _consumer(row: Sequence[Any]) -> Consumer:
    consumer_id, topic_id, name, settings, next_offset = row
    return Consumer(
        consumer_id, topic_id, name, ConsumerSettings(**json.loads(settings)), next_offset
    )


def find_consumer(reader: Reader, tenant: str, topic_id: str, name: str) -> Consumer | None:
    """Return a tenant's consumer of that name; ``None`` if there is none."""
    where = own(tenant, Compare("=", "topic_id", topic_id), Compare("=", "name", name))
    rows = reader.select(CONSUMERS, _CONSUMER_COLUMNS, where)
    return _consumer(rows[0]) if rows else None


def consumers_of(reader: Reader, tenant: str, *conditions: Compare) -> list[Consumer]:
    """Return a tenant's consumers."""
    rows = reader.select(CONSUMERS, _CONSUMER_COLUMNS, own(tenant, *conditions))
    return sorted(map(_consumer, rows), key=lambda each: (each.topic_id, each.name))


def unsettled(reader: Reader, consumer: Consumer) -> list[int]:
    """Return the offsets that were handed out and are not settled, in order."""
    where = Compare("=", "consumer_id", consumer.consumer_id)
    rows = reader.select(DELIVERIES, ("offset",), where, order_by=("offset",))
    return [int(row[0] or 0) for row in rows]


def forget_consumers(writer: Writer, tenant: str, *conditions: Compare) -> None:
    """Forget consumers, and what they had in hand."""
    for each in consumers_of(writer, tenant, *conditions):
        own = Compare("=", "consumer_id", each.consumer_id)
        writer.delete_where(DELIVERIES, own)
        writer.delete_where(CONSUMERS, own)


# --- as SQL reads them ----------------------------------------------------------------------------
