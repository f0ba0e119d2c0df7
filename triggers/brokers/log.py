"""The log of a lake's topics, as brokers read it that carry the events themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from affidavit.catalog.topics.log import decode_event, read_log
from affidavit.catalog.topics.topic import topic_by_id
from affidavit.triggers.brokers.protocol import LoggedEvent

if TYPE_CHECKING:
    from affidavit.catalog.store.protocol import Store
    from affidavit.catalog.topics.log import LogEvent
    from affidavit.triggers.brokers.protocol import Channel


class StoreLog:
    """Reads what a store has; a :class:`~affidavit.triggers.brokers.protocol.LogReader`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, channel: Channel, first: int, limit: int) -> list[LoggedEvent]:
        """Return up to ``limit`` events from offset ``first`` on, as Arrow IPC streams."""
        with self._store.read(channel.tenant) as reader:
            topic = topic_by_id(reader, channel.topic_id)
            if topic is None:
                return []
            events = read_log(reader, topic, first, limit=limit)
        return [_logged(topic.schema, event) for event in events]


def _logged(schema: pa.Schema, event: LogEvent) -> LoggedEvent:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(decode_event(schema, event.data))
    data = sink.getvalue().to_pybytes()
    return LoggedEvent(event.offset, event.produced_at, event.rows, data)
