"""A log in a list, a wake that counts, and what a NATS server has of them."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import nats
import pyarrow as pa

from affidavit.triggers.brokers.nats.address import stream_of, subject_of
from affidavit.triggers.brokers.protocol import Channel, LoggedEvent
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from nats.js.api import RawStreamMsg


SOON_S = 30.0
ORDERS = Channel("0123abcd", "acme", "t1", "orders")


def ipc(**columns: list[object]) -> bytes:
    batch = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


@dataclass
class Log:
    """An event log in memory."""

    events: dict[str, list[LoggedEvent]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def append(self, channel: Channel, data: bytes = b"payload", count: int = 1) -> None:
        with self.lock:
            events = self.events.setdefault(channel.topic_id, [])
            for offset in range(len(events), len(events) + count):
                events.append(LoggedEvent(offset, 1_700_000_000_000_001 + offset, 1, data))

    def __call__(self, channel: Channel, first: int, limit: int) -> list[LoggedEvent]:
        events = self.events.get(channel.topic_id, [])
        return [event for event in events if event.offset >= first][:limit]


async def _stored(server: NatsServer, channel: Channel) -> list[RawStreamMsg]:
    client = await nats.connect(server.url)
    try:
        js = client.jetstream()
        state = (await js.stream_info(stream_of(channel))).state
        every = [
            await js.get_msg(stream_of(channel), seq=seq)
            for seq in range(state.first_seq, state.last_seq + 1)
        ]
        return [message for message in every if message.subject == subject_of(channel)]
    except nats.js.errors.NotFoundError:
        return []
    finally:
        await client.close()


def stored(server: NatsServer, channel: Channel = ORDERS) -> list[RawStreamMsg]:
    return asyncio.run(_stored(server, channel))


async def _last_offset(server: NatsServer, channel: Channel) -> int:
    client = await nats.connect(server.url)
    try:
        last = await client.jetstream().get_last_msg(stream_of(channel), subject_of(channel))
        return int(last.headers["Affidavit-Offset"])
    except nats.js.errors.NotFoundError:
        return -1
    finally:
        await client.close()


def wait_for_offset(server: NatsServer, offset: int, channel: Channel = ORDERS) -> None:
    eventually(lambda: asyncio.run(_last_offset(server, channel)) == offset)


def offsets(messages: list[RawStreamMsg]) -> list[int]:
    return [int(message.headers["Affidavit-Offset"]) for message in messages]


class Waking:
    """A wake that counts, and can be waited for."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait_past(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count > count, SOON_S), "nobody woke"
