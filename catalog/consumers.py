"""Named consumers of topics, and triggers, as the store keeps them.

A consumer is how far somebody has come in a topic: every event before ``next_offset`` was handed
out, and those that were not settled since stand in ``deliveries``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from affidavit.catalog.predicate import Compare
from affidavit.catalog.scan import ArrowDataset
from affidavit.catalog.store.protocol import StoreColumn, StoreTable
from affidavit.catalog.topic_log import end_offset, first_offset
from affidavit.catalog.topics import topic_by_id, topics
from affidavit.catalog.types import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affidavit.catalog.ledger import Ledger
    from affidavit.catalog.providers import Snapshot
    from affidavit.catalog.scan import ScanDataset
    from affidavit.catalog.store.protocol import Reader, Writer

_INT, _TEXT = Kind.INTEGER, Kind.TEXT
_TIME: Final = pa.timestamp("us", "UTC")

CONSUMERS: Final = StoreTable(
    "consumers",
    (
        StoreColumn("consumer_id", _TEXT),
        StoreColumn("topic_id", _TEXT),
        StoreColumn("name", _TEXT),
        StoreColumn("settings", _TEXT),
        StoreColumn("next_offset", _INT),
        StoreColumn("created_at", _INT),
    ),
)
DELIVERIES: Final = StoreTable(
    "deliveries",
    (
        StoreColumn("consumer_id", _TEXT),
        StoreColumn("offset", _INT),
        StoreColumn("attempts", _INT),
        StoreColumn("due_at", _INT),
        StoreColumn("token", _TEXT),
        StoreColumn("reason", _TEXT),
    ),
)
TRIGGERS: Final = StoreTable(
    "triggers",
    (
        StoreColumn("trigger_id", _TEXT),
        StoreColumn("name", _TEXT),
        StoreColumn("table_id", _TEXT),
        StoreColumn("kind", _TEXT),
        StoreColumn("definition", _TEXT),
        StoreColumn("created_at", _INT),
    ),
)
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


def find_consumer(reader: Reader, ledger: Ledger, topic_id: str, name: str) -> Consumer | None:
    """Return a tenant's consumer of that name; ``None`` if there is none."""
    where = ledger.own(Compare("=", "topic_id", topic_id), Compare("=", "name", name))
    rows = reader.select(CONSUMERS, _CONSUMER_COLUMNS, where)
    return _consumer(rows[0]) if rows else None


def consumers_of(reader: Reader, ledger: Ledger, *conditions: Compare) -> list[Consumer]:
    """Return a tenant's consumers."""
    rows = reader.select(CONSUMERS, _CONSUMER_COLUMNS, ledger.own(*conditions))
    return sorted(map(_consumer, rows), key=lambda each: (each.topic_id, each.name))


def unsettled(reader: Reader, consumer: Consumer) -> list[int]:
    """Return the offsets that were handed out and are not settled, in order."""
    where = Compare("=", "consumer_id", consumer.consumer_id)
    rows = reader.select(DELIVERIES, ("offset",), where, order_by=("offset",))
    return [int(row[0] or 0) for row in rows]


def forget_consumers(writer: Writer, ledger: Ledger, *conditions: Compare) -> None:
    """Forget consumers, and what they had in hand."""
    for each in consumers_of(writer, ledger, *conditions):
        own = Compare("=", "consumer_id", each.consumer_id)
        writer.delete_where(DELIVERIES, own)
        writer.delete_where(CONSUMERS, own)


# --- as SQL reads them ----------------------------------------------------------------------------

_TOPICS_SCHEMA: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("tenant", pa.string()),
        pa.field("columns", pa.list_(pa.string())),
        pa.field("metadata", pa.string()),
        pa.field("first_offset", pa.int64()),
        pa.field("next_offset", pa.int64()),
        pa.field("retain_events", pa.int64()),
        pa.field("retain_seconds", pa.float64()),
    ]
)
_CONSUMERS_SCHEMA: Final = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("predicate", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("unsettled", pa.int64()),
        pa.field("lag", pa.int64()),
        pa.field("ack_wait_seconds", pa.float64()),
        pa.field("max_deliveries", pa.int64()),
        pa.field("max_in_flight", pa.int64()),
        pa.field("dead_letter", pa.string()),
    ]
)
_TRIGGERS_SCHEMA: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("table_name", pa.string()),
        pa.field("actions", pa.list_(pa.string())),
        pa.field("predicate", pa.string()),
        pa.field("topic", pa.string()),
        pa.field("callback", pa.bool_()),
        pa.field("created_at", _TIME),
    ]
)


def _rows(rows: list[dict[str, Any]], schema: pa.Schema, snapshot: Snapshot) -> ScanDataset:
    return ArrowDataset(pa.Table.from_pylist(rows, schema=schema), snapshot.fail)


def topics_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.topics``: every topic that the tenant sees."""
    reader = snapshot.reader
    rows = [
        {
            "name": topic.name,
            "tenant": topic.tenant or None,
            "columns": [f"{each.name} {each.type}" for each in topic.schema],
            "metadata": json.dumps(topic.metadata),
            "first_offset": first_offset(reader, topic),
            "next_offset": end_offset(reader, topic),
            "retain_events": topic.retain_events,
            "retain_seconds": None if topic.retain_us is None else topic.retain_us / 1_000_000,
        }
        for topic in topics(reader, snapshot.catalog.tenant)
    ]
    return _rows(rows, _TOPICS_SCHEMA, snapshot)


def consumers_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.consumers``: the tenant's consumers.

    ``position`` is the first event that is not settled; ``lag`` is how many are not, whether they
    were handed out or not. Events that a consumer's predicate has not been asked about count, and
    those that retention let go of do not.
    """
    reader, rows = snapshot.reader, []
    for each in consumers_of(reader, snapshot.catalog.ledger):
        topic = topic_by_id(reader, each.topic_id)
        if topic is None:
            continue
        waiting = unsettled(reader, each)
        ahead = end_offset(reader, topic) - max(each.next_offset, first_offset(reader, topic))
        rows.append(
            {
                "topic": topic.name,
                "name": each.name,
                "predicate": each.settings.where,
                "position": min([*waiting[:1], each.next_offset]),
                "unsettled": len(waiting),
                "lag": max(0, ahead) + len(waiting),
                "ack_wait_seconds": each.settings.ack_wait_s,
                "max_deliveries": each.settings.max_deliveries,
                "max_in_flight": each.settings.max_in_flight,
                "dead_letter": each.settings.dead_letter,
            }
        )
    return _rows(rows, _CONSUMERS_SCHEMA, snapshot)


def triggers_table(snapshot: Snapshot) -> ScanDataset:
    """Return ``system.triggers``: the tenant's triggers and standing searches."""
    reader, catalog = snapshot.reader, snapshot.catalog
    found = reader.select(
        TRIGGERS, [column.name for column in TRIGGERS.columns], catalog.ledger.own(),
        order_by=("name",),
    )  # fmt: skip
    rows = []
    for _, name, table_id, kind, definition, created_at in found:
        told = json.loads(str(definition))
        info = catalog.by_id(reader, str(table_id))
        rows.append(
            {
                "name": name,
                "kind": kind,
                "table_name": None if info is None else info.name,
                "actions": told.get("actions"),
                "predicate": told.get("where"),
                "topic": told["topic"],
                "callback": bool(told.get("callback")),
                "created_at": created_at,
            }
        )
    return _rows(rows, _TRIGGERS_SCHEMA, snapshot)
